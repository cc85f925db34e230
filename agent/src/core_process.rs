//! The unprivileged core: drains the ring, decodes, joins, records, and answers.
//!
//! One thread, one runtime. The order in which the kernel reserved its records is kept all the way to the file.

mod access_ends;
mod answers;
mod attestation;
mod catalogue_changes;
pub(crate) mod catalogue_fetch;
mod catalogues;
mod desk;
mod exports;
mod grant_ends;
mod hold_look;
mod holds;
mod identities;
mod indexing;
mod leisure;
mod mediation;
mod minting;
mod own_hops;
mod pipeline;
mod questions;
mod redaction;
mod rings;
mod streams;
#[cfg(test)]
mod streams_tests;
mod trees;

use std::cell::RefCell;
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use capture::counters::{CounterDescriptors, Counters};
use capture::decode::Decoder;
use capture::ring::Ring;
use identity::process_rules::ProcessRules;
use identity::proof::Proofs;
use recorder::Level;
use redact::ArgvPolicy;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::{TcpListener, UnixListener};
use tracing::{info, warn};

use crate::core_process::answers::Answers;
use crate::core_process::attestation::{Attestation, Described};
use crate::core_process::catalogues::Catalogues;
use crate::core_process::desk::Desk;
use crate::core_process::exports::Exports;
use crate::core_process::holds::Holds;
use crate::core_process::identities::Identities;
use crate::core_process::mediation::Intakes;
use crate::core_process::minting::Minting;
use crate::core_process::own_hops::OwnHops;
use crate::core_process::pipeline::Pipeline;
use crate::core_process::rings::Rings;
use crate::core_process::trees::Trees;
use crate::link::{ArgvMode, CoreTexts, Hello, Link, ToCore, ToKernel, VERSION};
use crate::{clock, control, exec_socket, privileges, run};

/// Pause between drains while records arrive. The kernel wakes the core earlier when an eighth of the ring is full.
const PAUSE_BUSY: Duration = Duration::from_millis(20);
/// Pause while they crowd: what is done at once keeps a processor from the database, so it is done in small pieces.
const PAUSE_CROWDED: Duration = Duration::from_millis(5);
/// Records of one drain from which on they do.
const CROWD: usize = 64;
/// Pause while a worker waits for the journal: the thread that syncs does not wake the core.
const PAUSE_AWAITED: Duration = Duration::from_millis(1);
/// Pause after a while without records.
const PAUSE_IDLE: Duration = Duration::from_millis(100);
/// Drains without a record before the pause gets longer.
const IDLE_AFTER: u32 = 50;
/// Records taken before other tasks get their turn.
const RECORDS_PER_TURN: usize = 8192;
/// How long the rings are emptied when the agent stops; what comes later happens while it is not there.
const LAST_TURNS_NANOS: u64 = 2_000_000_000;
/// How often counters, clocks and the heartbeat file are looked after.
const TICK: Duration = Duration::from_millis(200);
/// How long the roles of sessions that have just ended may take to go when the agent stops. The kernel process waits longer.
const SETTLE: Duration = Duration::from_secs(5);

/// Runs the core on its inherited socket.
pub fn run() -> Result<()> {
    privileges::renounce(c"warder-core")?;
    run::start_log();
    let link = Link::inherited()?;
    let packet = link.receive::<ToCore>()?.context("the kernel process ended before it said anything")?;
    let ToCore::Hello(hello) = packet.message else { anyhow::bail!("the kernel process began with another message") };
    ensure!(hello.version == VERSION, "kernel process and core are of different versions: restart the agent");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    runtime.block_on(tokio::task::LocalSet::new().run_until(serve(*hello, packet.descriptors, link)))
}

/// The inherited descriptors by name.
struct Descriptors {
    ring: OwnedFd,
    counters: CounterDescriptors,
    control: OwnedFd,
    exec: OwnedFd,
    texts: OwnedFd,
}

