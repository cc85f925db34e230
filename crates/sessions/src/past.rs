//! Sockets that are no live session any more, or never became one.

use std::collections::{HashMap, VecDeque};

use model::id::{DatabaseId, SocketCookie};

/// Why a socket is no live session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Past {
    /// It ended.
    Closed {
        /// Of which database.
        database: DatabaseId,
        /// Statements recorded for it.
        statements: u64,
    },
    /// It was the proxy's end of this session.
    Joined {
        /// The session.
        session: SocketCookie,
    },
    /// It was beyond the limit.
    Refused,
}

/// The most recent of them.
#[derive(Debug, Default)]
pub(crate) struct PastSessions {
    sockets: HashMap<SocketCookie, Past>,
    order: VecDeque<SocketCookie>,
}

impl PastSessions {
    pub(crate) fn insert(&mut self, cookie: SocketCookie, past: Past, max: usize) {
        if self.sockets.insert(cookie, past).is_none() {
            self.order.push_back(cookie);
        }
        while self.order.len() > max {
            if let Some(oldest) = self.order.pop_front() {
                self.sockets.remove(&oldest);
            }
        }
    }

    pub(crate) fn get_mut(&mut self, cookie: SocketCookie) -> Option<&mut Past> {
        self.sockets.get_mut(&cookie)
    }

    /// A refused socket gets in after all.
    pub(crate) fn remove(&mut self, cookie: SocketCookie) {
        if self.sockets.remove(&cookie).is_some() {
            self.order.retain(|&other| other != cookie);
        }
    }
}
