//! Statements that wait for somebody's decision.

use std::rc::Rc;
use std::sync::Arc;

use guard::{Announcement, Answer, Denied, Judge, Question};
use model::Known;
use model::access::{GrantId, Holder};
use model::principal::{Actor, Principal, PrincipalKind, Proof};
use model::statement::{Parameter, Value};
use model::time::{BootTime, WallTime};
use model::verdict::Mode;
use proptest::prelude::*;

use crate::wire::{bind, execute, message, messages, once, parse, query, sync, text};
use crate::{Session, kinds, set, status};

/// Deletes have to wait.
const POLICIES: &str = r#"
@id("all")
@reason("everything is allowed")
permit (principal, action, resource);

@id("deletes-wait")
@reason("somebody looks at what is deleted")
forbid (principal, action == Action::"RunUnattended", resource)
when { context.verb == Verb::"Delete" };
"#;
const DELETE: &str = "delete from t where a = 1";
const GRANT: GrantId = GrantId::new(7);

thread_local! {
    static JUDGE: Rc<Judge> = Rc::new(Judge::new(set(POLICIES, 1), Rc::default()));
}

fn session(mode: Mode) -> Session {
    Session::judged_by(JUDGE.with(Rc::clone), mode, usize::MAX)
}

fn approved() -> Answer {
    Answer::Approved(GRANT)
}

impl Session {
    fn question(&mut self) -> Question {
        *self.guard.take_question().unwrap()
    }

    /// Somebody decides; returns what the client gets.
    fn decide(&mut self, answer: Answer) -> Vec<(u8, Vec<u8>)> {
        self.guard.answer(answer);
        self.send_nothing()
    }

    fn send_nothing(&mut self) -> Vec<(u8, Vec<u8>)> {
        let got = self.turn(&[]);
        messages(&got).0
    }
}

#[test]
fn the_question_says_who_acts_as_the_session_knows() {
    let mut session = session(Mode::Enforce);
    session.send(&query(DELETE));
    assert_eq!(session.question().holder, None);
    let alice = Actor { kind: PrincipalKind::Person, id: "alice".into(), issuer: "https://id.example.com".into() };
    let principal = Principal {
        actor: alice.clone(),
        groups: Arc::default(),
        acting_for: Vec::new(),
        proof: Proof::Token,
        expires: None,
        purpose: None,
    };
    let mut session = self::session(Mode::Enforce);
    session.guard.identify(Known::Known(principal));
    session.send(&query(DELETE));
    assert_eq!(session.question().holder, Some(Holder { actor: alice, acting_for: Vec::new() }));
}

#[test]
fn what_waits_runs_once_it_is_approved_and_not_before() {
    let mut session = session(Mode::Enforce);
    assert_eq!(kinds(&session.send(&query(DELETE))), "");
    let question = session.question();
    assert_eq!((&*question.text, &*question.hold.rule), (DELETE, "deletes-wait"));
    assert!(session.guard.take_question().is_none(), "it is asked once");
    assert!(session.send_nothing().is_empty());
    assert!(session.server.ran.is_empty() && session.records.judged == 0);
    assert_eq!(kinds(&session.decide(approved())), "CZ");
    assert_eq!(session.server.ran, [DELETE]);
    assert_eq!(kinds(&session.send(&query(DELETE))), "", "an approval is for one run");
}

#[test]
fn the_client_is_told_what_it_waits_for() {
    let mut session = session(Mode::Enforce);
    session.send(&query(DELETE));
    session.question();
    let said = Announcement { grant: GRANT, approvers: "the group deciders".into(), until: "12:00".into() };
    session.guard.announce(&said, false);
    let notice = messages(&session.guard.speak(BootTime(99))).0;
    assert_eq!(kinds(&notice), "N");
    let notice = String::from_utf8_lossy(&notice[0].1).into_owned();
    for part in ["SNOTICE", "g-00000007", "grant: g-", "deletes-wait", "the group deciders", "until: 12:00", "sha256: "]
    {
        assert!(notice.contains(part), "{notice}");
    }
    assert!(session.guard.speak(BootTime(99)).is_empty());
    assert_eq!(kinds(&session.decide(approved())), "CZ");
}

