//! A cursor runs when somebody fetches from it, with the bounds that its query has.

use std::rc::Rc;

use guard::Judge;
use model::time::{BootTime, WallTime};
use model::verdict::Mode;

use crate::wire::{bind, parse, query, sync};
use crate::{Session, set};

const POLICIES: &str = r#"
@id("reads")
@reason("reads end soon")
@max_runtime_ms("1000")
permit (principal, action == Action::"Select", resource);

@id("rest")
@reason("everything else")
permit (principal, action, resource)
unless { action == Action::"Select" };
"#;

fn session() -> Session {
    let mut session =
        Session::judged_by(Rc::new(Judge::new(set(POLICIES, 1), Rc::default())), Mode::Enforce, usize::MAX);
    session.send(&query("begin"));
    session
}

/// Whether a statement must end by some time.
fn is_bounded(session: &mut Session, sql: &str) -> bool {
    let passed = session.guard.client(BootTime(session.now), WallTime(1), &query(sql), &mut session.records).unwrap();
    let is_bounded = session.guard.deadline().is_some();
    let answer = session.server.take(&passed.bytes);
    session.deliver(&answer);
    is_bounded
}

#[test]
fn fetch_and_move_and_commit_are_bounded_like_the_query() {
    let mut session = session();
    assert!(!is_bounded(&mut session, "fetch all from c"), "nothing was read in this session");
    session.send(&query("declare c cursor for select a from t"));
    for sql in ["fetch all from c", "move all in c", "commit"] {
        assert!(is_bounded(&mut session, sql), "{sql}");
    }
    assert!(!is_bounded(&mut session, "commit"), "it was run by the commit before");
    assert!(!is_bounded(&mut session, "set application_name = 'x'"));
}

#[test]
fn a_cursor_that_nobody_has_seen_has_the_tightest_bounds_of_the_session() {
    let mut session = session();
    session.send(&[parse("", "select a from t"), bind("p", ""), sync()].concat());
    assert!(is_bounded(&mut session, "fetch all from p"));
    assert!(!is_bounded(&mut session, "set application_name = 'x'"));
}

#[test]
fn a_cursor_of_the_same_text_has_the_bounds_of_the_text() {
    let mut session = session();
    session.send(&query("select a from t"));
    assert!(!is_bounded(&mut session, "declare c cursor for values (1); fetch all from c"));
}
