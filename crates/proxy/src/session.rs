//! The life of one connection: opening, relay, end.
//!
//! The opening follows what the client says; each arm of [`Opening::run`] is one thing it may say first. What it leads
//! to is a [`Relay`], a forwarded cancel request, or a [`Stop`].

mod service_login;

use std::future::{Future as _, poll_fn};
use std::io;
use std::os::fd::AsFd as _;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use guard::{Cleared, Guard};
use identity::proof::ClientProof;
use model::Known;
use model::id::SocketCookie;
use model::mediation::{End, Listener, MediationEvent, Refusal, RelayCounts, Route};
use model::session::Encryption;
use model::time::WallTime;
use model::verdict::Denial;
use model::wire::Input;
use recorder::Pending;
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};
use tokio_rustls::rustls;

use crate::access::{self, Encrypted, Gate};
use crate::book::{self, Judgement, Patience, Reading, WAIT_MAX};
use crate::certificates::{Certificates, PROTOCOL};
use crate::client::{Client, HandshakeError, stopped};
use crate::clock;
use crate::common::Common;
use crate::entry::Entry;
use crate::governed::{Asker, Canceller, Governed};
use crate::governor::{Governor, Identification, Identified, Place};
use crate::holds::{Held, Holds, Nobody};
use crate::hop::{Destination, HopRequest, Hops};
use crate::login::{LoginCounts, LoginMode};
use crate::opening::{Expect, Packet, SSL_REQUEST, Startup};
use crate::permission::{Clearance, Permission, Unread};
use crate::relay::{Content, Relay};
use crate::settings::{ListenerSpec, TlsMode};
use crate::socket::Socket;
use crate::stats::{Leg, TlsFailure};
use crate::stop::Stop;
use crate::transport::{Transport, tls_error};
use crate::upstream::Upstream;

/// How long a cancel request of the guard's own may take.
const CANCEL_PATIENCE: Duration = Duration::from_secs(5);
/// Of a CancelRequest: its length, its code and the server process. The key follows.
const CANCEL_BYTES_RECORDED: usize = 12;
/// Of a CancelRequest: its length and its code. Process and key follow.
const CANCEL_HEADER_BYTES: usize = 8;
/// GSSENCRequest, whole: its length and 1234.5680.
const GSS_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x30];
const UPSTREAM_TLS_TEXT: &str = "the proxy could not establish TLS with the database server";
/// What is read of the server's answer to SSLRequest: one byte, or an error message.
const ANSWER_BYTES_MAX: usize = 2048;

/// A connection that was just accepted.
pub(crate) struct Accepted<H> {
    pub(crate) common: Rc<Common>,
    pub(crate) hops: Rc<H>,
    pub(crate) spec: Rc<ListenerSpec>,
    pub(crate) entry: Rc<Entry>,
    pub(crate) socket: Socket,
    pub(crate) route: Route,
    /// It is to be refused with this as soon as it has said something.
    pub(crate) refusal: Option<Stop>,
}

/// How an opening ended.
enum Opened {
    Relay(Box<Relay>),
    Stopped(Box<Client>, Stop, RelayCounts),
}

impl Opened {
    /// Nothing was relayed. What was negotiated on both sides counts: the kernel witness has seen it.
    fn stopped(client: Client, upstream: Option<&Upstream>, stop: Stop) -> Self {
        let (socket, upstream) = (client.transport.socket(), upstream.map(Upstream::socket));
        let counts = RelayCounts {
            from_client: socket.received,
            to_client: socket.sent,
            to_upstream: upstream.map_or(0, |socket| socket.sent),
            from_upstream: upstream.map_or(0, |socket| socket.received),
            ..RelayCounts::default()
        };
        Self::Stopped(Box::new(client), stop, counts)
    }
}

