//! The fuzz target's body, run for a bounded time without the fuzzer: random bytes, and sessions with damage.

#![expect(clippy::disallowed_methods, reason = "the length of a test run is in seconds")]

use std::time::{Duration, Instant};

use crate::fuzz_body::run;
use crate::support::Piece;
use crate::support::generate::{Habit, Random, play, script};
use model::wire::Side;

#[test]
fn any_bytes() {
    let seconds = std::env::var("WARDER_FUZZ_SECONDS").ok().and_then(|seconds| seconds.parse().ok()).unwrap_or(5);
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut seed = std::env::var("WARDER_FUZZ_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1_u64);
    println!("first seed {seed} (WARDER_FUZZ_SEED), {seconds} s (WARDER_FUZZ_SECONDS)");
    let mut runs = 0;
    while Instant::now() < end {
        let mut random = Random::new(seed);
        let data = if seed.is_multiple_of(4) { noise(&mut random) } else { damaged(&mut random) };
        if std::panic::catch_unwind(|| run(&data)).is_err() {
            panic!("seed {seed}: {}", data.escape_ascii());
        }
        seed += 1;
        runs += 1;
    }
    println!("{runs} runs");
}

fn noise(random: &mut Random) -> Vec<u8> {
    (0..random.below(2000)).map(|_| random.next() as u8).collect()
}

/// A session as a list of inputs, some bytes of which are changed.
fn damaged(random: &mut Random) -> Vec<u8> {
    let mut data = vec![random.next() as u8, random.next() as u8];
    for piece in play(&script(Habit::Wild, random.next(), 40), random.next()) {
        let Piece::Bytes(side, bytes) = piece else {
            continue;
        };
        let part_max = 1 + random.below(255) as usize;
        for part in bytes.chunks(part_max) {
            if random.one_in(30) {
                data.extend([random.next() as u8, random.next() as u8, random.next() as u8, random.next() as u8]);
            }
            data.extend([6 + u8::from(side == Side::Server), part.len() as u8, 0, 0]);
            data.extend(part);
        }
    }
    for _ in 0..random.below(6) {
        let index = random.below(data.len() as u64) as usize;
        data[index] = random.next() as u8;
    }
    data
}
