//! The proxy's own hops, which must not come back to it.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use agent_common::steering::Tuple;
use aya::maps::{HashMap, Map, MapData, MapError};
use nix::time::{ClockId, clock_gettime};

use crate::spec::tuple;

/// `BPF_NOEXIST`: only if there is no such key.
const ONLY_NEW: u64 = 1;

/// Exact connections that the kernel lets through to the server.
#[derive(Debug)]
pub struct Exemptions {
    descriptor: OwnedFd,
    map: HashMap<MapData, Tuple, u64>,
}

impl Exemptions {
    pub(crate) fn open(descriptor: OwnedFd) -> Result<Self, MapError> {
        let map = Map::from_map_data(MapData::from_fd(descriptor.try_clone()?)?)?;
        Ok(Self { descriptor, map: HashMap::try_from(map)? })
    }

    /// The same exemptions, for another thread.
    ///
    /// # Errors
    /// When the descriptor cannot be duplicated.
    pub fn another(&self) -> Result<Self, MapError> {
        Self::open(self.descriptor.as_fd().try_clone_to_owned()?)
    }

    /// Lets one connection through, until it is cleared or this time has passed.
    ///
    /// # Errors
    /// `EEXIST`: it is let through already, for somebody else. `E2BIG`: too many at once.
    pub fn exempt(&mut self, source: SocketAddr, destination: SocketAddr, lasts: Duration) -> io::Result<()> {
        let (key, now) = (tuple(source, destination), monotonic()?);
        let until = now.saturating_add(u64::try_from(lasts.as_nanos()).unwrap_or(u64::MAX));
        match self.map.insert(key, until, ONLY_NEW).map_err(io_error) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                match self.map.get(&key, 0) {
                    Ok(other) if other > now => Err(error),
                    // Left by an agent that was killed.
                    _ => self.map.insert(key, until, 0).map_err(io_error),
                }
            }
            other => other,
        }
    }

    /// Takes an exemption back.
    ///
    /// # Errors
    /// When the kernel refuses; that there is none is no error.
    pub fn clear(&mut self, source: SocketAddr, destination: SocketAddr) -> io::Result<()> {
        match self.map.remove(&tuple(source, destination)).map_err(io_error) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// Takes all of them back; for the start of an agent.
    ///
    /// # Errors
    /// When the map cannot be read or written.
    pub fn clear_all(&mut self) -> Result<(), MapError> {
        let keys: Vec<Tuple> = self.map.keys().collect::<Result<_, _>>()?;
        for key in keys {
            match self.map.remove(&key) {
                Err(error) if is_missing(&error) => {}
                other => other?,
            }
        }
        Ok(())
    }
}

/// What the kernel's program compares with.
pub(crate) fn monotonic() -> io::Result<u64> {
    let now = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC)?);
    Ok(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX))
}

/// Whether a map has no such key.
pub(crate) fn is_missing(error: &MapError) -> bool {
    match error {
        MapError::KeyNotFound | MapError::ElementNotFound => true,
        MapError::SyscallError(call) => call.io_error.kind() == io::ErrorKind::NotFound,
        _ => false,
    }
}

/// The system's error, where there is one.
fn io_error(error: MapError) -> io::Error {
    match error {
        MapError::SyscallError(call) => call.io_error,
        MapError::IoError(source) => source,
        MapError::KeyNotFound | MapError::ElementNotFound => io::ErrorKind::NotFound.into(),
        other => io::Error::other(other),
    }
}
