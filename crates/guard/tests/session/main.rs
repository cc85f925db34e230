//! A client, the guard and a model of a server in one thread: what reaches the server, and what the client gets.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod holds;
mod server;
mod wire;

use std::rc::Rc;

use guard::{Book, Guard, Judge};
use model::Known;
use model::principal::UnknownPrincipal;
use model::time::{BootTime, WallTime};
use model::verdict::{Mode, PolicyEpoch};
use policy::{PolicyFile, PolicySet, SessionContext, Transport, UtcOffset};
use proptest::prelude::*;
use recorder::EncodedJudgement;

use crate::server::Server;
use crate::wire::{bind, execute, message, messages, once, parse, query, startup, sync, text};

/// Everything is allowed but DROP and what is not understood.
const POLICIES: &str = r#"
@id("all")
@reason("everything is allowed")
permit (principal, action, resource);

@id("no-drop")
@reason("nobody drops anything")
@remedy("ask for it")
forbid (principal, action == Action::"Drop", resource);

@id("no-opaque")
@reason("what is not understood does not run")
forbid (principal, action == Action::"Opaque", resource);
"#;

thread_local! {
    static JUDGE: Rc<Judge> = Rc::new(Judge::new(set(POLICIES, 1), Rc::default()));
}

fn set(text: &str, epoch: u64) -> PolicySet {
    let file = PolicyFile { name: "test.cedar".into(), text: text.into() };
    PolicySet::compile(&[file], PolicyEpoch(epoch)).unwrap()
}

fn context(mode: Mode) -> SessionContext {
    SessionContext {
        database_name: "shop".into(),
        environment: "production".into(),
        mode,
        database: "shop".into(),
        user: "alice".into(),
        application: "".into(),
        transport: Transport::Tcp,
        encrypted: false,
        client_address: None,
        process: None,
        in_transaction: false,
        utc_offset: UtcOffset::default(),
    }
}

#[derive(Default)]
struct Records {
    judged: usize,
    bytes: Vec<u8>,
}

impl Book for Records {
    fn judged(&mut self, _: &EncodedJudgement) {
        self.judged += 1;
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }
}

/// A session from its login on.
struct Session {
    guard: Guard,
    server: Server,
    records: Records,
    /// Sizes of the pieces in which everything travels; none: whole.
    piece: usize,
    now: u64,
}

impl Session {
    fn new(mode: Mode, piece: usize) -> Self {
        Self::judged_by(JUDGE.with(Rc::clone), mode, piece)
    }

    fn judged_by(judge: Rc<Judge>, mode: Mode, piece: usize) -> Self {
        let mut guard = Guard::new(judge, Known::Unknown(UnknownPrincipal::NoProof), context(mode), false);
        let _cleared = guard.open(BootTime(1), WallTime(1), &startup(), std::iter::empty()).unwrap();
        let mut session = Self { guard, server: Server::default(), records: Records::default(), piece, now: 2 };
        session.deliver(&Server::greeting());
        session
    }

    fn deliver(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for piece in bytes.chunks(self.piece) {
            self.now += 1;
            out.extend_from_slice(&self.guard.server(BootTime(self.now), piece));
        }
        out
    }

    /// Sends bytes of the client, and lets everything happen that follows; returns what the client gets.
    fn send(&mut self, bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
        let mut got = Vec::new();
        for piece in bytes.chunks(self.piece) {
            got.extend(self.turn(piece));
        }
        let (whole, rest) = messages(&got);
        assert!(rest.is_empty(), "the client got half a message");
        whole
    }

    fn turn(&mut self, piece: &[u8]) -> Vec<u8> {
        let mut got = Vec::new();
        let mut piece = piece;
        loop {
            self.now += 1;
            let passed = self.guard.client(BootTime(self.now), WallTime(1), piece, &mut self.records).unwrap();
            piece = &[];
            let answer = self.server.take(&passed.bytes);
            got.extend(self.deliver(&answer));
            if passed.bytes.is_empty() {
                return got;
            }
        }
    }
}

fn kinds(messages: &[(u8, Vec<u8>)]) -> String {
    messages.iter().map(|(kind, _)| char::from(*kind)).collect()
}

fn status(messages: &[(u8, Vec<u8>)]) -> char {
    messages.last().map_or('?', |(_, body)| char::from(body[0]))
}

