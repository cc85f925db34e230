//! Joins checked segments: what is intact, what nobody signed, and what is complete.

use std::collections::{HashMap, HashSet};

use crate::check::{Checked, Fault, KeyEvent, LOSSES_LISTED_MAX, Loss, Why};
use crate::hash::{Chain, JournalId};
use crate::head::TimeText;
use crate::key::PublicKey;
use crate::record::Removed;
use crate::witness::Witness;

/// Where the verifier's key comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyOrigin {
    /// The caller knew it.
    Given,
    /// The journal says it: who can rewrite the journal can write another.
    Journal,
}

/// How far it is known that nothing was left out or cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Complete {
    /// A witness saw this checkpoint.
    UpTo(u64),
    /// No witness's checkpoint was given.
    NoWitness,
    /// The witness's checkpoints are older than the first record: those were removed.
    WitnessedRemoved,
    /// The journal is broken before the first checkpoint that the witness saw.
    BrokenBefore,
}

/// The whole in a word, and the exit status of `warder verify`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Everything up to the last checkpoint is as it was signed.
    Intact = 0,
    /// Something was changed.
    Broken = 1,
    /// Nothing is known to be changed, but not everything could be checked.
    CannotVerify = 2,
}

/// Signatures by a key for which no trusted key vouches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unvouched {
    /// The key.
    pub key: PublicKey,
    /// Its last checkpoint.
    pub last: u64,
}

/// What a journal turned out to be.
#[derive(Clone, Debug)]
pub struct Report {
    /// Which journal; `None` if nothing could be read.
    pub journal: Option<JournalId>,
    /// Number of the first record that is there.
    pub first_seq: u64,
    /// Number of the last record that is all right; 0 if there is none.
    pub last_seq: u64,
    /// Records that are all right.
    pub records: u64,
    /// Bytes of their lines.
    pub bytes: u64,
    /// Segments that were looked at.
    pub segments: u64,
    /// The last checkpoint of a trusted key, and its time: all records up to it are as they were signed.
    pub intact_up_to: Option<(u64, TimeText)>,
    /// Records after it, which nobody has signed.
    pub unsigned_tail: u64,
    /// Bytes after the last whole record of the last segment, which a running or killed writer leaves.
    pub torn_bytes: u64,
    /// How far nothing was left out.
    pub complete: Complete,
    /// The tombstone of what was removed before the first record.
    pub removed: Option<Removed>,
    /// Recorded losses, the first [`LOSSES_LISTED_MAX`].
    pub losses: Vec<Loss>,
    /// Recorded losses.
    pub losses_count: u64,
    /// Where the first trusted key comes from.
    pub key_origin: KeyOrigin,
    /// Keys that were trusted: those of the caller or the journal's first, and those that were handed over to.
    pub trusted: Vec<PublicKey>,
    /// Keys that signed later records and that no trusted key vouches for.
    pub unvouched: Vec<Unvouched>,
    /// The first thing that is wrong, and the first number of its segment.
    pub fault: Option<(u64, Fault)>,
}

impl Report {
    /// The whole in a word.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match (&self.fault, self.intact_up_to) {
            (Some(_), _) => Verdict::Broken,
            (None, Some(_)) if self.unvouched.is_empty() => Verdict::Intact,
            _ => Verdict::CannotVerify,
        }
    }
}

/// Takes the segments of a journal, oldest first.
#[derive(Debug)]
pub struct Verifier<'w> {
    witness: &'w Witness,
    report: Report,
    /// End of the segment before: the next number, chain and key in force.
    end: Option<(u64, Chain, PublicKey)>,
    /// Where each segment begins: number and chain, for tombstones whose removal was interrupted.
    begins: Vec<(u64, Chain)>,
    /// The last tombstone and its number.
    removed: Option<(u64, Removed)>,
    witnessed: Option<u64>,
    /// The same as in the report, for journals with many keys.
    trusted: HashSet<PublicKey>,
    /// Where each key is among those of the report.
    unvouched: HashMap<PublicKey, usize>,
}

impl<'w> Verifier<'w> {
    /// Before the first segment. Without `keys` the journal's own first key is taken.
    #[must_use]
    pub fn new(keys: &[PublicKey], witness: &'w Witness) -> Self {
        let report = Report {
            journal: None,
            first_seq: 0,
            last_seq: 0,
            records: 0,
            bytes: 0,
            segments: 0,
            intact_up_to: None,
            unsigned_tail: 0,
            torn_bytes: 0,
            complete: Complete::NoWitness,
            removed: None,
            losses: Vec::new(),
            losses_count: 0,
            key_origin: if keys.is_empty() { KeyOrigin::Journal } else { KeyOrigin::Given },
            trusted: keys.to_vec(),
            unvouched: Vec::new(),
            fault: None,
        };
        Self {
            witness,
            report,
            end: None,
            begins: Vec::new(),
            removed: None,
            witnessed: None,
            trusted: keys.iter().copied().collect(),
            unvouched: HashMap::new(),
        }
    }

    /// Takes the next segment. After the first fault the others are ignored: they prove nothing about what is before
    /// them.
    pub fn segment(&mut self, checked: Checked) {
        if self.report.fault.is_some() {
            return;
        }
        self.report.segments = self.report.segments.saturating_add(1);
        if let Err(text) = self.continues(&checked) {
            // Between the last signed record and the beginning of this segment.
            let signed = self.report.intact_up_to.map_or(self.report.first_seq, |(seq, _)| seq.saturating_add(1));
            let (first, last) = (signed.min(checked.first_seq), checked.first_seq);
            self.report.fault = Some((last, Fault { first, last, why: Why::Discontinued(text) }));
            return;
        }
        if self.report.segments == 1 {
            self.report.first_seq = checked.first_seq;
            self.report.journal = checked.key.map(|_| checked.journal);
            if self.report.key_origin == KeyOrigin::Journal {
                checked.key.into_iter().for_each(|key| self.trust(key));
            }
        }
        self.begins.push((checked.first_seq, checked.chain_before));
        let mut key = checked.key;
        for event in &checked.key_events {
            key = Some(self.key_event(*event));
        }
        self.end = key.map(|key| (checked.last_seq().saturating_add(1), checked.chain_after, key));
        self.add(checked);
    }

