//! A real PostgreSQL: the snapshot that [`QUERIES`] fetches with a login that has no rights, what is behind views,
//! partitions and triggers in it, and the list of harmless functions.
//!
//! As root, with the server of the distribution.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod cluster;
mod snapshot;

use std::sync::Arc;

use cluster::Cluster;
use model::Known;
use model::facts::{Effect, Object};
use snapshot::fetch;
use sql::catalogue::Catalogue;
use sql::state::State;
use sql::{Analyser, Limits};

const SCHEMA: &str = "
CREATE SCHEMA app;
CREATE TABLE app.customers (id int PRIMARY KEY, name text, ssn text, city text);
CREATE VIEW app.names AS SELECT id, name FROM app.customers;
CREATE VIEW public.everything AS SELECT n.name, c.ssn FROM app.names n JOIN app.customers c USING (id);
CREATE FUNCTION app.mask(text) RETURNS text LANGUAGE sql AS 'SELECT 1::text';
CREATE VIEW app.masked AS SELECT app.mask(ssn) FROM app.customers;
CREATE MATERIALIZED VIEW app.kept AS SELECT city FROM app.customers;
CREATE TABLE app.events (at date, what text) PARTITION BY RANGE (at);
CREATE TABLE app.events_1 PARTITION OF app.events FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
CREATE TABLE app.events_2 PARTITION OF app.events DEFAULT;
CREATE FUNCTION app.audit() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER audit AFTER UPDATE ON app.customers FOR EACH ROW EXECUTE FUNCTION app.audit();
CREATE TABLE app.ruled (a int);
CREATE RULE r AS ON DELETE TO app.ruled DO ALSO DELETE FROM app.customers;
CREATE FUNCTION app.lower(app.customers) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE TABLE public.customers (a int);
CREATE FUNCTION app.label(app.customers) RETURNS text LANGUAGE sql AS 'SELECT 1::text';
CREATE FUNCTION app.any_label(anyelement) RETURNS text LANGUAGE sql AS 'SELECT 1::text';
CREATE FUNCTION app.checks(int) RETURNS boolean LANGUAGE sql AS 'SELECT true';
CREATE FUNCTION app.same(int, int) RETURNS boolean LANGUAGE sql AS 'SELECT true';
CREATE DOMAIN app.checked AS int CHECK (app.checks(value));
CREATE DOMAIN app.twice AS app.checked;
CREATE FUNCTION app.next() RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE DOMAIN app.numbered AS int DEFAULT app.next();
CREATE TYPE app.pair AS (a int, b app.twice);
CREATE TABLE app.held (id int, pairs app.pair[]);
CREATE TYPE app.fuse AS (n int);
CREATE FUNCTION app.burns(app.fuse) RETURNS text LANGUAGE sql AS 'SELECT 1::text';
CREATE CAST (app.fuse AS text) WITH FUNCTION app.burns(app.fuse);
CREATE TABLE app.fuses (id int, one app.fuse, more app.fuse[]);
CREATE VIEW app.lit AS SELECT id, one FROM app.fuses;
CREATE SCHEMA ext;
CREATE EXTENSION citext SCHEMA ext;
CREATE EXTENSION hstore SCHEMA ext;
CREATE TABLE app.extended (c ext.citext, h ext.hstore);
CREATE SCHEMA own;
CREATE OPERATOR own.= (leftarg = int, rightarg = int, function = app.same);
CREATE VIEW app.verifiers AS SELECT rolname, rolpassword FROM pg_authid;
CREATE VIEW app.passwords AS SELECT rolpassword FROM app.verifiers;
CREATE VIEW app.file AS SELECT pg_read_file('PG_VERSION');
CREATE VIEW app.roles AS SELECT rolname FROM pg_roles;
CREATE ROLE reader LOGIN;
";

