//! From kernel records to the journal: decode, redact, join, count, write. Data flows one way.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use capture::counters::{Counters, Faults};
use capture::decode::{Decoder, Item, Position, Told};
use export::metrics::{JournalTotals, Metrics, ProbeState};
use model::id::{BootId, DatabaseId, HostId, SocketCookie};
use model::kernel::KernelEvent;
use model::mediation::{Leg, MediationEvent};
use model::record::{Record, What};
use model::session::{Encryption, Origin, Transport};
use model::time::{BootTime, WallTime};
use model::wire::WireEvent;
use redact::ArgvPolicy;
use sessions::Sessions;
use store::alive::Alive;
use store::keys::KeyFiles;
use store::line::Machine;
use store::writer::{AppendError, Writer};
use tracing::{error, info, warn};

use super::access_ends::AccessEnds;
use super::catalogue_changes::CatalogueChanges;
use super::indexing::Indexing;
use super::leisure::Leisure;
use super::redaction::Redaction;
use super::streams::Streams;
use crate::clock;
use crate::control::KeyView;
use crate::link::{FoundOrigin, Hello, Purpose, ToCore};

/// How often the byte ledgers of live sessions are read from the kernel.
const LEDGER_PERIOD: u64 = 5_000_000_000;
/// How often the heartbeat file is touched and clocks are compared.
const HEARTBEAT_PERIOD: u64 = 1_000_000_000;
/// After a listener appears, its server opens further ones: look again after this long.
const SECOND_LOOK: u64 = 1_000_000_000;
/// Scans that the core asks for by itself are at least this far apart.
const SCAN_DISTANCE: u64 = 250_000_000;

/// A wish for a scan, and since when it may be carried out.
#[derive(Clone, Copy, Debug, Default)]
struct Wish {
    at: Option<u64>,
    everything: bool,
}

/// Ended fronts that wait to be told to the kernel process; what is beyond is noticed by a scan.
const ENDED_FRONTS_MAX: usize = 4096;

/// What the ledger says of the agent's own sessions: the configuration allows them.
const fn own_rule(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Catalogue => "warder-catalogue",
        Purpose::Minting => "warder-minting",
        Purpose::Ending => "warder-ending",
    }
}

/// Everything behind the ring buffer.
pub(super) struct Pipeline {
    pub(super) sessions: Sessions,
    pub(super) streams: Streams,
    pub(super) counters: Counters,
    pub(super) databases: Vec<String>,
    decoder: Decoder,
    writer: Writer,
    alive: Alive,
    pub(super) metrics: Metrics,
    pub(super) redaction: Redaction,
    pub(super) catalogue_changes: CatalogueChanges,
    pub(super) access_ends: AccessEnds,
    indexing: Indexing,
    leisure: Leisure,
    probes: HashMap<u32, (String, bool)>,
    losses: HashMap<&'static str, u64>,
    faults: Faults,
    streams_refused: u64,
    /// Sessions that the kernel did not know at the last look; twice in a row means that their end was missed.
    vanished: HashMap<SocketCookie, model::session::Ledger>,
    wishes: [Wish; 2],
    last_scan: u64,
    next_ledger: u64,
    next_heartbeat: u64,
    write_failing: bool,
    ring_bytes: u32,
    sessions_max: u32,
    /// Most bytes found waiting in the ring at once since the last scrape.
    ring_peak: usize,
    records: Vec<Record>,
    pub(super) tally: Tally,
    /// When the agent was last known to live before this core.
    pub(super) seen: WallTime,
    /// Clients' connections to the taken-over socket that have ended: the kernel programs do not notice by themselves.
    ended_fronts: Vec<SocketCookie>,
}

/// How far the journal is, as numbers of records.
#[derive(Clone, Copy, Debug)]
pub(super) struct Progress {
    /// Everything that the workers said is among the records up to here; `None`: some of it waits for its session.
    pub(super) appended: Option<u64>,
    /// Up to here they are in the file.
    pub(super) written: u64,
    /// Up to here they are on the disk.
    pub(super) durable: u64,
    /// How often something was dropped that should have become a record.
    pub(super) missed: u64,
}

