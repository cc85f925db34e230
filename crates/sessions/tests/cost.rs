//! What a statement and an idle session cost. Prints; run with `--release -- --ignored --nocapture`.

mod common;

use std::time::Instant;

use common::*;
use model::id::SocketCookie;
use model::wire::WireEvent;
use sessions::Limits;

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    statm
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<usize>().ok())
        .expect("a number")
        * 4096
}

#[test]
#[ignore = "a measurement"]
fn costs() {
    let mut sessions = subject(Limits {
        sessions_max: 200_000,
        ..Limits::default()
    });
    let count = 100_000_u32;
    for (label, client_of) in [
        ("one client process", None),
        ("a client process each", Some(1_000_000)),
    ] {
        let before = resident_bytes();
        let base = if client_of.is_some() {
            u64::from(count)
        } else {
            0
        };
        for index in 0..count {
            let client = client_of.map_or(9, |first| first + index);
            run(
                &mut sessions,
                whole(base + u64::from(index), 10, client, 2_000_000 + index),
            );
        }
        println!(
            "{label}: {} bytes a session",
            (resident_bytes() - before) / count as usize
        );
    }
    let mut out = Vec::with_capacity(1000);
    let mut spent = std::time::Duration::ZERO;
    for round in 0..1000_u64 {
        let statements: Vec<_> = (0..1000_u64)
            .map(|index| (index * 97 + round, statement(20, "select 1")))
            .collect();
        #[expect(clippy::disallowed_methods, reason = "a measurement needs a clock")]
        let start = Instant::now();
        for (cookie, statement) in statements {
            sessions.on_wire(
                SocketCookie(cookie),
                ms(20),
                WireEvent::Statement(statement),
                &mut out,
            );
        }
        spent += start.elapsed();
        assert_eq!(out.len(), 1000);
        out.clear();
    }
    println!(
        "a statement: {:?}, over {} sessions",
        spent / 1_000_000,
        sessions.live().count()
    );
}
