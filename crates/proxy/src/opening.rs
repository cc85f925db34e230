//! What a client may say before its first typed message, and in which order (PostgreSQL manual 55.2.1, 55.2.9 to
//! 55.2.12, 55.7).
//!
//! Pure: bytes in, a packet out. [`Expect`] says what may come next; each answer of ours consumes it and gives the next.

use model::mediation::Refusal;

/// The server refuses longer packets (`MAX_STARTUP_PACKET_LENGTH` in pqcomm.h, to which it adds the length word).
pub const PACKET_BYTES_MAX: usize = 10_000 + 4;
/// SSLRequest, whole: its length and 1234.5679.
pub(crate) const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
/// SSLRequest's code.
const SSL_CODE: u32 = 0x04d2_162f;
/// GSSENCRequest: 1234, 5680.
const GSS_CODE: u32 = 0x04d2_1630;
/// CancelRequest: 1234, 5678.
const CANCEL_CODE: u32 = 0x04d2_162e;
/// CancelRequest with the four-byte key of protocol 3.0.
const CANCEL_BYTES_MIN: usize = 16;
/// With the longest key of protocol 3.2, 256 bytes.
const CANCEL_BYTES_MAX: usize = 12 + 256;
/// First byte of a TLS handshake record.
const TLS_HANDSHAKE: u8 = 0x16;

/// What may come next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expect {
    direct_tls: Allowed,
    tls: Allowed,
    gss: Allowed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Allowed {
    Yes,
    No,
}

impl Expect {
    /// The first byte of a connection.
    #[must_use]
    pub const fn first_packet() -> Self {
        Self { direct_tls: Allowed::Yes, tls: Allowed::Yes, gss: Allowed::Yes }
    }

    /// SSLRequest was answered `N`. As the server does, it is not answered twice.
    #[must_use]
    pub const fn after_refused_tls(self) -> Self {
        Self { direct_tls: Allowed::No, tls: Allowed::No, ..self }
    }

    /// GSSENCRequest was answered `N`.
    #[must_use]
    pub const fn after_refused_gss(self) -> Self {
        Self { direct_tls: Allowed::No, gss: Allowed::No, ..self }
    }

    /// TLS stands: only start-up and cancel make sense in it.
    #[must_use]
    pub const fn inside_tls(self) -> Self {
        Self { direct_tls: Allowed::No, tls: Allowed::No, gss: Allowed::No }
    }

    /// Looks for a packet at the beginning of `received`; `None`: more bytes are needed.
    ///
    /// # Errors
    /// When no continuation of the bytes is a packet that may come now.
    pub fn packet<'a>(&self, received: &'a [u8]) -> Result<Option<(Packet<'a>, usize)>, Malformed> {
        match received.first() {
            None => return Ok(None),
            Some(&TLS_HANDSHAKE) if self.direct_tls == Allowed::Yes => return Ok(Some((Packet::DirectTls, 0))),
            // No packet is that long: what follows is some other protocol.
            Some(first) if *first != 0 => return Err(Malformed::NotTheProtocol),
            Some(_) => {}
        }
        let Some(length) = number(received, 0) else { return Ok(None) };
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > PACKET_BYTES_MAX {
            return Err(Malformed::TooLong);
        }
        if length < 8 {
            return Err(Malformed::TooShort);
        }
        // The code decides early, so that a wrong packet is not waited for.
        let Some(code) = number(received, 4) else { return Ok(None) };
        self.is_expected(code, length)?;
        let Some(body) = received.get(8..length) else { return Ok(None) };
        let packet = match code {
            SSL_CODE => Packet::SslRequest,
            GSS_CODE => Packet::GssRequest,
            CANCEL_CODE => Packet::Cancel,
            version => Packet::Startup(Startup::parse(version, body)?),
        };
        Ok(Some((packet, length)))
    }

    const fn is_expected(&self, code: u32, length: usize) -> Result<(), Malformed> {
        match code {
            SSL_CODE | GSS_CODE if length != 8 => Err(Malformed::Layout),
            SSL_CODE if matches!(self.tls, Allowed::Yes) => Ok(()),
            GSS_CODE if matches!(self.gss, Allowed::Yes) => Ok(()),
            CANCEL_CODE if length >= CANCEL_BYTES_MIN && length <= CANCEL_BYTES_MAX => Ok(()),
            CANCEL_CODE => Err(Malformed::Cancel),
            // The server itself negotiates the minor version.
            code if code >> 16 == 3 => Ok(()),
            code => Err(Malformed::Version(code)),
        }
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    bytes.try_into().ok().map(u32::from_be_bytes)
}

