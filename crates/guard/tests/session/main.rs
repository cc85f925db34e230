//! A client, the guard and a model of a server in one thread: what reaches the server, and what the client gets.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod code;
mod cursors;
mod fuzz_body;
mod holds;
mod rates;
mod reading;
mod server;
mod wire;

use std::rc::Rc;

use guard::{Book, Guard, Judge};
use model::Known;
use model::principal::UnknownPrincipal;
use model::time::{BootTime, WallTime};
use model::verdict::{Mode, PolicyEpoch};
use policy::{PolicyFile, PolicySet};
use proptest::prelude::*;
use recorder::EncodedJudgement;

use crate::fuzz_body::context;
use crate::server::Server;
use crate::wire::{bind, execute, message, messages, once, parse, query, startup, sync, text};

/// Everything is allowed but DROP, DELETE and what is not understood.
const POLICIES: &str = r#"
@id("all")
@reason("everything is allowed")
permit (principal, action, resource);

@id("no-drop")
@reason("nobody drops anything")
@remedy("ask for it")
forbid (principal, action == Action::"Drop", resource);

@id("no-delete")
@reason("nobody deletes anything")
forbid (principal, action == Action::"Delete", resource);

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

#[derive(Default)]
struct Records {
    judged: usize,
    bytes: Vec<u8>,
    /// Bytes that find room; none: any number.
    room: Option<usize>,
}

