//! Kernel events about sockets: a session's opening, its ends, its bytes, its close.

use std::sync::Arc;

use model::Known;
use model::id::{DatabaseId, SocketCookie};
use model::kernel::KernelEvent;
use model::mediation::Leg;
use model::principal::{Principal, UnknownPrincipal};
use model::process::{Process, UnknownProcess};
use model::record::{Record, What};
use model::session::{Encryption, Ledger, Login, Origin, Session, Transport};
use model::time::BootTime;

use crate::Sessions;
use crate::coverage::reclassify;
use crate::early::Event;
use crate::entry::{Due, Entry};
use crate::past::Past;
use crate::sessions::absent_client;
use crate::totals::merge_ledgers;

/// Of a session that the proxy has said nothing about.
const NOT_ASKED: Known<Arc<Principal>, UnknownPrincipal> = Known::Unknown(UnknownPrincipal::NotAsked);

/// [`KernelEvent::Opened`], without the cookie.
pub(crate) struct Opening {
    pub(crate) at: BootTime,
    pub(crate) database: DatabaseId,
    pub(crate) transport: Transport,
    pub(crate) client_cookie: Option<SocketCookie>,
    pub(crate) peer_credentials: Option<(u32, u32)>,
    pub(crate) origin: Origin,
    pub(crate) leg: Leg,
}

impl Sessions {
    pub(crate) fn kernel_event(&mut self, event: KernelEvent, out: &mut Vec<Record>) {
        match event {
            KernelEvent::Opened { cookie, at, database, transport, client_cookie, peer_credentials, origin, leg } => {
                self.see(at);
                let opening = Opening { at, database, transport, client_cookie, peer_credentials, origin, leg };
                self.opened(cookie, opening, out);
            }
            KernelEvent::Connected { client_cookie, cookie: None, at, process } => {
                self.see(at);
                self.connected(client_cookie, at, process, out);
            }
            KernelEvent::Executed { at, process } => {
                self.see(at);
                self.executed(at, &process, out);
            }
            KernelEvent::Forked { at, parent, child } => {
                self.see(at);
                self.forked(at, parent, child, out);
            }
            KernelEvent::Exited { at, process } => {
                self.see(at);
                self.exited(at, process, out);
            }
            KernelEvent::Refused { at, database, server, process } => {
                self.see(at);
                let database_name = self.database_name(database);
                let time = self.clock.wall(at);
                out.push(Record { time, what: What::BypassRefused { database_name, server, client: process } });
            }
            KernelEvent::Lost { at, kind, stage, count } => {
                self.see(at);
                *self.totals.lost.entry((kind, stage)).or_default() += count;
                out.push(Record { time: self.clock.wall(at), what: What::Lost { kind, stage, count } });
            }
            KernelEvent::Owned { cookie, .. }
            | KernelEvent::Connected { cookie: Some(cookie), .. }
            | KernelEvent::ClientGone { cookie }
            | KernelEvent::Encrypted { cookie, .. }
            | KernelEvent::Counted { cookie, .. }
            | KernelEvent::Closed { cookie, .. } => self.session_event(cookie, event, out),
        }
    }

    fn see(&mut self, at: BootTime) {
        self.latest = self.latest.max(at);
    }

    /// An event of one session. Those that carry no time are taken to happen now.
    fn session_event(&mut self, cookie: SocketCookie, event: KernelEvent, out: &mut Vec<Record>) {
        if let KernelEvent::Owned { at, .. } | KernelEvent::Connected { at, .. } | KernelEvent::Closed { at, .. } =
            event
        {
            self.see(at);
        }
        if !self.live.contains_key(&cookie) {
            return match self.aliases.get(&cookie) {
                Some(&server) => self.front_event(server, event, out),
                None => self.without_session(cookie, Event::Kernel(event), out),
            };
        }
        match event {
            KernelEvent::Owned { at, process, title, .. } => self.owned(cookie, at, process, title),
            KernelEvent::Connected { client_cookie, at, process, .. } => {
                self.attach_client(cookie, Some(client_cookie), at, process);
            }
            KernelEvent::ClientGone { .. } => self.client_gone(cookie),
            KernelEvent::Encrypted { encryption, .. } => self.encrypted(cookie, encryption),
            KernelEvent::Counted { ledger, .. } => {
                self.counted(cookie, &ledger);
                self.look(cookie, out);
            }
            KernelEvent::Closed { at, ledger, missed, .. } => return self.closed(cookie, at, &ledger, missed, out),
            KernelEvent::Opened { .. }
            | KernelEvent::Executed { .. }
            | KernelEvent::Forked { .. }
            | KernelEvent::Exited { .. }
            | KernelEvent::Refused { .. }
            | KernelEvent::Lost { .. } => {}
        }
        self.settle(cookie, out);
    }

