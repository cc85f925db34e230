//! Sessions older than the agent (or missed by it), put together from sockets and `/proc`.

use std::collections::{HashMap, HashSet};

use agent_common::process::Identified;
use agent_common::session::{FAMILY_UNIX, LEG_DIRECT, LEG_FRONT, LEG_HOP, Opened, UNIX_PATH_MAX};
use agent_common::{ABI_VERSION, Header, kind};
use model::session::Origin;

use crate::decode::bytes_of;
use crate::marks::Marks;
use crate::processes::{CommandLines, ProcessEntry, holders, identify, postgresql_title};
use crate::sockets::Socket;

/// A session with what could be learned about its two ends.
#[derive(Debug)]
pub struct Found {
    /// The session in the form of the live record.
    pub opened: Opened,
    /// Database id.
    pub database: u16,
    /// The server process.
    pub server_pid: Option<u32>,
    /// The server process, identified.
    pub server: Option<Box<Identified>>,
    /// User and database from its process title (not a command line: the server writes it).
    pub title: Option<(String, String)>,
    /// The local client process, identified.
    pub client: Option<Box<Identified>>,
    /// Found at the agent's start, or later.
    pub origin: Origin,
}

impl Found {
    /// The records that tell user space about it, in order, each with the title where it belongs to it.
    pub fn records(&self) -> impl Iterator<Item = (&[u8], Option<&(String, String)>)> {
        let opened = std::iter::once((bytes_of(&self.opened), None));
        let server = self.server.iter().map(|server| (bytes_of(&**server), self.title.as_ref()));
        let client = self.client.iter().map(|client| (bytes_of(&**client), None));
        opened.chain(server).chain(client)
    }
}

/// A session to be described.
pub(crate) struct Unknown<'a> {
    /// The accepted socket.
    pub(crate) socket: &'a Socket,
    /// Id of its database.
    pub(crate) database: u16,
    /// `LEG_*` where the listener or the live hooks tell it.
    pub(crate) leg: Option<u8>,
}

/// Describes the sessions in `unknown`.
pub(crate) fn found_session(
    unknown: &[Unknown<'_>],
    sockets: &[Socket],
    processes: &[ProcessEntry],
    origin: Origin,
    at: u64,
    command_lines: CommandLines,
    marks: &Marks,
) -> Vec<Found> {
    if unknown.is_empty() {
        return Vec::new();
    }
    let peers = Peers::new(sockets);
    let mut inodes: HashSet<u64> = unknown.iter().map(|session| session.socket.scanned.inode).collect();
    inodes.extend(unknown.iter().filter_map(|session| Some(peers.of(session.socket)?.scanned.inode)));
    inodes.remove(&0);
    let holders = holders(processes.iter().map(|process| process.pid), &inodes);
    unknown
        .iter()
        .map(|session| {
            let socket = session.socket;
            let peer = peers.of(socket);
            let leg = session.leg.unwrap_or_else(|| leg_by_peer(peer, marks));
            let cookie = socket.scanned.cookie;
            // A front's holder is a worker, and the client of a hop is at the front: neither is the session's.
            let server_pid = holders.get(&socket.scanned.inode).copied().filter(|_| leg != LEG_FRONT);
            let client = peer.filter(|_| leg != LEG_HOP).and_then(|peer| {
                let pid = *holders.get(&peer.scanned.inode)?;
                identify(pid, kind::CONNECTED, peer.scanned.cookie, cookie, at, command_lines)
            });
            Found {
                opened: opened(session, peer, leg, at),
                database: session.database,
                server_pid,
                server: server_pid.and_then(|pid| identify(pid, kind::OWNED, cookie, 0, at, command_lines)),
                title: server_pid.and_then(postgresql_title),
                client,
                origin,
            }
        })
        .collect()
}

/// Own address and port, peer address and port.
type OwnAndPeer = ([u8; 16], u16, [u8; 16], u16);

/// The other ends of connections within this host.
struct Peers<'a> {
    by_address: HashMap<u64, &'a Socket>,
    by_endpoints: HashMap<OwnAndPeer, &'a Socket>,
}

impl<'a> Peers<'a> {
    fn new(sockets: &'a [Socket]) -> Self {
        let unix = |socket: &&Socket| socket.scanned.family == FAMILY_UNIX;
        let by_address = sockets.iter().filter(unix).map(|socket| (socket.scanned.address, socket)).collect();
        let by_endpoints = sockets
            .iter()
            .filter(|socket| !unix(socket))
            .map(|socket| {
                let ends = &socket.scanned.endpoints;
                ((ends.own, ends.own_port, ends.peer, ends.peer_port), socket)
            })
            .collect();
        Self { by_address, by_endpoints }
    }

    fn of(&self, socket: &Socket) -> Option<&'a Socket> {
        if socket.scanned.family == FAMILY_UNIX {
            return self.by_address.get(&socket.scanned.peer_address).copied();
        }
        let ends = &socket.scanned.endpoints;
        self.by_endpoints.get(&(ends.peer, ends.peer_port, ends.own, ends.own_port)).copied()
    }
}

/// The leg of a connection that the live hooks never saw and whose listener is a database's.
fn leg_by_peer(peer: Option<&Socket>, marks: &Marks) -> u8 {
    let mark = peer.and_then(|peer| marks.hop_of(peer.scanned.cookie));
    if mark.is_some() { LEG_HOP } else { LEG_DIRECT }
}

fn opened(session: &Unknown<'_>, peer: Option<&Socket>, leg: u8, at: u64) -> Opened {
    let socket = session.socket;
    let mut path = [0; UNIX_PATH_MAX];
    for (target, source) in path.iter_mut().zip(socket.path.bytes()) {
        *target = source;
    }
    Opened {
        header: Header { kind: kind::OPENED, abi: ABI_VERSION, at },
        cookie: socket.scanned.cookie,
        client_cookie: peer.map_or(0, |peer| peer.scanned.cookie),
        database: u32::from(session.database),
        family: socket.scanned.family,
        leg,
        reserved: 0,
        endpoints: socket.scanned.endpoints,
        peer_pid: socket.scanned.peer_pid,
        peer_uid: socket.scanned.peer_uid,
        path,
        reserved_end: [0; 4],
    }
}
