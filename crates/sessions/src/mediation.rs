//! The proxy's word: joins a client's connection to the proxy with the proxy's connection to the server.
//!
//! Three sockets, two witnesses. The kernel tells of the *front* (accepted socket A, with the client's process) and of
//! the *hop* (the server's socket S, whose client is the proxy's own socket U); the proxy tells which U belongs to
//! which A. When all of it is there, A's session becomes a part of S's and A is only a name for it. Each may come
//! first, because the two witnesses write to different rings: a front is a session that nobody hears of, and a hop
//! keeps what its decoder says to itself, until they meet or have waited [`crate::Limits::join_nanos`].
//!
//! Only a socket that the privileged process has marked is a hop: what a worker says can not hide a bypass.

use std::sync::Arc;

use model::Known;
use model::coverage::Class;
use model::id::{DatabaseId, SocketCookie};
use model::kernel::KernelEvent;
use model::mediation::{Leg, Listener, Mediation, MediationEvent, Moment, RelayCounts, Route};
use model::principal::{Principal, UnknownPrincipal};
use model::record::{Record, What};
use model::session::{Encryption, Origin, Session, Transport};
use model::time::{BootTime, WallTime};
use model::wire::WireEvent;

use crate::Sessions;
use crate::early::Event;
use crate::kernel::Opening;
use crate::past::Past;
use crate::relay::{Relay, Source};

impl Sessions {
    /// What the proxy says.
    pub fn on_mediation(&mut self, event: MediationEvent, out: &mut Vec<Record>) {
        if let MediationEvent::Accepted { at, .. }
        | MediationEvent::Connected { at, .. }
        | MediationEvent::Identified { at, .. }
        | MediationEvent::Counted { at, .. }
        | MediationEvent::Refused { at, .. }
        | MediationEvent::Ended { at, .. } = event
        {
            self.latest = self.latest.max(at);
        }
        let accepted = event.connection();
        let cookie = self.named(accepted);
        if self.live.contains_key(&cookie) {
            return self.proxy_event(cookie, event, out);
        }
        match event {
            MediationEvent::Accepted { at, database, listener, route, .. } if self.past.get_mut(accepted).is_none() => {
                self.accepted(accepted, (at, database), (listener, route), out);
            }
            event => self.without_session(accepted, Event::Mediation(event), out),
        }
    }

    /// What the decoder of a worker's plaintext says about the connection with the accepted socket `connection`.
    pub fn on_wire_mediated(
        &mut self,
        connection: SocketCookie,
        at: BootTime,
        event: WireEvent,
        out: &mut Vec<Record>,
    ) {
        self.latest = self.latest.max(at);
        let cookie = self.named(connection);
        let Some(entry) = self.live.get_mut(&cookie) else {
            return self.without_session(connection, Event::MediatedWire(at, event), out);
        };
        // What protects the client's connection is not in the plaintext: the worker tells it.
        if matches!(event, WireEvent::Encryption(_)) {
            return;
        }
        if entry.is_front() {
            return self.wire_of_front(cookie, at, event, out);
        }
        let is_relayed = entry.session.mediation.as_ref().is_some_and(|mediation| mediation.relayed);
        match entry.source() {
            Source::Worker => {}
            Source::Kernel if is_relayed => {
                self.totals.repeated_events += 1;
                return;
            }
            Source::Kernel | Source::Undecided => self.choose(cookie, Source::Worker, out),
        }
        let _ = self.apply_wire(cookie, at, event, out);
    }

    /// A session that goes through the proxy, by the proxy's accepted socket; also one that has no hop yet.
    #[must_use]
    pub fn get_mediated(&self, connection: SocketCookie) -> Option<&Session> {
        self.live.get(&self.named(connection)).map(|entry| &entry.session)
    }

    /// Sessions that go through the proxy, also those that have no hop yet.
    pub fn mediated(&self) -> impl Iterator<Item = &Session> {
        self.live.values().map(|entry| &entry.session).filter(|session| session.mediation.is_some())
    }

