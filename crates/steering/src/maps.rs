//! The maps of one steering, opened from their pins.

use std::fmt;
use std::os::fd::OwnedFd;
use std::path::Path;

use agent_common::steering::{Counters, Destination, Rule, Source};
use aya::maps::lpm_trie::LpmTrie;
use aya::maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray};

use crate::exemptions::Exemptions;
use crate::kernel;

/// Names of the maps in the object, and of their pins.
pub(crate) const NAMES: [&str; 6] = ["RULES", "LISTENERS", "HEARTBEATS", "EXEMPT", "DIRECT", "COUNTERS"];

/// Open maps.
pub(crate) struct Maps {
    pub(crate) rules: HashMap<MapData, Destination, Rule>,
    /// A socket map with wide values, see [`kernel::set_socket`].
    pub(crate) listeners: OwnedFd,
    pub(crate) heartbeats: Array<MapData, u64>,
    /// The same map, for workers.
    pub(crate) heartbeats_descriptor: OwnedFd,
    pub(crate) exempt: Exemptions,
    pub(crate) direct: LpmTrie<MapData, Source, u32>,
    pub(crate) counters: PerCpuArray<MapData, Counters>,
}

impl Maps {
    pub(crate) fn open(directory: &Path) -> Result<Self, MapError> {
        let descriptor = |name: &str| kernel::pinned(&directory.join(name));
        let map = |name: &str| Map::from_map_data(MapData::from_fd(descriptor(name)?)?);
        Ok(Self {
            rules: map("RULES")?.try_into()?,
            listeners: descriptor("LISTENERS")?,
            heartbeats: map("HEARTBEATS")?.try_into()?,
            heartbeats_descriptor: descriptor("HEARTBEATS")?,
            exempt: Exemptions::open(descriptor("EXEMPT")?)?,
            direct: map("DIRECT")?.try_into()?,
            counters: map("COUNTERS")?.try_into()?,
        })
    }
}

impl fmt::Debug for Maps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Maps").finish_non_exhaustive()
    }
}
