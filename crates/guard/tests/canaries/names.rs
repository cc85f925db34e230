//! Names that stand for something else by now: SQL and the protocol share them.

use crate::client::Way;
use crate::wire::{bind, execute, message, parse, query, sync};
use crate::{POLICIES, Stage};

const HARMLESS: &str = "select id, name from people";
const HIDDEN: &str = "select id, ssn from people";

fn close(kind: char, name: &str) -> Vec<u8> {
    message(b'C', format!("{kind}{name}\0").as_bytes())
}

/// Plays cycles of messages: without a guard they show something, with one they do not.
#[track_caller]
fn shows_nothing(stage: &Stage, cycles: &[Vec<u8>]) {
    let (mut masked, mut direct) = (stage.masked(), stage.direct());
    let mut shown = false;
    for cycle in cycles {
        shown |= stage.has_canary(&direct.send(cycle, 1).raw);
        stage.no_canary(&masked.send(cycle, 1).raw, &String::from_utf8_lossy(cycle));
    }
    assert!(shown, "there is nothing to hide");
}

#[test]
fn a_message_takes_the_place_of_what_sql_has_under_a_name() {
    let stage = Stage::start(POLICIES);
    let begin = query("begin");
    let declare = query(&format!("declare c cursor for {HARMLESS}"));
    let prepare = query(&format!("prepare s as {HARMLESS}"));
    let other_portal = [close('P', "c"), parse("", HIDDEN), bind("c", ""), sync()].concat();
    shows_nothing(&stage, &[begin.clone(), declare.clone(), other_portal, query("fetch all from c")]);
    let other_statement = [close('S', "s"), parse("s", HIDDEN), sync()].concat();
    shows_nothing(&stage, &[prepare, other_statement, query("execute s")]);
    // The same with a name that SQL has cut.
    let long = "n".repeat(70);
    let cursor = query(&format!("declare {long} cursor for {HARMLESS}"));
    let other = [close('P', &long), parse("", HIDDEN), bind(&long, ""), sync()].concat();
    shows_nothing(&stage, &[begin.clone(), cursor, other, query(&format!("fetch all from {long}"))]);
    // An EXPLAIN declares nothing.
    let explained = query(&format!("explain declare c cursor for {HARMLESS}"));
    let hidden = query(&format!("declare c cursor for {HIDDEN}"));
    shows_nothing(&stage, &[begin, hidden, explained, query("fetch all from c")]);
}

#[test]
fn sql_takes_the_place_of_what_a_message_has_under_a_name() {
    let stage = Stage::start(POLICIES);
    let begin = query("begin");
    let portal = [parse("", HARMLESS), bind("c", ""), sync()].concat();
    let declare = query(&format!("declare c cursor for {HIDDEN}"));
    shows_nothing(&stage, &[begin.clone(), portal, query("close c"), declare, [execute("c"), sync()].concat()]);
    let statement = [parse("s", HARMLESS), sync()].concat();
    let prepare = query(&format!("prepare s as {HIDDEN}"));
    let run = [bind("", "s"), execute(""), sync()].concat();
    shows_nothing(&stage, &[statement, query("deallocate s"), prepare.clone(), run]);
    // A portal runs what its name stood for when it was bound.
    let bound = [bind("p", "s"), sync()].concat();
    let again = query(&format!("prepare s as {HARMLESS}"));
    let run = [execute("p"), sync()].concat();
    shows_nothing(&stage, &[prepare, begin, bound, query("deallocate s"), again, run]);
}

#[test]
fn what_cursors_read_outside_of_fetch_is_not_quoted() {
    let stage = Stage::start(POLICIES);
    let begin = query("begin");
    let declare = |options: &str| query(&format!("declare c cursor {options} for select ssn::int from people"));
    shows_nothing(&stage, &[begin.clone(), declare(""), query("move all in c")]);
    let moved = [parse("", "move all in c"), bind("", ""), execute(""), sync()].concat();
    shows_nothing(&stage, &[begin.clone(), declare(""), moved]);
    shows_nothing(&stage, &[begin.clone(), declare("with hold"), query("commit")]);
    let committed = [parse("", "commit"), bind("", ""), execute(""), sync()].concat();
    shows_nothing(&stage, &[begin, declare("with hold"), committed]);
    let mut client = stage.masked();
    assert_eq!(client.run(Way::Simple, "begin; declare c cursor for select ssn from people").error, None);
    for sql in ["move 2 in c", "fetch 1 from c", "commit"] {
        assert_eq!(client.run(Way::Simple, sql).error, None, "{sql}");
    }
}

