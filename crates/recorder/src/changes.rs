//! What sessions change in catalogues, told to the sessions of all workers before the server hears of it. Each worker has a
//! log that it alone can write: one that was taken over can be silent about its own sessions, and about no others.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use model::time::BootTime;
use nix::sys::mman::ProtFlags;

use crate::bulletin::{self, CHANGES_AT, CHANGES_WORDS, WRITTEN_AT};
use crate::memory::{Map, OpenError};

/// Notices that a log holds; a reader that is further behind has missed some.
const NOTICES: usize = 4096;
/// Of one notice.
const WORDS: usize = 16;
/// Of those: kind and length, session, catalogue, time, name.
const NAME_AT: usize = 4;
/// Longest name that has room; longer ones stand for everything.
const NAME_BYTES_MAX: usize = (WORDS - NAME_AT) * size_of::<u64>();
const _: () = assert!(NOTICES * WORDS == CHANGES_WORDS);

/// What one session does to a catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The session, by a number of its worker's.
    pub session: u64,
    /// Which catalogue, by a number that all workers make alike.
    pub catalogue: u64,
    /// What it does.
    pub change: Change,
}

/// What is done to a catalogue.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// Relations of this name may be others, from any moment now.
    Relation(Arc<str>),
    /// Functions, operators or casts may.
    Functions,
    /// Anything may.
    Everything,
    /// What this session has changed was there for everybody at this time, or was never.
    Over(BootTime),
    /// Another process writes this log from this time on: the sessions of the one before are gone.
    Begins(BootTime),
}

/// How many notices were written.
fn written(map: &Map) -> &AtomicU64 {
    &map.words()[WRITTEN_AT]
}

/// The words of a notice.
fn place(map: &Map, number: u64) -> &[AtomicU64] {
    let number = usize::try_from(number % NOTICES as u64).unwrap_or_default();
    let place = CHANGES_AT + number * WORDS;
    &map.words()[place..place + WORDS]
}

/// Writes a log.
#[derive(Debug)]
pub struct ChangeWriter {
    map: Map,
}

impl ChangeWriter {
    /// The log of a bulletin that was passed.
    ///
    /// # Errors
    /// When it is no bulletin, or cannot be mapped.
    pub fn open(memory: &OwnedFd) -> Result<Self, OpenError> {
        Ok(Self { map: bulletin::map(memory, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE)? })
    }

    /// Says something. Whoever hears of its effects, hears of this too.
    pub fn write(&mut self, notice: &Notice) {
        let (kind, time, name) = match &notice.change {
            Change::Relation(name) if name.len() <= NAME_BYTES_MAX => (1, 0, &**name),
            Change::Relation(_) | Change::Everything => (2, 0, ""),
            Change::Functions => (3, 0, ""),
            Change::Over(at) => (4, at.0, ""),
            Change::Begins(at) => (5, at.0, ""),
        };
        let mut words = [0; WORDS];
        words[..NAME_AT].copy_from_slice(&[kind | (name.len() as u64) << 8, notice.session, notice.catalogue, time]);
        for (word, bytes) in words[NAME_AT..].iter_mut().zip(name.as_bytes().chunks(size_of::<u64>())) {
            let mut whole = [0; size_of::<u64>()];
            whole[..bytes.len()].copy_from_slice(bytes);
            *word = u64::from_le_bytes(whole);
        }
        let number = written(&self.map).load(Ordering::Relaxed);
        for (place, word) in place(&self.map, number).iter().zip(words) {
            place.store(word, Ordering::Relaxed);
        }
        written(&self.map).store(number + 1, Ordering::Release);
        // It stands there before anything else is done, the sending of what it announces above all.
        fence(Ordering::SeqCst);
    }
}

/// Some notices could not be read: they were overwritten, or are not what a worker writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missed;

/// Reads a log.
#[derive(Debug)]
pub struct ChangeReader {
    map: Map,
    /// Notices that were read.
    read: u64,
}

impl ChangeReader {
    /// The log of a bulletin that was passed. It begins with the oldest notice that is there.
    ///
    /// # Errors
    /// When it is no bulletin, or cannot be mapped.
    pub fn open(memory: &OwnedFd) -> Result<Self, OpenError> {
        let map = bulletin::map(memory, ProtFlags::PROT_READ)?;
        let read = written(&map).load(Ordering::Acquire).saturating_sub(NOTICES as u64 - 1);
        Ok(Self { map, read })
    }

    /// Whether there is anything to read.
    #[must_use]
    pub fn has_news(&self) -> bool {
        written(&self.map).load(Ordering::Acquire) != self.read
    }