#[test]
fn a_refused_query_is_an_error_and_the_session_goes_on() {
    let mut session = Session::new(Mode::Enforce, usize::MAX);
    let got = session.send(&query("drop table customers"));
    assert_eq!(kinds(&got), "EZ");
    let error = String::from_utf8_lossy(&got[0].1).into_owned();
    for part in ["C42501", "no-drop", "nobody drops anything", "ask for it"] {
        assert!(error.contains(part), "{error}");
    }
    assert_eq!(status(&got), 'I');
    assert_eq!(kinds(&session.send(&query("select 1"))), "CZ");
    assert_eq!(session.server.ran, ["select 1"]);
    assert_eq!(session.records.judged, 2);
}

#[test]
fn a_refused_query_fails_the_transaction() {
    let mut session = Session::new(Mode::Enforce, usize::MAX);
    session.send(&[query("begin"), query("insert into t values (1)")].concat());
    let got = session.send(&query("drop table t"));
    assert_eq!((kinds(&got).as_str(), status(&got)), ("EZ", 'E'));
    assert_eq!(status(&session.send(&query("rollback"))), 'I');
    assert!(session.server.ran.is_empty());
}

#[test]
fn one_refused_statement_refuses_the_whole_message() {
    let mut session = Session::new(Mode::Enforce, usize::MAX);
    let got = session.send(&query("insert into t values (1); drop table t"));
    assert_eq!(kinds(&got), "EZ");
    assert!(session.server.ran.is_empty());
}

#[test]
fn a_refused_parse_undoes_its_batch() {
    let mut session = Session::new(Mode::Enforce, usize::MAX);
    let got =
        session.send(&[once("insert into t values (1)"), once("drop table t"), once("select 1"), sync()].concat());
    assert_eq!(kinds(&got), "12CEZ");
    assert_eq!(status(&got), 'I');
    assert!(session.server.ran.is_empty(), "{:?}", session.server.ran);
    assert_eq!(kinds(&session.send(&[once("select 2"), sync()].concat())), "12CZ");
}

#[test]
fn pipelined_cycles_are_answered_in_their_order() {
    let mut session = Session::new(Mode::Enforce, usize::MAX);
    let got = session.send(&[query("select 1"), query("drop table t"), query("select 2")].concat());
    assert_eq!(kinds(&got), "CZEZCZ");
    assert_eq!(session.server.ran, ["select 1", "select 2"]);
}

#[test]
fn a_name_keeps_what_it_was_prepared_as() {
    let mut session = Session::new(Mode::Enforce, usize::MAX);
    let got = session.send(&[parse("s", "select 1"), sync(), bind("p", "s"), execute("p"), sync()].concat());
    assert_eq!(kinds(&got), "1Z2CZ");
    let got = session.send(&[bind("", "never"), execute(""), sync()].concat());
    assert_eq!(kinds(&got), "EZ");
    assert!(String::from_utf8_lossy(&got[0].1).contains("no-opaque"));
}

#[test]
fn what_sql_prepared_is_forgotten_when_names_may_mean_something_else() {
    let mut session = Session::new(Mode::Enforce, usize::MAX);
    session.send(&query("prepare s as select * from t"));
    assert_eq!(kinds(&session.send(&query("execute s"))), "CZ");
    for refused in ["prepare d as drop table t", "execute d"] {
        assert_eq!(kinds(&session.send(&query(refused))), "EZ");
    }
    session.send(&query("set search_path to other"));
    let got = session.send(&query("execute s"));
    assert!(String::from_utf8_lossy(&got[0].1).contains("no-opaque"), "{got:?}");
}

#[test]
fn a_sync_in_the_middle_of_copy_data_is_none() {
    let data = [message(b'd', b"1\n"), message(b'c', &[]), sync()].concat();
    let begin = [once("copy t from stdin"), sync()].concat();
    // Some clients wait until the server takes data, others do not.
    for together in [false, true] {
        let mut session = Session::new(Mode::Enforce, usize::MAX);
        let got = if together {
            session.send(&[begin.clone(), data.clone()].concat())
        } else {
            [session.send(&begin), session.send(&data)].concat()
        };
        assert_eq!(kinds(&got), "12GCZ");
        assert_eq!(kinds(&session.send(&[query("select 1"), query("select 2")].concat())), "CZCZ");
        assert!(session.guard.is_quiet());
    }
}