    fn database_name(&self, id: DatabaseId) -> Arc<str> {
        self.database_names.get(&id).map_or_else(|| Arc::from("unnamed"), Arc::clone)
    }

    pub(crate) fn opened(&mut self, cookie: SocketCookie, opening: Opening, out: &mut Vec<Record>) {
        let cookie = self.named(cookie);
        if let Some(entry) = self.live.get_mut(&cookie) {
            // Found again by an iterator, or told by the proxy before; perhaps this one knows the other end.
            let session = &mut entry.session;
            if entry.leg == Leg::Front && opening.leg == Leg::Front {
                session.transport = opening.transport;
            }
            session.peer_credentials = session.peer_credentials.or(opening.peer_credentials);
            let is_clients = match opening.leg {
                Leg::Direct => entry.leg == Leg::Direct,
                Leg::Front => entry.leg == Leg::Front || entry.is_joined(),
                Leg::Hop => entry.leg == Leg::Hop && !entry.is_joined(),
            };
            if let Some(client) = opening.client_cookie.filter(|_| is_clients) {
                self.name_client_socket(cookie, client, opening.at);
                self.settle(cookie, out);
                if opening.leg == Leg::Hop {
                    self.hop_opened(cookie, out);
                }
            }
            return;
        }
        if matches!(self.past.get_mut(cookie), Some(Past::Closed { .. } | Past::Joined { .. })) {
            return;
        }
        if self.live.len() >= self.limits.sessions_max {
            return self.refuse(cookie, out);
        }
        self.past.remove(cookie);
        let leg = opening.leg;
        self.insert(cookie, opening);
        self.settle(cookie, out);
        self.replay(cookie, out);
        if leg == Leg::Hop {
            self.hop_opened(cookie, out);
        }
    }

    /// A session beyond the limit: it and what follows of it are counted, nothing is kept.
    fn refuse(&mut self, cookie: SocketCookie, out: &mut Vec<Record>) {
        if self.past.get_mut(cookie).is_none() {
            self.sessions_lost += 1;
            self.totals.sessions_beyond_limit += 1;
            self.past.insert(cookie, Past::Refused, self.limits.past_sessions_max);
        }
        if let Some(waiting) = self.early.take(cookie) {
            self.abandon(cookie, waiting, out);
        }
    }

    fn insert(&mut self, cookie: SocketCookie, opening: Opening) {
        let name = self.database_name(opening.database);
        let absent = absent_client(&self.local, &opening.transport, opening.client_cookie);
        let session = Session {
            id: self.id(cookie),
            database: opening.database,
            database_name: name,
            transport: opening.transport,
            origin: opening.origin,
            opened: opening.at,
            client_cookie: None,
            client: Known::Unknown(absent),
            principal: NOT_ASKED,
            peer_credentials: opening.peer_credentials,
            server: Known::Unknown(UnknownProcess::NotSeen),
            encryption: Encryption::default(),
            login: Login::default(),
            ledger: Ledger::default(),
            statements: 0,
            errors: 0,
            gaps: 0,
            mediation: None,
            class: None,
        };
        let mut entry = Entry::new(session, opening.leg);
        if entry.is_counted {
            self.totals.database(opening.database).opened(&entry.session);
        }
        reclassify(&mut entry, &self.guards);
        self.live.insert(cookie, Box::new(entry));
        if let Some(client) = opening.client_cookie {
            self.name_client_socket(cookie, client, opening.at);
        }
    }

