//! Bytes to messages, one direction: finds boundaries, buffers only what arrives in pieces (55.2.1 to 55.7).

use std::borrow::Cow;

use model::wire::Side;

use crate::catalogue::{
    MESSAGE_BYTES_MAX, OPENING_PACKET, OPENING_PACKET_BYTES_MAX, TLS_RECORD, is_message, is_tls_record, kept_bytes,
};
use crate::limits::Limits;
use crate::reader::Reader;

/// One message, as far as its body is kept.
pub(crate) struct Message<'a> {
    /// Type byte, or [`OPENING_PACKET`], or [`TLS_RECORD`].
    pub(crate) kind: u8,
    /// The code of an opening packet; otherwise 0.
    pub(crate) code: u32,
    /// The beginning of the body (after the code, in an opening packet).
    pub(crate) body: Cow<'a, [u8]>,
    /// Length of the whole body.
    pub(crate) length: u64,
}

/// What a first byte may mean at this time.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Only an opening packet (or TLS) can come.
    First,
    /// Opening packets, TLS records and messages: the login has not ended.
    Opening,
    /// Only messages.
    Open,
}

/// The bytes are not the protocol; in fixed words.
pub(crate) type Broken = &'static str;

/// What a `Skipped` input turned out to be.
pub(crate) enum Skip<'a> {
    /// Whole messages begin here.
    Messages,
    /// The end of messages that were skipped before.
    Tail,
    /// A part of the message in progress, which is complete now if it is given.
    Inside(Option<Message<'a>>),
}

/// What a `Lost` input turned out to be.
pub(crate) enum Loss<'a> {
    /// All of it was inside the message in progress, which is complete now if it is given.
    Inside(Option<Message<'a>>),
    /// Messages were lost.
    Messages,
}

#[derive(Clone, Copy)]
struct Header {
    kind: u8,
    code: u32,
    length: u32,
}

enum State {
    /// Before a message; some bytes of its header may have come.
    Boundary { header: [u8; 8], bytes: u8 },
    /// In the body of a message. After a `hole` nothing more of it is kept.
    Body { header: Header, remaining: u32, hole: bool },
    /// In a message whose header was lost.
    Headless { remaining: u64 },
    /// No boundary is known.
    Seeking,
}

const BOUNDARY: State = State::Boundary { header: [0; 8], bytes: 0 };

pub(crate) struct Framer {
    side: Side,
    state: State,
    kept: Vec<u8>,
}

impl Framer {
    pub(crate) const fn new(side: Side) -> Self {
        Self { side, state: BOUNDARY, kept: Vec::new() }
    }

    pub(crate) fn retained_bytes(&self) -> usize {
        self.kept.capacity()
    }

    pub(crate) const fn is_seeking(&self) -> bool {
        matches!(self.state, State::Seeking)
    }

    /// At a boundary with no byte of the next message.
    pub(crate) const fn is_at_boundary(&self) -> bool {
        matches!(self.state, State::Boundary { bytes: 0, .. })
    }

    /// The message that the next byte belongs to is known (or begins with it).
    pub(crate) const fn is_aligned(&self) -> bool {
        matches!(self.state, State::Boundary { .. } | State::Body { .. })
    }

    /// The next byte starts a message, whatever was in progress.
    pub(crate) fn set_boundary(&mut self) {
        self.kept = Vec::new();
        self.state = BOUNDARY;
    }

    /// Drop everything until a boundary is known again.
    pub(crate) fn seek(&mut self) {
        self.kept = Vec::new();
        self.state = State::Seeking;
    }

