//! The privileged process: loads the programs, proves them, keeps listeners and probes current, and watches the core.
//!
//! It parses nothing that a client sent. What it finds goes to the core as records.

pub(crate) mod access;
mod certificates;
mod describe;
mod groups;
mod guards;
mod hops;
mod logins;
mod own_logins;
mod policies;
mod proxy_host;
pub(crate) mod survey;
mod workers;

use std::collections::VecDeque;
use std::fs;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Child;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use capture::object::{Diagnostics, LoadOptions};
use capture::witness::{Callbacks, DatabaseRule, Extent, ScanReport, Witness};
use capture::{handout, selftest};
use model::id::SocketCookie;
use model::process::ProcessKey;
use model::session::Origin;
use model::time::BootTime;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{Uid, chown};
use tracing::{info, warn};

use crate::config::{Argv, Config};
use crate::kernel_process::describe::describe;
use crate::kernel_process::groups::Groups;
use crate::kernel_process::proxy_host::ProxyHost;
use crate::link::{ArgvMode, CoreTexts, FoundOrigin, Hello, Link, Packet, ToCore, ToKernel, VERSION};
use crate::privileges::{self, Identity};
use crate::worker_link::in_memory;
use crate::{clock, doctor, exec_socket};

/// How long the core may take to write down the end.
const STOP_PATIENCE: Duration = Duration::from_secs(10);
/// A core that ends sooner than this after its start was not worth starting: the agent gives up.
const CORE_LIFE_MIN: Duration = Duration::from_secs(2);
/// How long a core may take to learn a database's name.
const NAMING_PATIENCE_MILLIS: u16 = 2000;
/// How long the workers of the proxy may take until people are answered without them.
const PROXY_PATIENCE: Duration = Duration::from_secs(5);
/// Program run times are sampled: this long ...
const STATISTICS_WINDOW: Duration = Duration::from_millis(500);
/// ... out of each such period. Measuring always would cost every database call two clock reads.
const STATISTICS_PERIOD: Duration = Duration::from_secs(10);

/// Runs until SIGTERM or SIGINT.
pub(crate) fn run(config: &Config) -> Result<()> {
    ensure!(
        Uid::effective().is_root(),
        "warder run needs root: it loads eBPF programs; what clients send is decoded by a process without privileges"
    );
    ensure_host_namespaces()?;
    doctor::ensure_kernel(&doctor::host::Host::this())?;
    let signals = block_signals()?;
    let identity = privileges::account(&config.agent)?;
    let options = load_options(config);
    let mut witness = Witness::start(&options, rules(config))?;
    selftest::run(&mut witness, options.capture_arguments)?;
    info!("the eBPF programs are loaded and read this kernel correctly");
    prepare_directory(&config.journal.directory, identity)?;
    prepare_key_directory(&config.journal.key_file, identity)?;
    if config.redaction.is_wanted() {
        prepare_key_directory(&config.redaction.key_file, identity)?;
    }
    let control = control_socket(&config.agent.control_socket, identity)?;
    let exec = exec_socket(&config.agent.control_socket)?;
    let proxy = ProxyHost::start(config, identity, &witness)?;
    let mut process = KernelProcess {
        config,
        identity,
        witness,
        proxy,
        control,
        exec,
        groups: Groups::find(),
        statistics: Statistics::default(),
        deferred: VecDeque::new(),
        cores_started: 0,
    };
    let outcome = process.supervise(&signals);
    if outcome.is_err()
        && let Some(proxy) = &mut process.proxy
    {
        proxy.stop();
    }
    process.groups.sweep();
    let _ = fs::remove_file(&config.agent.control_socket);
    let _ = fs::remove_file(exec_socket::beside(&config.agent.control_socket));
    outcome
}

