//! What the proxy's workers say: their rings are drained like the kernel's, by the same decoder.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use export::proxy::{SteeringFigures, WorkerFigures};
use model::id::DatabaseId;
use model::mediation::{MediationEvent, Refusal};
use model::record::{Record, What};
use model::session::Origin;
use model::time::BootTime;
use proxy::{Snapshot, TlsFailure};
use recorder::{Channel, Intake, Item, Level};
use sessions::guard::{DirectRule, Guard, Network, Steered};
use tracing::warn;

use super::pipeline::{Pipeline, Progress};
use crate::clock;
use crate::link::{Guarding, ProxyEvent, SteeringState};

/// Records taken from one worker before the others get their turn.
const RECORDS_PER_TURN: usize = 4096;
/// Positions that wait for the journal; beyond it the oldest is forgotten, and a later one answers for it.
const MARKS_MAX: usize = 1024;

/// What one look at all rings has brought.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Drained {
    /// Records.
    pub(super) taken: usize,
    /// There may be more in one of them.
    pub(super) more: bool,
}

/// The rings of all workers.
#[derive(Default)]
pub(super) struct Intakes {
    rings: Vec<Worker>,
    /// [`Progress::missed`] at the last answer.
    missed: u64,
}

struct Worker {
    intake: Intake,
    /// The last position that is among the marks.
    taken: u64,
    unwritten: VecDeque<Mark>,
    unsynced: VecDeque<Mark>,
}

impl Intakes {
    /// A worker's ring. The ring outlives both the worker and this process.
    pub(super) fn add(&mut self, descriptors: Vec<OwnedFd>) -> Result<()> {
        let descriptors =
            <[OwnedFd; 3]>::try_from(descriptors).ok().context("a worker's ring has three descriptors")?;
        let intake =
            Intake::open(Channel::from_descriptors(descriptors)).context("a worker's ring cannot be mapped")?;
        let taken = intake.position();
        self.rings.push(Worker { intake, taken, unwritten: VecDeque::new(), unsynced: VecDeque::new() });
        Ok(())
    }

    /// Takes what the workers have said.
    pub(super) fn drain(&mut self, pipeline: &mut Pipeline) -> Drained {
        let mut drained = Drained::default();
        for (number, worker) in self.rings.iter_mut().enumerate() {
            let taken = worker.intake.drain(RECORDS_PER_TURN, &mut |item| pipeline.take_mediated(number, item));
            drained.taken += taken;
            drained.more |= taken == RECORDS_PER_TURN;
        }
        if !drained.more {
            pipeline.end_orphans(clock::boot());
        }
        drained
    }

    /// After the journal was flushed: tells the workers how far they are recorded.
    ///
    /// A position counts as written when every record that was made of what is before it was handed to the kernel, and
    /// as synced when fdatasync(2) has returned after that.
    pub(super) fn answer(&mut self, progress: Progress) {
        if std::mem::replace(&mut self.missed, progress.missed) != progress.missed {
            // Which of them it concerns is not known: none gets a proof.
            self.rings.iter().for_each(|worker| worker.intake.missed());
        }
        for worker in &mut self.rings {
            worker.answer(progress);
        }
    }

    /// What workers hold something back for, if one does.
    pub(super) fn awaited(&self) -> Option<Level> {
        self.rings.iter().filter_map(|worker| worker.intake.awaited()).max()
    }
}

impl Worker {
    fn answer(&mut self, progress: Progress) {
        let position = self.intake.position();
        if let Some(appended) = progress.appended
            && self.taken != position
        {
            self.taken = position;
            remember(&mut self.unwritten, (position, appended));
        }
        if let Some(reached) = reached(&mut self.unwritten, progress.written) {
            self.intake.written(reached.0);
            remember(&mut self.unsynced, reached);
        }
        if let Some((position, _)) = reached(&mut self.unsynced, progress.durable) {
            self.intake.synced(position);
        }
    }
}

/// A position in a ring, and the number of the journal's record that must be reached before it is.
type Mark = (u64, u64);

fn remember(marks: &mut VecDeque<Mark>, mark: Mark) {
    if marks.len() == MARKS_MAX {
        marks.pop_front();
    }
    marks.push_back(mark);
}

/// Takes the marks that are reached; returns the last.
fn reached(marks: &mut VecDeque<Mark>, record: u64) -> Option<Mark> {
    let mut last = None;
    while let Some(mark) = marks.pop_front_if(|(_, needed)| *needed <= record) {
        last = Some(mark);
    }
    last
}

impl Pipeline {
    /// Ends what workers that died have left: everything that they had said is taken.
    fn end_orphans(&mut self, now: BootTime) {
        while let Some((connection, at)) = self.streams.next_orphan(now) {
            self.feed_mediated(connection, at, |streams, sink| streams.close(connection, at, None, sink));
        }
    }

    /// Takes one record of a worker.
    fn take_mediated(&mut self, worker: usize, item: Item<'_>) {
        match item {
            Item::Stream { connection, side, at, input } => {
                self.feed_mediated(connection, at, |streams, sink| {
                    streams.feed_input(connection, side, at, input, sink);
                });
            }
            Item::Note(event) => {
                match &event {
                    MediationEvent::Accepted { connection, database, .. } => {
                        self.streams.accepted(*connection, *database, Origin::Opened);
                    }
                    MediationEvent::Ended { connection, at, .. } => {
                        let (connection, at) = (*connection, *at);
                        self.feed_mediated(connection, at, |streams, sink| streams.close(connection, at, None, sink));
                    }
                    _ => {}
                }
                self.mediation(event);
            }
            Item::Judged { connection, judgement } => self.streams.judged(connection, judgement),
            Item::Repeated(event) => {
                if let MediationEvent::Accepted { connection, database, .. } = &event {
                    self.streams.accepted(*connection, *database, Origin::FoundAtStart);
                }
                self.mediation(event);
            }
            Item::Report(figures) => self.worker_figures(worker, figures),
            Item::Lost { count } => {
                self.streams.lose_judgements();
                warn!(count, "records of a proxy worker found no room: the core does not keep up");
                self.lose(clock::boot(), "mediation", "worker", count);
            }
        }
    }
}

