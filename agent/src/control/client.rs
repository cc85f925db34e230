//! The command line's end of the control socket.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::grants::{GrantAsk, GrantVerb, GrantView};
use super::{
    AccessView, KeyView, Request, Response, ScanView, SessionView, StatusView, SteerVerb, SteeringView, server,
};

/// Longest answer: a million sessions would be more, but nobody reads those in a terminal.
const RESPONSE_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Why the agent did not answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error(
        "no agent answers on {}: it is not running, or has another configuration; \
         start it (warder run), or name its configuration with -c", path.display()
    )]
    NotRunning {
        /// The socket.
        path: PathBuf,
    },
    /// The socket may not be used.
    #[error("this account may not use {}; run as root, or as a member of the socket's group", path.display())]
    NotAllowed {
        /// The socket.
        path: PathBuf,
    },
    /// The agent refused.
    #[error("the agent refused: {message} ({code})")]
    Refused {
        /// Machine-readable reason.
        code: String,
        /// For people.
        message: String,
    },
    /// The connection broke, or timed out.
    #[error("the agent on {} did not answer; if it stays so, see its log", path.display())]
    Broken {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The answer is not one that this version understands.
    #[error("the answer of the agent on {} is not understood; use a command line of the agent's version", path.display())]
    NotUnderstood {
        /// The socket.
        path: PathBuf,
        /// Why, where it is known.
        source: Option<serde_json::Error>,
    },
}

/// Asks for all live sessions.
pub fn sessions(socket: &Path) -> Result<Vec<SessionView<'static>>, ClientError> {
    answer(socket, request(socket, "sessions", server::CLIENT_TIMEOUT)?.sessions)
}

/// Asks how the agent is.
pub fn status(socket: &Path) -> Result<StatusView, ClientError> {
    answer(socket, request(socket, "status", server::CLIENT_TIMEOUT)?.status)
}

/// Has the iterators run now; returns when they have.
pub fn scan(socket: &Path) -> Result<ScanView, ClientError> {
    answer(socket, request(socket, "scan", server::SCAN_TIMEOUT + server::CLIENT_TIMEOUT)?.scan)
}

/// Has the journal's key exchanged; returns when the new one signs.
pub fn rotate_key(socket: &Path) -> Result<KeyView, ClientError> {
    answer(socket, request(socket, "rotate-key", server::CLIENT_TIMEOUT)?.key)
}

/// Steers connections to the proxy, stops that, or asks how it is; of one database or of all that have a proxy.
pub fn steer(socket: &Path, what: SteerVerb, database: Option<&str>) -> Result<Vec<SteeringView>, ClientError> {
    let verb = match what {
        SteerVerb::On => "steer-on",
        SteerVerb::Off => "steer-off",
        SteerVerb::Status => "steer-status",
    };
    let ask = Request { database: database.map(Into::into), ..Request::of(verb) };
    answer(socket, exchange(socket, &ask, server::STEER_TIMEOUT + server::CLIENT_TIMEOUT)?.steering)
}

/// Asks for something about grants; the answer is those that it is about.
pub fn grants(socket: &Path, verb: GrantVerb, ask: GrantAsk) -> Result<Vec<GrantView>, ClientError> {
    let ask = Request { grant: Some(ask), ..Request::of(verb.word()) };
    answer(socket, exchange(socket, &ask, server::GRANT_TIMEOUT + server::CLIENT_TIMEOUT)?.grants)
}

/// Asks for all roles that were made for sessions.
pub fn accesses(socket: &Path) -> Result<Vec<AccessView>, ClientError> {
    answer(socket, request(socket, "accesses", server::CLIENT_TIMEOUT)?.accesses)
}

/// Ends the access of a role or of a principal now; what ends is the answer.
pub fn end_access(socket: &Path, whose: &str) -> Result<Vec<AccessView>, ClientError> {
    let ask = Request { whose: Some(whose.into()), ..Request::of("end-access") };
    answer(socket, exchange(socket, &ask, 2 * server::CLIENT_TIMEOUT)?.accesses)
}

fn answer<T>(socket: &Path, field: Option<T>) -> Result<T, ClientError> {
    field.ok_or_else(|| ClientError::NotUnderstood { path: socket.to_owned(), source: None })
}

fn request(socket: &Path, verb: &str, patience: Duration) -> Result<Response<'static>, ClientError> {
    exchange(socket, &Request::of(verb), patience)
}

fn exchange(socket: &Path, ask: &Request<'_>, patience: Duration) -> Result<Response<'static>, ClientError> {
    let path = || socket.to_owned();
    let broken = |source| ClientError::Broken { path: path(), source };
    let mut stream = UnixStream::connect(socket).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ClientError::NotRunning { path: path() },
        io::ErrorKind::PermissionDenied => ClientError::NotAllowed { path: path() },
        _ => broken(error),
    })?;
    stream.set_read_timeout(Some(patience)).map_err(broken)?;
    stream.set_write_timeout(Some(patience)).map_err(broken)?;
    let mut line = serde_json::to_vec(ask).map_err(|error| broken(error.into()))?;
    line.push(b'\n');
    // A peer that is refused may find the socket closed before its request is taken: the answer is still there.
    let sent = stream.write_all(&line);
    let mut response = Vec::new();
    let count = BufReader::new(stream).take(RESPONSE_BYTES_MAX).read_until(b'\n', &mut response).map_err(broken)?;
    if count == 0 {
        sent.map_err(broken)?;
        return Err(broken(io::ErrorKind::UnexpectedEof.into()));
    }
    let response: Response<'static> = serde_json::from_slice(&response)
        .map_err(|error| ClientError::NotUnderstood { path: path(), source: Some(error) })?;
    match response.error {
        Some(refusal) => {
            Err(ClientError::Refused { code: refusal.code.into_owned(), message: refusal.message.into_owned() })
        }
        None => Ok(response),
    }
}
