//! Listeners of databases, and the proxy's own in front of them: which there are, whose they are, and what the kernel
//! programs are told of them.

use std::collections::{HashMap, HashSet};
use std::os::fd::BorrowedFd;

use agent_common::listener::{TcpListener, UnixListener};
use agent_common::session::{FAMILY_UNIX, LISTENER_IS_FRONT};

use super::{Callbacks, DatabaseRule, ScanReport, Witness, WitnessError, chain};
use crate::processes::{self, ProcessEntry};
use crate::sockets::{LISTEN, Socket, own_port, scan, socket_cookie};

/// Listeners of one user that are databases only because of their executable's name, which everybody may choose: so
/// that nobody can fill the kernel's maps (8,192 listeners of each kind).
const DISCOVERED_PER_USER_MAX: usize = 512;

/// A listening socket that belongs to a database.
struct NewListener<'a> {
    socket: &'a Socket,
    /// A process that holds it; not known if it ended meanwhile.
    holder: Option<u32>,
    /// Name of the database.
    name: String,
    /// The user that the holder runs as, where the listener was discovered and the user is not root.
    discoverer: Option<u32>,
}

/// What the kernel programs find a listener by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum ListenerKey {
    Tcp(TcpListener),
    Unix { bound_address: u64 },
}

/// A listener that belongs to a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Registered {
    pub(super) database: u16,
    /// See [`NewListener::discoverer`].
    discoverer: Option<u32>,
    /// Cookies of the sockets that were judged: another socket on the same address may be another program's.
    sockets: HashSet<u64>,
    /// The last scan found nothing on its address. One scan may miss a socket.
    missed: bool,
}

impl Witness {
    /// From now on what this TCP listener accepts is a client's connection to the proxy of `database`. To be called
    /// before anybody can connect.
    ///
    /// # Errors
    /// When the descriptor is no TCP socket or a map refuses it: then the listener must not be used.
    pub fn mark_front(&mut self, listener: BorrowedFd<'_>, database: u16) -> Result<(), WitnessError> {
        let cookie = socket_cookie(&listener).map_err(WitnessError::Listener)?;
        let port = own_port(&listener).map_err(WitnessError::Listener)?;
        self.marks.front_tcp(listener, cookie, database)?;
        if self.map::<u16, u32>("PORTS")?.get(&port, 0).is_err() {
            self.watch_port(port, u32::MAX)?;
        }
        Ok(())
    }

    /// The same for a Unix listener, which has a database's path.
    ///
    /// # Errors
    /// When the iterator does not find the socket, or a map refuses it.
    pub fn mark_front_unix(&mut self, listener: BorrowedFd<'_>, database: u16) -> Result<(), WitnessError> {
        let cookie = socket_cookie(&listener).map_err(WitnessError::Listener)?;
        self.marks.front_unix(cookie, database);
        let is_it = |socket: &Socket| socket.scanned.cookie == cookie;
        let mut sockets = scan(&mut self.ebpf, None)?;
        if !sockets.iter().any(is_it) {
            // Made in the network namespace of its database.
            sockets = self.all_sockets(&processes::all(), &mut Vec::new());
        }
        let missing = || WitnessError::Listener(std::io::Error::other("the socket iterator does not show it"));
        let socket = sockets.iter().find(|socket| is_it(socket)).ok_or_else(missing)?;
        let key = ListenerKey::Unix { bound_address: socket.scanned.bound_address };
        // A scan between bind and mark can have taken it for the database's own.
        self.listeners.remove(&key);
        self.fronts.insert(key, (cookie, database));
        let value = socket.unix_listener(u32::from(database) | LISTENER_IS_FRONT);
        self.map::<u64, UnixListener>("UNIX_LISTENERS")?.insert(socket.scanned.bound_address, value, 0)?;
        Ok(())
    }

    /// TCP listeners of a database that the last scan has seen.
    #[must_use]
    pub fn listeners_of(&self, database: u16) -> Vec<TcpListener> {
        let of_database = |(key, registered): (&ListenerKey, &Registered)| match key {
            ListenerKey::Tcp(listener) if registered.database == database => Some(*listener),
            ListenerKey::Tcp(_) | ListenerKey::Unix { .. } => None,
        };
        self.listeners.iter().filter_map(of_database).collect()
    }

    pub(super) fn update_listeners(
        &mut self,
        processes: &[ProcessEntry],
        sockets: &[Socket],
        report: &mut ScanReport,
        callbacks: &mut Callbacks<'_>,
    ) -> Result<(), WitnessError> {
        let mut accepted = self.new_listeners(processes, sockets);
        self.limit_users(&mut accepted, report);
        self.probes.want(accepted.iter().filter_map(|listener| listener.holder));
        // Probes first: the first session of a listener is observed whole.
        self.probes.attach(&mut self.ebpf, callbacks.look_up, report);
        for listener in accepted {
            let (id, new) = self.database(&listener.name);
            if new {
                (callbacks.announce)(id, &listener.name);
            }
            if let Err(error) = self.register(&listener, id) {
                // The maps are full. What is registered already goes on.
                report.warnings.push(format!("a listener of {} is not observed: {}", listener.name, chain(&error)));
            }
        }
        // Last, so that a server that restarted on its address is observed all the time.
        self.forget_listeners(sockets)
    }