#[test]
fn a_cursor_with_hold_is_known_behind_its_commit() {
    let stage = Stage::start(POLICIES);
    let mut client = stage.masked();
    for sql in ["begin", "declare c cursor with hold for select id, ssn from people order by id", "commit", "begin"] {
        assert_eq!(client.run(Way::Simple, sql).error, None, "{sql}");
    }
    let answer = client.run(Way::Simple, "fetch 1 from c");
    stage.no_canary(&answer.raw, "fetch");
    assert_eq!(answer.rows, [[Some(b"1".to_vec()), Some(b"************-1".to_vec())]], "{:?}", answer.error);
    // One that is rolled back is none.
    client.run(Way::Simple, "rollback; close c; begin; declare c cursor with hold for select 1");
    client.run(Way::Simple, "rollback");
    assert!(client.run(Way::Simple, "fetch 1 from c").error.unwrap().contains("unknown-origin"));
}

#[test]
fn a_plan_of_what_sql_prepared_needs_what_it_would_read() {
    let stage = Stage::start(POLICIES);
    let mut client = stage.masked();
    client.run(Way::Simple, "prepare s as select ssn::int from people");
    let answer = client.run(Way::Simple, "explain analyze execute s");
    stage.no_canary(&answer.raw, "explain");
    assert!(client.run(Way::Simple, "explain execute s").error.is_none());
    assert!(client.run(Way::Simple, "explain execute nothing").error.unwrap().contains("C42501"));
}

/// Reads return three rows; nothing else is bounded.
const BOUNDED: &str = r#"
@id("reads")
@reason("a few rows")
@max_rows("3")
permit (principal, action == Action::"Select", resource);
@id("rest")
@reason("everything else")
permit (principal, action, resource)
unless { action == Action::"Select" };
"#;

#[test]
fn a_cursor_has_the_bounds_that_its_query_has() {
    let stage = Stage::start(BOUNDED);
    let mut client = stage.masked();
    let is_beyond = |client: &mut crate::client::Client, sql: &str| {
        client.run(Way::Simple, sql).error.is_some_and(|error| error.contains("C54000"))
    };
    assert!(is_beyond(&mut client, "select id from orders"));
    client.run(Way::Simple, "begin; declare c cursor with hold for select id from orders");
    assert_eq!(client.run(Way::Simple, "fetch 3 from c").rows.len(), 3);
    assert_eq!(client.run(Way::Simple, "move 2 in c; commit").error, None);
    assert!(is_beyond(&mut client, "fetch all from c"));
}

#[test]
fn bounds_are_about_all_that_a_cursor_or_portal_gives() {
    let stage = Stage::start(BOUNDED);
    let mut client = stage.masked();
    let few = |name: &str| [message(b'E', format!("{name}\0\0\0\0\x02").as_bytes()), sync()].concat();
    let rows = |answer: crate::client::Answer| {
        let is_beyond = answer.error.is_some_and(|error| error.contains("C54000"));
        if is_beyond { None } else { Some(answer.rows.len()) }
    };
    client.run(Way::Simple, "begin; declare c cursor for select id from orders");
    assert_eq!(rows(client.run(Way::Simple, "fetch 2 from c")), Some(2));
    assert_eq!(rows(client.run(Way::Extended, "fetch 2 from c")), None);
    client.run(Way::Simple, "rollback; begin");
    client.send(&[parse("", "select id from orders"), bind("p", ""), sync()].concat(), 1);
    assert_eq!(rows(client.send(&few("p"), 1)), Some(2));
    assert_eq!(rows(client.send(&few("p"), 1)), None);
    // Another cursor of the same name is another one; one that outlives its transaction is the same.
    client.run(Way::Simple, "rollback; begin; declare c cursor with hold for select id from orders");
    assert_eq!(rows(client.run(Way::Simple, "fetch 2 from c; commit")), Some(2));
    assert!(client.run(Way::Simple, "declare c cursor with hold for select id from orders").error.is_some());
    assert_eq!(rows(client.run(Way::Simple, "fetch 2 from c")), None);
    client.run(Way::Simple, "close c; begin; declare c cursor for select id from orders");
    assert_eq!(rows(client.run(Way::Simple, "fetch 3 from c")), Some(3));
    assert_eq!(rows(client.run(Way::Simple, "rollback; begin; select id from orders limit 3")), Some(3));
    for number in 0..2 {
        client.send(&[parse("", "select id from orders limit 2"), bind("", ""), sync()].concat(), 1);
        assert_eq!(rows(client.send(&few(""), 1)), Some(2), "{number}");
    }
}
