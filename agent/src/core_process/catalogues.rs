//! Keeps what the SQL databases have: reads it for the first session that is governed there, then now and then and after
//! each change that is seen, and tells the workers.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::os::fd::AsFd as _;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use model::time::BootTime;
use tokio::io::unix::AsyncFd;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::error::SqlState;
use tracing::warn;

use super::catalogue_changes::Unread;
use super::catalogue_fetch::fetch;
use super::own_hops::{OwnHops, OwnLogin};
use super::pipeline::Pipeline;
use crate::catalogue_form::CatalogueForm;
use crate::clock;
use crate::identity_link::FromCore;
use crate::link::{Link, Purpose};
use crate::worker_link::in_memory;

/// SQL databases whose catalogue is kept. Clients choose the names: what cannot be read makes room again.
const KEPT_MAX: usize = 256;
/// `NAMEDATALEN - 1` of PostgreSQL.
const NAME_BYTES_MAX: usize = 63;
/// Catalogues that are read at once.
const READ_AT_ONCE: usize = 2;
/// How long the first session of an SQL database waits for its snapshot. Less than workers wait for the core.
const FIRST_PATIENCE: Duration = Duration::from_secs(1);
/// Changes come in series: what follows soon is read with the first.
const DEBOUNCE: Duration = Duration::from_millis(250);
/// Pause after a first attempt that failed.
const RETRY: Duration = Duration::from_secs(10);
/// Distance of warnings; the metric counts all failures.
const WARNING_DISTANCE: Duration = Duration::from_secs(10);

/// A database of the configuration, and an SQL database there.
type Key = (u16, Arc<str>);

/// All catalogues.
pub(super) struct Catalogues {
    /// How often they are read, by database.
    periods: HashMap<u16, Duration>,
    pipeline: Rc<RefCell<Pipeline>>,
    own: Rc<OwnHops>,
    kept: RefCell<HashMap<Key, Rc<Kept>>>,
    /// Lines to the workers that live.
    lines: RefCell<Vec<Weak<AsyncFd<Link>>>>,
    reading: Semaphore,
    warned: Cell<Option<Instant>>,
}

/// One of them.
struct Kept {
    /// As the workers were told; `None`: it was not read yet.
    snapshot: RefCell<Option<Rc<[u8]>>>,
    /// When the reading of it began.
    read_at: Cell<BootTime>,
    /// It was read, or that has failed.
    is_tried: watch::Sender<bool>,
    /// It has changed.
    changed: Notify,
}

impl Catalogues {
    /// `periods`: databases with a login, and how often they are read, in seconds.
    pub(super) fn new(periods: &[(u16, u64)], pipeline: Rc<RefCell<Pipeline>>, own: Rc<OwnHops>) -> Rc<Self> {
        Rc::new(Self {
            periods: periods.iter().map(|(id, seconds)| (*id, Duration::from_secs(*seconds))).collect(),
            pipeline,
            own,
            kept: RefCell::default(),
            lines: RefCell::default(),
            reading: Semaphore::new(READ_AT_ONCE),
            warned: Cell::new(None),
        })
    }

    /// A worker is there: it is told everything.
    pub(super) fn add(&self, line: &Rc<AsyncFd<Link>>) {
        for (key, kept) in &*self.kept.borrow() {
            if let Some(snapshot) = &*kept.snapshot.borrow() {
                tell(line.get_ref(), key, kept.read_at.get(), Some(snapshot));
            }
        }
        let mut lines = self.lines.borrow_mut();
        lines.retain(|line| line.strong_count() > 0);
        lines.push(Rc::downgrade(line));
    }

    /// A session begins. Returns when the workers know what its SQL database has, or that will take longer.
    pub(super) async fn ready(self: &Rc<Self>, database: u16, sql_database: &str) {
        let tried = async {
            while let Some(kept) = self.kept(database, sql_database) {
                let mut tried = kept.is_tried.subscribe();
                drop(kept);
                // Otherwise the one before it was found to be gone.
                if tried.wait_for(|tried| *tried).await.is_ok() {
                    return;
                }
            }
        };
        // The session begins without it: names without a schema are in an unknown one, and judged as such.
        let _late = timeout(FIRST_PATIENCE, tried).await;
    }

    /// Must run inside of a `LocalSet`.
    fn kept(self: &Rc<Self>, database: u16, sql_database: &str) -> Option<Rc<Kept>> {
        let period = *self.periods.get(&database)?;
        let key = (database, Arc::from(sql_database));
        let mut all = self.kept.borrow_mut();
        if let Some(kept) = all.get(&key) {
            return Some(Rc::clone(kept));
        }
        if all.len() >= KEPT_MAX || sql_database.len() > NAME_BYTES_MAX {
            return None;
        }
        let (is_tried, _) = watch::channel(false);
        let kept =
            Rc::new(Kept { snapshot: RefCell::default(), read_at: Cell::default(), is_tried, changed: Notify::new() });
        all.insert(key.clone(), Rc::clone(&kept));
        spawn_local(keep(Rc::clone(self), key, Rc::clone(&kept), period));
        Some(kept)
    }

