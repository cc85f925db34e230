//! Syslog: RFC 5424 messages over TCP (RFC 6587, octet counting), TLS (RFC 5425), UDP (RFC 5426) or a Unix socket.
//!
//! Syslog has no acknowledgement. Over TCP and TLS a batch is therefore a connection: we send it, close our half, and
//! wait until the receiver closes its own, which it does when it has read everything. A receiver that ends while we
//! send closes as well; [`confirmed`] tells the two apart. Datagrams are sent and hoped for.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket, UnixDatagram};

use super::Accepted;
use super::tls::Tls;
use crate::config::Identity;
use crate::failure::Failure;
use crate::format::syslog::Frame;
use crate::item::Item;
use crate::plan::{ConfigError, SyslogAddress, SyslogPlace};

/// What UDP over IPv4 carries.
const DATAGRAM_BYTES_MAX: usize = 65_507;
/// Pause while the last acknowledgement is under way: a round trip, and usually none.
const CONFIRM_POLL: Duration = Duration::from_millis(5);

#[derive(Debug)]
pub(crate) struct SyslogSink {
    address: SyslogAddress,
    tls: Option<Tls>,
    frame: Frame,
}

impl SyslogSink {
    pub(crate) fn new(place: &SyslogPlace, identity: &Identity) -> Result<Self, ConfigError> {
        let tls = match &place.address {
            SyslogAddress::Tls { host, files, .. } => Some(Tls::new(host, files)?),
            _ => None,
        };
        Ok(Self { address: place.address.clone(), tls, frame: Frame::new(place.facility, identity) })
    }

    pub(crate) async fn deliver(&mut self, items: &[Item]) -> Result<Accepted, Failure> {
        match &self.address {
            SyslogAddress::Tcp { host, port } => {
                let mut stream = connect(host, *port).await?;
                exchange(&mut stream, &self.counted(items)).await?;
                confirmed(&stream).await?;
            }
            SyslogAddress::Tls { host, port, .. } => {
                let bytes = self.counted(items);
                let tls = self.tls.as_mut().expect("made together with the address");
                let mut stream = tls.connect(connect(host, *port).await?).await?;
                exchange(&mut stream, &bytes).await?;
                confirmed(stream.get_ref().0).await?;
            }
            SyslogAddress::Udp { host, port } => {
                let local = if host.contains(':') { "[::]:0" } else { "0.0.0.0:0" };
                let socket = UdpSocket::bind(local).await.map_err(Failure::Connect)?;
                socket.connect((&**host, *port)).await.map_err(Failure::Connect)?;
                for message in self.datagrams(items)? {
                    socket.send(&message).await.map_err(broken)?;
                }
            }
            SyslogAddress::Unix { path } => {
                let socket = UnixDatagram::unbound().map_err(Failure::Connect)?;
                socket.connect(path).map_err(Failure::Connect)?;
                for message in self.datagrams(items)? {
                    socket.send(&message).await.map_err(broken)?;
                }
            }
        }
        Ok(Accepted::default())
    }

    /// All messages, each behind its length (RFC 6587, 3.4.1): text may contain any byte.
    fn counted(&self, items: &[Item]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for item in items {
            let message = self.frame.message(item);
            bytes.extend_from_slice(message.len().to_string().as_bytes());
            bytes.push(b' ');
            bytes.extend_from_slice(&message);
        }
        bytes
    }

    /// Nothing is sent unless everything fits: a batch is refused as a whole, and then tried in parts.
    fn datagrams(&self, items: &[Item]) -> Result<Vec<Vec<u8>>, Failure> {
        let messages: Vec<_> = items.iter().map(|item| self.frame.message(item)).collect();
        match messages.iter().map(Vec::len).find(|bytes| *bytes > DATAGRAM_BYTES_MAX) {
            Some(bytes) => Err(Failure::TooLarge { bytes }),
            None => Ok(messages),
        }
    }
}

async fn connect(host: &str, port: u16) -> Result<TcpStream, Failure> {
    TcpStream::connect((host, port)).await.map_err(Failure::Connect)
}

/// Sends everything, closes our half, and reads until the receiver closes its own.
async fn exchange(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), bytes: &[u8]) -> Result<(), Failure> {
    stream.write_all(bytes).await.map_err(broken)?;
    stream.shutdown().await.map_err(broken)?;
    let mut ignored = [0; 1024];
    // What a receiver says here has no meaning; the attempt's time limit bounds how long we listen.
    while stream.read(&mut ignored).await.map_err(broken)? > 0 {}
    Ok(())
}

/// Waits until the receiver's kernel has acknowledged our last byte, which it does not for a process that is gone.
///
/// A close before our end of stream arrived looks like one after it. But then our bytes meet a socket that nobody
/// reads, and Linux answers with a reset (RFC 1122, 4.2.2.13), also if they had arrived and were not read. So: the
/// connection is over (it has no peer any more) and it was not a reset.
async fn confirmed(stream: &TcpStream) -> Result<(), Failure> {
    while stream.peer_addr().is_ok() {
        tokio::time::sleep(CONFIRM_POLL).await;
    }
    match stream.take_error().map_err(broken)? {
        Some(reset) => Err(broken(reset)),
        None => Ok(()),
    }
}

fn broken(error: io::Error) -> Failure {
    Failure::Broken(error.into())
}
