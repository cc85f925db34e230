//! What all sessions of a worker share. One thread: cells instead of locks.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use model::id::DatabaseId;
use model::mediation::MediationEvent;

use crate::access::Gate;
use crate::book::Book;
use crate::certificates::Certificates;
use crate::entry::{ClientKey, Entry};
use crate::governor::Governor;
use crate::login::UpstreamLogin;
use crate::settings::Settings;
use crate::stats::Stats;

/// The buffer that all sessions read into: twice what the server sends at once.
pub(crate) const CHUNK_BYTES: usize = 16 * 1024;

pub(crate) struct Common {
    pub(crate) settings: Settings,
    pub(crate) stats: Stats,
    pub(crate) book: Book,
    /// Bytes are read into it, recorded from it and written from it. Only what cannot be written is kept elsewhere.
    pub(crate) chunk: RefCell<Box<[u8]>>,
    pub(crate) entries: RefCell<HashMap<u64, Rc<Entry>>>,
    pub(crate) clients: RefCell<HashMap<ClientKey, usize>>,
    /// What each database's `pg_hba.conf` says; none for a database: nobody asked for the gate.
    pub(crate) access: RefCell<HashMap<DatabaseId, Rc<Gate>>>,
    /// The newest certificate of each database, in place of that of the listener.
    pub(crate) certificates: RefCell<HashMap<DatabaseId, Arc<Certificates>>>,
    /// What decides about the sessions of a database; none for a database: it has no policies.
    pub(crate) governors: RefCell<HashMap<DatabaseId, Rc<Governor>>>,
    /// As whom the proxy logs in for clients with tokens.
    pub(crate) logins: RefCell<HashMap<DatabaseId, UpstreamLogin>>,
    pub(crate) cancels: Cell<usize>,
    pub(crate) draining: Cell<bool>,
}

impl Common {
    pub(crate) fn new(settings: Settings, book: Book) -> Self {
        Self {
            settings,
            stats: Stats::default(),
            book,
            chunk: RefCell::new(vec![0; CHUNK_BYTES].into_boxed_slice()),
            entries: RefCell::default(),
            clients: RefCell::default(),
            access: RefCell::default(),
            certificates: RefCell::default(),
            governors: RefCell::default(),
            logins: RefCell::default(),
            cancels: Cell::new(0),
            draining: Cell::new(false),
        }
    }

    pub(crate) fn note(&self, event: &MediationEvent) {
        self.book.note(event, &self.stats);
    }

    /// Says what every core must know of a connection, also one that is started later.
    pub(crate) fn introduce(&self, entry: &Entry, event: MediationEvent) {
        self.note(&event);
        entry.introduced(event);
    }

    /// Another core reads: it knows nobody.
    pub(crate) fn forgotten(&self) {
        self.entries.borrow().values().for_each(|entry| entry.forgotten());
        self.introduce_again();
    }

    /// Introduces those whom the core does not know, as many as there is room for.
    pub(crate) fn introduce_again(&self) {
        let entries = self.entries.borrow();
        let _rest_later = entries.values().all(|entry| entry.introduce_again(|event| self.book.repeat(event)));
    }
}