    /// Listeners of databases that are not registered yet.
    fn new_listeners<'a>(&mut self, processes: &[ProcessEntry], sockets: &'a [Socket]) -> Vec<NewListener<'a>> {
        let mut listening: Vec<&'a Socket> = sockets.iter().filter(|socket| socket.scanned.state == LISTEN).collect();
        self.leave_out_own(&mut listening);
        let is_known = |socket: &&Socket| {
            let registered = self.listeners.get(&key_of(socket));
            registered.is_some_and(|registered| registered.sockets.contains(&socket.scanned.cookie))
        };
        let fresh: Vec<&'a Socket> = listening.into_iter().filter(|socket| !is_known(socket)).collect();
        if fresh.is_empty() {
            return Vec::new();
        }
        let inodes: HashSet<u64> = fresh.iter().map(|socket| socket.scanned.inode).collect();
        let servers = processes.iter().filter(|process| self.may_be_server(process)).map(|process| process.pid);
        let mut holders = processes::holders(servers, &inodes);
        let named: HashSet<u64> = fresh
            .iter()
            .filter(|socket| self.rule_by_address(socket).is_some() && !holders.contains_key(&socket.scanned.inode))
            .map(|socket| socket.scanned.inode)
            .collect();
        if !named.is_empty() {
            holders.extend(processes::holders(processes.iter().map(|process| process.pid), &named));
        }
        let ports = tcp_port_by_holder(&fresh, &holders);
        let accept = |socket: &'a Socket| {
            let holder = holders.get(&socket.scanned.inode).copied();
            let name = self.classify(socket, holder, processes, &ports)?;
            let user = holder.filter(|_| self.rules.is_empty()).and_then(processes::user);
            Some(NewListener { socket, holder, name, discoverer: user.filter(|user| *user != 0) })
        };
        fresh.into_iter().filter_map(accept).collect()
    }

    /// The proxy's listeners are no database's, although they have a database's port or path: those that are marked,
    /// and those that are about to be.
    fn leave_out_own(&self, listening: &mut Vec<&Socket>) {
        listening.retain(|socket| socket.scanned.front == 0 && self.marks.listener(socket.scanned.cookie).is_none());
        let inodes: HashSet<u64> = listening.iter().map(|socket| socket.scanned.inode).collect();
        let own = processes::holders(std::iter::once(std::process::id()), &inodes);
        listening.retain(|socket| !own.contains_key(&socket.scanned.inode));
    }

    /// Leaves out what a user listens on beyond his share.
    fn limit_users(&self, accepted: &mut Vec<NewListener<'_>>, report: &mut ScanReport) {
        let mut shares: HashMap<u32, usize> = HashMap::new();
        for user in self.listeners.values().filter_map(|registered| registered.discoverer) {
            *shares.entry(user).or_default() += 1;
        }
        let mut refused: HashMap<u32, usize> = HashMap::new();
        accepted.retain(|listener| {
            let Some(user) = listener.discoverer else { return true };
            let share = shares.entry(user).or_default();
            let fits = *share < DISCOVERED_PER_USER_MAX;
            *(if fits { share } else { refused.entry(user).or_default() }) += 1;
            fits
        });
        report.warnings.extend(refused.into_iter().map(|(user, count)| {
            format!(
                "{count} listeners of processes called postgres of user {user} are not observed: at most \
                 {DISCOVERED_PER_USER_MAX} of a user are; configure the databases with [[database]]"
            )
        }));
    }

    /// Listeners that are gone are taken out: two scans have not found them, or another socket is on their address.
    fn forget_listeners(&mut self, sockets: &[Socket]) -> Result<(), WitnessError> {
        let listening = || sockets.iter().filter(|socket| socket.scanned.state == LISTEN);
        let present: HashSet<u64> = listening().map(|socket| socket.scanned.cookie).collect();
        let taken: HashSet<ListenerKey> = listening().map(key_of).collect();
        self.marks.keep_listeners(|cookie| present.contains(&cookie));
        let mut gone = Vec::new();
        self.fronts.retain(|key, (cookie, _)| {
            if !present.contains(cookie) {
                gone.push(*key);
            }
            present.contains(cookie)
        });
        self.listeners.retain(|key, registered| {
            if !taken.contains(key) && !std::mem::replace(&mut registered.missed, true) {
                return true;
            }
            registered.sockets.retain(|cookie| present.contains(cookie));
            registered.missed = false;
            if registered.sockets.is_empty() {
                gone.push(*key);
            }
            !registered.sockets.is_empty()
        });
        for key in gone {
            match key {
                ListenerKey::Tcp(listener) => {
                    let _ = self.map::<TcpListener, u32>("TCP_LISTENERS")?.remove(&listener);
                    self.forget_port(listener.port)?;
                }
                ListenerKey::Unix { bound_address } => {
                    let _ = self.map::<u64, UnixListener>("UNIX_LISTENERS")?.remove(&bound_address);
                }
            }
        }
        Ok(())
    }

    /// A discovered port that no listener has any more. Its bit in the set stays: sessions may outlive their listener.
    fn forget_port(&mut self, port: u16) -> Result<(), WitnessError> {
        let is_used = self.listeners.keys().any(|key| matches!(key, ListenerKey::Tcp(other) if other.port == port));
        if !is_used && self.rules.iter().all(|rule| rule.port != Some(port)) {
            let _ = self.map::<u16, u32>("PORTS")?.remove(&port);
        }
        Ok(())
    }

    fn may_be_server(&self, process: &ProcessEntry) -> bool {
        let Some(executable) = &process.executable else { return false };
        if self.rules.is_empty() {
            return executable.file_name().is_some_and(|name| name == "postgres");
        }
        self.rules.iter().any(|rule| rule.executable.as_ref() == Some(executable))
    }

    /// The rule that names this listener's port or path.
    fn rule_by_address(&self, socket: &Socket) -> Option<&DatabaseRule> {
        let unix = socket.scanned.family == FAMILY_UNIX;
        self.rules.iter().find(|rule| {
            if unix {
                rule.socket.as_deref().is_some_and(|path| same_path(path, &socket.path))
            } else {
                rule.port == Some(socket.scanned.endpoints.own_port)
            }
        })
    }

    /// Name of the database that the listener belongs to; `None`: it is not a database.
    fn classify(
        &self,
        socket: &Socket,
        holder: Option<u32>,
        processes: &[ProcessEntry],
        ports: &HashMap<u32, u16>,
    ) -> Option<String> {
        if let Some(rule) = self.rule_by_address(socket) {
            return Some(rule.name.clone());
        }
        let pid = holder?;
        let process = processes.iter().find(|process| process.pid == pid)?;
        if !self.may_be_server(process) {
            return None;
        }
        if let Some(rule) = self.rules.iter().find(|rule| rule.executable == process.executable) {
            return Some(rule.name.clone());
        }
        let from_path = || socket.path.rsplit_once(".s.PGSQL.").and_then(|(_, port)| port.parse().ok());
        let port = ports.get(&pid).copied().or_else(from_path)?;
        Some(format!("postgresql-{port}"))
    }

    fn register(&mut self, listener: &NewListener<'_>, id: u16) -> Result<(), WitnessError> {
        let (socket, discoverer) = (listener.socket, listener.discoverer);
        let key = key_of(socket);
        match key {
            ListenerKey::Tcp(listener) => {
                let port = listener.port;
                self.map::<TcpListener, u32>("TCP_LISTENERS")?.insert(listener, u32::from(id), 0)?;
                if self.map::<u16, u32>("PORTS")?.get(&port, 0).is_err() {
                    self.watch_port(port, u32::MAX)?;
                }
            }
            ListenerKey::Unix { bound_address } => {
                let value = socket.unix_listener(u32::from(id));
                self.map::<u64, UnixListener>("UNIX_LISTENERS")?.insert(bound_address, value, 0)?;
            }
        }
        let new = || Registered { database: id, discoverer, sockets: HashSet::new(), missed: false };
        let registered = self.listeners.entry(key).or_insert_with(new);
        (registered.database, registered.discoverer) = (id, discoverer);
        registered.sockets.insert(socket.scanned.cookie);
        Ok(())
    }
}