/// Runs a connection from its acceptance to its end.
pub(crate) async fn run<H: Hops>(accepted: Accepted<H>) {
    let (common, entry) = (accepted.common.clone(), accepted.entry.clone());
    poll_fn(|cx| {
        entry.belongs_to(cx);
        Poll::Ready(())
    })
    .await;
    // The opening's state is large and short-lived; the relay's is small and stays.
    let opened = Box::pin(open(accepted)).await;
    common.stats.started_up();
    let (stop, counts) = match opened {
        Opened::Relay(mut relay) => {
            let stop = poll_fn(|cx| relay.poll(cx)).await;
            relay.tell_statistics();
            let (counts, quiet) = (relay.counts(), relay.is_quiet());
            common.note(&MediationEvent::Counted { connection: entry.cookie, at: clock::now(), counts, quiet });
            let can_be_told = relay.can_be_told();
            let client = Client::new(entry.clone(), relay.client);
            say_goodbye(&common, &entry, client, &stop, can_be_told).await;
            (stop, counts)
        }
        Opened::Stopped(client, stop, counts) => {
            say_goodbye(&common, &entry, *client, &stop, true).await;
            (stop, counts)
        }
    };
    common.note(&MediationEvent::Ended { connection: entry.cookie, at: clock::now(), counts, by: stop.by });
}

/// Records a refusal and tells the client why its connection ends.
async fn say_goodbye(common: &Common, entry: &Entry, mut client: Client, stop: &Stop, can_be_told: bool) {
    let farewell = stop.farewell.as_ref().filter(|_| can_be_told);
    if let Some(reason) = stop.refusal {
        common.stats.refused(reason);
        let (sqlstate, message) = farewell.map_or(("", ""), |said| (said.sqlstate, said.text.as_ref()));
        common.note(&MediationEvent::Refused {
            connection: entry.cookie,
            at: clock::now(),
            reason,
            sqlstate: sqlstate.into(),
            message: message.into(),
        });
    }
    if let Some(farewell) = farewell {
        client.farewell(farewell).await;
    }
}

async fn open<H: Hops>(accepted: Accepted<H>) -> Opened {
    let Accepted { common, hops, spec, entry, socket, route, refusal } = accepted;
    let reading = Box::new(Reading::new(entry.cookie, &spec, common.settings.message_bytes_max));
    let mut client = Client::new(entry.clone(), Transport::new(socket));
    if let Some(stop) = refusal {
        if stop.farewell.is_none() {
            return Opened::stopped(client, None, stop);
        }
        // Whatever it says first: an error message before that could be taken for the answer to nothing.
        let waited = client.packet(Expect::first_packet(), |_, _| ()).await;
        let stop = waited.err().filter(|stop| stop.by == End::Client).unwrap_or(stop);
        return Opened::stopped(client, None, stop);
    }
    let opening = Opening {
        common,
        hops,
        spec,
        entry,
        route,
        client,
        upstream: None,
        reading,
        expect: Expect::first_packet(),
        asked_for_tls: false,
        guard: None,
        expires: None,
        logged_in: LoginCounts::default(),
    };
    opening.run().await
}

/// A connection that has not started up yet.
struct Opening<H> {
    common: Rc<Common>,
    hops: Rc<H>,
    spec: Rc<ListenerSpec>,
    entry: Rc<Entry>,
    route: Route,
    client: Client,
    /// The hop, where something had to be asked of the server already.
    upstream: Option<Upstream>,
    reading: Box<Reading>,
    expect: Expect,
    /// In relay mode what follows may be ciphertext.
    asked_for_tls: bool,
    /// What decides about the session, where its database has policies.
    guard: Option<Box<Guard>>,
    /// When whoever acts is not known any more.
    expires: Option<WallTime>,
    /// What the proxy and the server have said to each other without the client.
    logged_in: LoginCounts,
}

/// What a client said first, without its bytes.
enum Said {
    DirectTls,
    SslRequest,
    GssRequest,
    Cancel(Vec<u8>),
    Startup(Vec<u8>),
}

/// What comes after a step of the opening.
enum Next {
    /// Another packet.
    Packet,
    /// Ciphertext between client and server.
    Unread(Unread),
    /// Messages; of the server's perhaps some bytes already.
    Messages(Vec<u8>),
}

/// The server's answer to SSLRequest.
enum Answer {
    Accepted,
    Declined,
    Other(Vec<u8>),
}

