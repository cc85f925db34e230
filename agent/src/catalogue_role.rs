//! The role with which the agent reads what a database has: the statements that make it, and those that take it away.
//!
//! Its comment says whose it is: a role that somebody else made is never changed.

use anyhow::{Result, bail};
use postgres_protocol::escape::escape_identifier;
use tokio_postgres::Client;

use crate::setup_plan::{Plan, State, closed_databases, state};

/// By this the role is known as ours.
const COMMENT: &str = "Warder reads the catalogue with it";
/// It may log in, and nothing else; more sessions than the agent ever opens would be somebody else's.
const ATTRIBUTES: &str =
    "LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT NOREPLICATION NOBYPASSRLS CONNECTION LIMIT 8";

/// What makes the role, or makes it again as it should be.
pub(crate) async fn plan(client: &Client, user: &str, password: &str) -> Result<Plan> {
    let role = escape_identifier(user);
    let mut plan = Plan::default();
    plan.login_role(own_state(client, user).await?, user, ATTRIBUTES, password);
    plan.comment(user, COMMENT);
    plan.add(format!("ALTER ROLE {role} SET default_transaction_read_only = on"));
    for database in closed_databases(client).await? {
        plan.add(format!("GRANT CONNECT ON DATABASE {} TO {role}", escape_identifier(&database)));
    }
    Ok(plan)
}

/// What takes it away; empty: there is none.
pub(crate) async fn undo(client: &Client, user: &str) -> Result<Plan> {
    let role = escape_identifier(user);
    let mut plan = Plan::default();
    if own_state(client, user).await? == State::Ours {
        for database in closed_databases(client).await? {
            plan.add(format!("REVOKE CONNECT ON DATABASE {} FROM {role}", escape_identifier(&database)));
        }
        plan.add(format!("DROP ROLE {role}"));
    }
    Ok(plan)
}

async fn own_state(client: &Client, user: &str) -> Result<State> {
    match state(client, user, COMMENT).await? {
        State::Foreign => bail!(
            "role {user} exists and was not made by this command: it stays as it is; name another in \
             [database.catalogue]"
        ),
        state => Ok(state),
    }
}
