//! What was acknowledged is there: after SIGKILL at any moment, and after a disk that fails to take what it accepted.
//!
//! `WARDER_LONG=1` kills two hundred times instead of twenty.
#![allow(clippy::unwrap_used, clippy::panic, clippy::allow_attributes, reason = "helpers of tests")]

mod common;

use std::collections::hash_map::RandomState;
use std::fs;
use std::hash::BuildHasher as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::*;
use journal::verify::Verdict;
use model::record::What;
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use store::files::{Form, segments};
use store::form::event::Event;
use store::writer::{Limits, WriteError};

/// Everything that a writer does happens often: segments, checkpoints, sealing, removal.
const BUSY: Limits = Limits {
    segment_bytes_max: 16_384,
    bytes_max: 120_000,
    checkpoint_records: 50,
    sync_interval: Duration::from_millis(10),
    ..LIMITS
};

/// The process that is killed: says after each flush which of its statements are written, and which durable.
fn write_forever(parent: &Path, first: u64) -> ! {
    let (mut writer, _) = open(&parent.join("journal"), &parent.join("key"), BUSY).unwrap();
    let mut unwritten = std::collections::VecDeque::new();
    let (mut written, mut durable, mut now) = (first - 1, first - 1, NINE_THIRTY);
    let mut out = std::io::stdout().lock();
    for number in first.. {
        let seq = writer.append(&statement_record(number)).unwrap();
        if number % 40 == 0 {
            writer
                .append(&at(1, What::SessionClosed { session: session(7).into(), duration: 1, missed: false }))
                .unwrap();
        }
        unwritten.push_back((seq, number));
        if number % 7 == 0 {
            now = later(now, Duration::from_millis(10));
            writer.flush(now).unwrap();
            for (seq, number) in &unwritten {
                written = if *seq <= writer.written() { *number } else { written };
                durable = if *seq <= writer.durable() { *number } else { durable };
            }
            unwritten.retain(|(seq, _)| *seq > writer.durable());
            writeln!(out, "ack {written} {durable}").unwrap();
            out.flush().unwrap();
        }
    }
    unreachable!("numbers do not end")
}

#[test]
fn what_was_acknowledged_survives_sigkill() {
    if let Ok(child) = std::env::var("STORE_TEST_WRITE_FOREVER") {
        let (first, parent) = child.split_once(' ').unwrap();
        write_forever(Path::new(parent), first.parse().unwrap());
    }
    let rounds = if std::env::var_os("WARDER_LONG").is_some_and(|value| value == "1") { 200 } else { 20 };
    let home = Home::new().with_key();
    let (mut torn, mut removed, mut last) = (0, 0, 0);
    for round in 0..rounds {
        let acknowledged = kill_a_writer(&home, last + 1);
        let report = home.verify();
        assert_eq!(report.verdict(), Verdict::Intact, "round {round}: {report:?}");
        torn += u64::from(report.torn_bytes > 0);
        let statements = home.statements();
        assert!(statements.windows(2).all(|pair| pair[0] + 1 == pair[1]), "round {round}: a record is missing");
        last = *statements.last().unwrap();
        assert!(last >= acknowledged, "round {round}: {acknowledged} was acknowledged, {last} is there");
        removed = report.first_seq;
        // The next writer says what it repaired.
        let (mut writer, recovery) = home.open(BUSY);
        writer.settle(NINE_THIRTY).unwrap();
        assert_eq!(recovery.torn_bytes, report.torn_bytes);
        let told = matches!(home.entries().iter().rev().nth(1).unwrap().event, Event::Recovered(_));
        assert_eq!(told, report.torn_bytes > 0, "round {round}");
        home.assert_intact();
    }
    println!("{rounds} kills, {last} statements, {torn} torn lines, removed up to record {removed}");
    assert!(removed > 1, "retention worked all the time");
}

