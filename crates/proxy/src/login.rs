//! Logins by token: the client proves who it is with a token in the password field, and the proxy logs in at the server
//! as a service account of its own, or with a role that is made for this session.
//!
//! Pure parts only; `session::token_login` is the conversation. A token is in a [`Secret`] from the moment in which it is
//! whole, and goes to whoever verifies it and nowhere else. Not here: verification (`identity`, in the agent's core).

pub(crate) mod password;
pub(crate) mod service;
pub(crate) mod startup;

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use identity::secret::Secret;
use model::id::SocketCookie;

/// How clients of a listener log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginMode {
    /// The server asks them, and the proxy passes everything on.
    PassThrough,
    /// The proxy asks them for a token.
    Token,
}

/// As whom the proxy logs in at the server for clients that have shown a token.
#[derive(Clone)]
pub enum UpstreamLogin {
    /// As one for all.
    Account(Rc<ServiceAccount>),
    /// With a role that is made for the session.
    Minted(Rc<dyn Mint>),
}

/// Whoever makes roles for sessions.
pub trait Mint {
    /// Makes the role that was reserved for this connection ([`Identified::role`]), and says its password; `None`: it
    /// cannot be made, and whoever makes it has recorded why. Ends in bounded time.
    ///
    /// [`Identified::role`]: crate::Identified::role
    fn mint(&self, connection: SocketCookie) -> Pin<Box<dyn Future<Output = Option<Secret>>>>;
}

/// A role to log in with. Without `Debug`: a password is in it.
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
