//! What the core answers on the control socket, and how it asks the kernel process for scans.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd as _, OwnedFd};
use std::rc::Rc;

use model::credential::AccessEnd;
use model::record::{Record, What};
use model::time::WallTime;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::io::unix::AsyncFd;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::desk::{Answer, Desk};
use super::minting::Minting;
use super::minting::access::{When, Whose};
use super::pipeline::{Pipeline, Tally};
use crate::clock;
use crate::control::grants::{GrantAsk, GrantVerb};
use crate::control::server::{Caller, Handler, STEER_TIMEOUT};
use crate::control::{AccessView, KeyView, LiveSession, ScanView, StatusView, SteerVerb, SteeringView};
use crate::link::{Hello, Link, PolicyPlace, SteeringState, ToKernel};

/// Operators that may wait for a scan at the same time.
const WAITING_MAX: usize = 64;

type ScanOutcome = Result<ScanView, String>;
type SteerOutcome = Result<Vec<SteeringView>, String>;

/// The control socket's view of the core.
pub(super) struct Answers {
    pipeline: Rc<RefCell<Pipeline>>,
    link: Rc<AsyncFd<Link>>,
    desk: Rc<Desk>,
    level: String,
    since: WallTime,
    waiting: RefCell<VecDeque<(oneshot::Sender<ScanOutcome>, Tally)>>,
    /// Operators who wait for an answer about steering, by number.
    steering: RefCell<HashMap<u64, oneshot::Sender<SteerOutcome>>>,
    next_request: Cell<u64>,
    settled: Notify,
    minting: Rc<Minting>,
}

impl Answers {
    pub(super) fn new(
        pipeline: Rc<RefCell<Pipeline>>,
        link: Rc<AsyncFd<Link>>,
        desk: Rc<Desk>,
        minting: Rc<Minting>,
        hello: &Hello,
    ) -> Self {
        Self {
            pipeline,
            link,
            desk,
            level: hello.level.clone(),
            since: clock::wall(),
            waiting: RefCell::default(),
            steering: RefCell::default(),
            next_request: Cell::default(),
            settled: Notify::new(),
            minting,
        }
    }

    /// Passes on what the pipeline wishes for.
    pub(super) fn pass_on_wishes(&self) {
        let fronts = self.pipeline.borrow_mut().take_ended_fronts();
        if !fronts.is_empty() {
            let fronts = fronts.into_iter().map(|cookie| cookie.0).collect();
            // As below.
            let _ = self.link.get_ref().send(&ToKernel::ForgetFronts(fronts), &[], &[]);
        }
        let due = self.pipeline.borrow_mut().due_scan();
        if let Some(everything) = due {
            // A kernel process that is gone is noticed by whoever reads the link.
            let _ = self.link.get_ref().send(&ToKernel::Scan { everything, requested: false }, &[], &[]);
        }
    }

    /// A scan has ended; the operator who waited longest gets its outcome.
    pub(super) fn scanned(&self, requested: bool, micros: u64, error: Option<String>) {
        self.pipeline.borrow_mut().scanned();
        if !requested {
            return;
        }
        let Some((waiting, before)) = self.waiting.borrow_mut().pop_front() else { return };
        let pipeline = self.pipeline.borrow();
        let outcome = match error {
            Some(error) => Err(error),
            None => Ok(ScanView {
                sessions: pipeline.sessions.live().count() as u64,
                missed_open: pipeline.tally.missed_open - before.missed_open,
                missed_close: pipeline.tally.missed_close - before.missed_close,
                duration_us: micros,
            }),
        };
        // An operator who went away is not waited for.
        let _ = waiting.send(outcome);
    }

    /// The kernel process has answered about steering.
    pub(super) fn steered(&self, request: u64, outcome: Result<Vec<SteeringState>, String>) {
        let Some(waiting) = self.steering.borrow_mut().remove(&request) else { return };
        // An operator who went away is not waited for.
        let _ = waiting.send(outcome.map(|states| states.into_iter().map(SteeringView::from).collect()));
    }

    /// The policies of a database: the desk decides by them.
    pub(super) fn policies(&self, place: PolicyPlace, texts: Vec<OwnedFd>) -> anyhow::Result<()> {
        self.desk.policies(place, texts)
    }

    /// Everything is in place.
    pub(super) fn settled(&self) {
        self.settled.notify_one();
    }

