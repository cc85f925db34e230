//! An HTTP client that sends one request on a connection, in the clear or by TLS, and reads JSON.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where requests go: a port of this host.
#[derive(Clone, Debug)]
pub struct Client {
    port: u16,
    tls: Option<Arc<ClientConfig>>,
}

/// What was answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    /// Status.
    pub status: u16,
    /// Body; null where it is no JSON.
    pub body: Value,
}

impl Client {
    /// In the clear.
    #[must_use]
    pub fn plain(port: u16) -> Self {
        Self { port, tls: None }
    }

    /// By TLS to a server whose certificate this authority has signed.
    ///
    /// # Errors
    /// When its file cannot be used.
    pub fn trusting(port: u16, authority: &Path) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(authority)?)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { port, tls: Some(Arc::new(config)) })
    }

    /// A connection.
    ///
    /// # Errors
    /// When nobody listens.
    pub fn connect(&self) -> Result<TcpStream> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).context("nobody listens")?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(stream)
    }

    /// One request.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn call(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Said> {
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
        headers.iter().for_each(|(name, value)| request.push_str(&format!("{name}: {value}\r\n")));
        request.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
        let request = [request.as_bytes(), body].concat();
        let stream = self.connect()?;
        let answer = match &self.tls {
            None => exchange(stream, &request),
            Some(config) => {
                let connection = ClientConnection::new(Arc::clone(config), ServerName::try_from("localhost")?)?;
                exchange(StreamOwned::new(connection, stream), &request)
            }
        };
        let (head, body) = answer.split_once("\r\n\r\n").with_context(|| format!("no HTTP answer: {answer:?}"))?;
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).context("no status")?;
        Ok(Said { status, body: serde_json::from_str(body).unwrap_or_default() })
    }
}

/// All that comes back. A server that has heard enough may close before all is sent.
fn exchange(mut stream: impl Read + Write, request: &[u8]) -> String {
    let mut answer = Vec::new();
    let _early: io::Result<()> = stream.write_all(request).and_then(|()| stream.flush());
    let _reset = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}