    /// Those of them that have outlived the proof of who acts, with who that is, or was: nobody has since the next thing that
    /// the client said.
    pub fn outlived(&self, now: WallTime) -> impl Iterator<Item = (&Session, &Arc<Principal>)> {
        self.live.values().filter(|entry| entry.session.mediation.is_some()).filter_map(move |entry| {
            let principal = match &entry.session.principal {
                Known::Known(principal) if principal.expires.is_some_and(|end| end <= now) => principal,
                Known::Unknown(UnknownPrincipal::Expired) => entry.relay.as_ref()?.outlived.as_ref()?,
                _ => return None,
            };
            Some((&entry.session, principal))
        })
    }

    /// When the kernel saw the server's socket of such a session close, and whether only later, by an iterator; `None`: it is
    /// open, or nothing is known of the session any more. A session ends when its client's connection has ended as well.
    #[must_use]
    pub fn server_closed(&self, connection: SocketCookie) -> Option<(BootTime, bool)> {
        self.live.get(&self.named(connection))?.relay.as_ref()?.server_closed
    }

    /// The server's own number of the process that serves such a session, as it has told the client.
    #[must_use]
    pub fn backend_pid(&self, connection: SocketCookie) -> Option<u32> {
        self.live.get(&self.named(connection))?.backend_pid
    }

    /// Every socket whose ledger the kernel keeps: the servers' and the proxy's.
    pub fn sockets(&self) -> impl Iterator<Item = SocketCookie> {
        self.live.keys().chain(self.aliases.keys()).copied()
    }

    /// Connections to the proxy that have no hop (yet).
    #[must_use]
    pub fn fronts(&self) -> usize {
        self.live.values().filter(|entry| entry.is_front()).count()
    }

    /// The session that an accepted socket of the proxy belongs to, or the socket itself.
    pub(crate) fn named(&self, accepted: SocketCookie) -> SocketCookie {
        self.aliases.get(&accepted).copied().unwrap_or(accepted)
    }

    /// The proxy tells of a connection before the kernel does.
    fn accepted(
        &mut self,
        accepted: SocketCookie,
        (at, database): (BootTime, DatabaseId),
        (listener, route): (Listener, Route),
        out: &mut Vec<Record>,
    ) {
        let (transport, peer_credentials) = match route {
            Route::Tcp { client, destination } => {
                (Transport::Tcp { client, server: destination, network_namespace: 0 }, None)
            }
            Route::Unix { pid, uid, .. } => (Transport::Unix { path: String::new() }, Some((pid, uid))),
        };
        let opening = Opening {
            at,
            database,
            transport,
            client_cookie: None,
            peer_credentials,
            origin: Origin::Opened,
            leg: Leg::Front,
        };
        self.opened(accepted, opening, out);
        if let Some(mediation) = self.mediation(accepted) {
            mediation.listener = Some(listener);
        }
    }

    /// An event of the proxy about a front, a joined session, or one that stands for itself.
    fn proxy_event(&mut self, cookie: SocketCookie, event: MediationEvent, out: &mut Vec<Record>) {
        match event {
            MediationEvent::Accepted { listener, .. } => {
                if let Some(mediation) = self.mediation(cookie) {
                    mediation.listener.get_or_insert(listener);
                }
            }
            MediationEvent::Connected { connection, upstream, .. } => self.upstream(connection, upstream, out),
            MediationEvent::Encrypted { encryption, relayed, .. } => {
                self.client_encrypted(cookie, encryption, relayed, out);
            }
            MediationEvent::Identified { at, principal, .. } => self.identified(cookie, at, principal),
            MediationEvent::Counted { at, counts, moment, .. } => self.relayed(cookie, at, counts, moment),
            MediationEvent::Refused { at, reason, sqlstate, message, connection } => {
                if let Some(mediation) = self.mediation(cookie) {
                    mediation.refused = Some(reason.word());
                }
                let waits = self.live.get(&cookie).is_some_and(|entry| entry.is_front() && !entry.is_alone());
                let event = MediationEvent::Refused {
                    at,
                    reason,
                    sqlstate: sqlstate.clone(),
                    message: message.clone(),
                    connection,
                };
                if waits && self.hold(cookie, Event::Mediation(event)).is_ok() {
                    return;
                }
                let text = if message.is_empty() { reason.word() } else { &message };
                self.refused(cookie, at, &sqlstate, text, out);
            }
            MediationEvent::Ended { at, counts, by, .. } => {
                self.relayed(cookie, at, counts, Moment::Busy);
                if let Some(mediation) = self.mediation(cookie) {
                    mediation.ended_by = Some(by.word());
                }
                if let Some(relay) = self.relay(cookie) {
                    relay.ended = Some(at);
                }
                self.waiting.insert(cookie);
            }
        }
        self.finish(cookie, out);
        self.settle(cookie, out);
    }

