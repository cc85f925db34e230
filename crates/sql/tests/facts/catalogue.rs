//! Names with and without a snapshot. `tests/server` does the same with the rows of a real server.

use std::sync::Arc;

use model::Known;
use model::facts::{Object, StateChange, UnknownSchema};
use sql::catalogue::rows::{
    Column, Conversion, Definition, Function, Operator, Relation, RelationKind, Required, Type,
};
use sql::catalogue::{Builder, Catalogue};
use sql::changed::CHANGED_MAX;
use sql::state::State;
use sql::{Analyser, Limits};

use super::render::state;

fn catalogue() -> Catalogue {
    let mut builder = Builder::new();
    for (oid, schema, name) in [(1, "public", "t"), (2, "alice", "t"), (3, "public", "only_here")] {
        builder.schema(Arc::from(schema));
        let kind = RelationKind::Table;
        builder.relation(Relation { oid, schema: Arc::from(schema), name: Arc::from(name), kind });
        builder.column(Column { relation: oid, number: 1, name: Arc::from("a") });
    }
    builder.function(Function {
        oid: 9,
        schema: Arc::from("public"),
        name: Arc::from("lower"),
        extension: Arc::from(""),
        takes_row: false,
    });
    builder.build(7)
}

fn schema(text: &str, state: &State, catalogue: &Catalogue) -> Result<String, UnknownSchema> {
    let facts = Analyser::new(Limits::default()).facts(text.as_bytes(), state, catalogue);
    let effects = &facts.statements.last().unwrap().effects;
    let schema = effects.iter().find_map(|effect| match &effect.object {
        Object::Relation(name) | Object::Function(name) => Some(name.schema.clone()),
        _ => None,
    });
    match schema.unwrap() {
        Known::Known(schema) => Ok(schema.to_string()),
        Known::Unknown(reason) => Err(reason),
    }
}

#[test]
fn a_schema_is_known_or_has_a_reason() {
    let snapshot = catalogue();
    let select = "SELECT a FROM t";
    assert_eq!(schema(select, &state(), &Catalogue::none()), Err(UnknownSchema::NoCatalogue));
    assert_eq!(schema("SELECT a FROM x.t", &state(), &Catalogue::none()), Ok("x".into()));
    assert_eq!(schema(select, &state(), &snapshot), Ok("alice".into()));
    assert_eq!(schema("SELECT a FROM only_here", &state(), &snapshot), Ok("public".into()));
    assert_eq!(schema("SELECT a FROM missing", &state(), &snapshot), Err(UnknownSchema::NotFound));
    assert_eq!(schema("SET search_path = public; SELECT a FROM t", &state(), &snapshot), Ok("public".into()));
    assert_eq!(schema("SET ROLE bob; SELECT a FROM t", &state(), &snapshot), Ok("public".into()));
    // The server leaves out a schema of which the role has no right: a name of several may be any.
    assert_eq!(schema("SET ROLE alice; SELECT a FROM t", &state(), &snapshot), Err(UnknownSchema::SearchPath));
    let written = "SET search_path = alice, public; SELECT a FROM ";
    assert_eq!(schema(&format!("{written}t"), &state(), &snapshot), Err(UnknownSchema::SearchPath));
    assert_eq!(schema(&format!("{written}only_here"), &state(), &snapshot), Ok("public".into()));
    assert_eq!(schema("RESET search_path; SELECT a FROM t", &state(), &snapshot), Err(UnknownSchema::SearchPath));
    assert_eq!(schema("CREATE TEMP TABLE t (); SELECT a FROM t", &state(), &snapshot), Err(UnknownSchema::Changed));
    assert_eq!(schema("CREATE TEMP TABLE u (); SELECT a FROM t", &state(), &snapshot), Ok("alice".into()));
    assert_eq!(schema("DROP TABLE alice.t; SELECT a FROM t", &state(), &snapshot), Err(UnknownSchema::Changed));
    let behind = |change: &str, name: &str| schema(&format!("{change}; SELECT a FROM {name}"), &state(), &snapshot);
    for change in ["ALTER TABLE x.t ADD b int", "CREATE VIEW x.t AS SELECT 1", "ALTER TABLE x.n RENAME TO t"] {
        assert_eq!(behind(change, "t"), Err(UnknownSchema::Changed), "{change}");
        assert_eq!(behind(change, "only_here"), Ok("public".into()), "{change}");
    }
    assert_eq!(behind("ALTER TABLE t ADD b int; DROP VIEW v CASCADE", "only_here"), Err(UnknownSchema::Changed));
    assert_eq!(behind("CREATE TABLE n ()", "n"), Ok("alice".into()), "nothing else can be called so");
    for change in ["CREATE TABLE n (); COMMIT", "CREATE TABLE IF NOT EXISTS n ()", "CREATE TABLE public.n ()"] {
        assert_eq!(behind(change, "n"), Err(UnknownSchema::Changed), "{change}");
    }
    assert_eq!(schema("SELECT lower('x')", &state(), &snapshot), Ok("public".into()));
    assert_eq!(schema("CREATE TABLE n ()", &state(), &snapshot), Ok("alice".into()));
}

