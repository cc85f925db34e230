//! The endpoint for Prometheus: `/metrics` and `/healthz`, one request per connection, nothing else.

use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::timeout;

/// Connections served at once; more wait in the listener's backlog.
const CONNECTIONS_MAX: usize = 64;
/// How long a client may take to send its request: a scraper sends it with its first packet, and connections that say
/// nothing must not keep it waiting for longer than its own patience (10 s by default).
const HEADER_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a connection may live: a scrape takes milliseconds.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(15);
/// Largest request head; a scraper sends a few hundred bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Pause after a failed accept (out of descriptors): without it the loop would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until it is dropped; on a current-thread runtime. `render` makes the text of `/metrics`.
pub async fn serve(listener: TcpListener, render: impl Fn() -> String + 'static) -> Infallible {
    let render = Rc::new(render);
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
                    Ok((stream, _)) => {
                        let render = Rc::clone(&render);
                        connections.spawn_local(async move { connection(stream, &*render).await });
                    }
                    Err(_out_of_descriptors) => tokio::time::sleep(ACCEPT_PAUSE).await,
                }
            }
        })
        .await
}

/// Serves one request. What goes wrong concerns only its client.
async fn connection(stream: TcpStream, render: &impl Fn() -> String) {
    let service = service_fn(|request| std::future::ready(Ok::<_, Infallible>(answer(&request, render))));
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    let _gone = timeout(CONNECTION_TIMEOUT, serving).await;
}

fn answer(request: &Request<Incoming>, render: &impl Fn() -> String) -> Response<Full<Bytes>> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET\n".into());
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match request.uri().path() {
        "/metrics" => plain(StatusCode::OK, render()),
        "/healthz" => plain(StatusCode::OK, "ok\n".into()),
        _ => plain(StatusCode::NOT_FOUND, "this is warder: /metrics, /healthz\n".into()),
    }
}

fn plain(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    let format = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, format);
    response
}