impl<H: Hops> Opening<H> {
    async fn run(mut self) -> Opened {
        loop {
            let next = match self.said().await {
                Err(stop) => Err(stop),
                Ok(Said::DirectTls) => self.direct_tls().await,
                Ok(Said::SslRequest) => self.ssl_request().await,
                Ok(Said::GssRequest) => self.gss_request().await,
                Ok(Said::Cancel(packet)) => self.cancel(&packet).await,
                Ok(Said::Startup(packet)) => self.startup(&packet).await,
            };
            match next {
                Ok(Next::Packet) => {}
                Ok(Next::Unread(ciphertext)) => return self.relay(Some(ciphertext), Vec::new()).await,
                Ok(Next::Messages(from_upstream)) => return self.relay(None, from_upstream).await,
                Err(stop) => return Opened::stopped(self.client, self.upstream.as_ref(), stop),
            }
        }
    }

    async fn said(&mut self) -> Result<Said, Stop> {
        self.client
            .packet(self.expect, |packet, bytes| match packet {
                Packet::DirectTls => Said::DirectTls,
                Packet::SslRequest => Said::SslRequest,
                Packet::GssRequest => Said::GssRequest,
                Packet::Cancel => Said::Cancel(bytes.to_vec()),
                Packet::Startup(_) => Said::Startup(bytes.to_vec()),
            })
            .await
    }

    async fn direct_tls(&mut self) -> Result<Next, Stop> {
        self.asked_for_tls = true;
        match self.tls() {
            // The proof has to be read.
            TlsMode::Relay if self.spec.login != LoginMode::PassThrough => {
                Err(Stop::refused_silently(Refusal::ClientTls))
            }
            TlsMode::Relay => {
                self.hop().await?;
                self.judge_unread()?;
                Ok(Next::Unread(self.note_unread()))
            }
            TlsMode::OwnCertificate(certificates) => {
                self.client_tls(&certificates, Alpn::Needed).await?;
                Ok(Next::Packet)
            }
            TlsMode::ServerCertificate(certificates) => {
                match self.ask_upstream().await? {
                    Answer::Accepted => self.upstream_tls(&certificates).await?,
                    // The server has no TLS: then neither has the proxy, as without it.
                    Answer::Declined | Answer::Other(_) => return Err(Stop::refused_silently(Refusal::UpstreamTls)),
                }
                self.client_tls(&certificates, Alpn::Needed).await?;
                Ok(Next::Packet)
            }
        }
    }

    async fn ssl_request(&mut self) -> Result<Next, Stop> {
        self.asked_for_tls = true;
        self.record_opening(&[Input::Bytes(&SSL_REQUEST)])?;
        let (answer, certificates) = match self.tls() {
            TlsMode::OwnCertificate(certificates) => (Answer::Accepted, Some(certificates)),
            // The proof has to be read.
            TlsMode::Relay if self.spec.login != LoginMode::PassThrough => (Answer::Declined, None),
            TlsMode::Relay => (self.ask_upstream().await?, None),
            TlsMode::ServerCertificate(certificates) => (self.ask_upstream().await?, Some(certificates)),
        };
        match answer {
            Answer::Accepted => {
                // What follows the request in plaintext would be taken for protected (CVE-2021-23214).
                if !self.client.has_nothing_more() {
                    return Err(Stop::refused_silently(Refusal::PlaintextInjected));
                }
                if let (TlsMode::ServerCertificate(_), Some(certificates)) = (&self.spec.tls, &certificates) {
                    self.upstream_tls(&certificates.clone()).await?;
                }
                if certificates.is_none() {
                    self.judge_unread()?;
                }
                self.note_answer(b'S');
                self.client.answer(b"S").await?;
                let Some(certificates) = certificates else { return Ok(Next::Unread(self.note_unread())) };
                self.client_tls(&certificates, Alpn::IfAny).await?;
                Ok(Next::Packet)
            }
            Answer::Declined => {
                self.note_answer(b'N');
                self.client.answer(b"N").await?;
                self.expect = self.expect.after_refused_tls();
                Ok(Next::Packet)
            }
            Answer::Other(bytes) => Ok(Next::Messages(bytes)),
        }
    }

    async fn gss_request(&mut self) -> Result<Next, Stop> {
        self.record_opening(&[Input::Bytes(&GSS_REQUEST)])?;
        self.note_answer(b'N');
        self.client.answer(b"N").await?;
        self.expect = self.expect.after_refused_gss();
        Ok(Next::Packet)
    }

