//! Logins by token: the client proves who it is with a token in the password field, and the proxy logs in at the server
//! as a service account of its own.
//!
//! Pure parts only; `session::token_login` is the conversation. A token is in a [`Secret`] from the moment in which it is
//! whole, and goes to whoever verifies it and nowhere else. Not here: verification (`identity`, in the agent's core).

pub(crate) mod password;
pub(crate) mod service;
pub(crate) mod startup;

use identity::secret::Secret;

/// How clients of a listener log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginMode {
    /// The server asks them, and the proxy passes everything on.
    PassThrough,
    /// The proxy asks them for a token.
    Token,
}

/// As whom the proxy logs in at the server for clients that have shown a token. Without `Debug`: a password is in it.
pub struct ServiceAccount {
    /// The role.
    pub user: String,
    /// Its password, where the server asks for one.
    pub password: Option<Secret>,
}

/// Messages of the login at the server: the client has seen none of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LoginCounts {
    pub(crate) to_server: u64,
    pub(crate) from_server: u64,
}