/// What was recorded since the start, for the status and for the outcome of a scan.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) statements: u64,
    pub(super) missed_open: u64,
    pub(super) missed_close: u64,
    pub(super) lost: u64,
}

impl Tally {
    fn count(&mut self, what: &What) {
        match what {
            What::Statement { .. } => self.statements += 1,
            What::SessionOpened(session) if session.origin == Origin::MissedOpen => self.missed_open += 1,
            What::SessionClosed { missed: true, .. } => self.missed_close += 1,
            What::Lost { count, .. } => self.lost += count,
            _ => {}
        }
    }
}

impl Pipeline {
    /// Opens the journal and writes down the start, and the gap since the last agent.
    pub(super) fn start(hello: &Hello, counters: Counters, argv: ArgvPolicy) -> Result<Self> {
        let machine = Machine { host: HostId(hello.host), boot: BootId(hello.boot) };
        let journal = &hello.journal;
        let keys = KeyFiles::load_or_create(&journal.key_file)?;
        let (writer, recovery) = Writer::open(&journal.directory, machine, journal.limits, keys, clock::wall())?;
        let alive = Alive::open(&journal.directory).context("the heartbeat file cannot be opened")?;
        let session_limits =
            sessions::Limits { sessions_max: hello.sessions_max as usize, ..sessions::Limits::default() };
        let mut pipeline = Self {
            sessions: Sessions::new(machine.host, machine.boot, session_limits),
            streams: Streams::new(
                hello.sessions_max as usize,
                if hello.replaces { Position::UNKNOWN } else { Position::START },
            ),
            faults: counters.faults().context("the kernel's counters cannot be read")?,
            losses: counters.losses().context("the kernel's counters cannot be read")?.into_iter().collect(),
            counters,
            databases: Vec::new(),
            decoder: Decoder::new(argv),
            writer,
            alive,
            metrics: Metrics::new(env!("CARGO_PKG_VERSION")),
            redaction: Redaction::new(&hello.redaction)?,
            catalogue_changes: CatalogueChanges::default(),
            access_ends: AccessEnds::default(),
            indexing: Indexing::start(&journal.directory),
            leisure: Leisure::new(clock::boot()),
            probes: HashMap::new(),
            streams_refused: 0,
            vanished: HashMap::new(),
            wishes: [Wish::default(); 2],
            last_scan: 0,
            next_ledger: 0,
            next_heartbeat: 0,
            write_failing: false,
            ring_bytes: hello.ring_bytes,
            sessions_max: hello.sessions_max,
            ring_peak: 0,
            records: Vec::new(),
            tally: Tally::default(),
            seen: recovery.unobserved_since().unwrap_or_default(),
            ended_fronts: Vec::new(),
        };
        pipeline.sessions.set_clock(clock::offset());
        pipeline.streams.announce(hello.announced.iter().map(|id| DatabaseId(*id)));
        for (id, name) in &hello.databases {
            pipeline.name_database(*id, name.clone());
        }
        let now = clock::wall();
        if recovery.torn_bytes > 0 {
            warn!(bytes = recovery.torn_bytes, "what followed the last whole record of the journal was removed");
        }
        if let Some(from) = recovery.unobserved_since() {
            let reason = match (hello.replaces, recovery.stopped) {
                (true, _) => "the core process was replaced",
                (false, true) => "the agent was stopped",
                (false, false) => "the agent ended without a stop",
            };
            pipeline.record(Record { time: now, what: What::NotObserved { from, to: now, reason } });
        }
        let (level, kernel) = (hello.level.clone(), hello.kernel.clone());
        let version = env!("CARGO_PKG_VERSION");
        pipeline.record(Record { time: now, what: What::AgentStarted { version, level, kernel } });
        // What is older than this core begins to wait for its other half now.
        pipeline.sessions.on_tick(clock::boot(), &mut pipeline.records);
        pipeline.flush();
        info!(journal = %hello.journal.directory.display(), key = %pipeline.writer.key(), "observing");
        Ok(pipeline)
    }

