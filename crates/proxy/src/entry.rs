//! What the worker's timer knows of a connection, and how it tells the connection's task what to do.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::task::{Context, Poll, Waker};

use model::credential::AccessEnd;
use model::id::{DatabaseId, SocketCookie};
use model::mediation::{Listener, MediationEvent};
use model::time::BootTime;

/// Whose sessions are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ClientKey {
    Address(IpAddr),
    User(u32),
}

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Before its StartupMessage is forwarded.
    Startup,
    /// Messages are relayed.
    Relaying,
    /// Ciphertext is relayed.
    Unread,
    /// The server has finished, and the client was told.
    Ending,
    /// The client was told why, and may read it before the connection is closed.
    Farewell,
}

/// What the timer wants a connection to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Add to the worker's counters what has moved.
    Publish,
    /// The same, and tell the counts: nothing has moved for a while.
    Count,
    /// It did not start up, or did not end, in time.
    TimedOut,
    /// It was idle for too long.
    Idle,
    /// The worker stops.
    Drain,
    /// The policies have changed: perhaps it may not be any more.
    Reconsider,
    /// The access of whoever acts has ended.
    EndAccess(AccessEnd),
}

/// When a session ends whose access has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionEnd {
    /// When its server waits for the client, also inside of a transaction: the server rolls that back.
    BetweenStatements,
    /// Whatever runs.
    Now,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) cookie: SocketCookie,
    pub(crate) database: DatabaseId,
    pub(crate) listener: Listener,
    pub(crate) client: ClientKey,
    /// When it came into its phase.
    since: Cell<BootTime>,
    phase: Cell<Phase>,
    /// When bytes moved last.
    active: Cell<BootTime>,
    /// When the worker's counters were brought up to date.
    published: Cell<BootTime>,
    /// Bytes moved since the counts were told.
    uncounted: Cell<bool>,
    /// Transaction status, while the server waits for the client.
    ready: Cell<Option<u8>>,
    order: Cell<Option<Order>>,
    /// Its access has ended: it ends when its server waits for the client.
    ending: Cell<Option<AccessEnd>>,
    /// It was told to end with its access: once, or else the next time would cut its farewell.
    is_ended: Cell<bool>,
    /// What every core must know.
    introduction: RefCell<Vec<MediationEvent>>,
    /// The core has taken the place of the one that was told.
    forgotten: Cell<bool>,
    task: RefCell<Option<Waker>>,
}

impl Entry {
    pub(crate) fn new(
        cookie: SocketCookie,
        database: DatabaseId,
        listener: Listener,
        client: ClientKey,
        at: BootTime,
    ) -> Self {
        Self {
            cookie,
            database,
            listener,
            client,
            since: Cell::new(at),
            phase: Cell::new(Phase::Startup),
            active: Cell::new(at),
            published: Cell::new(at),
            uncounted: Cell::new(false),
            ready: Cell::new(None),
            order: Cell::new(None),
            ending: Cell::new(None),
            is_ended: Cell::new(false),
            introduction: RefCell::default(),
            forgotten: Cell::new(false),
            task: RefCell::new(None),
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase.get()
    }

    pub(crate) fn enter(&self, phase: Phase, at: BootTime) {
        self.phase.set(phase);
        self.since.set(at);
    }

    pub(crate) fn in_phase_nanos(&self, now: BootTime) -> u64 {
        now.nanos_since(self.since.get())
    }

    pub(crate) fn idle_nanos(&self, now: BootTime) -> u64 {
        now.nanos_since(self.active.get())
    }

    /// Bytes have moved.
    pub(crate) fn moved(&self, at: BootTime, ready: Option<u8>) {
        self.active.set(at);
        self.uncounted.set(true);
        self.ready.set(ready);
        self.end_if_ready();
    }

    /// Its access has ended.
    pub(crate) fn end_access(&self, when: SessionEnd, why: AccessEnd) {
        match (when, self.phase.get()) {
            (SessionEnd::BetweenStatements, Phase::Relaying) => {
                self.ending.set(Some(why));
                self.end_if_ready();
            }
            // Nobody can say when ciphertext is between statements, and before the first there is none.
            _ => self.order_end(why),
        }
    }

    fn order_end(&self, why: AccessEnd) {
        if !self.is_ended.replace(true) {
            self.order(Order::EndAccess(why));
        }
    }

    fn end_if_ready(&self) {
        if self.ready.get().is_some()
            && let Some(why) = self.ending.take()
        {
            self.order_end(why);
        }
    }

    pub(crate) fn ready(&self) -> Option<u8> {
        self.ready.get()
    }

    pub(crate) fn unpublished_nanos(&self, now: BootTime) -> u64 {
        now.nanos_since(self.published.get())
    }

    pub(crate) fn published(&self, at: BootTime) {
        self.published.set(at);
    }

    pub(crate) fn is_uncounted(&self) -> bool {
        self.uncounted.get()
    }

    pub(crate) fn counted(&self) {
        self.uncounted.set(false);
    }

    /// The core was told this, and another one will have to be.
    pub(crate) fn introduced(&self, event: MediationEvent) {
        self.introduction.borrow_mut().push(event);
    }

    /// The core knows neither it nor its counts.
    pub(crate) fn forgotten(&self) {
        self.forgotten.set(true);
        self.uncounted.set(true);
    }

    /// Repeats to the core what it does not know. Whether it knows it now.
    pub(crate) fn introduce_again(&self, repeat: impl FnMut(&MediationEvent) -> bool) -> bool {
        let is_known = !self.forgotten.get() || self.introduction.borrow().iter().all(repeat);
        self.forgotten.set(!is_known);
        is_known
    }

    /// Gives an order and wakes the task. An order to end is not replaced, and no statistics replace another order.
    pub(crate) fn order(&self, order: Order) {
        let gives_way = match self.order.get() {
            None | Some(Order::Count | Order::Publish) => true,
            Some(Order::Reconsider) => !matches!(order, Order::Count | Order::Publish),
            Some(_) => false,
        };
        if gives_way {
            self.order.set(Some(order));
        }
        if let Some(task) = &*self.task.borrow() {
            task.wake_by_ref();
        }
    }

    pub(crate) fn take_order(&self) -> Option<Order> {
        self.order.take()
    }

    /// The waker of a task does not change: it is kept once.
    pub(crate) fn belongs_to(&self, cx: &Context<'_>) {
        *self.task.borrow_mut() = Some(cx.waker().clone());
    }

    /// Polls `what` unless the connection was told to stop; being told to count is no reason to.
    pub(crate) fn poll_until<T>(
        &self,
        cx: &mut Context<'_>,
        what: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<Result<T, Order>> {
        match self.take_order() {
            None | Some(Order::Count | Order::Publish | Order::Reconsider) => what(cx).map(Ok),
            Some(order) => Poll::Ready(Err(order)),
        }
    }
}