#[test]
fn what_is_denied_is_refused_in_its_transaction() {
    let denials = [
        (Denied::Refused("not on a Friday".into()), "C42501", "not on a Friday"),
        (Denied::TimedOut, "C42501", "nobody has approved it in time"),
        (Denied::Cancelled, "C57014", "canceling statement due to user request"),
        (Denied::Unavailable("the core is gone".into()), "C42501", "the core is gone"),
    ];
    for (denied, sqlstate, words) in denials {
        let mut session = session(Mode::Enforce);
        session.send(&query("begin"));
        session.send(&query(DELETE));
        assert!(session.question().in_transaction);
        let got = session.decide(Answer::Denied(Some(GRANT), denied));
        assert_eq!((kinds(&got).as_str(), status(&got)), ("EZ", 'E'));
        let error = String::from_utf8_lossy(&got[0].1).into_owned();
        assert!(error.contains(sqlstate) && error.contains(words), "{error}");
        assert_eq!(status(&session.send(&query("rollback"))), 'I');
        assert!(session.server.ran.is_empty());
    }
}

#[test]
fn what_came_before_is_answered_and_what_comes_behind_waits() {
    let mut session = session(Mode::Enforce);
    let got = session.send(&[query("select 1"), query(DELETE), query("select 2")].concat());
    assert_eq!(kinds(&got), "CZ");
    session.question();
    assert_eq!(kinds(&session.decide(approved())), "CZCZ");
    assert_eq!(session.server.ran, ["select 1", DELETE, "select 2"]);
}

#[test]
fn a_batch_is_answered_up_to_what_waits() {
    let mut session = session(Mode::Enforce);
    let got = session.send(&[once("insert into t values (1)"), once(DELETE), once("select 1"), sync()].concat());
    assert_eq!(kinds(&got), "12C12");
    session.question();
    assert_eq!(kinds(&session.decide(approved())), "C12CZ");
    assert_eq!(session.server.ran, ["insert into t values (1)", DELETE, "select 1"]);
    // A batch that is denied undoes what came before in it.
    session.send(&[once("insert into t values (2)"), once(DELETE), once("select 2"), sync()].concat());
    session.question();
    let got = session.decide(Answer::Denied(None, Denied::TimedOut));
    assert_eq!((kinds(&got).as_str(), status(&got)), ("EZ", 'I'));
    assert_eq!(session.server.ran.len(), 3);
}

#[test]
fn nobody_is_asked_about_what_the_server_skips() {
    let mut session = session(Mode::Enforce);
    let got = session.send(&[once("it fails"), once(DELETE), sync(), query("select 1")].concat());
    assert_eq!(kinds(&got), "12EZCZ");
    assert!(session.guard.take_question().is_none() && !session.guard.is_holding());
    assert_eq!(session.server.ran, ["select 1"]);
    // Nor between the error and the next look at the client's stream.
    let batch = [once("select 'fails'"), once(DELETE), sync()].concat();
    let passed = session.guard.client(BootTime(session.now), WallTime(1), &batch, &mut session.records).unwrap();
    let answer = session.server.take(&passed.bytes);
    session.deliver(&answer);
    assert!(session.guard.is_holding() && session.guard.take_question().is_none());
}

#[test]
fn other_policies_decide_again() {
    let judge = Rc::new(Judge::new(set(POLICIES, 1), Rc::default()));
    let mut session = Session::judged_by(Rc::clone(&judge), Mode::Enforce, usize::MAX);
    session.send(&query(DELETE));
    session.question();
    let more = r#"@id("no-delete") @reason("not any more") forbid (principal, action == Action::"Delete", resource);"#;
    judge.replace(set(&format!("{POLICIES}{more}"), 2));
    let got = session.decide(approved());
    assert_eq!(kinds(&got), "EZ");
    assert!(String::from_utf8_lossy(&got[0].1).contains("no-delete"));
    assert!(session.server.ran.is_empty());
}

#[test]
fn what_is_fetched_later_is_the_same_run() {
    let mut session = session(Mode::Enforce);
    session.send(&[parse("s", DELETE), bind("p", "s"), execute("p"), message(b'H', &[])].concat());
    session.question();
    assert_eq!(kinds(&session.decide(approved())), "C");
    assert_eq!(kinds(&session.send(&[execute("p"), sync()].concat())), "CZ");
    session.send(&[bind("p", "s"), execute("p"), sync()].concat());
    assert!(session.guard.take_question().is_some(), "what is bound anew is another run");
}