    fn refused(&mut self, cookie: SocketCookie, at: BootTime, sqlstate: &str, message: &str, out: &mut Vec<Record>) {
        let Some(entry) = self.live.get(&cookie) else {
            return;
        };
        let (database, logged_in) = (entry.session.database, entry.is_logged_in());
        self.totals.database(database).refused += 1;
        let (severity, sqlstate, message) = ("FATAL".to_owned(), sqlstate.to_owned(), message.to_owned());
        let by = "proxy";
        self.record(cookie, at, |session| What::Refused { session, by, logged_in, severity, sqlstate, message }, out);
    }

    fn relayed(&mut self, cookie: SocketCookie, at: BootTime, counts: RelayCounts, moment: Moment) {
        if let Some(mediation) = self.mediation(cookie) {
            mediation.counts = counts;
        }
        if let Some(relay) = self.relay(cookie) {
            relay.comparison.counted(at, moment);
        }
    }

    fn identified(&mut self, cookie: SocketCookie, at: BootTime, principal: Known<Arc<Principal>, UnknownPrincipal>) {
        if let Some(entry) = self.live.get_mut(&cookie)
            && entry.session.principal != principal
        {
            let has_expired = principal == Known::Unknown(UnknownPrincipal::Expired);
            let before = std::mem::replace(&mut entry.session.principal, principal);
            if let Some(relay) = &mut entry.relay {
                relay.outlived = before.known().filter(|_| has_expired).map(Arc::clone);
            }
            entry.changed(at);
        }
    }

    fn client_encrypted(&mut self, cookie: SocketCookie, encryption: Encryption, relayed: bool, out: &mut Vec<Record>) {
        let at = self.latest;
        let Some(entry) = self.live.get_mut(&cookie) else {
            return;
        };
        entry.encryption_by_kernel(encryption, at);
        let is_joined = !entry.is_front();
        let Some(relay) = &mut entry.relay else {
            return;
        };
        relay.encryption_known = true;
        if let Some(mediation) = &mut entry.session.mediation {
            mediation.relayed = relayed;
        }
        if is_joined {
            self.choose(cookie, if relayed { Source::Kernel } else { Source::Worker }, out);
        }
    }

    /// The proxy's socket to the server is known.
    fn upstream(&mut self, accepted: SocketCookie, upstream: SocketCookie, out: &mut Vec<Record>) {
        // From when it is told: it may be repeated long after it happened.
        let since = self.latest;
        let Some(entry) = self.live.get_mut(&accepted).filter(|entry| entry.is_front()) else {
            return;
        };
        if let Some(mediation) = &mut entry.session.mediation {
            mediation.upstream = Some(upstream);
        }
        if let Some(relay) = &mut entry.relay {
            relay.since = since;
        }
        self.by_upstream.insert(upstream, accepted);
        self.waiting.insert(accepted);
        if let Some(&server) = self.by_client.get(&upstream) {
            self.join(accepted, server, out);
        }
    }

    /// A hop was opened: perhaps the proxy has told already whose it is.
    pub(crate) fn hop_opened(&mut self, server: SocketCookie, out: &mut Vec<Record>) {
        self.waiting.insert(server);
        let upstream = self.live.get(&server).and_then(|entry| entry.session.client_cookie);
        if upstream.is_some_and(|upstream| self.own.contains_key(&upstream)) {
            return self.stand_alone(server, out);
        }
        if let Some(&accepted) = upstream.and_then(|upstream| self.by_upstream.get(&upstream)) {
            self.join(accepted, server, out);
        }
    }