    /// Forwards a cancel request; the server checks its key and closes.
    async fn cancel(&mut self, packet: &[u8]) -> Result<Next, Stop> {
        let _place = CancelPlace::take(&self.common).ok_or_else(|| Stop::refused_silently(Refusal::StartupLimit))?;
        // The pid is recorded, the key is not.
        let (known, key) = packet.split_at(packet.len().min(CANCEL_BYTES_RECORDED));
        let skipped = Input::Skipped { kind: 0, bytes: key.len() as u64, messages: 0 };
        let permission = self.record_opening(&[Input::Bytes(known), skipped])?;
        self.hop().await?;
        let permission = self.await_permission(permission).await?;
        self.common.stats.cancelled();
        // What waits for approval is not at the server: whoever holds it hears of it, too.
        if let (Some(governor), Some(key)) = (self.governor(), packet.get(CANCEL_HEADER_BYTES..)) {
            governor.holds.cancel(self.spec.database, key);
        }
        self.send_upstream(packet, permission, Clearance::Ungoverned).await?;
        self.until_upstream_closes().await;
        Err(Stop::ended(End::Upstream))
    }

    async fn startup(&mut self, packet: &[u8]) -> Result<Next, Stop> {
        if !self.client.transport.is_encrypted() {
            self.note_encrypted(Encryption::Plaintext, false);
        }
        let spec = self.spec.clone();
        if let LoginMode::Service(demand) = &spec.login {
            return self.service_startup(packet, demand).await;
        }
        self.hop().await?;
        self.judge(packet)?;
        let clearance = self.govern(packet).await?;
        let permission = self.record_opening(&[Input::Bytes(packet)])?;
        let permission = self.await_permission(permission).await?;
        self.send_upstream(packet, permission, clearance).await?;
        Ok(Next::Messages(Vec::new()))
    }

    /// Finds out who acts, and asks the policies, where the database has some.
    async fn govern(&mut self, packet: &[u8]) -> Result<Clearance, Stop> {
        let Some(governor) = self.governor() else { return Ok(Clearance::Ungoverned) };
        let identified = self.identify(&governor, packet, self.client_certificate()).await?;
        self.admit(&governor, packet, identified)
    }

    fn governor(&self) -> Option<Rc<Governor>> {
        self.common.governors.borrow().get(&self.spec.database).cloned()
    }

    /// The certificate that the client has shown, verified in the handshake.
    fn client_certificate(&self) -> Option<ClientProof> {
        Some(ClientProof::Certificate(self.client.transport.peer_certificate()?.to_vec()))
    }

    /// Finds out who acts, and records it.
    async fn identify(
        &self,
        governor: &Governor,
        packet: &[u8],
        proof: Option<ClientProof>,
    ) -> Result<Identified, Stop> {
        let (connection, database) = (self.entry.cookie, self.spec.database);
        let startup = self.parsed(packet)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let user = text(startup.parameter(b"user").unwrap_or_default());
        let sql_database = startup.parameter(b"database").filter(|name| !name.is_empty());
        let sql_database = sql_database.map_or_else(|| user.clone(), text);
        let asked = Identification { connection, database, user, sql_database, proof };
        let mut asked = governor.identities.identify(asked);
        let entry = &self.entry;
        let identified = poll_fn(|cx| entry.poll_until(cx, |cx| asked.as_mut().poll(cx))).await.map_err(stopped)?;
        let principal = match &identified.principal {
            Known::Known(principal) => Known::Known(Arc::new(principal.clone())),
            Known::Unknown(reason) => Known::Unknown(*reason),
        };
        self.common.introduce(&self.entry, MediationEvent::Identified { connection, at: clock::now(), principal });
        Ok(identified)
    }

    /// Asks the policies about a session that starts up like this at the server.
    fn admit(&mut self, governor: &Governor, packet: &[u8], identified: Identified) -> Result<Clearance, Stop> {
        let encrypted = self.client.transport.is_encrypted();
        let place = Place { database_name: &self.spec.name, route: &self.route, encrypted };
        self.expires = identified.principal.known().and_then(|principal| principal.expires);
        let startup = self.parsed(packet)?;
        let mut guard = governor.guard(&startup, &place, identified);
        let opened = guard.open(clock::now(), clock::wall(), packet, startup.parameters());
        let cleared = opened.map_err(|denial| not_allowed(&denial))?;
        self.guard = Some(guard);
        Ok(Clearance::Cleared(cleared))
    }

