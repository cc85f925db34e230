//! One record in the ring: a head of 40 bytes, then its bytes, padded to eight.

use model::id::SocketCookie;
use model::time::BootTime;
use model::wire::{Input, Side};

/// Size of [`Head`] in the ring.
pub(crate) const HEAD_BYTES: usize = 40;
/// Longest body of a record: longer pieces of a stream are told in several.
pub(crate) const BODY_BYTES_MAX: usize = 16 * 1024;
/// [`Head::message`] of a note that another core has taken before.
pub(crate) const REPEATED: u8 = 1;
/// Stands for an absent number.
const ABSENT: u64 = u64::MAX;

/// What a record is. Numbers are between two processes of one version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The rest of the ring's memory is not used.
    Padding = 1,
    Bytes = 2,
    Skipped = 3,
    Lost = 4,
    Note = 5,
    Report = 6,
    Judged = 7,
}

impl Kind {
    const ALL: [Self; 7] =
        [Self::Padding, Self::Bytes, Self::Skipped, Self::Lost, Self::Note, Self::Report, Self::Judged];
}

/// The head of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) kind: Kind,
    pub(crate) side: Side,
    /// Type byte of what was skipped; of a note, whether it is [`REPEATED`].
    pub(crate) message: u8,
    /// Bytes of the body, without padding.
    pub(crate) body: u32,
    pub(crate) connection: u64,
    pub(crate) at: u64,
    pub(crate) first: u64,
    pub(crate) second: u64,
}

impl Head {
    pub(crate) fn padding(bytes: u64) -> Self {
        Self {
            kind: Kind::Padding,
            side: Side::Client,
            message: 0,
            body: 0,
            connection: 0,
            at: 0,
            first: bytes,
            second: 0,
        }
    }

    pub(crate) fn of(kind: Kind, bytes: usize) -> Self {
        Self { kind, body: u32::try_from(bytes).unwrap_or(u32::MAX), ..Self::padding(0) }
    }

    /// The head of a piece of a stream, and its body.
    pub(crate) fn stream<'a>(connection: SocketCookie, side: Side, at: BootTime, input: Input<'a>) -> (Self, &'a [u8]) {
        let head = Self { side, connection: connection.0, at: at.0, ..Self::padding(0) };
        match input {
            Input::Bytes(bytes) => {
                let body = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
                (Self { kind: Kind::Bytes, body, ..head }, bytes)
            }
            Input::Skipped { kind: message, bytes, messages } => {
                (Self { kind: Kind::Skipped, message, first: bytes, second: messages, ..head }, &[])
            }
            Input::Lost { bytes, resume_in } => {
                let (first, second) = (bytes.unwrap_or(ABSENT), resume_in.unwrap_or(ABSENT));
                (Self { kind: Kind::Lost, first, second, ..head }, &[])
            }
        }
    }

    /// What a stream record says; `None` for the other kinds.
    pub(crate) fn input<'a>(&self, body: &'a [u8]) -> Option<Input<'a>> {
        let known = |number: u64| (number != ABSENT).then_some(number);
        match self.kind {
            Kind::Bytes => Some(Input::Bytes(body)),
            Kind::Skipped => Some(Input::Skipped { kind: self.message, bytes: self.first, messages: self.second }),
            Kind::Lost => Some(Input::Lost { bytes: known(self.first), resume_in: known(self.second) }),
            Kind::Padding | Kind::Note | Kind::Report | Kind::Judged => None,
        }
    }

    /// Bytes of the record with such a body in the ring.
    pub(crate) const fn length(body: usize) -> u64 {
        (HEAD_BYTES + body).next_multiple_of(8) as u64
    }

    pub(crate) fn encode(&self) -> [u8; HEAD_BYTES] {
        let mut bytes = [0; HEAD_BYTES];
        let side = u8::from(self.side == Side::Server);
        bytes[..4].copy_from_slice(&[self.kind as u8, side, self.message, 0]);
        bytes[4..8].copy_from_slice(&self.body.to_ne_bytes());
        for (place, number) in bytes[8..].chunks_exact_mut(8).zip([self.connection, self.at, self.first, self.second]) {
            place.copy_from_slice(&number.to_ne_bytes());
        }
        bytes
    }

    /// `None`: this is no head.
    pub(crate) fn decode(bytes: &[u8; HEAD_BYTES]) -> Option<Self> {
        let kind = Kind::ALL.into_iter().find(|kind| *kind as u8 == bytes[0])?;
        let side = match bytes[1] {
            0 => Side::Client,
            1 => Side::Server,
            _ => return None,
        };
        let number = |at: usize| bytes.get(at..at + 8)?.try_into().ok().map(u64::from_ne_bytes);
        let body = u32::from_ne_bytes(bytes[4..8].try_into().ok()?);
        Some(Self {
            kind,
            side,
            message: bytes[2],
            body,
            connection: number(8)?,
            at: number(16)?,
            first: number(24)?,
            second: number(32)?,
        })
    }
}