impl Book for Records {
    fn judged(&mut self, _: &EncodedJudgement) {
        self.judged += 1;
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    fn has_room(&mut self) -> bool {
        self.room.is_none_or(|room| self.bytes.len() < room)
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
        Self::of(judge, mode, Server::default(), piece)
    }

    fn of(judge: Rc<Judge>, mode: Mode, server: Server, piece: usize) -> Self {
        let principal = Known::Unknown(UnknownPrincipal::NoProof);
        let mut guard = Guard::new(judge, principal, context(mode), server.replication);
        let _cleared = guard.open(BootTime(1), WallTime(1), &startup(), std::iter::empty()).unwrap();
        let mut session = Self { guard, server, records: Records::default(), piece, now: 2 };
        session.deliver(&Server::greeting());
        session
    }

    /// One in which the guard has asked what it wants to know.
    fn settled() -> Self {
        let mut session = Self::new(Mode::Enforce, usize::MAX);
        session.send(&query("select 0"));
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
fn a_refusal_is_told_on_a_replication_connection_too() {
    let server = Server::of_replication();
    let mut session = Session::of(JUDGE.with(Rc::clone), Mode::Enforce, server, usize::MAX);
    for _ in 0..2 {
        let got = session.send(&query("drop table customers"));
        assert_eq!((kinds(&got).as_str(), status(&got)), ("EZ", 'I'));
        let error = String::from_utf8_lossy(&got[0].1).into_owned();
        assert!(error.contains("no-drop") && !error.contains("extended query"), "{error}");
    }
    assert_eq!(kinds(&session.send(&query("show wal_level"))), "CZ");
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
fn a_cancel_request_meets_nothing_but_what_it_is_meant_for() {
    let bounded = "@id(\"bounded\")\n@reason(\"all\")\n@max_runtime_ms(\"1\")\npermit (principal, action, resource);";
    let mut session =
        Session::judged_by(Rc::new(Judge::new(set(bounded, 1), Rc::default())), Mode::Enforce, usize::MAX);
    session.send(&query("select 0"));
    let passed = |session: &mut Session, bytes: &[u8]| {
        session.guard.client(BootTime(session.now), WallTime(1), bytes, &mut session.records).unwrap().bytes
    };
    let first = passed(&mut session, &[query("select 1"), query("select 2")].concat());
    assert_eq!(first, query("select 1"));
    session.guard.look(BootTime(session.now + 2_000_000));
    assert!(session.guard.take_cancel().is_some());
    let answer = session.server.take(&first);
    assert_eq!(kinds(&messages(&session.deliver(&answer)).0), "EZ");
    // The server may have been faster than the request.
    assert!(passed(&mut session, &[]).is_empty());
    session.guard.cancelled();
    assert_eq!(passed(&mut session, &[]), query("select 2"));
}

#[test]
fn behind_a_bound_that_was_crossed_a_copy_to_the_server_begins_all_the_same() {
    let bounded = "@id(\"bounded\")\n@reason(\"all\")\n@max_rows(\"1\")\npermit (principal, action, resource);";
    let mut session =
        Session::judged_by(Rc::new(Judge::new(set(bounded, 1), Rc::default())), Mode::Enforce, usize::MAX);
    session.send(&query("select 0"));
    let text = query("select 1; copy t from stdin");
    assert_eq!(
        session.guard.client(BootTime(session.now), WallTime(1), &text, &mut session.records).unwrap().bytes,
        text
    );
    let row = message(b'D', &[0, 0]);
    let answer = [message(b'T', &[0, 0]), row.clone(), row, message(b'C', b"SELECT 2\0"), message(b'G', &[0, 0, 0])];
    // The server waits for rows, so whoever has them must hear of it.
    assert_eq!(kinds(&messages(&session.deliver(&answer.concat())).0), "TDG");
    let end = [message(b'C', b"COPY 0\0"), message(b'Z', b"I")].concat();
    assert_eq!(kinds(&messages(&session.deliver(&end)).0), "EZ");
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

#[test]
fn without_room_for_records_nothing_is_decided_until_there_is() {
    let mut session = Session::new(Mode::Enforce, usize::MAX);
    let batch = [once("insert into t values (1)"), once("drop table t"), sync(), query("select 1")].concat();
    session.records.room = Some(1);
    session.send(&batch);
    assert!(session.records.judged <= 1 && session.guard.is_waiting());
    let mut got = Vec::new();
    while session.guard.is_waiting() {
        session.records.room = Some(session.records.bytes.len() + 1);
        got.extend(session.turn(&[]));
    }
    assert!(kinds(&messages(&got).0).ends_with("EZCZ"), "{}", kinds(&messages(&got).0));
    assert_eq!(session.records.bytes, batch, "no record is lost");
}

proptest! {
    #[test]
    fn any_bytes_of_both_sides(data: Vec<u8>) {
        fuzz_body::run(&data);
    }

    #[test]
    fn any_messages_of_both_sides(mode: u8, said in any_messages()) {
        let pieces = said.into_iter().flat_map(|(side, kind, body, size)| {
            let whole = message(kind, &body);
            whole.chunks(usize::from(size) + 1).flat_map(|piece| {
                let head = u8::try_from(piece.len() * 2).unwrap() | u8::from(side);
                [&[head][..], piece].concat()
            }).collect::<Vec<u8>>()
        });
        fuzz_body::run(&std::iter::once(mode).chain(pieces).collect::<Vec<u8>>());
    }
}

/// Side, kind, body, size of the pieces in which it travels.
fn any_messages() -> impl Strategy<Value = Vec<(bool, u8, Vec<u8>, u8)>> {
    let kind = proptest::sample::select(b"QPBESHDCFcdfpXRZKTGWIN123nst".to_vec());
    let sql = proptest::sample::select(vec!["select 1", "drop table t", "begin", "copy t from stdin", "select '", ""]);
    let body = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..24),
        sql.prop_map(|sql| [sql.as_bytes(), &[0]].concat()),
        sql_parse(),
        Just(b"I".to_vec()),
        Just(vec![0; 4]),
    ];
    proptest::collection::vec((any::<bool>(), kind, body, 0_u8..60), 0..24)
}

/// The body of a Parse or a Bind.
fn sql_parse() -> impl Strategy<Value = Vec<u8>> {
    proptest::sample::select(vec!["select 1", "delete from t"])
        .prop_map(|sql| [b"\0", sql.as_bytes(), &[0, 0, 0]].concat())
}

/// Texts of a batch without its Sync.
fn batch(texts: &[&str]) -> Vec<u8> {
    texts.iter().flat_map(|text| once(text)).collect()
}

#[test]
fn what_a_batch_prepares_anew_is_not_what_was_prepared() {
    let mut session = Session::new(Mode::Enforce, usize::MAX);
    session.send(&query("prepare x as select 1"));
    let again = ["deallocate x", "prepare x as delete from customers", "execute x"];
    let got = session.send(&[batch(&again), sync()].concat());
    assert_eq!(kinds(&got), "12C12CEZ");
    assert!(!session.server.ran.iter().any(|sql| sql == "execute x"), "{:?}", session.server.ran);
}

#[test]
fn what_a_text_prepares_means_nothing_behind_a_change() {
    for change in ["set search_path = vault", "create temporary table t (id int)", "commit", "deallocate x"] {
        let mut session = Session::new(Mode::Enforce, usize::MAX);
        let got = session.send(&query(&format!("prepare x as select 1; {change}; execute x")));
        assert_eq!(kinds(&got), "EZ", "{change}");
    }
    let mut session = Session::new(Mode::Enforce, usize::MAX);
    let got = session.send(&query("prepare x as select 1; begin; execute x"));
    assert_eq!(kinds(&got), "CZ");
}

#[test]
fn a_transaction_and_its_first_statement_are_one_batch_without_a_wait() {
    let mut session = Session::settled();
    let bytes = [batch(&["begin", "insert into t values (1)"]), sync()].concat();
    let passed = session.guard.client(BootTime(100), WallTime(1), &bytes, &mut session.records).unwrap();
    assert_eq!(passed.bytes, bytes);
}

#[test]
fn behind_a_change_within_a_batch_the_server_is_asked_for_its_answer() {
    let mut session = Session::settled();
    let bytes = [batch(&["set search_path = a", "insert into t values (1)"]), sync()].concat();
    let passed = session.guard.client(BootTime(100), WallTime(1), &bytes, &mut session.records).unwrap();
    assert_eq!(passed.bytes, [batch(&["set search_path = a"]), message(b'H', &[])].concat());
    assert!(session.guard.is_waiting());
}

#[test]
fn a_query_behind_a_failed_batch_is_skipped_as_the_server_skips_it() {
    let mut session = Session::new(Mode::Enforce, usize::MAX);
    let got = session.send(&[once("select 'fails'"), query("select 1"), sync()].concat());
    assert_eq!(kinds(&got), "12EZ");
    // Answers are still told apart.
    assert_eq!(kinds(&session.send(&query("set search_path = a"))), "CZ");
    assert_eq!(kinds(&session.send(&query("drop table customers"))), "EZ");
    assert_eq!(kinds(&session.send(&query("select 2"))), "CZ");
}

#[test]
fn copy_data_that_end_before_their_sync_leave_the_answers_in_order() {
    let mut session = Session::new(Mode::Enforce, usize::MAX);
    let copy = [once("copy t from stdin"), message(b'c', &[]), once("select 1"), sync(), sync()].concat();
    assert_eq!(kinds(&session.send(&copy)), "12GC12CZZ");
    assert!(session.guard.is_quiet());
}

#[test]
fn behind_a_copy_that_failed_what_follows_is_understood() {
    let begin = [once("copy nonsense from stdin"), sync()].concat();
    let (data, end) = (message(b'd', b"1\n"), [message(b'c', &[]), sync()].concat());
    // A driver sees the error before it has sent all, and goes on at once.
    for batches in [vec![[&*data, &end].concat(), query("rollback")], vec![data, [&*end, &query("rollback")].concat()]]
    {
        let mut session = Session::new(Mode::Enforce, usize::MAX);
        assert_eq!(kinds(&session.send(&begin)), "12G");
        let got: Vec<_> = batches.iter().flat_map(|batch| session.send(batch)).collect();
        assert_eq!(kinds(&got), "EZCZ");
        assert_eq!(kinds(&session.send(&query("select 1"))), "CZ");
        assert!(session.guard.is_quiet());
    }
}

#[test]
fn a_name_that_nobody_can_prepare_is_refused_with() {
    let refused = |session: &mut Session| {
        let passed = session.guard.client(BootTime(100), WallTime(1), &query("drop table t"), &mut session.records);
        text(&messages(&passed.unwrap().bytes).0[0].1, 1)
    };
    let names = [0; 2].map(|_| refused(&mut Session::settled()));
    assert!(names.iter().all(|name| name.starts_with("warder_refuses_")), "{names:?}");
    assert_ne!(names[0], names[1]);
}

#[test]
fn names_are_told_apart_as_far_as_the_server_does() {
    let mut session = Session::new(Mode::Enforce, usize::MAX);
    let long = "a".repeat(63);
    session.send(&[parse(&format!("{long}1"), "select 1"), sync()].concat());
    session.send(&[message(b'C', format!("S{long}2\0").as_bytes()), sync()].concat());
    let got = session.send(&query(&format!("prepare {long} as delete from customers")));
    assert_eq!(kinds(&got), "CZ");
    let got = session.send(&[bind("", &format!("{long}1")), execute(""), sync()].concat());
    assert_eq!(kinds(&got), "EZ");
}

#[test]
fn the_beginning_of_a_message_waits_for_nobody() {
    let mut session = Session::new(Mode::Enforce, usize::MAX);
    session.turn(&query("select 1")[..7]);
    assert!(!session.guard.is_waiting());
}

/// Whether a session may be opened with these options under such policies.
fn opens_with(options: &str, policies: &str) -> bool {
    let judge = Rc::new(Judge::new(set(policies, 1), Rc::default()));
    let mut guard = Guard::new(judge, Known::Unknown(UnknownPrincipal::NoProof), context(Mode::Enforce), false);
    let parameters = [(&b"options"[..], options.as_bytes())];
    guard.open(BootTime(1), WallTime(1), &startup(), parameters.into_iter()).is_ok()
}

#[test]
fn letters_of_the_command_line_hide_no_setting() {
    let policies = r#"@id("all") @reason("nobody becomes another one") permit (principal, action, resource) unless { action == Action::"SetRole" };"#;
    for options in
        ["-c role=bob", "-crole=bob", "--role=bob", "-ecrole=bob", "-e-role=bob", "-c session_authorization=bob"]
    {
        assert!(!opens_with(options, policies), "{options}");
    }
}

#[test]
fn letters_of_the_command_line_are_the_settings_that_they_set() {
    let policies = r#"
        @id("all") @reason("all is allowed") permit (principal, action, resource);
        @id("safe") @reason("but for these") forbid (principal, action == Action::"SetParameter", resource)
        when { resource in [Parameter::"allow_system_table_mods", Parameter::"log_min_messages"] };"#;
    for (options, opens) in [
        ("-O", false),
        ("-eO", false),
        ("-Oe", false),
        ("-d5", false),
        ("-d 5", false),
        ("-X", false),
        ("-e", true),
        ("-P -S 1000 -W0", true),
        ("-c work_mem=1MB", true),
    ] {
        assert_eq!(opens_with(options, policies), opens, "{options}");
    }
}

#[test]
fn a_pipeline_longer_than_what_is_kept_is_followed_all_the_same() {
    let mut session = Session::new(Mode::Enforce, usize::MAX);
    session.send(&query("prepare x as select 1"));
    let long =
        [once("select 1").repeat(17_000), batch(&["deallocate x", "prepare x as delete from customers"]), sync()];
    let got = session.send(&long.concat());
    let error = got.iter().find(|(kind, _)| *kind == b'E').map(|(_, body)| String::from_utf8_lossy(body).into_owned());
    assert_eq!(error, None);
    assert!(kinds(&session.send(&query("execute x"))).starts_with('E'));
    let ran = session.server.ran.len();
    assert_eq!(ran, 17_003);
}