    /// Takes one record of the ring.
    pub(super) fn take(&mut self, item: Item<'_>) {
        match item {
            Item::Event(event) => self.kernel_event(event),
            Item::Closed { event, told, encryption } => {
                if let KernelEvent::Closed { cookie, at, .. } = &event {
                    self.encrypted(*cookie, encryption);
                    self.end_stream(*cookie, *at, Some(told));
                }
                self.kernel_event(event);
            }
            Item::Content(content) => {
                if content.is_first() {
                    // Before the decoder judges by what it does not see: direct TLS has no negotiation.
                    self.encrypted(content.cookie, content.encryption);
                }
                let Self { streams, sessions, records, redaction, .. } = self;
                streams.feed(&content, &mut |event| {
                    wire_event(redaction, sessions, content.cookie, content.at, event, records);
                });
                self.write_records();
            }
            Item::Listening { .. } => self.wish_for_listeners(),
        }
    }

    /// Lets a decoder of a mediated connection work, and takes what it says.
    pub(super) fn feed_mediated(
        &mut self,
        connection: SocketCookie,
        at: BootTime,
        work: impl FnOnce(&mut Streams, &mut dyn FnMut(WireEvent)),
    ) {
        let Self { streams, sessions, records, redaction, .. } = self;
        work(streams, &mut |mut event| {
            redaction.event(sessions.get_mediated(connection), &mut event);
            sessions.on_wire_mediated(connection, at, event, records);
        });
        self.write_records();
    }

    /// The agent itself connects with this socket.
    pub(super) fn own_connection(&mut self, cookie: u64, purpose: Purpose) {
        self.sessions.set_own(SocketCookie(cookie), Arc::from(own_rule(purpose)), &mut self.records);
        self.write_records();
    }

    /// A catalogue was read, or could not be.
    pub(super) fn catalogue_read(&self, database: u16, is_read: bool) {
        let name = self.databases.get(usize::from(database)).map_or("", String::as_str);
        self.metrics.catalogue(name, if is_read { "read" } else { "failed" });
    }

    /// Fronts that the kernel programs should forget.
    pub(super) fn take_ended_fronts(&mut self) -> Vec<SocketCookie> {
        std::mem::take(&mut self.ended_fronts)
    }

    /// What a worker says about one of its connections.
    pub(super) fn mediation(&mut self, event: MediationEvent) {
        if let MediationEvent::Ended { connection, .. } = &event
            && self.ended_fronts.len() < ENDED_FRONTS_MAX
            && self.is_unix(*connection)
        {
            self.ended_fronts.push(*connection);
        }
        self.access_ends.hear(&event);
        self.sessions.on_mediation(event, &mut self.records);
        self.write_records();
    }

    fn is_unix(&self, connection: SocketCookie) -> bool {
        let session = self.sessions.get_mediated(connection);
        session.is_some_and(|session| matches!(session.transport, Transport::Unix { .. }))
    }

    fn kernel_event(&mut self, event: KernelEvent) {
        match &event {
            // The proxy's worker reads what it relays; where the kernel does, its first record opens the decoder.
            KernelEvent::Opened { cookie, origin, leg: Leg::Direct, .. } => self.streams.open(*cookie, *origin),
            KernelEvent::Closed { cookie, at, .. } => self.end_stream(*cookie, *at, None),
            KernelEvent::Executed { process, .. } if process.name == "postgres" => self.wish_for_listeners(),
            _ => {}
        }
        self.sessions.on_kernel(event, &mut self.records);
        self.write_records();
    }

    /// What the kernel programs know of a live session's encryption.
    fn encrypted(&mut self, cookie: SocketCookie, encryption: Encryption) {
        let is_news = self.sessions.get(cookie).is_some_and(|session| session.encryption != encryption);
        if encryption != Encryption::Undecided && is_news {
            self.sessions.on_kernel(KernelEvent::Encrypted { cookie, encryption }, &mut self.records);
        }
    }

    /// Lets the decoder of a session say its last; without effect the second time.
    fn end_stream(&mut self, cookie: SocketCookie, at: BootTime, told: Option<Told>) {
        let Self { streams, sessions, records, redaction, .. } = self;
        streams
            .close_socket(cookie, at, told, &mut |event| wire_event(redaction, sessions, cookie, at, event, records));
        self.vanished.remove(&cookie);
    }

