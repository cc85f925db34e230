//! Two witnesses, one session: whatever order their words arrive in.

mod common;

use std::sync::Arc;

use common::*;
use model::Known;
use model::coverage::Class;
use model::id::{DatabaseId, SocketCookie};
use model::kernel::KernelEvent;
use model::mediation::{End, Leg, Listener, MediationEvent, Moment, Refusal, RelayCounts, Route};
use model::principal::{Actor, Principal, PrincipalKind, Proof, UnknownPrincipal};
use model::record::{Record, What};
use model::request::Request;
use model::session::{Encryption, Ledger, Origin, Session, Transport};
use model::statement::{StatementKind, Text};
use model::time::WallTime;
use model::wire::WireEvent;
use sessions::totals::TransportKind;
use sessions::{Limits, Sessions};

/// Client's socket, accepted socket, proxy's socket to the server, server's socket.
const C: u64 = 1;
const A: u64 = 2;
const U: u64 = 3;
const S: u64 = 4;

fn front(at: u64) -> Step {
    opened_leg(Leg::Front, A, at, tcp("10.0.0.1"), Some(C), Origin::Opened)
}

fn hop(at: u64) -> Step {
    opened_leg(Leg::Hop, S, at, unix(), Some(U), Origin::Opened)
}

fn accepted(at: u64) -> Step {
    let address = |ip: &str, port| std::net::SocketAddr::new(ip.parse().expect("an address"), port);
    Step::Mediation(MediationEvent::Accepted {
        connection: SocketCookie(A),
        at: ms(at),
        database: DatabaseId(0),
        listener: Listener::Steered,
        route: Route::Tcp { client: address("10.0.0.1", 40_000), destination: address("10.0.0.1", 5432) },
    })
}

fn upstream(at: u64) -> Step {
    Step::Mediation(MediationEvent::Connected { connection: SocketCookie(A), upstream: SocketCookie(U), at: ms(at) })
}

fn client_encrypted(encryption: Encryption, relayed: bool) -> Step {
    Step::Mediation(MediationEvent::Encrypted { connection: SocketCookie(A), encryption, relayed })
}

fn counts(to_upstream: u64, from_upstream: u64) -> RelayCounts {
    RelayCounts { to_upstream, from_upstream, ..RelayCounts::default() }
}

fn told(at: u64, to_upstream: u64, moment: Moment) -> Step {
    let counts = counts(to_upstream, 0);
    Step::Mediation(MediationEvent::Counted { connection: SocketCookie(A), at: ms(at), counts, moment })
}

fn quiet(at: u64, to_upstream: u64) -> Step {
    told(at, to_upstream, Moment::Quiet)
}

fn ended(at: u64, to_upstream: u64) -> Step {
    let counts = counts(to_upstream, 0);
    Step::Mediation(MediationEvent::Ended { connection: SocketCookie(A), at: ms(at), counts, by: End::Client })
}

fn refused(at: u64) -> Step {
    Step::Mediation(MediationEvent::Refused {
        connection: SocketCookie(A),
        at: ms(at),
        reason: Refusal::Access,
        sqlstate: "28000".into(),
        message: Arc::from("no pg_hba.conf entry"),
    })
}

fn agent() -> Arc<Principal> {
    let actor = |kind, id| Actor { kind, id: Arc::from(id), issuer: Arc::from("https://id.example.com") };
    Arc::new(Principal {
        actor: actor(PrincipalKind::Agent, "nightly-report"),
        groups: Arc::new([]),
        acting_for: vec![actor(PrincipalKind::Person, "alice@example.com")],
        proof: Proof::Token,
        expires: None,
        purpose: None,
    })
}

fn identified(at: u64, principal: Known<Arc<Principal>, UnknownPrincipal>) -> Step {
    Step::Mediation(MediationEvent::Identified { connection: SocketCookie(A), at: ms(at), principal })
}

fn mediated(at: u64, event: WireEvent) -> Step {
    Step::Mediated(A, at, event)
}

