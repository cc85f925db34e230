//! Client processes whose session is not known yet.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use model::id::SocketCookie;
use model::process::Process;
use model::time::BootTime;

/// Clients by their own socket, bounded in number and time.
#[derive(Debug, Default)]
pub(crate) struct Unmatched {
    clients: HashMap<SocketCookie, (Arc<Process>, BootTime)>,
    /// In order of insertion; may name clients that were taken since.
    order: VecDeque<(BootTime, SocketCookie)>,
}

impl Unmatched {
    /// Keeps a client. Returns how many old ones had to go.
    pub(crate) fn insert(&mut self, socket: SocketCookie, client: Arc<Process>, at: BootTime, max: usize) -> u64 {
        self.clients.insert(socket, (client, at));
        self.order.push_back((at, socket));
        self.evict(|clients, order, _| clients > max || order > max.saturating_mul(2))
    }

    pub(crate) fn take(&mut self, socket: SocketCookie) -> Option<Arc<Process>> {
        self.clients.remove(&socket).map(|(process, _)| process)
    }

    /// Forgets clients that came before `before`. Returns how many.
    pub(crate) fn expire(&mut self, before: BootTime) -> u64 {
        self.evict(|_, _, at| at < before)
    }

    /// The process executed another program while it waits.
    pub(crate) fn update(&mut self, process: &Arc<Process>) {
        for (client, _) in self.clients.values_mut().filter(|(client, _)| client.key == process.key) {
            *client = Arc::clone(process);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.clients.len()
    }

    fn evict(&mut self, is_over: impl Fn(usize, usize, BootTime) -> bool) -> u64 {
        let mut evicted = 0;
        while let Some(&(at, socket)) = self.order.front() {
            if !is_over(self.clients.len(), self.order.len(), at) {
                break;
            }
            self.order.pop_front();
            if self.clients.get(&socket).is_some_and(|(_, inserted)| *inserted == at) {
                self.clients.remove(&socket);
                evicted += 1;
            }
        }
        evicted
    }
}