impl Descriptors {
    fn sort(descriptors: Vec<OwnedFd>) -> Result<Self> {
        let [ring, losses, counters, probes, sessions, control, exec, texts] =
            <[OwnedFd; 8]>::try_from(descriptors).ok().context("the kernel process passed too few descriptors")?;
        Ok(Self { ring, counters: CounterDescriptors { losses, counters, probes, sessions }, control, exec, texts })
    }
}

async fn serve(hello: Hello, descriptors: Vec<OwnedFd>, link: Link) -> Result<()> {
    let descriptors = Descriptors::sort(descriptors)?;
    let argv = match hello.argv {
        ArgvMode::None => ArgvPolicy::None,
        ArgvMode::Redacted => ArgvPolicy::Redacted,
        ArgvMode::Full => ArgvPolicy::Full,
    };
    let ring = Ring::new(descriptors.ring, Decoder::new(argv)).context("the ring buffer cannot be mapped")?;
    let counters = Counters::new(descriptors.counters).context("the kernel's counters cannot be read")?;
    let pipeline = Rc::new(RefCell::new(Pipeline::start(&hello, counters, argv)?));
    let exports = Exports::start(&hello, &hello.journal.directory, &pipeline.borrow().metrics);
    let link = Rc::new(readable(link).context("the link cannot be polled")?);
    let intakes = Rc::new(Workers::default());
    let CoreTexts { identity, minting, accounts } =
        serde_json::from_reader(File::from(descriptors.texts)).context("the configuration came incomplete")?;
    let attestation = Rc::new(Attestation::new(ProcessRules::new(&identity.processes)?, Rc::clone(&link))?);
    let proofs = Rc::new(Proofs::new(&identity.issuers, &identity.certificates)?);
    let trees = Rc::new(Trees::new(Rc::clone(&proofs), Rc::clone(&pipeline), Rc::clone(&link)));
    let (grants_ended, ended) = tokio::sync::mpsc::channel(grant_ends::WAITING_MAX);
    let desk = Rc::new(Desk::open(&hello, Rc::clone(&pipeline), Rc::clone(&proofs), grants_ended)?);
    let own = Rc::new(OwnHops::new(Rc::clone(&pipeline), Rc::clone(&link)));
    let catalogues = Catalogues::new(&hello.catalogues, Rc::clone(&pipeline), Rc::clone(&own));
    let minting = Minting::start(&hello, (minting, accounts), &own, Rc::clone(&pipeline), Rc::clone(&intakes.rings))
        .context("there are no random numbers")?;
    tokio::task::spawn_local(grant_ends::follow(ended, Rc::clone(&desk), Rc::clone(&minting)));
    let answers =
        Rc::new(Answers::new(Rc::clone(&pipeline), Rc::clone(&link), Rc::clone(&desk), Rc::clone(&minting), &hello));
    let holds = Holds::start(Rc::clone(&pipeline), Rc::clone(&catalogues), Rc::clone(&desk), Rc::clone(&intakes.rings));
    let identities = Identities {
        pipeline: Rc::clone(&pipeline),
        rings: Rc::clone(&intakes.rings),
        attestation: Rc::clone(&attestation),
        trees: Rc::clone(&trees),
        proofs,
        catalogues: Rc::clone(&catalogues),
        desk: Rc::clone(&desk),
        holds,
        minting: Rc::clone(&minting),
    };
    let core = Core {
        pipeline: Rc::clone(&pipeline),
        answers: Rc::clone(&answers),
        workers: intakes,
        identities: Rc::new(identities),
        attestation,
        trees: Rc::clone(&trees),
        desk,
        own,
        catalogues,
        minting,
    };

    let listener = listener(descriptors.control).context("the control socket cannot be served")?;
    tokio::task::spawn_local(serve_people(hello, listener, Rc::clone(&pipeline), Rc::clone(&answers)));
    let listener = self::listener(descriptors.exec).context("the socket of `warder exec` cannot be served")?;
    tokio::task::spawn_local(exec_socket::server::serve(listener, Rc::clone(&trees)));
    let mut ring = readable(ring).context("the ring cannot be polled")?;
    let end = tokio::select! {
        end = follow(&link, &core) => end,
        never = drain(&mut ring, &core) => never,
        () = tick(&core) => Ok(End::Gone),
    };
    // What happened before is in the rings: the loop above may have been in a pause. More may come all the time.
    let asked = clock::boot();
    while turn(ring.get_mut(), &core) == RECORDS_PER_TURN && clock::boot().nanos_since(asked) < LAST_TURNS_NANOS {}
    let mut pipeline = pipeline.borrow_mut();
    if let Ok(End::Asked) = end {
        pipeline.stop();
    }
    pipeline.flush();
    exports.stop();
    end.map(drop)
}

