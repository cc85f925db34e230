//! Copies both directions between a client and its server, one task for both.
//!
//! The cost of a round trip decides what the proxy costs: two receives, two sends and two waits for events, and no
//! allocation. Bytes are read into the worker's one buffer, walked and recorded in place, and written from it. Only
//! what the other socket has no room for is kept, and then nothing more is read from that side: back-pressure.

use std::borrow::Cow;
use std::future::Future as _;
use std::io;
use std::os::fd::AsFd as _;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use model::Known;
use model::credential::AccessEnd;
use model::mediation::{End, MediationEvent, Moment, Refusal, RelayCounts};
use model::principal::UnknownPrincipal;
use model::time::BootTime;
use recorder::Pending;
use tokio::time::{Sleep, sleep};

use crate::book::{Judgement, Patience, Reading, Recording, WAIT_MAX};
use crate::clock;
use crate::common::Common;
use crate::entry::{Entry, Order, Phase, SessionEnd};
use crate::governed::Governed;
use crate::login::LoginCounts;
use crate::permission::{Clearance, Permission, Unread};
use crate::rest::Rest;
use crate::stats::Bytes;
use crate::stop::Stop;
use crate::transport::Transport;
use crate::upstream::Upstream;
use crate::walk::Walked;

/// How often it is looked whether a core that is behind has read on.
const LOOK: Duration = Duration::from_millis(1);

/// What is known of the bytes.
pub(crate) enum Content {
    /// Messages.
    Read(Box<Reading>),
    /// Messages that are decided about.
    Governed(Box<Governed>),
    /// Ciphertext.
    Unread(Unread),
}

/// One direction's life.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Bytes may come.
    Open,
    /// The source has finished; the other end is to be told.
    Finishing,
    /// Over.
    Done,
}

/// What is held back until it is recorded.
struct Held {
    bytes: Vec<u8>,
    clearance: Clearance,
    pending: Pending,
    /// When it was read.
    at: BootTime,
    /// When it has waited long enough.
    deadline: Pin<Box<Sleep>>,
}

/// A relay under way.
pub(crate) struct Relay {
    pub(crate) common: Rc<Common>,
    pub(crate) entry: Rc<Entry>,
    pub(crate) client: Transport,
    to_client: Rest,
    upstream: Upstream,
    content: Content,
    /// A chunk whose record is on its way.
    held: Option<Held>,
    /// Since when the core is behind, and when it is looked again.
    pressed: Option<(BootTime, Pin<Box<Sleep>>)>,
    up: Way,
    down: Way,
    ended_by: Option<End>,
    /// What went between proxy and server before, which is in the counts of messages.
    logged_in: LoginCounts,
    messages_up: u64,
    messages_down: u64,
    /// Requests that ReadyForQuery answers; the start-up is the first.
    asked: u64,
    answered: u64,
    /// Socket counts that are in the worker's statistics already.
    told: RelayCounts,
}

impl Relay {
    pub(crate) fn new(
        common: Rc<Common>,
        entry: Rc<Entry>,
        client: Transport,
        upstream: Upstream,
        content: Content,
        logged_in: LoginCounts,
    ) -> Self {
        let phase = if matches!(content, Content::Unread(_)) { Phase::Unread } else { Phase::Relaying };
        entry.enter(phase, clock::now());
        Self {
            common,
            entry,
            client,
            to_client: Rest::new(),
            upstream,
            content,
            held: None,
            pressed: None,
            up: Way::Open,
            down: Way::Open,
            ended_by: None,
            logged_in,
            messages_up: logged_in.to_server,
            messages_down: logged_in.from_server,
            asked: 1,
            answered: 0,
            told: RelayCounts::default(),
        }
    }

    /// Counts since the beginning of the connection.
    pub(crate) fn counts(&self) -> RelayCounts {
        let (client, upstream) = (self.client.socket(), self.upstream.socket());
        let masked_cells = match &self.content {
            Content::Governed(governed) => governed.guard.masked_cells().values().sum(),
            Content::Read(_) | Content::Unread(_) => 0,
        };
        RelayCounts {
            from_client: client.received,
            to_client: client.sent,
            to_upstream: upstream.sent,
            from_upstream: upstream.received,
            messages_to_upstream: self.messages_up,
            messages_to_client: self.messages_down,
            masked_cells,
        }
    }