pub(super) fn key_of(socket: &Socket) -> ListenerKey {
    if socket.scanned.family == FAMILY_UNIX {
        return ListenerKey::Unix { bound_address: socket.scanned.bound_address };
    }
    let ends = &socket.scanned.endpoints;
    ListenerKey::Tcp(TcpListener {
        address: ends.own,
        network_namespace: ends.network_namespace,
        port: ends.own_port,
        reserved: 0,
    })
}

/// `/var/run` is usually a link to `/run`: compare where the paths lead, or as they are written.
fn same_path(configured: &std::path::Path, bound: &str) -> bool {
    let resolve = |path: &std::path::Path| {
        let directory = std::fs::canonicalize(path.parent()?).ok()?;
        Some(directory.join(path.file_name()?))
    };
    let bound = std::path::Path::new(bound);
    configured == bound || resolve(configured).is_some_and(|path| Some(path) == resolve(bound))
}

/// A server's Unix socket and its TCP port are one database: remember the port of each listening process.
fn tcp_port_by_holder(sockets: &[&Socket], holders: &HashMap<u64, u32>) -> HashMap<u32, u16> {
    sockets
        .iter()
        .filter(|socket| socket.scanned.family != FAMILY_UNIX)
        .filter_map(|socket| Some((*holders.get(&socket.scanned.inode)?, socket.scanned.endpoints.own_port)))
        .collect()
}