    /// The proxy's socket to the server `upstream` is no client's hop: the agent itself connects, as `rule` allows.
    /// To be said before the connection ends.
    pub fn set_own(&mut self, upstream: SocketCookie, rule: Arc<str>, out: &mut Vec<Record>) {
        if self.own.len() >= self.limits.past_sessions_max {
            // Sessions take theirs with them: what is left was never seen.
            self.own.clear();
        }
        self.own.insert(upstream, rule);
        if let Some(&server) = self.by_client.get(&upstream) {
            self.stand_alone(server, out);
        }
    }

    /// The two connections are one session, named by the server's socket.
    fn join(&mut self, accepted: SocketCookie, server: SocketCookie, out: &mut Vec<Record>) {
        let is_hop = self.live.get(&server).is_some_and(|entry| entry.leg == Leg::Hop && !entry.is_joined());
        let is_front = self.live.get(&accepted).is_some_and(|entry| entry.is_front() && !entry.is_alone());
        if !is_hop || !is_front {
            return;
        }
        let Some(mut front) = self.live.remove(&accepted) else {
            return;
        };
        self.forget(accepted, &front);
        self.waiting.remove(&accepted);
        self.waiting.insert(server);
        self.aliases.insert(accepted, server);
        let latest = self.latest;
        let Some(entry) = self.live.get_mut(&server) else {
            return;
        };
        if entry.is_counted {
            // It stood for itself, with the hop's transport.
            self.totals.database(entry.session.database).moved(&entry.session, &front.session.transport);
        }
        entry.merge(&mut front, latest);
        let is_relayed = entry.session.mediation.as_ref().is_some_and(|mediation| mediation.relayed);
        let is_decided = entry.relay.as_ref().is_some_and(|relay| relay.encryption_known);
        if let Some(pid) = entry.backend_pid {
            self.by_backend.insert((entry.session.database, pid), server);
        }
        for process in entry.heirs.iter().chain(entry.session.client.known().map(|client| &client.key)) {
            self.holders.insert(*process, server);
        }
        if let Some(client) = entry.session.client_cookie {
            self.by_client.insert(client, server);
        }
        let events = self.early.take(accepted).map(|waiting| waiting.events).unwrap_or_default();
        if is_decided {
            self.choose(server, if is_relayed { Source::Kernel } else { Source::Worker }, out);
        }
        self.establish(server);
        for event in events {
            self.replay_event(server, event, out);
        }
        self.finish(server, out);
        self.settle(server, out);
    }

    /// This decoder's word counts if nobody else's does.
    fn choose_by_default(&mut self, cookie: SocketCookie, source: Source, out: &mut Vec<Record>) {
        if self.relay(cookie).is_some_and(|relay| relay.source == Source::Undecided) {
            self.choose(cookie, source, out);
        }
    }

    /// From now on this decoder's word counts; what the other said meanwhile is the same once more.
    pub(crate) fn choose(&mut self, cookie: SocketCookie, source: Source, out: &mut Vec<Record>) {
        let Some(relay) = self.relay(cookie) else {
            return;
        };
        relay.source = source;
        let Some(waiting) = self.early.take(cookie) else {
            return;
        };
        for event in waiting.events {
            match event {
                Event::Wire(..) if source == Source::Worker => self.totals.repeated_events += 1,
                event => self.replay_event(cookie, event, out),
            }
        }
    }

    fn replay_event(&mut self, cookie: SocketCookie, event: Event, out: &mut Vec<Record>) {
        match event {
            Event::Kernel(event) => self.kernel_event(event, out),
            Event::Wire(at, event) => self.on_wire(cookie, at, event, out),
            Event::Mediation(event) => self.on_mediation(event, out),
            Event::MediatedWire(at, event) => self.on_wire_mediated(cookie, at, event, out),
        }
    }

