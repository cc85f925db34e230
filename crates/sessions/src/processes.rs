//! What becomes of the processes that hold sessions.

use std::sync::Arc;

use model::Known;
use model::id::SocketCookie;
use model::process::{Process, ProcessKey};
use model::record::{Record, What};
use model::time::BootTime;

use crate::Sessions;
use crate::entry::Part;
use crate::relay::ProcessChange;

impl Sessions {
    /// A process executed another program. A client that does so hands its session to that program.
    pub(crate) fn executed(&mut self, at: BootTime, process: &Arc<Process>, out: &mut Vec<Record>) {
        self.unmatched.update(process);
        self.early.update(process);
        for (cookie, part) in self.parts(process.key) {
            match part {
                Part::Client | Part::Heir => {
                    self.changed("exec", cookie, at, (process.key, Some(Arc::clone(process))), out);
                }
                Part::Server => self.set_server(cookie, process),
            }
        }
    }

    /// A process forked. Children of a server do not serve its session; children of a client may use it.
    pub(crate) fn forked(&mut self, at: BootTime, parent: ProcessKey, child: ProcessKey, out: &mut Vec<Record>) {
        for (cookie, part) in self.parts(parent) {
            if part == Part::Server {
                continue;
            }
            self.changed("fork", cookie, at, (child, None), out);
            if let Some(entry) = self.live.get_mut(&cookie)
                && entry.heirs.len() < self.limits.heirs_max
            {
                entry.heirs.push(child);
                self.holders.insert(child, cookie);
            }
        }
    }

    /// A process ended. Its sessions end when the kernel says so.
    pub(crate) fn exited(&mut self, at: BootTime, process: ProcessKey, out: &mut Vec<Record>) {
        for (cookie, part) in self.parts(process) {
            if part == Part::Server {
                continue;
            }
            self.changed("exit", cookie, at, (process, None), out);
            self.holders.remove(process, cookie);
            if let Some(entry) = self.live.get_mut(&cookie) {
                entry.heirs.retain(|&heir| heir != process);
            }
        }
    }

    /// The sessions that a process holds, and its part in each.
    fn parts(&self, process: ProcessKey) -> Vec<(SocketCookie, Part)> {
        let live = self.holders.of(process).filter_map(|cookie| Some((cookie, self.live.get(&cookie)?)));
        live.map(|(cookie, entry)| (cookie, entry.part(process))).collect()
    }

    fn set_server(&mut self, cookie: SocketCookie, process: &Arc<Process>) {
        if let Some(entry) = self.live.get_mut(&cookie) {
            entry.session.server = Known::Known(Arc::clone(process));
        }
    }

    fn changed(
        &mut self,
        change: &'static str,
        cookie: SocketCookie,
        at: BootTime,
        (key, process): (ProcessKey, Option<Arc<Process>>),
        out: &mut Vec<Record>,
    ) {
        if let Some(entry) = self.live.get_mut(&cookie).filter(|entry| !entry.is_counted) {
            // A client's connection to the proxy is no session yet. Until it is announced its client is the program that
            // connected: whoever becomes another one meanwhile must not pass for it.
            let is_client = entry.part(key) == Part::Client;
            let change = ProcessChange { change, at, key, process, is_client };
            let dropped = entry.relay.as_mut().is_some_and(|relay| relay.keep(change, self.limits.heirs_max));
            if dropped {
                self.drop_early();
            }
            return;
        }
        let now = process.clone();
        self.record(cookie, at, |session| What::ProcessChanged { session, change, process, pid: key.pid }, out);
        if let (Some(process), Some(entry)) = (now, self.live.get_mut(&cookie))
            && entry.part(key) == Part::Client
        {
            entry.session.client = Known::Known(process);
        }
    }

    /// Tells what became of a session's processes before it was one.
    pub(crate) fn tell_earlier_changes(&mut self, cookie: SocketCookie, out: &mut Vec<Record>) {
        let changes = self.relay(cookie).map(|relay| std::mem::take(&mut relay.changes)).unwrap_or_default();
        for ProcessChange { change, at, key, process, .. } in changes {
            self.changed(change, cookie, at, (key, process), out);
        }
    }
}
