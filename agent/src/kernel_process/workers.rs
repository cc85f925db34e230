//! The proxy's worker processes: started, told what to do, and started again when they end.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::Child;

use anyhow::{Context as _, Result};
use model::time::BootTime;
use recorder::{Bulletin, Channel};
use tracing::{info, warn};

use super::hops::Steward;
use crate::clock;
use crate::config::Config;
use crate::link::{Link, ProxyEvent};
use crate::privileges::{self, Identity};
use crate::worker_link::{FromWorker, GuardedDatabase, ToWorker, VERSION, WorkerHello};

/// Ring between a worker and the core.
const RING_BYTES: usize = 4 << 20;
/// Pause before a worker is started again; doubled for each start that did not last.
const PAUSE_MIN_NANOS: u64 = 50_000_000;
/// The longest such pause.
const PAUSE_MAX_NANOS: u64 = 10_000_000_000;
/// A worker that lived for so long did start.
const LIFE_MIN_NANOS: u64 = 5_000_000_000;

/// All workers.
pub(super) struct Workers {
    identity: Identity,
    hello: WorkerHello,
    slots: Vec<Worker>,
}

/// One worker's place. Its ring and its log outlive the process.
struct Worker {
    channel: Channel,
    /// What its sessions change in catalogues.
    bulletin: Bulletin,
    process: Option<Process>,
    /// When it may be started again.
    due: BootTime,
    pause: u64,
}

struct Process {
    child: Child,
    link: Link,
    /// The core's end of its line to the core.
    line: OwnedFd,
    started: BootTime,
    ready: bool,
}

/// What became of the workers since the last look.
#[derive(Debug, Default)]
pub(super) struct News {
    /// These are ready and have no listener yet.
    pub(super) ready: Vec<u32>,
    /// These have ended; their listeners are gone with them.
    pub(super) ended: Vec<u32>,
    /// For the record.
    pub(super) events: Vec<ProxyEvent>,
}

impl Workers {
    /// Makes their rings; starts none yet.
    pub(super) fn new(config: &Config, databases: Vec<GuardedDatabase>) -> Result<Self> {
        let identity = privileges::worker_account(&config.proxy.user)?;
        let mut proxy = config.proxy.clone();
        proxy.sessions_max = proxy.sessions_max.div_ceil(proxy.workers);
        proxy.sessions_per_address_max = proxy.sessions_per_address_max.div_ceil(proxy.workers);
        let message_bytes_max = config.capture.statement_bytes_max;
        let hello = WorkerHello { version: VERSION, number: 0, proxy, message_bytes_max, databases };
        let place = |_| {
            let channel = Channel::create(RING_BYTES).context("there is no memory for the ring of a proxy worker")?;
            let bulletin = Bulletin::create().context("there is no memory for the bulletin of a proxy worker")?;
            Ok(Worker { channel, bulletin, process: None, due: BootTime(0), pause: PAUSE_MIN_NANOS })
        };
        let slots = (0..config.proxy.workers).map(place).collect::<Result<_>>()?;
        Ok(Self { identity, hello, slots })
    }

    /// Who they run as.
    pub(super) const fn account(&self) -> Identity {
        self.identity
    }

    /// The rings, for a core that starts.
    pub(super) fn rings(&self) -> impl Iterator<Item = [BorrowedFd<'_>; 3]> {
        self.slots.iter().map(|worker| worker.channel.descriptors())
    }

    /// Links to wait for.
    pub(super) fn links(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.slots.iter().filter_map(|worker| worker.process.as_ref()).map(|process| process.link.as_fd())
    }

    /// The core's ends of the workers' lines to the core, for a core that starts.
    pub(super) fn lines(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.slots.iter().filter_map(|worker| worker.process.as_ref()).map(|process| process.line.as_fd())
    }

