//! A function may set where names are looked up, and nobody says so: behind a call the server is asked.

use std::rc::Rc;

use guard::{Judge, Snapshot};
use model::time::BootTime;
use model::verdict::{Mode, PolicyEpoch};
use policy::{PolicyFile, PolicySet};
use sql::catalogue::Builder;
use sql::catalogue::rows::{Dependency, Relation, RelationKind};

use crate::wire::{bind, execute, message, messages, once, parse, query, sync};
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
    session_and_judge().0
}

fn session_and_judge() -> (Session, Rc<Judge>) {
    let file = PolicyFile { name: "test.cedar".into(), text: POLICIES.into() };
    let judge = Rc::new(Judge::new(PolicySet::compile(&[file], PolicyEpoch(1)).unwrap(), Rc::default()));
    let mut builder = Builder::new();
    for (oid, schema) in [(1, "public"), (2, "vault")] {
        builder.schema(schema.into());
        builder.relation(Relation { oid, schema: schema.into(), name: "t".into(), kind: RelationKind::Table });
    }
    judge.know("shop".into(), Snapshot::new(builder.build(1), BootTime(0)));
    let mut session = Session::judged_by(Rc::clone(&judge), Mode::Enforce, usize::MAX);
    assert_eq!(answers(&mut session, &[query("select from t")]), "CZ");
    (session, judge)
}

fn answers(session: &mut Session, messages: &[Vec<u8>]) -> String {
    kinds(&session.send(&messages.concat()))
}

/// What the client gets when whatever waits for a newer snapshot may go on.
fn goes_on(session: &mut Session) -> String {
    kinds(&messages(&session.turn(&[])).0)
}

