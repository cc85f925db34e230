//! What a statement and an idle session cost: `cargo bench -p sessions --bench sessions`. Prints, asserts nothing.

#[path = "../tests/common/mod.rs"]
mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::*;
use model::id::SocketCookie;
use model::kernel::KernelEvent;
use model::process::{Ancestor, Process};
use model::session::Session;
use model::wire::WireEvent;
use sessions::Limits;

fn main() {
    an_idle_session();
    a_statement();
}

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).expect("a number") * 4096
}

/// A process as it is on a real host: a path, four arguments, three parents.
fn realistic(step: Step) -> Step {
    let grown = |mut process: Arc<Process>| {
        let inner = Arc::make_mut(&mut process);
        Arc::make_mut(&mut inner.executable).path = "/usr/lib/postgresql/15/bin/postgres".to_owned();
        Arc::make_mut(&mut inner.arguments).values = ["psql", "-h", "db.example.org", "-c"].map(str::to_owned).to_vec();
        let ancestor = |pid| Ancestor { key: key(pid), uid: 0, name: "bash".to_owned() };
        inner.ancestors = (1..4).map(ancestor).collect();
        process
    };
    match step {
        Step::Kernel(KernelEvent::Owned { cookie, at, process, title }) => {
            Step::Kernel(KernelEvent::Owned { cookie, at, process: grown(process), title })
        }
        Step::Kernel(KernelEvent::Connected { client_cookie, cookie, at, process }) => {
            Step::Kernel(KernelEvent::Connected { client_cookie, cookie, at, process: grown(process) })
        }
        other => other,
    }
}

/// Every process has strings of its own here; the core's decoder shares equal ones. What a session costs in the core is
/// measured by the bench `session-memory` of the agent.
fn an_idle_session() {
    const COUNT: u32 = 50_000;
    // Both are kept, so that the second cannot live in what the first has freed.
    let mut kept = Vec::new();
    for (label, client_of) in [("one client process for all", None), ("a client process each", Some(1_000_000))] {
        let before = resident_bytes();
        let mut sessions = subject(Limits { sessions_max: 100_000, ..Limits::default() });
        for index in 0..COUNT {
            let client = client_of.map_or(9, |first| first + index);
            let steps = whole(u64::from(index), 10, client, 2_000_000 + index);
            run(&mut sessions, steps.into_iter().map(realistic));
        }
        println!("sessions: idle, {label}: {} bytes each", (resident_bytes() - before) / COUNT as usize);
        kept.push(sessions);
    }
    println!("sessions: a process alone: {} bytes and its strings", size_of::<Process>());
    println!("sessions: a session alone: {} bytes and its strings", size_of::<Session>());
}

fn a_statement() {
    for count in [100_u64, 10_000] {
        let mut sessions = subject(Limits::default());
        for cookie in 0..count {
            let pid = u32::try_from(cookie).expect("small");
            run(&mut sessions, whole(cookie, 10, 9, 2_000_000 + pid));
        }
        let mut out = Vec::with_capacity(1000);
        let mut spent = Duration::ZERO;
        for round in 0..1000_u64 {
            let cookie = |index: u64| SocketCookie((index * 97 + round) % count);
            let statements: Vec<_> = (0..1000).map(|index| (cookie(index), statement(20, "select 1"))).collect();
            #[expect(clippy::disallowed_methods, reason = "a measurement needs a clock")]
            let start = Instant::now();
            for (cookie, statement) in statements {
                sessions.on_wire(cookie, ms(20), WireEvent::Statement(statement), &mut out);
            }
            spent += start.elapsed();
            assert_eq!(out.len(), 1000);
            out.clear();
        }
        println!("sessions: a statement of one of {count} sessions: {:?}", spent / 1_000_000);
    }
}
