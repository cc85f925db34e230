//! Access through the proxy, and its end; and roles for single sessions: reserved when it is known who acts, made when the
//! policies have let them in, and taken away when their access ends.
//!
//! Whom a role is for is what this process has verified itself: a worker names a connection, nothing else. The server is
//! the truth about which roles there are; what is kept here is forgotten with the process, and found again by a
//! [sweep]. Sessions without a role of their own are looked after from the decision on that their access ends: until then
//! the witness's sessions say all that is known of them. Not here: the statements (`mint`).

pub(super) mod access;
mod admin;
mod ending;
mod fault;
mod sweep;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use mint::name::RoleName;
use mint::note::Note;
use mint::password::Password;
use mint::statements;
use model::access::{Grant, Holder};
use model::credential::{AccessEnd, Credential, CredentialStep};
use model::id::{BootId, HostId, SocketCookie};
use model::principal::Principal;
use model::record::{Record, What};
use model::session::Session;
use model::time::{BootTime, WallTime};
use tokio::io::unix::AsyncFd;
use tokio::sync::Semaphore;
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep, timeout};
use tracing::warn;

use self::access::{Access, Order, OwnRole, Stage, When, Whose, named};
use self::admin::{Admin, Trouble};
use self::fault::{Step, reached};
use super::own_hops::OwnHops;
use super::pipeline::Pipeline;
use super::rings::Rings;
use crate::clock;
use crate::config::login::{Minted, MintedRole};
use crate::control::AccessView;
use crate::link::{Hello, Link, Purpose};

/// Accesses at once, of all databases: as many as the proxy can have sessions.
const ACCESSES_MAX: usize = 65_536;
/// How long a name is kept for a session that does not take its role.
const RESERVED_NANOS: u64 = 60_000_000_000;
/// How long whoever ends an access waits until the server knows it.
const END_PATIENCE: Duration = Duration::from_secs(4);
/// How long an end waits until the rings are read: under a flood nobody waits for the last record.
const CATCH_UP: Duration = Duration::from_millis(100);
/// How often a change of the catalogue is tried that meets another one.
const RACES_MAX: u32 = 8;
/// How often it is looked who has outlived the proof of his identity: at all sessions.
const OUTLIVED_LOOK_NANOS: u64 = 1_000_000_000;
/// Logins at once to end sessions of service accounts.
const CLOSERS_MAX: usize = 8;
/// Pause between them; each is longer by as much.
const RACE_PAUSE: Duration = Duration::from_millis(5);

/// All of it.
pub(super) struct Minting {
    pipeline: Rc<RefCell<Pipeline>>,
    rings: Rc<Rings>,
    host: HostId,
    boot: BootId,
    mints: HashMap<u16, Rc<Mint>>,
    /// Databases with a service account that can end its own sessions.
    accounts: Vec<u16>,
    own: Rc<OwnHops>,
    /// Of those who log in to end a session.
    closers: Semaphore,
    accesses: RefCell<HashMap<SocketCookie, Rc<Access>>>,
    /// When it was looked last who has outlived the proof of his identity.
    looked: Cell<BootTime>,
    /// Lines to the workers that live.
    lines: RefCell<Vec<Weak<AsyncFd<Link>>>>,
    random: RefCell<std::fs::File>,
}

/// What makes the roles of one database.
pub(super) struct Mint {
    name: Arc<str>,
    config: Minted,
    admin: Admin,
    /// The next password, with its verifier: made while nobody waits for it.
    spare: RefCell<Option<Password>>,
    /// Nobody could sweep since that many times.
    unswept: Cell<u32>,
}

impl Minting {
    /// Must run inside of a `LocalSet`.
    pub(super) fn start(
        hello: &Hello,
        (minting, accounts): (Vec<(u16, Minted)>, Vec<u16>),
        own: &Rc<OwnHops>,
        pipeline: Rc<RefCell<Pipeline>>,
        rings: Rc<Rings>,
    ) -> std::io::Result<Rc<Self>> {
        let name =
            |database: u16| hello.databases.iter().find(|(id, _)| *id == database).map(|(_, name)| name.as_str());
        let mints = minting.into_iter().map(|(database, config)| {
            let admin = Admin::new(Rc::clone(own), (database, Purpose::Minting), config.sql_database.clone());
            let name = Arc::from(name(database).unwrap_or_default());
            (database, Rc::new(Mint { name, config, admin, spare: RefCell::default(), unswept: Cell::new(0) }))
        });
        let minting = Rc::new(Self {
            pipeline,
            rings,
            host: HostId(hello.host),
            boot: BootId(hello.boot),
            mints: mints.collect(),
            accounts,
            own: Rc::clone(own),
            closers: Semaphore::const_new(CLOSERS_MAX),
            accesses: RefCell::default(),
            looked: Cell::new(BootTime(0)),
            lines: RefCell::default(),
            random: RefCell::new(std::fs::File::open("/dev/urandom")?),
        });
        for mint in minting.mints.values() {
            spawn_local(sweep::keep(Rc::clone(&minting), Rc::clone(mint)));
        }
        Ok(minting)
    }