    /// What a worker's decoder says while its connection has no hop: the login is the front's, the rest waits.
    fn wire_of_front(&mut self, cookie: SocketCookie, at: BootTime, event: WireEvent, out: &mut Vec<Record>) {
        let is_of_login = matches!(
            event,
            WireEvent::Startup { .. }
                | WireEvent::AuthenticationRequested(_)
                | WireEvent::Authenticated
                | WireEvent::BackendPid(_)
                | WireEvent::ParameterStatus { .. }
                | WireEvent::Notification { .. }
                | WireEvent::Terminated
        );
        let is_alone = self.relay(cookie).is_some_and(|relay| relay.is_alone);
        if is_of_login || is_alone {
            let _ = self.apply_wire(cookie, at, event, out);
        } else if let Err(Event::MediatedWire(at, event)) = self.hold(cookie, Event::MediatedWire(at, event)) {
            // No room to wait: it stands for itself from now on.
            self.stand_alone(cookie, out);
            let _ = self.apply_wire(cookie, at, event, out);
        }
    }

    /// Keeps an event of a live socket until it has its other half; gives it back where there is no room.
    pub(crate) fn hold(&mut self, cookie: SocketCookie, event: Event) -> Result<(), Event> {
        let (max, bytes_max) = (self.limits.early_sessions_max, self.limits.early_bytes_max);
        if self.live.get(&cookie).is_none_or(|entry| entry.is_alone()) || self.early.is_full_for(cookie, max) {
            return Err(event);
        }
        // There is room for the socket: nothing is pushed out.
        self.early.wait(cookie, self.latest, max);
        self.early.keep(cookie, event, bytes_max)
    }

    /// It has waited long enough: a front becomes a session of its own, a hop one of unknown origin.
    pub(crate) fn stand_alone(&mut self, cookie: SocketCookie, out: &mut Vec<Record>) {
        let Some(relay) = self.relay(cookie).filter(|relay| !relay.is_alone) else {
            return;
        };
        relay.is_alone = true;
        self.establish(cookie);
        let is_hop = self.live.get(&cookie).is_some_and(|entry| entry.leg == Leg::Hop);
        if is_hop {
            self.choose_by_default(cookie, Source::Kernel, out);
        } else if let Some(waiting) = self.early.take(cookie) {
            for event in waiting.events {
                self.replay_event(cookie, event, out);
            }
        }
        self.settle(cookie, out);
    }

    /// A session's place is known now: it counts as one.
    fn establish(&mut self, cookie: SocketCookie) {
        let Some(entry) = self.live.get_mut(&cookie) else {
            return;
        };
        let mediation = entry.session.mediation.as_deref();
        let is_joined = mediation.is_some_and(|mediation| mediation.hop.is_some());
        let never_had_hop = mediation.is_some_and(|mediation| mediation.upstream.is_none());
        let own = entry.session.client_cookie.and_then(|client| self.own.get(&client));
        entry.session.class = Some(match own {
            Some(rule) => Class::AllowedDirect(Arc::clone(rule)),
            None if is_joined || never_had_hop => Class::Mediated,
            None => Class::Unknown,
        });
        if !std::mem::replace(&mut entry.is_counted, true) {
            let session = &entry.session;
            let bytes = session.ledger;
            let totals = self.totals.database(session.database);
            totals.opened(session);
            if entry.leg == Leg::Front {
                // Its bytes were not those of a session until now.
                totals.add_bytes(&bytes);
            }
        }
    }

