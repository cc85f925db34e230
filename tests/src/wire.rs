//! The PostgreSQL wire protocol by hand, as far as a hostile or unusual client needs it (manual, chapter 55).

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

/// Protocol 3.0.
const PROTOCOL: u32 = 0x0003_0000;
/// CancelRequest code.
const CANCEL: u32 = 80_877_102;

/// How long a raw client waits for an answer.
const READ_LIMIT: Duration = Duration::from_secs(20);

/// StartupMessage for a user and a database.
#[must_use]
pub fn startup(user: &str, database: &str) -> Vec<u8> {
    startup_with(user, database, &[])
}

/// StartupMessage with further parameters.
#[must_use]
pub fn startup_with(user: &str, database: &str, parameters: &[(&str, &str)]) -> Vec<u8> {
    let mut body = PROTOCOL.to_be_bytes().to_vec();
    let parameters = parameters.iter().flat_map(|(name, value)| [*name, *value]);
    for word in ["user", user, "database", database].into_iter().chain(parameters) {
        body.extend(word.as_bytes());
        body.push(0);
    }
    body.push(0);
    with_length(body)
}

/// CancelRequest.
#[must_use]
pub fn cancel(pid: u32, secret: u32) -> Vec<u8> {
    let words = [CANCEL, pid, secret];
    with_length(words.iter().flat_map(|word| word.to_be_bytes()).collect())
}

/// A message with its type byte.
#[must_use]
pub fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend(with_length(body.to_vec()));
    bytes
}

/// A simple `Query`.
#[must_use]
pub fn query(text: &[u8]) -> Vec<u8> {
    message(b'Q', &[text, b"\0"].concat())
}

/// `Terminate`.
#[must_use]
pub fn terminate() -> Vec<u8> {
    message(b'X', b"")
}

fn with_length(body: Vec<u8>) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap_or(u32::MAX);
    [length.to_be_bytes().to_vec(), body].concat()
}

/// A stream to the server.
trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// A raw connection.
pub struct RawClient {
    stream: Box<dyn Stream>,
    /// Process id of the backend, once it said it (BackendKeyData).
    pub backend_pid: Option<u32>,
    /// Secret key of the backend for a cancel request.
    pub backend_secret: Option<u32>,
}

impl RawClient {
    /// Connects over TCP to loopback.
    ///
    /// # Errors
    /// When nobody listens.
    pub fn tcp(port: u16) -> Result<Self> {
        Self::connected(TcpStream::connect(("127.0.0.1", port)).context("the database port does not answer")?)
    }

    /// A client on a TCP stream that is already connected.
    ///
    /// # Errors
    /// When the stream is unusable.
    pub fn connected(stream: TcpStream) -> Result<Self> {
        stream.set_read_timeout(Some(READ_LIMIT))?;
        Ok(Self::over(Box::new(stream)))
    }

    /// Connects to a Unix socket.
    ///
    /// # Errors
    /// When nobody listens.
    pub fn unix(path: &Path) -> Result<Self> {
        Self::connected_unix(UnixStream::connect(path).context("the database socket does not answer")?)
    }

    /// A client on a Unix stream that is already connected.
    ///
    /// # Errors
    /// When the stream is unusable.
    pub fn connected_unix(stream: UnixStream) -> Result<Self> {
        stream.set_read_timeout(Some(READ_LIMIT))?;
        Ok(Self::over(Box::new(stream)))
    }

    fn over(stream: Box<dyn Stream>) -> Self {
        Self { stream, backend_pid: None, backend_secret: None }
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// When the server has closed the connection.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(bytes)?)
    }

    /// Reads one message: its type and body.
    ///
    /// # Errors
    /// When the connection ends or the server is silent for too long.
    pub fn receive(&mut self) -> Result<(u8, Vec<u8>)> {
        let mut header = [0; 5];
        self.stream.read_exact(&mut header)?;
        let [kind, length @ ..] = header;
        let length = usize::try_from(u32::from_be_bytes(length))?.saturating_sub(4);
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        if let (b'K', Some((pid, secret))) = (kind, body.split_first_chunk::<4>()) {
            self.backend_pid = Some(u32::from_be_bytes(*pid));
            self.backend_secret = secret.first_chunk().map(|secret| u32::from_be_bytes(*secret));
        }
        Ok((kind, body))
    }

    /// Reads messages up to and including the next ReadyForQuery; returns their types.
    ///
    /// # Errors
    /// As [`RawClient::receive`].
    pub fn until_ready(&mut self) -> Result<Vec<u8>> {
        let mut kinds = Vec::new();
        while kinds.last() != Some(&b'Z') {
            kinds.push(self.receive()?.0);
        }
        Ok(kinds)
    }

    /// Logs in under `trust` and waits for ReadyForQuery.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn login(&mut self) -> Result<()> {
        self.send(&startup("postgres", "postgres"))?;
        self.until_ready().map(drop)
    }

    /// Sends a simple query and waits for ReadyForQuery.
    ///
    /// # Errors
    /// When the connection ends first.
    pub fn query(&mut self, text: &str) -> Result<()> {
        self.send(&query(text.as_bytes()))?;
        self.until_ready().map(drop)
    }

    /// Reads until the server closes the connection.
    ///
    /// # Errors
    /// When the server keeps it open and silent for too long.
    pub fn until_closed(&mut self) -> Result<()> {
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Err(error) if error.kind() != io::ErrorKind::ConnectionReset => Err(error.into()),
            _ => Ok(()),
        }
    }
}
