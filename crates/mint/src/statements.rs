//! The statements about one role. Each text is one message, and so one transaction (manual, 55.2.2.1).

use std::fmt::Write as _;

use journal::time::Timestamp;
use model::time::WallTime;
use postgres_protocol::escape::{escape_identifier, escape_literal};
use zeroize::Zeroizing;

use crate::name::{PREFIX, RoleName};
use crate::note::Note;
use crate::password::Password;

/// How long a new role may be logged in with. A session that began in time is not affected.
pub const LOGIN_NANOS: u64 = 60_000_000_000;
/// Databases in which a role may own something that has to be given away; what is in more stays for an administrator.
pub const OWNING_DATABASES_MAX: usize = 64;
/// Roles that one sweep looks at.
pub const SWEPT_MAX: usize = 10_000;
/// Of the advisory lock under which sweeps are made: "warder" in ASCII, and a number.
const SWEEP_LOCK: u64 = 0x7761_7264_6572_0001;

/// What sessions of a role begin with. Each is a default that the client may change: they prevent mistakes, not intent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Defaults {
    /// Transactions only read.
    pub read_only: bool,
    /// Longest time of a statement, in milliseconds; `None`: the server's own.
    pub statement_timeout_millis: Option<u64>,
    /// Schemas of names without one; empty: the server's own.
    pub search_path: Vec<String>,
}

/// Makes a role that can log in once, within [`LOGIN_NANOS`] of `now`. `minter` becomes a member of it: else it could
/// neither end its sessions nor give away what it owns.
#[must_use]
pub fn create(
    role: &RoleName,
    password: &Password,
    note: &Note,
    defaults: &Defaults,
    minter: &str,
    now: WallTime,
) -> Zeroizing<String> {
    let until = Timestamp(WallTime(now.0.saturating_add(LOGIN_NANOS))).ascii();
    let mut text = Zeroizing::new(format!(
        "CREATE ROLE {role} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE INHERIT NOREPLICATION NOBYPASSRLS \
         CONNECTION LIMIT 1 PASSWORD {} VALID UNTIL '{}' IN ROLE {} ROLE {};\nCOMMENT ON ROLE {role} IS {}",
        escape_literal(password.verifier()),
        String::from_utf8_lossy(&until),
        escape_identifier(&note.group),
        escape_identifier(minter),
        escape_literal(&note.text()),
    ));
    for setting in settings(defaults) {
        // Writing into a text does not fail.
        let _ = write!(text, ";\nALTER ROLE {role} SET {setting}");
    }
    text
}

fn settings(defaults: &Defaults) -> impl Iterator<Item = String> {
    let read_only = defaults.read_only.then(|| "default_transaction_read_only = on".to_owned());
    let timeout = defaults.statement_timeout_millis.map(|millis| format!("statement_timeout = {millis}"));
    let schemas: Vec<String> = defaults.search_path.iter().map(|schema| escape_identifier(schema)).collect();
    let path = (!schemas.is_empty()).then(|| format!("search_path = {}", schemas.join(", ")));
    [read_only, timeout, path].into_iter().flatten()
}

/// From now on nobody logs in with it. Sessions go on.
#[must_use]
pub fn disable(role: &RoleName) -> String {
    format!("ALTER ROLE {role} NOLOGIN CONNECTION LIMIT 0")
}

/// Ends its sessions: one row for each that was there. To be repeated until there is none.
#[must_use]
pub fn terminate(role: &RoleName) -> String {
    format!(
        "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity WHERE usename = '{role}' \
         AND pid <> pg_catalog.pg_backend_pid()"
    )
}

/// Ends one session of whoever asks, by the number of its process: a row if it was there.
#[must_use]
pub fn terminate_own(pid: u32) -> String {
    format!(
        "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity WHERE pid = {pid} \
         AND usename = current_user"
    )
}

/// Takes it away. Fails with 2BP01 while something is its own.
#[must_use]
pub fn drop_role(role: &RoleName) -> String {
    format!("DROP ROLE {role}")
}

/// Databases in which something is its own: one row each, the name first.
#[must_use]
pub fn owning_databases(role: &RoleName) -> String {
    format!(
        "SELECT DISTINCT d.datname::text FROM pg_catalog.pg_shdepend s \
         JOIN pg_catalog.pg_database d ON d.oid = s.dbid AND d.datallowconn \
         WHERE s.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass \
         AND s.refobjid = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = '{role}') \
         ORDER BY 1 LIMIT {OWNING_DATABASES_MAX}"
    )
}

/// Gives to the group what is its own in the database where this runs, and takes back what was granted to it.
#[must_use]
pub fn give_away(role: &RoleName, group: &str) -> String {
    format!("REASSIGN OWNED BY {role} TO {};\nDROP OWNED BY {role}", escape_identifier(group))
}

/// Roles that look like ours: name, comment, whether it may log in (`true`, `false`), and how many sessions it has.
#[must_use]
pub fn look() -> String {
    format!(
        "SELECT r.rolname::text, pg_catalog.shobj_description(r.oid, 'pg_authid'), r.rolcanlogin::text, \
         (SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_activity a WHERE a.usesysid = r.oid)::text \
         FROM pg_catalog.pg_roles r WHERE pg_catalog.starts_with(r.rolname::text, '{PREFIX}') \
         ORDER BY r.oid LIMIT {SWEPT_MAX}"
    )
}

/// Takes the lock of sweeps, until [`unlock`] or the end of the session: one row, `t` or `f`.
#[must_use]
pub fn try_lock() -> String {
    format!("SELECT pg_catalog.pg_try_advisory_lock({SWEEP_LOCK})")
}

/// Gives it back.
#[must_use]
pub fn unlock() -> String {
    format!("SELECT pg_catalog.pg_advisory_unlock({SWEEP_LOCK})")
}
