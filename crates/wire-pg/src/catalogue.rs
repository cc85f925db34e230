//! Which message types exist, and how much of each body is worth keeping (55.7 Message Formats).

use model::wire::Side;

use crate::limits::Limits;

/// The untyped packets that open a connection: StartupMessage, SSLRequest, GSSENCRequest, CancelRequest. Their first
/// byte is the first byte of a length below 64 KiB, so always 0, which is no message type.
pub(crate) const OPENING_PACKET: u8 = 0x00;

/// A TLS record of an opening whose ciphertext passes the observer (a direct TLS connection before the server has
/// taken over the bytes that it peeked at). Types 0x14 to 0x17, RFC 8446 5.1.
pub(crate) const TLS_RECORD: u8 = 0x16;

/// The server refuses longer opening packets (`MAX_STARTUP_PACKET_LENGTH` in PostgreSQL's pqcomm.h, to which it adds
/// the length word itself).
pub(crate) const OPENING_PACKET_BYTES_MAX: u32 = 10_000 + 4;

/// The server refuses longer messages (`PQ_LARGE_MESSAGE_LIMIT`, 1 GiB - 1).
pub(crate) const MESSAGE_BYTES_MAX: u32 = 0x3fff_ffff;

pub(crate) const fn is_tls_record(byte: u8) -> bool {
    matches!(byte, 0x14..=0x17)
}

/// Whether `kind` is a message type of that side, in protocol 3.0 or 3.2.
pub(crate) const fn is_message(side: Side, kind: u8) -> bool {
    match side {
        Side::Client => matches!(
            kind,
            b'B' | b'C' | b'D' | b'E' | b'F' | b'H' | b'P' | b'Q' | b'S' | b'X' | b'c' | b'd' | b'f' | b'p'
        ),
        Side::Server => matches!(
            kind,
            b'1' | b'2'
                | b'3'
                | b'A'
                | b'C'
                | b'D'
                | b'E'
                | b'G'
                | b'H'
                | b'I'
                | b'K'
                | b'N'
                | b'R'
                | b'S'
                | b'T'
                | b'V'
                | b'W'
                | b'Z'
                | b'c'
                | b'd'
                | b'n'
                | b's'
                | b't'
                | b'v'
        ),
    }
}

/// How many bytes of a body are kept. Secrets are not: passwords and SASL data ('p'), all of an authentication
/// request but its code ('R'), cancel keys ('K').
pub(crate) fn kept_bytes(side: Side, kind: u8, limits: &Limits) -> u32 {
    let wanted = match side {
        Side::Client => match kind {
            b'Q' | b'P' | b'B' => u32::MAX,
            OPENING_PACKET => OPENING_PACKET_BYTES_MAX,
            b'C' | b'D' | b'E' => 16 << 10,
            b'F' => 4,
            _ => 0,
        },
        Side::Server => match kind {
            b'E' => 16 << 10,
            b't' => 256 << 10,
            b'S' => 4 << 10,
            b'A' | b'C' => 256,
            b'R' | b'K' => 4,
            b'Z' => 1,
            _ => 0,
        },
    };
    wanted.min(limits.message_bytes_max)
}