/// Why the core ends.
enum End {
    /// The agent stops.
    Asked,
    /// The kernel process is not there any more.
    Gone,
}

fn listener(descriptor: OwnedFd) -> std::io::Result<UnixListener> {
    UnixListener::from_std(std::os::unix::net::UnixListener::from(descriptor))
}

/// Answers people once the first scan has ended and the proxy stands: whoever gets an answer can rely on both.
async fn serve_people(hello: Hello, listener: UnixListener, pipeline: Rc<RefCell<Pipeline>>, answers: Rc<Answers>) {
    answers.observing().await;
    if let Some(address) = hello.metrics_listen {
        serve_metrics(address, pipeline).await;
    }
    let viewers = nix::unistd::Gid::from_raw(hello.viewers);
    control::server::serve(listener, viewers, answers).await;
}

/// Registers something that owns its descriptor with the runtime.
#[expect(unsafe_code, reason = "the runtime cannot know that a descriptor stays open")]
fn readable<T: AsRawFd>(owner: T) -> std::io::Result<AsyncFd<T>> {
    // SAFETY: both callers' types hold their `OwnedFd` for their whole life and always return the same descriptor.
    unsafe { AsyncFd::register_with_interest(owner, Interest::READABLE) }.map_err(std::io::Error::from)
}

/// A port that is taken is no reason to stop observing.
async fn serve_metrics(address: std::net::SocketAddr, pipeline: Rc<RefCell<Pipeline>>) {
    match TcpListener::bind(address).await {
        Ok(listener) => {
            info!(%address, "metrics");
            let render = move || pipeline.borrow_mut().render_metrics();
            tokio::task::spawn_local(export::http::serve(listener, render));
        }
        Err(error) => warn!("no metrics: {address} cannot be used ({error}); set [metrics] listen"),
    }
}

/// The proxy's workers, as the core knows them.
#[derive(Default)]
struct Workers {
    intakes: RefCell<Intakes>,
    rings: Rc<Rings>,
}

impl Workers {
    /// A worker's ring came over the link.
    fn add(self: &Rc<Self>, descriptors: Vec<OwnedFd>) -> Result<()> {
        let wake = descriptors.get(1).context("a worker's ring has no descriptor to wake the core")?;
        let wake = readable(wake.try_clone().context("no descriptor is left")?).context("a ring cannot be polled")?;
        self.intakes.borrow_mut().add(descriptors)?;
        let workers = Rc::clone(self);
        tokio::task::spawn_local(async move {
            while let Ok(mut guard) = wake.readable().await {
                guard.clear_ready();
                workers.rings.wake();
            }
        });
        Ok(())
    }
}

/// Everything that answers somebody.
struct Core {
    pipeline: Rc<RefCell<Pipeline>>,
    answers: Rc<Answers>,
    workers: Rc<Workers>,
    identities: Rc<Identities>,
    attestation: Rc<Attestation>,
    trees: Rc<Trees>,
    desk: Rc<Desk>,
    own: Rc<OwnHops>,
    catalogues: Rc<Catalogues>,
    minting: Rc<Minting>,
}