fn words(catalogue: &Catalogue, path: &[&str], text: &str) -> String {
    let path: Arc<[Arc<str>]> = path.iter().map(|schema| Arc::from(*schema)).collect();
    let state = State { search_path: Known::Known(path), server_major: Some(15), ..State::new(Arc::from("reader")) };
    let facts = Analyser::new(Limits::default()).facts(text.as_bytes(), &state, catalogue);
    let statement = facts.statements.first().unwrap();
    let effects = statement.effects.iter().map(effect);
    effects
        .chain(statement.opaque.iter().map(|reason| format!("opaque {}", reason.word())))
        .collect::<Vec<_>>()
        .join(", ")
}

fn effect(effect: &Effect) -> String {
    let (Object::Relation(name) | Object::Function(name)) = &effect.object else { return format!("{effect:?}") };
    let schema = match &name.schema {
        Known::Known(schema) => schema.to_string(),
        Known::Unknown(reason) => reason.word().to_owned(),
    };
    let columns = match &effect.columns {
        model::facts::Columns::None => String::new(),
        model::facts::Columns::Named(columns) => format!("({})", columns.join(" ")),
        model::facts::Columns::All => "(*)".to_owned(),
        model::facts::Columns::Unknown => "(?)".to_owned(),
    };
    format!("{} {schema}.{}{columns}", effect.action.word(), name.name)
}

#[test]
fn names_and_what_lies_behind_them() {
    let cluster = Cluster::start();
    cluster.run("postgres", SCHEMA);
    let catalogue = fetch(&cluster);
    for (path, text, expected) in [
        (&["app"][..], "SELECT name FROM customers", "select app.customers(name)"),
        (&["public", "app"], "SELECT 1 FROM customers", "select public.customers"),
        (&["nowhere"], "SELECT 1 FROM customers", "select not_found.customers"),
        (&["app"], "SELECT relname FROM pg_class", "select pg_catalog.pg_class(relname)"),
        (&["app"], "SELECT ssn, what FROM customers, events", ALL_EVENTS),
        (&["app"], "SELECT name FROM names", "select app.customers(id name), select app.names(name)"),
        (&["public"], "SELECT ssn FROM everything", VIEW_OF_VIEW),
        (&["app"], "SELECT * FROM masked", "select app.customers(ssn), select app.masked(*), call app.mask"),
        (&["app"], "SELECT city FROM kept", "select app.kept(city)"),
        (&["app"], "SELECT what FROM events_1", "select app.events(what), select app.events_1(what)"),
        (&["app"], "SELECT what FROM ONLY events", "select app.events(what)"),
        (&["app"], "UPDATE customers SET city = ''", "update app.customers(city), call app.audit"),
        (&["app"], "DELETE FROM customers", "delete app.customers"),
        (&["app"], "DELETE FROM ruled", "delete app.ruled, opaque code"),
        (&["app"], "DELETE FROM names", "delete app.customers(?), delete app.names"),
        (&["app"], "SELECT rolname FROM verifiers", VERIFIERS),
        (&["app"], "SELECT rolpassword FROM passwords", PASSWORDS),
        (&["app"], "SELECT rolname FROM roles", "select app.roles(rolname), select pg_catalog.pg_roles(rolname)"),
        (&["app"], "SELECT 1 FROM file", FILE),
        (&["public"], "SELECT lower('x')", ""),
        (&["app"], "SELECT lower('x')", "call app.lower"),
        (&["app"], "SELECT mask('x')", "call app.mask"),
    ] {
        assert_eq!(words(&catalogue, path, text), expected, "{text}");
    }
}

