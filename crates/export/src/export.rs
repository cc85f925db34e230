//! One export: a thread of its own with a small runtime, so that a slow receiver slows down nobody else.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use prost::Message as _;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::clock;
use crate::config::Identity;
use crate::cursor::CursorFile;
use crate::engine::Engine;
use crate::failure::{Failure, chain};
use crate::format::otlp_metrics::{METRICS_PATH, Span, metrics_request};
use crate::gather::Gather;
use crate::metrics::Metrics;
use crate::plan::{ConfigError, HttpPlace, Place, Plan};
use crate::series::Series;
use crate::transport::Sink;
use crate::transport::file::FileSink;
use crate::transport::http::HttpSink;
use crate::transport::request::{Client, Post};
use crate::transport::syslog::SyslogSink;

/// How long an export may go on after it was stopped, to deliver what is in the journal already.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// What a thread may need beyond that to notice.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// Why an export does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration names something that cannot be used, now that it was looked at.
    #[error("the configuration of export {name} cannot be used")]
    Config {
        /// Name of the export.
        name: String,
        /// Key and reason.
        source: ConfigError,
    },
    /// The folder of cursors, the thread or its runtime could not be made.
    #[error("export {name} cannot start")]
    System {
        /// Name of the export.
        name: String,
        /// Why.
        source: io::Error,
    },
}

/// A running export. Dropping it stops it without waiting.
#[derive(Debug)]
pub struct Handle {
    name: String,
    stop: watch::Sender<bool>,
    ended: mpsc::Receiver<()>,
    thread: JoinHandle<()>,
}

/// Where exports begin: [`Export::start`].
#[derive(Debug)]
pub struct Export;

impl Export {
    /// Starts an export of the journal in a folder that a writer has opened before: its recovery decides what the
    /// newest record is.
    ///
    /// # Errors
    /// If a file that the plan names cannot be used, or the system gives no folder or thread. A receiver that does not
    /// answer is no error: it is tried again.
    pub fn start(plan: &Plan, journal: &Path, identity: &Identity, metrics: &Metrics) -> Result<Handle, StartError> {
        let name = plan.name.clone();
        let config = |source| StartError::Config { name: name.clone(), source };
        let system = |source| StartError::System { name: name.clone(), source };
        let sink = sink(plan, identity).map_err(config)?;
        let pusher = Pusher::new(plan, identity, metrics).map_err(config)?;
        let file = CursorFile::open(journal, &plan.name).map_err(system)?;
        let (stop, stopped) = watch::channel(false);
        let engine = Engine {
            journal: journal.to_owned(),
            plan: plan.clone(),
            identity: identity.clone(),
            file,
            sink,
            series: metrics.export(&plan.name),
            stop: stopped.clone(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(system)?;
        let (end, ended) = mpsc::sync_channel(1);
        // The kernel shows 15 bytes of it.
        let thread = std::thread::Builder::new().name(format!("export-{}", plan.name)).spawn(move || {
            runtime.block_on(work(engine, pusher, stopped));
            // A name lookup that hangs must not hold up the end.
            runtime.shutdown_background();
            // Nobody may wait for it any more.
            let _not_awaited = end.send(());
        });
        Ok(Handle { name: plan.name.clone(), stop, ended, thread: thread.map_err(system)? })
    }
}

impl Handle {
    /// Tells the export to end. It delivers what the journal has already, within [`STOP_TIMEOUT`].
    pub fn request_stop(&self) {
        self.stop.send_replace(true);
    }

    /// Stops and waits, at most a second longer than [`STOP_TIMEOUT`].
    pub fn stop(self) {
        self.request_stop();
        match self.ended.recv_timeout(STOP_TIMEOUT + STOP_GRACE) {
            // A write to a pipe that nobody reads, or a disk that hangs. The cursor is safe, and the process ends anyway.
            Err(mpsc::RecvTimeoutError::Timeout) => {
                tracing::warn!(export = self.name, "did not end in time; it is left behind");
            }
            Ok(()) | Err(mpsc::RecvTimeoutError::Disconnected) => {
                if self.thread.join().is_err() {
                    tracing::error!(export = self.name, "ended by a panic");
                }
            }
        }
    }
}

/// Stops all at once, so that together they take no longer than one.
pub fn stop_all(handles: Vec<Handle>) {
    handles.iter().for_each(Handle::request_stop);
    handles.into_iter().for_each(Handle::stop);
}

async fn work(engine: Engine, pusher: Option<Pusher>, mut stopped: watch::Receiver<bool>) {
    let pushing = async {
        match pusher {
            Some(pusher) => pusher.run().await,
            None => std::future::pending().await,
        }
    };
    let deadline = async {
        // A sender that is gone is a stop too. What is returned holds the value locked: kept over the sleep, the engine's
        // next look would wait behind a second request to stop, and that behind this.
        drop(stopped.wait_for(|stop| *stop).await);
        sleep(STOP_TIMEOUT).await;
    };
    tokio::select! {
        () = engine.run() => {}
        () = pushing => {}
        () = deadline => {}
    }
}

fn sink(plan: &Plan, identity: &Identity) -> Result<Sink, ConfigError> {
    Ok(match &plan.place {
        Place::StandardOutput => Sink::File(FileSink::StandardOutput),
        Place::File { path, file_bytes_max, files_max } => {
            Sink::File(FileSink::rotated(path.clone(), *file_bytes_max, *files_max))
        }
        Place::Http(place) => Sink::Http(Box::new(HttpSink::new(&plan.name, plan.format, place, identity)?)),
        Place::Syslog(place) => Sink::Syslog(Box::new(SyslogSink::new(place, identity)?)),
    })
}

/// Sends the agent's metrics to an OpenTelemetry receiver. Only the newest values count, so nothing is kept or repeated.
struct Pusher {
    client: Client,
    period: Duration,
    limit: Duration,
    gather: Arc<Gather>,
    identity: Identity,
    series: Series,
}

impl Pusher {
    fn new(plan: &Plan, identity: &Identity, metrics: &Metrics) -> Result<Option<Self>, ConfigError> {
        let Place::Http(place @ HttpPlace { metrics_interval: Some(period), .. }) = &plan.place else {
            return Ok(None);
        };
        Ok(Some(Self {
            client: Client::new(place, METRICS_PATH, identity)?,
            period: *period,
            limit: plan.limits.timeout,
            gather: metrics.gatherer(),
            identity: identity.clone(),
            series: metrics.export(&plan.name),
        }))
    }

    async fn run(mut self) {
        let start = clock::wall();
        let mut ticks = interval(self.period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let span = Span { start, now: clock::wall() };
            let body = metrics_request(&self.gather.gather(), span, &self.identity).encode_to_vec();
            let post = Post { content_type: "application/x-protobuf", headers: Default::default(), body };
            let result = timeout(self.limit, self.client.post(post)).await;
            if let Err(failure) = result.unwrap_or(Err(Failure::Timeout(self.limit))) {
                self.series.failed("metrics");
                tracing::debug!("metrics were not delivered: {}", chain(&failure));
            }
        }
    }
}