    /// The same, of one worker.
    pub(super) fn line(&self, number: u32) -> Option<BorrowedFd<'_>> {
        Some(self.slots.get(number as usize)?.process.as_ref()?.line.as_fd())
    }

    /// How many there are, ready or not.
    pub(super) fn count(&self) -> u32 {
        place(self.slots.len())
    }

    /// Numbers of the workers that take listeners.
    pub(super) fn ready(&self) -> Vec<u32> {
        let ready = |(number, worker): (u32, &Worker)| worker.process.as_ref()?.ready.then_some(number);
        (0..).zip(&self.slots).filter_map(ready).collect()
    }

    /// Whether all of them are.
    pub(super) fn are_ready(&self) -> bool {
        self.ready().len() == self.slots.len()
    }

    /// Starts those that are due, and hears what the others say.
    pub(super) fn turn(&mut self, steward: &Steward) -> News {
        let mut news = News::default();
        let now = clock::boot();
        for number in 0..self.slots.len() {
            self.hear(number, now, &mut news);
            if self.slots[number].process.is_none() && self.slots[number].due <= now {
                self.start(number, now, steward);
            }
        }
        news
    }

    /// When the next worker is due.
    pub(super) fn next_due(&self) -> Option<BootTime> {
        self.slots.iter().filter(|worker| worker.process.is_none()).map(|worker| worker.due).min()
    }

    fn start(&mut self, number: usize, now: BootTime, steward: &Steward) {
        let started = self.spawn(number, steward);
        let worker = &mut self.slots[number];
        match started {
            Ok((child, link, line)) => {
                worker.process = Some(Process { child, link, line, started: now, ready: false });
            }
            Err(error) => {
                warn!(worker = number, "a proxy worker could not be started: {error:#}");
                worker.postpone(now);
            }
        }
    }

    fn spawn(&mut self, number: usize, steward: &Steward) -> Result<(Child, Link, OwnedFd)> {
        let (link, theirs) = Link::pair()?;
        let child = privileges::start_worker(self.identity, theirs)?;
        self.hello.number = u32::try_from(number).unwrap_or(u32::MAX);
        let hops = steward.admit()?;
        // A pair for each process: an answer to one that has ended must not reach the next.
        let (core, line) = Link::pair()?;
        let mut descriptors = self.slots[number].channel.descriptors().to_vec();
        descriptors.extend([hops.as_fd(), core.as_fd(), self.slots[number].bulletin.writer()]);
        let readers = self.slots.iter().map(|worker| worker.bulletin.reader()).collect::<std::io::Result<Vec<_>>>();
        let readers = readers.context("a bulletin cannot be passed on")?;
        descriptors.extend(readers.iter().map(AsFd::as_fd));
        let hello = ToWorker::Hello(Box::new(self.hello.clone()));
        link.send(&hello, &[], &descriptors)?;
        Ok((child, link, line))
    }

    fn hear(&mut self, number: usize, now: BootTime, news: &mut News) {
        let worker = &mut self.slots[number];
        let Some(process) = &mut worker.process else { return };
        while process.link.is_readable() {
            match process.link.receive::<FromWorker>() {
                Ok(Some(packet)) => match packet.message {
                    FromWorker::Ready => {
                        process.ready = true;
                        info!(worker = number, pid = process.child.id(), "a proxy worker is ready");
                        news.ready.push(place(number));
                    }
                    FromWorker::Warning(text) => warn!(worker = number, "{text}"),
                },
                Ok(None) | Err(_) => return worker.ended(number, now, news),
            }
        }
    }

    /// Says something to one worker; one that has ended is noticed by the next [`Workers::turn`].
    pub(super) fn tell(&self, number: u32, message: &ToWorker, record: &[u8], descriptors: &[BorrowedFd<'_>]) {
        let process = self.slots.get(number as usize).and_then(|worker| worker.process.as_ref());
        if let Some(process) = process
            && let Err(error) = process.link.send(message, record, descriptors)
        {
            warn!(worker = number, "a proxy worker does not listen: {error:#}");
        }
    }

    /// Kills a worker that hangs: its clients wait in the queue of a listener that nobody serves.
    pub(super) fn kill(&mut self, number: u32) {
        let process = self.slots.get_mut(number as usize).and_then(|worker| worker.process.as_mut());
        if let Some(process) = process {
            warn!(worker = number, "a proxy worker hangs and is killed");
            // One that ended at this moment is as good.
            let _gone = process.child.kill();
        }
    }

    /// How long a worker has been ready or starting.
    pub(super) fn age(&self, number: u32, now: BootTime) -> Option<u64> {
        let process = self.slots.get(number as usize)?.process.as_ref()?;
        Some(now.nanos_since(process.started))
    }

    /// Asks all to end and waits until they have, at most as long as sessions may go on.
    pub(super) fn drain(&mut self) {
        for number in 0..self.slots.len() {
            self.tell(place(number), &ToWorker::Drain, &[], &[]);
        }
        let patience = u64::try_from(self.hello.proxy.drain.as_nanos()).unwrap_or(u64::MAX);
        let deadline = clock::boot().0.saturating_add(patience).saturating_add(LIFE_MIN_NANOS);
        for worker in &mut self.slots {
            let Some(mut process) = worker.process.take() else { continue };
            while clock::boot().0 < deadline && matches!(process.child.try_wait(), Ok(None)) {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            let _gone = process.child.kill();
            let _status = process.child.wait();
        }
    }
}

impl Worker {
    fn ended(&mut self, number: usize, now: BootTime, news: &mut News) {
        let Some(mut process) = self.process.take() else { return };
        let _gone = process.child.kill();
        let how = process.child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
        warn!(worker = number, %how, "a proxy worker has ended and is started again");
        if now.nanos_since(process.started) > LIFE_MIN_NANOS {
            self.pause = PAUSE_MIN_NANOS;
        }
        self.postpone(now);
        news.ended.push(place(number));
        news.events.push(ProxyEvent::WorkerEnded { worker: place(number), how });
    }

    fn postpone(&mut self, now: BootTime) {
        self.due = BootTime(now.0.saturating_add(self.pause));
        self.pause = (self.pause * 2).min(PAUSE_MAX_NANOS);
    }
}

fn place(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// A listener that only its worker holds: the descriptor is closed here as soon as it is passed.
pub(super) fn hand_over(workers: &Workers, number: u32, message: &ToWorker, listener: OwnedFd) {
    workers.tell(number, message, &[], &[listener.as_fd()]);
}
