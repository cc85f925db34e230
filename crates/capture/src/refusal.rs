//! Refusing local processes that connect to a database past its proxy: the programs of one database at one control group.
//!
//! A refusal holds as long as it is renewed, and its programs are attached as long as the value lives: nothing is pinned,
//! and nothing is refused without the process that decides where the proxy is.

pub mod destination;

use std::collections::BTreeSet;
use std::fs::File;
use std::net::IpAddr;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use agent_common::refusal::{Group, Lease, RefusedDestination, lease};
use agent_common::steering::{SOURCE_HEAD_BITS, Source};
use aya::Ebpf;
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{HashMap, Map, MapData, MapError};
use aya::programs::cgroup_sock_addr::CgroupSockAddrLink;
use aya::programs::{CgroupAttachMode, CgroupSockAddr, ProgramError};
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, fstatfs};
use nix::time::{ClockId, clock_gettime};

use crate::object::{LoadError, named};
use crate::refusal::destination::Destination;
use crate::witness::Witness;

const PROGRAMS: [&str; 2] = ["refuse_v4", "refuse_v6"];

/// Number of the root of the unified hierarchy (`kernfs` counts from 1).
const ROOT: u64 = 1;

/// Why nothing is refused.
#[derive(Debug, thiserror::Error)]
pub enum RefusalError {
    /// The folder is of another kind.
    #[error("it is no control group of the unified hierarchy (cgroup2)")]
    NoCgroup,
    /// Every process of the host is in it.
    #[error("it is the root of all control groups: every process of the host would be refused")]
    Root,
    /// The folder could not be asked.
    #[error("the control group could not be looked at")]
    Cgroup(#[source] std::io::Error),
    /// The object lacks something, or a program was refused.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The control group refused a program.
    #[error("the programs could not be attached to the control group")]
    Attach(#[from] ProgramError),
    /// A map could not be used.
    #[error("a map of what is refused could not be used")]
    Map(#[from] MapError),
    /// A map's descriptor could not be duplicated.
    #[error("a map of what is refused could not be shared")]
    Descriptor(#[source] std::io::Error),
}

/// Networks of sources that may connect directly: address and length of the prefix.
pub type Sources = Vec<(IpAddr, u8)>;

/// The programs of one database at one control group; they are gone when it is dropped.
pub struct Refusal {
    database: u16,
    cgroup: u64,
    sources_allowed: Sources,
    destinations: HashMap<MapData, RefusedDestination, u32>,
    leases: HashMap<MapData, u32, Lease>,
    groups: HashMap<MapData, Group, u32>,
    sources: LpmTrie<MapData, Source, u32>,
    written: BTreeSet<Destination>,
    _links: Vec<CgroupSockAddrLink>,
}

/// Number of a control group: the inode of its folder.
///
/// # Errors
/// When the folder is none of the unified hierarchy.
pub fn cgroup_number(folder: &File) -> Result<u64, RefusalError> {
    let found = fstatfs(folder).map_err(|errno| RefusalError::Cgroup(errno.into()))?;
    if found.filesystem_type() != CGROUP2_SUPER_MAGIC {
        return Err(RefusalError::NoCgroup);
    }
    match folder.metadata().map_err(RefusalError::Cgroup)?.ino() {
        ROOT => Err(RefusalError::Root),
        number => Ok(number),
    }
}

impl Witness {
    /// Attaches the programs to a control group. Nothing is refused before there are destinations and a lease.
    ///
    /// # Errors
    /// See [`RefusalError`]; then nothing is attached.
    pub fn refuse(&mut self, database: u16, folder: &File, allowed: Sources) -> Result<Refusal, RefusalError> {
        let cgroup = cgroup_number(folder)?;
        let mut links = Vec::new();
        for name in PROGRAMS {
            let program: &mut CgroupSockAddr = named(&mut self.ebpf, name)?;
            if program.fd().is_err() {
                program.load().map_err(|source| LoadError::Program { program: name, source })?;
            }
            // A link takes no flags, and always goes with others at its control group.
            let link = program.attach(folder, CgroupAttachMode::Single)?;
            links.push(program.take_link(link)?);
        }
        let mut refusal = Refusal {
            database,
            cgroup,
            sources_allowed: allowed,
            destinations: duplicate(&self.ebpf, "REFUSED_DESTINATIONS")?.try_into()?,
            leases: duplicate(&self.ebpf, "REFUSAL_LEASES")?.try_into()?,
            groups: duplicate(&self.ebpf, "REFUSAL_GROUPS")?.try_into()?,
            sources: duplicate(&self.ebpf, "REFUSAL_SOURCES")?.try_into()?,
            written: BTreeSet::new(),
            _links: links,
        };
        refusal.name_processes()?;
        Ok(refusal)
    }
}

impl Refusal {
    /// Number of the control group whose processes are refused.
    #[must_use]
    pub const fn cgroup(&self) -> u64 {
        self.cgroup
    }

    /// Where these processes may not connect from now on.
    ///
    /// # Errors
    /// When the map refuses; what was written is known, and will be taken back.
    pub fn set_destinations(&mut self, wanted: &BTreeSet<Destination>) -> Result<(), MapError> {
        for gone in self.written.difference(wanted).copied().collect::<Vec<_>>() {
            self.written.remove(&gone);
            let _ = self.destinations.remove(&gone.0);
        }
        for new in wanted.difference(&self.written).copied().collect::<Vec<_>>() {
            self.destinations.insert(new.0, u32::from(self.database), 0)?;
            self.written.insert(new);
        }
        Ok(())
    }

    /// Refuses for this time from now on.
    ///
    /// # Errors
    /// When the map or the clock refuses.
    pub fn renew(&mut self, lasts: Duration) -> Result<(), MapError> {
        let now = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC).map_err(std::io::Error::from)?);
        let until = u64::try_from((now + lasts).as_nanos()).unwrap_or(0);
        self.leases.insert(u32::from(self.database), Lease { until, flags: flags_of(&self.sources_allowed) }, 0)
    }

    /// Refuses nothing until the next [`Self::renew`].
    pub fn pause(&mut self) {
        let _ = self.leases.remove(&u32::from(self.database));
    }

    fn group(&self) -> Group {
        Group { cgroup: self.cgroup, database: u32::from(self.database), reserved: 0 }
    }

    fn name_processes(&mut self) -> Result<(), MapError> {
        self.groups.insert(self.group(), 1, 0)?;
        for (bits, source) in self.source_keys() {
            self.sources.insert(&Key::new(bits, source), 1, 0)?;
        }
        Ok(())
    }

    fn source_keys(&self) -> Vec<(u32, Source)> {
        let key = |(address, bits): &(IpAddr, u8)| {
            let (family, before, address) = match address {
                IpAddr::V4(v4) => (4, 96, v4.to_ipv6_mapped().octets()),
                IpAddr::V6(v6) => (6, 0, v6.octets()),
            };
            let source = Source { database: self.database, family, address };
            (SOURCE_HEAD_BITS + before + u32::from(*bits), source)
        };
        self.sources_allowed.iter().map(key).collect()
    }
}

impl Drop for Refusal {
    /// The programs go with the links; another refusal of this database must not find what this one wrote.
    fn drop(&mut self) {
        self.pause();
        let _ = self.set_destinations(&BTreeSet::new());
        let _ = self.groups.remove(&self.group());
        for (bits, source) in self.source_keys() {
            let _ = self.sources.remove(&Key::new(bits, source));
        }
    }
}

fn flags_of(allowed: &Sources) -> u64 {
    let has = |is_v4: bool| allowed.iter().any(|(address, _)| address.is_ipv4() == is_v4);
    let v4 = if has(true) { lease::HAS_SOURCES_V4 } else { 0 };
    let v6 = if has(false) { lease::HAS_SOURCES_V6 } else { 0 };
    v4 | v6
}

/// The map behind a second descriptor: it outlives the borrow of the programs.
fn duplicate(ebpf: &Ebpf, name: &'static str) -> Result<Map, RefusalError> {
    let map = match ebpf.map(name).ok_or(LoadError::Missing(name))? {
        Map::HashMap(data) | Map::LpmTrie(data) => data,
        _ => return Err(LoadError::Missing(name).into()),
    };
    let descriptor = map.fd().as_fd().try_clone_to_owned().map_err(RefusalError::Descriptor)?;
    Ok(Map::from_map_data(MapData::from_fd(descriptor)?)?)
}