/// Functions `public.label(t)` and `public.same`, the operator `public.=` of the second, and a domain with a check.
fn with_code(extension: &str) -> Catalogue {
    let mut builder = Builder::new();
    builder.relation(Relation { oid: 1, schema: "public".into(), name: "t".into(), kind: RelationKind::Table });
    builder.column(Column { relation: 1, number: 1, name: "a".into() });
    for (oid, name, takes_row) in [(8, "label", true), (9, "same", false)] {
        let (schema, extension) = ("public".into(), extension.into());
        builder.function(Function { oid, schema, name: name.into(), extension, takes_row });
    }
    builder.operator(Operator { schema: "public".into(), name: "=".into(), function: 9 });
    builder.type_code(Type { schema: "public".into(), name: "bait".into(), relation: 1, function: 9 });
    builder.relation(Relation { oid: 2, schema: "public".into(), name: "u".into(), kind: RelationKind::Table });
    for (number, name) in [(1, "id"), (2, "pair")] {
        builder.column(Column { relation: 2, number, name: name.into() });
    }
    builder.required(Required { relation: 2, number: 1 });
    builder.conversion(Conversion { relation: 2, number: 2, function: 9 });
    builder.build(8)
}

fn words(text: &str, catalogue: &Catalogue) -> String {
    super::render::words(&Analyser::new(Limits::default()).facts(text.as_bytes(), &state(), catalogue))
}

const JOINED: &str = "SELECT: select public.t(*) all, select public.u(*) all, call public.same()";