/// One of the packets that open a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// TLS begins with the first byte. Nothing is taken from the bytes.
    DirectTls,
    /// Asks for TLS.
    SslRequest,
    /// Asks for GSSAPI encryption.
    GssRequest,
    /// Asks to cancel another connection's query.
    Cancel,
    /// Starts a session.
    Startup(Startup<'a>),
}

/// A StartupMessage of which the layout is right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Startup<'a> {
    /// Protocol minor version; the major one is 3.
    pub minor: u16,
    /// Name, value, each with its NUL left out.
    parameters: &'a [u8],
}

impl<'a> Startup<'a> {
    fn parse(version: u32, body: &'a [u8]) -> Result<Self, Malformed> {
        let minor = u16::try_from(version & 0xffff).unwrap_or(u16::MAX);
        let [parameters @ .., 0] = body else { return Err(Malformed::Layout) };
        let mut rest = parameters;
        while !rest.is_empty() {
            let (name, after) = split_nul(rest).ok_or(Malformed::Layout)?;
            let (_, after) = split_nul(after).ok_or(Malformed::Layout)?;
            if name.is_empty() {
                return Err(Malformed::Layout);
            }
            rest = after;
        }
        Ok(Self { minor, parameters })
    }

    /// Names and values, in order.
    pub fn parameters(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let mut rest = self.parameters;
        std::iter::from_fn(move || {
            let (name, after) = split_nul(rest)?;
            let (value, after) = split_nul(after)?;
            rest = after;
            Some((name, value))
        })
    }

    /// The last value of a parameter, which is the one that the server takes.
    #[must_use]
    pub fn parameter(&self, wanted: &[u8]) -> Option<&'a [u8]> {
        self.parameters().filter(|(name, _)| *name == wanted).last().map(|(_, value)| value)
    }
}

fn split_nul(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    Some((bytes.get(..end)?, bytes.get(end + 1..)?))
}

/// Why bytes are no packet that may come now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The first byte begins no packet.
    #[error("invalid length of startup packet: this is not the PostgreSQL protocol")]
    NotTheProtocol,
    /// Longer than the server accepts.
    #[error("invalid length of startup packet: more than {PACKET_BYTES_MAX} bytes")]
    TooLong,
    /// Too short to say anything.
    #[error("invalid length of startup packet: less than 8 bytes")]
    TooShort,
    /// Not a version that exists, or a request for encryption where none may come.
    #[error("unsupported frontend protocol {}.{}: server supports 3.0 to 3.2", .0 >> 16, .0 & 0xffff)]
    Version(u32),
    /// Parameters do not end where the packet ends.
    #[error("invalid startup packet layout: expected terminator as last byte")]
    Layout,
    /// A cancel key of impossible length.
    #[error("invalid length of cancel request packet")]
    Cancel,
}

impl Malformed {
    /// What the client is told.
    #[must_use]
    pub const fn sqlstate(self) -> &'static str {
        match self {
            Self::Version(_) => "0A000",
            _ => "08P01",
        }
    }

    /// What is recorded.
    #[must_use]
    pub const fn refusal(self) -> Refusal {
        match self {
            Self::TooLong => Refusal::Oversized,
            _ => Refusal::Protocol,
        }
    }
}