#[test]
fn code_behind_types_rows_and_operators() {
    let cluster = Cluster::start();
    cluster.run("postgres", SCHEMA);
    let catalogue = fetch(&cluster);
    for (path, text, expected) in [
        (&["app"][..], "SELECT c.name FROM customers c", "select app.customers(name)"),
        (&["app"], "SELECT c.label FROM customers c", "select app.customers(label), call app.label"),
        (&["app"], "SELECT (c).label FROM customers c", "select app.customers(*), call app.label"),
        (&["app"], "SELECT c.any_label FROM customers c", "select app.customers(any_label), call app.any_label"),
        (&["app"], "SELECT s.any_label FROM (SELECT 1) s", "call app.any_label"),
        (&["public"], "SELECT c.label FROM app.customers c", "select app.customers(label)"),
        (&["app"], "SELECT 1::checked", "call app.checks"),
        (&["public"], "SELECT 1::app.twice", "call app.checks"),
        (&["public"], "SELECT '{1}'::app.twice[]", "call app.checks"),
        (&["public"], "SELECT row(1, 1)::app.pair", "call app.checks"),
        (&["public"], "SELECT row(1)::app.fuse::text", "call app.burns"),
        (&["public"], "SELECT 1::text", ""),
        (&["public"], "SELECT to_json(json_populate_record(NULL::app.fuses, '{}'))", "call app.burns"),
        (&["public"], "SELECT jsonb_populate_record(h, '{}') FROM app.held AS h", FILLED),
        (&["public"], "SELECT jsonb_populate_record(NULL::app.customers, '{}')", ""),
        (&["app"], "SELECT id FROM fuses", "select app.fuses(id)"),
        (&["app"], "SELECT one::text FROM fuses", "select app.fuses(one), call app.burns"),
        (&["app"], "SELECT id FROM fuses WHERE more IS NULL", "select app.fuses(id more), call app.burns"),
        (&["app"], "SELECT one FROM lit", "select app.fuses(id one), select app.lit(one), call app.burns"),
        (&["app"], "SELECT * FROM extended", "select app.extended(*)"),
        (&["public"], "CREATE TEMP TABLE t (a app.fuse)", "call app.burns, create pg_temp.t"),
        (&["public"], "CREATE TEMP TABLE t (a app.numbered)", "call app.next, create pg_temp.t"),
        (&["public"], "INSERT INTO app.held VALUES (1, $1)", "insert app.held(*), call app.checks"),
        (&["public"], "SELECT id FROM app.held", "select app.held(id)"),
        (&["public"], "DELETE FROM app.held", "delete app.held"),
        (&["ext"], "SELECT 1 FROM app.customers WHERE name = 'x'", "select app.customers(name)"),
        (&["ext"], "SELECT $1::citext, $2::hstore -> 'a'", ""),
        (&["own"], "SELECT 1 = 2", "call not_found.="),
    ] {
        assert_eq!(words(&catalogue, path, text), expected, "{text}");
    }
}

const FILLED: &str = "select app.held(*), call app.burns, call app.checks, call app.next";
const ALL_EVENTS: &str = "select app.customers(ssn), select app.events(what), select app.events_1(what), \
                          select app.events_2(what)";
const VERIFIERS: &str = "select app.verifiers(rolname), select pg_catalog.pg_authid(rolname rolpassword)";
const PASSWORDS: &str = "select app.passwords(rolpassword), select app.verifiers(rolpassword), \
                         select pg_catalog.pg_authid(rolname rolpassword)";
const FILE: &str = "select app.file, call pg_catalog.pg_read_file, \
                    Effect { action: ServerFile, object: Server, columns: None, condition: NotApplicable }";
const VIEW_OF_VIEW: &str =
    "select app.customers(id name ssn), select app.names(id name), select public.everything(ssn)";

/// No function of the list may be volatile or run as somebody else, but for those that were read one by one.
#[test]
fn harmless_functions_are_declared_so() {
    let cluster = Cluster::start();
    let risky = cluster.rows(
        "postgres",
        "SELECT DISTINCT proname FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace \
         AND (provolatile = 'v' OR prosecdef OR prorettype IN ('trigger'::regtype, 'event_trigger'::regtype))",
    );
    let harmless: Vec<&str> = include_str!("../../src/function/harmless.txt").lines().collect();
    let found: Vec<&str> = risky.iter().map(|row| row[0].as_str()).filter(|name| harmless.contains(name)).collect();
    let unread: Vec<&&str> = found.iter().filter(|name| !READ.contains(name)).collect();
    assert!(unread.is_empty(), "volatile and in the list of harmless functions: {unread:?}");
    assert!(found.len() > 40, "the question to the server finds too little: {found:?}");
}

