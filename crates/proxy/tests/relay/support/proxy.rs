//! A worker in a thread of its own, its hops opened directly, and what the core would read of it.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use model::id::DatabaseId;
use model::mediation::{Listener, MediationEvent};
use model::time::BootTime;
use model::wire::{Side, WireEvent};
use proxy::{
    Access, Certificates, Destination, Drained, Hop, HopError, HopRequest, HopStream, Hops, ListenerSpec, Listening,
    LoginMode, Settings, Snapshot, TlsMode, WhenUnrecorded, Worker,
};
use recorder::{Intake, Item, Level, Recorder};
use wire_pg::{Connection, Limits, Start};

use super::cluster::Cluster;
use super::holds::Desk;
use super::tokens::TokenLogin;
use super::wait;

/// Opens hops itself.
#[derive(Clone, Default)]
pub struct Direct {
    pub socket: Option<std::path::PathBuf>,
}

impl Hops for Direct {
    async fn open(&self, request: HopRequest<'_>) -> Result<Hop, HopError> {
        let stream = match (request.destination, &self.socket) {
            (Destination::Tcp(address), None) => {
                HopStream::Tcp(TcpStream::connect(address).map_err(HopError::Unreachable)?)
            }
            (_, Some(path)) => {
                HopStream::Unix(std::os::unix::net::UnixStream::connect(path).map_err(HopError::Unreachable)?)
            }
            (Destination::Unix, None) => return Err(HopError::Forbidden("no socket in this test")),
        };
        let cookie = match &stream {
            HopStream::Tcp(stream) => proxy::cookie(stream),
            HopStream::Unix(stream) => proxy::cookie(stream),
        };
        Ok(Hop { stream, cookie: cookie.map_err(HopError::Unreachable)? })
    }
}

/// What the core would know.
#[derive(Default)]
pub struct Heard {
    pub notes: Vec<MediationEvent>,
    pub events: Vec<WireEvent>,
    pub bytes: Vec<u8>,
    pub lost: u64,
}

enum Ask {
    Stats(mpsc::Sender<Snapshot>),
    Drain(Duration, mpsc::Sender<Drained>),
    Certificates(Arc<Certificates>, mpsc::Sender<()>),
}