    /// Has the server stop what runs where the access has ended: a server whose client closes goes on with what it does.
    /// Whether something ran.
    pub(crate) async fn stop_what_runs(&mut self, stop: &Stop) -> bool {
        let is_running = stop.by == End::AccessEnded && self.entry.ready().is_none() && self.down == Way::Open;
        if let Content::Governed(governed) = &mut self.content
            && is_running
        {
            governed.cancel_now(self.client.socket().as_fd()).await;
        }
        is_running
    }

    /// Its two connections.
    pub(crate) fn part(self) -> (Transport, Upstream) {
        (self.client, self.upstream)
    }

    /// Everything that was read is written.
    pub(crate) fn is_quiet(&self) -> bool {
        let decided = !matches!(&self.content, Content::Governed(governed) if !governed.guard.is_quiet());
        self.upstream.is_drained() && self.to_client.is_empty() && self.held.is_none() && decided
    }

    /// Whether an error message of ours would be understood by the client here.
    pub(crate) fn can_be_told(&self) -> bool {
        let boundary = self.reading().is_some_and(Reading::can_be_told);
        boundary && self.to_client.is_empty() && self.down == Way::Open
    }

    /// The records of the session, if it is read.
    fn reading(&self) -> Option<&Reading> {
        match &self.content {
            Content::Read(reading) => Some(reading),
            Content::Governed(governed) => Some(&governed.reading),
            Content::Unread(_) => None,
        }
    }

    /// Takes bytes that were read during the opening.
    pub(crate) fn begin(&mut self, cx: &mut Context<'_>, from_client: &[u8], from_upstream: &[u8]) -> Result<(), Stop> {
        if !from_client.is_empty() {
            self.take_from_client(cx, from_client, clock::now(), Patience::Left)?;
        }
        if !from_upstream.is_empty() {
            self.take_from_upstream(cx, from_upstream)?;
        }
        Ok(())
    }

