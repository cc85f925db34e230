//! What happens, and the records that come of it.

mod common;

use std::collections::HashSet;

use common::*;
use model::id::{DatabaseId, SocketCookie};
use model::kernel::KernelEvent;
use model::session::{Encryption, Origin};
use model::wire::{Side, WireEvent};
use sessions::Limits;
use sessions::totals::{KindLabel, ResultLabel, TransportKind};

fn steps(parts: impl IntoIterator<Item = Vec<Step>>) -> Vec<Step> {
    parts.into_iter().flatten().collect()
}

fn kernel(event: KernelEvent) -> Vec<Step> {
    vec![Step::Kernel(event)]
}

const OPEN: &str = "10 open 7 main client=100/psql server=200/postgres alice@app in Plaintext";

#[test]
fn a_whole_session_needs_one_announcement() {
    let sessions = check(
        steps([
            whole(7, 10, 100, 200),
            vec![query(7, 20, "select 1"), query(7, 30, "bad"), counted(7, 50), Step::Tick(3000), closed(7, 4010, 90)],
        ]),
        &[
            OPEN,
            "20 statement 7 #1 select 1",
            "30 statement 7 #2 bad",
            "4010 close 7 main client=100/psql server=200/postgres alice@app in Plaintext n=2/1/0 after 4000 bytes 90",
        ],
    );
    assert_eq!(sessions.live().count(), 0);
    let database = &sessions.totals().databases[&DatabaseId(0)];
    let counts = database.sessions(TransportKind::Unix);
    assert_eq!((counts.opened, counts.closed, counts.live(), counts.unattributed), (1, 1, 0, 0));
    assert_eq!(database.bytes.socket_received, 90);
    assert_eq!(database.statements.get(KindLabel::Simple, ResultLabel::Failed), 1);
    assert_eq!(database.statements.get(KindLabel::Simple, ResultLabel::Completed), 1);
}

#[test]
fn the_announcement_waits_a_second_and_no_longer() {
    check(
        steps([
            vec![opened(7, 10), owned(7, 10, 200), Step::Tick(500), Step::Tick(1010), Step::Tick(1500)],
            login(7, 2000),
            vec![Step::Tick(2100), connected(None, 1007, 2200, 100), Step::Tick(2300)],
        ]),
        &[
            "10 open 7 main client=NotSeen server=200/postgres ?@? Undecided",
            "2000 change 7 main client=NotSeen server=200/postgres alice@app in Plaintext",
            "2200 change 7 main client=100/psql server=200/postgres alice@app in Plaintext",
        ],
    );
}

#[test]
fn the_first_statement_and_the_close_do_not_wait() {
    check(
        vec![opened(7, 10), query(7, 20, "select 1")],
        &["10 open 7 main client=NotSeen server=NotSeen ?@? Undecided", "20 statement 7 #1 select 1"],
    );
    let sessions = check(
        vec![opened(7, 10), closed(7, 20, 0), closed(7, 21, 0), Step::Tick(5000)],
        &[
            "10 open 7 main client=NotSeen server=NotSeen ?@? Undecided",
            "20 close 7 main client=NotSeen server=NotSeen ?@? Undecided after 10 bytes 0",
        ],
    );
    assert_eq!(sessions.totals().databases[&DatabaseId(0)].sessions(TransportKind::Unix).unattributed, 1);
    assert_eq!(sessions.totals().late_events, 1);
}

#[test]
fn a_client_elsewhere_is_remote() {
    let over = |address| opened_as(7, 10, tcp(address), None, Origin::Opened);
    let rest = || steps([vec![owned(7, 10, 200)], login(7, 10), vec![Step::Tick(2000)]]);
    let open = |client: &str| format!("10 open 7 main client={client} server=200/postgres alice@app in Plaintext");
    check(steps([vec![over("192.0.2.1")], rest()]), &[&open("Remote")]);
    check(steps([vec![over("127.0.0.2")], rest()]), &[&open("NotSeen")]);
    check(steps([vec![over("::ffff:127.0.0.2")], rest()]), &[&open("NotSeen")]);
    check(steps([vec![over("10.0.0.1")], rest()]), &[&open("NotSeen")]);
    let gone = kernel(KernelEvent::ClientGone { cookie: SocketCookie(7) });
    check(steps([vec![over("127.0.0.1")], gone, rest()]), &[&open("Gone")]);
    check(steps([vec![over("192.0.2.1")], vec![connected(Some(7), 1007, 10, 100)], rest()]), &[&open("100/psql")]);
}

