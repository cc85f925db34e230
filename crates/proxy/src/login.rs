//! Logins at the proxy: the client proves who it is with a token or a certificate, and the proxy logs in at the server as
//! a service account of its own, or with a role that is made for this session.
//!
//! Pure parts only; `session::service_login` is the conversation. A token is in a [`Secret`] from the moment in which it
//! is whole, and goes to whoever verifies it and nowhere else. Not here: verification (`identity`, in the agent's core),
//! and TLS, which verifies a certificate's chain (`certificates`).

pub(crate) mod oauth;
pub(crate) mod password;
pub(crate) mod response;
pub(crate) mod service;
pub(crate) mod startup;

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use identity::secret::Secret;
use model::id::SocketCookie;

use crate::certificates::OwnCertificate;

/// How clients of a listener log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoginMode {
    /// The server asks them, and the proxy passes everything on.
    PassThrough,
    /// The proxy asks them for a proof, and logs in as the service account.
    Service(Demand),
}

/// What the proxy asks a client for that has shown no certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Demand {
    /// A token as the password.
    Token,
    /// A token by SASL OAUTHBEARER (RFC 7628), which libpq speaks from 18 on.
    OauthBearer(Arc<Discovery>),
    /// Nothing: without a certificate it is refused.
    Certificate,
}

/// Where a client gets a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discovery {
    /// Address of the issuer's metadata.
    pub configuration_url: String,
    /// What to ask the issuer for, separated by spaces.
    pub scope: String,
}

/// As whom the proxy logs in at the server for clients that have proved who they are.
#[derive(Clone)]
pub enum UpstreamLogin {
    /// As one for all.
    Account(Rc<ServiceAccount>),
    /// With a role that is made for the session.
    Minted(Rc<dyn Mint>),
}

impl UpstreamLogin {
    /// What is shown to the server if it asks for a certificate.
    pub(crate) fn certificate(&self) -> Option<&OwnCertificate> {
        match self {
            Self::Account(account) => account.credential.certificate(),
            Self::Minted(_) => None,
        }
    }
}

/// Whoever makes roles for sessions.
pub trait Mint {
    /// Makes the role that was reserved for this connection ([`Identified::role`]), and says its password; `None`: it
    /// cannot be made, and whoever makes it has recorded why. Ends in bounded time.
    ///
    /// [`Identified::role`]: crate::Identified::role
    fn mint(&self, connection: SocketCookie) -> Pin<Box<dyn Future<Output = Option<Secret>>>>;
}

/// A role to log in with. Without `Debug`: a password may be in it.
pub struct ServiceAccount {
    /// The role.
    pub user: String,
    /// What proves it.
    pub credential: Credential,
}

/// What proves a service account to the server.
pub enum Credential {
    /// Nothing: the server trusts the hop.
    Nothing,
    /// A password, where the server asks for one.
    Password(Secret),
    /// A certificate, for a `cert` rule: the hop has TLS, always.
    Certificate(OwnCertificate),
}

impl Credential {
    const fn certificate(&self) -> Option<&OwnCertificate> {
        match self {
            Self::Certificate(own) => Some(own),
            Self::Nothing | Self::Password(_) => None,
        }
    }
}

/// Messages of the login at the server: the client has seen none of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LoginCounts {
    pub(crate) to_server: u64,
    pub(crate) from_server: u64,
}
