//! Which processes hold which sessions: client, server, and the client's forked children.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use model::id::SocketCookie;
use model::process::ProcessKey;
use model::time::BootTime;

const COOKIES: RangeInclusive<u64> = 0..=u64::MAX;

/// An index; the sessions themselves know who plays which part.
#[derive(Debug, Default)]
pub(crate) struct Holders(BTreeSet<(ProcessKey, SocketCookie)>);

impl Holders {
    pub(crate) fn insert(&mut self, process: ProcessKey, cookie: SocketCookie) {
        self.0.insert((process, cookie));
    }

    pub(crate) fn remove(&mut self, process: ProcessKey, cookie: SocketCookie) {
        self.0.remove(&(process, cookie));
    }

    /// The sessions that this process holds.
    pub(crate) fn of(&self, process: ProcessKey) -> impl Iterator<Item = SocketCookie> {
        let cookie = |at: &u64| (process, SocketCookie(*at));
        self.0.range(cookie(COOKIES.start())..=cookie(COOKIES.end())).map(|&(_, cookie)| cookie)
    }

    /// The sessions that any process of this pid holds.
    pub(crate) fn of_pid(&self, pid: u32) -> impl Iterator<Item = (ProcessKey, SocketCookie)> {
        let bound = |at: &u64| (ProcessKey { pid, start: BootTime(*at) }, SocketCookie(*at));
        self.0.range(bound(COOKIES.start())..=bound(COOKIES.end())).copied()
    }
}