    /// Whoever sends cancel requests for the guard.
    fn canceller(&self) -> Canceller {
        let (hops, spec, route) = (self.hops.clone(), self.spec.clone(), self.route.clone());
        let (connection, destination) = (self.entry.cookie, self.destination());
        Box::new(move |client, packet, cleared| {
            let Ok(destination) = destination.as_ref().copied() else { return };
            let (hops, spec, route) = (hops.clone(), spec.clone(), route.clone());
            spawn_local(async move {
                let request = HopRequest {
                    database: spec.database,
                    connection,
                    route,
                    destination,
                    listener: spec.kind,
                    socket: client.as_fd(),
                    unread: false,
                };
                // One that fails or hangs costs the server some work: the client gets nothing more in any case.
                let _late = timeout(CANCEL_PATIENCE, cancel(&*hops, request, &packet, cleared)).await;
            });
        })
    }

    /// Whoever has somebody decide about what must not run unattended.
    fn asker(&self) -> Asker {
        let holds =
            self.governor().map_or_else(|| Rc::new(Nobody) as Rc<dyn Holds>, |governor| Rc::clone(&governor.holds));
        let (connection, database) = (self.entry.cookie, self.spec.database);
        let sql_database = self.guard.as_ref().map(|guard| guard.sql_database()).unwrap_or_default();
        Box::new(move |question| {
            let sql_database = Arc::clone(&sql_database);
            holds.hold(Held { connection, database, sql_database, question })
        })
    }

