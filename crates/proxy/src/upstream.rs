//! The connection to the server. A client's bytes reach it with a [`Permission`] and a [`Clearance`] only.

use std::io;
use std::task::{Context, Poll, ready};

use tokio_rustls::rustls::Connection;
use zeroize::Zeroizing;

use crate::access::{Encrypted, End};
use crate::opening::SSL_REQUEST;
use crate::permission::{Clearance, Permission};
use crate::rest::Rest;
use crate::socket::Socket;
use crate::transport::Transport;

/// It, with what could not be written yet.
pub(crate) struct Upstream {
    transport: Transport,
    rest: Rest,
}

impl Upstream {
    pub(crate) const fn new(socket: Socket) -> Self {
        Self { transport: Transport::new(socket), rest: Rest::new() }
    }

    pub(crate) const fn socket(&self) -> &Socket {
        self.transport.socket()
    }

    /// This end of the connection, as the server sees it.
    pub(crate) fn end(&self) -> End {
        let encrypted = if self.transport.is_encrypted() { Encrypted::Yes } else { Encrypted::No };
        End { address: self.socket().local_address().map(|address| address.ip()), encrypted }
    }

    /// Sends a client's bytes; what there is no room for is kept for [`Upstream::poll_flush`], which must have
    /// succeeded before the next call.
    pub(crate) fn forward(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
        permission: Permission,
        clearance: Clearance,
    ) -> io::Result<()> {
        let _used_up = (permission, clearance);
        self.rest.send(&mut self.transport, cx, bytes)
    }

    /// Sends what logs the service account in: nothing of the client's is in it.
    pub(crate) fn log_in(&mut self, cx: &mut Context<'_>, message: &Zeroizing<Vec<u8>>) -> io::Result<()> {
        self.rest.send(&mut self.transport, cx, message)
    }

    /// Sends SSLRequest: by the client's wish, or for the proxy's own TLS.
    pub(crate) fn request_tls(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.rest.send(&mut self.transport, cx, &SSL_REQUEST)
    }

    /// Ready when nothing waits to be sent.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.rest.poll_flush(&mut self.transport, cx)
    }

    /// Sends what waits, then tells the server that nothing more comes.
    pub(crate) fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_flush(cx))?;
        self.transport.poll_finish(cx)
    }

    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, bytes: &mut [u8]) -> Poll<io::Result<usize>> {
        self.transport.poll_read(cx, bytes)
    }

    /// Puts TLS on it.
    pub(crate) fn start_tls(&mut self, connection: Connection) {
        self.transport.start_tls(connection);
    }

    pub(crate) fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.transport.poll_handshake(cx)
    }

    pub(crate) const fn is_drained(&self) -> bool {
        self.rest.is_empty()
    }
}
