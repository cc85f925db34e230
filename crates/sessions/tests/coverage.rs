//! What went through the proxy, what did not, and that together they are everything.

mod common;

use std::sync::Arc;

use common::*;
use model::coverage::{Class, ClassCount};
use model::id::{DatabaseId, SocketCookie};
use model::mediation::{End, Leg, MediationEvent, RelayCounts};
use model::record::{Record, What};
use model::session::{Ledger, Origin};
use proptest::prelude::*;
use sessions::guard::{DirectRule, Guard, Network, Steered};
use sessions::{Limits, Sessions};

fn guard() -> Guard {
    let rule = |name: &str, sources: &[&str], cgroups: &[u64]| DirectRule {
        name: name.into(),
        sources: sources.iter().map(|address| network(address)).collect(),
        cgroups: cgroups.to_vec(),
    };
    Guard {
        since: ms(1000),
        steered: vec![Steered { network_namespace: 1, port: 5432 }],
        direct: vec![rule("standby", &["10.0.0.7/32", "fd00::/8"], &[]), rule("backup", &[], &[99])],
        socket_since: ms(1000),
        failed_open: Vec::new(),
    }
}

fn network(text: &str) -> Network {
    let (address, prefix) = text.split_once('/').expect("a network");
    Network { address: address.parse().expect("an address"), prefix: prefix.parse().expect("a number") }
}

fn guarded() -> Sessions {
    let mut sessions = subject(Limits::default());
    sessions.set_guarded(DatabaseId(0), Some(guard()));
    sessions
}

fn class_of(sessions: &mut Sessions, step: Step) -> String {
    run(sessions, [step]);
    let class = sessions.live().next().and_then(|session| session.class.clone());
    class.map_or_else(String::new, |class| format!("{} {}", class.word(), class.detail().unwrap_or_default()))
}

#[test]
fn every_way_around_has_its_class() {
    let tcp_from = |client| opened_as(7, 2000, tcp(client), None, Origin::Opened);
    let check = |step, expected: &str| assert_eq!(class_of(&mut guarded(), step), expected);
    check(tcp_from("10.0.0.9"), "bypass tcp_direct");
    check(tcp_from("10.0.0.7"), "allowed_direct standby");
    check(tcp_from("::ffff:10.0.0.7"), "allowed_direct standby");
    check(tcp_from("fd12::1"), "allowed_direct standby");
    check(tcp_from("fe00::1"), "bypass tcp_direct");
    check(opened(7, 2000), "bypass unix_socket");
    check(opened_as(7, 500, tcp("10.0.0.9"), None, Origin::Opened), "bypass before_steering");
    check(opened_as(7, 2000, unix(), None, Origin::FoundAtStart), "bypass before_steering");
    let elsewhere = guard();
    let mut sessions = subject(Limits::default());
    let steered = vec![Steered { network_namespace: 2, port: 5432 }];
    sessions.set_guarded(DatabaseId(0), Some(Guard { steered, ..elsewhere.clone() }));
    assert_eq!(class_of(&mut sessions, tcp_from("10.0.0.9")), "bypass unsteered_address");
    let mut sessions = subject(Limits::default());
    sessions.set_guarded(DatabaseId(0), Some(Guard { failed_open: vec![(ms(1500), None)], ..elsewhere }));
    assert_eq!(class_of(&mut sessions, tcp_from("10.0.0.9")), "bypass fail_open");
    assert_eq!(class_of(&mut subject(Limits::default()), tcp_from("10.0.0.9")), "");
}

#[test]
fn a_session_that_was_found_is_as_old_as_its_server_process() {
    let mut sessions = guarded();
    let server = |start: u64| {
        let mut process = (*process(200, "/postgres")).clone();
        process.key.start = ms(start);
        let cookie = SocketCookie(7);
        Step::Kernel(model::kernel::KernelEvent::Owned {
            cookie,
            at: ms(3000),
            process: Arc::new(process),
            title: None,
        })
    };
    let found = opened_as(7, 3000, unix(), None, Origin::FoundAtStart);
    let records = lines(&run(&mut sessions, [found.clone(), server(2000), Step::Tick(5000)]));
    assert!(records[1].ends_with("unix_socket"), "{records:?}");
    let mut sessions = guarded();
    let records = lines(&run(&mut sessions, [found, server(900), Step::Tick(5000)]));
    assert!(records[1].ends_with("before_steering"), "{records:?}");
}

