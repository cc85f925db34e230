//! What the SQL databases have, as the core has read it: for the judges, also for one that comes later.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fs::File;
use std::io::BufReader;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use guard::{Judge, Snapshot};
use model::time::BootTime;
use sql::catalogue::Catalogue;
use tracing::warn;

use crate::catalogue_form::CatalogueForm;

/// Snapshots without a judge that are kept: more than the core ever sends.
const EARLY_MAX: usize = 1024;

/// Who is told. The core sends a snapshot once; policies may come after it.
#[derive(Default)]
pub(super) struct Catalogues {
    judges: RefCell<HashMap<u16, Rc<Judge>>>,
    early: RefCell<Vec<(u16, Arc<str>, Snapshot)>>,
    /// Number of the last snapshot.
    epoch: Cell<u64>,
}

impl Catalogues {
    /// From now on this one judges the sessions of a database.
    pub(super) fn judge(&self, database: u16, judge: Rc<Judge>) {
        let (own, others) = self.early.take().into_iter().partition::<Vec<_>, _>(|(id, ..)| *id == database);
        self.early.replace(others);
        for (_, name, snapshot) in own {
            judge.know(name, snapshot);
        }
        self.judges.borrow_mut().insert(database, judge);
    }

    /// The core has begun to read a catalogue at that time. `memory`: what it found; `None`: the same as before.
    pub(super) fn hear(&self, (database, name): (u16, Arc<str>), read_at: BootTime, memory: Option<OwnedFd>) {
        let Some(memory) = memory else { return self.confirm(database, &name, read_at) };
        let catalogue = match self.read(memory) {
            Ok(catalogue) => catalogue,
            Err(problem) => return warn!(sql_database = %name, "a snapshot of the catalogue is not used: {problem:#}"),
        };
        let snapshot = Snapshot::new(catalogue, read_at);
        if let Some(judge) = self.judges.borrow().get(&database) {
            return judge.know(name, snapshot);
        }
        let mut early = self.early.borrow_mut();
        early.retain(|(id, known, _)| (*id, known) != (database, &name));
        if early.len() < EARLY_MAX {
            early.push((database, name, snapshot));
        }
    }

    fn confirm(&self, database: u16, name: &str, read_at: BootTime) {
        if let Some(judge) = self.judges.borrow().get(&database) {
            judge.confirm(name, read_at);
        }
    }

    fn read(&self, memory: OwnedFd) -> Result<Catalogue> {
        let form: CatalogueForm =
            serde_json::from_reader(BufReader::new(File::from(memory))).context("it came incomplete")?;
        self.epoch.set(self.epoch.get() + 1);
        Ok(form.build(self.epoch.get()))
    }
}
