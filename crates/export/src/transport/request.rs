//! One HTTP/1.1 connection to a receiver: kept while it works, made anew when it does not.
//!
//! Redirects are not followed and no proxy is asked: records go where the configuration says, or nowhere.

use std::path::Path;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, RETRY_AFTER, USER_AGENT,
};
use hyper::rt::{Read, Write};
use hyper::{Method, Request, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::tls::{Renewal, Tls};
use crate::config::{Compression, Identity};
use crate::failure::Failure;
use crate::plan::{ConfigError, HttpPlace};

/// Largest answer that is read; a receiver answers in a few hundred bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Largest file with a token.
const TOKEN_BYTES_MAX: u64 = 16 * 1024;

/// Sends bodies to one URI.
#[derive(Debug)]
pub(crate) struct Client {
    uri: Uri,
    host: HeaderValue,
    agent: HeaderValue,
    tls: Option<Tls>,
    place: HttpPlace,
    connection: Option<SendRequest<Full<Bytes>>>,
}

/// What goes into one request.
pub(crate) struct Post {
    pub(crate) content_type: &'static str,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Client {
    /// A client for `path` below the configured URI, or for that URI itself.
    pub(crate) fn new(place: &HttpPlace, path: &str, identity: &Identity) -> Result<Self, ConfigError> {
        let mistake = |text: String| ConfigError::new("url", text);
        let host_name = place.uri.host().unwrap_or_default();
        let tls = place.tls.as_ref().map(|files| Tls::new(host_name, files)).transpose()?;
        let query = place.uri.query().map_or(String::new(), |query| format!("?{query}"));
        let path_and_query = match path {
            "" => place.uri.path_and_query().map_or("/", |whole| whole.as_str()).to_owned(),
            path => format!("{}{path}{query}", place.uri.path().trim_end_matches('/')),
        };
        let uri = path_and_query.parse().map_err(|error| mistake(format!("not a path: {error}")))?;
        let authority = place.uri.authority().map_or("", |authority| authority.as_str());
        let header = |text: &str| HeaderValue::from_str(text).map_err(|error| mistake(error.to_string()));
        let agent = header(&format!("warder/{}", identity.version))?;
        Ok(Self { uri, host: header(authority)?, agent, tls, place: place.clone(), connection: None })
    }

    /// Posts a body; returns the answer's body if its status is a success.
    pub(crate) async fn post(&mut self, post: Post) -> Result<Bytes, Failure> {
        let request = self.request(post)?;
        let mut connection = match self.kept().await {
            Some(kept) => kept,
            None => self.connect().await?,
        };
        let answer = connection.send_request(request).await.map_err(|error| Failure::Broken(error.into()))?;
        let (head, body) = answer.into_parts();
        if !head.status.is_success() {
            // Whatever else it says, and however long.
            return Err(Failure::from_status(head.status.as_u16(), retry_after(&head.headers)));
        }
        match Limited::new(body, ANSWER_BYTES_MAX).collect().await {
            Ok(body) => {
                self.connection = Some(connection);
                Ok(body.to_bytes())
            }
            // It has the batch, and says more than anybody needs: an echo. The rest goes with the connection.
            Err(error) if error.is::<LengthLimitError>() => Ok(Bytes::new()),
            Err(error) => Err(Failure::Broken(error)),
        }
    }

    /// The connection of the request before, if the receiver has not closed it since and our certificates
    /// are the same.
    async fn kept(&mut self) -> Option<SendRequest<Full<Bytes>>> {
        let mut kept = self.connection.take()?;
        if self.tls.as_mut().is_some_and(|tls| tls.renew() == Renewal::Renewed) {
            return None;
        }
        kept.ready().await.is_ok().then_some(kept)
    }

    fn request(&self, post: Post) -> Result<Request<Full<Bytes>>, Failure> {
        let mut request = Request::new(Full::default());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        let headers = request.headers_mut();
        *headers = post.headers;
        headers.insert(HOST, self.host.clone());
        headers.insert(USER_AGENT, self.agent.clone());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(post.content_type));
        if let Some(path) = &self.place.bearer_token_file {
            headers.insert(AUTHORIZATION, bearer(path).map_err(Failure::Secret)?);
        }
        let body = match self.place.compression {
            Compression::None => post.body,
            Compression::Gzip => {
                headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
                gzip(&post.body)
            }
        };
        *request.body_mut() = Full::new(body.into());
        Ok(request)
    }

    async fn connect(&mut self) -> Result<SendRequest<Full<Bytes>>, Failure> {
        let host = self.place.uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let default = if self.tls.is_some() { 443 } else { 80 };
        let port = self.place.uri.port_u16().unwrap_or(default);
        let stream = TcpStream::connect((host, port)).await.map_err(Failure::Connect)?;
        match &mut self.tls {
            None => handshake(TokioIo::new(stream)).await,
            Some(tls) => handshake(TokioIo::new(tls.connect(stream).await?)).await,
        }
    }
}

async fn handshake<T: Read + Write + Send + Unpin + 'static>(stream: T) -> Result<SendRequest<Full<Bytes>>, Failure> {
    let (connection, driver) = http1::handshake(stream).await.map_err(|error| Failure::Broken(error.into()))?;
    // It ends when the connection is dropped; what goes wrong is told to the one who waits for the answer.
    tokio::spawn(driver);
    Ok(connection)
}

/// Read every time, so that a token can be renewed without a restart.
fn bearer(path: &Path) -> std::io::Result<HeaderValue> {
    use std::io::{Error, ErrorKind, Read as _};
    let mut token = String::new();
    std::fs::File::open(path)?.take(TOKEN_BYTES_MAX).read_to_string(&mut token)?;
    // The error does not say what is in the file.
    let refused = |_token| Error::new(ErrorKind::InvalidData, "it does not hold one line of printable ASCII");
    let mut value = HeaderValue::try_from(format!("Bearer {}", token.trim())).map_err(refused)?;
    value.set_sensitive(true);
    Ok(value)
}

fn gzip(body: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::with_capacity(body.len() / 4), flate2::Compression::fast());
    encoder.write_all(body).and_then(|()| encoder.finish()).expect("memory does not fail")
}

/// Seconds only; a date would need a calendar, and receivers that shed load send seconds.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests;
