//! A database session as it is known at one moment.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::Known;
use crate::coverage::Class;
use crate::id::{DatabaseId, SessionId, SocketCookie};
use crate::mediation::Mediation;
use crate::principal::{Principal, UnknownPrincipal};
use crate::process::{Process, UnknownProcess};
use crate::time::BootTime;

/// How the client reaches the server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// TCP over IPv4 or IPv6.
    Tcp {
        /// The client's address as the server sees it.
        client: SocketAddr,
        /// The server's address.
        server: SocketAddr,
        /// Network namespace of the server's socket (inode number).
        network_namespace: u32,
    },
    /// A Unix stream socket.
    Unix {
        /// Path that the server is bound to, lossy UTF-8; empty if it could not be read.
        path: String,
    },
}

/// What protects the bytes on the socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Encryption {
    /// Nothing decided yet (no byte seen).
    #[default]
    Undecided,
    /// Plaintext.
    Plaintext,
    /// TLS, negotiated or direct.
    Tls,
    /// GSSAPI encryption.
    Gss,
}

/// How the session came to be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// Its opening was seen.
    Opened,
    /// An iterator found it at the agent's start: it is older than the agent.
    FoundAtStart,
    /// An iterator found it later: its opening was missed.
    MissedOpen,
}

/// Bytes of one session, per direction, from the kernel's byte ledger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Ledger {
    /// Bytes the server received on the socket since it is observed.
    pub socket_received: u64,
    /// Bytes the server sent on the socket since it is observed.
    pub socket_sent: u64,
    /// Of the received: bytes that passed the content probes (plaintext).
    pub content_received: u64,
    /// Of the sent: bytes that passed the content probes (plaintext).
    pub content_sent: u64,
    /// Bytes of content copied out of the kernel (both directions).
    pub captured: u64,
    /// TLS only: received ciphertext that content can not account for (handshake, record overhead) at most.
    pub overhead_received_max: u64,
    /// TLS only: sent ciphertext that content can not account for (handshake, record overhead) at most.
    pub overhead_sent_max: u64,
    /// Typed messages that began in the received content.
    pub messages_received: u64,
    /// Typed messages that began in the sent content.
    pub messages_sent: u64,
}

impl Ledger {
    /// Observed share of the session's bytes in parts per million, both directions together; `None`
    /// while no byte has passed. 1_000_000 means: every byte on the socket passed the content probes
    /// (TLS: up to the record overhead that the protocol explains).
    #[must_use]
    pub fn coverage_ppm(&self) -> Option<u32> {
        let explained = |socket: u64, content: u64, overhead: u64| {
            if content <= socket && socket - content <= overhead { socket } else { content.min(socket) }
        };
        let socket = self.socket_received.saturating_add(self.socket_sent);
        if socket == 0 {
            return None;
        }
        let covered = explained(self.socket_received, self.content_received, self.overhead_received_max)
            .saturating_add(explained(self.socket_sent, self.content_sent, self.overhead_sent_max));
        u32::try_from(u128::from(covered) * 1_000_000 / u128::from(socket)).ok()
    }
}

/// Who the client said it is at start-up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Login {
    /// Protocol version, major and minor; `None` for a session older than the agent.
    pub protocol: Option<(u16, u16)>,
    /// Database user.
    pub user: Option<String>,
    /// Database name.
    pub database: Option<String>,
    /// `application_name`, as last reported.
    pub application: Option<String>,
    /// Asked for replication (`replication` start-up parameter): the value as sent.
    pub replication: Option<String>,
    /// User and database come from the backend's process title, not from the wire.
    pub inferred: bool,
    /// The server has accepted the client (AuthenticationOk).
    pub authenticated: bool,
}

/// A session as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Which session.
    pub id: SessionId,
    /// Which configured or discovered database, by id.
    pub database: DatabaseId,
    /// Name of that database entry in the configuration.
    pub database_name: Arc<str>,
    /// How the client is connected.
    pub transport: Transport,
    /// How the session came to be known.
    pub origin: Origin,
    /// When it was opened (or found).
    pub opened: BootTime,
    /// The client's own socket, for local clients.
    pub client_cookie: Option<SocketCookie>,
    /// The process at the client's end.
    pub client: Known<Arc<Process>, UnknownProcess>,
    /// Who acts on it.
    pub principal: Known<Arc<Principal>, UnknownPrincipal>,
    /// Peer credentials (pid, uid) of a Unix socket, as the kernel holds them for `SO_PEERCRED`.
    pub peer_credentials: Option<(u32, u32)>,
    /// The server process that serves it.
    pub server: Known<Arc<Process>, UnknownProcess>,
    /// Encryption on the socket.
    pub encryption: Encryption,
    /// Login data.
    pub login: Login,
    /// Bytes so far.
    pub ledger: Ledger,
    /// Statements recorded so far.
    pub statements: u64,
    /// Statements among them that failed.
    pub errors: u64,
    /// Gaps in the observed stream (loss, desynchronisation).
    pub gaps: u64,
    /// The proxy's part, where it goes through the proxy. Then `transport`, `client` and `encryption` are those of the
    /// client's connection to the proxy, and `ledger` is that of the proxy's connection to the server.
    pub mediation: Option<Box<Mediation>>,
    /// How it came to the server; `None` where the database is not guarded, or while it is not known yet.
    pub class: Option<Class>,
}

impl Session {
    /// Observed share of its bytes in parts per million, see [`Ledger::coverage_ppm`]. What a worker of the proxy read
    /// is observed as far as the kernel's ledger confirms it.
    #[must_use]
    pub fn coverage_ppm(&self) -> Option<u32> {
        match &self.mediation {
            Some(mediation) if !mediation.relayed && mediation.hop.is_some() => {
                let relayed = Ledger {
                    content_received: mediation.counts.to_upstream,
                    content_sent: mediation.counts.from_upstream,
                    overhead_received_max: 0,
                    overhead_sent_max: 0,
                    ..self.ledger
                };
                relayed.coverage_ppm()
            }
            _ => self.ledger.coverage_ppm(),
        }
    }
}