    /// Relays what can be relayed now; ready when the connection is over.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Stop> {
        if let Some(order) = self.entry.take_order()
            && let Some(stop) = self.follow(order)
        {
            return Poll::Ready(stop);
        }
        let mut up = self.poll_up(cx);
        let down = self.poll_down(cx);
        let mut looked = self.look_after_hold(cx);
        if up.is_pending() && matches!(&self.content, Content::Governed(governed) if governed.has_chance()) {
            up = self.poll_up(cx);
            looked = looked.and_then(|()| self.look_after_hold(cx));
        }
        if let Err(stop) = looked {
            return Poll::Ready(stop);
        }
        if let Content::Governed(governed) = &mut self.content {
            governed.keep_bounds(cx, self.client.socket().as_fd());
        }
        match (up, down) {
            (Poll::Ready(Err(stop)), _) | (_, Poll::Ready(Err(stop))) => Poll::Ready(stop),
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => {
                Poll::Ready(Stop::ended(self.ended_by.unwrap_or(End::Upstream)))
            }
            _ => Poll::Pending,
        }
    }

    /// Looks after a statement that waits for somebody's decision, and tells the client.
    fn look_after_hold(&mut self, cx: &mut Context<'_>) -> Result<(), Stop> {
        let Content::Governed(governed) = &mut self.content else { return Ok(()) };
        governed.look_after_hold(cx);
        if !self.to_client.is_empty() {
            return Ok(());
        }
        let Common { book, stats, .. } = &*self.common;
        let words = governed.speak(book, stats, clock::now());
        if words.is_empty() {
            return Ok(());
        }
        let sent = self.to_client.send(&mut self.client, cx, &words);
        match sent.map(|()| self.to_client.poll_flush(&mut self.client, cx)) {
            Ok(Poll::Pending | Poll::Ready(Ok(()))) => Ok(()),
            Err(_) | Ok(Poll::Ready(Err(_))) => Err(Stop::ended(End::ClientBroken)),
        }
    }

    fn follow(&mut self, order: Order) -> Option<Stop> {
        match order {
            Order::Publish => {
                self.tell_statistics();
                None
            }
            Order::Count => {
                self.count();
                None
            }
            Order::Reconsider => {
                self.reconsider();
                None
            }
            Order::TimedOut => Some(Stop::ended(self.ended_by.unwrap_or(End::Upstream))),
            Order::Idle => {
                Some(Stop::said(End::Idle, "57P05", "terminating connection due to the proxy's idle-session timeout"))
            }
            Order::Drain => {
                let text = "terminating connection because the proxy is stopping; connect again";
                Some(Stop::said(End::Drained, "57P01", text))
            }
            Order::EndAccess(why) => Some(access_ended(why)),
        }
    }

    /// Ends, between two statements, where the policies that there are now would not let it begin.
    fn reconsider(&self) {
        if let Content::Governed(governed) = &self.content
            && !governed.guard.is_admitted(clock::wall())
        {
            self.entry.end_access(SessionEnd::BetweenStatements, AccessEnd::PolicyChanged);
        }
    }

    /// Says how much was relayed, if nothing is under way.
    fn count(&mut self) {
        self.tell_statistics();
        if !self.is_quiet() {
            return;
        }
        self.entry.counted();
        self.tell_counts(Moment::Quiet);
    }

    fn tell_counts(&self, moment: Moment) {
        let (connection, at) = (self.entry.cookie, clock::now());
        self.common.note(&MediationEvent::Counted { connection, at, counts: self.counts(), moment });
    }

    /// Adds to the worker's statistics what was relayed since the last time.
    pub(crate) fn tell_statistics(&mut self) {
        let now = self.counts();
        let told = std::mem::replace(&mut self.told, now);
        self.entry.published(clock::now());
        let stats = &self.common.stats;
        stats.relayed(Bytes::FromClient, now.from_client - told.from_client);
        stats.relayed(Bytes::ToClient, now.to_client - told.to_client);
        stats.relayed(Bytes::ToUpstream, now.to_upstream - told.to_upstream);
        stats.relayed(Bytes::FromUpstream, now.from_upstream - told.from_upstream);
        stats.masked(now.masked_cells - told.masked_cells);
    }

    /// Client to server.
    fn poll_up(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Stop>> {
        let common = self.common.clone();
        loop {
            if self.up == Way::Done {
                return Poll::Ready(Ok(()));
            }
            if ready!(self.poll_up_room(cx)).is_err() {
                // What the server said last may still be on its way to the client.
                self.end(End::UpstreamBroken);
                self.up = Way::Done;
                continue;
            }
            if self.up == Way::Finishing && !self.awaits_server() {
                self.up = Way::Done;
                continue;
            }
            if self.held.is_some() {
                ready!(self.poll_held(cx))?;
                continue;
            }
            let patience = ready!(self.poll_core(cx));
            if let Content::Governed(governed) = &mut self.content {
                if governed.take_chance() {
                    self.take_governed(cx, &[], clock::now(), patience)?;
                    continue;
                }
                // Behind its end there is nothing to read: what waits goes on with the server's next answer.
                if !governed.has_room() || self.up == Way::Finishing {
                    return Poll::Pending;
                }
            }
            if self.up == Way::Finishing {
                // What the client said last waits for the server.
                return Poll::Pending;
            }
            let mut chunk = common.chunk.borrow_mut();
            match ready!(self.client.poll_read(cx, &mut chunk)) {
                Err(_) => return Poll::Ready(Err(Stop::ended(self.ended_by.unwrap_or(End::ClientBroken)))),
                // Nobody is there any more who wants what waits for approval.
                Ok(0) if self.is_holding() => return Poll::Ready(Err(Stop::ended(End::Client))),
                Ok(0) => {
                    self.end(End::Client);
                    self.up = Way::Finishing;
                }
                Ok(length) => {
                    self.take_from_client(cx, chunk.get(..length).unwrap_or_default(), clock::now(), patience)?;
                }
            }
        }
    }

    /// Ready when the core has room for more: back-pressure for sessions that end when something is not recorded. One that
    /// takes nothing for [`WAIT_MAX`] is not waited for.
    fn poll_core(&mut self, cx: &mut Context<'_>) -> Poll<Patience> {
        if !self.reading().is_some_and(|reading| self.common.book.is_pressed(reading)) {
            self.pressed = None;
            return Poll::Ready(Patience::Left);
        }
        let now = clock::now();
        let (since, look) = self.pressed.get_or_insert_with(|| (now, Box::pin(sleep(LOOK))));
        if u128::from(now.nanos_since(*since)) > WAIT_MAX.as_nanos() {
            return Poll::Ready(Patience::Exhausted);
        }
        while look.as_mut().poll(cx).is_ready() {
            look.set(sleep(LOOK));
        }
        Poll::Pending
    }

    /// Ready when more may be sent to the server; or, at the end, when it was told that nothing more comes.
    fn poll_up_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.up {
            Way::Finishing if self.held.is_none() && !self.awaits_server() => self.upstream.poll_finish(cx),
            _ => self.upstream.poll_flush(cx),
        }
    }

    /// Records a piece of the client's stream, and forwards it as soon as that is enough.
    fn take_from_client(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
        at: BootTime,
        patience: Patience,
    ) -> Result<(), Stop> {
        self.entry.moved(at, None);
        let permission = match &mut self.content {
            Content::Governed(_) => return self.take_governed(cx, bytes, at, patience),
            Content::Unread(ciphertext) => Permission::unread(ciphertext),
            Content::Read(reading) => {
                let (judgement, walked) = reading.client(&self.common.book, &self.common.stats, at, bytes);
                self.messages_up += walked.messages;
                self.asked += walked.cycles;
                if walked.terminated {
                    // The server answers by closing: that is not its own wish.
                    self.ended_by.get_or_insert(End::Client);
                }
                match judgement {
                    Judgement::Exempted(exemption) => Permission::unrecorded(exemption),
                    Judgement::Refused(reason) => return Err(not_recorded(reason)),
                    Judgement::Recorded(pending) => {
                        let Common { book, stats, .. } = &*self.common;
                        match book.ask(reading, stats, pending, Patience::Left, cx.waker()) {
                            Recording::Permitted(permission) => permission,
                            Recording::Refused(reason) => return Err(not_recorded(reason)),
                            Recording::Waits(pending) => {
                                let deadline = Box::pin(sleep(WAIT_MAX));
                                let (bytes, clearance) = (bytes.to_vec(), Clearance::Ungoverned);
                                self.held = Some(Held { bytes, clearance, pending, at, deadline });
                                return Ok(());
                            }
                        }
                    }
                }
            }
        };
        self.forward(cx, bytes, permission, Clearance::Ungoverned, at);
        Ok(())
    }

    /// Something of the client's waits for somebody's decision.
    fn is_holding(&self) -> bool {
        matches!(&self.content, Content::Governed(governed) if governed.guard.is_holding())
    }

    /// Something of the client's waits for an answer of the server.
    fn awaits_server(&self) -> bool {
        matches!(&self.content, Content::Governed(governed) if governed.is_waiting())
    }

    /// Has a piece of the client's stream decided about; none: what waited.
    fn take_governed(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
        at: BootTime,
        patience: Patience,
    ) -> Result<(), Stop> {
        let Content::Governed(governed) = &mut self.content else { return Ok(()) };
        if governed.expires(clock::wall()) {
            let (connection, principal) = (self.entry.cookie, Known::Unknown(UnknownPrincipal::Expired));
            self.common.introduce(&self.entry, MediationEvent::Identified { connection, at, principal });
        }
        let Common { book, stats, .. } = &*self.common;
        let piece = governed.client(book, stats, at, bytes, patience).map_err(not_recorded)?;
        self.asked += piece.cycles;
        self.messages_up += piece.messages;
        if piece.terminated {
            self.ended_by.get_or_insert(End::Client);
        }
        let permission = match piece.judgement {
            None => Permission::own(&piece.cleared),
            Some(Judgement::Exempted(exemption)) => Permission::unrecorded(exemption),
            Some(Judgement::Refused(reason)) => return Err(not_recorded(reason)),
            Some(Judgement::Recorded(pending)) => {
                match book.ask(&governed.reading, stats, pending, Patience::Left, cx.waker()) {
                    Recording::Permitted(permission) => permission,
                    Recording::Refused(reason) => return Err(not_recorded(reason)),
                    Recording::Waits(pending) => {
                        let deadline = Box::pin(sleep(WAIT_MAX));
                        let clearance = Clearance::Cleared(piece.cleared);
                        self.held = Some(Held { bytes: piece.bytes, clearance, pending, at, deadline });
                        return Ok(());
                    }
                }
            }
        };
        if !piece.bytes.is_empty() {
            self.forward(cx, &piece.bytes, permission, Clearance::Cleared(piece.cleared), at);
        }
        Ok(())
    }

    fn forward(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
        permission: Permission,
        clearance: Clearance,
        at: BootTime,
    ) {
        if self.upstream.forward(cx, bytes, permission, clearance).is_err() {
            self.end(End::UpstreamBroken);
            self.up = Way::Done;
        }
        self.common.stats.forwarded_after(clock::now().nanos_since(at));
    }

    /// Asks again for the permission of what is held back.
    fn poll_held(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Stop>> {
        let Some(mut held) = self.held.take() else { return Poll::Ready(Ok(())) };
        let patience = match held.deadline.as_mut().poll(cx) {
            Poll::Ready(()) => Patience::Exhausted,
            Poll::Pending => Patience::Left,
        };
        let Common { book, stats, .. } = &*self.common;
        let answer = match &self.content {
            Content::Unread(ciphertext) => Recording::Permitted(Permission::unread(ciphertext)),
            Content::Read(reading) => book.ask(reading, stats, held.pending, patience, cx.waker()),
            Content::Governed(governed) => book.ask(&governed.reading, stats, held.pending, patience, cx.waker()),
        };
        match answer {
            Recording::Permitted(permission) => {
                self.forward(cx, &held.bytes, permission, held.clearance, held.at);
                Poll::Ready(Ok(()))
            }
            Recording::Refused(reason) => Poll::Ready(Err(not_recorded(reason))),
            Recording::Waits(_) => {
                self.held = Some(held);
                Poll::Pending
            }
        }
    }

    /// Server to client.
    fn poll_down(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Stop>> {
        let common = self.common.clone();
        loop {
            if self.down == Way::Done {
                return Poll::Ready(Ok(()));
            }
            if ready!(self.to_client.poll_flush(&mut self.client, cx)).is_err() {
                return Poll::Ready(Err(Stop::ended(self.ended_by.unwrap_or(End::ClientBroken))));
            }
            if self.down == Way::Finishing {
                // A client that has gone already does not need to be told.
                let _gone = ready!(self.client.poll_finish(cx));
                self.down = Way::Done;
                self.entry.enter(Phase::Ending, clock::now());
                continue;
            }
            let _patience = ready!(self.poll_core(cx));
            let mut chunk = common.chunk.borrow_mut();
            match ready!(self.upstream.poll_read(cx, &mut chunk)) {
                Ok(0) => self.server_finished(End::Upstream),
                Ok(length) => self.take_from_upstream(cx, chunk.get(..length).unwrap_or_default())?,
                Err(_) => self.server_finished(End::UpstreamBroken),
            }
        }
    }

    fn server_finished(&mut self, by: End) {
        self.end(by);
        self.down = Way::Finishing;
        // The client may stay for long, and nobody waits for it to compare.
        self.tell_counts(Moment::ServerFinished);
    }

    /// Records a piece of the server's stream and passes it on.
    fn take_from_upstream(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Result<(), Stop> {
        let at = clock::now();
        let Common { book, stats, .. } = &*self.common;
        let (bytes, walked) = match &mut self.content {
            Content::Unread(_) => (Cow::Borrowed(bytes), Walked::default()),
            Content::Read(reading) => {
                let walked = reading.server(book, stats, at, bytes);
                self.messages_down += walked.messages;
                (Cow::Borrowed(bytes), walked)
            }
            Content::Governed(governed) => {
                let (bytes, walked) = governed.server(book, stats, at, bytes);
                self.messages_down = self.logged_in.from_server + governed.guard.messages_from_server();
                (bytes, walked)
            }
        };
        self.answered += walked.cycles;
        // A status that comes while more is asked is no rest.
        let ready = walked.ready.filter(|_| self.answered >= self.asked);
        self.entry.moved(at, ready);
        self.to_client
            .send(&mut self.client, cx, &bytes)
            .map_err(|_broken| Stop::ended(self.ended_by.unwrap_or(End::ClientBroken)))
    }

    /// The first end decides who ended it.
    fn end(&mut self, by: End) {
        self.ended_by.get_or_insert(by);
    }
}

/// A session whose access has ended.
fn access_ended(why: AccessEnd) -> Stop {
    let why = why.word();
    let text = format!("terminating connection because its access has ended ({why}); log in again, or ask for access");
    Stop::said(End::AccessEnded, "57P01", text)
}

/// A session of an enforced database whose statement is not on record.
fn not_recorded(reason: Refusal) -> Stop {
    match reason {
        Refusal::Protocol => Stop::refused(reason, "08P01", "these bytes are not the PostgreSQL protocol"),
        _ => Stop::refused(reason, "58030", "the statement could not be recorded, so it was not run"),
    }
}
