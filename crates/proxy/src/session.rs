//! The life of one connection: opening, relay, end.
//!
//! The opening follows what the client says; each arm of [`Opening::run`] is one thing it may say first. What it leads
//! to is a [`Relay`], a forwarded cancel request, or a [`Stop`].

mod governing;
mod record;
mod service_login;
mod tls;

use std::future::{Future as _, poll_fn};
use std::os::fd::AsFd as _;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use guard::Guard;
use model::mediation::{End, Listener, MediationEvent, Moment, Refusal, RelayCounts, Route};
use model::session::Encryption;
use model::time::WallTime;
use model::wire::Input;

use self::tls::{Alpn, Answer};
use crate::access::{self, Encrypted, Gate};
use crate::book::Reading;
use crate::client::{Client, stopped};
use crate::clock;
use crate::common::Common;
use crate::entry::Entry;
use crate::governed::Governed;
use crate::hop::{Destination, HopRequest, Hops};
use crate::login::{LoginCounts, LoginMode};
use crate::opening::{Expect, Packet, SSL_REQUEST, Startup};
use crate::permission::{Clearance, Permission, Unread};
use crate::relay::{Content, Relay};
use crate::settings::{ListenerSpec, TlsMode};
use crate::socket::Socket;
use crate::stop::Stop;
use crate::transport::Transport;
use crate::upstream::Upstream;

/// Of a CancelRequest: its length, its code and the server process. The key follows.
const CANCEL_BYTES_RECORDED: usize = 12;
/// Of a CancelRequest: its length and its code. Process and key follow.
const CANCEL_HEADER_BYTES: usize = 8;
/// GSSENCRequest, whole: its length and 1234.5680.
const GSS_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x30];
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
            let counts = relay.counts();
            let moment = if relay.is_quiet() { Moment::Quiet } else { Moment::Busy };
            common.note(&MediationEvent::Counted { connection: entry.cookie, at: clock::now(), counts, moment });
            let can_be_told = relay.can_be_told();
            let was_running = relay.stop_what_runs(&stop).await;
            let (client, hop) = relay.part();
            // The server goes on with what it has got behind what was cancelled, until it finds the hop closed.
            let hop = (!was_running).then_some(hop);
            let client = Client::new(entry.clone(), client);
            say_goodbye(&common, &entry, client, &stop, can_be_told).await;
            drop(hop);
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
