//! What an idle session holds in the core: the ring records of one real session, replayed under 10,000 cookies.
//!
//! `cargo xtask bench observe` runs it, as root, with a server and a client of its own:
//! `session-memory PORT SOCKET CLIENT [ARGUMENT ...]`. The client reads SQL from its standard input. What is recorded
//! takes the way of the product: `capture::decode`, the core's streams, `redact`, `sessions`, metrics; only the journal is
//! left out, whose buffer has a bound of its own.

#[expect(dead_code, reason = "the core's own file; this program opens and feeds streams, and closes none")]
#[path = "../src/core_process/streams.rs"]
mod streams;

use std::io::Write as _;
use std::mem::offset_of;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use agent_common::content::Content;
use agent_common::process::Identified;
use agent_common::session::{Endpoints, Opened};
use agent_common::{Header, kind};
use anyhow::{Context as _, Result, bail, ensure};
use aya::maps::{Map, MapData, RingBuf};
use capture::decode::{Decoder, Item, Position};
use capture::handout;
use capture::object::{Diagnostics, LoadOptions};
use capture::witness::{Callbacks, DatabaseRule, Extent, Witness};
use export::metrics::Metrics;
use model::id::{BootId, DatabaseId, HostId};
use model::kernel::KernelEvent;
use model::record::{Record, What};
use model::session::Origin;
use model::wire::WireEvent;
use redact::ArgvPolicy;
use sessions::{Limits, Sessions};
use streams::Streams;

/// Replayed sessions of one measurement.
const SESSIONS: u32 = 10_000;
/// Sessions before the first look at memory: what every process needs once is not theirs.
const FIRST: u32 = 100;
/// `[capture] sessions_max` as it is by default.
const SESSIONS_MAX: usize = 16_384;
/// How long the session may take to appear in the ring.
const PATIENCE: Duration = Duration::from_secs(20);

/// One record of the ring, as the kernel programs wrote it.
type RingRecord = Vec<u8>;

fn main() -> Result<()> {
    // `cargo bench` adds a word of its own.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let [port, socket, client @ ..] = arguments.as_slice() else {
        bail!("usage: session-memory PORT SOCKET CLIENT [ARGUMENT ...]; `cargo xtask bench observe` does it")
    };
    let session = record(port.parse().context("PORT is a number")?, socket.into(), client)?;
    // Both are kept, so that the second cannot live in what the first has freed.
    let kept = [Clients::OneProcess, Clients::OneEach].map(|clients| (clients, replay(&session, clients)));
    for (clients, outcome) in kept {
        let (bytes, _core) = outcome?;
        println!("{} {SESSIONS} {bytes}", clients.word());
    }
    Ok(())
}

/// Records everything that the kernel programs say about one session: its opening, both processes, login and a query.
fn record(port: u16, socket: PathBuf, client: &[String]) -> Result<Vec<RingRecord>> {
    let rule = DatabaseRule { name: "replayed".to_owned(), port: Some(port), socket: Some(socket), executable: None };
    let options = LoadOptions {
        ring_bytes: 1 << 20,
        sessions_max: 64,
        message_bytes_max: 1 << 16,
        capture_arguments: true,
        diagnostics: Diagnostics::Warnings,
    };
    let mut witness = Witness::start(&options, vec![rule])?;
    let look_up = |executable: &std::fs::File| Ok(capture::symbols::find(executable));
    let mut callbacks = Callbacks { look_up: &look_up, announce: &mut |_, _| () };
    witness.scan(Origin::FoundAtStart, Extent::News, 0, &mut callbacks)?;
    let ring = handout::descriptors(&witness)?.into_iter().next().context("the ring comes first")?;
    let mut ring = RingBuf::try_from(Map::from_map_data(MapData::from_fd(ring)?)?)?;
    let mut psql = start(client)?;
    let outcome = until_recorded(&mut ring);
    // Nothing is read from it any more: its end is of no interest.
    let _ = psql.kill();
    psql.wait().context("the client cannot be waited for")?;
    outcome
}

fn start(client: &[String]) -> Result<Child> {
    let [program, arguments @ ..] = client else { bail!("CLIENT is missing") };
    let mut command = Command::new(program);
    let mut client = command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .with_context(|| format!("{program} could not be started"))?;
    let input = client.stdin.as_mut().context("the input is piped")?;
    input.write_all(b"select 1;\n").context("the client does not read")?;
    Ok(client)
}

/// Takes records until the core would have written the statement down.
#[expect(clippy::disallowed_methods, reason = "a deadline needs a clock")]
fn until_recorded(ring: &mut RingBuf<MapData>) -> Result<Vec<RingRecord>> {
    let mut core = Core::new();
    let mut taken = Vec::new();
    let begin = Instant::now();
    while core.statements == 0 {
        while let Some(record) = ring.next() {
            core.take(&record);
            if is_of_session(&record) {
                taken.push(record.to_vec());
            }
        }
        ensure!(begin.elapsed() < PATIENCE, "no statement came through the ring; {} records did", taken.len());
        std::thread::yield_now();
    }
    ensure!(core.sessions.live().count() == 1, "the client opened more than one session");
    Ok(taken)
}

fn is_of_session(record: &[u8]) -> bool {
    matches!(kind_of(record), kind::OPENED | kind::OWNED | kind::CONNECTED | kind::CONTENT)
}