#[test]
fn local_addresses_may_become_known_late() {
    let mut sessions = subject(Limits::default());
    run(&mut sessions, [opened_as(7, 10, tcp("192.0.2.1"), None, Origin::Opened), Step::Tick(2000)]);
    sessions.set_local_addresses(HashSet::from(["192.0.2.1".parse().expect("an address")]));
    assert_eq!(
        lines(&run(&mut sessions, [Step::Tick(3000)])),
        ["2000 change 7 main client=NotSeen server=NotSeen ?@? Undecided"]
    );
}

#[test]
fn the_kernels_word_on_encryption_stands() {
    let open = "10 open 7 main client=100/psql server=200/postgres alice@app in Tls";
    let mut before = whole(7, 10, 100, 200);
    before.insert(1, encrypted(7, Encryption::Tls));
    before.insert(2, encrypted(7, Encryption::Undecided));
    check(before, &[open]);
    check(
        steps([whole(7, 10, 100, 200), vec![encrypted(7, Encryption::Tls)]]),
        &[OPEN, "10 change 7 main client=100/psql server=200/postgres alice@app in Tls"],
    );
}

#[test]
fn start_up_names_user_database_application_and_replication() {
    let sessions = check(
        vec![
            opened(7, 10),
            startup(7, 10, &[("user", "alice"), ("application_name", "a"), ("replication", "database")]),
            wire(7, 11, WireEvent::ParameterStatus { name: "application_name".into(), value: "b".into() }),
            wire(7, 11, WireEvent::ParameterStatus { name: "TimeZone".into(), value: "c".into() }),
            Step::Tick(1010),
        ],
        &["10 open 7 main client=NotSeen server=NotSeen alice@alice Undecided"],
    );
    let login = &sessions.get(SocketCookie(7)).expect("live").login;
    assert_eq!((login.application.as_deref(), login.replication.as_deref()), (Some("b"), Some("database")));
    assert_eq!(login.protocol, Some((3, 0)));
}

#[test]
fn a_database_without_a_name_is_that_of_the_users_name() {
    for parameters in [
        &[("user", "alice")][..],
        &[("database", ""), ("user", "alice")],
        &[("user", "alice"), ("database", "app"), ("database", "")],
    ] {
        check(
            vec![opened(7, 10), startup(7, 10, parameters), Step::Tick(1010)],
            &["10 open 7 main client=NotSeen server=NotSeen alice@alice Undecided"],
        );
    }
}

#[test]
fn a_found_session_takes_its_login_from_the_title_until_the_wire_tells() {
    let found = |origin| opened_as(7, 10, unix(), None, origin);
    let title = kernel(KernelEvent::Owned {
        cookie: SocketCookie(7),
        at: ms(11),
        process: process(200, "/postgres"),
        title: Some(("bob".into(), "old".into())),
    });
    let given = steps([
        vec![found(Origin::FoundAtStart)],
        title.clone(),
        vec![Step::Tick(1010), found(Origin::MissedOpen), query(7, 1500, "select 1")],
        kernel(KernelEvent::Closed { cookie: SocketCookie(7), at: ms(2010), ledger: Default::default(), missed: true }),
        vec![found(Origin::MissedOpen), Step::Tick(9000)],
    ]);
    let sessions = check(
        given,
        &[
            "10 open 7 main client=NotSeen server=200/postgres bob@old inferred Undecided",
            "1500 statement 7 #1 select 1",
            "2010 close 7 main client=NotSeen server=200/postgres bob@old inferred Undecided n=1/0/0 after 2000 bytes 0 missed",
        ],
    );
    let counts = *sessions.totals().databases[&DatabaseId(0)].sessions(TransportKind::Unix);
    assert_eq!((counts.found_at_start, counts.missed_open, counts.missed_close), (1, 0, 1));
    for late_title in [false, true] {
        let (before, after) = if late_title { (login(7, 12), title.clone()) } else { (title.clone(), login(7, 12)) };
        check(
            steps([vec![found(Origin::MissedOpen)], before, after, vec![Step::Tick(1010)]]),
            &["10 open 7 main client=NotSeen server=200/postgres alice@app in Plaintext"],
        );
    }
}