impl Pipeline {
    /// A database's connections are meant to go through the proxy, or not any more.
    pub(super) fn guard(&mut self, database: DatabaseId, guard: Option<Guarding>) {
        let guard = guard.map(|guard| Guard {
            since: BootTime(guard.since),
            steered: guard
                .steered
                .into_iter()
                .map(|(network_namespace, port)| Steered { network_namespace, port })
                .collect(),
            socket_since: BootTime(guard.socket_since),
            failed_open: guard.failed_open.into_iter().map(|(from, to)| (BootTime(from), to.map(BootTime))).collect(),
            direct: guard.direct.into_iter().map(direct_rule).collect(),
        });
        self.sessions.set_guarded(database, guard);
    }

    /// How steering is: for the metrics.
    pub(super) fn steering(&mut self, states: &[SteeringState]) {
        for state in states {
            self.metrics.steering(&SteeringFigures {
                database: &state.database,
                attached: state.steered,
                live_workers: u64::from(state.workers_live),
                connections: [
                    ("steered", state.connections.steered),
                    ("hop", state.connections.hop),
                    ("direct", state.connections.direct),
                    ("passed_open", state.connections.passed_open),
                    ("dropped_closed", state.connections.dropped_closed),
                ],
            });
            for (worker, age) in &state.heartbeats {
                self.metrics.heartbeat(*worker, Duration::from_nanos(*age));
            }
        }
    }

    /// The figures of a worker.
    fn worker_figures(&mut self, worker: usize, figures: &[u8]) {
        let Some(snapshot) = Snapshot::decode(figures) else {
            return warn!(worker, "the figures of a proxy worker are not understood");
        };
        self.metrics.proxy_worker(worker, &figures_of(&snapshot));
    }

    /// Something happened to the proxy.
    pub(super) fn proxy_event(&mut self, event: ProxyEvent) {
        let (event, database, worker, detail) = match event {
            ProxyEvent::WorkerEnded { worker, how } => ("worker_ended", None, Some(worker), Some(how)),
            ProxyEvent::Steered { database, is_on: true } => ("steered", Some(database), None, None),
            ProxyEvent::Steered { database, is_on: false } => ("not_steered", Some(database), None, None),
            ProxyEvent::SocketTaken { database, is_taken: true } => ("socket_taken", Some(database), None, None),
            ProxyEvent::SocketTaken { database, is_taken: false } => ("socket_given_back", Some(database), None, None),
            ProxyEvent::SocketRetaken { database, uncovered_nanos } => {
                let detail = format!(
                    "noticed, and taken after {:.1} ms",
                    Duration::from_nanos(uncovered_nanos).as_secs_f64() * 1e3
                );
                ("socket_retaken", Some(database), None, Some(detail))
            }
            ProxyEvent::PoliciesLoaded { database, epoch, policies } => {
                let detail = format!("set {epoch} with {policies} policies");
                ("policies_loaded", Some(database), None, Some(detail))
            }
            ProxyEvent::PoliciesRefused { database, why } => ("policies_refused", Some(database), None, Some(why)),
            ProxyEvent::SteeringLost { database, why } => ("steering_lost", Some(database), None, Some(why)),
        };
        let database_name =
            database.and_then(|id| self.databases.get(usize::from(id))).map(|name| Arc::from(name.as_str()));
        self.record(Record { time: clock::wall(), what: What::Proxy { event, database_name, worker, detail } });
    }
}

/// A worker's figures under the names of the metrics.
fn figures_of(snapshot: &Snapshot) -> WorkerFigures<'_> {
    let words = ["steered", "plain", "unix_socket"];
    let tls = |failures: &'static str, counts: &[u64]| {
        let of_side =
            TlsFailure::ALL.iter().zip(counts.to_vec()).map(move |(kind, count)| (failures, kind.word(), count));
        of_side.collect::<Vec<_>>()
    };
    WorkerFigures {
        accepted: words.into_iter().zip(snapshot.accepted).collect(),
        sessions: words.into_iter().zip(snapshot.sessions).collect(),
        startups: snapshot.startups,
        refusals: Refusal::ALL.iter().map(|reason| reason.word()).zip(snapshot.refusals.iter().copied()).collect(),
        handshake_failures: [
            tls("client", &snapshot.client_tls_failures),
            tls("server", &snapshot.upstream_tls_failures),
        ]
        .concat(),
        cancels: snapshot.cancels,
        accept_failures: snapshot.accept_failures,
        unrecorded: snapshot.unrecorded,
        outcomes_unrecorded: snapshot.outcomes_unrecorded,
        not_the_protocol: snapshot.not_the_protocol,
        masked_cells: snapshot.masked_cells,
        latency_buckets: &snapshot.latency.buckets,
        latency_sum: Duration::from_nanos(snapshot.latency.sum_nanos),
    }
}

fn direct_rule((name, address, prefix): (String, IpAddr, u8)) -> DirectRule {
    DirectRule { name: name.into(), sources: vec![Network { address, prefix }], cgroups: Vec::new() }
}
