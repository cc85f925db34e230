//! The privileged half: holds the loaded programs, keeps listeners and probes current, heals what was missed.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::net::IpAddr;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use agent_common::listener::TcpListener;
use agent_common::session::{
    CHANNEL_UNREAD, FAMILY_UNIX, HOP_UNREAD, LEG_FRONT, LEG_HOP, LISTENER_IS_FRONT, PHASE_EITHER, PHASE_MESSAGES,
    PHASE_STARTUP, Session,
};
use agent_common::settings::ProbeCounts;
use aya::Ebpf;
use aya::maps::{Array, HashMap as KernelHashMap, MapData, MapError, PerCpuArray};
use aya::programs::UProbe;
use aya::programs::uprobe::{UProbeAttachLocation, UProbeAttachPoint, UProbeLinkId, UProbeScope};
use aya_log::EbpfLogger;
use model::session::Origin;

use crate::decode::address;
use crate::found::{Found, Unknown, found_session};
use crate::marks::Marks;
use crate::object::{LoadError, LoadOptions, attach_tracepoints, load, named};
use crate::processes::{self, CommandLines, ProcessEntry};
use crate::sockets::{CLOSE_WAIT, ESTABLISHED, LISTEN, ScanError, Socket, own_port, scan, socket_cookie};
use crate::symbols::Symbol;

/// Which listeners belong to a database.
#[derive(Clone, Debug)]
pub struct DatabaseRule {
    /// Name in records and metrics.
    pub name: String,
    /// TCP port, any address, any network namespace.
    pub port: Option<u16>,
    /// Path of a Unix socket.
    pub socket: Option<PathBuf>,
    /// Every listener of a process that executes this file.
    pub executable: Option<PathBuf>,
}

/// A probe attached to a server's executable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeState {
    /// Index of the attachment's counters.
    pub attachment: u32,
    /// Function in the server.
    pub function: &'static str,
    /// Path of the executable as its process names it.
    pub executable: String,
    /// False once it was dropped (an exact duplicate of another).
    pub attached: bool,
}

/// What a scan describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// What is new.
    News,
    /// Also what is known.
    Everything,
}

/// What one scan brought to light.
#[derive(Debug, Default)]
pub struct ScanReport {
    /// Sessions that the live hooks do not know.
    pub found: Vec<Found>,
    /// Sessions whose socket is gone although no close was seen.
    pub gone: Vec<u64>,
    /// Probes that are new or were dropped.
    pub probes: Vec<ProbeState>,
    /// Addresses of this host: of its interfaces, and of sockets in every scanned namespace.
    pub local_addresses: Vec<IpAddr>,
    /// Findings that a person should read.
    pub warnings: Vec<String>,
}

