//! One live session, and which of its states have been recorded.

use std::sync::Arc;

use model::Known;
use model::coverage::Class;
use model::mediation::{Leg, Mediation};
use model::process::{Process, ProcessKey, UnknownProcess};
use model::record::{Record, What};
use model::session::{Encryption, Login, Session, Transport};
use model::time::{BootTime, ClockOffset};

use crate::relay::{Relay, Source};

/// Whether a record may wait for more to become known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// It may.
    WhenComplete,
    /// It may not: something that refers to the session follows, or it has waited long enough.
    Now,
}

/// Which state of the session was recorded last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Recorded {
    /// None.
    Nothing,
    /// The current one.
    Current,
    /// One before this change.
    Before(BootTime),
}

/// What part a process plays in a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// It opened the session's client end.
    Client,
    /// It serves the session.
    Server,
    /// It was forked by the client or by another heir, and may hold the client end too.
    Heir,
}

/// A live session.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) session: Session,
    pub(crate) backend_pid: Option<u32>,
    pub(crate) heirs: Vec<ProcessKey>,
    /// It is in the queue of sessions that `on_tick` looks at.
    pub(crate) is_queued: bool,
    /// Which part of the client's way it is.
    pub(crate) leg: Leg,
    /// Fronts and hops: what they wait for.
    pub(crate) relay: Option<Box<Relay>>,
    /// It counts as a session: not while a front or a hop waits for its other half.
    pub(crate) is_counted: bool,
    /// The coverage ledger has counted it, and this many of its bytes.
    pub(crate) is_in_coverage: bool,
    pub(crate) bytes_in_coverage: u64,
    recorded: Recorded,
    /// The kernel has decided the encryption; what the wire makes of it does not count any more.
    kernel_decided: bool,
}

impl Entry {
    pub(crate) fn new(mut session: Session, leg: Leg) -> Self {
        if leg == Leg::Front {
            session.mediation = Some(Box::new(Mediation::of(session.id.cookie)));
        }
        Self {
            relay: (leg != Leg::Direct).then(|| Relay::since(session.opened)),
            is_counted: leg == Leg::Direct,
            is_in_coverage: false,
            bytes_in_coverage: 0,
            leg,
            session,
            backend_pid: None,
            heirs: Vec::new(),
            is_queued: false,
            recorded: Recorded::Nothing,
            kernel_decided: false,
        }
    }

    /// Notes a change that is worth a record.
    pub(crate) fn changed(&mut self, at: BootTime) {
        if self.recorded != Recorded::Nothing {
            self.recorded = Recorded::Before(at);
        }
    }

    /// Whether a state of the session waits to be recorded.
    pub(crate) fn is_unsettled(&self) -> bool {
        self.recorded != Recorded::Current
    }

    /// Whether no state of the session has been recorded.
    pub(crate) fn is_new(&self) -> bool {
        self.recorded == Recorded::Nothing
    }

    /// Whether its announcement may still wait at `now`. Who gets around the proxy is told sooner.
    pub(crate) fn may_wait(&self, now: BootTime, announce_nanos: u64) -> bool {
        let since = self.relay.as_ref().map_or(self.session.opened, |relay| relay.since.max(self.session.opened));
        let is_alarming = matches!(self.session.class, Some(Class::Bypass(_)));
        let wait = if is_alarming { announce_nanos / 2 } else { announce_nanos };
        self.recorded == Recorded::Nothing && now.nanos_since(since) < wait
    }

    /// A client's connection to the proxy.
    pub(crate) fn is_front(&self) -> bool {
        self.leg == Leg::Front
    }

    /// Whether it has waited long enough for its other half.
    pub(crate) fn is_alone(&self) -> bool {
        self.relay.as_ref().is_some_and(|relay| relay.is_alone)
    }

    /// A hop with its front.
    pub(crate) fn is_joined(&self) -> bool {
        self.leg == Leg::Hop && self.session.mediation.is_some()
    }

    /// Which decoder's word counts.
    pub(crate) fn source(&self) -> Source {
        self.relay.as_ref().map_or(Source::Kernel, |relay| relay.source)
    }

    /// Whether a tick has to look after it.
    pub(crate) fn still_waits(&self) -> bool {
        let Some(relay) = &self.relay else {
            return false;
        };
        let expects_other = match self.leg {
            Leg::Direct => false,
            Leg::Front => self.session.mediation.as_ref().is_some_and(|mediation| mediation.upstream.is_some()),
            Leg::Hop => !self.is_joined(),
        };
        let is_undecided = self.is_joined() && relay.source == Source::Undecided;
        expects_other && !relay.is_alone || is_undecided || relay.first_end().is_some()
    }

    /// Takes everything over that its front knows: from now on this is the client's session with the server.
    pub(crate) fn merge(&mut self, front: &mut Self, at: BootTime) {
        let (session, of_front) = (&mut self.session, &mut front.session);
        let own = of_front.id.cookie;
        let mut mediation = of_front.mediation.take().unwrap_or_else(|| Box::new(Mediation::of(own)));
        mediation.front_received = mediation.front_received.max(of_front.ledger.socket_received);
        mediation.front_sent = mediation.front_sent.max(of_front.ledger.socket_sent);
        mediation.hop_encryption = session.encryption;
        let transport = transport_of(&of_front.transport, &session.transport);
        mediation.hop = Some(std::mem::replace(&mut session.transport, transport));
        session.mediation = Some(mediation);
        session.client_cookie = of_front.client_cookie;
        session.peer_credentials = of_front.peer_credentials;
        session.client = of_front.client.clone();
        session.principal = of_front.principal.clone();
        session.encryption = of_front.encryption;
        self.kernel_decided = front.kernel_decided;
        session.opened = session.opened.min(of_front.opened);
        if of_front.login.protocol.is_some() {
            let authenticated = session.login.authenticated || of_front.login.authenticated;
            session.login = Login { authenticated, ..std::mem::take(&mut of_front.login) };
        }
        self.heirs = std::mem::take(&mut front.heirs);
        self.backend_pid = self.backend_pid.or(front.backend_pid);
        self.merge_relay(front.relay.take());
        self.changed(at);
    }

