//! Random edits of a journal, by somebody who has no key, who has stolen it, or who has another one. What must be found
//! is found: always, at its place, and nothing else.
//!
//! The seed is fixed; `WARDER_SEED` chooses another one, and `WARDER_LONG=1` makes ten times as many.
#![allow(clippy::unwrap_used, clippy::panic, clippy::allow_attributes, reason = "helpers of tests")]

mod common;

use common::*;
use journal::verify::{Complete, KeyOrigin, Report, Verdict};
use journal::witness::Witness;

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }
}

/// Four segments, of which two are sealed; nine checkpoints; a hand-over; a tail of four records.
struct Original {
    script: Script,
    segments: Vec<Vec<Vec<u8>>>,
    lines: Vec<Vec<u8>>,
    /// Number of the last checkpoint.
    signed: u64,
    /// Numbers of all checkpoints.
    checkpoints: Vec<u64>,
    witness: Witness,
    /// Number of the last witnessed checkpoint.
    witnessed: u64,
}

impl Original {
    fn new() -> Self {
        let mut steps = Vec::new();
        for number in 0..60 {
            steps.push(Step::Statement(format!("select * from t where id = {number} and name = 'x{number}'")));
            match number {
                5 | 20 | 26 | 50 => steps.push(Step::Checkpoint),
                12 | 30 | 44 => steps.extend([Step::Checkpoint, Step::Segment]),
                23 => steps.push(Step::HandOver(2)),
                33 => steps.push(Step::Loss),
                55 => steps.push(Step::Checkpoint),
                _ => {}
            }
        }
        let script = Script { key: 1, steps };
        let segments = script.write();
        let lines: Vec<Vec<u8>> = segments.concat();
        let is_checkpoint = |line: &[u8]| journal::head::parse(line).unwrap().type_word == "checkpoint";
        let checkpoints: Vec<u64> =
            (1..).zip(&lines).filter(|(_, line)| is_checkpoint(line)).map(|(seq, _)| seq).collect();
        // The witness missed some, and the last.
        let kept: Vec<u64> = checkpoints.iter().rev().skip(1).step_by(2).rev().copied().collect();
        let text: Vec<u8> = kept.iter().flat_map(|seq| [line_of(&lines, *seq), b"\n"].concat()).collect();
        let witness = Witness::parse(&text).unwrap();
        let signed = *checkpoints.last().unwrap();
        Self { script, segments, lines, signed, checkpoints, witnessed: *kept.last().unwrap(), witness }
    }

    fn stored(&self) -> Vec<Stored> {
        let stored = |(lines, at): (&Vec<Vec<u8>>, usize)| if at < 2 { sealed(lines) } else { plain(lines) };
        self.segments.iter().zip(0..).map(stored).collect()
    }

    /// Number of the first record that is another; `None` if all that is left is a beginning of the original.
    fn first_difference(&self, lines: &[Vec<u8>]) -> Option<u64> {
        let same = self.lines.iter().zip(lines).take_while(|(left, right)| left == right).count();
        (same < lines.len()).then_some(same as u64 + 1)
    }
}

fn line_of(lines: &[Vec<u8>], seq: u64) -> &[u8] {
    &lines[usize::try_from(seq).unwrap() - 1]
}

/// How many edits of a kind; all kinds together are 10,000.
fn edits(share: u64) -> u64 {
    if std::env::var_os("WARDER_LONG").is_some_and(|value| value == "1") { share * 10 } else { share }
}