    /// What came before the opening happens now, in its order.
    fn replay(&mut self, cookie: SocketCookie, out: &mut Vec<Record>) {
        let Some(waiting) = self.early.take(cookie) else {
            return;
        };
        if let Some(entry) = self.live.get_mut(&cookie) {
            entry.session.statements = waiting.recorded.statements;
            entry.session.errors = waiting.recorded.errors;
        }
        for event in waiting.events {
            match event {
                Event::Kernel(event) => self.kernel_event(event, out),
                Event::Wire(at, event) => self.on_wire(cookie, at, event, out),
                Event::Mediation(event) => self.on_mediation(event, out),
                Event::MediatedWire(at, event) => self.on_wire_mediated(cookie, at, event, out),
            }
        }
    }

    /// The client's own socket is known: its process may be waiting.
    fn name_client_socket(&mut self, cookie: SocketCookie, client: SocketCookie, at: BootTime) {
        let Some(entry) = self.live.get_mut(&cookie) else {
            return;
        };
        if *entry.session.client_cookie.get_or_insert(client) != client {
            return;
        }
        self.by_client.insert(client, cookie);
        if let Some(process) = self.unmatched.take(client) {
            self.attach_client(cookie, None, at, process);
        } else if entry.session.client == Known::Unknown(UnknownProcess::Remote) {
            entry.session.client = Known::Unknown(UnknownProcess::NotSeen);
        }
    }

    /// A client process of which only its own socket is known.
    fn connected(&mut self, client: SocketCookie, at: BootTime, process: Arc<Process>, out: &mut Vec<Record>) {
        if let Some(&cookie) = self.by_client.get(&client) {
            self.attach_client(cookie, None, at, process);
            return self.settle(cookie, out);
        }
        let max = self.limits.unmatched_clients_max;
        self.totals.clients_unmatched += self.unmatched.insert(client, process, at, max);
    }

    /// The first process that is known as the client stays it.
    pub(crate) fn attach_client(
        &mut self,
        cookie: SocketCookie,
        client: Option<SocketCookie>,
        at: BootTime,
        process: Arc<Process>,
    ) {
        if let Some(client) = client {
            self.name_client_socket(cookie, client, at);
        }
        let process = self.shared(process);
        let owner = self.owner(&process, at);
        let Some(entry) = self.live.get_mut(&cookie) else {
            return;
        };
        if entry.session.client.known().is_none() {
            self.holders.insert(process.key, cookie);
            entry.session.client = Known::Known(process);
            if let Some(owner) = owner.filter(|_| entry.session.principal == NOT_ASKED) {
                entry.session.principal = owner;
            }
            entry.changed(at);
        }
    }

    /// The same process is held once, however often it is told.
    fn shared(&self, process: Arc<Process>) -> Arc<Process> {
        let holds = self.holders.of(process.key).next().and_then(|cookie| self.live.get(&cookie));
        let ends = holds.into_iter().flat_map(|entry| [&entry.session.client, &entry.session.server]);
        let same = ends.filter_map(Known::known).find(|known| **known == process);
        same.map_or(process, Arc::clone)
    }

    fn owned(&mut self, cookie: SocketCookie, at: BootTime, process: Arc<Process>, title: Option<(String, String)>) {
        let process = self.shared(process);
        let Some(entry) = self.live.get_mut(&cookie) else {
            return;
        };
        if entry.session.server.known().is_none() {
            self.holders.insert(process.key, cookie);
            entry.session.server = Known::Known(process);
            entry.changed(at);
        }
        if let Some((user, database)) = title {
            entry.title(user, database, at);
        }
    }

    pub(crate) fn client_gone(&mut self, cookie: SocketCookie) {
        if let Some(entry) = self.live.get_mut(&cookie)
            && entry.session.client == Known::Unknown(UnknownProcess::NotSeen)
        {
            entry.session.client = Known::Unknown(UnknownProcess::Gone);
            entry.changed(self.latest);
        }
    }

