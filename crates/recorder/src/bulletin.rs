//! Memory in which a worker tells those beside it what they must know at once. It alone can write it, all of them read it: one
//! that was taken over can be silent or wrong about its own sessions. By what it claims it can make others wait for a snapshot, or
//! have used up a rate; it can show and allow them nothing more.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;

use nix::sys::mman::ProtFlags;

use crate::memory::{Map, OpenError, sealed, sealed_length};

/// Says that the memory is a bulletin of this layout.
const MAGIC: u64 = u64::from_le_bytes(*b"WRDBLTN1");
/// How many notices were written to the log of changes. A page of its own.
pub(crate) const WRITTEN_AT: usize = 1;
/// The log of changes.
pub(crate) const CHANGES_AT: usize = 512;
pub(crate) const CHANGES_WORDS: usize = 4096 * 16;
/// The table of counts.
pub(crate) const COUNTS_AT: usize = CHANGES_AT + CHANGES_WORDS;
pub(crate) const COUNTS_WORDS: usize = 2 * 4096;
const LENGTH: usize = (COUNTS_AT + COUNTS_WORDS) * size_of::<u64>();

/// The memory, for whoever passes it on.
#[derive(Debug)]
pub struct Bulletin {
    memory: OwnedFd,
}

impl Bulletin {
    /// A new one, in which nothing is said.
    ///
    /// # Errors
    /// When there is no memory.
    pub fn create() -> Result<Self, OpenError> {
        let memory = sealed(c"warder-bulletin", LENGTH)?;
        let map = Map::with(&memory, LENGTH, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE)?;
        map.words()[0].store(MAGIC, Ordering::Relaxed);
        Ok(Self { memory })
    }

    /// To be passed to the worker that writes it.
    #[must_use]
    pub fn writer(&self) -> BorrowedFd<'_> {
        self.memory.as_fd()
    }

    /// To be passed to those that read it: it cannot be written through this one.
    ///
    /// # Errors
    /// Without `/proc`, or when there are no descriptors left.
    pub fn reader(&self) -> io::Result<OwnedFd> {
        Ok(File::open(format!("/proc/self/fd/{}", self.memory.as_raw_fd()))?.into())
    }
}

pub(crate) fn map(memory: &OwnedFd, access: ProtFlags) -> Result<Map, OpenError> {
    if sealed_length(memory)? != LENGTH {
        return Err(OpenError::Foreign);
    }
    let map = Map::with(memory, LENGTH, access)?;
    if map.words()[0].load(Ordering::Relaxed) == MAGIC { Ok(map) } else { Err(OpenError::Foreign) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

    use super::*;

    #[test]
    fn a_reader_cannot_write_and_other_memory_is_no_bulletin() {
        let bulletin = Bulletin::create().unwrap();
        let write = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        assert!(matches!(map(&bulletin.reader().unwrap(), write), Err(OpenError::System(_))));
        assert!(map(&bulletin.reader().unwrap(), ProtFlags::PROT_READ).is_ok());
        let other = sealed(c"other", LENGTH).unwrap();
        assert!(matches!(map(&other, ProtFlags::PROT_READ), Err(OpenError::Foreign)));
        assert!(matches!(map(&sealed(c"short", 4096).unwrap(), ProtFlags::PROT_READ), Err(OpenError::Foreign)));
    }
}