/// Process ids and start times come from the kernel as the host counts them, and are compared with `/proc` here.
fn ensure_host_namespaces() -> Result<()> {
    /// Inode numbers of the first namespaces: fixed since 3.8 (pid) and 5.6 (time).
    const INITIAL: [(&str, &str, u64); 2] = [("pid", "--pid=host", 0xefff_fffc), ("time", "no offsets", 0xefff_fffa)];
    for (kind, remedy, initial) in INITIAL {
        // A kernel without time namespaces has no such file.
        let Ok(metadata) = fs::metadata(format!("/proc/self/ns/{kind}")) else { continue };
        ensure!(
            metadata.ino() == initial,
            "warder run must be in the host's {kind} namespace, or it could not tell one process from another: \
             start it outside of the container, or start the container with {remedy}"
        );
    }
    Ok(())
}

fn load_options(config: &Config) -> LoadOptions {
    LoadOptions {
        ring_bytes: config.capture.ring_bytes,
        sessions_max: config.capture.sessions_max,
        message_bytes_max: config.capture.statement_bytes_max,
        capture_arguments: config.agent.argv != Argv::None,
        diagnostics: if tracing::enabled!(tracing::Level::DEBUG) { Diagnostics::Debug } else { Diagnostics::Warnings },
    }
}

fn rules(config: &Config) -> Vec<DatabaseRule> {
    let rule = |database: &crate::config::Database| DatabaseRule {
        name: database.name.clone(),
        port: database.port,
        socket: database.socket.clone(),
        executable: database.executable.clone(),
    };
    config.databases.iter().map(rule).collect()
}

/// SIGTERM and SIGINT as a descriptor, so that the loop has one place to wait. SIGHUP (the terminal is gone, or a
/// habit of asking for a reload) is taken too, and changes nothing.
fn block_signals() -> Result<SignalFd> {
    let mut set = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        set.add(signal);
    }
    set.thread_block().context("signals could not be blocked")?;
    SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).context("no signal descriptor")
}

/// The journal's folder belongs to the core; its parents stay as they are.
fn prepare_directory(directory: &Path, identity: Identity) -> Result<()> {
    let text = || format!("the journal's folder {} could not be prepared", directory.display());
    fs::create_dir_all(directory).with_context(text)?;
    let metadata = fs::symlink_metadata(directory).with_context(text)?;
    ensure!(metadata.is_dir(), "{} is not a folder: set [journal] directory to one", directory.display());
    fs::set_permissions(directory, fs::Permissions::from_mode(0o750)).with_context(text)?;
    chown(directory, Some(identity.user), Some(identity.group)).with_context(text)?;
    for entry in fs::read_dir(directory).with_context(text)?.flatten() {
        if store::files::is_own_name(&entry.file_name()) {
            take_over(&entry.path(), identity).with_context(text)?;
        }
    }
    Ok(())
}

/// The core makes its keys, in a folder of its own. A folder that is there stays as it is: it may be shared.
fn prepare_key_directory(key_file: &Path, identity: Identity) -> Result<()> {
    let Some(directory) = key_file.parent().filter(|directory| !directory.exists()) else { return Ok(()) };
    let text = || format!("the folder of keys {} could not be prepared", directory.display());
    fs::create_dir_all(directory).with_context(text)?;
    fs::set_permissions(directory, fs::Permissions::from_mode(0o750)).with_context(text)?;
    chown(directory, Some(identity.user), Some(identity.group)).with_context(text)
}

/// Files of an earlier agent may belong to another account. The folder belongs to an unprivileged process: a link
/// in it, hard or symbolic, must not give it a foreign file, and a pipe must not make the agent wait for a writer.
fn take_over(path: &Path, identity: Identity) -> std::io::Result<()> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = fs::OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_file() && metadata.nlink() == 1 {
        std::os::unix::fs::fchown(&file, Some(identity.user.as_raw()), Some(identity.group.as_raw()))?;
    }
    Ok(())
}

/// Creates the control socket, for root and the agent's group.
fn control_socket(path: &Path, identity: Identity) -> Result<UnixListener> {
    let listener = socket(path, 0o660)?;
    let text = || format!("the control socket {} could not be created", path.display());
    chown(path, Some(Uid::from_raw(0)), Some(identity.group)).with_context(text)?;
    Ok(listener)
}

