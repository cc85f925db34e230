//! Reads the ring buffer in the unprivileged core, from an inherited descriptor.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use aya::maps::{Map, MapData, MapError, RingBuf};

use crate::decode::{Decoder, Item};

/// The consuming end of the kernel's ring buffer. There is only one.
pub struct Ring {
    ring: RingBuf<MapData>,
    decoder: Decoder,
}

impl Ring {
    /// Maps the ring behind `descriptor`.
    ///
    /// # Errors
    /// When the descriptor is not a ring buffer map.
    pub fn new(descriptor: OwnedFd, decoder: Decoder) -> Result<Self, MapError> {
        let map = Map::from_map_data(MapData::from_fd(descriptor)?)?;
        Ok(Self { ring: RingBuf::try_from(map)?, decoder })
    }

    /// Hands at most `records_max` waiting records to `sink`; returns how many there were.
    pub fn drain(&mut self, records_max: usize, sink: &mut dyn FnMut(Item<'_>)) -> Drained {
        let mut drained = Drained::default();
        while drained.records < records_max {
            let Some(record) = self.ring.next() else { break };
            if let Some(item) = self.decoder.decode(&record) {
                sink(item);
            }
            drained.records += 1;
            drained.bytes += record.len();
        }
        drained
    }
}

/// What one drain took out of the ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// Records.
    pub records: usize,
    /// Their bytes.
    pub bytes: usize,
}

impl AsRawFd for Ring {
    fn as_raw_fd(&self) -> RawFd {
        self.ring.as_raw_fd()
    }
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}
