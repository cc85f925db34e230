//! `warder worker`: a process of the proxy. It reads what clients and servers send, and has no right to anything.
//!
//! The kernel process passes it listeners and opens its hops; what it sees goes into a ring that the core reads.

mod catalogues;
mod grants;
mod holds;
mod hops;
mod identities;

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use guard::{Judge, Neighbours, Rates};
use identity::secret::Secret;
use model::id::DatabaseId;
use model::mediation::Listener;
use policy::UtcOffset;
use proxy::{
    Certificates, ClientAuthorities, Credential, Demand, Discovery, Governor, ListenerSpec, Listening, LoginMode, Mint,
    OwnCertificate, ServiceAccount, Settings, TlsMode, UnreadAccess, UpstreamLogin, WhenUnrecorded, Worker,
};
use recorder::{ChangeReader, ChangeWriter, Channel, Counts, Level, Recorder};
use steering::heartbeat::Heartbeat;
use steering::listener::Family;
use steering::spec::Slot;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::{JoinHandle, LocalSet, spawn_local};
use tracing::{error, info, warn};
use zeroize::Zeroizing;

use self::catalogues::Catalogues;
use self::grants::Grants;
use self::hops::{Hops, Pulse};
use self::identities::Identities;
use crate::config::login::{self, Login};
use crate::config::proxy::{Mode, Record, Tls};
use crate::kernel_process::access;
use crate::link::Link;
use crate::worker_link::{
    AccessTexts, ClientAuthorityTexts, CredentialKind, FromWorker, GuardedDatabase, ListenerKind, PolicyTexts,
    ToWorker, VERSION, WorkerHello,
};
use crate::{clock, policy_files, privileges, run};

/// How long connections may wait in the queue of a listener that gets no more of them.
const QUEUE: Duration = Duration::from_secs(1);
/// How often the counters go to the core.
const REPORT_PERIOD: Duration = Duration::from_secs(1);
/// How often the logs of changes are read at least: more than they hold is not written in that time.
const LISTEN_PERIOD: Duration = Duration::from_millis(100);

/// Runs a worker on its inherited socket.
pub(crate) fn run() -> Result<()> {
    privileges::renounce(c"warder-worker")?;
    run::start_log();
    let link = Link::inherited()?;
    let packet = link.receive::<ToWorker>()?.context("the kernel process ended before it said anything")?;
    let ToWorker::Hello(hello) = packet.message else { bail!("the kernel process began with another message") };
    ensure!(hello.version == VERSION, "kernel process and worker are of different versions: restart the agent");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    runtime.block_on(LocalSet::new().run_until(serve(*hello, packet.descriptors, link)))
}

/// What the worker knows of a database.
struct Database {
    entry: GuardedDatabase,
    heartbeat: Option<Rc<Heartbeat>>,
    certificates: Option<Arc<Certificates>>,
    /// What decides about its sessions, once there are policies.
    judge: Option<Rc<Judge>>,
    /// Listeners of the newest steering.
    steered: Vec<JoinHandle<()>>,
    /// Those of steerings before it.
    older: Vec<JoinHandle<()>>,
}

/// The worker with everything that the kernel process has told it.
struct Process {
    hello: WorkerHello,
    worker: Worker<Hops>,
    pulse: Pulse,
    identities: Rc<Identities>,
    catalogues: Rc<Catalogues>,
    grants: Rc<Grants>,
    neighbours: Rc<Neighbours>,
    rates: Rc<Rates>,
    databases: HashMap<u16, Database>,
}