/// Creates the socket of `warder exec`, for everybody: the token is the proof.
fn exec_socket(control: &Path) -> Result<UnixListener> {
    socket(&exec_socket::beside(control), 0o666)
}

/// Creates a socket; a stale one of an agent that was killed is replaced, a live one is respected.
fn socket(path: &Path, mode: u32) -> Result<UnixListener> {
    let text = || format!("the socket {} could not be created", path.display());
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).with_context(text)?;
    }
    if UnixStream::connect(path).is_ok() {
        bail!("another agent answers on {}: stop it first, or set [agent] control_socket", path.display());
    }
    if fs::symlink_metadata(path).is_ok() {
        fs::remove_file(path).with_context(text)?;
    }
    let listener = UnixListener::bind(path).with_context(text)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).with_context(text)?;
    listener.set_nonblocking(true).with_context(text)?;
    Ok(listener)
}

struct KernelProcess<'a> {
    config: &'a Config,
    identity: Identity,
    witness: Witness,
    proxy: Option<ProxyHost>,
    control: UnixListener,
    exec: UnixListener,
    groups: Groups,
    statistics: Statistics,
    deferred: VecDeque<Packet<ToKernel>>,
    cores_started: u32,
}

/// Takes what a core that stops still says. A socket that is closed with something unread in it cuts off what the other
/// end was told last: here, that it should record the stop.
fn hear_out(link: &Link) {
    let deadline = clock::boot().0 + nanos(STOP_PATIENCE);
    while clock::boot().0 < deadline {
        if link.is_readable() {
            let Ok(Some(_)) = link.receive::<ToKernel>() else { return };
        } else {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Why the loop with one core ended.
enum End {
    Stopped,
    CoreEnded,
}

impl KernelProcess<'_> {
    /// Keeps a core running. The ring buffer outlives it: what happens while it restarts is read by the next one.
    fn supervise(&mut self, signals: &SignalFd) -> Result<()> {
        loop {
            let started = clock::boot();
            self.deferred.clear();
            self.cores_started += 1;
            let (link, theirs) = Link::pair()?;
            let mut core = privileges::start_core(self.identity, theirs)?;
            let end = self.serve(&link, signals);
            if matches!(end, Ok(End::Stopped)) {
                if let Some(proxy) = &mut self.proxy {
                    proxy.stop();
                }
                let _ = link.send(&ToCore::Stop, &[], &[]);
                hear_out(&link);
            }
            drop(link);
            let status = wait(&mut core)?;
            match end? {
                End::Stopped => return Ok(()),
                End::CoreEnded if lived(started) < CORE_LIFE_MIN => {
                    bail!("the core process ended right after its start ({status}); its message is above")
                }
                End::CoreEnded => warn!(%status, "the core process ended and is started again"),
            }
        }
    }

    fn serve(&mut self, link: &Link, signals: &SignalFd) -> Result<End> {
        let introduced =
            self.introduce(link).and_then(|()| self.proxy.as_mut().map_or(Ok(()), |proxy| proxy.introduce(link)));
        // One scan may miss a socket: a list of the kernel changes while it is read.
        let scans = [Extent::Everything, Extent::News];
        let mut scan = |extent| self.scan(link, Origin::FoundAtStart, extent, false);
        if introduced.and_then(|()| scans.into_iter().try_for_each(&mut scan)).is_err() {
            return Ok(End::CoreEnded);
        }
        if self.settle(link).is_err() {
            return Ok(End::CoreEnded);
        }
        let interval = nanos(self.config.capture.scan_interval);
        let mut next_scan = BootTime(clock::boot().0.saturating_add(interval));
        loop {
            self.witness.log_diagnostics();
            let now = clock::boot();
            if now >= next_scan {
                next_scan = BootTime(now.0.saturating_add(interval));
                if self.scan(link, Origin::MissedOpen, Extent::News, false).is_err() {
                    return Ok(End::CoreEnded);
                }
            }
            let mut due = self.statistics.advance(now, &self.witness, link)?.min(next_scan.0);
            if let Some(proxy) = &mut self.proxy {
                if proxy.turn(&mut self.witness, link).is_err() {
                    return Ok(End::CoreEnded);
                }
                due = due.min(proxy.due());
            }
            due = due.min(self.groups.due());
            if now.0 >= self.groups.due() {
                let emptied = self.groups.sweep();
                if !emptied.is_empty() && link.send(&ToCore::Emptied(emptied), &[], &[]).is_err() {
                    return Ok(End::CoreEnded);
                }
                continue;
            }
            if let Some(packet) = self.deferred.pop_front() {
                if self.carry_out(link, packet).is_err() {
                    return Ok(End::CoreEnded);
                }
                continue;
            }
            let others = self.proxy.as_ref().map(ProxyHost::links).unwrap_or_default();
            match wait_for(link, signals, &others, Duration::from_nanos(due.saturating_sub(now.0)))? {
                Woken::Signal => return Ok(End::Stopped),
                Woken::Time => {}
                Woken::Link => match link.receive::<ToKernel>() {
                    Ok(Some(packet)) => self.deferred.push_back(packet),
                    Ok(None) | Err(_) => return Ok(End::CoreEnded),
                },
            }
        }
    }

    /// Waits until the proxy stands, or it is clear that it will not soon.
    fn settle(&mut self, link: &Link) -> Result<()> {
        let deadline = clock::boot().0 + nanos(PROXY_PATIENCE);
        while let Some(proxy) = &mut self.proxy {
            proxy.turn(&mut self.witness, link)?;
            if proxy.is_settled() || clock::boot().0 > deadline {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        link.send(&ToCore::Settled, &[], &[])
    }

    fn carry_out(&mut self, link: &Link, packet: Packet<ToKernel>) -> Result<()> {
        match packet.message {
            ToKernel::Scan { everything, requested } => {
                let extent = if everything { Extent::Everything } else { Extent::News };
                self.scan(link, Origin::MissedOpen, extent, requested)
            }
            ToKernel::Steer { request, what, database } => {
                let outcome = match &mut self.proxy {
                    Some(proxy) => proxy.steer(&mut self.witness, what, database.as_deref()),
                    None => Err("no database has a [database.proxy] in the agent's configuration".to_owned()),
                };
                link.send(&ToCore::Steered { request, outcome }, &[], &[])
            }
            ToKernel::OpenOwn { request, database, purpose } => match &self.proxy {
                Some(proxy) => proxy.open_own(request, database, purpose, link),
                None => Ok(()),
            },
            ToKernel::ForgetFronts(fronts) => {
                let marks = self.witness.marks();
                fronts.iter().for_each(|cookie| marks.forget_front(SocketCookie(*cookie)));
                Ok(())
            }
            ToKernel::Describe { request, pid, start } => {
                let description = describe(ProcessKey { pid, start: BootTime(start) });
                let executable: Vec<_> = description.executable.iter().map(|file| file.as_fd()).collect();
                link.send(&ToCore::Described { request, cgroup: description.cgroup }, &[], &executable)
            }
            ToKernel::Enclose { request } => {
                let process = packet.descriptors.first().context("a question came without its process");
                let outcome = process.and_then(|process| self.groups.enclose(process));
                link.send(
                    &ToCore::Enclosed { request, outcome: outcome.map_err(|error| format!("{error:#}")) },
                    &[],
                    &[],
                )
            }
            // It came after the patience of `announce`.
            ToKernel::Named => Ok(()),
        }
    }

    fn introduce(&self, link: &Link) -> Result<()> {
        let config = self.config;
        let databases = self.witness.databases();
        let announced = databases.iter().filter(|(_, name)| config.is_announced(name)).map(|(id, _)| *id).collect();
        let hello = Hello {
            version: VERSION,
            replaces: self.cores_started > 1,
            level: capability_level().to_owned(),
            kernel: kernel_release(),
            host: hexadecimal("/etc/machine-id"),
            boot: hexadecimal("/proc/sys/kernel/random/boot_id"),
            databases,
            announced,
            catalogues: own_logins::periods(config),
            journal: config.journal.clone(),
            metrics_listen: config.metrics_listen,
            redaction: config.redaction.clone(),
            exports: config.exports.clone(),
            viewers: self.identity.group.as_raw(),
            argv: match config.agent.argv {
                Argv::None => ArgvMode::None,
                Argv::Redacted => ArgvMode::Redacted,
                Argv::Full => ArgvMode::Full,
            },
            ring_bytes: config.capture.ring_bytes,
            sessions_max: config.capture.sessions_max,
        };
        let descriptors = handout::descriptors(&self.witness)?;
        let mut borrowed: Vec<BorrowedFd<'_>> = descriptors.iter().map(|descriptor| descriptor.as_fd()).collect();
        borrowed.push(self.control.as_fd());
        borrowed.push(self.exec.as_fd());
        let texts = CoreTexts {
            identity: config.identity.clone(),
            minting: own_logins::minting(config),
            accounts: own_logins::accounts(config),
        };
        let texts = in_memory(&serde_json::to_vec(&texts).context("no JSON")?)?;
        borrowed.push(texts.as_fd());
        link.send(&ToCore::Hello(Box::new(hello)), &[], &borrowed)
    }

    /// Scans and tells the core. An error is a broken link; what went wrong in the scan itself is told.
    fn scan(&mut self, link: &Link, origin: Origin, extent: Extent, requested: bool) -> Result<()> {
        let started = clock::boot();
        let identity = self.identity;
        let look_up = |executable: &fs::File| privileges::look_up_symbols(identity, executable);
        let deferred = &mut self.deferred;
        let mut announce = |id: u16, name: &str| announce(link, id, name, deferred);
        let mut callbacks = Callbacks { look_up: &look_up, announce: &mut announce };
        let outcome = self.witness.scan(origin, extent, started.0, &mut callbacks);
        let error = match outcome {
            Ok(report) => {
                tell(link, &report)?;
                None
            }
            Err(error) => {
                warn!("the scan failed: {:#}", anyhow::Error::new(error));
                Some("the scan failed; the reason is in the agent's log".to_owned())
            }
        };
        let micros = clock::boot().nanos_since(started) / 1000;
        link.send(&ToCore::Scanned { requested, micros, error }, &[], &[])
    }
}

fn tell(link: &Link, report: &ScanReport) -> Result<()> {
    for warning in &report.warnings {
        warn!("{warning}");
    }
    for probe in &report.probes {
        let (attachment, attached) = (probe.attachment, probe.attached);
        info!(function = probe.function, executable = %probe.executable, attached, "probe");
        link.send(&ToCore::Probe { attachment, function: probe.function.to_owned(), attached }, &[], &[])?;
    }
    if !report.local_addresses.is_empty() {
        link.send(&ToCore::LocalAddresses(report.local_addresses.clone()), &[], &[])?;
    }
    for found in &report.found {
        let origin = match found.origin {
            Origin::FoundAtStart => FoundOrigin::Start,
            Origin::Opened | Origin::MissedOpen => FoundOrigin::Missed,
        };
        for (record, title) in found.records() {
            link.send(&ToCore::Found { origin, title: title.cloned() }, record, &[])?;
        }
    }
    Ok(())
}

/// Tells the core a name and waits until it knows it; what the core asks meanwhile is answered later.
fn announce(link: &Link, id: u16, name: &str, deferred: &mut VecDeque<Packet<ToKernel>>) {
    info!(database = %name, "observed");
    if link.send(&ToCore::Database { id, name: name.to_owned() }, &[], &[]).is_err() {
        return;
    }
    let mut waiting = [PollFd::new(link.as_fd(), PollFlags::POLLIN)];
    while poll(&mut waiting, NAMING_PATIENCE_MILLIS).is_ok_and(|ready| ready > 0) {
        match link.receive::<ToKernel>() {
            Ok(Some(packet)) if matches!(packet.message, ToKernel::Named) => return,
            Ok(Some(packet)) => deferred.push_back(packet),
            // The loop of this core notices that it has ended.
            Ok(None) | Err(_) => return,
        }
    }
    warn!(database = %name, "the core does not answer; sessions may be recorded without the database's name");
}

enum Woken {
    Signal,
    Link,
    Time,
}

fn wait_for(link: &Link, signals: &SignalFd, others: &[BorrowedFd<'_>], patience: Duration) -> Result<Woken> {
    let mut waiting =
        vec![PollFd::new(signals.as_fd(), PollFlags::POLLIN), PollFd::new(link.as_fd(), PollFlags::POLLIN)];
    waiting.extend(others.iter().map(|other| PollFd::new(*other, PollFlags::POLLIN)));
    // Rounded up: waking a moment early would only spin.
    let patience = PollTimeout::try_from(patience.as_millis() + 1).unwrap_or(PollTimeout::MAX);
    match poll(&mut waiting, patience) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => {}
        Err(error) => return Err(error).context("the kernel process cannot wait"),
    }
    if waiting[0].any() == Some(true) {
        let hangup = u32::try_from(Signal::SIGHUP as i32).unwrap_or_default();
        let mut stop = false;
        while let Ok(Some(signal)) = signals.read_signal() {
            stop |= signal.ssi_signo != hangup;
        }
        return Ok(if stop { Woken::Signal } else { Woken::Time });
    }
    Ok(if waiting[1].any() == Some(true) { Woken::Link } else { Woken::Time })
}

fn wait(core: &mut Child) -> Result<std::process::ExitStatus> {
    let deadline = clock::boot().0 + nanos(STOP_PATIENCE);
    loop {
        if let Some(status) = core.try_wait().context("the core process cannot be waited for")? {
            return Ok(status);
        }
        if clock::boot().0 > deadline {
            warn!("the core process did not end in time and is killed");
            core.kill().context("the core process cannot be killed")?;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn lived(since: BootTime) -> Duration {
    Duration::from_nanos(clock::boot().nanos_since(since))
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Sampling of program run times.
#[derive(Default)]
struct Statistics {
    window: Option<std::os::fd::OwnedFd>,
    next: u64,
}

impl Statistics {
    /// Opens or closes the sampling window when it is due; returns when to come back.
    fn advance(&mut self, now: BootTime, witness: &Witness, link: &Link) -> Result<u64> {
        if now.0 < self.next {
            return Ok(self.next);
        }
        self.next = match self.window.take() {
            None => {
                self.window = Witness::statistics_window();
                now.0 + nanos(STATISTICS_WINDOW)
            }
            Some(window) => {
                drop(window);
                let programs = witness
                    .program_statistics()
                    .into_iter()
                    .map(|(name, time, runs)| (name, nanos(time), runs))
                    .collect();
                // A core that has ended is noticed by the caller's next receive.
                let _ = link.send(&ToCore::Programs(programs), &[], &[]);
                now.0 + nanos(STATISTICS_PERIOD - STATISTICS_WINDOW)
            }
        };
        Ok(self.next)
    }
}

/// The guarantee that this kernel allows, see docs/kernel-support.md. The load fails on kernels below it.
const fn capability_level() -> &'static str {
    "full"
}

fn kernel_release() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned()
}

/// 128 bits in hexadecimal, with or without dashes; zero where the file cannot be read.
fn hexadecimal(path: &str) -> u128 {
    let text = fs::read_to_string(path).unwrap_or_default();
    u128::from_str_radix(&text.trim().replace('-', ""), 16).unwrap_or_default()
}
