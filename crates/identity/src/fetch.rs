//! One question to an issuer over HTTPS, on a connection of its own: they are rare.
//!
//! Redirects are not followed and no proxy is asked: keys come from where the configuration says, or not at all.

use std::io;
use std::path::Path;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::key_set;
use crate::mistake::Mistake;
use crate::tls;
use crate::url::HttpsUrl;

/// How long connection, handshake, question and answer may take together.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Largest answer.
const ANSWER_BYTES_MAX: usize = key_set::BYTES_MAX;
const AGENT: &str = concat!("warder/", env!("CARGO_PKG_VERSION"));

/// Asks issuers.
#[derive(Clone)]
pub(crate) struct Client {
    tls: TlsConnector,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

/// An answer, whatever its status.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No connection.
    #[error("cannot connect to {0}")]
    Connect(String, #[source] io::Error),
    /// No TLS session: the certificate, most often.
    #[error("the TLS session with {0} failed")]
    Tls(String, #[source] io::Error),
    /// Too slow.
    #[error("{0} did not answer in time")]
    Timeout(String),
    /// The connection ended, or the answer is larger than it may be.
    #[error("the connection to {0} broke, or its answer is too large")]
    Broken(String, #[source] Box<dyn std::error::Error + Send + Sync>),
    /// An answer, but no success.
    #[error("{0} answered with HTTP status {1}")]
    Status(String, u16),
}

impl Client {
    pub(crate) fn new(ca_file: Option<&Path>) -> Result<Self, Mistake> {
        Ok(Self { tls: tls::connector(ca_file)? })
    }

    /// The body of a success.
    pub(crate) async fn get(&self, url: &HttpsUrl) -> Result<Bytes, FetchError> {
        let answer = self.ask(url, request(url, Method::GET, Bytes::new())).await?;
        match answer.status {
            200 => Ok(answer.body),
            status => Err(FetchError::Status(url.authority.clone(), status)),
        }
    }

    /// Sends a form.
    pub(crate) async fn post(&self, url: &HttpsUrl, form: &[(&str, &str)]) -> Result<Answer, FetchError> {
        let mut request = request(url, Method::POST, encode(form).into());
        let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
        request.headers_mut().insert(CONTENT_TYPE, kind);
        self.ask(url, request).await
    }

    async fn ask(&self, url: &HttpsUrl, request: Request<Full<Bytes>>) -> Result<Answer, FetchError> {
        let late = |_elapsed| FetchError::Timeout(url.authority.clone());
        tokio::time::timeout(TIMEOUT, self.ask_patiently(url, request)).await.map_err(late)?
    }

    async fn ask_patiently(&self, url: &HttpsUrl, request: Request<Full<Bytes>>) -> Result<Answer, FetchError> {
        let whom = || url.authority.clone();
        let stream = TcpStream::connect((&*url.host, url.port)).await;
        let stream = stream.map_err(|error| FetchError::Connect(whom(), error))?;
        let stream = self.tls.connect(url.server.clone(), stream).await;
        let stream = stream.map_err(|error| FetchError::Tls(whom(), error))?;
        let broken = |error: hyper::Error| FetchError::Broken(whom(), error.into());
        let (mut connection, driver) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        // It ends when the connection is dropped; what goes wrong is told to the one who waits for the answer.
        tokio::spawn(driver);
        let (head, body) = connection.send_request(request).await.map_err(broken)?.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| FetchError::Broken(whom(), error))?.to_bytes();
        Ok(Answer { status: head.status.as_u16(), body })
    }
}

/// `application/x-www-form-urlencoded`: everything but letters, digits and `-._~` as `%XX`.
fn encode(form: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (index, (name, value)) in form.iter().enumerate() {
        text.push_str(if index == 0 { "" } else { "&" });
        escape(name, &mut text);
        text.push('=');
        escape(value, &mut text);
    }
    text
}

fn escape(part: &str, text: &mut String) {
    for byte in part.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or_default().to_ascii_uppercase();
            text.extend(['%', digit(byte >> 4), digit(byte & 0xf)]);
        }
    }
}

fn request(url: &HttpsUrl, method: Method, body: Bytes) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = method;
    *request.uri_mut() = url.path.clone();
    let headers = request.headers_mut();
    // An authority that was parsed is a header value.
    if let Ok(host) = HeaderValue::from_str(&url.authority) {
        headers.insert(HOST, host);
    }
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    request
}

/// An error with all its causes, for the log.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(error.source(), |error| error.source())
        .fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_encoded() {
        let form = encode(&[("scope", "openid groups"), ("code", "a+b&c=d/\u{e9}~")]);
        assert_eq!(form, "scope=openid%20groups&code=a%2Bb%26c%3Dd%2F%C3%A9~");
    }
}