    /// Reads what is new.
    ///
    /// # Errors
    /// Some of it cannot be read: the reader goes on behind that.
    pub fn read(&mut self, hear: &mut dyn FnMut(Notice)) -> Result<(), Missed> {
        // Nobody writes faster than this, unless to keep others busy.
        for _ in 0..NOTICES {
            if !self.has_news() {
                return Ok(());
            }
            let mut words = [0; WORDS];
            for (word, place) in words.iter_mut().zip(place(&self.map, self.read)) {
                *word = place.load(Ordering::Relaxed);
            }
            fence(Ordering::Acquire);
            let written = written(&self.map).load(Ordering::Relaxed);
            // The place of the oldest notice may be written to at this moment.
            let is_whole = written.checked_sub(self.read).is_some_and(|ahead| ahead < NOTICES as u64);
            let Some(notice) = notice(&words).filter(|_| is_whole) else { break };
            self.read += 1;
            hear(notice);
        }
        self.read = written(&self.map).load(Ordering::Acquire);
        Err(Missed)
    }
}

fn notice(words: &[u64; WORDS]) -> Option<Notice> {
    let [kind, session, catalogue, time, ref name @ ..] = *words;
    let name: Vec<u8> = name.iter().flat_map(|word| word.to_le_bytes()).collect();
    let change = match kind & 0xff {
        1 => Change::Relation(std::str::from_utf8(name.get(..usize::try_from(kind >> 8).ok()?)?).ok()?.into()),
        2 => Change::Everything,
        3 => Change::Functions,
        4 => Change::Over(BootTime(time)),
        5 => Change::Begins(BootTime(time)),
        _ => return None,
    };
    Some(Notice { session, catalogue, change })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

    use super::*;
    use crate::Bulletin;

    fn ends() -> (ChangeWriter, ChangeReader, Bulletin) {
        let log = Bulletin::create().unwrap();
        let writer = ChangeWriter::open(&log.writer().try_clone_to_owned().unwrap()).unwrap();
        let reader = ChangeReader::open(&log.reader().unwrap()).unwrap();
        (writer, reader, log)
    }

    fn said(change: Change) -> Notice {
        Notice { session: 7, catalogue: 9, change }
    }

    fn heard(reader: &mut ChangeReader) -> Result<Vec<Notice>, Missed> {
        let mut heard = Vec::new();
        reader.read(&mut |notice| heard.push(notice)).map(|()| heard)
    }

    #[test]
    fn what_is_said_is_heard_once_and_in_order() {
        let (mut writer, mut reader, log) = ends();
        let notices = [
            said(Change::Relation("orders".into())),
            said(Change::Relation("ein Name mit Ümlaut und 63 Zeichen, so lang wie es nur geht..".into())),
            said(Change::Functions),
            said(Change::Everything),
            said(Change::Over(BootTime(12))),
            said(Change::Begins(BootTime(13))),
        ];
        assert!(!reader.has_news());
        notices.iter().for_each(|notice| writer.write(notice));
        assert!(reader.has_news());
        assert_eq!(heard(&mut reader).unwrap(), notices);
        assert_eq!(heard(&mut reader).unwrap(), []);
        // One that comes later hears what is still there.
        assert_eq!(heard(&mut ChangeReader::open(&log.reader().unwrap()).unwrap()).unwrap(), notices);
    }

    #[test]
    fn a_name_without_room_stands_for_everything() {
        let (mut writer, mut reader, _log) = ends();
        writer.write(&said(Change::Relation("n".repeat(NAME_BYTES_MAX).into())));
        writer.write(&said(Change::Relation("n".repeat(NAME_BYTES_MAX + 1).into())));
        let [whole, cut] = <[Notice; 2]>::try_from(heard(&mut reader).unwrap()).unwrap();
        assert_eq!(whole, said(Change::Relation("n".repeat(NAME_BYTES_MAX).into())));
        assert_eq!(cut, said(Change::Everything));
    }

    #[test]
    fn who_is_too_far_behind_hears_that_something_is_missed_and_goes_on() {
        let (mut writer, mut reader, log) = ends();
        (0..NOTICES - 1).for_each(|_| writer.write(&said(Change::Functions)));
        assert_eq!(heard(&mut reader).unwrap().len(), NOTICES - 1);
        (0..NOTICES).for_each(|_| writer.write(&said(Change::Functions)));
        assert_eq!(heard(&mut reader), Err(Missed));
        writer.write(&said(Change::Everything));
        assert_eq!(heard(&mut reader).unwrap(), [said(Change::Everything)]);
        // One that comes later has missed nothing that it could have heard.
        let mut later = ChangeReader::open(&log.reader().unwrap()).unwrap();
        assert_eq!(heard(&mut later).unwrap().len(), NOTICES - 1);
    }

    #[test]
    fn what_no_worker_writes_is_missed_and_not_believed() {
        let (mut writer, mut reader, _log) = ends();
        for (word, value) in [(0, 99), (0, 1 | 200 << 8), (0, 1 | 1 << 8)] {
            let number = written(&writer.map).load(Ordering::Relaxed);
            writer.write(&said(Change::Functions));
            place(&writer.map, number)[word].store(value, Ordering::Relaxed);
            place(&writer.map, number)[NAME_AT].store(0xff, Ordering::Relaxed);
            assert_eq!(heard(&mut reader), Err(Missed), "{value}");
        }
        // One who sets the number of notices back.
        written(&writer.map).store(1, Ordering::Relaxed);
        assert_eq!(heard(&mut reader), Err(Missed));
    }
}
