//! Grants as they are typed: `Delete,Read on public.orders`.

use std::sync::Arc;

use model::access::{Grant, GrantId, Holder, Scope};
use model::principal::{Actor, PrincipalKind};
use model::time::{BootTime, WallTime};
use policy::ActiveGrant;

/// How a grant is written.
pub const GRANT: &str = "ACTION[,ACTION] on RELATION[,RELATION] [in SQL-DATABASE]";

/// Reads a grant that is active.
///
/// # Errors
/// What is wrong, and how it is written.
pub fn grant(text: &str) -> Result<ActiveGrant, String> {
    let (actions, rest) = text.split_once(" on ").ok_or_else(|| format!("{text:?} is no grant: {GRANT}"))?;
    let (relations, sql_database) = match rest.split_once(" in ") {
        Some((relations, name)) => (relations, Some(Arc::from(name.trim()))),
        None => (rest, None),
    };
    let names = |list: &str| list.split(',').map(|name| Arc::from(name.trim())).collect();
    let grant = Grant {
        id: GrantId::new(0),
        // Whose it is makes no difference here: it is the grant of whoever acts.
        holder: Holder {
            actor: Actor { kind: PrincipalKind::Person, id: Arc::default(), issuer: Arc::default() },
            acting_for: Vec::new(),
        },
        scope: Scope { database: Arc::default(), sql_database, actions: names(actions), relations: names(relations) },
        purpose: "a case".into(),
        ticket: None,
        duration: 0,
        once: None,
        break_glass: false,
        renews: None,
        rule: Arc::default(),
        requested: WallTime::default(),
    };
    ActiveGrant::new(&grant, BootTime(u64::MAX)).map_err(|error| error.to_string())
}