async fn serve(hello: WorkerHello, descriptors: Vec<OwnedFd>, link: Link) -> Result<()> {
    let mut descriptors = descriptors.into_iter();
    let mut next = || descriptors.next().context("the kernel process passed too few descriptors");
    let [memory, wake, answer, hops, core, bulletin] = [next()?, next()?, next()?, next()?, next()?, next()?];
    let (neighbours, rates) = beside(hello.number as usize, &bulletin, &descriptors.collect::<Vec<_>>())?;
    let channel = Channel::from_descriptors([memory, wake, answer]);
    let recorder = Recorder::open(channel).context("the ring to the core cannot be mapped")?;
    let hops = Hops::start(Link::passed(hops))?;
    let catalogues = Rc::new(Catalogues::default());
    let grants = Rc::new(Grants::default());
    let identities = Identities::start(Link::passed(core), Rc::clone(&catalogues), Rc::clone(&grants))?;
    let pulse = hops.pulse();
    let worker = Worker::new(settings(&hello), recorder, hops);
    let ender = worker.clone();
    identities.on_end(move |connection, when, why| ender.end(connection, when, why));
    for entry in &hello.databases {
        if matches!(entry.guard.login, Login::Minted(_)) {
            let mint: Rc<dyn Mint> = Rc::<Identities>::clone(&identities);
            worker.set_upstream_login(DatabaseId(entry.id), UpstreamLogin::Minted(mint));
        }
    }
    let databases = hello.databases.iter().map(|entry| {
        let database = Database::new(entry.clone());
        (entry.id, database)
    });
    let databases = databases.collect();
    let listening = Rc::clone(&neighbours);
    let mut process =
        Process { databases, worker: worker.clone(), pulse, identities, catalogues, grants, neighbours, rates, hello };
    let time = worker.clone();
    spawn_local(async move {
        if let Err(problem) = time.keep_time().await {
            error!("the worker cannot keep time: {problem}");
            std::process::exit(1);
        }
    });
    let reports = worker.clone();
    spawn_local(async move {
        let mut interval = tokio::time::interval(REPORT_PERIOD);
        loop {
            interval.tick().await;
            reports.report();
        }
    });
    spawn_local(async move {
        let mut interval = tokio::time::interval(LISTEN_PERIOD);
        loop {
            interval.tick().await;
            listening.listen();
        }
    });
    link.send(&FromWorker::Ready, &[], &[])?;
    process.follow(link).await
}

/// What all workers say of the changes that their sessions make, and of what their principals have used of their rates.
fn beside(number: usize, own: &OwnedFd, all: &[OwnedFd]) -> Result<(Rc<Neighbours>, Rc<Rates>)> {
    let writer = ChangeWriter::open(own).context("the worker's bulletin cannot be mapped")?;
    let logs = all.iter().map(ChangeReader::open).collect::<Result<Vec<_>, _>>();
    let others = all.iter().enumerate().filter(|(other, _)| *other != number).map(|(_, bulletin)| bulletin);
    let counts = Counts::open(own, others).context("another worker's bulletin cannot be mapped")?;
    let logs = logs.context("another worker's bulletin cannot be mapped")?;
    Ok((Rc::new(Neighbours::new(writer, logs, number, clock::boot)), Rc::new(Rates::new(counts))))
}

fn settings(hello: &WorkerHello) -> Settings {
    let proxy = &hello.proxy;
    Settings {
        sessions_max: proxy.sessions_max as usize,
        sessions_per_address_max: proxy.sessions_per_address_max as usize,
        startup: proxy.startup,
        idle: proxy.idle,
        message_bytes_max: hello.message_bytes_max,
        ..Settings::default()
    }
}

impl Process {
    /// Follows the kernel process until it says stop, or is gone.
    async fn follow(&mut self, link: Link) -> Result<()> {
        let link = readable(link).context("the link cannot be polled")?;
        loop {
            let mut guard = link.readable().await.context("the link cannot be polled")?;
            if !link.get_ref().is_readable() {
                guard.clear_ready();
                continue;
            }
            let Some(packet) = link.get_ref().receive::<ToWorker>()? else {
                warn!("the kernel process is gone: the worker ends");
                return Ok(());
            };
            if matches!(packet.message, ToWorker::Drain) {
                let drained = self.worker.drain(self.hello.proxy.drain).await;
                info!(sessions_left = drained.left, "the worker has stopped");
                return Ok(());
            }
            // A password or a key may be in it.
            let record = Zeroizing::new(packet.record);
            if let Err(error) = self.obey(packet.message, &record, packet.descriptors) {
                link.get_ref().send(&FromWorker::Warning(format!("{error:#}")), &[], &[])?;
            }
        }
    }

    fn obey(&mut self, message: ToWorker, record: &[u8], descriptors: Vec<OwnedFd>) -> Result<()> {
        let mut descriptors = descriptors.into_iter();
        let mut descriptor = || descriptors.next().context("a message came without its descriptor");
        match message {
            ToWorker::Heartbeats { database } => {
                let mapped = Heartbeat::map(std::os::fd::AsFd::as_fd(&descriptor()?));
                let heartbeat = mapped.context("the heartbeats cannot be mapped")?;
                self.database(database)?.steer_anew(heartbeat);
            }
            ToWorker::Replaced { database } => self.database(database)?.close_older(),
            ToWorker::Listen { database, kind, slot } => self.listen(database, kind, slot, descriptor()?)?,
            ToWorker::Certificate { database, chain_bytes } => {
                self.certificate(database, record, chain_bytes, descriptors.next())?;
            }
            ToWorker::Access { database } => self.access(database, descriptor()?)?,
            ToWorker::Policies { database } => self.policies(database, descriptor()?)?,
            ToWorker::ServiceAccount { database, credential } => self.service_account(database, credential, record)?,
            ToWorker::NoAccess { database } => self.worker.set_access(DatabaseId(database), None),
            ToWorker::Hello(_) | ToWorker::Drain => {}
        }
        Ok(())
    }

