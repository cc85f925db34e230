//! What the kernel programs are told about the proxy: its listeners, and its sockets to servers before they connect.
//!
//! A connection through the proxy is two connections to the kernel. The mark on the listener makes the first a
//! *front*, the mark on the socket makes the second a *hop*; without a mark both would be a client's own. Marks are
//! made by the privileged process only, so nothing that a worker says can turn a client's own connection into a hop.

use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard};

use agent_common::session::{HOP_READ, HOP_UNREAD, LEG_FRONT, Session};
use aya::Ebpf;
use aya::maps::{HashMap as KernelHashMap, Map, MapData, MapError, SkStorage};
use model::id::SocketCookie;

use crate::object::LoadError;
use crate::sockets::socket_cookie;
use crate::witness::WitnessError;

/// Whether the kernel programs read a hop's content, or leave it to the proxy's worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HopContent {
    /// They do: ciphertext is relayed unread, or the two witnesses are compared.
    Read,
    /// They only count its bytes.
    Counted,
}

/// Marks for the kernel programs. Cheap to clone; to be used from any thread.
#[derive(Clone)]
pub struct Marks(Arc<Mutex<Inner>>);

struct Inner {
    fronts: SkStorage<MapData, u32>,
    hops: KernelHashMap<MapData, u64, u32>,
    sessions: KernelHashMap<MapData, u64, Session>,
    listeners: HashMap<u64, u16>,
}

impl Marks {
    pub(crate) fn new(ebpf: &Ebpf) -> Result<Self, WitnessError> {
        let inner = Inner {
            fronts: duplicate(ebpf, "FRONTS")?.try_into()?,
            hops: duplicate(ebpf, "HOPS")?.try_into()?,
            sessions: duplicate(ebpf, "SESSIONS")?.try_into()?,
            listeners: HashMap::new(),
        };
        Ok(Self(Arc::new(Mutex::new(inner))))
    }

    /// Marks the proxy's socket to a server. To be called before it connects: from then on it is too late.
    ///
    /// # Errors
    /// When the kernel refuses the entry. The connection would be taken for a client's own.
    pub fn hop(&self, upstream: SocketCookie, content: HopContent) -> Result<(), MapError> {
        let value = match content {
            HopContent::Read => HOP_READ,
            HopContent::Counted => HOP_UNREAD,
        };
        self.inner().hops.insert(upstream.0, value, 0)
    }

    /// Takes the mark of a hop back that did not come to stand, or that has ended. The oldest leave by themselves.
    pub fn forget_hop(&self, upstream: SocketCookie) {
        let _ = self.inner().hops.remove(&upstream.0);
    }

    /// A client's connection over the taken-over Unix socket has ended: no tracepoint tells the kernel programs, and a
    /// scan would notice only later.
    pub fn forget_front(&self, accepted: SocketCookie) {
        let _ = self.inner().sessions.remove(&accepted.0);
    }

    /// The kernel's mark on a TCP listener, and the note that it is no database's.
    pub(crate) fn front_tcp(&self, listener: BorrowedFd<'_>, cookie: u64, database: u16) -> Result<(), MapError> {
        let mut inner = self.inner();
        inner.fronts.insert(&listener.as_raw_fd(), u32::from(database), 0)?;
        inner.listeners.insert(cookie, database);
        Ok(())
    }

    /// The note that a Unix listener is no database's.
    pub(crate) fn front_unix(&self, cookie: u64, database: u16) {
        self.inner().listeners.insert(cookie, database);
    }

    /// The database whose proxy listens at this socket.
    pub(crate) fn listener(&self, cookie: u64) -> Option<u16> {
        self.inner().listeners.get(&cookie).copied()
    }

    /// Forgets listeners that are gone.
    pub(crate) fn keep_listeners(&self, is_present: impl Fn(u64) -> bool) {
        self.inner().listeners.retain(|cookie, _| is_present(*cookie));
    }

    /// The database whose proxy has accepted this connection from a client; `None`: it is not one of those. A worker that
    /// asks for a hop has to show such a socket.
    #[must_use]
    pub fn front_of(&self, accepted: BorrowedFd<'_>) -> Option<u16> {
        let inner = self.inner();
        // TCP: the mark that the connection has inherited from its listener.
        if let Ok(database) = inner.fronts.get(&accepted.as_raw_fd(), 0) {
            return u16::try_from(database).ok();
        }
        // Unix: the kernel programs have seen the worker read its first bytes.
        let cookie = socket_cookie(&accepted).ok()?;
        let session = inner.sessions.get(&cookie, 0).ok().filter(|session| session.leg == LEG_FRONT)?;
        u16::try_from(session.database).ok()
    }

    /// How a client's socket is marked.
    pub(crate) fn hop_of(&self, client: u64) -> Option<u32> {
        self.inner().hops.get(&client, 0).ok()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// The map behind a second descriptor: for threads beside the one that has the programs.
fn duplicate(ebpf: &Ebpf, name: &'static str) -> Result<Map, WitnessError> {
    let map = match ebpf.map(name).ok_or(LoadError::Missing(name))? {
        Map::SkStorage(data) | Map::HashMap(data) | Map::LruHashMap(data) => data,
        _ => return Err(LoadError::Missing(name).into()),
    };
    let descriptor = map.fd().as_fd().try_clone_to_owned().map_err(WitnessError::Descriptor)?;
    Ok(Map::from_map_data(MapData::from_fd(descriptor)?)?)
}