    /// Catalogues that sessions have changed are read again.
    pub(super) fn pass_on_changes(&self) {
        let Unread { changed, replaced } = self.pipeline.borrow_mut().catalogue_changes.take();
        let kept = self.kept.borrow();
        // A session that begins there waits for the next reading: what was read was of another one of that name.
        for (database, name) in replaced {
            if let Some(kept) = kept.get(&(database.0, name)) {
                kept.is_tried.send_replace(false);
                kept.changed.notify_one();
            }
        }
        for (database, name) in changed {
            if let Some(kept) = kept.get(&(database.0, name)) {
                kept.changed.notify_one();
            }
        }
    }

    /// What a catalogue has, and when the reading began.
    async fn read(&self, (database, name): &Key) -> Result<(BootTime, CatalogueForm)> {
        let _turn = self.reading.acquire().await.context("the core ends")?;
        let began = clock::boot();
        Ok((began, fetch(self.login(*database).await?, name).await?))
    }

    /// A connection to a database with the login that reads its catalogue.
    pub(super) async fn login(&self, database: u16) -> Result<OwnLogin> {
        self.own.open(database, Purpose::Catalogue).await
    }

    /// Whether a database has such a login.
    pub(super) fn has_login(&self, database: u16) -> bool {
        self.periods.contains_key(&database)
    }

    /// What was read becomes what the workers know: the rows where they are news, else only that they are still right.
    fn publish(&self, key: &Key, kept: &Kept, (read_at, form): (BootTime, CatalogueForm)) -> Result<()> {
        let snapshot = serde_json::to_vec(&form).context("the rows cannot be passed on")?;
        let is_news = kept.snapshot.borrow().as_deref() != Some(&*snapshot);
        let mut all_told = true;
        for line in self.lines.borrow().iter().filter_map(Weak::upgrade) {
            all_told &= tell(line.get_ref(), key, read_at, is_news.then_some(&*snapshot));
        }
        kept.read_at.set(read_at);
        if is_news {
            // Whoever was not told is told after the next reading.
            *kept.snapshot.borrow_mut() = all_told.then(|| snapshot.into());
        }
        Ok(())
    }

    fn complain(&self, (_, name): &Key, problem: &anyhow::Error) {
        let now = Instant::now();
        if self.warned.get().is_some_and(|warned| now.duration_since(warned) < WARNING_DISTANCE) {
            return;
        }
        self.warned.set(Some(now));
        warn!(
            sql_database = %name,
            "the catalogue cannot be read, names without a schema may not be found: {problem:#}; \
             see `warder setup postgres`"
        );
    }
}

/// Reads a catalogue for as long as the core lives, unless that has never worked.
async fn keep(catalogues: Rc<Catalogues>, key: Key, kept: Rc<Kept>, period: Duration) {
    let mut has_been_read = false;
    loop {
        let read = catalogues.read(&key).await.and_then(|read| catalogues.publish(&key, &kept, read));
        catalogues.pipeline.borrow().catalogue_read(key.0, read.is_ok());
        match read {
            Ok(()) => has_been_read = true,
            // It was there: the next session of that name has a new one read.
            Err(problem) if has_been_read && is_missing(&problem) => {
                catalogues.kept.borrow_mut().remove(&key);
                return;
            }
            Err(problem) => catalogues.complain(&key, &problem),
        }
        kept.is_tried.send_replace(true);
        if !has_been_read {
            if timeout(RETRY, kept.changed.notified()).await.is_ok() {
                continue;
            }
            catalogues.kept.borrow_mut().remove(&key);
            return;
        }
        tokio::select! {
            () = sleep(period) => {}
            () = kept.changed.notified() => sleep(DEBOUNCE).await,
        }
    }
}

/// Whether there is no SQL database of that name.
fn is_missing(problem: &anyhow::Error) -> bool {
    let mut causes = problem.chain().filter_map(|cause| cause.downcast_ref::<tokio_postgres::Error>());
    causes.any(|cause| cause.code() == Some(&SqlState::INVALID_CATALOG_NAME))
}

/// Each worker gets a file of its own: what one does to it, no other sees. `false`: it could not be told.
fn tell(line: &Link, (database, name): &Key, read_at: BootTime, snapshot: Option<&[u8]>) -> bool {
    let message = FromCore::Catalogue { database: *database, sql_database: name.to_string(), read_at: read_at.0 };
    let memory = snapshot.map(in_memory).transpose();
    let sent = memory.and_then(|memory| {
        let descriptors: Vec<_> = memory.iter().map(|memory| memory.as_fd()).collect();
        line.try_send(&message, &[], &descriptors)
    });
    match sent {
        Ok(()) => true,
        Err(problem) => {
            warn!(sql_database = %name, "a worker could not be told the catalogue: {problem:#}");
            false
        }
    }
}