/// The same, when it has waited for too long.
fn gives_up(session: &mut Session) -> String {
    session.now += 3_000_000_000;
    goes_on(session)
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

#[test]
fn at_a_savepoint_names_mean_what_they_meant() {
    let mut session = session();
    for before in ["savepoint s", "select from t", "rollback to s"] {
        session.send(&[query("begin"), query("savepoint s"), query(before)].concat());
        let got = answers(&mut session, &[query("rollback to s"), query("select from t")]);
        assert_eq!(got, "CZCZ", "{before}");
        session.send(&query("rollback"));
    }
    session.send(&[query("begin"), query("savepoint s")].concat());
    assert_eq!(answers(&mut session, &[query("set local search_path = vault"), query("select from t")]), "CZEZ");
    assert_eq!(answers(&mut session, &[query("rollback to s"), query("select from t")]), "CZCZ");
    // What code has done behind it is undone, and what it has done before is not.
    assert_eq!(answers(&mut session, &[query("select app.move()"), query("select from t")]), "CZEZ");
    assert_eq!(answers(&mut session, &[query("rollback to s"), query("select from t")]), "CZCZ");
    assert_eq!(answers(&mut session, &[query("select app.move()"), query("savepoint s")]), "CZCZ");
    assert_eq!(answers(&mut session, &[query("rollback to s"), query("select from t")]), "CZEZ");
    session.send(&query("rollback"));
    // One that is not known may be any of them.
    assert_eq!(answers(&mut session, &[query("begin"), query("rollback to other"), query("select from t")]), "CZCZEZ");
}

#[test]
fn schemas_of_a_path_may_be_closed_to_the_role() {
    let mut session = session();
    let asked = session.server.asked;
    assert_eq!(answers(&mut session, &[query("set search_path = vault, public"), query("select from t")]), "CZCZ");
    assert_eq!(session.server.asked, asked + 1, "the server says that vault is left out");
    session.send(&query("begin"));
    for (path, expected) in [("vault, public", "CZEZ"), ("public, vault", "CZEZ"), ("a, public", "CZCZ")] {
        session.send(&query("savepoint s"));
        let set = query(&format!("set local search_path = {path}"));
        assert_eq!(answers(&mut session, &[set, query("select from t")]), expected, "{path}");
        session.send(&query("rollback to s"));
    }
    assert_eq!(session.server.asked, asked + 1);
}

#[test]
fn what_sql_prepared_is_read_by_the_catalogue_of_now() {
    let known = |epoch, read: u32| {
        let mut builder = Builder::new();
        for (oid, schema, name, kind) in [
            (1, "public", "t", RelationKind::Table),
            (2, "vault", "t", RelationKind::Table),
            (3, "public", "v", RelationKind::View),
        ] {
            builder.schema(schema.into());
            builder.relation(Relation { oid, schema: schema.into(), name: name.into(), kind });
        }
        builder.dependency(Dependency { view: 3, relation: read, column: 0, function: 0 });
        builder.build(epoch)
    };
    let file = PolicyFile { name: "test.cedar".into(), text: POLICIES.into() };
    let judge = Rc::new(Judge::new(PolicySet::compile(&[file], PolicyEpoch(1)).unwrap(), Rc::default()));
    judge.know("shop".into(), Snapshot::new(known(1, 1), BootTime(0)));
    let mut session = Session::judged_by(Rc::clone(&judge), Mode::Enforce, usize::MAX);
    assert_eq!(answers(&mut session, &[query("prepare s as select from v")]), "CZ");
    assert_eq!(answers(&mut session, &[query("execute s")]), "CZ");
    // Another session replaces the view.
    judge.know("shop".into(), Snapshot::new(known(2, 2), BootTime(0)));
    assert_eq!(answers(&mut session, &[query("execute s")]), "EZ");
    judge.know("shop".into(), Snapshot::new(known(3, 1), BootTime(0)));
    assert_eq!(answers(&mut session, &[query("execute s")]), "CZ");
}

#[test]
fn what_a_session_has_changed_is_known_once_it_is_read_again() {
    let (mut session, judge) = session_and_judge();
    let later = BootTime(u64::MAX);
    assert_eq!(answers(&mut session, &[query("drop view public.n cascade")]), "CZ");
    assert_eq!(answers(&mut session, &[query("select from t")]), "", "it may be anywhere now");
    judge.confirm("shop", BootTime(1));
    assert_eq!(goes_on(&mut session), "", "that reading began before");
    judge.confirm("shop", later);
    assert_eq!(goes_on(&mut session), "CZ");
}

#[test]
fn what_a_session_has_not_changed_is_known_at_once() {
    let (mut session, _judge) = session_and_judge();
    assert_eq!(answers(&mut session, &[query("create table public.n (a int)")]), "CZ");
    assert_eq!(answers(&mut session, &[query("select from t")]), "CZ");
    assert_eq!(answers(&mut session, &[query("alter table public.t add b int")]), "CZ");
    assert_eq!(answers(&mut session, &[query("select from t")]), "");
}

#[test]
fn what_the_next_transaction_needs_waits_as_well() {
    let (mut session, judge) = session_and_judge();
    for sql in ["begin", "drop view public.n cascade", "commit", "begin"] {
        assert_eq!(answers(&mut session, &[query(sql)]), "CZ");
    }
    let batch = [once("select from t"), sync()];
    assert_eq!(answers(&mut session, &batch), "");
    judge.confirm("shop", BootTime(u64::MAX));
    assert_eq!(goes_on(&mut session), "12CZ");
}

#[test]
fn what_was_committed_before_is_known_behind_a_change_of_the_transaction() {
    let (mut session, judge) = session_and_judge();
    assert_eq!(answers(&mut session, &[query("alter table public.t add b int")]), "CZ");
    for sql in ["begin", "create table public.n (a int)"] {
        assert_eq!(answers(&mut session, &[query(sql)]), "CZ", "{sql}");
    }
    assert_eq!(answers(&mut session, &[query("select from t")]), "", "it is waited for, in a transaction, too");
    judge.confirm("shop", BootTime(u64::MAX - 1));
    assert_eq!(goes_on(&mut session), "CZ");
    assert_eq!(answers(&mut session, &[query("alter table public.t add c int")]), "CZ");
    judge.confirm("shop", BootTime(u64::MAX));
    assert_eq!(answers(&mut session, &[query("select from t")]), "EZ", "nobody else sees that change");
    for sql in ["rollback", "select from t"] {
        assert_eq!(answers(&mut session, &[query(sql)]), "CZ", "{sql}");
    }
}

#[test]
fn nobody_waits_forever_for_a_reading() {
    let (mut session, _judge) = session_and_judge();
    assert_eq!(answers(&mut session, &[query("drop view public.n cascade")]), "CZ");
    let pipeline = [query("select from t"), query("select from public.t"), query("select from t")];
    assert_eq!(answers(&mut session, &pipeline), "", "what is behind it waits, too");
    assert_eq!(gives_up(&mut session), "EZCZEZ");
    assert_eq!(session.records.judged, 5, "each is on record once");
}

#[test]
fn what_may_have_changed_the_catalogue_counts_as_well() {
    let (mut session, judge) = session_and_judge();
    let begin = [once("copy public.nonsense from stdin"), sync()];
    assert_eq!(answers(&mut session, &begin), "12G");
    session.send(&message(b'd', b"1\n"));
    // Behind a COPY that has failed nobody can tell which answer is whose.
    let change = query("drop view public.n cascade");
    assert_eq!(answers(&mut session, &[message(b'c', b""), sync(), change]), "ZCZ");
    assert_eq!(answers(&mut session, &[query("select from t")]), "", "it may have been made");
    judge.confirm("shop", BootTime(u64::MAX));
    assert_eq!(goes_on(&mut session), "CZ");
}

#[test]
fn what_lies_with_temporary_objects_is_in_no_snapshot() {
    let (mut session, judge) = session_and_judge();
    assert_eq!(answers(&mut session, &[query("create domain pg_temp.t as int")]), "CZ");
    judge.confirm("shop", BootTime(u64::MAX));
    assert_eq!(answers(&mut session, &[query("select from t")]), "EZ", "it is hidden");
    assert_eq!(answers(&mut session, &[query("select from public.t")]), "CZ");
}

#[test]
fn a_savepoint_brings_temporary_objects_back() {
    let (mut session, judge) = session_and_judge();
    assert_eq!(answers(&mut session, &[query("create domain pg_temp.t as int")]), "CZ");
    judge.confirm("shop", BootTime(u64::MAX));
    for sql in ["begin", "savepoint s", "discard temporary", "create table public.n ()", "select from t"] {
        assert_eq!(answers(&mut session, &[query(sql)]), "CZ", "{sql}");
    }
    assert_eq!(answers(&mut session, &[query("rollback to s")]), "CZ");
    assert_eq!(answers(&mut session, &[query("select from t")]), "EZ", "it is hidden again");
}

#[test]
fn temporary_objects_hide_what_has_their_names() {
    let (mut session, judge) = session_and_judge();
    assert_eq!(answers(&mut session, &[query("create domain pg_temp.n as int")]), "CZ");
    judge.confirm("shop", BootTime(u64::MAX));
    assert_eq!(answers(&mut session, &[query("select from t")]), "CZ");
    assert_eq!(answers(&mut session, &[query("select app.many()")]), "CZ");
    assert_eq!(answers(&mut session, &[query("select from t")]), "EZ", "not all of them were listed");
}

#[test]
fn what_an_open_transaction_has_changed_is_read_by_nobody() {
    let (mut session, judge) = session_and_judge();
    let later = BootTime(u64::MAX);
    assert_eq!(answers(&mut session, &[query("begin")]), "CZ");
    assert_eq!(answers(&mut session, &[query("drop view public.n cascade")]), "CZ");
    judge.confirm("shop", later);
    assert_eq!(answers(&mut session, &[query("select from t")]), "EZ");
    assert_eq!(answers(&mut session, &[query("rollback")]), "CZ");
    assert_eq!(answers(&mut session, &[query("select from t")]), "CZ", "it has not changed anything");
    for sql in ["begin", "drop view public.n cascade", "commit"] {
        assert_eq!(answers(&mut session, &[query(sql)]), "CZ");
    }
    assert_eq!(answers(&mut session, &[query("begin")]), "CZ");
    assert_eq!(answers(&mut session, &[query("select from t")]), "CZ");
}