    fn encrypted(&mut self, cookie: SocketCookie, encryption: Encryption) {
        let latest = self.latest;
        let Some(entry) = self.live.get_mut(&cookie) else {
            return;
        };
        if let Some(mediation) = entry.session.mediation.as_mut().filter(|_| entry.leg == Leg::Hop) {
            // What protects the client's connection is the proxy's to say.
            mediation.hop_encryption = encryption;
        } else {
            entry.encryption_by_kernel(encryption, latest);
        }
    }

    /// Ledgers only grow; one that was overtaken on its way takes nothing back.
    fn counted(&mut self, cookie: SocketCookie, ledger: &Ledger) {
        let Some(entry) = self.live.get_mut(&cookie) else {
            return;
        };
        let session = &mut entry.session;
        let now = merge_ledgers(&session.ledger, ledger, u64::max);
        let more = merge_ledgers(&now, &session.ledger, u64::saturating_sub);
        session.ledger = now;
        if entry.leg == Leg::Front
            && let Some(mediation) = &mut session.mediation
        {
            mediation.front_received = now.socket_received;
            mediation.front_sent = now.socket_sent;
        }
        // What a client sends to the proxy reaches the server by the hop, and is counted there.
        if entry.leg != Leg::Front || entry.is_counted {
            self.totals.database(session.database).add_bytes(&more);
        }
    }

    fn closed(&mut self, cookie: SocketCookie, at: BootTime, ledger: &Ledger, missed: bool, out: &mut Vec<Record>) {
        self.counted(cookie, ledger);
        let leg = self.live.get(&cookie).map_or(Leg::Direct, |entry| entry.leg);
        match (leg, self.relay(cookie)) {
            (Leg::Front, Some(relay)) => relay.front_closed = Some(at),
            (Leg::Hop, Some(relay)) => relay.server_closed = Some((at, missed)),
            _ => return self.end(cookie, at, missed, out),
        }
        self.waiting.insert(cookie);
        self.finish(cookie, out);
    }

    /// The session is over, and nothing more is expected of it.
    pub(crate) fn end(&mut self, cookie: SocketCookie, at: BootTime, missed: bool, out: &mut Vec<Record>) {
        if self.live.get(&cookie).is_some_and(|entry| entry.is_new()) {
            self.say(cookie, Due::Now, out);
        }
        let Some(mut entry) = self.live.remove(&cookie) else {
            return;
        };
        self.count_last(&mut entry);
        self.forget(cookie, &entry);
        self.forget_mediation(cookie, &entry.session);
        let session = entry.session;
        let counts = self.totals.database(session.database).sessions_mut(&session.transport);
        counts.closed += 1;
        counts.missed_close += u64::from(missed);
        let is_unattributed = matches!(session.client, Known::Unknown(UnknownProcess::NotSeen | UnknownProcess::Gone));
        counts.unattributed += u64::from(is_unattributed);
        let past = Past::Closed { database: session.database, statements: session.statements };
        self.past.insert(cookie, past, self.limits.past_sessions_max);
        let duration = at.nanos_since(session.opened);
        let what = What::SessionClosed { session: Arc::new(session), duration, missed };
        out.push(Record { time: self.clock.wall(at), what });
    }

    /// Takes an ended session out of every index.
    pub(crate) fn forget(&mut self, cookie: SocketCookie, entry: &Entry) {
        let session = &entry.session;
        if let Some(client) = session.client_cookie {
            self.by_client.remove(&client);
            self.own.remove(&client);
        }
        if let Some(pid) = entry.backend_pid
            && self.by_backend.get(&(session.database, pid)) == Some(&cookie)
        {
            self.by_backend.remove(&(session.database, pid));
        }
        let ends = [&session.client, &session.server].into_iter().filter_map(Known::known).map(|process| process.key);
        for process in ends.chain(entry.heirs.iter().copied()) {
            self.holders.remove(process, cookie);
        }
    }
}