/// Why a map operation of the witness failed.
#[derive(Debug, thiserror::Error)]
pub enum WitnessError {
    /// Loading or attaching.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The programs' diagnostics.
    #[error("the diagnostics of the eBPF programs cannot be read")]
    Diagnostics(#[from] aya_log::Error),
    /// A descriptor for the core.
    #[error("a map cannot be shared with the core process")]
    Descriptor(#[source] std::io::Error),
    /// A kernel map.
    #[error("a kernel map of Warder could not be used")]
    Map(#[from] MapError),
    /// Iterators.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// A listener of the proxy.
    #[error("a listener of the proxy could not be marked")]
    Listener(#[source] std::io::Error),
}

/// Probe attachments of one agent, dropped ones included: the length of the map `PROBES`.
const ATTACHMENTS_MAX: usize = 256;
/// Listeners of one user that are databases only because of their executable's name, which everybody may choose: so
/// that nobody can fill the kernel's maps (8,192 listeners of each kind).
const DISCOVERED_PER_USER_MAX: usize = 512;
/// Database ids: the last one is the self-test's.
const DATABASES_MAX: usize = 65_535;

struct Attachment {
    state: ProbeState,
    links: Vec<(&'static str, UProbeLinkId)>,
}

/// The loaded and attached programs.
pub struct Witness {
    pub(crate) ebpf: Ebpf,
    marks: Marks,
    rules: Vec<DatabaseRule>,
    command_lines: CommandLines,
    names: Vec<Arc<str>>,
    listeners: HashMap<ListenerKey, Registered>,
    /// Unix listeners of the proxy: cookie and database.
    fronts: HashMap<ListenerKey, (u64, u16)>,
    attachments: Vec<Attachment>,
    executables: HashSet<(u64, u64)>,
    absent_before: HashSet<u64>,
    unprobed: HashSet<u32>,
    diagnostics: EbpfLogger<&'static dyn log::Log>,
}

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
enum ListenerKey {
    Tcp(TcpListener),
    Unix { bound_address: u64 },
}

/// A listener that belongs to a database.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Registered {
    database: u16,
    /// See [`NewListener::discoverer`].
    discoverer: Option<u32>,
    /// Cookies of the sockets that were judged: another socket on the same address may be another program's.
    sockets: HashSet<u64>,
}

/// What a scan needs from the agent around it.
pub struct Callbacks<'a> {
    /// Finds functions in a foreign executable: the agent does it in an unprivileged child.
    pub look_up: &'a dyn Fn(&File) -> std::io::Result<Vec<Symbol>>,
    /// A database has been found; called before the first of its sessions can be seen.
    pub announce: &'a mut dyn FnMut(u16, &str),
}

impl Witness {
    /// Loads the programs and attaches the tracepoints. Nothing is observed before the first [`Self::scan`].
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn start(options: &LoadOptions, rules: Vec<DatabaseRule>) -> Result<Self, WitnessError> {
        let mut ebpf = load(options)?;
        prepare_new_session(&mut ebpf)?;
        let diagnostics = EbpfLogger::init(&mut ebpf)?;
        attach_tracepoints(&mut ebpf)?;
        let marks = Marks::new(&ebpf)?;
        let mut witness = Self {
            ebpf,
            marks,
            names: Vec::new(),
            rules: Vec::new(),
            command_lines: if options.capture_arguments { CommandLines::Read } else { CommandLines::Leave },
            listeners: HashMap::new(),
            fronts: HashMap::new(),
            attachments: Vec::new(),
            executables: HashSet::new(),
            absent_before: HashSet::new(),
            unprobed: HashSet::new(),
            diagnostics,
        };
        for rule in &rules {
            let id = witness.database(&rule.name).0;
            if let Some(port) = rule.port {
                witness.watch_port(port, u32::from(id))?;
            }
        }
        witness.rules = rules;
        Ok(witness)
    }

    /// For the thread that opens the proxy's connections.
    #[must_use]
    pub fn marks(&self) -> Marks {
        self.marks.clone()
    }

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
        let value = u32::from(database) | LISTENER_IS_FRONT;
        self.map::<u64, u32>("UNIX_LISTENERS")?.insert(socket.scanned.bound_address, value, 0)?;
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

    /// The databases that are known so far: id and name.
    #[must_use]
    pub fn databases(&self) -> Vec<(u16, String)> {
        (0..).zip(self.names.iter().map(ToString::to_string)).collect()
    }

    /// Passes what the programs have to say on to the log.
    pub fn log_diagnostics(&mut self) {
        self.diagnostics.flush();
    }

    pub(crate) fn map<K: aya::Pod, V: aya::Pod>(
        &mut self,
        name: &'static str,
    ) -> Result<KernelHashMap<&mut MapData, K, V>, WitnessError> {
        let map = self.ebpf.map_mut(name).ok_or(LoadError::Missing(name))?;
        Ok(KernelHashMap::try_from(map)?)
    }

    /// From now on the programs look at sockets with this port. `database`: a listener that appears on it belongs to
    /// this one; `u32::MAX`: a scan decides.
    pub(crate) fn watch_port(&mut self, port: u16, database: u32) -> Result<(), WitnessError> {
        let set = self.ebpf.map_mut("PORT_SET").ok_or(LoadError::Missing("PORT_SET"))?;
        let mut set: Array<&mut MapData, u64> = Array::try_from(set)?;
        let word = u32::from(port / 64);
        let bits = set.get(&word, 0)? | 1 << (port % 64);
        set.set(word, bits, 0)?;
        self.map::<u16, u32>("PORTS")?.insert(port, database, 0)?;
        Ok(())
    }

    /// Id of a database by name, and whether it is new.
    fn database(&mut self, name: &str) -> (u16, bool) {
        let position = self.names.iter().position(|known| &**known == name);
        let index = position.unwrap_or_else(|| {
            if self.names.len() + 1 < DATABASES_MAX {
                self.names.push(name.into());
            }
            self.names.len() - 1
        });
        (u16::try_from(index).unwrap_or(u16::MAX - 1), position.is_none())
    }

    /// Looks at every listener and every session of every network namespace that has processes.
    ///
    /// `extent` says whether sessions and databases that are known already are described too: to a reader that
    /// starts, or that lost events.
    ///
    /// # Errors
    /// When iterators or maps cannot be used; a namespace that ends meanwhile is only a warning.
    pub fn scan(
        &mut self,
        origin: Origin,
        extent: Extent,
        at: u64,
        callbacks: &mut Callbacks<'_>,
    ) -> Result<ScanReport, WitnessError> {
        let mut report = ScanReport::default();
        if extent == Extent::Everything {
            report.probes = self.attachments.iter().map(|attachment| attachment.state.clone()).collect();
        }
        let known_before: HashSet<u64> = self.map::<u64, Session>("SESSIONS")?.keys().flatten().collect();
        let processes = processes::all();
        let sockets = self.all_sockets(&processes, &mut report.warnings);
        self.update_listeners(&processes, &sockets, &mut report, callbacks)?;
        report.local_addresses = local_addresses(&sockets);
        let unknown = self.sessions_to_describe(&sockets, extent)?;
        let marks = self.marks.clone();
        for found in found_session(&unknown, &sockets, &processes, origin, at, self.command_lines, &marks) {
            self.observe(&found)?;
            report.found.push(found);
        }
        let present: HashSet<u64> = sockets.iter().map(|socket| socket.scanned.cookie).collect();
        let absent: HashSet<u64> = known_before.difference(&present).copied().collect();
        // Twice in a row: one scan may miss a socket (a hash bucket that changed while it was read).
        for cookie in self.absent_before.intersection(&absent).copied().collect::<Vec<_>>() {
            if self.map::<u64, Session>("SESSIONS")?.remove(&cookie).is_ok() {
                report.gone.push(cookie);
            }
        }
        self.absent_before = absent;
        self.drop_duplicates(&mut report)?;
        Ok(report)
    }

    /// Sockets of every namespace, each namespace entered once.
    pub(crate) fn all_sockets(&mut self, processes: &[ProcessEntry], warnings: &mut Vec<String>) -> Vec<Socket> {
        let own = processes::namespace(std::process::id(), "net");
        let mut seen = HashSet::new();
        let mut sockets = Vec::new();
        for process in processes {
            if !seen.insert(process.network_namespace) {
                continue;
            }
            let enter = (Some(process.network_namespace) != own).then_some(process.pid);
            match scan(&mut self.ebpf, enter) {
                Ok(mut found) => sockets.append(&mut found),
                // Its last process may have ended since: then there is nothing to see in it any more.
                Err(error) if enter.is_some() => warnings.push(format!(
                    "network namespace {} could not be scanned: {}",
                    process.network_namespace,
                    chain(&error)
                )),
                Err(error) => warnings.push(format!("the sockets could not be scanned: {}", chain(&error))),
            }
        }
        sockets
    }

    fn update_listeners(
        &mut self,
        processes: &[ProcessEntry],
        sockets: &[Socket],
        report: &mut ScanReport,
        callbacks: &mut Callbacks<'_>,
    ) -> Result<(), WitnessError> {
        let mut accepted = self.new_listeners(processes, sockets);
        self.limit_users(&mut accepted, report);
        self.unprobed.extend(accepted.iter().filter_map(|listener| listener.holder));
        // Probes first: the first session of a listener is observed whole.
        self.attach_probes(callbacks, report);
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

    /// Listeners that are gone are taken out, also where another program listens on their address now.
    fn forget_listeners(&mut self, sockets: &[Socket]) -> Result<(), WitnessError> {
        let listening = sockets.iter().filter(|socket| socket.scanned.state == LISTEN);
        let present: HashSet<u64> = listening.map(|socket| socket.scanned.cookie).collect();
        self.marks.keep_listeners(|cookie| present.contains(&cookie));
        let mut gone = Vec::new();
        self.fronts.retain(|key, (cookie, _)| {
            if !present.contains(cookie) {
                gone.push(*key);
            }
            present.contains(cookie)
        });
        self.listeners.retain(|key, registered| {
            registered.sockets.retain(|cookie| present.contains(cookie));
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
                    let _ = self.map::<u64, u32>("UNIX_LISTENERS")?.remove(&bound_address);
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
                self.map::<u64, u32>("UNIX_LISTENERS")?.insert(bound_address, u32::from(id), 0)?;
            }
        }
        let new = || Registered { database: id, discoverer, sockets: HashSet::new() };
        let registered = self.listeners.entry(key).or_insert_with(new);
        (registered.database, registered.discoverer) = (id, discoverer);
        registered.sockets.insert(socket.scanned.cookie);
        Ok(())
    }

    /// Accepted sockets of database listeners; unless everything is wanted, those that the session map does not have.
    fn sessions_to_describe<'a>(
        &mut self,
        sockets: &'a [Socket],
        extent: Extent,
    ) -> Result<Vec<Unknown<'a>>, WitnessError> {
        let (listeners, fronts) = (self.listeners.clone(), self.fronts.clone());
        let describe = |socket: &'a Socket| {
            let front = fronts.get(&key_of(socket)).map(|(_, database)| *database);
            let front = front.or_else(|| u16::try_from(socket.scanned.front.checked_sub(1)?).ok());
            if let Some(database) = front {
                return Some(Unknown { socket, database, leg: Some(LEG_FRONT) });
            }
            let candidates = match key_of(socket) {
                ListenerKey::Tcp(listener) => listener.candidates().map(|candidate| candidate.map(ListenerKey::Tcp)),
                key @ ListenerKey::Unix { .. } => [Some(key), None, None],
            };
            let registered = candidates.iter().flatten().find_map(|key| listeners.get(key))?;
            Some(Unknown { socket, database: registered.database, leg: None })
        };
        let sessions = self.map::<u64, Session>("SESSIONS")?;
        Ok(sockets
            .iter()
            .filter(|socket| matches!(socket.scanned.state, ESTABLISHED | CLOSE_WAIT))
            .filter_map(describe)
            .filter_map(|unknown| match sessions.get(&unknown.socket.scanned.cookie, 0) {
                // The live hooks knew at its beginning what it is.
                Ok(known) => (extent == Extent::Everything).then_some(Unknown { leg: Some(known.leg), ..unknown }),
                Err(_) => Some(unknown),
            })
            .collect())
    }

    /// Whether the proxy's worker reads the content of this session.
    fn is_unread(&self, found: &Found) -> bool {
        let is_hop = found.opened.leg == LEG_HOP;
        let mark = is_hop.then(|| self.marks.hop_of(found.opened.client_cookie)).flatten();
        found.opened.leg == LEG_FRONT || mark == Some(HOP_UNREAD)
    }

    /// From now on the live hooks count and read this session too.
    fn observe(&mut self, found: &Found) -> Result<(), WitnessError> {
        /// `BPF_NOEXIST`: a live hook that came first is right.
        const ONLY_NEW: u64 = 1;
        let mut session = Session {
            owner: found.server_pid.unwrap_or_default(),
            database: u32::from(found.database),
            family: found.opened.family,
            leg: found.opened.leg,
            channel: if self.is_unread(found) { CHANNEL_UNREAD } else { 0 },
            ..Session::default()
        };
        session.client.phase = PHASE_EITHER;
        session.server.phase = PHASE_EITHER;
        let _ = self.map::<u64, Session>("SESSIONS")?.insert(found.opened.cookie, session, ONLY_NEW);
        if let Some(pid) = found.server_pid {
            self.map::<u32, u64>("OWNERS")?.insert(pid, found.opened.cookie, 0)?;
        }
        if let Some(client) = &found.client {
            self.map::<u32, u64>("CLIENT_PROCESSES")?.insert(client.pid, client.start, 0)?;
        }
        Ok(())
    }

    /// Attaches to the encrypted reads and writes of every new server's executable, once per inode. What fails is
    /// tried again at the next scan, as long as the server runs.
    fn attach_probes(&mut self, callbacks: &mut Callbacks<'_>, report: &mut ScanReport) {
        for pid in std::mem::take(&mut self.unprobed) {
            let path = format!("/proc/{pid}/exe");
            // A server that has ended needs no probe.
            let Ok(file) = File::open(&path) else { continue };
            let Ok(metadata) = file.metadata() else { continue };
            let inode = (metadata.dev(), metadata.ino());
            if self.executables.contains(&inode) {
                continue;
            }
            let executable = std::fs::read_link(&path).map(|path| path.display().to_string()).unwrap_or(path);
            match self.probe_executable(&file, &executable, callbacks, report) {
                Ok(()) => {
                    self.executables.insert(inode);
                }
                Err(why) => {
                    report.warnings.push(format!("encrypted sessions of {executable} are not understood yet: {why}"));
                    self.unprobed.insert(pid);
                }
            }
        }
    }

    fn probe_executable(
        &mut self,
        file: &File,
        executable: &str,
        callbacks: &mut Callbacks<'_>,
        report: &mut ScanReport,
    ) -> Result<(), String> {
        let symbols = (callbacks.look_up)(file).map_err(|error| error.to_string())?;
        if self.attachments.len() + symbols.len() > ATTACHMENTS_MAX {
            return Err(format!("all {ATTACHMENTS_MAX} probe slots are used; restart the agent to free old ones"));
        }
        if symbols.is_empty() {
            report.warnings.push(format!(
                "{executable} exports none of the functions that carry decrypted traffic: \
                 its encrypted sessions are counted but their statements are not seen"
            ));
        }
        for symbol in symbols {
            let state = self.attach(file, &symbol, executable).map_err(|error| chain(&error))?;
            report.probes.push(state);
        }
        Ok(())
    }

    fn attach(&mut self, file: &File, symbol: &Symbol, executable: &str) -> Result<ProbeState, LoadError> {
        /// Bit of the attach cookie that tells GSS from TLS (`agent-ebpf`, `encrypted.rs`).
        const COOKIE_GSS: u64 = 1 << 31;
        let attachment = u32::try_from(self.attachments.len()).unwrap_or(u32::MAX);
        let gss = symbol.name.starts_with("be_gssapi");
        let cookie = u64::from(attachment & 0xff) | if gss { COOKIE_GSS } else { 0 };
        let programs = if symbol.name.ends_with("_read") {
            ["encrypted_read_return", "encrypted_read"]
        } else {
            ["encrypted_write_return", "encrypted_write"]
        };
        let mut links = Vec::new();
        for program in programs {
            let probe: &mut UProbe = named(&mut self.ebpf, program)?;
            let point = UProbeAttachPoint {
                location: UProbeAttachLocation::AbsoluteOffset(symbol.file_offset),
                cookie: Some(cookie),
            };
            // The open descriptor names the inode itself, whatever happens to its path.
            let target = format!("/proc/self/fd/{}", file.as_raw_fd());
            let id = probe
                .attach(point, target, UProbeScope::AllProcesses)
                .map_err(|source| LoadError::Program { program, source })?;
            links.push((program, id));
        }
        let state = ProbeState { attachment, function: symbol.name, executable: executable.to_owned(), attached: true };
        self.attachments.push(Attachment { state: state.clone(), links });
        Ok(state)
    }

    /// Drops an attachment all of whose hits another attachment of the same inode had already reported.
    fn drop_duplicates(&mut self, report: &mut ScanReport) -> Result<(), WitnessError> {
        /// Hits before an attachment is judged.
        const JUDGED_AFTER: u64 = 64;
        let map = self.ebpf.map("PROBES").ok_or(LoadError::Missing("PROBES"))?;
        let counts: PerCpuArray<&MapData, ProbeCounts> = PerCpuArray::try_from(map)?;
        let mut dropped = Vec::new();
        for attachment in self.attachments.iter_mut().filter(|attachment| attachment.state.attached) {
            let values = counts.get(&(attachment.state.attachment & 0xff), 0)?;
            let hits: u64 = values.iter().map(|cpu| cpu.hits).sum();
            let duplicates: u64 = values.iter().map(|cpu| cpu.duplicates).sum();
            if hits >= JUDGED_AFTER && hits == duplicates {
                attachment.state.attached = false;
                dropped.append(&mut attachment.links);
                report.probes.push(attachment.state.clone());
            }
        }
        for (program, link) in dropped {
            let probe: &mut UProbe = named(&mut self.ebpf, program)?;
            probe.detach(link).map_err(|source| LoadError::Program { program, source })?;
        }
        Ok(())
    }

    /// Turns the kernel's statistics of program runs on, as long as the descriptor is kept (since 5.8).
    #[must_use]
    pub fn statistics_window() -> Option<OwnedFd> {
        aya::sys::enable_stats(aya::sys::Stats::RunTime).ok()
    }

    /// Run time and number of runs of every program, within all [`Self::statistics_window`]s.
    #[must_use]
    pub fn program_statistics(&self) -> Vec<(String, std::time::Duration, u64)> {
        self.ebpf
            .programs()
            .filter_map(|(name, program)| {
                let info = program.info().ok()?;
                Some((name.to_owned(), info.run_time(), info.run_count()))
            })
            .collect()
    }
}

fn prepare_new_session(ebpf: &mut Ebpf) -> Result<(), WitnessError> {
    let map = ebpf.map_mut("NEW_SESSION").ok_or(LoadError::Missing("NEW_SESSION"))?;
    let mut array: Array<&mut MapData, Session> = Array::try_from(map)?;
    let mut session = Session::default();
    session.client.phase = PHASE_STARTUP;
    session.server.phase = PHASE_MESSAGES;
    array.set(0, session, 0)?;
    Ok(())
}

fn key_of(socket: &Socket) -> ListenerKey {
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

/// Addresses of the own interfaces, and those that sockets of any scanned namespace are bound to.
fn local_addresses(sockets: &[Socket]) -> Vec<IpAddr> {
    let interfaces = nix::ifaddrs::getifaddrs().into_iter().flatten().filter_map(|interface| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
    });
    let bound = sockets
        .iter()
        .filter(|socket| socket.scanned.family != FAMILY_UNIX)
        .map(|socket| address(socket.scanned.endpoints.own, 0).ip())
        .filter(|address| !address.is_unspecified());
    interfaces.chain(bound).collect::<HashSet<_>>().into_iter().collect()
}

/// An error with its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