    fn database(&mut self, id: u16) -> Result<&mut Database> {
        self.databases.get_mut(&id).context("the kernel process speaks of a database that it has not named")
    }

    fn listen(
        &mut self,
        database: u16,
        kind: ListenerKind,
        slot: Option<crate::worker_link::Slot>,
        socket: OwnedFd,
    ) -> Result<()> {
        let pulse = self.pulse.clone();
        let worker = self.worker.clone();
        let database = self.database(database)?;
        let spec = database.spec(kind)?;
        let heartbeat = database.beat(slot, pulse);
        let listening = match kind {
            ListenerKind::UnixSocket => Listening::Unix(socket.into()),
            ListenerKind::Steered | ListenerKind::Plain => Listening::Tcp(socket.into()),
        };
        let task = spawn_local(async move {
            if let Err(problem) = worker.serve(spec, listening, heartbeat).await {
                error!("a listener cannot be served: {problem}");
            }
        });
        if kind == ListenerKind::Steered {
            database.steered.push(task);
        }
        Ok(())
    }

    /// The rules that decide whether a connection may go through a hop.
    fn access(&mut self, database: u16, texts: OwnedFd) -> Result<()> {
        let texts: AccessTexts = serde_json::from_reader(std::io::BufReader::new(std::fs::File::from(texts)))
            .context("the access rules came incomplete")?;
        let rules = access::parse_again(texts.major, &texts.files)?;
        let facts = access::facts(&texts.interfaces);
        let unread = if texts.is_surveyed { UnreadAccess::Surveyed } else { UnreadAccess::SameAddressOnly };
        self.worker.set_access(DatabaseId(database), Some(proxy::Access { rules, facts, unread }));
        Ok(())
    }

    /// From now on these policies decide, for live sessions too.
    fn policies(&mut self, id: u16, texts: OwnedFd) -> Result<()> {
        let texts: PolicyTexts = serde_json::from_reader(std::io::BufReader::new(std::fs::File::from(texts)))
            .context("the policies came incomplete")?;
        let policies = policy_files::compile(&texts)?;
        let protection = policy_files::protection(&texts)?;
        let (worker, identities) = (self.worker.clone(), Rc::clone(&self.identities));
        let (catalogues, board) = (Rc::clone(&self.catalogues), self.grants.board(id));
        let (neighbours, rates) = (Rc::clone(&self.neighbours), Rc::clone(&self.rates));
        let database = self.database(id)?;
        match &database.judge {
            Some(judge) => {
                judge.protect(protection);
                judge.replace(policies);
                worker.reconsider(DatabaseId(id));
            }
            None => {
                let judge = Rc::new(Judge::new(policies, board).among(neighbours, rates));
                judge.protect(protection);
                database.judge = Some(Rc::clone(&judge));
                catalogues.judge(id, Rc::clone(&judge));
                let guard = &database.entry.guard;
                let governor = Governor {
                    judge,
                    mode: policy_files::mode(guard.mode),
                    environment: guard.environment.as_str().into(),
                    utc_offset: UtcOffset::new(guard.utc_offset).unwrap_or_default(),
                    holds: identities.holds(),
                    identities,
                };
                worker.set_governor(DatabaseId(id), governor);
            }
        }
        Ok(())
    }

    /// As whom the proxy logs in for clients that prove who they are.
    fn service_account(&mut self, id: u16, kind: CredentialKind, record: &[u8]) -> Result<()> {
        let Login::Service(service) = &self.database(id)?.entry.guard.login else { return Ok(()) };
        let credential = match kind {
            CredentialKind::Nothing => Credential::Nothing,
            CredentialKind::Password => Credential::Password(Secret::new(record.to_vec())),
            CredentialKind::Certificate { chain_bytes } => {
                let (chain, key) = record.split_at_checked(chain_bytes).context("a certificate came incomplete")?;
                Credential::Certificate(OwnCertificate::from_pem(chain, key)?)
            }
        };
        let account = ServiceAccount { user: service.user.clone(), credential };
        self.worker.set_upstream_login(DatabaseId(id), UpstreamLogin::Account(Rc::new(account)));
        Ok(())
    }