pub struct Proxy {
    pub port: u16,
    asks: tokio::sync::mpsc::Sender<Ask>,
    pub heard: Arc<Mutex<Heard>>,
    pub beats: Arc<AtomicU64>,
    core: Arc<Core>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// How a proxy of a test differs from the usual.
pub struct Options {
    pub settings: Settings,
    pub tls: TlsMode,
    pub login: LoginMode,
    pub token: Option<TokenLogin>,
    /// Its sessions are governed, and some statements wait.
    pub desk: Option<Desk>,
    pub kind: Listener,
    pub port: Option<u16>,
    pub upstream: Option<SocketAddr>,
    pub hops: Direct,
    pub unrecorded: WhenUnrecorded,
    pub level: Level,
    pub ring: usize,
    /// The public Unix socket, where it is one.
    pub socket: Option<std::path::PathBuf>,
    pub access: Option<Access>,
    /// Nobody reads the ring before [`Proxy::core_reads`].
    pub core: Reads,
}

impl Options {
    pub fn plain(cluster: &Cluster) -> Self {
        Self {
            settings: Settings::default(),
            tls: TlsMode::Relay,
            login: LoginMode::PassThrough,
            token: None,
            desk: None,
            kind: Listener::Plain,
            port: None,
            upstream: Some(SocketAddr::from(([127, 0, 0, 1], cluster.port))),
            hops: Direct::default(),
            unrecorded: WhenUnrecorded::Continue,
            level: Level::Memory,
            ring: 8 << 20,
            access: None,
            socket: None,
            core: Reads::Yes,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Reads {
    Yes,
    NotYet,
}

/// What a test says to its core, and what the core answers.
struct Core {
    reads: AtomicBool,
    /// It has noticed that it shall not.
    rests: AtomicBool,
}

impl Proxy {
    pub fn start(options: Options) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let listening = match &options.socket {
            None => Listening::Tcp(listener),
            Some(path) => Listening::Unix(std::os::unix::net::UnixListener::bind(path).unwrap()),
        };
        let (recorder, intake) = recorder::pair(options.ring).unwrap();
        let (asks, questions) = tokio::sync::mpsc::channel(8);
        let (heard, beats) = (Arc::<Mutex<Heard>>::default(), Arc::<AtomicU64>::default());
        let stop = Arc::<AtomicBool>::default();
        let reads = AtomicBool::new(options.core == Reads::Yes);
        let told = Arc::new(Core { reads, rests: AtomicBool::new(false) });
        let core = {
            let (heard, stop, told) = (heard.clone(), stop.clone(), told.clone());
            std::thread::spawn(move || core(intake, &heard, &stop, &told))
        };
        let counted = beats.clone();
        let worker = std::thread::spawn(move || serve(options, listening, recorder, questions, counted));
        Self { port, asks, heard, beats, core: told, stop, threads: vec![core, worker] }
    }

    /// From now on the ring is read.
    pub fn core_reads(&self) {
        self.core.reads.store(true, Ordering::SeqCst);
    }

    /// From now on nobody reads the ring.
    pub fn core_rests(&self) {
        self.core.rests.store(false, Ordering::SeqCst);
        self.core.reads.store(false, Ordering::SeqCst);
        wait::until("the core's rest", || self.core.rests.load(Ordering::SeqCst));
    }

    /// Waits until the proxy has received so many bytes of clients.
    pub fn has_received(&self, bytes: u64) {
        wait::until("bytes of clients", || self.stats().from_client >= bytes);
    }

    pub fn stats(&self) -> Snapshot {
        let (answer, answers) = mpsc::channel();
        self.asks.blocking_send(Ask::Stats(answer)).unwrap();
        answers.recv().unwrap()
    }

    pub fn drain(&self, deadline: Duration) -> mpsc::Receiver<Drained> {
        let (answer, answers) = mpsc::channel();
        self.asks.blocking_send(Ask::Drain(deadline, answer)).unwrap();
        answers
    }

    pub fn reload(&self, certificates: Arc<Certificates>) {
        let (answer, answers) = mpsc::channel();
        self.asks.blocking_send(Ask::Certificates(certificates, answer)).unwrap();
        answers.recv().unwrap();
    }

    /// psql through the proxy, with more connection parameters.
    pub fn psql(&self, parameters: &str, sql: &str) -> Output {
        let mut command = self.psql_command(parameters);
        command.args(["-c", sql]).output().unwrap()
    }

    pub fn psql_command(&self, parameters: &str) -> Command {
        let mut command = Cluster::program("psql");
        let port = self.port;
        let target =
            format!("host=127.0.0.1 port={port} user=postgres dbname=postgres gssencmode=disable {parameters}");
        command.args(["-XqAt", "-v", "ON_ERROR_STOP=1", "-d", &target]);
        command
    }

    /// Waits until the core has heard something.
    pub fn hears(&self, what: &str, condition: impl Fn(&Heard) -> bool) {
        wait::until(what, || condition(&self.heard.lock().unwrap()));
    }

    pub fn no_session_left(&self) {
        wait::until("the end of all sessions", || self.stats().sessions == [0; 3]);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let (asks, _) = tokio::sync::mpsc::channel(1);
        drop(std::mem::replace(&mut self.asks, asks));
        for thread in self.threads.drain(..) {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "a thread of the proxy panicked");
        }
    }
}

fn core(mut intake: Intake, heard: &Mutex<Heard>, stop: &AtomicBool, told: &Core) {
    let mut connections: HashMap<u64, Connection> = HashMap::new();
    while !stop.load(Ordering::Relaxed) {
        if told.reads.load(Ordering::SeqCst) {
            let mut heard = heard.lock().unwrap();
            intake.drain(100_000, &mut |item| take(&mut heard, &mut connections, item));
            intake.written(intake.position());
        } else {
            told.rests.store(true, Ordering::SeqCst);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn take(heard: &mut Heard, connections: &mut HashMap<u64, Connection>, item: Item<'_>) {
    match item {
        Item::Note(MediationEvent::Ended { connection, at, counts, by }) => {
            if let Some(mut decoder) = connections.remove(&connection.0) {
                decoder.close(at, &mut |event| heard.events.push(event));
            }
            heard.notes.push(MediationEvent::Ended { connection, at, counts, by });
        }
        Item::Note(note) => heard.notes.push(note),
        Item::Report(_) | Item::Repeated(_) | Item::Judged { .. } => {}
        Item::Lost { count } => heard.lost += count,
        Item::Stream { connection, side, at, input } => {
            if let (Side::Client, model::wire::Input::Bytes(bytes)) = (side, input)
                && heard.bytes.len() < 1 << 20
            {
                heard.bytes.extend_from_slice(bytes);
            }
            let new = || Connection::new(Start::FirstByte, Limits::default());
            let decoder = connections.entry(connection.0).or_insert_with(new);
            decoder.feed(side, BootTime(at.0), input, &mut |event| heard.events.push(event));
        }
    }
}

fn serve(
    options: Options,
    listening: Listening,
    recorder: Recorder,
    mut questions: tokio::sync::mpsc::Receiver<Ask>,
    beats: Arc<AtomicU64>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async move {
        let spec = ListenerSpec {
            database: DatabaseId(0),
            name: "test".into(),
            kind: options.kind,
            port: options.port.unwrap_or(5432),
            upstream: options.upstream,
            tls: options.tls,
            login: options.login,
            level: options.level,
            unrecorded: options.unrecorded,
        };
        let worker = Worker::new(options.settings, recorder, options.hops);
        worker.set_access(DatabaseId(0), options.access);
        if let Some(token) = options.token {
            token.set(&worker);
        }
        if let Some(desk) = options.desk {
            desk.set(&worker);
        }
        let (time, server) = (worker.clone(), worker.clone());
        tokio::task::spawn_local(async move { time.keep_time().await.unwrap() });
        let beat = Box::new(move || {
            beats.fetch_add(1, Ordering::Relaxed);
        });
        tokio::task::spawn_local(async move { server.serve(spec, listening, beat).await.unwrap() });
        while let Some(ask) = questions.recv().await {
            match ask {
                Ask::Stats(answer) => {
                    let _gone = answer.send(worker.stats());
                }
                Ask::Certificates(certificates, answer) => {
                    worker.reload_certificates(DatabaseId(0), certificates);
                    let _gone = answer.send(());
                }
                Ask::Drain(deadline, answer) => {
                    let worker = worker.clone();
                    tokio::task::spawn_local(async move {
                        let _gone = answer.send(worker.drain(deadline).await);
                    });
                }
            }
        }
    });
}