#[test]
fn a_bypass_is_told_within_a_second_with_its_process() {
    let mut sessions = guarded();
    let begin = [opened(7, 2000), connected(Some(7), 1007, 2000, 100), owned(7, 2001, 200), Step::Tick(2250)];
    assert!(run(&mut sessions, begin).is_empty());
    let shown = "7 main client=100/psql server=200/postgres ?@? Undecided";
    assert_eq!(
        lines(&run(&mut sessions, [Step::Tick(2500)])),
        [format!("2000 open {shown}"), format!("2500 bypass {shown} unix_socket")]
    );
    assert!(run(&mut sessions, [Step::Tick(5000)]).is_empty(), "once");
    // Nobody is quick enough to be overlooked.
    let records = lines(&run(&mut sessions, [opened(8, 6000), closed(8, 6001, 0)]));
    assert_eq!(records.iter().filter(|line| line.contains("bypass 8")).count(), 1, "{records:?}");
}

#[test]
fn what_was_told_of_a_bypass_stays() {
    let mut sessions = subject(Limits::default());
    sessions.set_guarded(DatabaseId(0), Some(Guard { failed_open: vec![(ms(1500), None)], ..guard() }));
    let direct = opened_as(7, 2000, tcp("10.0.0.9"), None, Origin::Opened);
    run(&mut sessions, [direct, Step::Tick(2600)]);
    sessions.set_guarded(DatabaseId(0), Some(guard()));
    let class = |sessions: &Sessions| sessions.live().next().and_then(|session| session.class.clone());
    assert_eq!(class(&sessions).as_ref().and_then(Class::detail), Some("fail_open"));
    let rule = DirectRule { name: "now".into(), sources: vec![network("10.0.0.9/32")], cgroups: Vec::new() };
    sessions.set_guarded(DatabaseId(0), Some(Guard { direct: vec![rule], ..guard() }));
    assert_eq!(class(&sessions), Some(Class::AllowedDirect("now".into())));
    sessions.set_guarded(DatabaseId(0), None);
    assert_eq!(class(&sessions), None);
}

#[test]
fn who_may_go_directly_by_his_cgroup_raises_no_alarm() {
    let mut sessions = guarded();
    let mut process = (*process(100, "/pg_dump")).clone();
    process.cgroup = 99;
    let client = Step::Kernel(model::kernel::KernelEvent::Connected {
        client_cookie: SocketCookie(1007),
        cookie: Some(SocketCookie(7)),
        at: ms(2000),
        process: Arc::new(process),
    });
    let records = run(&mut sessions, [opened(7, 2000), client, owned(7, 2000, 200), Step::Tick(4000)]);
    assert_eq!(records.len(), 1);
    assert_eq!(
        sessions.live().next().and_then(|session| session.class.clone()),
        Some(Class::AllowedDirect("backup".into()))
    );
}

#[test]
fn the_ledger_of_a_minute() {
    let mut sessions = guarded();
    let hop = opened_leg(Leg::Hop, 20, 2000, tcp("127.0.0.1"), Some(19), Origin::Opened);
    let front = opened_leg(Leg::Front, 18, 2000, tcp("10.0.0.9"), None, Origin::Opened);
    let upstream = MediationEvent::Connected { connection: SocketCookie(18), upstream: SocketCookie(19), at: ms(2000) };
    let steps = [
        Step::Tick(1000),
        front,
        hop,
        Step::Mediation(upstream),
        opened(7, 2000),
        opened_as(8, 2000, tcp("10.0.0.7"), None, Origin::Opened),
        counted(20, 500),
        counted(18, 510),
        counted(7, 20),
        closed(8, 3000, 30),
        opened_leg(Leg::Hop, 30, 4000, tcp("127.0.0.1"), Some(29), Origin::Opened),
        Step::Tick(60_999),
    ];
    let of_coverage = |records: &[Record]| -> Vec<String> {
        lines(records).into_iter().filter(|line| line.contains("coverage")).collect()
    };
    assert!(of_coverage(&run(&mut sessions, steps)).is_empty());
    assert_eq!(
        of_coverage(&run(&mut sessions, [Step::Tick(61_000)])),
        [
            "61000 coverage main mediated=1/1/500 allowed_direct(standby)=1/0/30 bypass(unix_socket)=1/1/20 unknown=1/1/0"
        ]
    );
    let mut out = run(&mut sessions, [counted(20, 700), closed(7, 62_000, 25)]);
    sessions.on_stop(ms(70_000), &mut out);
    assert_eq!(of_coverage(&out), ["70000 coverage main mediated=0/1/200 bypass(unix_socket)=0/0/5 unknown=0/1/0"]);
}