    /// The next message that is complete; `None` once the input is used up.
    pub(crate) fn next<'a>(
        &mut self,
        input: &mut Reader<'a>,
        phase: Phase,
        limits: &Limits,
    ) -> Result<Option<Message<'a>>, Broken> {
        loop {
            match &mut self.state {
                State::Boundary { .. } => {
                    let Some(header) = self.header(input, phase)? else {
                        return Ok(None);
                    };
                    if let Some(message) = self.begin(header, input, limits) {
                        return Ok(Some(message));
                    }
                }
                State::Body { .. } => return Ok(self.continue_body(input, limits)),
                State::Headless { remaining } => {
                    let taken = input.take_up_to(*remaining).len() as u64;
                    *remaining = remaining.saturating_sub(taken);
                    if *remaining > 0 {
                        return Ok(None);
                    }
                    self.state = BOUNDARY;
                }
                State::Seeking => {
                    input.rest();
                    return Ok(None);
                }
            }
        }
    }

    /// Reads a header, which may have come in pieces.
    fn header(&mut self, input: &mut Reader<'_>, phase: Phase) -> Result<Option<Header>, Broken> {
        let State::Boundary { header, bytes } = &mut self.state else {
            return Ok(None);
        };
        let first = if *bytes == 0 { input.peek() } else { header.first().copied() };
        let Some(first) = first else { return Ok(None) };
        let size = header_size(self.side, first, phase)?;
        if *bytes == 0
            && let Some(whole) = input.take(size)
        {
            return parse_header(first, Reader::new(whole)).map(Some);
        }
        while usize::from(*bytes) < size {
            let (Some(byte), Some(slot)) = (input.u8(), header.get_mut(usize::from(*bytes))) else {
                return Ok(None);
            };
            *slot = byte;
            *bytes = bytes.saturating_add(1);
        }
        let whole = *header;
        *bytes = 0;
        parse_header(first, Reader::new(whole.get(..size).unwrap_or_default())).map(Some)
    }

    /// Starts a body: the message itself if all of it is in the input, in place.
    fn begin<'a>(&mut self, header: Header, input: &mut Reader<'a>, limits: &Limits) -> Option<Message<'a>> {
        if let Some(body) = usize::try_from(header.length).ok().and_then(|length| input.take(length)) {
            let kept = Reader::new(body).take_up_to(kept_bytes_of(self.side, header, limits).into());
            return Some(message(header, Cow::Borrowed(kept)));
        }
        self.state = State::Body { header, remaining: header.length, hole: false };
        None
    }

    fn continue_body<'a>(&mut self, input: &mut Reader<'_>, limits: &Limits) -> Option<Message<'a>> {
        let State::Body { header, remaining, hole } = &mut self.state else {
            return None;
        };
        let bytes = input.take_up_to(u64::from(*remaining));
        *remaining = remaining.saturating_sub(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        if !*hole {
            let kept_max = kept_bytes_of(self.side, *header, limits);
            let room = u64::from(kept_max).saturating_sub(self.kept.len() as u64);
            self.kept.extend_from_slice(Reader::new(bytes).take_up_to(room));
        }
        self.complete()
    }

    /// The message in progress, if nothing of it is missing.
    fn complete<'a>(&mut self) -> Option<Message<'a>> {
        let State::Body { header, remaining: 0, .. } = self.state else {
            return None;
        };
        self.state = BOUNDARY;
        Some(message(header, Cow::Owned(std::mem::take(&mut self.kept))))
    }

    /// Takes a `Skipped` input into account.
    pub(crate) fn skip<'a>(&mut self, bytes: u64, messages: u64) -> Result<Skip<'a>, Broken> {
        match &mut self.state {
            State::Boundary { bytes: 0, .. } if messages == 0 => Ok(Skip::Tail),
            State::Boundary { bytes: 0, .. } => Ok(Skip::Messages),
            State::Boundary { .. } => Err("bytes were skipped in a message header"),
            State::Body { remaining, hole, .. } if messages == 0 => {
                let Some(left) = u64::from(*remaining).checked_sub(bytes) else {
                    return Err("more bytes were skipped than the message has");
                };
                *hole |= bytes > 0;
                *remaining = u32::try_from(left).unwrap_or(u32::MAX);
                Ok(Skip::Inside(self.complete()))
            }
            State::Body { .. } => Err("skipped messages begin inside a message"),
            State::Headless { remaining } if messages == 0 => {
                *remaining = remaining.saturating_sub(bytes);
                if *remaining == 0 {
                    self.state = BOUNDARY;
                }
                Ok(Skip::Inside(None))
            }
            State::Seeking if messages == 0 => Ok(Skip::Inside(None)),
            State::Headless { .. } | State::Seeking => {
                self.state = BOUNDARY;
                Ok(Skip::Messages)
            }
        }
    }

    /// Takes a `Lost` input into account.
    pub(crate) fn lose<'a>(&mut self, bytes: Option<u64>, resume_in: Option<u64>) -> Loss<'a> {
        if let State::Body { header, remaining, hole } = &mut self.state
            && let Some(left) = bytes.and_then(|bytes| u64::from(*remaining).checked_sub(bytes))
            && resume_in.is_none_or(|resume| resume == left)
        {
            if bears_holes(self.side, header.kind) {
                *hole = true;
                *remaining = u32::try_from(left).unwrap_or(u32::MAX);
                return Loss::Inside(self.complete());
            }
            self.kept = Vec::new();
            self.state = if left == 0 { BOUNDARY } else { State::Headless { remaining: left } };
            return Loss::Messages;
        }
        self.kept = Vec::new();
        self.state = match resume_in {
            Some(0) => BOUNDARY,
            Some(remaining) => State::Headless { remaining },
            None => State::Seeking,
        };
        Loss::Messages
    }
}

