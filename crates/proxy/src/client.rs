//! A client during its start-up: packets in, one-byte answers and farewells out.

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use model::mediation::{End, Refusal};
use tokio_rustls::rustls::Connection;

use crate::entry::{Entry, Order, Phase};
use crate::login::response::Response;
use crate::opening::{Expect, PACKET_BYTES_MAX, Packet};
use crate::rest::Rest;
use crate::stop::{Farewell, Stop};
use crate::transport::Transport;
use crate::{clock, message};

/// What is read at most after a farewell, so that it is not overtaken by a reset.
const IGNORED_BYTES_MAX: usize = 64 * 1024;

/// It.
pub(crate) struct Client {
    pub(crate) entry: Rc<Entry>,
    pub(crate) transport: Transport,
    /// Received and not used yet; never more than the longest packet.
    received: Vec<u8>,
}

impl Client {
    pub(crate) const fn new(entry: Rc<Entry>, transport: Transport) -> Self {
        Self { entry, transport, received: Vec::new() }
    }

    /// Waits for the next packet, hands it and its bytes to `take`, and keeps what follows it.
    pub(crate) async fn packet<T>(
        &mut self,
        expect: Expect,
        take: impl FnOnce(Packet<'_>, &[u8]) -> T,
    ) -> Result<T, Stop> {
        loop {
            match expect.packet(&self.received) {
                Ok(Some((packet, length))) => {
                    let taken = take(packet, self.received.get(..length).unwrap_or_default());
                    self.received.drain(..length);
                    return Ok(taken);
                }
                Ok(None) => self.receive().await?,
                Err(malformed) => {
                    return Err(Stop::refused(malformed.refusal(), malformed.sqlstate(), malformed.to_string()));
                }
            }
        }
    }

    async fn receive(&mut self) -> Result<(), Stop> {
        let had = self.received.len();
        self.received.resize(PACKET_BYTES_MAX.max(had + 1), 0);
        let (entry, transport, received) = (&self.entry, &mut self.transport, &mut self.received);
        let result = poll_fn(|cx| {
            entry.poll_until(cx, |cx| transport.poll_read(cx, received.get_mut(had..).unwrap_or_default()))
        })
        .await;
        self.received.truncate(had + result.as_ref().map_or(0, |read| *read.as_ref().unwrap_or(&0)));
        match result {
            Err(order) => Err(stopped(order)),
            Ok(Err(_broken)) => Err(Stop::ended(End::ClientBroken)),
            Ok(Ok(0)) if had == 0 => Err(Stop::ended(End::Client)),
            Ok(Ok(0)) => Err(Stop::refused_silently(Refusal::Truncated)),
            Ok(Ok(_)) => Ok(()),
        }
    }

    /// Waits for the answer to an authentication request.
    pub(crate) async fn response(&mut self) -> Result<Response, Stop> {
        let mut response = Response::new();
        while !response.is_whole()? {
            let (entry, transport) = (&self.entry, &mut self.transport);
            let read = poll_fn(|cx| entry.poll_until(cx, |cx| transport.poll_read(cx, response.room()))).await;
            match read.map_err(stopped)?.map_err(|_broken| Stop::ended(End::ClientBroken))? {
                0 if response.is_empty() => return Err(Stop::ended(End::Client)),
                0 => return Err(Stop::refused_silently(Refusal::Truncated)),
                length => response.received(length),
            }
        }
        Ok(response)
    }

    /// What was received behind the last packet.
    pub(crate) fn take_received(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.received)
    }

    /// Nothing was received behind the last packet.
    pub(crate) const fn has_nothing_more(&self) -> bool {
        self.received.is_empty()
    }

    /// Sends an answer to a request for encryption.
    pub(crate) async fn answer(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        let mut rest = Rest::new();
        let (entry, transport) = (&self.entry, &mut self.transport);
        let mut bytes = Some(bytes);
        let result = poll_fn(|cx| {
            entry.poll_until(cx, |cx| {
                if let Some(bytes) = bytes.take() {
                    rest.send(transport, cx, bytes)?;
                }
                rest.poll_flush(transport, cx)
            })
        })
        .await;
        result.map_err(stopped)?.map_err(|_broken| Stop::ended(End::ClientBroken))
    }

    /// Puts TLS on the connection; bytes that were received already are its first ones (direct TLS).
    pub(crate) async fn handshake(&mut self, connection: Connection) -> Result<(), HandshakeError> {
        self.transport.start_tls(connection);
        let mut first = Some(std::mem::take(&mut self.received));
        let (entry, transport) = (&self.entry, &mut self.transport);
        let result = poll_fn(|cx| {
            entry.poll_until(cx, |cx| {
                if let Some(first) = first.take() {
                    transport.begin_with(cx, &first)?;
                }
                transport.poll_handshake(cx)
            })
        })
        .await;
        result.map_err(|_order| HandshakeError::Stopped)?.map_err(HandshakeError::Failed)
    }

    /// Says goodbye: the text, the end, and then a moment of listening, because a reset would overtake the text.
    pub(crate) async fn farewell(&mut self, farewell: &Farewell) {
        let bytes = message::fatal(farewell.sqlstate, &farewell.text);
        if self.answer(&bytes).await.is_err() {
            return;
        }
        self.entry.enter(Phase::Farewell, clock::now());
        let (entry, transport) = (&self.entry, &mut self.transport);
        let mut ignored = [0; 1024];
        let mut left = IGNORED_BYTES_MAX;
        let mut finished = false;
        let _over = poll_fn(|cx| {
            entry.poll_until(cx, |cx| {
                if !finished {
                    ready!(transport.poll_finish(cx))?;
                    finished = true;
                }
                poll_ignore(transport, cx, &mut ignored, &mut left)
            })
        })
        .await;
    }
}

fn poll_ignore(
    transport: &mut Transport,
    cx: &mut Context<'_>,
    ignored: &mut [u8],
    left: &mut usize,
) -> Poll<io::Result<()>> {
    while *left > 0 {
        match ready!(transport.poll_read(cx, ignored))? {
            0 => break,
            length => *left = left.saturating_sub(length),
        }
    }
    Poll::Ready(Ok(()))
}

/// Why a handshake ended without TLS.
pub(crate) enum HandshakeError {
    Stopped,
    Failed(io::Error),
}

/// An order that ends a start-up.
pub(crate) fn stopped(order: Order) -> Stop {
    match order {
        Order::Drain => {
            let mut stop = Stop::refused(Refusal::Draining, "57P03", "the proxy is stopping; connect again");
            stop.by = End::Drained;
            stop
        }
        Order::EndAccess(why) => {
            let text = format!("the access has ended ({}) before the session began", why.word());
            let mut stop = Stop::refused(Refusal::Identity, "28000", text);
            stop.by = End::AccessEnded;
            stop
        }
        Order::Publish | Order::Count | Order::Reconsider | Order::Idle | Order::TimedOut => {
            Stop::refused(Refusal::StartupTimeout, "08P01", "the connection did not start up in time")
        }
    }
}
