//! The roles that minting needs: the groups whose rights sessions get, and the role that makes sessions' roles. The
//! statements that make them, and those that take them away.
//!
//! The groups come without rights: which tables they may read or write is granted to them by whoever owns the tables. A
//! group that was there before is used as it is, and stays when the others go.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, bail, ensure};
use mint::name::PREFIX;
use postgres_protocol::escape::escape_identifier;
use tokio_postgres::Client;

use crate::config::login::Minted;
use crate::setup_plan::{Plan, State, closed_databases, major, state};

/// By these the roles are known as ours.
const MINTER_COMMENT: &str = "Warder makes the roles of sessions with it";
const GROUP_COMMENT: &str = "Sessions through Warder have its rights";
/// Not a superuser. It must inherit: of the roles that it makes it is a member, and ends their sessions as such.
const MINTER_ATTRIBUTES: &str =
    "LOGIN NOSUPERUSER NOCREATEDB CREATEROLE INHERIT NOREPLICATION NOBYPASSRLS CONNECTION LIMIT 16";
const GROUP_ATTRIBUTES: &str = "NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE INHERIT NOREPLICATION NOBYPASSRLS";
/// From this version on a member may be kept from the rights of the group that it gives to others.
const MEMBERSHIP_OPTIONS: u32 = 16;

/// What makes the roles, or makes them again as they should be.
pub(crate) async fn plan(client: &Client, minted: &Minted, password: &str) -> Result<Plan> {
    let mut plan = Plan::default();
    let major = major(client).await?;
    for group in groups(minted) {
        if group_state(client, group).await? == State::Absent {
            plan.add(format!("CREATE ROLE {} {GROUP_ATTRIBUTES}", escape_identifier(group)));
            plan.comment(group, GROUP_COMMENT);
        }
    }
    plan.login_role(minter_state(client, minted).await?, &minted.user, MINTER_ATTRIBUTES, password);
    plan.comment(&minted.user, MINTER_COMMENT);
    let minter = escape_identifier(&minted.user);
    let options =
        if major >= MEMBERSHIP_OPTIONS { "WITH ADMIN TRUE, INHERIT FALSE, SET FALSE" } else { "WITH ADMIN OPTION" };
    for group in groups(minted) {
        plan.add(format!("GRANT {} TO {minter} {options}", escape_identifier(group)));
    }
    for database in closed_databases(client).await? {
        plan.add(format!("GRANT CONNECT ON DATABASE {} TO {minter}", escape_identifier(&database)));
    }
    Ok(plan)
}

/// What takes them away, except for groups that somebody has given something; empty: there are none.
pub(crate) async fn undo(client: &Client, minted: &Minted) -> Result<Plan> {
    let mut plan = Plan::default();
    if minter_state(client, minted).await? == State::Ours {
        let left = sessions_roles(client).await?;
        ensure!(
            left == 0,
            "{left} roles of sessions are still there, and only {} can take them away: end the sessions, or start the \
             agent so that it sweeps, and try again",
            minted.user
        );
        let minter = escape_identifier(&minted.user);
        for group in groups(minted) {
            if state(client, group, GROUP_COMMENT).await? != State::Absent {
                plan.add(format!("REVOKE {} FROM {minter}", escape_identifier(group)));
            }
        }
        for database in closed_databases(client).await? {
            plan.add(format!("REVOKE CONNECT ON DATABASE {} FROM {minter}", escape_identifier(&database)));
        }
        plan.add(format!("DROP ROLE {minter}"));
    }
    for group in groups(minted) {
        if state(client, group, GROUP_COMMENT).await? == State::Ours && is_unused(client, group).await? {
            plan.add(format!("DROP ROLE {}", escape_identifier(group)));
        }
    }
    Ok(plan)
}

/// What an administrator has to do himself.
pub(crate) fn remarks(minted: &Minted) -> String {
    let members: Vec<String> = groups(minted).into_iter().map(|group| format!("+{group}")).collect();
    let first = groups(minted).into_iter().next().unwrap_or_default();
    format!(
        "-- the groups have no rights yet; grant them what their sessions need, for example:\n\
         --   GRANT USAGE ON SCHEMA public TO {first}; GRANT SELECT ON ALL TABLES IN SCHEMA public TO {first}\n\
         -- pg_hba.conf must let in whoever makes the roles, and the roles, from this host, for example:\n\
         --   host all {} 127.0.0.1/32 scram-sha-256\n\
         --   host all {} 127.0.0.1/32 scram-sha-256\n",
        minted.user,
        members.join(",")
    )
}

/// Each once.
fn groups(minted: &Minted) -> BTreeSet<&str> {
    minted.roles.iter().map(|entry| entry.role.as_str()).collect()
}

async fn minter_state(client: &Client, minted: &Minted) -> Result<State> {
    match state(client, &minted.user, MINTER_COMMENT).await? {
        State::Foreign => bail!(
            "role {} exists and was not made by this command: it stays as it is; name another in \
             [database.proxy.login]",
            minted.user
        ),
        state => Ok(state),
    }
}

/// A member can take the group's part with SET ROLE, and that of every role which the group is a member of: what no session
/// may do, none of them may.
async fn group_state(client: &Client, group: &str) -> Result<State> {
    let query = "SELECT pg_catalog.bool_or(r.rolsuper OR r.rolcreaterole OR r.rolcreatedb OR r.rolreplication \
                 OR r.rolbypassrls OR r.rolname IN ('pg_execute_server_program', 'pg_read_server_files', \
                 'pg_write_server_files')) FROM pg_catalog.pg_roles g, pg_catalog.pg_roles r \
                 WHERE g.rolname = $1 AND pg_catalog.pg_has_role(g.oid, r.oid, 'MEMBER') HAVING pg_catalog.count(*) > 0";
    let found = client.query_opt(query, &[&group]).await.context("the server does not say what a role may do")?;
    let is_powerful = found.map_or(Ok(false), |row| row.try_get::<_, bool>(0))?;
    ensure!(!is_powerful, "role {group} may administer the server: no session gets its rights; name another");
    state(client, group, GROUP_COMMENT).await
}

async fn sessions_roles(client: &Client) -> Result<i64> {
    let query = "SELECT pg_catalog.count(*) FROM pg_catalog.pg_roles WHERE pg_catalog.starts_with(rolname::text, $1)";
    Ok(client.query_one(query, &[&PREFIX]).await.context("the server does not say which roles it has")?.try_get(0)?)
}

async fn is_unused(client: &Client, group: &str) -> Result<bool> {
    let query = "SELECT NOT EXISTS (SELECT FROM pg_catalog.pg_shdepend s JOIN pg_catalog.pg_roles r \
                 ON r.oid = s.refobjid WHERE s.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass \
                 AND s.classid <> 'pg_catalog.pg_auth_members'::pg_catalog.regclass AND r.rolname = $1)";
    Ok(client.query_one(query, &[&group]).await.context("the server does not say what a role owns")?.try_get(0)?)
}