#[test]
fn what_comes_before_the_opening_waits_for_it() {
    let mut given = whole(7, 10, 100, 200);
    let opening = given.remove(0);
    check(
        steps([given.clone(), vec![query(7, 15, "select 1"), closed(7, 20, 5), opening.clone()]]),
        &[
            OPEN,
            "15 statement 7 #1 select 1",
            "20 close 7 main client=100/psql server=200/postgres alice@app in Plaintext n=1/0/0 after 10 bytes 5",
        ],
    );
    // The opening is missed and found ten seconds later: statements do not wait that long.
    check(
        steps([
            given,
            vec![query(7, 15, "bad"), Step::Tick(1200), query(7, 1300, "b"), Step::Tick(1400)],
            vec![opened_as(7, 9000, unix(), None, Origin::MissedOpen), query(7, 9500, "c")],
        ]),
        &[
            "15 statement 7 #1 bad",
            "1300 statement 7 #2 b",
            "9000 open 7 main client=100/psql server=200/postgres alice@app in Plaintext n=2/1/0",
            "9500 statement 7 #3 c",
        ],
    );
}

#[test]
fn a_statement_that_comes_after_the_close_is_recorded() {
    let given =
        steps([whole(7, 10, 100, 200), vec![query(7, 15, "a"), closed(7, 20, 5), query(7, 16, "b"), counted(7, 9)]]);
    let sessions = check(
        given,
        &[
            OPEN,
            "15 statement 7 #1 a",
            "20 close 7 main client=100/psql server=200/postgres alice@app in Plaintext n=1/0/0 after 10 bytes 5",
            "16 statement 7 #2 b",
        ],
    );
    assert_eq!(sessions.totals().late_events, 2);
    assert_eq!(sessions.early_sessions(), 0);
}

#[test]
fn a_cancel_request_names_the_session_that_it_is_meant_for() {
    let cancel = |cookie, pid| vec![opened(cookie, 50), wire(cookie, 50, WireEvent::CancelRequested { pid })];
    let told = vec![wire(7, 10, WireEvent::BackendPid(33))];
    check(
        steps([whole(7, 10, 100, 200), told, cancel(8, 33), cancel(9, 200)]),
        &[
            OPEN,
            "50 open 8 main client=NotSeen server=NotSeen ?@? Undecided",
            "50 cancel 8 pid 33 target Some(7)",
            "50 open 9 main client=NotSeen server=NotSeen ?@? Undecided",
            // In the server's own pid namespace nobody is 200.
            "50 cancel 9 pid 200 target None",
        ],
    );
    check(
        steps([whole(7, 10, 100, 200), cancel(8, 200), cancel(9, 100), vec![closed(7, 60, 0)], cancel(10, 200)]),
        &[
            OPEN,
            "50 open 8 main client=NotSeen server=NotSeen ?@? Undecided",
            "50 cancel 8 pid 200 target Some(7)",
            "50 open 9 main client=NotSeen server=NotSeen ?@? Undecided",
            "50 cancel 9 pid 100 target None",
            "60 close 7 main client=100/psql server=200/postgres alice@app in Plaintext after 50 bytes 0",
            "50 open 10 main client=NotSeen server=NotSeen ?@? Undecided",
            "50 cancel 10 pid 200 target None",
        ],
    );
}

