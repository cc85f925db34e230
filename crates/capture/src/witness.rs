//! The privileged half: holds the loaded programs, keeps listeners and probes current, heals what was missed.

mod listeners;
mod probes;

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use agent_common::session::{
    CHANNEL_UNREAD, FAMILY_UNIX, HOP_UNREAD, LEG_FRONT, LEG_HOP, PHASE_EITHER, PHASE_MESSAGES, PHASE_STARTUP, Session,
};
use aya::Ebpf;
use aya::maps::{Array, HashMap as KernelHashMap, MapData, MapError};
use aya_log::EbpfLogger;
use model::session::Origin;

use crate::decode::address;
use crate::found::{Found, Unknown, found_session};
use crate::marks::Marks;
use crate::object::{LoadError, LoadOptions, attach_tracepoints, load};
use crate::processes::{self, CommandLines, ProcessEntry};
use crate::sockets::{CLOSE_WAIT, ESTABLISHED, ScanError, Socket, scan};
use crate::symbols::Symbol;
use crate::witness::listeners::{ListenerKey, Registered, key_of};
pub use crate::witness::probes::ProbeState;
use crate::witness::probes::Probes;

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

/// Database ids: the last one is the self-test's.
const DATABASES_MAX: usize = 65_535;

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
    probes: Probes,
    absent_before: HashSet<u64>,
    diagnostics: EbpfLogger<&'static dyn log::Log>,
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
            probes: Probes::default(),
            absent_before: HashSet::new(),
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
            report.probes = self.probes.states().collect();
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
        let absent: HashSet<u64> =
            known_before.difference(&present).copied().filter(|cookie| self.is_shown(*cookie)).collect();
        // Twice in a row: one scan may miss a socket (a hash bucket that changed while it was read).
        for cookie in self.absent_before.intersection(&absent).copied().collect::<Vec<_>>() {
            if self.map::<u64, Session>("SESSIONS")?.remove(&cookie).is_ok() {
                report.gone.push(cookie);
            }
        }
        self.absent_before = absent;
        self.probes.drop_duplicates(&mut self.ebpf, &mut report)?;
        self.probes.drop_unused(&mut self.ebpf, &processes, &mut report)?;
        Ok(report)
    }

    /// Whether an iterator would show the socket of this session: not that of a connection that was reset, which a server
    /// may still hold. Its end is certain to be seen.
    fn is_shown(&mut self, cookie: u64) -> bool {
        let sessions = self.map::<u64, Session>("SESSIONS");
        sessions.is_ok_and(|sessions| sessions.get(&cookie, 0).is_ok_and(|session| session.is_reset == 0))
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
                // The process has ended: another one of the namespace leads there, or there is nothing to see any more.
                Err(_) if enter.is_some_and(|pid| processes::namespace(pid, "net").is_none()) => {
                    seen.remove(&process.network_namespace);
                }
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
                ListenerKey::Tcp(listener) => {
                    listener.candidates(socket.scanned.family).map(|candidate| candidate.map(ListenerKey::Tcp))
                }
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
