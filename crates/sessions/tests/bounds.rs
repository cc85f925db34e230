//! Everything has a bound, and what does not fit is counted.

mod common;

use common::*;
use model::session::Origin;
use model::wire::WireEvent;
use sessions::Limits;

#[test]
fn sessions_beyond_the_limit_are_counted_and_found_again() {
    let mut sessions = subject(Limits { sessions_max: 2, ..Limits::default() });
    let steps = (1..=5).flat_map(|cookie| [opened(cookie, 10), opened(cookie, 10), query(cookie, 11, "a")]);
    let records = lines(&run(&mut sessions, steps.chain([Step::Tick(20), Step::Tick(30)])));
    assert_eq!(sessions.live().count(), 2);
    assert_eq!(records.iter().filter(|line| line.contains("lost")).collect::<Vec<_>>(), ["20 lost session core 3"]);
    assert_eq!(sessions.totals().sessions_beyond_limit, 3);
    assert_eq!(sessions.early_sessions(), 0);
    let found = opened_as(5, 50, unix(), None, Origin::MissedOpen);
    let records = lines(&run(&mut sessions, [closed(1, 40, 0), found, query(5, 60, "b")]));
    assert_eq!(records[1..], ["50 open 5 main client=NotSeen server=NotSeen ?@? Undecided", "60 statement 5 #1 b"]);
}

#[test]
fn unmatched_clients_are_bounded_in_number_and_time() {
    let mut sessions = subject(Limits { unmatched_clients_max: 3, ..Limits::default() });
    run(&mut sessions, (0..10).map(|index| connected(None, 1000 + index, index, 100)));
    assert_eq!((sessions.unmatched_clients(), sessions.totals().clients_unmatched), (3, 7));
    run(&mut sessions, [opened(9, 20), Step::Tick(30_000)]);
    assert_eq!(sessions.unmatched_clients(), 2, "one has found its session");
    run(&mut sessions, [Step::Tick(40_000)]);
    assert_eq!((sessions.unmatched_clients(), sessions.totals().clients_unmatched), (0, 9));
    // The same socket over and over.
    run(&mut sessions, (0..1000).map(|at| connected(None, 1, 50_000 + at, 100)));
    assert_eq!(sessions.unmatched_clients(), 1);
}

#[test]
fn events_without_a_session_are_bounded_in_number_bytes_and_time() {
    let mut sessions = subject(Limits { early_sessions_max: 3, early_bytes_max: 16_384, ..Limits::default() });
    let records = run(&mut sessions, (0..10).map(|cookie| query(cookie, 10 + cookie, "a")));
    assert_eq!(sessions.early_sessions(), 3);
    assert_eq!(lines(&records).len(), 7, "statements of those that had to go");
    let large = "x".repeat(20_000);
    let records = lines(&run(&mut sessions, [query(9, 30, &large)]));
    assert_eq!(records.len(), 2, "those before it leave first");
    assert!(records[0].contains("statement 9 #1 a") && records[1].contains("statement 9 #2 x"));
    let notes = (0..200).map(|_| wire(9, 40, WireEvent::Authenticated));
    run(&mut sessions, notes);
    let dropped = sessions.totals().early_events_dropped;
    assert!(dropped > 100, "{dropped}");
    let records = lines(&run(&mut sessions, [Step::Tick(60_000)]));
    assert_eq!(records.iter().filter(|line| line.contains("statement")).count(), 2);
    assert_eq!(sessions.early_sessions(), 0);
    assert!(records.last().is_some_and(|line| line == "60000 lost early_event core 200"), "{records:?}");
}

#[test]
fn closed_sessions_are_remembered_up_to_a_bound() {
    let mut sessions = subject(Limits { past_sessions_max: 2, ..Limits::default() });
    run(&mut sessions, (1..=5).flat_map(|cookie| [opened(cookie, 10), closed(cookie, 20, 0)]));
    run(&mut sessions, (1..=5).map(|cookie| counted(cookie, 1)));
    assert_eq!((sessions.totals().late_events, sessions.early_sessions()), (2, 3));
}

#[test]
fn forked_children_are_followed_up_to_a_bound() {
    let mut sessions = subject(Limits { heirs_max: 2, ..Limits::default() });
    run(&mut sessions, whole(7, 10, 100, 200));
    let fork =
        |child| Step::Kernel(model::kernel::KernelEvent::Forked { at: ms(20), parent: key(100), child: key(child) });
    let exit = |pid| Step::Kernel(model::kernel::KernelEvent::Exited { at: ms(30), process: key(pid) });
    let records = run(&mut sessions, (101..=105).map(fork).chain((101..=105).map(exit)));
    assert_eq!(records.len(), 5 + 2, "every fork is recorded, the ends of two");
}