#[test]
fn code_that_has_no_call_in_the_text_is_named() {
    let catalogue = with_code("");
    for (text, expected) in [
        ("SELECT t.a FROM t", "SELECT: select public.t(a) all"),
        ("SELECT t.label FROM t", "SELECT: select public.t(label) all, call public.label()"),
        ("SELECT (t).label FROM t", "SELECT: select public.t(*) all, call public.label()"),
        ("SELECT 1::bait", "SELECT: call public.same()"),
        ("SELECT 1::other.bait", "SELECT: "),
        ("INSERT INTO t VALUES (1)", "INSERT: insert public.t(*), call public.same()"),
        ("SELECT 1 = 2", "SELECT: call =()"),
        ("CREATE TEMP TABLE n (b bait)", "CREATE TABLE: call public.same(), create pg_temp.n, =temporary n"),
        ("SELECT 1 FROM json_to_record('{}') AS r(b bait)", "SELECT: call public.same()"),
        ("SELECT 1 FROM ROWS FROM (json_to_record('{}') AS (b bait), now())", "SELECT: call public.same()"),
        ("SELECT 1 FROM xmltable('/' PASSING '<a/>' COLUMNS b bait PATH 'a')", "SELECT: call public.same()"),
        ("SELECT json_value('1', '$' RETURNING bait)", "SELECT: call public.same()"),
        ("SELECT json_populate_record(NULL::bait, '{}')", "SELECT: call public.same()"),
        ("SELECT json_populate_record(NULL::other, '{}')", "SELECT: "),
        ("SELECT jsonb_populate_record(r, '{}') FROM now() AS r", "SELECT: call public.same()"),
        ("SELECT id FROM u", "SELECT: select public.u(id) all"),
        ("SELECT pair + 1 FROM u", "SELECT: select public.u(pair) all, call public.same()"),
        ("SELECT * FROM u", "SELECT: select public.u(*) all, call public.same()"),
        // A join has a row, and may have other names for its columns.
        ("SELECT j FROM (u CROSS JOIN t) AS j", JOINED),
        ("SELECT row_to_json(j) FROM (u JOIN t ON true) AS j", JOINED),
        ("SELECT z FROM (u CROSS JOIN t) AS j (x, z)", JOINED),
        ("SELECT j.id FROM (u CROSS JOIN t) AS j", "SELECT: select public.t all, select public.u(id) all"),
        (
            "DELETE FROM u WHERE pair + 1 > 0",
            "DELETE: select public.u(pair) some, delete public.u some, call public.same()",
        ),
    ] {
        assert_eq!(words(text, &catalogue), expected, "{text}");
    }
}

#[test]
fn that_a_column_is_there_which_always_is_restricts_nothing() {
    let catalogue = with_code("");
    for (condition, rows) in [
        ("id IS NOT NULL", "all"),
        ("u.id IS NOT NULL", "all"),
        ("NOT id IS NULL", "all"),
        ("id::text IS NOT NULL", "all"),
        ("id IS NOT NULL OR id = 1", "all"),
        ("id IS NOT NULL AND id = 1", "some"),
        ("pair IS NOT NULL", "some"),
        ("id = 1", "some"),
    ] {
        let found = words(&format!("DELETE FROM u WHERE {condition}"), &catalogue);
        assert!(found.contains(&format!("delete public.u {rows}")), "{condition}: {found}");
    }
    let joined = words("DELETE FROM t USING u WHERE u.id IS NOT NULL AND t.a = u.id", &catalogue);
    assert!(joined.contains("delete public.t some"), "{joined}");
    let renamed = words("DELETE FROM u AS x WHERE x.id IS NOT NULL", &catalogue);
    assert!(renamed.contains("delete public.u all"), "{renamed}");
}

#[test]
fn what_a_reviewed_extension_computes_is_no_call() {
    for (extension, expected) in [("citext", "SELECT: "), ("unread", "SELECT: call public.same(), call =()")] {
        assert_eq!(words("SELECT 1::bait = 2", &with_code(extension)), expected);
    }
}

#[test]
fn a_form_that_a_reviewed_extension_adds_to_a_function_of_the_server_is_no_call() {
    for (extension, expected) in
        [("citext", "SELECT: "), ("unread", "SELECT: call public.max()"), ("", "SELECT: call public.max()")]
    {
        let mut builder = Builder::new();
        builder.function(Function {
            oid: 8,
            schema: "public".into(),
            name: "max".into(),
            extension: extension.into(),
            takes_row: false,
        });
        assert_eq!(words("SELECT max('a'::text)", &builder.build(8)), expected, "{extension}");
    }
}

#[test]
fn of_too_many_changes_everything_may_be_another_one() {
    let mut changed = state();
    let behind = |state: &State| schema("SELECT a FROM only_here", state, &catalogue());
    for number in 0..=CHANGED_MAX {
        assert_eq!(behind(&changed), Ok("public".into()), "{number}");
        changed.apply(&StateChange::Relation { name: Arc::from(format!("v{number}")), made_in: None });
    }
    assert_eq!(behind(&changed), Err(UnknownSchema::Changed));
}

