//! What appending a statement costs. A measurement: `cargo test --release -p store --test hot_path -- --ignored --nocapture`.
#![allow(clippy::unwrap_used, clippy::panic, clippy::allow_attributes, reason = "helpers of tests")]

mod common;

use std::time::Duration;

use common::*;
use nix::time::{ClockId, clock_gettime};
use store::writer::Writer;

/// Processor time of this thread, in and below the kernel: other work on the machine does not count.
fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into()
}

#[test]
#[ignore = "a measurement, meaningful only in release"]
fn nanoseconds_per_statement() {
    const RECORDS: u32 = 500_000;
    let directory = tempfile::tempdir().unwrap();
    let record = statement_record(1);
    let mut rounds: Vec<u64> = (0..9)
        .map(|_| {
            let (mut writer, _) = Writer::open(directory.path(), MACHINE, LIMITS).unwrap();
            let start = cpu_time();
            for count in 0..RECORDS {
                writer.append(&record).unwrap();
                if count % 500 == 0 {
                    writer.flush().unwrap();
                }
            }
            let elapsed = (cpu_time() - start) / RECORDS;
            drop(writer);
            std::fs::remove_file(directory.path().join("events.jsonl")).unwrap();
            u64::try_from(elapsed.as_nanos()).unwrap()
        })
        .collect();
    rounds.sort_unstable();
    println!(
        "append + flush: median {} ns of CPU per statement record, min {}, max {}",
        rounds[4], rounds[0], rounds[8]
    );
    assert!(rounds[4] <= 1000, "budget: 1 us");
}