    /// A worker is there.
    pub(super) fn add(&self, line: &Rc<AsyncFd<Link>>) {
        let mut lines = self.lines.borrow_mut();
        lines.retain(|line| line.strong_count() > 0);
        lines.push(Rc::downgrade(line));
    }

    /// The name of the role that this principal's session may have; `None`: none. `line`: to the worker of the connection.
    pub(super) fn reserve(
        &self,
        connection: SocketCookie,
        database: u16,
        principal: &Principal,
        line: &Rc<AsyncFd<Link>>,
    ) -> Option<RoleName> {
        let mint = self.mints.get(&database)?;
        let entry = mint.entry(principal)?;
        // What there is for a connection belongs to its worker, and to its session.
        let is_taken = |access: &Rc<Access>| {
            !matches!(access.stage.get(), Stage::Reserved(_)) || !access.line.ptr_eq(&Rc::downgrade(line))
        };
        if self.accesses.borrow().get(&connection).is_some_and(is_taken) {
            warn!("a role was asked for in the place of another one");
            return None;
        }
        if self.accesses.borrow().len() >= ACCESSES_MAX {
            warn!("no role can be made: {ACCESSES_MAX} are looked after already");
            return None;
        }
        let (now, lifetime) = (clock::wall(), nanos(mint.config.lifetime));
        let lifetime = WallTime(now.0.saturating_add(lifetime));
        let (until, over) = match principal.expires {
            Some(expires) if expires < lifetime => (expires, AccessEnd::TokenExpired),
            _ => (lifetime, AccessEnd::Lifetime),
        };
        let name = RoleName::new(self.random()?);
        let role = OwnRole::new(name.clone(), &entry.role, Rc::clone(mint), until, over);
        let access = Access {
            principal: Some(Arc::new(principal.clone())),
            named: named(&Holder::from(principal)),
            line: Rc::downgrade(line),
            ..Access::with_role(connection, OwnRole { defaults: defaults(entry), ..role })
        };
        self.look_after(Rc::new(access));
        Some(name)
    }

    /// Makes the role whose name is reserved for this connection, and says its password to the worker that has it.
    pub(super) async fn mint(self: &Rc<Self>, connection: SocketCookie, line: &Rc<AsyncFd<Link>>) -> Option<Password> {
        let access = self.accesses.borrow().get(&connection).cloned();
        // Once for each connection, and only for those who were identified here.
        let is_due = |access: &Rc<Access>| {
            matches!(access.stage.get(), Stage::Reserved(_)) && access.line.ptr_eq(&Rc::downgrade(line))
        };
        let Some((access, role)) = access.as_ref().filter(|access| is_due(access)).and_then(|access| {
            let role = access.role.as_ref()?;
            Some((access, role))
        }) else {
            warn!("a role was asked for that is not reserved any more, or not for this worker");
            return None;
        };
        let password = self.password(&role.mint)?;
        access.stage.set(Stage::Made);
        let minting = Credential { until: Some(role.until), ..access.credential(CredentialStep::Minting) };
        if !self.record(minting) {
            self.forget(access);
            return None;
        }
        reached(Step::Recorded);
        let made = self.make(access, role, &password).await;
        reached(Step::Created);
        self.prepare(&role.mint);
        match made {
            Ok(()) => {
                spawn_local(ending::attend(Rc::clone(self), Rc::clone(access)));
                Some(password)
            }
            Err(trouble) => {
                let failed =
                    Credential { detail: Some(trouble.to_string()), ..access.credential(CredentialStep::Failed) };
                warn!(database = %access.database, "a role could not be made: {trouble}; see `warder setup postgres`");
                self.record(failed);
                // Whoever has not heard the answer does not know that nothing was made.
                access.order(session_is_over());
                spawn_local(ending::attend(Rc::clone(self), Rc::clone(access)));
                None
            }
        }
    }