#[test]
fn observing_and_warning_change_nothing() {
    for mode in [Mode::Observe, Mode::Warn] {
        let mut session = Session::new(mode, usize::MAX);
        let got = session.send(&query("drop table t"));
        assert_eq!(kinds(&got), if mode == Mode::Warn { "NCZ" } else { "CZ" });
        assert_eq!(session.server.ran, ["drop table t"]);
    }
}

#[test]
fn a_text_that_is_too_long_is_judged_by_its_beginning() {
    let mut session = Session::new(Mode::Enforce, 8192);
    let long = format!("select '{}'", "x".repeat(400_000));
    let got = session.send(&[query(&long), query("select 1")].concat());
    assert_eq!(kinds(&got), "EZCZ");
    assert_eq!(session.server.ran, ["select 1"]);
    let mut session = Session::new(Mode::Observe, 8192);
    assert_eq!(kinds(&session.send(&query(&long))), "CZ");
    assert_eq!(session.server.ran, [long]);
}

#[test]
fn the_client_never_sees_the_guards_own_question() {
    let mut session = Session::new(Mode::Enforce, usize::MAX);
    let got = session.send(&query("set role other"));
    assert_eq!(kinds(&got), "CZ");
    let got = session.send(&query("select 1"));
    assert_eq!(kinds(&got), "CZ");
    assert_eq!(text(&got[0].1, 0), "SELECT 1");
}

#[test]
fn bytes_that_are_no_protocol_end_an_enforced_session_only() {
    let bytes = b"\x01\x02\x03\x04\x05\x06";
    let mut session = Session::new(Mode::Enforce, usize::MAX);
    assert!(session.guard.client(BootTime(9), WallTime(1), bytes, &mut Records::default()).is_err());
    let mut session = Session::new(Mode::Observe, usize::MAX);
    let passed = session.guard.client(BootTime(9), WallTime(1), bytes, &mut Records::default()).unwrap();
    assert_eq!(passed.bytes, bytes);
}

fn step() -> impl Strategy<Value = Vec<u8>> {
    let sql = prop_oneof![
        Just("select 1"),
        Just("drop table t"),
        Just("begin"),
        Just("commit"),
        Just("rollback"),
        Just("it fails"),
        Just("select fails()"),
        Just("set search_path to a"),
    ];
    prop_oneof![
        sql.clone().prop_map(query),
        (sql.clone(), sql.clone()).prop_map(|(one, other)| [once(one), once(other), sync()].concat()),
        sql.clone().prop_map(|sql| [parse("s", sql), sync(), bind("p", "s"), execute("p"), sync()].concat()),
        // A portal that ends its transaction is gone with it; how soon that is known depends on the server's answers.
        Just([parse("n", "select 1"), bind("", "n"), execute(""), execute(""), sync()].concat()),
        sql.prop_map(|sql| [parse("n", sql), bind("", "n"), execute(""), sync()].concat()),
        Just([execute("p"), sync()].concat()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Whatever is sent: what is forbidden never runs, everything said is recorded, each cycle is answered once, and how
    /// the bytes are cut makes no difference.
    #[test]
    fn laws(steps in prop::collection::vec(step(), 1..12), piece in 1_usize..40) {
        let bytes = steps.concat();
        let mut whole = Session::new(Mode::Enforce, usize::MAX);
        let got = whole.send(&bytes);
        prop_assert!(!whole.server.ran.iter().any(|sql| sql.contains("drop")), "{:?}", whole.server.ran);
        prop_assert_eq!(&whole.records.bytes, &bytes);
        let cycles = messages(&bytes).0.iter().filter(|(kind, _)| matches!(kind, b'Q' | b'S')).count();
        prop_assert_eq!(got.iter().filter(|(kind, _)| *kind == b'Z').count(), cycles);
        let mut cut = Session::new(Mode::Enforce, piece);
        prop_assert_eq!(kinds(&cut.send(&bytes)), kinds(&got), "{}", String::from_utf8_lossy(&bytes));
        prop_assert_eq!(cut.server.ran, whole.server.ran);
    }
}