fn random() -> Random {
    Random(std::env::var("WARDER_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(23))
}

/// Changes lines without any key: the files are what they are.
fn edit(lines: &mut Vec<Vec<u8>>, random: &mut Random) -> &'static str {
    let at = random.below(lines.len());
    match random.below(7) {
        0 => {
            let bit = random.below(lines[at].len() * 8);
            lines[at][bit / 8] ^= 1 << (bit % 8);
            "flip"
        }
        1 => {
            lines.remove(at);
            "drop"
        }
        2 => {
            let other = random.below(lines.len());
            lines.swap(at, other);
            "swap"
        }
        3 => {
            let copy = lines[at].clone();
            let to = random.below(lines.len() + 1);
            lines.insert(to, copy);
            "duplicate"
        }
        4 => {
            lines.truncate(at);
            "truncate"
        }
        5 => {
            let cut = random.below(lines[at].len() + 1);
            lines[at].truncate(cut);
            "shorten"
        }
        _ => {
            let (from, to) = (at, random.below(lines.len()));
            let line = lines[from].clone();
            lines[to] = line;
            "overwrite"
        }
    }
}

/// Puts lines back into files: a segment record with a higher number than the last begins one, as in a folder.
fn segmented(lines: &[Vec<u8>]) -> Vec<Stored> {
    let mut segments: Vec<Vec<Vec<u8>>> = Vec::new();
    let mut last = 0;
    for line in lines {
        let head = journal::head::parse(line).filter(|head| head.type_word == "segment" && head.seq > last);
        last = head.map_or(last, |head| head.seq);
        match segments.last_mut().filter(|_| head.is_none()) {
            Some(segment) => segment.push(line.clone()),
            None => segments.push(vec![line.clone()]),
        }
    }
    let mut stored: Vec<Stored> = segments.iter().map(|lines| plain(lines)).collect();
    // The name of the first file stays.
    stored.iter_mut().take(1).for_each(|first| first.first_seq = 1);
    stored
}

/// The promise: everything up to the last checkpoint that is still there is as it was, or the change is named.
fn check_promise(original: &Original, lines: &[Vec<u8>], report: &Report, what: &str) {
    let difference = original.first_difference(lines);
    // What is after the last signed record may be changed unseen; and a cut is seen only by a witness.
    let last_signed = original.checkpoints.iter().rfind(|seq| **seq <= lines.len() as u64).copied().unwrap_or(0);
    match (&report.fault, difference) {
        (None, Some(at)) => {
            let still_there = |seq: &u64| {
                *seq > at && *seq <= lines.len() as u64 && line_of(lines, *seq) == line_of(&original.lines, *seq)
            };
            assert!(!original.checkpoints.iter().any(still_there), "{what}: {at} missed: {report:?}");
            assert!(report.intact_up_to.is_none_or(|(seq, _)| seq < at), "{what}: {at} missed: {report:?}");
        }
        (Some((_, fault)), Some(at)) => {
            // Of two changes the second may be plain to see, and the first only at the next checkpoint.
            let single = what.split(' ').count() == 3;
            assert!(at <= fault.last && (fault.first <= at || !single), "{what}: {at} is not in {fault:?}");
            assert!(report.intact_up_to.is_none_or(|(seq, _)| seq < at), "{what}: {at}, {report:?}");
        }
        (Some((_, fault)), None) => panic!("{what}: false alarm {fault:?}"),
        (None, None) => {
            assert_eq!(report.intact_up_to.map_or(0, |(seq, _)| seq), last_signed, "{what}");
            assert_eq!(report.unsigned_tail, lines.len() as u64 - last_signed, "{what}");
        }
    }
}

/// With a witness nothing before its last checkpoint can be changed or cut off, whoever does it.
fn check_witnessed(original: &Original, lines: &[Vec<u8>], report: &Report, what: &str) {
    let difference = original.first_difference(lines).unwrap_or(lines.len() as u64 + 1);
    if difference <= original.witnessed {
        assert_eq!(report.verdict(), Verdict::Broken, "{what}: {difference} missed: {report:?}");
        assert!(report.complete != Complete::UpTo(original.witnessed), "{what}");
        let fault = &report.fault.as_ref().unwrap().1;
        assert!(difference <= fault.last, "{what}: {difference}, {report:?}");
    } else if report.fault.is_none() && report.intact_up_to.is_some_and(|(seq, _)| seq >= original.witnessed) {
        assert_eq!(report.complete, Complete::UpTo(original.witnessed), "{what}");
    }
}

#[test]
fn the_original_is_intact() {
    let original = Original::new();
    let report = verify(&original.stored(), &[key(1).public()], &original.witness);
    assert_eq!((report.verdict(), report.intact_up_to.unwrap().0), (Verdict::Intact, original.signed));
    assert_eq!((report.unsigned_tail, report.complete), (4, Complete::UpTo(original.witnessed)));
    assert_eq!((report.losses.len(), report.trusted.len(), report.key_origin), (1, 2, KeyOrigin::Given));
    let report = verify(&original.stored(), &[], &Witness::none());
    assert_eq!(
        (report.verdict(), report.complete, report.key_origin),
        (Verdict::Intact, Complete::NoWitness, KeyOrigin::Journal)
    );
}

#[test]
fn edits_without_the_key_are_found() {
    let (original, mut random) = (Original::new(), random());
    for number in 0..edits(6000) {
        let mut lines = original.lines.clone();
        let mut what = format!("edit {number}:");
        for _ in 0..=random.below(2) {
            what += " ";
            if !lines.is_empty() {
                what += edit(&mut lines, &mut random);
            }
        }
        let stored = segmented(&lines);
        let report = verify(&stored, &[key(1).public()], &Witness::none());
        check_promise(&original, &lines, &report, &what);
        let report = verify(&stored, &[key(1).public()], &original.witness);
        check_witnessed(&original, &lines, &report, &what);
    }
}

#[test]
fn any_flipped_bit_of_a_sealed_segment_is_found() {
    let (original, mut random) = (Original::new(), random());
    let stored = original.stored();
    for number in 0..edits(2500) {
        let mut stored = stored.clone();
        let segment = random.below(2);
        let bytes = &mut stored[segment].bytes;
        match random.below(4) {
            0 => {
                let cut = random.below(bytes.len());
                bytes.truncate(cut);
            }
            1 => bytes.extend_from_slice(&random.next().to_le_bytes()),
            _ => {
                let bit = random.below(bytes.len() * 8);
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
        }
        let report = verify(&stored, &[key(1).public()], &Witness::none());
        assert_eq!(report.verdict(), Verdict::Broken, "edit {number} of segment {segment}");
    }
}

#[test]
fn missing_repeated_and_exchanged_segments_are_found() {
    let original = Original::new();
    let stored = original.stored();
    let verdict = |stored: &[Stored]| verify(stored, &[key(1).public()], &original.witness).verdict();
    for at in 0..stored.len() {
        let mut fewer = stored.clone();
        fewer.remove(at);
        assert_eq!(verdict(&fewer), Verdict::Broken, "without {at}");
        let mut more = stored.clone();
        more.insert(at, stored[at].clone());
        assert_eq!(verdict(&more), Verdict::Broken, "{at} twice");
    }
    // The same lines in the other form are the same history.
    let other: Vec<Stored> = original.segments.iter().map(|lines| plain(lines)).collect();
    assert_eq!(verdict(&other), Verdict::Intact);
}

/// Writes the history again with one step changed, and signs it: with the stolen key, or with another.
fn rewrite(original: &Original, random: &mut Random, signer: u8) -> Vec<Vec<Vec<u8>>> {
    let mut script = original.script.clone();
    script.key = signer;
    let at = random.below(script.steps.len());
    match random.below(4) {
        0 => script.steps[at] = Step::Statement("select 'nothing happened'".to_owned()),
        1 => drop(script.steps.remove(at)),
        2 => {
            let other = random.below(script.steps.len());
            script.steps.swap(at, other);
        }
        _ => script.steps.truncate(at),
    }
    script.write()
}

#[test]
fn the_thief_of_the_key_is_stopped_by_the_witness_only() {
    let (original, mut random) = (Original::new(), random());
    let mut unseen = 0;
    for number in 0..edits(1000) {
        let segments = rewrite(&original, &mut random, original.script.key);
        let lines = segments.concat();
        let stored: Vec<Stored> = segments.iter().map(|lines| plain(lines)).collect();
        let report = verify(&stored, &[key(1).public()], &Witness::none());
        assert_ne!(report.verdict(), Verdict::Broken, "edit {number}: {report:?}");
        unseen += u64::from(report.verdict() == Verdict::Intact && original.first_difference(&lines).is_some());
        let report = verify(&stored, &[key(1).public()], &original.witness);
        check_witnessed(&original, &lines, &report, &format!("edit {number}"));
    }
    assert!(unseen > 100, "without a witness this is not seen, as documented");
}

#[test]
fn another_key_is_not_taken_for_the_right_one() {
    let (original, mut random) = (Original::new(), random());
    for number in 0..edits(250) {
        let segments = rewrite(&original, &mut random, 9);
        let stored: Vec<Stored> = segments.iter().map(|lines| plain(lines)).collect();
        let report = verify(&stored, &[key(1).public()], &Witness::none());
        assert_eq!(report.verdict(), Verdict::CannotVerify, "edit {number}");
        assert_eq!(report.intact_up_to, None, "edit {number}");
    }
}

/// Somebody without the key changes a record and computes every digest anew: all that is missing is a signature.
#[test]
fn digests_computed_anew_do_not_help() {
    let (original, mut random) = (Original::new(), random());
    for number in 0..edits(250) {
        let mut lines = rewrite(&original, &mut random, 9).concat();
        // The right public key, and whatever signature.
        let (wrong, right) = (key(9).public(), key(1).public());
        let hex = |key: journal::key::PublicKey| serde_json::to_string(&key).unwrap();
        for line in &mut lines {
            let text = String::from_utf8(line.clone()).unwrap();
            *line =
                text.replace(&hex(wrong), &hex(right)).replace(&wrong.id().to_string(), &right.id().to_string()).into();
        }
        let report = verify(&segmented(&lines), &[right], &Witness::none());
        if original.first_difference(&lines).is_some_and(|at| at <= original.signed) {
            assert_ne!(report.verdict(), Verdict::Intact, "edit {number}: {report:?}");
        }
    }
}