/// Sessions of two databases, one of them guarded.
#[derive(Clone, Debug)]
enum Happening {
    Open(u64, bool),
    Front(u64),
    Hop(u64),
    Join(u64),
    Bytes(u64, u64),
    BytesOfFront(u64, u64),
    Close(u64, u64),
    CloseFront(u64),
    Ended(u64),
    Guard(bool),
    Tick(u64),
}

fn happening() -> impl Strategy<Value = Happening> {
    let which = 0_u64..12;
    let bytes = 0_u64..10_000;
    prop_oneof![
        (which.clone(), any::<bool>()).prop_map(|(which, unix)| Happening::Open(which, unix)),
        which.clone().prop_map(Happening::Front),
        which.clone().prop_map(Happening::Hop),
        which.clone().prop_map(Happening::Join),
        (which.clone(), bytes.clone()).prop_map(|(which, bytes)| Happening::Bytes(which, bytes)),
        (which.clone(), bytes.clone()).prop_map(|(which, bytes)| Happening::BytesOfFront(which, bytes)),
        (which.clone(), bytes).prop_map(|(which, bytes)| Happening::Close(which, bytes)),
        which.clone().prop_map(Happening::CloseFront),
        which.prop_map(Happening::Ended),
        any::<bool>().prop_map(Happening::Guard),
        (1_u64..40_000).prop_map(Happening::Tick),
    ]
}

/// Cookies: direct sessions from 100, fronts from 200, the proxy's sockets from 300, hops from 400.
fn step(happening: &Happening, at: u64, sessions: &mut Sessions) -> Option<Step> {
    let mediation = |event| Some(Step::Mediation(event));
    match *happening {
        Happening::Open(which, true) => Some(opened(100 + which, at)),
        Happening::Open(which, false) => Some(opened_as(100 + which, at, tcp("10.0.0.9"), None, Origin::Opened)),
        Happening::Front(which) => Some(opened_leg(Leg::Front, 200 + which, at, tcp("10.0.0.9"), None, Origin::Opened)),
        Happening::Hop(which) => Some(opened_leg(Leg::Hop, 400 + which, at, unix(), Some(300 + which), Origin::Opened)),
        Happening::Join(which) => mediation(MediationEvent::Connected {
            connection: SocketCookie(200 + which),
            upstream: SocketCookie(300 + which),
            at: ms(at),
        }),
        Happening::Bytes(which, bytes) => Some(counted(if which % 2 == 0 { 100 } else { 400 } + which, bytes)),
        Happening::BytesOfFront(which, bytes) => Some(counted(200 + which, bytes)),
        Happening::Close(which, bytes) => Some(closed(if which % 2 == 0 { 100 } else { 400 } + which, at, bytes)),
        Happening::CloseFront(which) => Some(closed(200 + which, at, 0)),
        Happening::Ended(which) => mediation(MediationEvent::Ended {
            connection: SocketCookie(200 + which),
            at: ms(at),
            counts: RelayCounts::default(),
            by: End::Client,
        }),
        Happening::Guard(is_guarded) => {
            sessions.set_guarded(DatabaseId(0), is_guarded.then(guard));
            None
        }
        Happening::Tick(_) => Some(Step::Tick(at)),
    }
}

proptest! {
    #[test]
    fn what_was_observed_is_the_sum_of_the_classes(happenings in prop::collection::vec(happening(), 1..200)) {
        let mut sessions = subject(Limits::default());
        let (mut at, mut out) = (1, Vec::new());
        for happening in &happenings {
            at += if let Happening::Tick(more) = happening { *more } else { 10 };
            let step = step(happening, at, &mut sessions);
            out.extend(run(&mut sessions, step));
        }
        sessions.on_stop(ms(at), &mut out);
        let recorded = out.iter().filter_map(|record| match &record.what {
            What::Coverage(coverage) => Some(coverage.observed()),
            _ => None,
        });
        let recorded = recorded.fold(ClassCount::default(), ClassCount::plus);
        let totals = sessions.totals();
        let by_class = totals.coverage.values().fold(ClassCount::default(), |sum, count| sum.plus(*count));
        let (mut opened, mut bytes) = (0, Ledger::default());
        for database in totals.databases.values() {
            let transports = sessions::totals::TransportKind::ALL;
            opened += transports.iter().map(|transport| database.sessions(*transport).opened).sum::<u64>();
            bytes.socket_received += database.bytes.socket_received;
            bytes.socket_sent += database.bytes.socket_sent;
        }
        prop_assert_eq!((recorded.sessions, recorded.bytes), (opened, bytes.socket_received + bytes.socket_sent));
        prop_assert_eq!((by_class.sessions, by_class.bytes), (recorded.sessions, recorded.bytes));
    }
}
