//! Plaintext in both directions over a socket, with or without TLS on it.

use std::io::{self, IoSlice, Read, Write};
use std::task::{Context, Poll, ready};

use rustls_pki_types::CertificateDer;
use tokio_rustls::rustls::{self, Connection};

use crate::socket::Socket;

/// One connection.
pub(crate) struct Transport {
    socket: Socket,
    tls: Option<Box<Connection>>,
}

impl Transport {
    /// A connection without TLS.
    pub(crate) const fn new(socket: Socket) -> Self {
        Self { socket, tls: None }
    }

    /// The socket, for its counters.
    pub(crate) const fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Puts TLS on the connection. The handshake is not done yet.
    pub(crate) fn start_tls(&mut self, connection: Connection) {
        self.tls = Some(Box::new(connection));
    }

    /// Whether TLS was put on it.
    pub(crate) const fn is_encrypted(&self) -> bool {
        self.tls.is_some()
    }

    /// Protocol that both ends agreed on in the handshake.
    pub(crate) fn application_protocol(&self) -> Option<&[u8]> {
        self.tls.as_ref().and_then(|tls| tls.alpn_protocol())
    }

    /// The certificate that the other end has shown, whose chain was verified in the handshake.
    pub(crate) fn peer_certificate(&self) -> Option<&CertificateDer<'static>> {
        self.tls.as_ref().and_then(|tls| tls.peer_certificates()).and_then(<[_]>::first)
    }

    /// Reads plaintext; 0: the other end has finished.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, bytes: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            let Some(tls) = &mut self.tls else { return self.socket.poll_read(cx, bytes) };
            match tls.reader().read(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // An end without close_notify: libpq and the server close like that. The protocol's own end counts.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Poll::Ready(Ok(0)),
                other => return Poll::Ready(other),
            }
            ready!(self.poll_receive(cx))?;
        }
    }

    /// Takes plaintext to be sent. TLS takes all of it; the ciphertext may wait for [`Transport::poll_flush`].
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.tls.is_none() {
            return self.socket.poll_write(cx, bytes);
        }
        ready!(self.poll_flush(cx))?;
        let Some(tls) = &mut self.tls else { return Poll::Ready(Ok(0)) };
        let length = tls.writer().write(bytes)?;
        let _later = self.poll_flush(cx)?;
        Poll::Ready(Ok(length))
    }

    /// Sends what waits.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(tls) = &mut self.tls else { return Poll::Ready(Ok(())) };
        while tls.wants_write() {
            match tls.write_tls(&mut Adapter { socket: &mut self.socket, cx }) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Tells the other end that nothing more comes; the other direction stays open.
    pub(crate) fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            ready!(self.poll_flush(cx))?;
        }
        self.socket.poll_shutdown(cx)
    }

    /// Gives TLS its first ciphertext, which was read before it was known to be that.
    ///
    /// # Errors
    /// When it is not TLS. The alert is sent.
    pub(crate) fn begin_with(&mut self, cx: &mut Context<'_>, mut ciphertext: &[u8]) -> io::Result<()> {
        while let Some(tls) = &mut self.tls
            && !ciphertext.is_empty()
        {
            tls.read_tls(&mut ciphertext)?;
            let processed = tls.process_new_packets();
            let _later = self.poll_flush(cx)?;
            processed.map_err(io::Error::other)?;
        }
        Ok(())
    }

    /// Drives the handshake to its end.
    pub(crate) fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.is_handshaking() {
            ready!(self.poll_flush(cx))?;
            if !self.is_handshaking() {
                break;
            }
            let before = self.socket.received;
            ready!(self.poll_receive(cx))?;
            if self.socket.received == before && self.is_handshaking() {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
        self.poll_flush(cx)
    }

    fn is_handshaking(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.is_handshaking())
    }

    /// Takes the next ciphertext.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(tls) = &mut self.tls else { return Poll::Ready(Ok(())) };
        match tls.read_tls(&mut Adapter { socket: &mut self.socket, cx }) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
            Err(error) => return Poll::Ready(Err(error)),
            Ok(_) => {}
        }
        let processed = tls.process_new_packets().map(drop).map_err(io::Error::other);
        // Answers of TLS itself (alerts, key updates). What cannot be sent now goes with the next flush.
        let _later = self.poll_flush(cx)?;
        Poll::Ready(processed)
    }
}

/// Lets rustls, which blocks or fails, use a socket that wakes.
struct Adapter<'a, 'b> {
    socket: &'a mut Socket,
    cx: &'a mut Context<'b>,
}

fn blocking<T>(result: Poll<io::Result<T>>) -> io::Result<T> {
    match result {
        Poll::Ready(result) => result,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

impl Read for Adapter<'_, '_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        blocking(self.socket.poll_read(self.cx, bytes))
    }
}

impl Write for Adapter<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        blocking(self.socket.poll_write(self.cx, bytes))
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        blocking(self.socket.poll_write_vectored(self.cx, pieces))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What kind of failure a TLS error is.
pub(crate) fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref().and_then(|inner| inner.downcast_ref())
}