const fn message(header: Header, body: Cow<'_, [u8]>) -> Message<'_> {
    Message { kind: header.kind, code: header.code, body, length: header.length as u64 }
}

/// A message of that kind is still worth something when part of its body is missing.
const fn bears_holes(side: Side, kind: u8) -> bool {
    match side {
        Side::Client => kind != OPENING_PACKET,
        Side::Server => !matches!(kind, b'C' | b'Z'),
    }
}

/// A CancelRequest's body is the process id and a secret key: only the first is kept.
fn kept_bytes_of(side: Side, header: Header, limits: &Limits) -> u32 {
    if header.kind == OPENING_PACKET && header.code == crate::opening::CANCEL_REQUEST {
        return 4;
    }
    kept_bytes(side, header.kind, limits)
}

/// Length of the header that begins with `first`: type and length, length and code, or a TLS record's header.
fn header_size(side: Side, first: u8, phase: Phase) -> Result<usize, Broken> {
    let opening = phase != Phase::Open;
    match first {
        OPENING_PACKET if opening && side == Side::Client => Ok(8),
        _ if opening && is_tls_record(first) => Ok(5),
        _ if phase == Phase::First && side == Side::Client => Err("the first packet is no opening packet"),
        _ if is_message(side, first) => Ok(5),
        _ => Err("unknown message type"),
    }
}

fn parse_header(first: u8, mut header: Reader<'_>) -> Result<Header, Broken> {
    const SHORT: Broken = "impossible message length";
    if first == OPENING_PACKET {
        let (length, code) = (header.u32().ok_or(SHORT)?, header.u32().ok_or(SHORT)?);
        let length = length.checked_sub(8).filter(|_| length <= OPENING_PACKET_BYTES_MAX).ok_or(SHORT)?;
        return Ok(Header { kind: OPENING_PACKET, code, length });
    }
    header.u8().ok_or(SHORT)?;
    if is_tls_record(first) {
        header.u16().ok_or(SHORT)?;
        let length = u32::from(header.u16().ok_or(SHORT)?);
        return Ok(Header { kind: TLS_RECORD, code: 0, length });
    }
    let length = header.u32().ok_or(SHORT)?;
    let length = length.checked_sub(4).filter(|_| length <= MESSAGE_BYTES_MAX).ok_or(SHORT)?;
    Ok(Header { kind: first, code: 0, length })
}