    /// Ends what has ended, as soon as everything about it is told or was waited for.
    pub(crate) fn finish(&mut self, cookie: SocketCookie, out: &mut Vec<Record>) {
        let (latest, join_nanos) = (self.latest, self.limits.join_nanos);
        let Some(entry) = self.live.get(&cookie) else {
            return;
        };
        let (Some(relay), leg) = (&entry.relay, entry.leg) else {
            return;
        };
        let Some(first) = relay.first_end() else {
            return;
        };
        let is_late = latest.nanos_since(first) >= join_nanos;
        let mediation = entry.session.mediation.as_deref();
        let unix_front = mediation.is_some_and(|mediation| mediation.listener == Some(Listener::UnixSocket));
        let front_is_over = relay.ended.is_some() && (unix_front || relay.front_closed.is_some());
        match leg {
            Leg::Hop => {
                let Some((at, missed)) = relay.server_closed else {
                    return;
                };
                let is_known = entry.is_joined() && front_is_over || !entry.is_joined() && relay.is_alone;
                if is_known || is_late {
                    self.stand_or_compare(cookie, missed, out);
                    self.end(cookie, at, missed, out);
                }
            }
            Leg::Front => {
                let expects_hop = mediation.is_some_and(|mediation| mediation.upstream.is_some()) && !relay.is_alone;
                if is_late || front_is_over && !expects_hop {
                    let at = relay.ended.or(relay.front_closed).unwrap_or(first);
                    let is_explained = relay.ended.is_some() || mediation.is_some_and(|known| known.listener.is_some());
                    if is_explained || entry.session.origin == Origin::Opened {
                        self.stand_alone(cookie, out);
                        self.end(cookie, at, false, out);
                    } else {
                        self.drop_unexplained(cookie);
                    }
                }
            }
            Leg::Direct => {}
        }
    }

    /// A connection to the proxy that is older than this core: nothing is known of what became of it.
    fn drop_unexplained(&mut self, cookie: SocketCookie) {
        if let Some(entry) = self.live.remove(&cookie) {
            self.totals.fronts_unexplained += 1;
            self.forget(cookie, &entry);
            self.forget_mediation(cookie, &entry.session);
        }
    }

    fn stand_or_compare(&mut self, cookie: SocketCookie, missed: bool, out: &mut Vec<Record>) {
        let is_joined = self.live.get(&cookie).is_some_and(|entry| entry.is_joined());
        if is_joined {
            // Whatever the sources are, nobody will decide it any more.
            self.choose_by_default(cookie, Source::Kernel, out);
            self.compare_at_end(cookie, missed, out);
        } else {
            self.stand_alone(cookie, out);
        }
    }

    fn compare_at_end(&mut self, cookie: SocketCookie, missed: bool, out: &mut Vec<Record>) {
        let Some(entry) = self.live.get_mut(&cookie) else {
            return;
        };
        let ledger = entry.session.ledger;
        let is_whole = entry.session.origin == Origin::Opened && !missed;
        let (Some(relay), Some(mediation)) = (&mut entry.relay, &mut entry.session.mediation) else {
            return;
        };
        let Some(ended) = relay.last_counts().filter(|_| is_whole) else {
            return;
        };
        mediation.undelivered = mediation.counts.to_upstream.saturating_sub(ledger.socket_received);
        let differences = relay.comparison.end(&mediation.counts, &ledger);
        self.alert(cookie, ended, differences, "end", out);
    }

    /// The kernel's ledger of a joined session was read.
    pub(crate) fn look(&mut self, cookie: SocketCookie, out: &mut Vec<Record>) {
        let now = self.latest;
        let Some(entry) = self.live.get_mut(&cookie) else {
            return;
        };
        if !entry.is_joined() || entry.session.origin != Origin::Opened {
            return;
        }
        let (Some(relay), Some(mediation)) = (&mut entry.relay, &entry.session.mediation) else {
            return;
        };
        let differences = relay.comparison.look(now, &mediation.counts, &entry.session.ledger);
        self.alert(cookie, now, differences, "quiet", out);
    }

    fn alert(
        &mut self,
        cookie: SocketCookie,
        at: BootTime,
        differences: Vec<crate::relay::Difference>,
        when: &'static str,
        out: &mut Vec<Record>,
    ) {
        for crate::relay::Difference { figure, proxy, kernel } in differences {
            *self.totals.integrity_alerts.entry(figure).or_default() += 1;
            self.record(cookie, at, |session| What::IntegrityAlert { session, figure, proxy, kernel, when }, out);
        }
    }