    /// Returns when the listeners, probes and sessions of the host have been looked at for the first time.
    pub(super) async fn observing(&self) {
        self.settled.notified().await;
    }

    /// Whether another packet is in the link already.
    pub(super) fn more_waits(&self, link: &Link) -> bool {
        let mut waiting = [PollFd::new(link.as_fd(), PollFlags::POLLIN)];
        poll(&mut waiting, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
    }
}

impl Handler for Answers {
    fn sessions(&self, visit: &mut dyn FnMut(LiveSession<'_>)) {
        let mut pipeline = self.pipeline.borrow_mut();
        pipeline.read_ledgers(clock::boot());
        for session in pipeline.sessions.live() {
            let running = pipeline.streams.in_progress(session.id.cookie);
            let shown = running
                .map(|running| (pipeline.redaction.running(session, running.text), Pipeline::wall(running.started)));
            let current = shown.as_ref().map(|(text, since)| (&**text, *since));
            visit(LiveSession { session, since: Pipeline::wall(session.opened), current });
        }
    }

    fn status(&self) -> StatusView {
        let pipeline = self.pipeline.borrow();
        let (events_written, events_dropped) = pipeline.written();
        StatusView {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            level: self.level.clone(),
            since: store::time::Timestamp(self.since),
            databases: pipeline.databases.clone(),
            sessions: pipeline.sessions.live().count() as u64,
            statements: pipeline.tally.statements,
            lost: pipeline.tally.lost,
            events_written,
            events_dropped,
            write_failing: pipeline.is_write_failing(),
        }
    }

    async fn scan(&self) -> ScanOutcome {
        let (sender, receiver) = oneshot::channel();
        {
            let before = self.pipeline.borrow().tally;
            let mut waiting = self.waiting.borrow_mut();
            if waiting.len() >= WAITING_MAX {
                return Err("too many scans are asked for; try again".to_owned());
            }
            waiting.push_back((sender, before));
        }
        self.link
            .get_ref()
            .send(&ToKernel::Scan { everything: true, requested: true }, &[], &[])
            .map_err(|error| format!("{error:#}"))?;
        receiver.await.unwrap_or_else(|_| Err("the scan was given up".to_owned()))
    }

    async fn steer(&self, what: SteerVerb, database: Option<String>) -> SteerOutcome {
        let (sender, receiver) = oneshot::channel();
        let request = self.next_request.get();
        self.next_request.set(request + 1);
        {
            let mut waiting = self.steering.borrow_mut();
            if waiting.len() >= WAITING_MAX {
                return Err("too many operators ask for steering; try again".to_owned());
            }
            waiting.insert(request, sender);
        }
        let ask = ToKernel::Steer { request, what, database };
        if let Err(error) = self.link.get_ref().send(&ask, &[], &[]) {
            self.steering.borrow_mut().remove(&request);
            return Err(format!("{error:#}"));
        }
        let answer = timeout(STEER_TIMEOUT, receiver).await;
        self.steering.borrow_mut().remove(&request);
        match answer {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_given_up)) => Err("the request was given up".to_owned()),
            Err(_elapsed) => Err("the kernel process does not answer; see the agent's log".to_owned()),
        }
    }

    fn accesses(&self) -> Vec<AccessView> {
        self.minting.list()
    }

    async fn end_access(&self, whose: &str, uid: u32) -> Vec<AccessView> {
        self.minting.catch_up().await;
        let meant = self.minting.meant(Whose::Named(whose));
        let mut ends = JoinSet::new();
        for access in &meant {
            let (minting, access) = (Rc::clone(&self.minting), Rc::clone(access));
            let by = Some(format!("by the operator with uid {uid}"));
            ends.spawn_local(async move { minting.end(&access, AccessEnd::Revoked, When::Now, by).await });
        }
        while ends.join_next().await.is_some() {}
        meant.iter().map(|access| access.view()).collect()
    }

    fn rotate_key(&self) -> Result<KeyView, String> {
        self.pipeline.borrow_mut().rotate_key()
    }

    async fn grants(&self, verb: GrantVerb, ask: GrantAsk, caller: Caller) -> Answer {
        self.desk.answer(verb, ask, caller).await
    }

    fn record_operator(&self, verb: &'static str, uid: u32) {
        let what = What::OperatorCommand { verb: verb.to_owned(), uid };
        self.pipeline.borrow_mut().record(Record { time: clock::wall(), what });
    }
}
