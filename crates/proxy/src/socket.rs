//! A connected socket that counts its bytes.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use model::id::SocketCookie;
use nix::sys::socket::{getsockopt, setsockopt, sockopt};
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::hop::HopStream;

/// As the server's own default on Linux would be after `tcp_keepalives_idle`: a vanished peer is noticed.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(120);
/// Between two probes.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
/// Probes without an answer.
const KEEPALIVE_COUNT: u32 = 4;
/// What decides how fast a hop is sent. It never leaves the host: to model and to pace a network, as the host's default
/// may (BBR), is spent for nothing. Reno does neither, is in every kernel and open to everybody.
const HOP_CONGESTION: &str = "reno";

/// `SO_COOKIE`: the kernel's identity of a socket (Linux 4.12, `sock_getsockopt`).
#[derive(Clone, Copy)]
struct Cookie;
nix::getsockopt_impl!(Cookie, libc::SOL_SOCKET, libc::SO_COOKIE, u64, sockopt::GetStruct<u64>);

/// Reads a socket's cookie.
///
/// # Errors
/// When the descriptor is no socket.
pub fn cookie(socket: &impl AsFd) -> io::Result<SocketCookie> {
    Ok(SocketCookie(getsockopt(socket, Cookie)?))
}

/// The stream under a [`Socket`].
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A connected socket with the bytes that went over it.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: Stream,
    /// Bytes received on the socket.
    pub(crate) received: u64,
    /// Bytes sent on the socket.
    pub(crate) sent: u64,
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.stream {
            Stream::Tcp(stream) => stream.as_fd(),
            Stream::Unix(stream) => stream.as_fd(),
        }
    }
}

impl Socket {
    /// Takes a client's connection.
    pub(crate) fn accepted(stream: Stream) -> Self {
        let socket = Self { stream, received: 0, sent: 0 };
        socket.tune();
        socket
    }

    /// Takes a connection to the server.
    pub(crate) fn hop(stream: HopStream) -> io::Result<Self> {
        let stream = match stream {
            HopStream::Tcp(stream) => {
                stream.set_nonblocking(true)?;
                Stream::Tcp(TcpStream::from_std(stream)?)
            }
            HopStream::Unix(stream) => {
                stream.set_nonblocking(true)?;
                Stream::Unix(UnixStream::from_std(stream)?)
            }
        };
        let socket = Self::accepted(stream);
        if let Stream::Tcp(stream) = &socket.stream {
            let _best_effort = setsockopt(stream, sockopt::TcpCongestion, &OsString::from(HOP_CONGESTION));
        }
        Ok(socket)
    }

    /// Small messages go at once, and a vanished peer is noticed. A kernel that refuses leaves a working connection.
    fn tune(&self) {
        let Stream::Tcp(stream) = &self.stream else { return };
        let seconds = |time: Duration| u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
        let _best_effort = stream.set_nodelay(true);
        let _best_effort = setsockopt(stream, sockopt::KeepAlive, &true);
        let _best_effort = setsockopt(stream, sockopt::TcpKeepIdle, &seconds(KEEPALIVE_IDLE));
        let _best_effort = setsockopt(stream, sockopt::TcpKeepInterval, &seconds(KEEPALIVE_INTERVAL));
        let _best_effort = setsockopt(stream, sockopt::TcpKeepCount, &KEEPALIVE_COUNT);
    }

    /// This end's address, of a TCP connection.
    pub(crate) fn local_address(&self) -> Option<std::net::SocketAddr> {
        match &self.stream {
            Stream::Tcp(stream) => stream.local_addr().ok(),
            Stream::Unix(_) => None,
        }
    }

    /// Reads what is there; 0: the other end has finished.
    ///
    /// A short read tells tokio that the socket is empty, so that no second call has to find that out.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, bytes: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut bytes = ReadBuf::new(bytes);
        ready!(match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, &mut bytes),
            Stream::Unix(stream) => Pin::new(stream).poll_read(cx, &mut bytes),
        })?;
        let length = bytes.filled().len();
        self.received += length as u64;
        Poll::Ready(Ok(length))
    }

    /// Writes what there is room for.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let length = ready!(match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
        })?;
        self.sent += length as u64;
        Poll::Ready(Ok(length))
    }

    /// The same for pieces.
    pub(crate) fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = ready!(match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, pieces),
            Stream::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, pieces),
        })?;
        self.sent += length as u64;
        Poll::Ready(Ok(length))
    }

    /// Tells the other end that nothing more comes.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
