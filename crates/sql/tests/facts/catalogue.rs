//! Names with and without a snapshot. `tests/server` does the same with the rows of a real server.

use std::sync::Arc;

use model::Known;
use model::facts::{Object, StateChange, UnknownSchema};
use sql::catalogue::rows::{Column, Function, Operator, Relation, RelationKind, Type};
use sql::catalogue::{Builder, Catalogue};
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
    assert_eq!(schema("SET ROLE alice; SELECT a FROM t", &state(), &snapshot), Ok("alice".into()));
    assert_eq!(schema("RESET search_path; SELECT a FROM t", &state(), &snapshot), Err(UnknownSchema::SearchPath));
    assert_eq!(schema("CREATE TEMP TABLE t (); SELECT a FROM t", &state(), &snapshot), Err(UnknownSchema::Changed));
    assert_eq!(schema("CREATE TEMP TABLE u (); SELECT a FROM t", &state(), &snapshot), Ok("alice".into()));
    assert_eq!(schema("DROP TABLE alice.t; SELECT a FROM t", &state(), &snapshot), Err(UnknownSchema::Changed));
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
    builder.build(8)
}

fn words(text: &str, catalogue: &Catalogue) -> String {
    super::render::words(&Analyser::new(Limits::default()).facts(text.as_bytes(), &state(), catalogue))
}

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
    ] {
        assert_eq!(words(text, &catalogue), expected, "{text}");
    }
}

#[test]
fn what_a_reviewed_extension_computes_is_no_call() {
    for (extension, expected) in [("citext", "SELECT: "), ("unread", "SELECT: call public.same(), call =()")] {
        assert_eq!(words("SELECT 1::bait = 2", &with_code(extension)), expected);
    }
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
