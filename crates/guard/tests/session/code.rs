//! A function may set where names are looked up, and nobody says so: behind a call the server is asked.

use std::rc::Rc;

use guard::Judge;
use model::verdict::{Mode, PolicyEpoch};
use policy::{PolicyFile, PolicySet};
use sql::catalogue::Builder;
use sql::catalogue::rows::{Relation, RelationKind};

use crate::wire::{bind, execute, once, parse, query, sync};
use crate::{Session, kinds};

const POLICIES: &str = r#"
@id("all")
@reason("everything is allowed")
permit (principal, action, resource);

@id("no-vault")
@reason("nobody looks into the vault")
forbid (principal, action, resource in Schema::"vault");
"#;

/// A session of a database with `public.t` and `vault.t`, in which `app.move()` makes the second be found first.
fn session() -> Session {
    let file = PolicyFile { name: "test.cedar".into(), text: POLICIES.into() };
    let judge = Judge::new(PolicySet::compile(&[file], PolicyEpoch(1)).unwrap(), Rc::default());
    let mut builder = Builder::new();
    for (oid, schema) in [(1, "public"), (2, "vault")] {
        builder.schema(schema.into());
        builder.relation(Relation { oid, schema: schema.into(), name: "t".into(), kind: RelationKind::Table });
    }
    judge.know("shop".into(), builder.build(1));
    let mut session = Session::judged_by(Rc::new(judge), Mode::Enforce, usize::MAX);
    assert_eq!(answers(&mut session, &[query("select from t")]), "CZ");
    session
}

fn answers(session: &mut Session, messages: &[Vec<u8>]) -> String {
    kinds(&session.send(&messages.concat()))
}

#[test]
fn behind_a_call_names_mean_what_the_server_says() {
    let mut session = session();
    assert_eq!(answers(&mut session, &[query("select app.move()")]), "CZ");
    assert_eq!(answers(&mut session, &[query("select from t")]), "EZ");
    assert_eq!(answers(&mut session, &[query("select from public.t")]), "CZ");
}

#[test]
fn a_pipeline_waits_for_the_call() {
    let mut session = session();
    assert_eq!(answers(&mut session, &[query("select app.move()"), query("select from t")]), "CZEZ");
}

#[test]
fn what_stands_behind_a_call_in_its_text_is_not_known() {
    let mut session = session();
    assert_eq!(answers(&mut session, &[query("select app.move(); select from t")]), "EZ");
}

#[test]
fn within_a_transaction_the_server_is_asked_too() {
    let mut session = session();
    assert_eq!(answers(&mut session, &[query("begin"), query("select app.other()"), query("select from t")]), "CZCZCZ");
    assert_eq!(answers(&mut session, &[query("select app.move()"), query("select from t")]), "CZEZ");
    // The path goes back with the transaction.
    assert_eq!(answers(&mut session, &[query("rollback"), query("select from t")]), "CZCZ");
}

#[test]
fn within_a_batch_the_server_is_asked_too() {
    let mut session = session();
    assert_eq!(answers(&mut session, &[once("select app.other()"), once("select from t"), sync()]), "12C12CZ");
    assert_eq!(answers(&mut session, &[once("select app.move()"), once("select from t"), sync()]), "12CEZ");
}

#[test]
fn a_prepared_text_is_read_again_behind_a_call() {
    let mut session = session();
    assert_eq!(answers(&mut session, &[parse("s", "select from t"), sync()]), "1Z");
    assert_eq!(answers(&mut session, &[query("select app.move()")]), "CZ");
    assert_eq!(answers(&mut session, &[bind("", "s"), execute(""), sync()]), "EZ");
}

#[test]
fn a_call_that_is_only_planned_may_have_run() {
    let mut session = session();
    session.send(&[parse("", "select app.move()"), bind("", ""), sync()].concat());
    let asked = session.server.asked;
    assert_eq!(answers(&mut session, &[query("select 1")]), "CZ");
    assert_eq!(session.server.asked, asked + 1);
}