/// A Bind of the unnamed statement with one value.
fn bind_value(value: &[u8]) -> Vec<u8> {
    let length = u32::try_from(value.len()).unwrap().to_be_bytes();
    message(b'B', &[&[0, 0, 0, 0, 0, 1], &length[..], value, &[0, 0]].concat())
}

#[test]
fn an_approval_is_about_exact_bytes() {
    let digest = |sql: &str, value: &[u8]| {
        let mut session = session(Mode::Enforce);
        session.send(&[parse("", sql), bind_value(value), execute(""), sync()].concat());
        session.question().digest
    };
    let sql = "delete from t where a = $1";
    assert_eq!(digest(sql, b"1"), digest(sql, b"1"));
    assert_ne!(digest(sql, b"1"), digest(sql, b"2"));
    assert_ne!(digest(sql, b"1"), digest("delete from t where a  = $1", b"1"));
    let mut session = session(Mode::Enforce);
    session.send(&[parse("", sql), bind_value(b"1"), execute(""), sync()].concat());
    let value = Parameter { type_oid: None, value: Value::Readable("1".into()) };
    assert_eq!(session.question().parameters, [value], "what is shown is what is bound");
}

#[test]
fn nobody_can_be_asked_about_what_is_not_known_whole() {
    let mut session = Session::judged_by(JUDGE.with(Rc::clone), Mode::Enforce, 8192);
    // Its Bind is longer than what is looked at.
    let long = [parse("", "delete from t where a = $1"), bind_value(&[b'x'; 400_000]), execute(""), sync()].concat();
    let got = session.send(&long);
    assert_eq!(kinds(&got), "12EZ");
    assert!(String::from_utf8_lossy(&got[2].1).contains("nobody can be asked"));
    assert!(session.server.ran.is_empty());
}

#[test]
fn observing_and_warning_hold_nothing() {
    for (mode, expected) in [(Mode::Observe, "CZ"), (Mode::Warn, "NCZ")] {
        let mut session = session(mode);
        let got = session.send(&query(DELETE));
        assert_eq!(kinds(&got), expected);
        assert_eq!(session.server.ran, [DELETE]);
        if mode == Mode::Warn {
            assert!(text(&got[0].1, 3).contains("would wait"), "{}", text(&got[0].1, 3));
        }
    }
}

fn step() -> impl Strategy<Value = Vec<u8>> {
    let sql = prop_oneof![
        Just("select 1"),
        Just(DELETE),
        Just("begin"),
        Just("commit"),
        Just("rollback"),
        Just("it fails"),
        Just("set search_path to a"),
    ];
    prop_oneof![
        sql.clone().prop_map(query),
        (sql.clone(), sql.clone()).prop_map(|(one, other)| [once(one), once(other), sync()].concat()),
        sql.prop_map(|sql| [parse("s", sql), sync(), bind("p", "s"), execute("p"), sync()].concat()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever is sent and decided: what was not approved never runs, everything said is recorded once, and each cycle
    /// is answered once.
    #[test]
    fn laws(steps in prop::collection::vec(step(), 1..10), answers in prop::collection::vec(any::<bool>(), 32)) {
        let bytes = steps.concat();
        let mut session = session(Mode::Enforce);
        let mut got = session.send(&bytes);
        let (mut approvals, mut answers) = (0, answers.into_iter().cycle());
        while session.guard.take_question().is_some() {
            let ran = session.server.runs;
            prop_assert!(session.send_nothing().is_empty());
            let answer = match answers.next() {
                Some(true) => approved(),
                _ => Answer::Denied(Some(GRANT), Denied::TimedOut),
            };
            approvals += usize::from(answer == approved());
            prop_assert_eq!(session.server.runs, ran, "something ran while it waited");
            got.extend(session.decide(answer));
        }
        prop_assert!(!session.guard.is_holding());
        prop_assert!(session.server.deletes <= approvals);
        prop_assert_eq!(&session.records.bytes, &bytes);
        let cycles = messages(&bytes).0.iter().filter(|(kind, _)| matches!(kind, b'Q' | b'S')).count();
        prop_assert_eq!(got.iter().filter(|(kind, _)| *kind == b'Z').count(), cycles);
    }
}