    fn certificate(
        &mut self,
        database: u16,
        record: &[u8],
        chain_bytes: usize,
        clients: Option<OwnedFd>,
    ) -> Result<()> {
        let (chain, key) = record.split_at_checked(chain_bytes).context("a certificate came incomplete")?;
        let certificates = match clients {
            None => Certificates::from_pem(chain, key)?,
            Some(texts) => {
                let texts: ClientAuthorityTexts =
                    serde_json::from_reader(std::io::BufReader::new(std::fs::File::from(texts)))
                        .context("the authorities of clients came incomplete")?;
                let clients = ClientAuthorities { authorities: &texts.authorities, revocations: &texts.revocations };
                Certificates::asking_clients(chain, key, clients)?
            }
        };
        let certificates = Arc::new(certificates);
        self.worker.reload_certificates(DatabaseId(database), Arc::clone(&certificates));
        self.database(database)?.certificates = Some(certificates);
        Ok(())
    }
}

fn login_mode(login: &Login) -> LoginMode {
    let demand = match login {
        Login::PassThrough => return LoginMode::PassThrough,
        Login::Minted(_) => &login::Demand::Token,
        Login::Service(service) => &service.demand,
    };
    LoginMode::Service(match demand {
        login::Demand::Token => Demand::Token,
        login::Demand::Certificate => Demand::Certificate,
        login::Demand::OauthBearer { discovery_url, scope } => {
            let (configuration_url, scope) = (discovery_url.clone(), scope.clone());
            Demand::OauthBearer(Arc::new(Discovery { configuration_url, scope }))
        }
    })
}

impl Database {
    const fn new(entry: GuardedDatabase) -> Self {
        Self { entry, heartbeat: None, certificates: None, judge: None, steered: Vec::new(), older: Vec::new() }
    }

    /// Listeners for another steering follow; those of this one are in use until it is in place.
    fn steer_anew(&mut self, heartbeat: Heartbeat) {
        self.heartbeat = Some(Rc::new(heartbeat));
        self.older.append(&mut self.steered);
    }

    /// Closes the listeners that get no connections any more, as soon as those in their queues are accepted.
    fn close_older(&mut self) {
        let older = std::mem::take(&mut self.older);
        spawn_local(async move {
            tokio::time::sleep(QUEUE).await;
            older.iter().for_each(JoinHandle::abort);
        });
    }

    fn spec(&self, kind: ListenerKind) -> Result<ListenerSpec> {
        let guard = &self.entry.guard;
        let certificates = || self.certificates.clone().context("the certificate of this database is missing");
        let tls = match &guard.tls {
            Tls::Relay => TlsMode::Relay,
            Tls::ServerCertificate(_) => TlsMode::ServerCertificate(certificates()?),
            Tls::OwnCertificate(_) => TlsMode::OwnCertificate(certificates()?),
        };
        Ok(ListenerSpec {
            database: DatabaseId(self.entry.id),
            name: self.entry.name.as_str().into(),
            kind: match kind {
                ListenerKind::Steered => Listener::Steered,
                ListenerKind::Plain => Listener::Plain,
                ListenerKind::UnixSocket => Listener::UnixSocket,
            },
            port: self.entry.port.unwrap_or_default(),
            upstream: (kind == ListenerKind::Plain).then_some(guard.upstream),
            tls,
            login: login_mode(&guard.login),
            level: match guard.record {
                Record::Memory => Level::Memory,
                Record::Written => Level::Written,
                Record::Durable => Level::Durable,
            },
            unrecorded: match guard.mode {
                Mode::Enforce => WhenUnrecorded::Refuse,
                Mode::Observe | Mode::Warn => WhenUnrecorded::Continue,
            },
        })
    }

    /// What the accept loop shows the kernel.
    fn beat(&self, slot: Option<crate::worker_link::Slot>, pulse: Pulse) -> Box<dyn Fn()> {
        let (Some(slot), Some(heartbeat)) = (slot, self.heartbeat.clone()) else { return Box::new(|| {}) };
        let family = if slot.is_v6 { Family::V6 } else { Family::V4 };
        let slot = Slot { number: slot.number, family };
        // A clock that cannot be read makes the heartbeat stale, which is what it then should be.
        Box::new(move || {
            if pulse.is_felt() {
                drop(heartbeat.beat(slot));
            }
        })
    }
}

/// Registers something that owns its descriptor with the runtime.
#[expect(unsafe_code, reason = "the runtime cannot know that a descriptor stays open")]
fn readable(link: Link) -> std::io::Result<AsyncFd<Link>> {
    // SAFETY: `Link` holds its `OwnedFd` for its whole life and always returns the same descriptor.
    unsafe { AsyncFd::register_with_interest(link, Interest::READABLE) }.map_err(std::io::Error::from)
}
