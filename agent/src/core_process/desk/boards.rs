//! The workers' boards: who has what. A worker that cannot take a message now is told everything as soon as it can.

use std::cell::{Cell, RefCell};
use std::os::fd::AsFd as _;
use std::rc::{Rc, Weak};

use anyhow::{Context as _, Result};
use model::access::Holder;
use tokio::io::unix::AsyncFd;
use tracing::warn;

use super::Desk;
use crate::grant_link::HolderGrants;
use crate::identity_link::FromCore;
use crate::link::Link;
use crate::worker_link::in_memory;

/// Lines to the workers that live.
#[derive(Default)]
pub(super) struct Boards(RefCell<Vec<Line>>);

struct Line {
    link: Weak<AsyncFd<Link>>,
    /// What it knows may not be so any more.
    behind: Cell<bool>,
}

impl Boards {
    /// What some holders have now.
    pub(super) fn tell(&self, database: u16, news: &[HolderGrants]) {
        let mut lines = self.0.borrow_mut();
        lines.retain(|line| line.link.strong_count() > 0);
        for line in lines.iter().filter(|line| !line.behind.get()) {
            line.send(database, news, false);
        }
    }

    /// What all of them know may not be so any more.
    pub(super) fn fall_behind(&self) {
        self.0.borrow().iter().for_each(|line| line.behind.set(true));
    }

    /// Those who are behind are told everything.
    pub(super) fn catch_up(&self, whole: impl Fn() -> Vec<(u16, Vec<HolderGrants>)>) {
        for line in self.0.borrow().iter().filter(|line| line.behind.get()) {
            line.behind.set(false);
            for (database, all) in whole() {
                line.send(database, &all, true);
            }
        }
    }
}

impl Line {
    fn send(&self, database: u16, news: &[HolderGrants], whole: bool) {
        let Some(link) = self.link.upgrade() else { return };
        if let Err(problem) = send(link.get_ref(), database, news, whole)
            && !self.behind.replace(true)
        {
            warn!("a worker could not be told about grants, and is told again: {problem:#}");
        }
    }
}

fn send(link: &Link, database: u16, news: &[HolderGrants], whole: bool) -> Result<()> {
    let memory = in_memory(&serde_json::to_vec(news).context("no JSON")?)?;
    link.try_send(&FromCore::Grants { database, whole }, &[], &[memory.as_fd()])
}

impl Desk {
    /// A worker is there: it is told everything before it asks anything.
    pub(in super::super) fn add(&self, link: &Rc<AsyncFd<Link>>) {
        self.boards.0.borrow_mut().push(Line { link: Rc::downgrade(link), behind: Cell::new(true) });
        self.boards.catch_up(|| self.whole());
    }

    /// All holders with all that they have, by database.
    pub(super) fn whole(&self) -> Vec<(u16, Vec<HolderGrants>)> {
        let holders = self.desk.borrow().holders(self.now());
        let rules = self.rules.borrow();
        rules
            .iter()
            .map(|(id, rules)| {
                let of = holders.get(&rules.name).into_iter().flatten();
                (*id, of.map(|holder| self.of(holder, &rules.name)).collect())
            })
            .collect()
    }

    pub(super) fn of(&self, holder: &Holder, database: &str) -> HolderGrants {
        let now = self.now();
        HolderGrants::new(holder, self.desk.borrow().active(holder, database, now), now)
    }
}
