//! Who has been granted what, as the core says it: on the boards that the judges look at.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::io::BufReader;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use anyhow::{Context as _, Result};
use guard::Board;
use model::access::Holder;
use policy::ActiveGrant;
use tracing::warn;

use crate::grant_link::HolderGrants;

/// The boards of all databases.
#[derive(Default)]
pub(super) struct Grants {
    boards: RefCell<HashMap<u16, Rc<Board>>>,
}

impl Grants {
    /// The board of a database.
    pub(super) fn board(&self, database: u16) -> Rc<Board> {
        Rc::clone(self.boards.borrow_mut().entry(database).or_default())
    }

    /// The core has said who has what: everybody (`whole`), or some whose grants have changed.
    pub(super) fn know(&self, database: u16, whole: bool, descriptors: Vec<OwnedFd>) {
        let board = self.board(database);
        let read = read(descriptors);
        if whole || read.is_err() {
            // On the safe side: what is not understood permits nothing, and neither does what was said before it.
            board.clear();
        }
        match read {
            Ok(all) => all.into_iter().for_each(|(holder, grants)| board.put(holder, grants)),
            Err(problem) => warn!("grants came that are not understood, nobody has any now: {problem:#}"),
        }
    }

    /// Nobody says any more what is taken back.
    pub(super) fn clear(&self) {
        self.boards.borrow().values().for_each(|board| board.clear());
    }
}

fn read(descriptors: Vec<OwnedFd>) -> Result<Vec<(Holder, Vec<ActiveGrant>)>> {
    let memory = descriptors.into_iter().next().context("they came without their descriptor")?;
    let all: Vec<HolderGrants> =
        serde_json::from_reader(BufReader::new(File::from(memory))).context("they came incomplete")?;
    all.into_iter().map(HolderGrants::read).collect()
}