/// Starts a writer and kills it at a random moment; the last statement that it acknowledged as written.
fn kill_a_writer(home: &Home, first: u64) -> u64 {
    let parent = home.journal.parent().unwrap().to_str().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "what_was_acknowledged_survives_sigkill", "--nocapture"])
        .env("STORE_TEST_WRITE_FOREVER", format!("{first} {parent}"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let acknowledgements = 1 + RandomState::new().hash_one(first) % 300;
    let mut acks = lines.by_ref().map(Result::unwrap).filter(|line| line.starts_with("ack "));
    let seen: Vec<String> = acks.by_ref().take(usize::try_from(acknowledgements).unwrap()).collect();
    assert_eq!(seen.len() as u64, acknowledgements, "the writer ended by itself");
    child.kill().unwrap();
    // What it said before it died was said.
    let last = acks.last().or(seen.last().cloned()).unwrap();
    child.wait().unwrap();
    // The last line may be half a line.
    let written = |line: &str| line.split(' ').nth(1).and_then(|number| number.parse::<u64>().ok());
    written(&last).unwrap_or(0).max(seen.last().and_then(|line| written(line)).unwrap())
}

/// A file system whose device takes no new blocks while `ballast` fills the memory behind it: write(2) succeeds, and
/// fdatasync fails.
fn on_a_disk_that_fails(test: impl FnOnce(&Home, &Path) + Send + 'static) {
    if !nix::unistd::Uid::effective().is_root() {
        println!("SKIPPED: a loop device needs root");
        return;
    }
    let thread = std::thread::spawn(move || {
        let home = Home::new();
        let memory = home.journal.with_file_name("memory");
        fs::create_dir(&memory).unwrap();
        fs::create_dir(&home.journal).unwrap();
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
        mount(Some("tmpfs"), &memory, Some("tmpfs"), MsFlags::empty(), Some("size=4m")).unwrap();
        let image = memory.join("image");
        fs::File::create(&image).unwrap().set_len(16 << 20).unwrap();
        run(Command::new("mkfs.ext4").args(["-q", "-b", "4096", "-O", "^has_journal"]).arg(&image));
        let device = run(Command::new("losetup").args(["-f", "--show"]).arg(&image));
        let device = Path::new(device.trim());
        mount(Some(device), &home.journal, Some("ext4"), MsFlags::empty(), None::<&str>).unwrap();
        let tested = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| test(&home, &memory.join("ballast"))));
        unmount(&home.journal);
        // What is not on the device is gone now.
        mount(Some(device), &home.journal, Some("ext4"), MsFlags::empty(), None::<&str>).unwrap();
        let found = tested.is_ok().then(|| (home.statements(), home.verify().verdict()));
        unmount(&home.journal);
        run(Command::new("losetup").arg("-d").arg(device));
        unmount(&memory);
        tested.unwrap();
        assert_eq!(found, Some(((1..=300).collect(), Verdict::Intact)));
    });
    thread.join().unwrap();
}

/// A process that another test begins has the files of this one until it has executed its program.
fn unmount(folder: &Path) {
    for _ in 0..100 {
        match nix::mount::umount(folder) {
            Err(Errno::EBUSY) => std::thread::sleep(Duration::from_millis(50)),
            ended => return ended.unwrap(),
        }
    }
    panic!("{} is busy for five seconds", folder.display());
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_failing_fdatasync_acknowledges_nothing_and_costs_nothing() {
    on_a_disk_that_fails(|home, ballast| {
        let (mut writer, _) = home.open(LIMITS);
        let append = |numbers: std::ops::RangeInclusive<u64>, writer: &mut store::writer::Writer| {
            numbers.map(|number| writer.append(&statement_record(number)).unwrap()).last().unwrap()
        };
        append(1..=5, &mut writer);
        writer.settle(NINE_THIRTY).unwrap();
        let durable = writer.durable();
        assert_eq!(durable, writer.written());

        let filler = fs::File::create(ballast).unwrap();
        let full = (0..).map(|at| filler.write_all_at(&[1; 4096], at * 4096)).find_map(Result::err);
        assert_eq!(full.unwrap().raw_os_error(), Some(nix::libc::ENOSPC));
        append(6..=300, &mut writer);
        assert!(matches!(writer.settle(NINE_THIRTY), Err(WriteError::Sync(_))), "the device has no room for it");
        assert!(writer.written() > durable + 295, "write(2) has taken it");
        assert_eq!(writer.durable(), durable, "and nothing more is promised");
        // Again: a second fdatasync of the same file would succeed, and nothing would be on the device.
        assert!(matches!(writer.settle(NINE_THIRTY), Err(WriteError::Sync(_))));
        assert_eq!((writer.durable(), writer.counters().in_doubt), (durable, 0));

        fs::remove_file(ballast).unwrap();
        drop(filler);
        writer.settle(NINE_THIRTY).unwrap();
        assert_eq!(writer.durable(), writer.written());
    });
}

/// Durability lags behind while the disk is slow, by no more than configured plus the time of one fdatasync.
#[test]
fn flushes_make_records_durable_without_being_waited_for() {
    let home = Home::new();
    let (mut writer, _) = home.open(BUSY);
    let seq = writer.append(&statement_record(1)).unwrap();
    assert!(writer.written() < seq);
    writer.flush(NINE_THIRTY).unwrap();
    assert!(writer.written() >= seq);
    flush_until(&mut writer, |writer| writer.durable() >= seq);
    assert!(segments(&home.journal).unwrap().iter().all(|segment| segment.form == Form::Plain));
}
