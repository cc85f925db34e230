//! Statements in a minute: each counts, in whatever way they come.

use std::rc::Rc;

use guard::Judge;
use model::verdict::Mode;

use crate::wire::{once, query, sync};
use crate::{Session, kinds, set};

const POLICIES: &str = r#"
@id("own")
@reason("whoever is there looks after the session")
permit (principal, action in [Action::"Connect", Action::"Session"], resource);

@id("read")
@reason("reads are few")
@rate_per_minute("4")
permit (principal, action in Action::"Read", resource);
"#;

fn session() -> Session {
    Session::judged_by(Rc::new(Judge::new(set(POLICIES, 1), Rc::default())), Mode::Enforce, usize::MAX)
}

#[test]
fn each_statement_of_a_text_counts() {
    let mut session = session();
    let three = query("select a from t; select b from t; select c from t");
    assert!(!kinds(&session.send(&three)).contains('E'));
    assert!(kinds(&session.send(&three)).contains('E'), "six of four");
    // What was refused has not run, and the fourth may.
    assert!(!kinds(&session.send(&query("select a from t"))).contains('E'));
    assert!(kinds(&session.send(&query("select a from t"))).contains('E'), "the fifth");
    assert!(!kinds(&session.send(&query("begin; select 1; commit"))).contains('E'), "nothing of it is counted");
}

#[test]
fn each_execute_of_a_batch_counts_and_what_is_not_counted_does_not() {
    let mut session = session();
    let batch = |texts: &[&str]| [texts.iter().flat_map(|text| once(text)).collect(), sync()].concat();
    let reads = ["select 1", "select a from t", "select a from t", "select a from t", "select a from t"];
    assert!(!kinds(&session.send(&batch(&reads))).contains('E'));
    assert!(kinds(&session.send(&batch(&reads))).contains('E'), "the fifth");
}
