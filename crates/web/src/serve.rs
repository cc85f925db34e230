//! Serves whoever comes through the door: HTTP/1.1, with a bound on numbers, bytes and time.

use std::cell::Cell;
use std::convert::Infallible;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::rt::{Read, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::answer::{Answer, error};
use crate::door::Door;
use crate::guests::Guests;

/// Connections served at once; more wait in the listener's backlog.
const CONNECTIONS_MAX: usize = 64;
/// How long a client may take for its TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a client may take to send the head of a request, the next one of a connection as well.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long it may take to send the body.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// After its last request a connection is given this time to take the answers.
const UNREAD_TIMEOUT: Duration = Duration::from_secs(5);
/// Largest head: a token has 16 KiB at most.
const HEAD_BYTES_MAX: usize = 32 * 1024;
/// Pause after a failed accept (out of descriptors): without it the loop would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A request with its whole body.
pub type Whole = Request<Full<Bytes>>;

/// What differs between houses.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Largest body of a request.
    pub body_bytes_max: usize,
    /// How long an answer may take.
    pub answer_within: Duration,
    /// After this time a connection takes no further request.
    pub keep_alive: Duration,
}

struct House<H> {
    limits: Limits,
    handle: H,
}

/// Serves until it is dropped; on a current-thread runtime. `handle` gets requests with their whole bodies; what it does is
/// given up when its client goes.
pub async fn serve<H, F>(door: Door, limits: Limits, handle: H) -> Infallible
where
    H: Fn(Whole) -> F + 'static,
    F: Future<Output = Answer> + 'static,
{
    let Door { listener, tls } = door;
    let house = Rc::new(House { limits, handle });
    let guests = Rc::new(Guests::default());
    // A set of its own, so that connections need not be Send and end together with this future.
    LocalSet::new()
        .run_until(async move {
            let mut connections = JoinSet::new();
            loop {
                while connections.try_join_next().is_some() {}
                if connections.len() >= CONNECTIONS_MAX {
                    connections.join_next().await;
                }
                match listener.accept().await {
                    Ok((stream, peer)) => {
                        let Some(guest) = guests.admit(peer.ip()) else { continue };
                        let (house, tls) = (Rc::clone(&house), tls.clone());
                        connections.spawn_local(async move {
                            house.receive(stream, tls).await;
                            drop(guest);
                        });
                    }
                    Err(_out_of_descriptors) => tokio::time::sleep(ACCEPT_PAUSE).await,
                }
            }
        })
        .await
}

impl<H, F> House<H>
where
    H: Fn(Whole) -> F,
    F: Future<Output = Answer>,
{
    /// What goes wrong concerns only its client.
    async fn receive(&self, stream: TcpStream, tls: Option<TlsAcceptor>) {
        match tls {
            None => self.converse(TokioIo::new(stream)).await,
            Some(tls) => {
                if let Ok(Ok(stream)) = timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
                    self.converse(TokioIo::new(stream)).await;
                }
            }
        }
    }

    async fn converse(&self, stream: impl Read + Write + Unpin) {
        let answering = Cell::new(false);
        let service = service_fn(async |request| {
            answering.set(true);
            let answer = self.answer(request).await;
            answering.set(false);
            Ok::<_, Infallible>(answer)
        });
        let conversation = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(stream, service);
        let mut conversation = pin!(conversation);
        if timeout(self.limits.keep_alive, conversation.as_mut()).await.is_err() {
            conversation.as_mut().graceful_shutdown();
            // An answer that is being made is waited for; a client that does not read those that are, is not.
            while timeout(UNREAD_TIMEOUT, conversation.as_mut()).await.is_err() && answering.get() {}
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let (head, body) = request.into_parts();
        let bytes_max = self.limits.body_bytes_max;
        let body = match timeout(BODY_TIMEOUT, Limited::new(body, bytes_max).collect()).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(problem)) if problem.is::<LengthLimitError>() => {
                let text = format!("a body has at most {bytes_max} bytes");
                return error(StatusCode::PAYLOAD_TOO_LARGE, "too_large", &text);
            }
            Ok(Err(_broken)) => return error(StatusCode::BAD_REQUEST, "not_a_request", "the body is not whole"),
            Err(_late) => return error(StatusCode::REQUEST_TIMEOUT, "too_slow", "the body did not come in time"),
        };
        let answer = (self.handle)(Request::from_parts(head, Full::new(body)));
        timeout(self.limits.answer_within, answer).await.unwrap_or_else(|_late| {
            error(StatusCode::SERVICE_UNAVAILABLE, "timeout", "it took too long, and may be done all the same; look")
        })
    }
}