fn mediated_startup(at: u64) -> Step {
    let parameters = [("user", "alice"), ("database", "app")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    mediated(at, WireEvent::Startup { protocol: (3, 0), parameters: parameters.to_vec() })
}

fn mediated_query(at: u64, text: &str) -> Step {
    mediated(at, WireEvent::Statement(statement(at, text)))
}

fn mediated_request(at: u64, text: &str) -> Step {
    mediated(at, WireEvent::Requested(request(at, text)))
}

fn request(at: u64, text: &str) -> Box<Request> {
    Box::new(Request {
        kind: StatementKind::Simple,
        text: Text::Whole(Arc::from(text)),
        doubtful: false,
        prepared: None,
        portal: None,
        parameters: None,
        row_limit: 0,
        at: ms(at),
        redacted: false,
        judgement: None,
    })
}

/// Who acts, as each record of a session says it.
fn principals(records: &[Record]) -> Vec<Known<Arc<Principal>, UnknownPrincipal>> {
    let of = |record: &Record| match &record.what {
        What::SessionOpened(session) | What::SessionChanged(session) | What::SessionClosed { session, .. } => {
            Some(session.principal.clone())
        }
        _ => None,
    };
    records.iter().filter_map(of).collect()
}

#[test]
fn who_acts_is_known_of_the_session_whenever_it_is_said() {
    let before = [connected(None, C, 10, 100), front(11), accepted(11)];
    let join = [client_encrypted(Encryption::Plaintext, false), hop(20), upstream(19)];
    let who = || identified(15, Known::Known(agent()));
    let close = || mediated_query(40, "select 1");
    let orders: [Vec<Step>; 3] = [
        before.clone().into_iter().chain([who()]).chain(join.clone()).chain([close()]).collect(),
        before.clone().into_iter().chain(join.clone()).chain([who(), close()]).collect(),
        // The worker's ring is drained before the kernel's.
        [accepted(11), who()]
            .into_iter()
            .chain([front(11), connected(None, C, 10, 100)])
            .chain(join)
            .chain([close()])
            .collect(),
    ];
    for steps in orders {
        let mut sessions = subject(Limits::default());
        let records = run(&mut sessions, steps);
        assert_eq!(principals(&records), [Known::Known(agent())]);
    }
}

#[test]
fn who_acts_can_change_and_end() {
    let mut sessions = subject(Limits::default());
    let mut steps = vec![connected(None, C, 10, 100), front(11), hop(20), accepted(11)];
    steps.extend([client_encrypted(Encryption::Plaintext, false), upstream(19), mediated_query(21, "select 1")]);
    steps.extend([identified(30, Known::Known(agent())), mediated_query(31, "select 2")]);
    steps.extend([identified(32, Known::Known(agent())), mediated_query(33, "select 3")]);
    steps.extend([identified(40, Known::Unknown(UnknownPrincipal::Expired)), mediated_query(41, "select 4")]);
    let records = run(&mut sessions, steps);
    let known = Known::Unknown(UnknownPrincipal::NotAsked);
    assert_eq!(principals(&records), [known, Known::Known(agent()), Known::Unknown(UnknownPrincipal::Expired)]);
}

#[test]
fn who_acted_until_the_proof_ended_stays_known() {
    let mut sessions = subject(Limits::default());
    let carol = Arc::new(Principal { expires: Some(WallTime(1_000)), ..(*agent()).clone() });
    let outlived = |sessions: &Sessions, now: u64| -> Vec<_> {
        sessions.outlived(WallTime(now)).map(|(session, who)| (session.id.cookie, Arc::clone(who))).collect()
    };
    run(&mut sessions, [accepted(11), identified(12, Known::Known(Arc::clone(&carol)))]);
    assert_eq!(outlived(&sessions, 999), []);
    assert_eq!(outlived(&sessions, 1_000), [(SocketCookie(A), Arc::clone(&carol))]);
    run(&mut sessions, [identified(13, Known::Unknown(UnknownPrincipal::Expired))]);
    assert_eq!(outlived(&sessions, 999), [(SocketCookie(A), Arc::clone(&carol))]);
    run(&mut sessions, [connected(None, C, 10, 100), front(11), hop(20), upstream(19)]);
    assert_eq!(outlived(&sessions, 999), [(SocketCookie(S), Arc::clone(&carol))]);
    run(&mut sessions, [identified(30, Known::Known(agent()))]);
    assert_eq!(outlived(&sessions, u64::MAX), []);
    // Whoever came with a token that had ended before has outlived nothing.
    let mut sessions = subject(Limits::default());
    run(&mut sessions, [accepted(11), identified(12, Known::Unknown(UnknownPrincipal::Expired))]);
    assert_eq!(outlived(&sessions, u64::MAX), []);
}

/// The lines that are requests.
fn requests(records: &[Record]) -> Vec<String> {
    lines(records).into_iter().filter(|line| line.contains(" request ")).collect()
}

#[test]
fn a_request_is_recorded_at_once_when_its_session_is_joined() {
    let mut sessions = subject(Limits::default());
    let mut steps = vec![connected(None, C, 10, 100), front(11), hop(20), accepted(11)];
    steps.extend([client_encrypted(Encryption::Plaintext, false), upstream(19), mediated_request(40, "select 1")]);
    let records = run(&mut sessions, steps);
    assert_eq!(requests(&records), [format!("40 request {S} Whole(\"select 1\")")]);
    assert_eq!(sessions.requests_waiting(), 0);
}

#[test]
fn a_request_that_comes_before_its_hop_waits_for_it() {
    let mut sessions = subject(Limits::default());
    let steps = [accepted(11), client_encrypted(Encryption::Plaintext, false), upstream(19)];
    let records = run(&mut sessions, steps.into_iter().chain([mediated_request(40, "select 1")]));
    assert_eq!((requests(&records), sessions.requests_waiting()), (vec![], 1));
    let records = run(&mut sessions, [front(11), hop(20)]);
    assert_eq!(requests(&records), [format!("40 request {S} Whole(\"select 1\")")]);
    assert_eq!(sessions.requests_waiting(), 0);
}

#[test]
fn a_request_whose_session_never_shows_is_recorded_all_the_same() {
    let mut sessions = subject(Limits::default());
    let records = run(&mut sessions, [mediated_request(40, "select 1")]);
    assert_eq!((requests(&records), sessions.requests_waiting()), (vec![], 1));
    let mut records = Vec::new();
    sessions.on_tick(ms(40_000), &mut records);
    assert_eq!(requests(&records), [format!("40 request {A} Whole(\"select 1\")")]);
    assert_eq!(sessions.requests_waiting(), 0);
}

/// What the kernel tells of a whole session, in the order of its ring.
fn kernels_words() -> Vec<Step> {
    vec![
        connected(None, C, 10, 100),
        front(11),
        hop(20),
        owned(S, 21, 200),
        counted(S, 50),
        closed(S, 100, 90),
        closed(A, 101, 91),
    ]
}

/// What the proxy tells, in the order of the worker's ring.
fn proxys_words() -> Vec<Step> {
    vec![
        accepted(11),
        client_encrypted(Encryption::Tls, false),
        mediated_startup(15),
        upstream(19),
        mediated(30, WireEvent::Authenticated),
        mediated_query(40, "select 1"),
        mediated_query(50, "bad"),
        ended(101, 90),
    ]
}

/// Every way to interleave two rings.
fn interleavings(one: &[Step], other: &[Step]) -> Vec<Vec<Step>> {
    let (Some(first), Some(second)) = (one.first(), other.first()) else {
        return vec![one.iter().chain(other).cloned().collect()];
    };
    let prepend = |step: &Step, rest: Vec<Vec<Step>>| -> Vec<Vec<Step>> {
        rest.into_iter().map(|rest| std::iter::once(step.clone()).chain(rest).collect()).collect()
    };
    let mut all = prepend(first, interleavings(&one[1..], other));
    all.extend(prepend(second, interleavings(one, &other[1..])));
    all
}

fn last(records: &[Record]) -> Arc<Session> {
    let closed = |record: &Record| match &record.what {
        What::SessionClosed { session, .. } => Some(Arc::clone(session)),
        _ => None,
    };
    records.last().and_then(closed).expect("the last record is the end of a session")
}

#[test]
fn one_session_in_whatever_order_the_two_rings_are_read() {
    let mut first: Option<Session> = None;
    let all = interleavings(&kernels_words(), &proxys_words());
    assert_eq!(all.len(), 6435);
    for steps in all {
        let mut sessions = subject(Limits::default());
        let shown = format!("{steps:?}");
        let mut records = run(&mut sessions, steps);
        records.extend(run(&mut sessions, [Step::Tick(500), Step::Tick(3000), Step::Tick(6000)]));
        let texts = lines(&records);
        let with = |word: &str| texts.iter().filter(|line| line.contains(word)).count();
        assert_eq!((with(" open "), with(" close "), with(" statement 4 #"), with("lost")), (1, 1, 2, 0), "{texts:?}");
        assert_eq!(with(" integrity "), 0, "{shown}");
        let session = last(&records);
        let mediation = session.mediation.as_ref().unwrap();
        assert_eq!(session.id.cookie, SocketCookie(S));
        assert_eq!(mediation.upstream, Some(SocketCookie(U)));
        assert_eq!(mediation.hop, Some(unix()));
        assert_eq!((mediation.front_received, mediation.listener), (91, Some(Listener::Steered)), "{shown}");
        assert_eq!(session.transport, tcp("10.0.0.1"));
        assert_eq!(session.client.known().map(|client| client.key), Some(key(100)), "{shown}");
        assert_eq!((session.encryption, session.class.clone()), (Encryption::Tls, Some(Class::Mediated)));
        assert_eq!((session.statements, session.errors, session.ledger.socket_received), (2, 1, 90));
        first.get_or_insert_with(|| (*session).clone());
        assert_eq!(first.as_ref(), Some(&*session), "{shown}");
        let totals = &sessions.totals().databases[&DatabaseId(0)];
        let counts = [TransportKind::Tcp, TransportKind::Unix].map(|kind| *totals.sessions(kind));
        assert_eq!((counts[0].opened, counts[0].closed, counts[1].opened), (1, 1, 0), "{shown}");
        assert_eq!((sessions.live().count(), sessions.fronts(), sessions.early_sessions()), (0, 0, 0), "{shown}");
        assert_eq!(sessions.sockets().count(), 0);
    }
}

#[test]
fn the_ordinary_session_is_announced_once_with_its_client() {
    let steps = [
        front(10),
        connected(Some(A), C, 10, 100),
        accepted(10),
        client_encrypted(Encryption::Plaintext, false),
        mediated_startup(12),
        hop(20),
        upstream(19),
        owned(S, 21, 200),
        mediated(30, WireEvent::Authenticated),
        mediated_query(40, "select 1"),
    ];
    let sessions = check(
        steps,
        &["10 open 4 main client=100/psql server=200/postgres alice@app in Plaintext", "40 statement 4 #1 select 1"],
    );
    assert_eq!(sessions.get_mediated(SocketCookie(A)).map(|session| session.id.cookie), Some(SocketCookie(S)));
    assert_eq!(sessions.sockets().count(), 2);
}

#[test]
fn a_front_without_a_hop_is_a_session_of_its_own_with_its_refusal() {
    let steps =
        [accepted(10), front(10), connected(Some(A), C, 10, 100), mediated_startup(12), refused(20), ended(21, 0)];
    let expected = [
        "10 open 2 main client=100/psql server=NotSeen alice@app Undecided",
        "20 refused 2 28000 by proxy",
        "21 close 2 main client=100/psql server=NotSeen alice@app Undecided after 11 bytes 30",
    ];
    let sessions = check(steps.clone().into_iter().chain([closed(A, 22, 30)]), &expected);
    assert_eq!(sessions.totals().databases[&DatabaseId(0)].refused, 1);
    // The kernel tells its end first, or never.
    let first = [&steps[..4], &[closed(A, 20, 30)], &steps[4..]].concat();
    check(first, &expected);
    let mut never = subject(Limits::default());
    let records = lines(&run(&mut never, steps.into_iter().chain([Step::Tick(100), Step::Tick(2100)])));
    assert_eq!(records.len(), 3, "{records:?}");
}

#[test]
fn a_client_that_says_nothing_is_no_session_until_it_ends() {
    let mut sessions = subject(Limits::default());
    let waiting = [front(10), accepted(10), Step::Tick(1500), Step::Tick(30_000), Step::Tick(59_000)];
    assert!(run(&mut sessions, waiting).is_empty());
    assert_eq!((sessions.live().count(), sessions.fronts()), (0, 1));
    let records = lines(&run(&mut sessions, [closed(A, 59_500, 0), ended(59_501, 0)]));
    assert_eq!(records.len(), 2, "{records:?}");
}

#[test]
fn a_hop_of_which_the_proxy_says_nothing_is_unknown_and_joined_late() {
    let mut sessions = subject(Limits::default());
    let steps = [hop(10), owned(S, 10, 200), query(S, 20, "select 1"), Step::Tick(1500), Step::Tick(2100)];
    let records = lines(&run(&mut sessions, steps));
    assert_eq!(
        records,
        ["10 open 4 main client=NotSeen server=200/postgres ?@? Undecided", "20 statement 4 #1 select 1",]
    );
    assert_eq!(sessions.get(SocketCookie(S)).unwrap().class, Some(Class::Unknown));
    let found = opened_leg(Leg::Front, A, 9, tcp("10.0.0.9"), None, Origin::FoundAtStart);
    let records =
        lines(&run(&mut sessions, [found, upstream(3000), Step::Tick(3100), closed(S, 4000, 7), Step::Tick(7000)]));
    assert_eq!(
        records,
        [
            "3000 change 4 main client=Remote server=200/postgres ?@? Undecided n=1/0/0",
            "4000 close 4 main client=Remote server=200/postgres ?@? Undecided n=1/0/0 after 3991 bytes 7",
        ]
    );
}

#[test]
fn what_both_decoders_say_is_recorded_once() {
    let begin = [accepted(10), front(10), hop(20), upstream(19)];
    // The worker reads: the kernel's word, which came first, only repeats it.
    let mut sessions = subject(Limits::default());
    run(&mut sessions, begin.clone());
    let both =
        [query(S, 40, "select 1"), client_encrypted(Encryption::Plaintext, false), mediated_query(40, "select 1")];
    let records = lines(&run(&mut sessions, both.into_iter().chain([query(S, 41, "select 1")])));
    assert_eq!(records.iter().filter(|line| line.contains("statement")).count(), 1, "{records:?}");
    assert_eq!(sessions.totals().repeated_events, 2);
    // It relays ciphertext: the kernel's word is the only one.
    let mut sessions = subject(Limits::default());
    run(&mut sessions, begin);
    let relayed = [query(S, 40, "select 1"), client_encrypted(Encryption::Tls, true), query(S, 41, "select 2")];
    let records = lines(&run(&mut sessions, relayed));
    assert_eq!(records[1..], ["40 statement 4 #1 select 1", "41 statement 4 #2 select 2"]);
}

#[test]
fn a_worker_can_not_call_a_clients_own_connection_a_hop() {
    let mut sessions = subject(Limits::default());
    let direct = opened_as(S, 20, tcp("10.0.0.9"), Some(U), Origin::Opened);
    run(&mut sessions, [accepted(10), front(10), direct, upstream(19), Step::Tick(3000)]);
    assert_eq!(sessions.get(SocketCookie(S)).unwrap().mediation, None);
    let front = sessions.get(SocketCookie(A)).unwrap();
    assert_eq!(front.class, Some(Class::Unknown), "it has a hop that nobody sees");
}

#[test]
fn a_dead_worker_says_nothing_and_the_session_ends_nonetheless() {
    let mut sessions = subject(Limits::default());
    run(&mut sessions, [accepted(10), front(10), hop(20), upstream(19), mediated_query(30, "select 1")]);
    let records = run(&mut sessions, [closed(S, 50, 9), closed(A, 50, 9), Step::Tick(1000)]);
    assert!(records.is_empty(), "its last words may still be in the ring");
    let records = run(&mut sessions, [mediated_query(40, "select 2"), Step::Tick(2100)]);
    assert_eq!(lines(&records)[0], "40 statement 4 #2 select 2");
    assert_eq!(last(&records).statements, 2);
    let late = run(&mut sessions, [mediated_query(45, "select 3")]);
    assert_eq!(lines(&late), ["45 statement 4 #3 select 3"]);
}

#[test]
fn without_room_to_wait_a_front_stands_for_itself() {
    let mut sessions = subject(Limits { early_bytes_max: 2_000, ..Limits::default() });
    run(&mut sessions, [accepted(10), front(10), upstream(19)]);
    let records = lines(&run(&mut sessions, (0..10).map(|at| mediated_query(30 + at, "select 1"))));
    assert_eq!(records.iter().filter(|line| line.contains("statement 2 #")).count(), 10, "{records:?}");
    assert_eq!(sessions.totals().early_events_dropped, 0);
}

fn joined() -> Vec<Step> {
    vec![accepted(10), client_encrypted(Encryption::Plaintext, false), front(10), hop(20), upstream(19)]
}

fn integrity(records: &[Record]) -> Vec<String> {
    lines(records).into_iter().filter(|line| line.contains("integrity")).collect()
}

#[test]
fn a_quiet_session_on_which_the_witnesses_agree_raises_no_alert() {
    let mut sessions = subject(Limits::default());
    let looks = (1..10).flat_map(|look| [Step::Tick(look * 5000), counted(S, 100)]);
    let records = run(&mut sessions, joined().into_iter().chain([quiet(1000, 100)]).chain(looks));
    assert_eq!(integrity(&records), [""; 0]);
}

#[test]
fn a_stale_count_raises_no_alert_and_a_later_one_does() {
    let mut sessions = subject(Limits::default());
    let look = |at| [Step::Tick(at), counted(S, 100)];
    // The worker counted before the server received the last ten bytes.
    let records =
        run(&mut sessions, joined().into_iter().chain([quiet(1000, 90)]).chain((1..5).flat_map(|n| look(n * 5000))));
    assert_eq!(integrity(&records), [""; 0]);
    // Now it counts after the kernel did, and still misses them.
    let records = run(&mut sessions, [quiet(21_000, 90)].into_iter().chain((5..9).flat_map(|n| look(n * 5000))));
    assert_eq!(integrity(&records), ["30000 integrity 4 bytes_to_server 90 100 quiet"]);
    assert_eq!(sessions.totals().integrity_alerts["bytes_to_server"], 1);
}

#[test]
fn looks_in_quick_succession_are_one_look() {
    let mut sessions = subject(Limits::default());
    let mut steps = joined();
    steps.extend([Step::Tick(5000), counted(S, 100), quiet(7000, 90), Step::Tick(7001)]);
    steps.extend((0..10).map(|_| counted(S, 100)));
    assert_eq!(integrity(&run(&mut sessions, steps)), [""; 0]);
}

#[test]
fn at_the_end_the_server_may_have_received_less_never_more() {
    let end = |to_upstream, received| {
        let mut sessions = subject(Limits::default());
        let steps = joined().into_iter().chain([closed(S, 50, received), ended(51, to_upstream), closed(A, 52, 0)]);
        let records = run(&mut sessions, steps);
        (integrity(&records), last(&records).mediation.as_ref().map(|mediation| mediation.undelivered))
    };
    assert_eq!(end(100, 100), (vec![], Some(0)));
    assert_eq!(end(100, 60), (vec![], Some(40)));
    assert_eq!(end(90, 100), (vec!["51 integrity 4 bytes_to_server 90 100 end".to_owned()], Some(0)));
}

#[test]
fn a_client_that_stays_after_its_server_has_gone_puts_nothing_off() {
    let end = |moment| {
        let mut sessions = subject(Limits::default());
        // The worker sees the end of the stream before the socket is closed.
        let steps = [told(49, 90, moment), closed(S, 50, 100), Step::Tick(100), Step::Tick(2100)];
        let records = run(&mut sessions, joined().into_iter().chain(steps));
        (integrity(&records), last(&records).mediation.as_ref().map(|mediation| mediation.counts.to_upstream))
    };
    assert_eq!(end(Moment::ServerFinished), (vec!["49 integrity 4 bytes_to_server 90 100 end".to_owned()], Some(90)));
    // The last bytes may have passed since, and the worker said nothing more.
    assert_eq!(end(Moment::Quiet), (vec![], Some(90)));
}

#[test]
fn messages_are_compared_where_both_witnesses_walked_them() {
    let end = |forwarded, received| {
        let mut sessions = subject(Limits::default());
        let counts = RelayCounts { messages_to_upstream: forwarded, ..counts(9, 0) };
        let ledger = Ledger { socket_received: 9, messages_received: received, ..Ledger::default() };
        let closed = KernelEvent::Closed { cookie: SocketCookie(S), at: ms(50), ledger, missed: false };
        let ended = MediationEvent::Ended { connection: SocketCookie(A), at: ms(51), counts, by: End::Upstream };
        let steps = [Step::Kernel(closed), Step::Mediation(ended), self::closed(A, 52, 0)];
        integrity(&run(&mut sessions, joined().into_iter().chain(steps)))
    };
    assert_eq!(end(3, 3), [""; 0]);
    assert_eq!(end(3, 0), [""; 0]);
    assert_eq!(end(3, 4), ["51 integrity 4 messages_to_server 3 4 end"]);
}

#[test]
fn a_unix_client_keeps_its_credentials_and_its_path() {
    let accepted = Step::Mediation(MediationEvent::Accepted {
        connection: SocketCookie(A),
        at: ms(10),
        database: DatabaseId(0),
        listener: Listener::UnixSocket,
        route: Route::Unix { pid: 100, uid: 1000, gid: 1000 },
    });
    let mut sessions = subject(Limits::default());
    let steps = [accepted, hop(20), upstream(19), closed(S, 30, 1), ended(31, 1)];
    let records = run(&mut sessions, steps);
    let session = last(&records);
    assert_eq!(session.peer_credentials, Some((100, 1000)));
    assert_eq!(session.transport, Transport::Unix { path: "/run/.s.PGSQL.5432".to_owned() });
    assert_eq!(sessions.sockets().count(), 0, "nobody tells the end of a Unix socket at the proxy");
}

#[test]
fn a_session_that_is_older_than_its_core_is_one_however_long_it_was_idle() {
    let mut sessions = subject(Limits::default());
    let core_starts = 600_000;
    let found = opened_leg(Leg::Hop, S, core_starts + 2, unix(), Some(U), Origin::FoundAtStart);
    let told = [accepted(11), upstream(19), client_encrypted(Encryption::Plaintext, false)];
    let records =
        run(&mut sessions, [Step::Tick(core_starts)].into_iter().chain(told).chain([Step::Tick(core_starts + 1)]));
    assert_eq!(lines(&records), [""; 0], "it waits for its hop as if it was new");
    let records =
        run(&mut sessions, [found, mediated_query(core_starts + 3, "select 1"), Step::Tick(core_starts + 9_000)]);
    assert_eq!(sessions.live().count(), 1);
    let session = sessions.get(SocketCookie(S)).expect("the session");
    assert_eq!((&session.class, session.opened), (&Some(Class::Mediated), ms(11)));
    let opened: Vec<String> = lines(&records).into_iter().filter(|line| line.contains(" open ")).collect();
    assert_eq!(opened.len(), 1, "{opened:?}");
}

/// A client that connects and leaves the rest to others: they may hold the session, and the record says so.
#[test]
fn what_its_processes_did_before_the_proxy_had_a_hop_is_told_behind_the_announcement() {
    let children = || {
        let fork = KernelEvent::Forked { at: ms(12), parent: key(100), child: key(101) };
        let exec = KernelEvent::Executed { at: ms(13), process: process(101, "/sh") };
        [fork, exec, KernelEvent::Exited { at: ms(14), process: key(100) }].map(Step::Kernel)
    };
    let join = [client_encrypted(Encryption::Plaintext, false), upstream(19), hop(20)];
    let before = [connected(None, C, 10, 100), front(11), accepted(11)];
    let query = || mediated_query(40, "select 1");
    let late = [Step::Tick(4000)];
    let orders: [Vec<Step>; 2] = [
        before.clone().into_iter().chain(children()).chain(join).chain([query()]).collect(),
        // It never gets as far as a hop.
        before.into_iter().chain(children()).chain([refused(30), ended(31, 0), closed(A, 31, 0)]).chain(late).collect(),
    ];
    for steps in orders {
        let mut sessions = subject(Limits::default());
        let texts = lines(&run(&mut sessions, steps));
        let named = if texts.iter().any(|line| line.contains("statement")) { S } else { A };
        let told = [
            format!("12 fork {named} pid 101"),
            format!("13 exec {named} pid 101 /sh"),
            format!("14 exit {named} pid 100"),
        ];
        assert!(texts[0].contains(" open "), "{texts:?}");
        assert_eq!(texts[1..4], told, "{texts:?}");
    }
}

#[test]
fn a_client_is_the_program_that_connected_whatever_it_became_before_the_proxy_had_a_hop() {
    let exec = || Step::Kernel(KernelEvent::Executed { at: ms(13), process: process(100, "/trusted") });
    let program = |sessions: &Sessions, cookie| {
        let session = sessions.get_mediated(SocketCookie(cookie)).expect("a session");
        session.client.known().expect("a client").executable.path.clone()
    };
    let mut sessions = subject(Limits::default());
    run(&mut sessions, [connected(None, C, 10, 100), front(11), accepted(11)]);
    let connector = program(&sessions, A);
    run(&mut sessions, [exec()]);
    assert_eq!(program(&sessions, A), connector);
    let rest = [client_encrypted(Encryption::Plaintext, false), upstream(19), hop(20), mediated_query(40, "select 1")];
    let texts = lines(&run(&mut sessions, rest));
    assert!(texts[0].contains(" open ") && !texts[0].contains("/trusted"), "{texts:?}");
    assert_eq!(texts[1], format!("13 exec {S} pid 100 /trusted"), "{texts:?}");
    assert_ne!(program(&sessions, A), connector);
}

#[test]
fn a_client_that_forks_for_ever_before_it_has_a_session_is_told_up_to_a_bound() {
    let limits = Limits::default();
    let max = limits.heirs_max;
    let mut sessions = subject(limits);
    run(&mut sessions, [connected(None, C, 10, 100), front(11), accepted(11)]);
    let forks = (0..).zip(0..2 * max).map(|(number, _)| KernelEvent::Forked {
        at: ms(12),
        parent: key(100),
        child: key(1_000 + number),
    });
    assert_eq!(lines(&run(&mut sessions, forks.map(Step::Kernel))), Vec::<String>::new());
    let rest = [client_encrypted(Encryption::Plaintext, false), upstream(19), hop(20), mediated_query(40, "select 1")];
    let texts = lines(&run(&mut sessions, rest));
    assert_eq!(texts.iter().filter(|line| line.contains(" fork ")).count(), max);
    assert_eq!(sessions.totals().early_events_dropped, max as u64);
}

/// Its forks do not hide what it has become.
#[test]
fn a_client_that_forks_and_becomes_another_program_is_that_program() {
    let limits = Limits::default();
    let forks = |count: usize| {
        (0..).zip(0..count).map(|(number, _)| {
            Step::Kernel(KernelEvent::Forked { at: ms(12), parent: key(100), child: key(1_000 + number) })
        })
    };
    let exec = |name| Step::Kernel(KernelEvent::Executed { at: ms(13), process: process(100, name) });
    let many = 3 * limits.heirs_max;
    let orders: [Vec<Step>; 3] = [
        forks(many).chain([exec("/other")]).collect(),
        [exec("/other")].into_iter().chain(forks(many)).collect(),
        (0..many).map(|_| exec("/one")).chain([exec("/other")]).chain(forks(many)).collect(),
    ];
    for steps in orders {
        let mut sessions = subject(limits.clone());
        run(&mut sessions, [connected(None, C, 10, 100), front(11), accepted(11)]);
        run(&mut sessions, steps);
        run(&mut sessions, [client_encrypted(Encryption::Plaintext, false), upstream(19), hop(20)]);
        run(&mut sessions, [mediated_query(40, "select 1")]);
        let session = sessions.get_mediated(SocketCookie(A)).expect("a session");
        assert_eq!(session.client.known().expect("a client").executable.path.to_string(), "/other");
    }
}