/// Takes records out of the rings once; how many came, [`RECORDS_PER_TURN`] where there may be more.
fn turn(ring: &mut Ring, core: &Core) -> usize {
    let mut pipeline = core.pipeline.borrow_mut();
    let drained = ring.drain(RECORDS_PER_TURN, &mut |item| pipeline.take(item));
    pipeline.drained(drained.bytes);
    let mut intakes = core.workers.intakes.borrow_mut();
    let mediated = intakes.drain(&mut pipeline);
    if intakes.awaited() == Some(Level::Durable) {
        pipeline.hurry();
    }
    pipeline.flush();
    intakes.answer(pipeline.progress());
    if mediated.more { RECORDS_PER_TURN } else { drained.records.max(mediated.taken) }
}

/// Takes records out of the rings, for ever.
async fn drain(ring: &mut AsyncFd<Ring>, core: &Core) -> Result<End> {
    let Core { pipeline, answers, workers, catalogues, minting, .. } = core;
    let mut empty_rounds = 0;
    loop {
        let count = turn(ring.get_mut(), core);
        let is_awaited = workers.intakes.borrow().awaited().is_some() && !pipeline.borrow().is_write_failing();
        answers.pass_on_wishes();
        catalogues.pass_on_changes();
        minting.look();
        if count == RECORDS_PER_TURN {
            tokio::task::yield_now().await;
            continue;
        }
        workers.rings.are_empty();
        empty_rounds = if count == 0 { empty_rounds + 1 } else { 0 };
        let pause = match is_awaited {
            true => PAUSE_AWAITED,
            false if empty_rounds > IDLE_AFTER => PAUSE_IDLE,
            false if count > CROWD => PAUSE_CROWDED,
            false => PAUSE_BUSY,
        };
        tokio::select! {
            ready = ring.readable() => if let Ok(mut guard) = ready { guard.clear_ready() },
            () = workers.rings.wanted() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

async fn tick(core: &Core) {
    let mut interval = tokio::time::interval(TICK);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        core.pipeline.borrow_mut().tick();
        core.desk.turn();
        core.answers.pass_on_wishes();
        core.minting.tick();
        core.minting.end_outlived(|database| core.desk.enforces(database));
    }
}

/// Follows the kernel process until it says stop, or is gone.
async fn follow(link: &AsyncFd<Link>, core: &Core) -> Result<End> {
    let Core { pipeline, answers, workers, identities, attestation, trees, own, minting, .. } = core;
    loop {
        let mut guard = link.readable().await.context("the link cannot be polled")?;
        // One packet is there; a blocking read returns at once.
        let packet = link.get_ref().receive::<ToCore>()?;
        if !answers.more_waits(link.get_ref()) {
            guard.clear_ready();
        }
        let Some(packet) = packet else {
            warn!("the kernel process is gone: the core ends");
            return Ok(End::Gone);
        };
        match packet.message {
            ToCore::Stop => {
                minting.settle(SETTLE).await;
                return Ok(End::Asked);
            }
            ToCore::Scanned { requested, micros, error } => answers.scanned(requested, micros, error),
            ToCore::Settled => answers.settled(),
            ToCore::WorkerRing => workers.add(packet.descriptors)?,
            ToCore::WorkerLine => {
                identities
                    .serve(packet.descriptors.into_iter().next().context("a line came without its descriptor")?)?;
            }
            ToCore::Described { request, cgroup } => {
                attestation.described(request, Described { cgroup, executable: packet.descriptors.into_iter().next() });
            }
            ToCore::OwnHop { request, outcome } => {
                own.connected(request, outcome, packet.record, packet.descriptors);
            }
            ToCore::Enclosed { request, outcome } => trees.enclosed(request, outcome),
            ToCore::Emptied(groups) => trees.emptied(groups),
            ToCore::Policies(place) => answers.policies(place, packet.descriptors)?,
            ToCore::Steered { request, outcome } => answers.steered(request, outcome),
            message => {
                let named = matches!(message, ToCore::Database { .. });
                pipeline.borrow_mut().hear(message, &packet.record);
                if named {
                    link.get_ref().send(&ToKernel::Named, &[], &[])?;
                }
            }
        }
    }
}
