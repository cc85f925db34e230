//! Counters and ledgers in kernel maps, read by the unprivileged core through read-only descriptors.

use std::os::fd::OwnedFd;

use agent_common::kind;
use agent_common::session::{Ledger, Session};
use agent_common::settings::{ProbeCounts, counter};
use aya::maps::{HashMap, Map, MapData, MapError, PerCpuArray};
use model::id::SocketCookie;
use model::session as words;

use crate::decode::{encryption, ledger};

/// Everything that the kernel programs count.
pub struct Counters {
    losses: PerCpuArray<MapData, u64>,
    counters: PerCpuArray<MapData, u64>,
    probes: PerCpuArray<MapData, ProbeCounts>,
    sessions: HashMap<MapData, u64, Session>,
}

/// Descriptors of the maps, in the order in which the kernel process passes them.
pub struct CounterDescriptors {
    /// `LOSSES`
    pub losses: OwnedFd,
    /// `COUNTERS`
    pub counters: OwnedFd,
    /// `PROBES`
    pub probes: OwnedFd,
    /// `SESSIONS`
    pub sessions: OwnedFd,
}

/// Sums over all CPUs of the counters that are neither loss nor hits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Sessions that were not observed because the session map is full.
    pub sessions_refused: u64,
    /// Calls whose user memory could not be read.
    pub content_faults: u64,
    /// Calls whose bytes were not understood as the protocol.
    pub desynchronised: u64,
    /// Calls with several buffers, or none, that the content reader does not understand.
    pub unread_calls: u64,
}

impl Counters {
    /// Opens the maps behind the descriptors.
    ///
    /// # Errors
    /// When a descriptor is not the expected map.
    pub fn new(descriptors: CounterDescriptors) -> Result<Self, MapError> {
        let open = |descriptor| Map::from_map_data(MapData::from_fd(descriptor)?);
        Ok(Self {
            losses: open(descriptors.losses)?.try_into()?,
            counters: open(descriptors.counters)?.try_into()?,
            probes: open(descriptors.probes)?.try_into()?,
            sessions: open(descriptors.sessions)?.try_into()?,
        })
    }

    /// Records lost in the kernel since the load, per kind.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn losses(&self) -> Result<Vec<(&'static str, u64)>, MapError> {
        (1..kind::COUNT).map(|index| Ok((kind::name(index), self.losses.get(&index, 0)?.iter().sum()))).collect()
    }

    /// The other counters.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn faults(&self) -> Result<Faults, MapError> {
        let sum = |index| Ok::<u64, MapError>(self.counters.get(&index, 0)?.iter().sum());
        Ok(Faults {
            sessions_refused: sum(counter::SESSIONS_REFUSED)?,
            content_faults: sum(counter::CONTENT_FAULTS)?,
            desynchronised: sum(counter::DESYNCHRONISED)?,
            unread_calls: sum(counter::UNREAD_CALLS)?,
        })
    }

    /// Hits and duplicates of one probe attachment.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn probe(&self, attachment: u32) -> Result<(u64, u64), MapError> {
        let values = self.probes.get(&attachment, 0)?;
        Ok(values.iter().fold((0, 0), |(hits, duplicates), cpu| (hits + cpu.hits, duplicates + cpu.duplicates)))
    }

    /// Bytes so far and encryption of a live session; `None` if the kernel does not (or no longer) know it.
    #[must_use]
    pub fn session(&self, cookie: SocketCookie) -> Option<(words::Ledger, words::Encryption)> {
        let session = self.sessions.get(&cookie.0, 0).ok()?;
        let counts = Ledger {
            received: session.client.counts,
            sent: session.server.counts,
            channel: session.channel,
            reserved: 0,
        };
        Some((ledger(&counts), encryption(session.channel)))
    }
}