    fn parsed<'p>(&self, packet: &'p [u8]) -> Result<Startup<'p>, Stop> {
        match self.expect.packet(packet) {
            Ok(Some((Packet::Startup(startup), _))) => Ok(startup),
            // It was a StartupMessage a moment ago.
            _ => Err(Stop::refused_silently(Refusal::Protocol)),
        }
    }

    async fn relay(self, ciphertext: Option<Unread>, from_upstream: Vec<u8>) -> Opened {
        let canceller = self.guard.is_some().then(|| (self.canceller(), self.asker()));
        let Self { common, entry, mut client, upstream, reading, guard, expires, logged_in, .. } = self;
        let Some(upstream) = upstream else {
            return Opened::stopped(client, None, Stop::ended(End::UpstreamBroken));
        };
        let from_client = client.take_received();
        let content = match (ciphertext, guard.zip(canceller)) {
            (Some(ciphertext), _) => Content::Unread(ciphertext),
            (None, Some((guard, (canceller, asker)))) => {
                Content::Governed(Box::new(Governed::new(guard, reading, expires, canceller, asker)))
            }
            (None, None) => Content::Read(reading),
        };
        let mut relay = Box::new(Relay::new(common, entry, client.transport, upstream, content, logged_in));
        let begun = poll_fn(|cx| Poll::Ready(relay.begin(cx, &from_client, &from_upstream))).await;
        match begun {
            Ok(()) => Opened::Relay(relay),
            Err(stop) => {
                let counts = relay.counts();
                let Relay { entry, client, .. } = *relay;
                Opened::Stopped(Box::new(Client::new(entry, client)), stop, counts)
            }
        }
    }

    /// Asks `pg_hba.conf`, where it is known.
    fn judge(&self, packet: &[u8]) -> Result<(), Stop> {
        let Some((access, client, hop)) = self.ends() else { return Ok(()) };
        access.judge(&self.parsed(packet)?, client, hop)
    }

    fn judge_unread(&self) -> Result<(), Stop> {
        self.ends().map_or(Ok(()), |(access, client, hop)| access.judge_unread(client, hop))
    }

    fn ends(&self) -> Option<(Rc<Gate>, access::End, access::End)> {
        let access = self.common.access.borrow().get(&self.spec.database).cloned()?;
        Some((access, self.client_end(), self.upstream.as_ref()?.end()))
    }

    fn client_end(&self) -> access::End {
        let encrypted = if self.client.transport.is_encrypted() { Encrypted::Yes } else { Encrypted::No };
        access::End::of_client(&self.route, encrypted)
    }

    /// What is done with TLS, with the newest certificate.
    fn tls(&self) -> TlsMode {
        let newest = self.common.certificates.borrow().get(&self.spec.database).cloned();
        match (&self.spec.tls, newest) {
            (TlsMode::ServerCertificate(_), Some(newest)) => TlsMode::ServerCertificate(newest),
            (TlsMode::OwnCertificate(_), Some(newest)) => TlsMode::OwnCertificate(newest),
            (mode, _) => mode.clone(),
        }
    }

    /// Opens the hop, if there is none yet.
    async fn hop(&mut self) -> Result<(), Stop> {
        if self.upstream.is_some() {
            return Ok(());
        }
        let request = HopRequest {
            database: self.spec.database,
            connection: self.entry.cookie,
            route: self.route.clone(),
            destination: self.destination()?,
            listener: self.spec.kind,
            socket: self.client.transport.socket().as_fd(),
            unread: matches!(self.spec.tls, TlsMode::Relay) && self.asked_for_tls,
        };
        let entry = &self.entry;
        let mut opening = pin!(self.hops.open(request));
        let hop = poll_fn(|cx| entry.poll_until(cx, |cx| opening.as_mut().poll(cx))).await.map_err(stopped)?;
        let (cookie, socket) = hop
            .map_err(|error| unreachable(&error))
            .and_then(|hop| Ok((hop.cookie, Socket::hop(hop.stream).map_err(|error| unreachable(&error))?)))?;
        self.note_connected(cookie);
        self.upstream = Some(Upstream::new(socket));
        Ok(())
    }

    fn destination(&self) -> Result<Destination, Stop> {
        match (&self.route, self.spec.kind, self.spec.upstream) {
            (Route::Unix { .. }, _, None) => Ok(Destination::Unix),
            (Route::Tcp { destination, .. }, Listener::Steered, _) => Ok(Destination::Tcp(*destination)),
            (_, _, Some(upstream)) => Ok(Destination::Tcp(upstream)),
            (Route::Tcp { .. }, _, None) => Err(Stop::refused_silently(Refusal::NotForDatabase)),
        }
    }

    /// Sends SSLRequest to the server and takes its answer.
    async fn ask_upstream(&mut self) -> Result<Answer, Stop> {
        self.hop().await?;
        let Some(upstream) = &mut self.upstream else { return Err(Stop::ended(End::UpstreamBroken)) };
        let entry = &self.entry;
        let mut answer = vec![0; ANSWER_BYTES_MAX];
        let mut asked = false;
        let result = poll_fn(|cx| {
            entry.poll_until(cx, |cx| {
                if !asked {
                    upstream.request_tls(cx)?;
                    asked = true;
                }
                ready!(upstream.poll_flush(cx))?;
                upstream.poll_read(cx, &mut answer)
            })
        })
        .await;
        let length = result.map_err(stopped)?.map_err(|_broken| Stop::ended(End::UpstreamBroken))?;
        answer.truncate(length);
        match answer.as_slice() {
            [] => Err(Stop::ended(End::Upstream)),
            b"S" => Ok(Answer::Accepted),
            b"N" => Ok(Answer::Declined),
            // Somebody put plaintext behind the answer (CVE-2021-23222).
            [b'S' | b'N', ..] => Err(Stop::refused_silently(Refusal::PlaintextInjected)),
            _ => Ok(Answer::Other(answer)),
        }
    }

    /// TLS with the server, which must show the certificate that we hold.
    async fn upstream_tls(&mut self, certificates: &Certificates) -> Result<(), Stop> {
        let own = self.own_certificate();
        let Some(upstream) = &mut self.upstream else { return Err(Stop::ended(End::UpstreamBroken)) };
        let entry = &self.entry;
        let result = match certificates.connect(own.as_ref()) {
            Err(error) => Ok(Err(io::Error::other(error))),
            Ok(connection) => {
                upstream.start_tls(connection);
                poll_fn(|cx| entry.poll_until(cx, |cx| upstream.poll_handshake(cx))).await
            }
        };
        let failure = match &result {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => kind_of_failure(error),
            Err(_order) => TlsFailure::Timeout,
        };
        self.common.stats.tls_failed(Leg::Upstream, failure);
        match result {
            Err(order) => Err(stopped(order)),
            // The client waits for one byte: an error message is what the server would send in its place.
            _ => Err(Stop::refused(Refusal::UpstreamTls, "08006", UPSTREAM_TLS_TEXT)),
        }
    }

    async fn client_tls(&mut self, certificates: &Certificates, alpn: Alpn) -> Result<(), Stop> {
        let result = match certificates.accept() {
            Err(error) => Err(HandshakeError::Failed(io::Error::other(error))),
            Ok(connection) => self.client.handshake(connection).await,
        };
        let failure = match &result {
            Ok(()) => None,
            Err(HandshakeError::Failed(error)) => Some(kind_of_failure(error)),
            Err(HandshakeError::Stopped) => Some(TlsFailure::Timeout),
        };
        if let Some(failure) = failure {
            self.common.stats.tls_failed(Leg::Client, failure);
            let reason = if failure == TlsFailure::Timeout { Refusal::StartupTimeout } else { Refusal::ClientTls };
            return Err(Stop::refused_silently(reason));
        }
        if matches!(alpn, Alpn::Needed) && self.client.transport.application_protocol() != Some(PROTOCOL) {
            return Err(Stop::refused_silently(Refusal::Alpn));
        }
        self.note_encrypted(Encryption::Tls, false);
        self.expect = self.expect.inside_tls();
        Ok(())
    }

    /// Records an opening packet.
    fn record_opening(&self, inputs: &[Input<'_>]) -> Result<Recording, Stop> {
        recording(self.reading.opening(&self.common.book, &self.common.stats, clock::now(), inputs))
    }

    /// Waits until a record is where it must be.
    async fn await_permission(&self, recording: Recording) -> Result<Permission, Stop> {
        let pending = match recording {
            Recording::Enough(permission) => return Ok(permission),
            Recording::Pending(pending) => pending,
        };
        let mut deadline = pin!(sleep(WAIT_MAX));
        let mut ask = |cx: &mut Context<'_>| {
            let patience = match deadline.as_mut().poll(cx) {
                Poll::Ready(()) => Patience::Exhausted,
                Poll::Pending => Patience::Left,
            };
            let Common { book, stats, .. } = &*self.common;
            match book.ask(&self.reading, stats, pending, patience, cx.waker()) {
                book::Recording::Permitted(permission) => Poll::Ready(Ok(permission)),
                book::Recording::Refused(reason) => Poll::Ready(Err(opening_not_recorded(reason))),
                book::Recording::Waits(_) => Poll::Pending,
            }
        };
        poll_fn(|cx| self.entry.poll_until(cx, &mut ask)).await.map_err(stopped)?
    }

    async fn send_upstream(&mut self, bytes: &[u8], permission: Permission, clearance: Clearance) -> Result<(), Stop> {
        let Some(upstream) = &mut self.upstream else { return Err(Stop::ended(End::UpstreamBroken)) };
        let entry = &self.entry;
        let mut proofs = Some((permission, clearance));
        let result = poll_fn(|cx| {
            entry.poll_until(cx, |cx| {
                if let Some((permission, clearance)) = proofs.take() {
                    upstream.forward(cx, bytes, permission, clearance)?;
                }
                upstream.poll_flush(cx)
            })
        })
        .await;
        result.map_err(stopped)?.map_err(|_broken| Stop::ended(End::UpstreamBroken))
    }

    /// The server closes a cancel request's connection when it has acted.
    async fn until_upstream_closes(&mut self) {
        let Some(upstream) = &mut self.upstream else { return };
        let entry = &self.entry;
        let mut ignored = [0; 64];
        let _closed = poll_fn(|cx| entry.poll_until(cx, |cx| upstream.poll_read(cx, &mut ignored))).await;
    }

    fn note_connected(&self, upstream: SocketCookie) {
        let (connection, at) = (self.entry.cookie, clock::now());
        self.common.introduce(&self.entry, MediationEvent::Connected { connection, upstream, at });
    }

    fn note_answer(&self, byte: u8) {
        self.reading.answer(&self.common.book, &self.common.stats, clock::now(), byte);
    }

    fn note_encrypted(&self, encryption: Encryption, relayed: bool) {
        let connection = self.entry.cookie;
        self.common.introduce(&self.entry, MediationEvent::Encrypted { connection, encryption, relayed });
    }

    /// From here on client and server talk in ciphertext.
    fn note_unread(&self) -> Unread {
        self.note_encrypted(Encryption::Tls, true);
        Unread::ciphertext()
    }
}