#[test]
fn a_clients_process_is_followed() {
    let at = ms(50);
    let sessions = check(
        steps([
            whole(7, 10, 100, 200),
            kernel(KernelEvent::Forked { at, parent: key(100), child: key(101) }),
            kernel(KernelEvent::Executed { at, process: process(101, "/sh") }),
            kernel(KernelEvent::Forked { at, parent: key(101), child: key(102) }),
            kernel(KernelEvent::Executed { at, process: process(100, "/evil") }),
            kernel(KernelEvent::Exited { at, process: key(101) }),
            kernel(KernelEvent::Exited { at, process: key(100) }),
            kernel(KernelEvent::Exited { at, process: key(100) }),
            // The server's own affairs, and strangers.
            kernel(KernelEvent::Forked { at, parent: key(200), child: key(201) }),
            kernel(KernelEvent::Executed { at, process: process(200, "/other") }),
            kernel(KernelEvent::Exited { at, process: key(200) }),
            kernel(KernelEvent::Exited { at, process: key(999) }),
        ]),
        &[
            OPEN,
            "50 fork 7 pid 101",
            "50 exec 7 pid 101 /sh",
            "50 fork 7 pid 102",
            "50 exec 7 pid 100 /evil",
            "50 exit 7 pid 101",
            "50 exit 7 pid 100",
        ],
    );
    let session = sessions.get(SocketCookie(7)).expect("live");
    assert_eq!(shown(session), "7 main client=100/evil server=200/other alice@app in Plaintext");
}

#[test]
fn an_exec_before_the_join_is_the_client() {
    let exec = || kernel(KernelEvent::Executed { at: ms(5), process: process(100, "/new") });
    let open = "10 open 7 main client=100/new server=200/postgres alice@app in Plaintext";
    let rest = || steps([vec![opened(7, 10), owned(7, 10, 200)], login(7, 10)]);
    check(steps([vec![connected(None, 1007, 4, 100)], exec(), rest()]), &[open]);
    check(steps([vec![connected(Some(7), 1007, 4, 100)], exec(), rest()]), &[open]);
}

#[test]
fn gaps_refusals_and_losses_are_recorded() {
    let sessions = check(
        vec![
            opened(7, 10),
            wire(7, 20, WireEvent::Gap { side: Side::Client, bytes: Some(5) }),
            wire(7, 30, WireEvent::Violation { side: Side::Server, what: "unknown type" }),
            wire(7, 40, WireEvent::Refused { severity: "FATAL".into(), sqlstate: "28P01".into(), message: "m".into() }),
            Step::Kernel(KernelEvent::Lost { at: ms(50), kind: "content", stage: "kernel", count: 3 }),
        ],
        &[
            "10 open 7 main client=NotSeen server=NotSeen ?@? Undecided",
            "20 gap 7 client Some(5) lost",
            "30 gap 7 server None unknown type",
            "40 refused 7 28P01 by server",
            "50 lost content kernel 3",
        ],
    );
    let totals = sessions.totals();
    let database = &totals.databases[&DatabaseId(0)];
    assert_eq!((database.gaps, database.violations, database.refused), (1, 1, 1));
    assert_eq!(totals.lost[&("content", "kernel")], 3);
    assert_eq!(sessions.get(SocketCookie(7)).expect("live").gaps, 2);
}

#[test]
fn a_ledger_that_was_overtaken_takes_nothing_back() {
    let sessions =
        check(steps([whole(7, 10, 100, 200), vec![counted(7, 50), counted(7, 40), counted(7, 60)]]), &[OPEN]);
    assert_eq!(sessions.get(SocketCookie(7)).expect("live").ledger.socket_received, 60);
    assert_eq!(sessions.totals().databases[&DatabaseId(0)].bytes.socket_received, 60);
}

#[test]
fn a_process_that_is_told_twice_is_held_once() {
    let mut sessions = subject(Limits::default());
    run(&mut sessions, steps([whole(7, 10, 100, 200), whole(8, 10, 100, 201)]));
    let client = |cookie| sessions.get(SocketCookie(cookie)).and_then(|session| session.client.known());
    assert!(std::sync::Arc::ptr_eq(client(7).expect("known"), client(8).expect("known")));
}