    /// The kernel's word about the client's connection of a joined session.
    pub(crate) fn front_event(&mut self, server: SocketCookie, event: KernelEvent, out: &mut Vec<Record>) {
        match event {
            KernelEvent::Connected { client_cookie, at, process, .. } => {
                self.attach_client(server, Some(client_cookie), at, process);
            }
            KernelEvent::ClientGone { .. } => self.client_gone(server),
            KernelEvent::Counted { ledger, .. } => {
                self.front_counted(server, ledger.socket_received, ledger.socket_sent)
            }
            KernelEvent::Closed { at, ledger, .. } => {
                self.front_counted(server, ledger.socket_received, ledger.socket_sent);
                if let Some(relay) = self.relay(server) {
                    relay.front_closed = Some(at);
                }
                self.waiting.insert(server);
                self.finish(server, out);
            }
            _ => {}
        }
        self.settle(server, out);
    }

    fn front_counted(&mut self, cookie: SocketCookie, received: u64, sent: u64) {
        if let Some(mediation) = self.mediation(cookie) {
            mediation.front_received = mediation.front_received.max(received);
            mediation.front_sent = mediation.front_sent.max(sent);
        }
    }

    /// Looks after everything that waits for its other half, or for its last word.
    pub(crate) fn tick_mediation(&mut self, now: BootTime, out: &mut Vec<Record>) {
        let cookies: Vec<SocketCookie> = self.waiting.iter().copied().collect();
        for cookie in cookies {
            if self.has_waited(cookie, now) {
                self.stand_alone(cookie, out);
            } else if self.early.has(cookie) && self.is_undecided(cookie, now) {
                self.choose(cookie, Source::Kernel, out);
            }
            self.finish(cookie, out);
            let still_waits = self.live.get(&cookie).is_some_and(|entry| entry.still_waits());
            if !still_waits {
                self.waiting.remove(&cookie);
            }
        }
    }

    /// A hop without a front, or a front whose hop does not show.
    fn has_waited(&self, cookie: SocketCookie, now: BootTime) -> bool {
        self.live.get(&cookie).is_some_and(|entry| {
            let expects = match entry.leg {
                Leg::Direct => false,
                Leg::Hop => !entry.is_joined(),
                Leg::Front => entry.session.mediation.as_ref().is_some_and(|mediation| mediation.upstream.is_some()),
            };
            let since = entry.relay.as_ref().map(|relay| relay.since);
            expects && since.is_some_and(|since| now.nanos_since(since) >= self.limits.join_nanos)
        })
    }

    /// A joined session of which the proxy does not say who reads it.
    fn is_undecided(&self, cookie: SocketCookie, now: BootTime) -> bool {
        self.live.get(&cookie).is_some_and(|entry| {
            let since = entry.relay.as_ref().map_or(now, |relay| relay.since);
            entry.is_joined() && entry.source() == Source::Undecided && now.nanos_since(since) >= self.limits.join_nanos
        })
    }

    /// The agent stops: nothing is waited for any more.
    pub(crate) fn give_up_all(&mut self, out: &mut Vec<Record>) {
        let cookies = self.live.iter();
        let hops = cookies.filter(|(_, entry)| entry.leg == Leg::Hop && !entry.is_joined());
        let hops: Vec<SocketCookie> = hops.map(|(&cookie, _)| cookie).collect();
        for cookie in hops {
            self.stand_alone(cookie, out);
        }
    }

    /// Names of an ended session, for what comes late.
    pub(crate) fn forget_mediation(&mut self, cookie: SocketCookie, session: &Session) {
        self.waiting.remove(&cookie);
        let Some(mediation) = &session.mediation else {
            return;
        };
        if self.aliases.remove(&mediation.accepted).is_some() {
            self.past.insert(mediation.accepted, Past::Joined { session: cookie }, self.limits.past_sessions_max);
        }
        if let Some(upstream) = mediation.upstream {
            self.by_upstream.remove(&upstream);
            self.by_client.remove(&upstream);
        }
    }

    pub(crate) fn relay(&mut self, cookie: SocketCookie) -> Option<&mut Relay> {
        self.live.get_mut(&cookie)?.relay.as_deref_mut()
    }

    fn mediation(&mut self, cookie: SocketCookie) -> Option<&mut Mediation> {
        self.live.get_mut(&cookie)?.session.mediation.as_deref_mut()
    }
}