    async fn make(&self, access: &Access, role: &OwnRole, password: &Password) -> Result<(), Trouble> {
        let OwnRole { name, group, mint, defaults, until, .. } = role;
        let note = Note {
            host: self.host,
            boot: self.boot,
            connection: access.connection,
            until: *until,
            group: group.to_string(),
            principal: access.named.clone(),
        };
        let text = statements::create(name, password, &note, defaults, &mint.config.user, clock::wall());
        mint.admin.change(&text).await
    }

    /// What the rings have brought: ends of connections.
    pub(super) fn look(&self) {
        let seen = self.pipeline.borrow_mut().access_ends.take();
        for (connection, end) in seen {
            let Some(access) = self.accesses.borrow().get(&connection).cloned() else { continue };
            access.saw(end);
            if matches!(access.stage.get(), Stage::Reserved(_)) {
                self.forget(&access);
            }
        }
    }

    /// Ends what is over, and forgets names that nobody took. To be called several times a second.
    pub(super) fn tick(&self) {
        let (now, wall) = (clock::boot(), clock::wall());
        let mut forgotten = Vec::new();
        for access in self.accesses.borrow().values() {
            match access.stage.get() {
                Stage::Reserved(since) if now.nanos_since(since) > RESERVED_NANOS => forgotten.push(Rc::clone(access)),
                Stage::Made => {
                    if let Some(role) = access.role.as_ref().filter(|role| role.is_over(now, wall)) {
                        let when = When::BetweenStatements;
                        access.order(Order { end: role.over, when, decided: now, by: None });
                    }
                }
                Stage::Reserved(_) => {}
            }
        }
        forgotten.iter().for_each(|access| self.forget(access));
    }

    /// Ends the accesses whose token has ended, or what else has proved who acts, where policies are more than watched. To be
    /// called several times a second.
    pub(super) fn end_outlived(self: &Rc<Self>, enforces: impl Fn(&str) -> bool) {
        let now = clock::boot();
        if now.nanos_since(self.looked.get()) < OUTLIVED_LOOK_NANOS {
            return;
        }
        self.looked.set(now);
        let outlived = {
            let pipeline = self.pipeline.borrow();
            let outlived = pipeline.sessions.outlived(clock::wall());
            self.new_among(outlived.filter(|(session, _)| enforces(&session.database_name)))
        };
        for access in outlived {
            let (end, when) = (AccessEnd::TokenExpired, When::BetweenStatements);
            self.attend(access).order(Order { end, when, decided: now, by: None });
        }
    }

    /// Ends an access. Returns when the server knows it, so that nothing forgets it any more, or does not answer.
    pub(super) async fn end(&self, access: &Access, end: AccessEnd, when: When, by: Option<String>) {
        let mut is_cut = access.is_cut.subscribe();
        access.order(Order { end, when, decided: clock::boot(), by });
        let _late = timeout(END_PATIENCE, is_cut.wait_for(|is_cut| *is_cut)).await;
    }

    /// Ends the access of the holder of a grant that has ended.
    pub(super) fn end_of_grant(self: &Rc<Self>, grant: &Grant, end: AccessEnd, when: When) {
        for access in self.meant(Whose::Held { holder: &grant.holder, database: &grant.scope.database }) {
            let by = Some(format!("with grant {}", grant.id));
            access.order(Order { end, when, decided: clock::boot(), by });
        }
    }

    /// Lets the rings be read first: what is in them are sessions, too.
    pub(super) async fn catch_up(&self) {
        self.rings.catch_up(CATCH_UP).await;
    }

    /// Those that are meant by a decision to end them; whoever asks orders their end. Names that are only reserved are
    /// forgotten at once: no role is made for them any more.
    pub(super) fn meant(self: &Rc<Self>, whose: Whose<'_>) -> Vec<Rc<Access>> {
        let all: Vec<Rc<Access>> = self.accesses.borrow().values().cloned().collect();
        let (mut made, reserved): (Vec<_>, Vec<_>) =
            all.into_iter().filter(|access| whose.is(access)).partition(|access| access.stage.get() == Stage::Made);
        let without = self.without_roles(|principal, database| whose.is_principal(principal, database));
        made.extend(without.into_iter().map(|access| self.attend(access)));
        reserved.iter().for_each(|access| self.forget(access));
        made
    }

    /// Sessions of these that nothing is kept about: they have no role of their own.
    fn without_roles(&self, is_meant: impl Fn(&Principal, &str) -> bool) -> Vec<Access> {
        let pipeline = self.pipeline.borrow();
        let known = pipeline.sessions.mediated().filter_map(|session| Some((session, session.principal.known()?)));
        self.new_among(known.filter(|(session, principal)| is_meant(principal, &session.database_name)))
    }