/// Where the name of the protocol must be agreed on.
#[derive(Clone, Copy)]
enum Alpn {
    /// After SSLRequest: the request has named the protocol.
    IfAny,
    /// In direct TLS: another protocol's client could be led here (ALPACA).
    Needed,
}

/// A record under way.
enum Recording {
    Pending(Pending),
    Enough(Permission),
}

/// What has to be waited for.
fn recording(judgement: Judgement) -> Result<Recording, Stop> {
    match judgement {
        Judgement::Recorded(pending) => Ok(Recording::Pending(pending)),
        Judgement::Exempted(exemption) => Ok(Recording::Enough(Permission::unrecorded(exemption))),
        Judgement::Refused(reason) => Err(opening_not_recorded(reason)),
    }
}

/// A place among the cancel requests under way.
struct CancelPlace(Rc<Common>);

impl CancelPlace {
    fn take(common: &Rc<Common>) -> Option<Self> {
        let taken = common.cancels.get();
        if taken >= common.settings.cancels_max {
            return None;
        }
        common.cancels.set(taken + 1);
        Some(Self(common.clone()))
    }
}

impl Drop for CancelPlace {
    fn drop(&mut self) {
        self.0.cancels.set(self.0.cancels.get().saturating_sub(1));
    }
}

fn unreachable(error: &(dyn std::error::Error + 'static)) -> Stop {
    tracing::warn!(error, "a connection to the database server could not be opened");
    Stop::refused(Refusal::Upstream, "08006", "the proxy could not connect to the database server")
}

fn kind_of_failure(error: &io::Error) -> TlsFailure {
    if error.kind() == io::ErrorKind::UnexpectedEof || error.kind() == io::ErrorKind::ConnectionReset {
        return TlsFailure::Closed;
    }
    match tls_error(error) {
        Some(rustls::Error::AlertReceived(_)) => TlsFailure::Alert,
        Some(rustls::Error::PeerIncompatible(_)) => TlsFailure::Incompatible,
        Some(
            rustls::Error::PeerMisbehaved(_)
            | rustls::Error::InvalidMessage(_)
            | rustls::Error::InappropriateMessage { .. }
            | rustls::Error::InappropriateHandshakeMessage { .. }
            | rustls::Error::DecryptError,
        ) => TlsFailure::Protocol,
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => TlsFailure::Certificate,
        _ => TlsFailure::Other,
    }
}

/// Sends a cancel request on a hop of its own, and waits until the server has taken it.
async fn cancel<H: Hops>(hops: &H, request: HopRequest<'_>, packet: &[u8], cleared: Cleared) -> io::Result<()> {
    let hop = hops.open(request).await.map_err(io::Error::other)?;
    let mut upstream = Upstream::new(Socket::hop(hop.stream)?);
    let mut proofs = Some((Permission::own(&cleared), Clearance::Cleared(cleared)));
    let mut ignored = [0; 1];
    poll_fn(|cx| {
        if let Some((permission, clearance)) = proofs.take() {
            upstream.forward(cx, packet, permission, clearance)?;
        }
        ready!(upstream.poll_flush(cx))?;
        upstream.poll_read(cx, &mut ignored).map_ok(drop)
    })
    .await
}

/// A session that no policy allows, or one forbids.
fn not_allowed(denial: &Denial) -> Stop {
    let Denial { rule, what, reason, remedy, .. } = denial;
    let remedy = if remedy.is_empty() { String::new() } else { format!("; {remedy}") };
    Stop::refused(Refusal::Policy, "28000", format!("{what} is not allowed (rule {rule}): {reason}{remedy}"))
}

/// A connection to an enforced database that is not on record.
fn opening_not_recorded(reason: Refusal) -> Stop {
    Stop::refused(reason, "58030", "the connection could not be recorded, so it was refused")
}