    /// How much was waiting in the ring when it was drained.
    pub(super) fn drained(&mut self, bytes: usize) {
        self.ring_peak = self.ring_peak.max(bytes);
    }

    /// A server starts: its listeners are looked for now, and once more when it has opened all of them.
    fn wish_for_listeners(&mut self) {
        let now = clock::boot().0;
        for (wish, delay) in self.wishes.iter_mut().zip([0, SECOND_LOOK]) {
            wish.at = wish.at.or(Some(now + delay));
        }
    }

    /// Whether a scan is due, and of what. Asking counts as carrying it out.
    pub(super) fn due_scan(&mut self) -> Option<bool> {
        let now = clock::boot().0;
        if now < self.last_scan + SCAN_DISTANCE {
            return None;
        }
        let due = self.wishes.iter_mut().find(|wish| wish.at.is_some_and(|at| at <= now))?;
        let everything = std::mem::take(due).everything;
        self.last_scan = now;
        Some(everything)
    }

    /// A message of the kernel process.
    pub(super) fn hear(&mut self, message: ToCore, record: &[u8]) {
        match message {
            ToCore::Database { id, name } => self.name_database(id, name),
            ToCore::Found { origin, title } => {
                let origin = match origin {
                    FoundOrigin::Start => Origin::FoundAtStart,
                    FoundOrigin::Missed => Origin::MissedOpen,
                };
                if let Some(event) = self.decoder.decode_found(record, origin, title) {
                    self.kernel_event(event);
                }
            }
            ToCore::Probe { attachment, function, attached } => {
                self.probes.insert(attachment, (function, attached));
            }
            ToCore::Programs(programs) => {
                for (name, nanos, runs) in programs {
                    self.metrics.program(&name, Duration::from_nanos(nanos), runs);
                }
            }
            ToCore::LocalAddresses(addresses) => self.sessions.set_local_addresses(addresses.into_iter().collect()),
            ToCore::Guarded { database, guard } => self.guard(DatabaseId(database), guard),
            ToCore::Steering(states) => self.steering(&states),
            ToCore::Mediation(event) => self.proxy_event(event),
            ToCore::Hello(_)
            | ToCore::Scanned { .. }
            | ToCore::WorkerRing
            | ToCore::WorkerLine
            | ToCore::Policies(_)
            | ToCore::Settled
            | ToCore::OwnHop { .. }
            | ToCore::Steered { .. }
            | ToCore::Described { .. }
            | ToCore::Enclosed { .. }
            | ToCore::Emptied(_)
            | ToCore::Stop => {}
        }
    }

    fn name_database(&mut self, id: u16, name: String) {
        self.sessions.name_database(DatabaseId(id), Arc::from(name.as_str()));
        if !self.databases.contains(&name) {
            self.databases.push(name);
        }
        self.metrics.observed_databases(self.databases.len() as u64);
    }

    /// A scan has ended.
    pub(super) fn scanned(&mut self) {
        self.metrics.scanned();
        self.flush();
    }

    /// Looks after everything that has no event of its own.
    pub(super) fn tick(&mut self) {
        let now = clock::boot();
        self.account_losses(now);
        if now.0 >= self.next_ledger {
            self.next_ledger = now.0 + LEDGER_PERIOD;
            self.read_ledgers(now);
        }
        if now.0 >= self.next_heartbeat {
            self.next_heartbeat = now.0 + HEARTBEAT_PERIOD;
            self.sessions.set_clock(clock::offset());
            // A heartbeat that fails only makes a later gap look longer.
            let _ = self.alive.touch(clock::wall());
        }
        self.sessions.on_tick(now, &mut self.records);
        self.write_records();
        self.writer.set_host_busy(!self.leisure.has(now));
        self.flush();
        self.metrics.newest_record(self.writer.written());
    }

