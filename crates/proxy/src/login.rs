//! Logins at the proxy: the client proves who it is with a token or a certificate, and the proxy logs in at the server as
//! a service account of its own.
//!
//! Pure parts only; `session::service_login` is the conversation. A token is in a [`Secret`] from the moment in which it
//! is whole, and goes to whoever verifies it and nowhere else. Not here: verification (`identity`, in the agent's core),
//! and TLS, which verifies a certificate's chain (`certificates`).

pub(crate) mod oauth;
pub(crate) mod password;
pub(crate) mod response;
pub(crate) mod service;
pub(crate) mod startup;

use std::sync::Arc;

use identity::secret::Secret;

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

/// As whom the proxy logs in at the server for clients that have proved who they are. Without `Debug`: a password may be
/// in it.
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

/// Messages of the login at the server: the client has seen none of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LoginCounts {
    pub(crate) to_server: u64,
    pub(crate) from_server: u64,
}