fn kind_of(record: &[u8]) -> u32 {
    let start = offset_of!(Header, kind);
    record.get(start..start + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_ne_bytes)
}

/// Whose sessions they are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Clients {
    /// A connection pool: one process holds all.
    OneProcess,
    /// Every session has a client process of its own.
    OneEach,
}

impl Clients {
    const fn word(self) -> &'static str {
        match self {
            Self::OneProcess => "one-client",
            Self::OneEach => "own-client",
        }
    }
}

/// Growth of resident memory by [`SESSIONS`] idle sessions; the core that holds them lives on.
fn replay(session: &[RingRecord], clients: Clients) -> Result<(usize, Core)> {
    let mut core = Core::new();
    let run = |core: &mut Core, numbers: std::ops::Range<u32>| {
        for number in numbers {
            for record in session {
                core.take(&renumbered(record, number, clients));
            }
        }
    };
    run(&mut core, 0..FIRST);
    let before = resident_bytes()?;
    run(&mut core, FIRST..FIRST + SESSIONS);
    let grown = resident_bytes()?.saturating_sub(before);
    let expected = FIRST + SESSIONS;
    let live = core.sessions.live().filter(|session| session.login.user.is_some()).count();
    ensure!(live == expected as usize, "{live} of {expected} replayed sessions are known with their user");
    ensure!(core.statements == u64::from(expected), "{} statements of {expected} sessions", core.statements);
    Ok((grown, core))
}

/// The record of another session: its sockets, ports and processes are its own.
fn renumbered(record: &[u8], number: u32, clients: Clients) -> RingRecord {
    let mut record = record.to_vec();
    let (session, client_socket) = (u64::from(number) * 2 + 1, u64::from(number) * 2 + 2);
    let client = 1 + if clients == Clients::OneEach { number } else { 0 };
    let server = 1_000_000 + number;
    let peer_port = u16::try_from(1024 + number % 60_000).unwrap_or_default();
    match kind_of(&record) {
        kind::OPENED => {
            put(&mut record, offset_of!(Opened, cookie), session.to_ne_bytes());
            put(&mut record, offset_of!(Opened, client_cookie), client_socket.to_ne_bytes());
            put(&mut record, offset_of!(Opened, peer_pid), client.to_ne_bytes());
            let port = offset_of!(Opened, endpoints) + offset_of!(Endpoints, peer_port);
            put(&mut record, port, peer_port.to_ne_bytes());
        }
        kind::OWNED => {
            put(&mut record, offset_of!(Identified, cookie), session.to_ne_bytes());
            put(&mut record, offset_of!(Identified, pid), server.to_ne_bytes());
        }
        kind::CONNECTED => {
            put(&mut record, offset_of!(Identified, cookie), client_socket.to_ne_bytes());
            put(&mut record, offset_of!(Identified, other_cookie), session.to_ne_bytes());
            put(&mut record, offset_of!(Identified, pid), client.to_ne_bytes());
        }
        _ => put(&mut record, offset_of!(Content, cookie), session.to_ne_bytes()),
    }
    record
}

fn put<const N: usize>(record: &mut [u8], offset: usize, value: [u8; N]) {
    if let Some(target) = record.get_mut(offset..offset + N) {
        target.copy_from_slice(&value);
    }
}

/// The core as far as a session lives in it, wired as `core_process::pipeline` does.
struct Core {
    decoder: Decoder,
    streams: Streams,
    sessions: Sessions,
    metrics: Metrics,
    records: Vec<Record>,
    statements: u64,
}

impl Core {
    fn new() -> Self {
        let limits = Limits { sessions_max: SESSIONS_MAX, ..Limits::default() };
        let mut sessions = Sessions::new(HostId(1), BootId(1), limits);
        sessions.name_database(DatabaseId(0), "replayed".into());
        Self {
            decoder: Decoder::new(ArgvPolicy::Redacted),
            streams: Streams::new(SESSIONS_MAX, Position::START),
            sessions,
            metrics: Metrics::new("0"),
            records: Vec::new(),
            statements: 0,
        }
    }

    fn take(&mut self, record: &[u8]) {
        let Self { decoder, streams, sessions, records, .. } = self;
        match decoder.decode(record) {
            Some(Item::Event(event)) => {
                if let KernelEvent::Opened { cookie, origin, .. } = &event {
                    streams.open(*cookie, *origin);
                }
                sessions.on_kernel(event, records);
            }
            Some(Item::Content(content)) => streams.feed(&content, &mut |mut event| {
                if let WireEvent::Statement(statement) = &mut event {
                    redact::statement(statement);
                }
                sessions.on_wire(content.cookie, content.at, event, records);
            }),
            Some(Item::Closed { .. } | Item::Listening { .. }) | None => {}
        }
        for record in records.drain(..) {
            self.metrics.observe(&record);
            self.statements += u64::from(matches!(record.what, What::Statement { .. }));
        }
    }
}

fn resident_bytes() -> Result<usize> {
    const KIB: usize = 1024;
    let status = std::fs::read_to_string("/proc/self/status").context("memory is read from /proc")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS in /proc")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<usize>().context("VmRSS is a number of kB")? * KIB)
}