#[test]
fn behind_a_call_no_name_of_its_text_is_known() {
    let select = "SELECT a FROM t";
    assert_eq!(schema(select, &state(), &with_code("")), Ok("public".into()));
    let behind = format!("SELECT public.same(); {select}");
    assert_eq!(schema(&behind, &state(), &with_code("")), Err(UnknownSchema::SearchPath));
}

#[test]
fn facts_of_one_snapshot_are_not_those_of_another() {
    let mut analyser = Analyser::new(Limits::default());
    let with = analyser.facts(b"SELECT a FROM t", &state(), &catalogue());
    let without = analyser.facts(b"SELECT a FROM t", &state(), &Catalogue::none());
    assert_ne!(with, without);
    let mut changed = state();
    changed.apply(&StateChange::Catalogue);
    assert_ne!(analyser.facts(b"SELECT a FROM t", &changed, &catalogue()), with);
}

#[test]
fn a_column_belongs_to_the_relation_that_has_it() {
    let facts =
        Analyser::new(Limits::default()).facts(b"SELECT (SELECT a FROM x LIMIT 1) FROM t", &state(), &catalogue());
    let words = super::render::words(&facts);
    assert_eq!(words, "SELECT: select alice.t(a) all, select x(a) all");
}

/// Views without rows of dependencies, as the server has them for its own objects.
fn with_views(definitions: &[(&str, &str)]) -> Catalogue {
    let mut builder = Builder::new();
    for (oid, name) in [(1, "pg_authid"), (2, "pg_roles")] {
        let kind = if oid == 1 { RelationKind::Table } else { RelationKind::View };
        builder.relation(Relation { oid, schema: "pg_catalog".into(), name: name.into(), kind });
    }
    builder.definition(Definition { relation: 2, text: " SELECT rolname FROM pg_authid;".into() });
    for (oid, (name, text)) in (10..).zip(definitions) {
        builder.relation(Relation { oid, schema: "public".into(), name: (*name).into(), kind: RelationKind::View });
        builder.definition(Definition { relation: oid, text: (*text).into() });
    }
    builder.schema("public".into());
    builder.build(9)
}

#[test]
fn views_of_what_is_the_servers() {
    let catalogue = with_views(&[
        ("verifiers", " SELECT a.rolpassword\n   FROM pg_authid a;"),
        ("outer_view", " SELECT v.rolpassword\n   FROM public.verifiers v;"),
        ("file", " SELECT pg_read_file('/etc/passwd'::text) AS pg_read_file;"),
        ("rows", " SELECT query_to_xml('x'::text, true, true, ''::text) AS x;"),
        ("roles", " SELECT r.rolname\n   FROM pg_roles r;"),
        ("harmless", " SELECT lower(now()::text) AS l;"),
        ("broken", " SELECT FROM WHERE"),
    ]);
    for (view, behind) in [
        ("verifiers", "select pg_catalog.pg_authid(rolpassword) all, select public.verifiers(*) all"),
        (
            "outer_view",
            "select pg_catalog.pg_authid(rolpassword) all, select public.outer_view(*) all, \
             select public.verifiers(rolpassword) all",
        ),
        ("file", "select public.file(*) all, call pg_catalog.pg_read_file(), server_file server"),
        ("rows", "select public.rows(*) all, call pg_catalog.query_to_xml(), opaque dynamic_sql"),
        ("roles", "select pg_catalog.pg_roles(rolname) all, select public.roles(*) all"),
        ("harmless", "select public.harmless(*) all"),
        ("broken", "select public.broken(*) all, opaque syntax"),
    ] {
        assert_eq!(words(&format!("SELECT * FROM public.{view}"), &catalogue), format!("SELECT: {behind}"), "{view}");
    }
    assert_eq!(
        words("DELETE FROM public.verifiers", &catalogue),
        "DELETE: delete pg_catalog.pg_authid(?) all, delete public.verifiers all"
    );
}
