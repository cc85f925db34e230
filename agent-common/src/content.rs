//! Content: plaintext of the protocol as the server's functions see it, walked message by message in the kernel.
//!
//! The walk copies what decides what was asked and what became of it, and leaves out what does not: the bodies
//! of data rows and COPY data, secrets of the authentication, and everything beyond the configured bound.

use crate::Header;

/// Bytes left out.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skip {
    /// How many.
    pub bytes: u64,
    /// Messages that begin in them; 0: they are the rest of a message in progress.
    pub messages: u32,
    /// Type byte of these messages.
    pub message: u8,
    /// Zero.
    pub reserved: [u8; 3],
}
const _: () = assert!(size_of::<Skip>() == 16);

/// `side`: client to server.
pub const SIDE_CLIENT: u8 = 0;
/// `side`: server to client.
pub const SIDE_SERVER: u8 = 1;

/// Head of a content record. `bytes` bytes of plaintext follow it in the ring.
///
/// In stream order: first what `skips` describes, then the bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Content {
    /// Kind [`crate::kind::CONTENT`].
    pub header: Header,
    /// The session.
    pub cookie: u64,
    /// Position in the plaintext stream of the first byte that this record stands for. A jump is a loss.
    pub offset: u64,
    /// What was left out, in order; `messages == 0 && bytes == 0` is unused.
    pub skips: [Skip; 2],
    /// Plaintext bytes that follow.
    pub bytes: u32,
    /// Bytes of a message in progress at `offset`; 0: a message starts there.
    pub resume_in: u32,
    /// `SIDE_*`
    pub side: u8,
    /// `CHANNEL_*` of the session.
    pub channel: u8,
    /// 1: from here on this direction is not understood, until a record follows with a later `offset`.
    pub desynchronised: u8,
    /// Zero.
    pub reserved: [u8; 5],
}
const _: () = assert!(size_of::<Content>() == 80);

/// Largest number of plaintext bytes in one record.
pub const CONTENT_BYTES_MAX: usize = 4096;