    /// Losses become records, and a reason to look at everything again.
    fn account_losses(&mut self, now: BootTime) {
        let Ok(losses) = self.counters.losses() else { return };
        for (kind, total) in losses {
            let before = self.losses.insert(kind, total).unwrap_or_default();
            self.lose(now, kind, "kernel", total.saturating_sub(before));
        }
        if let Ok(faults) = self.counters.faults() {
            let before = std::mem::replace(&mut self.faults, faults);
            self.lose(now, "session", "kernel", faults.sessions_refused - before.sessions_refused);
            self.lose(now, "content_fault", "kernel", faults.content_faults - before.content_faults);
            self.lose(now, "not_protocol", "kernel", faults.desynchronised - before.desynchronised);
            self.lose(now, "unread_call", "kernel", faults.unread_calls - before.unread_calls);
        }
        let refused = self.streams.refused;
        let before = std::mem::replace(&mut self.streams_refused, refused);
        self.lose(now, "decoder", "core", refused - before);
    }

    pub(super) fn lose(&mut self, at: BootTime, kind: &'static str, stage: &'static str, count: u64) {
        if count == 0 {
            return;
        }
        self.kernel_event(KernelEvent::Lost { at, kind, stage, count });
        // Sessions and processes can be found again; what a client said can not.
        let lifecycle = ["open", "owner", "client", "close", "exec", "fork", "exit", "listen"];
        if lifecycle.contains(&kind) {
            self.wishes[0] = Wish { at: Some(at.0), everything: true };
        }
    }

    /// Reads the byte ledgers of live sessions; a session that the kernel does not know twice in a row has ended.
    pub(super) fn read_ledgers(&mut self, now: BootTime) {
        let live: Vec<SocketCookie> = self.sessions.sockets().collect();
        let mut vanished = HashMap::new();
        for cookie in live {
            match self.counters.session(cookie) {
                Some((ledger, encryption)) => {
                    self.encrypted(cookie, encryption);
                    self.sessions.on_kernel(KernelEvent::Counted { cookie, ledger }, &mut self.records);
                    if let Some(session) = self.sessions.get(cookie) {
                        self.metrics.observe_session(session);
                    }
                }
                None => {
                    let ledger = self.sessions.get(cookie).map(|session| session.ledger).unwrap_or_default();
                    vanished.insert(cookie, ledger);
                }
            }
        }
        let before = std::mem::replace(&mut self.vanished, vanished);
        for (cookie, ledger) in before {
            if self.vanished.contains_key(&cookie) {
                self.kernel_event(KernelEvent::Closed { cookie, at: now, ledger, missed: true });
            }
        }
        self.write_records();
    }

    /// The agent stops on request.
    pub(super) fn stop(&mut self) {
        self.tick();
        self.sessions.on_stop(clock::boot(), &mut self.records);
        self.record(Record { time: clock::wall(), what: What::AgentStopped });
        if let Err(error) = self.writer.settle(clock::wall()) {
            say_once(&mut self.write_failing, AppendError::Kept(error));
        }
    }

    /// Exchanges the key that signs the journal; the old one signs that the new one follows.
    pub(super) fn rotate_key(&mut self) -> Result<KeyView, String> {
        let key = self.writer.rotate_key(clock::wall()).map_err(|error| format!("{:#}", anyhow::Error::new(error)))?;
        info!(%key, "the journal has another key; give its public half to whoever verifies");
        Ok(KeyView { key: key.to_string() })
    }

    /// Writes one record of the agent's own.
    pub(super) fn record(&mut self, record: Record) {
        self.records.push(record);
        self.write_records();
    }

    /// Writes a record that something waits for. Whether it is in the file.
    pub(super) fn write_down(&mut self, record: Record) -> bool {
        self.records.push(record);
        let is_kept = self.write_records();
        self.flush();
        is_kept && !self.write_failing
    }

    /// `false`: one was dropped, which is counted.
    fn write_records(&mut self) -> bool {
        let mut are_kept = true;
        let Self { records, metrics, writer, write_failing, tally, catalogue_changes, access_ends, sessions, .. } =
            self;
        for record in records.drain(..) {
            metrics.observe(&record);
            catalogue_changes.observe(&record.what, sessions);
            access_ends.observe(&record.what);
            tally.count(&record.what);
            warn_of_disagreement(&record.what);
            if let Err(error) = writer.append(&record) {
                are_kept &= matches!(error, AppendError::Kept(_));
                say_once(write_failing, error);
            }
        }
        are_kept
    }