    /// Those of these sessions that nothing is kept about.
    fn new_among<'a>(&self, sessions: impl Iterator<Item = (&'a Session, &'a Arc<Principal>)>) -> Vec<Access> {
        let accesses = self.accesses.borrow();
        let all = sessions.filter_map(|(session, principal)| Access::without_role(session, principal));
        let new = all.filter(|access| !accesses.contains_key(&access.connection));
        new.take(ACCESSES_MAX.saturating_sub(accesses.len())).collect()
    }

    /// From here on something is kept about it.
    fn attend(self: &Rc<Self>, access: Access) -> Rc<Access> {
        let access = Rc::new(access);
        self.look_after(Rc::clone(&access));
        spawn_local(ending::attend(Rc::clone(self), Rc::clone(&access)));
        access
    }

    /// Who has access now.
    pub(super) fn list(&self) -> Vec<AccessView> {
        let made = self.live();
        let mut all: Vec<AccessView> = made.iter().map(|access| access.view()).collect();
        all.extend(self.without_roles(|_, _| true).iter().map(Access::view));
        all
    }

    /// Those that are looked after.
    pub(super) fn live(&self) -> Vec<Rc<Access>> {
        let made = |access: &&Rc<Access>| matches!(access.stage.get(), Stage::Made);
        self.accesses.borrow().values().filter(made).cloned().collect()
    }

    /// A worker has ended, and its sessions with it. The server would notice when it answers next: a statement may run for
    /// hours before.
    pub(super) fn lose(&self, line: &Rc<AsyncFd<Link>>) {
        let line = Rc::downgrade(line);
        self.live()
            .iter()
            .filter(|access| access.line.ptr_eq(&line))
            .for_each(|access| access.order(session_is_over()));
    }

    /// The agent stops, and its workers have: no session goes on. Waits until all roles are taken away, for a while.
    pub(super) async fn settle(&self, patience: Duration) {
        self.live().iter().for_each(|access| access.order(session_is_over()));
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline && !self.live().is_empty() {
            self.rings.wake();
            sleep(Duration::from_millis(5)).await;
        }
    }

    fn look_after(&self, access: Rc<Access>) {
        self.pipeline.borrow_mut().access_ends.watch(access.connection);
        self.accesses.borrow_mut().insert(access.connection, access);
    }

    fn forget(&self, access: &Access) {
        self.pipeline.borrow_mut().access_ends.forget(access.connection);
        self.accesses.borrow_mut().remove(&access.connection);
    }

    /// Writes a step down before it takes effect. `false`: it could not be written.
    fn record(&self, credential: Credential) -> bool {
        let record = Record { time: clock::wall(), what: What::Credential(Box::new(credential)) };
        self.pipeline.borrow_mut().write_down(record)
    }

    fn random<const N: usize>(&self) -> Option<[u8; N]> {
        use std::io::Read as _;
        let mut bytes = [0; N];
        match self.random.borrow_mut().read_exact(&mut bytes) {
            Ok(()) => Some(bytes),
            Err(problem) => {
                warn!("no role can be made without random numbers: {problem}");
                None
            }
        }
    }

    fn password(&self, mint: &Mint) -> Option<Password> {
        if let Some(spare) = mint.spare.borrow_mut().take() {
            return Some(spare);
        }
        Some(Password::new(&self.random()?))
    }

    /// Makes the next password ahead.
    fn prepare(self: &Rc<Self>, mint: &Rc<Mint>) {
        let (this, mint) = (Rc::clone(self), Rc::clone(mint));
        spawn_local(async move {
            if mint.spare.borrow().is_none() {
                *mint.spare.borrow_mut() = this.random().map(|bytes| Password::new(&bytes));
            }
        });
    }
}

impl Mint {
    /// Whose rights this principal gets: the first entry that fits.
    fn entry(&self, principal: &Principal) -> Option<&MintedRole> {
        let is_in = |group: &String| principal.groups.iter().any(|held| **held == **group);
        self.config.roles.iter().find(|entry| entry.groups.is_empty() || entry.groups.iter().any(is_in))
    }
}

/// Nobody has decided it.
fn session_is_over() -> Order {
    Order { end: AccessEnd::Session, when: When::Now, decided: clock::boot(), by: None }
}

fn defaults(entry: &MintedRole) -> statements::Defaults {
    statements::Defaults {
        read_only: entry.read_only,
        statement_timeout_millis: entry.statement_timeout.map(|time| nanos(time) / 1_000_000),
        search_path: entry.search_path.clone(),
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