#[test]
fn every_function_that_gives_rows_is_known() {
    let cluster = Cluster::start();
    let rows = cluster.rows("postgres", "SELECT DISTINCT proname::text FROM pg_proc WHERE proretset");
    let known: Vec<&str> = include_str!("../../src/function/sets.txt").lines().collect();
    let unknown: Vec<&str> = rows.iter().map(|row| row[0].as_str()).filter(|name| !known.contains(name)).collect();
    assert!(rows.len() > 60 && unknown.is_empty(), "{} functions, unknown: {unknown:?}", rows.len());
}

#[test]
fn every_operator_of_the_server_is_known() {
    let cluster = Cluster::start();
    let rows = cluster.rows(
        "postgres",
        "SELECT DISTINCT oprname::text FROM pg_operator WHERE oprnamespace = 'pg_catalog'::regnamespace",
    );
    let known: Vec<&str> = include_str!("../../src/function/operators.txt").lines().collect();
    let unknown: Vec<&str> = rows.iter().map(|row| row[0].as_str()).filter(|name| !known.contains(name)).collect();
    assert!(rows.len() > 60 && unknown.is_empty(), "{} operators, unknown: {unknown:?}", rows.len());
}

/// Volatile functions of PostgreSQL 15 that were read: they tell something, and change nothing.
const READ: &[&str] = &[
    "clock_timestamp",
    "current_query",
    "gen_random_uuid",
    "pg_blocking_pids",
    "pg_collation_actual_version",
    "pg_control_checkpoint",
    "pg_control_init",
    "pg_control_recovery",
    "pg_control_system",
    "pg_current_wal_flush_lsn",
    "pg_current_wal_insert_lsn",
    "pg_current_wal_lsn",
    "pg_database_collation_actual_version",
    "pg_database_size",
    "pg_get_wal_replay_pause_state",
    "pg_get_wal_resource_managers",
    "pg_indexes_size",
    "pg_is_in_recovery",
    "pg_is_wal_replay_paused",
    "pg_isolation_test_session_is_blocked",
    "pg_jit_available",
    "pg_last_committed_xact",
    "pg_last_wal_receive_lsn",
    "pg_last_wal_replay_lsn",
    "pg_last_xact_replay_timestamp",
    "pg_lock_status",
    "pg_notification_queue_usage",
    "pg_partition_ancestors",
    "pg_partition_tree",
    "pg_prepared_xact",
    "pg_relation_size",
    "pg_safe_snapshot_blocking_pids",
    "pg_show_replication_origin_status",
    "pg_stat_get_xact_blocks_fetched",
    "pg_stat_get_xact_blocks_hit",
    "pg_stat_get_xact_function_calls",
    "pg_stat_get_xact_function_self_time",
    "pg_stat_get_xact_function_total_time",
    "pg_stat_get_xact_numscans",
    "pg_stat_get_xact_tuples_deleted",
    "pg_stat_get_xact_tuples_fetched",
    "pg_stat_get_xact_tuples_hot_updated",
    "pg_stat_get_xact_tuples_inserted",
    "pg_stat_get_xact_tuples_returned",
    "pg_stat_get_xact_tuples_updated",
    "pg_stat_have_stats",
    "pg_table_size",
    "pg_tablespace_size",
    "pg_total_relation_size",
    "pg_xact_commit_timestamp",
    "pg_xact_commit_timestamp_origin",
    "pg_xact_status",
    "random",
    "timeofday",
    "txid_status",
];