    fn merge_relay(&mut self, of_front: Option<Box<Relay>>) {
        let own = self.relay.take().unwrap_or_default();
        let mut relay = of_front.unwrap_or_default();
        relay.since = relay.since.max(own.since);
        relay.source = own.source;
        relay.is_alone = false;
        relay.server_closed = own.server_closed;
        self.relay = Some(relay);
    }

    /// The record that is due, if one is.
    pub(crate) fn record(&mut self, due: Due, clock: ClockOffset) -> Option<Record> {
        if !self.is_counted || self.recorded == Recorded::Current || due == Due::WhenComplete && !self.is_complete() {
            return None;
        }
        let session = || Arc::new(self.session.clone());
        let (time, what) = match self.recorded {
            Recorded::Nothing => (self.session.opened, What::SessionOpened(session())),
            Recorded::Before(at) => (at, What::SessionChanged(session())),
            Recorded::Current => return None,
        };
        self.recorded = Recorded::Current;
        Some(Record { time: clock.wall(time), what })
    }

    /// The server has let the client in; of older sessions it is known by what they are called.
    pub(crate) fn is_logged_in(&self) -> bool {
        self.session.login.authenticated || self.session.login.inferred
    }

    /// Everything that the beginning of a session tells is known.
    fn is_complete(&self) -> bool {
        let session = &self.session;
        self.is_logged_in()
            && session.login.user.is_some()
            && session.encryption != Encryption::Undecided
            && session.server.known().is_some()
            && session.client != Known::Unknown(UnknownProcess::NotSeen)
    }

    /// The part of a process that is known to hold the session.
    pub(crate) fn part(&self, process: ProcessKey) -> Part {
        let is = |end: &Known<Arc<Process>, UnknownProcess>| end.known().is_some_and(|known| known.key == process);
        if is(&self.session.client) {
            Part::Client
        } else if is(&self.session.server) {
            Part::Server
        } else {
            Part::Heir
        }
    }

    /// The kernel's word on encryption.
    pub(crate) fn encryption_by_kernel(&mut self, encryption: Encryption, at: BootTime) {
        if encryption != Encryption::Undecided {
            self.kernel_decided = true;
            self.set_encryption(encryption, at);
        }
    }

    /// The decoder's word on encryption: it reads plaintext from the content probes either way and sees less of
    /// the negotiation, so it only counts as long as the kernel has said nothing.
    pub(crate) fn encryption_by_wire(&mut self, encryption: Encryption, at: BootTime) {
        if encryption != Encryption::Undecided && !self.kernel_decided {
            self.set_encryption(encryption, at);
        }
    }

    fn set_encryption(&mut self, encryption: Encryption, at: BootTime) {
        if self.session.encryption != encryption {
            self.session.encryption = encryption;
            self.changed(at);
        }
    }

    /// The StartupMessage.
    pub(crate) fn startup(&mut self, protocol: (u16, u16), parameters: Vec<(String, String)>, at: BootTime) {
        let mut login =
            Login { protocol: Some(protocol), authenticated: self.session.login.authenticated, ..Login::default() };
        for (name, mut value) in parameters {
            value.shrink_to_fit();
            match name.as_str() {
                "user" => login.user = Some(value),
                "database" => login.database = Some(value),
                "application_name" => login.application = Some(value),
                "replication" => login.replication = Some(value),
                _ => {}
            }
        }
        // The server's default, too.
        login.database = login.database.filter(|name| !name.is_empty()).or_else(|| login.user.clone());
        self.session.login = login;
        self.changed(at);
    }

    /// User and database from the process title, unless the wire has told.
    pub(crate) fn title(&mut self, user: String, database: String, at: BootTime) {
        let login = &mut self.session.login;
        if login.protocol.is_none() {
            login.user = Some(user);
            login.database = Some(database);
            login.inferred = true;
            self.changed(at);
        }
    }

    pub(crate) fn authenticated(&mut self, at: BootTime) {
        if !std::mem::replace(&mut self.session.login.authenticated, true) {
            self.changed(at);
        }
    }
}

/// The client's transport, with what only the hop tells: the proxy's own word has no namespace and no path.
fn transport_of(front: &Transport, hop: &Transport) -> Transport {
    match (front, hop) {
        (Transport::Tcp { client, server, network_namespace: 0 }, Transport::Tcp { network_namespace, .. }) => {
            Transport::Tcp { client: *client, server: *server, network_namespace: *network_namespace }
        }
        // The server's socket was bound to the path that clients ask for; ours, which has taken its place, to another.
        (Transport::Unix { .. }, Transport::Unix { path }) if !path.is_empty() => {
            Transport::Unix { path: path.clone() }
        }
        _ => front.clone(),
    }
}