    /// Something is wrong already: what follows is not looked at.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.report.fault.is_some()
    }

    /// The last segment ends in this many bytes that are not a whole line.
    pub fn torn(&mut self, bytes: u64) {
        self.report.torn_bytes = bytes;
    }

    /// After the last segment.
    #[must_use]
    pub fn finish(mut self) -> Report {
        let intact = self.report.intact_up_to.map_or(0, |(seq, _)| seq);
        self.report.unsigned_tail =
            self.report.last_seq.saturating_sub(intact.max(self.report.first_seq.saturating_sub(1)));
        // A later trusted checkpoint covers them as well.
        self.report.unvouched.retain(|unvouched| unvouched.last > intact);
        self.account_for_removed(intact);
        self.compare_end_with_witness();
        self.report.complete = self.complete(intact);
        self.report
    }

    fn continues(&self, checked: &Checked) -> Result<(), &'static str> {
        let Some((next_seq, chain, key)) = self.end else { return Ok(()) };
        if checked.first_seq != next_seq {
            return Err("records between them are missing, or there twice");
        }
        if checked.records == 0 {
            // Its own fault says more.
            return Ok(());
        }
        if Some(checked.journal) != self.report.journal {
            return Err("it belongs to another journal");
        }
        if checked.chain_before != chain {
            return Err("its chain is another; a record at the end of the one before was changed, or it was exchanged");
        }
        if checked.key != Some(key) {
            return Err("its key is another, without a hand-over");
        }
        Ok(())
    }

    /// Returns the key in force after it.
    fn key_event(&mut self, event: KeyEvent) -> PublicKey {
        match event {
            KeyEvent::Signed { seq, time, by } if self.trusted.contains(&by) => {
                self.report.intact_up_to = Some((seq, time));
                by
            }
            KeyEvent::Signed { seq, by, .. } => {
                let all = &mut self.report.unvouched;
                let at = *self.unvouched.entry(by).or_insert(all.len());
                match all.get_mut(at) {
                    Some(unvouched) => unvouched.last = seq,
                    None => all.push(Unvouched { key: by, last: seq }),
                }
                by
            }
            KeyEvent::HandedOver { from, to, signed, .. } => {
                if signed && self.trusted.contains(&from) {
                    self.trust(to);
                }
                to
            }
        }
    }

    fn trust(&mut self, key: PublicKey) {
        if self.trusted.insert(key) {
            self.report.trusted.push(key);
        }
    }

    fn add(&mut self, checked: Checked) {
        let report = &mut self.report;
        if checked.records > 0 {
            report.last_seq = checked.last_seq();
        }
        report.records = report.records.saturating_add(checked.records);
        report.bytes = report.bytes.saturating_add(checked.bytes);
        let room = LOSSES_LISTED_MAX.saturating_sub(report.losses.len());
        report.losses.extend(checked.losses.into_iter().take(room));
        report.losses_count = report.losses_count.saturating_add(checked.losses_count);
        self.removed = checked.removed.or(self.removed);
        self.witnessed = checked.witnessed.or(self.witnessed);
        report.fault = checked.fault.map(|mut fault| {
            if matches!(fault.why, Why::Rewritten | Why::OtherJournal) {
                // Whoever has the key can rewrite everything since the last checkpoint that the witness saw.
                fault.first = self.witnessed.map_or(report.first_seq, |seq| seq.saturating_add(1));
            }
            (checked.first_seq, fault)
        });
    }

    /// The first record is number 1, or a signed tombstone says what became of those before it.
    fn account_for_removed(&mut self, intact: u64) {
        let first = self.report.first_seq;
        if first <= 1 || self.report.fault.is_some() {
            return;
        }
        let signed = self.removed.filter(|(seq, _)| *seq <= intact);
        let accounted = signed.is_some_and(|(_, removed)| {
            let next = removed.through.saturating_add(1);
            // Where its removal was interrupted, segments that it names are still there.
            let end = self.begins.iter().find(|(begin, _)| *begin == next);
            first <= next && end.is_some_and(|(_, chain)| *chain == removed.chain)
        });
        if accounted {
            self.report.removed = signed.map(|(_, removed)| removed);
        } else if intact > 0 {
            self.report.fault = Some((first, Fault { first: 1, last: first.saturating_sub(1), why: Why::Unaccounted }));
        }
    }

    fn compare_end_with_witness(&mut self) {
        let Some(witnessed) = self.witness.next_after(self.report.last_seq) else { return };
        if self.report.fault.is_none() {
            let first = self.report.last_seq.saturating_add(1);
            let fault = Fault { first, last: witnessed, why: Why::CutOff { witnessed } };
            self.report.fault = Some((self.begins.last().map_or(0, |(begin, _)| *begin), fault));
        }
    }

    fn complete(&self, intact: u64) -> Complete {
        match self.witnessed {
            Some(seq) if seq <= intact => Complete::UpTo(seq),
            Some(_) => Complete::BrokenBefore,
            None if self.witness.is_empty() => Complete::NoWitness,
            None if self.report.fault.is_some() => Complete::BrokenBefore,
            None => Complete::WitnessedRemoved,
        }
    }
}
