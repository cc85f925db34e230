//! What governs the sessions of a database: its policies, and whoever knows who acts.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use guard::{Guard, Judge};
use identity::proof::{ClientProof, ProofError};
use model::Known;
use model::id::{DatabaseId, SocketCookie};
use model::mediation::Route;
use model::principal::{Principal, UnknownPrincipal};
use model::verdict::Mode;
use policy::{ProcessContext, SessionContext, Transport, UtcOffset};

use crate::holds::Holds;
use crate::opening::Startup;

/// Decides about the sessions of one database.
#[derive(Clone)]
pub struct Governor {
    /// Its policies.
    pub judge: Rc<Judge>,
    /// How far they go.
    pub mode: Mode,
    /// Environment of the configuration.
    pub environment: Arc<str>,
    /// Time zone of policies that speak of hours and days.
    pub utc_offset: UtcOffset,
    /// Whoever knows who acts.
    pub identities: Rc<dyn Identities>,
    /// Whoever has statements decided about that must not run unattended.
    pub holds: Rc<dyn Holds>,
}

/// Whoever knows who acts on a connection.
pub trait Identities {
    /// Finds out. Ends in bounded time; what cannot be found out has a reason.
    fn identify(&self, asked: Identification) -> Pin<Box<dyn Future<Output = Identified>>>;
}

/// A connection whose actor is asked for. Without `Debug`: there is a token in it.
pub struct Identification {
    /// The accepted socket.
    pub connection: SocketCookie,
    /// The database.
    pub database: DatabaseId,
    /// Role that the client wants to log in as: its word only.
    pub user: String,
    /// SQL database that the client wants: likewise.
    pub sql_database: String,
    /// What it came with.
    pub proof: Option<ClientProof>,
}

/// What is known of the actor.
#[derive(Clone, Debug)]
pub struct Identified {
    /// Who.
    pub principal: Known<Principal, UnknownPrincipal>,
    /// The client's process, if it is on this host.
    pub process: Option<ProcessContext>,
    /// Why what the client came with proves nothing.
    pub refusal: Option<ProofError>,
    /// The role that is reserved for the session, where the database has such; see [`Mint`](crate::Mint).
    pub role: Option<String>,
}

/// The connection as the policies see it.
pub(crate) struct Place<'a> {
    pub(crate) database_name: &'a Arc<str>,
    pub(crate) route: &'a Route,
    pub(crate) encrypted: bool,
}

impl Governor {
    /// The guard of a session that starts up like this.
    pub(crate) fn guard(&self, startup: &Startup<'_>, place: &Place<'_>, identified: Identified) -> Box<Guard> {
        let text = |name: &[u8]| startup.parameter(name).map(|value| Arc::from(&*String::from_utf8_lossy(value)));
        let user: Arc<str> = text(b"user").unwrap_or_default();
        let database =
            text(b"database").filter(|name: &Arc<str>| !name.is_empty()).unwrap_or_else(|| Arc::clone(&user));
        let replication = startup.parameter(b"replication").is_some_and(crate::access::asks_for_replication);
        let client_address = match place.route {
            Route::Tcp { client, .. } => Some(client.ip().to_canonical()),
            Route::Unix { .. } => None,
        };
        let context = SessionContext {
            database_name: Arc::clone(place.database_name),
            environment: Arc::clone(&self.environment),
            mode: self.mode,
            database,
            user,
            application: text(b"application_name").unwrap_or_default(),
            transport: if client_address.is_some() { Transport::Tcp } else { Transport::Unix },
            encrypted: place.encrypted,
            client_address,
            process: identified.process,
            in_transaction: false,
            utc_offset: self.utc_offset,
        };
        Box::new(Guard::new(Rc::clone(&self.judge), identified.principal, context, replication))
    }
}