    /// Hands everything to the file system; what fails is kept within the writer's bound, then dropped and counted.
    pub(super) fn flush(&mut self) {
        match self.writer.flush(clock::wall()) {
            Ok(()) if self.write_failing => {
                self.write_failing = false;
                info!("the journal can be written again");
            }
            Ok(()) => {}
            Err(error) => say_once(&mut self.write_failing, AppendError::Kept(error)),
        }
    }

    /// How far the journal is.
    pub(super) fn progress(&self) -> Progress {
        Progress {
            appended: (self.sessions.requests_waiting() == 0).then(|| self.writer.appended()),
            written: self.writer.written(),
            durable: self.writer.durable(),
            missed: self.writer.counters().dropped + self.streams.unrecorded,
        }
    }

    /// A worker holds something back until it is recorded: the journal does not wait for its interval.
    pub(super) fn hurry(&mut self) {
        self.writer.hurry();
    }

    /// The journal cannot be written.
    pub(super) const fn is_write_failing(&self) -> bool {
        self.write_failing
    }

    pub(super) fn written(&self) -> (u64, u64) {
        let counters = self.writer.counters();
        (counters.written, counters.dropped)
    }

    /// The text of `/metrics`, with what is read only when somebody asks.
    pub(super) fn render_metrics(&mut self) -> String {
        self.read_ledgers(clock::boot());
        let journal = self.writer.counters();
        self.metrics.journal(&JournalTotals {
            records: journal.written,
            bytes: journal.written_bytes,
            dropped: journal.dropped,
            in_doubt: journal.in_doubt,
            checkpoints: journal.checkpoints,
            sealed: journal.sealed,
            last_record: self.writer.written(),
            durable_record: self.writer.durable(),
            unsigned_records: self.writer.unsigned(),
            index_lag: self.indexing.lag(self.writer.written()),
            write_failing: self.write_failing,
        });
        self.metrics.map("sessions", self.sessions.live().count() as u64, u64::from(self.sessions_max));
        self.metrics.map("decoders", self.streams.len() as u64, u64::from(self.sessions_max));
        self.metrics.ring(u64::from(self.ring_bytes), std::mem::take(&mut self.ring_peak) as u64);
        let mut states: HashMap<&str, ProbeState> = HashMap::new();
        for (attachment, (function, attached)) in &self.probes {
            let (hits, duplicates) = self.counters.probe(*attachment).unwrap_or_default();
            let state = states.entry(function).or_default();
            state.attached += u64::from(*attached);
            state.hits += hits;
            state.duplicates += duplicates;
        }
        for (function, state) in states {
            self.metrics.probe(function, state);
        }
        self.metrics.render()
    }

    /// Wall-clock time of a kernel time.
    pub(super) fn wall(at: BootTime) -> WallTime {
        clock::offset().wall(at)
    }
}

/// One decoded event of a stream: statements are redacted before anything else sees them.
fn wire_event(
    redaction: &Redaction,
    sessions: &mut Sessions,
    cookie: SocketCookie,
    at: BootTime,
    mut event: WireEvent,
    records: &mut Vec<Record>,
) {
    redaction.event(sessions.get(cookie), &mut event);
    sessions.on_wire(cookie, at, event, records);
}

/// The two witnesses disagree: whoever reads only the log is told as well. At most once a session and figure.
fn warn_of_disagreement(what: &What) {
    if let What::IntegrityAlert { session, figure, proxy, kernel, when } = what {
        warn!(%session, figure, proxy, kernel, when, "the proxy and the kernel disagree on what a session transferred");
    }
}

/// A file system that is full is reported once, not for every record.
fn say_once(failing: &mut bool, problem: AppendError) {
    if !*failing {
        *failing = true;
        let problem = match problem {
            AppendError::Kept(cause) => anyhow::Error::new(cause),
            dropped @ AppendError::Dropped => dropped.into(),
        };
        error!(
            "the journal cannot be written: {problem:#} -> see to the space and the rights of its folder; it is tried again, and \
             warder_journal_write_failing is 1 until all of it works"
        );
    }
}
