//! What a worker and its listeners are told. Values are checked where the configuration is read.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use model::id::DatabaseId;
use model::mediation::Listener;
use recorder::Level;

use crate::certificates::Certificates;
use crate::login::LoginMode;

/// Bounds and times of one worker.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Sessions of this worker.
    pub sessions_max: usize,
    /// Sessions of one client address (of one user, on a Unix socket).
    pub sessions_per_address_max: usize,
    /// Connections that have not started up yet.
    pub startups_max: usize,
    /// Cancel requests on their way.
    pub cancels_max: usize,
    /// How long a connection may take to start up.
    pub startup: Duration,
    /// How long a session may wait for its client; `None`: for ever.
    pub idle: Option<Duration>,
    /// Body bytes recorded of one client message.
    pub message_bytes_max: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            sessions_max: 10_000,
            sessions_per_address_max: 1000,
            startups_max: 1000,
            cancels_max: 64,
            startup: Duration::from_secs(60),
            idle: None,
            message_bytes_max: 1 << 20,
        }
    }
}

/// One listener: for which database, and how its clients are treated.
#[derive(Clone, Debug)]
pub struct ListenerSpec {
    /// The database.
    pub database: DatabaseId,
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// How clients come here.
    pub kind: Listener,
    /// The database's own port. A steered connection that asked for another one is refused: it would lead to itself.
    pub port: u16,
    /// Where a plain listener leads.
    pub upstream: Option<SocketAddr>,
    /// What is done with TLS.
    pub tls: TlsMode,
    /// How clients log in.
    pub login: LoginMode,
    /// How safe a record must be before what it says is forwarded.
    pub level: Level,
    /// What happens when it cannot be recorded.
    pub unrecorded: WhenUnrecorded,
}

/// What is done with clients that ask for TLS.
#[derive(Clone, Debug)]
pub enum TlsMode {
    /// Nothing: the server answers, and ciphertext is relayed unread.
    Relay,
    /// The server's own certificate is shown, and the hop has TLS as well.
    ServerCertificate(Arc<Certificates>),
    /// Another certificate is shown; the hop has no TLS.
    OwnCertificate(Arc<Certificates>),
}

/// What happens to a statement that cannot be recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenUnrecorded {
    /// It is forwarded and counted: modes observe and warn.
    Continue,
    /// Its session ends: mode enforce.
    Refuse,
}
