//! The walk: follows protocol messages through the bytes that are relayed and says what of them is worth recording.
//!
//! The user-space sibling of the kernel's walk (`agent-ebpf/src/content.rs`), with the same rules. Client messages are
//! told whole up to a bound, except passwords and COPY data. Of the server's messages the bodies of rows, row
//! descriptions, COPY data and function results are left out, secrets are cut. PostgreSQL manual, chapter 55.7.
//!
//! Pure: bytes go in, cut anywhere; [`Input`]s come out that point into the same bytes. Nothing is kept but a header
//! that came in pieces. What is not here: the opening packets (`opening`), which have no type byte.

use model::wire::{Input, Side};

/// Largest message that PostgreSQL accepts (`PQ_LARGE_MESSAGE_LIMIT`, 1 GiB - 1).
const MESSAGE_BYTES_MAX: u32 = 0x3fff_ffff;
/// Errors, notices, parameters and the like: more than any client shows.
const REPORT_BYTES_MAX: u32 = 8192;
/// Type byte and length.
const HEADER_BYTES: usize = 5;

/// One direction of one connection, from the first typed message on.
#[derive(Clone, Debug)]
pub struct Walk {
    side: Side,
    /// Body bytes told of one client message.
    message_bytes_max: u32,
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Before a message, of whose header some bytes may have come.
    Header { bytes: [u8; HEADER_BYTES], length: u8 },
    /// In a body: `remaining` bytes of it are to come, the first `allowance` of them are told.
    Body { kind: u8, remaining: u32, allowance: u32 },
    /// The bytes were not the protocol.
    Lost,
}

const BOUNDARY: State = State::Header { bytes: [0; HEADER_BYTES], length: 0 };

/// What a chunk contained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Walked {
    /// Messages whose last byte was in the chunk.
    pub messages: u64,
    /// Of these, on the client's side those that ReadyForQuery answers (Query, Sync, FunctionCall), on the server's
    /// side ReadyForQuery.
    pub cycles: u64,
    /// The transaction status of the last ReadyForQuery, if nothing followed it in the chunk.
    pub ready: Option<u8>,
    /// The client said goodbye (Terminate).
    pub terminated: bool,
    /// The bytes stopped being the protocol in this chunk; from here on nothing is told.
    pub broken: bool,
}

impl Walk {
    /// A walk that begins with a message of `side`.
    #[must_use]
    pub const fn new(side: Side, message_bytes_max: u32) -> Self {
        Self { side, message_bytes_max, state: BOUNDARY }
    }

    /// Whether the bytes have stopped being the protocol.
    #[must_use]
    pub const fn is_lost(&self) -> bool {
        matches!(self.state, State::Lost)
    }

    /// Whether the last chunk ended with the end of a message.
    #[must_use]
    pub const fn is_at_boundary(&self) -> bool {
        matches!(self.state, State::Header { length: 0, .. })
    }

    /// How many bytes of the message in progress are to come; `None`: not known.
    #[must_use]
    pub const fn resume_in(&self) -> Option<u64> {
        match self.state {
            State::Header { length: 0, .. } => Some(0),
            State::Body { remaining, .. } => Some(remaining as u64),
            State::Header { .. } | State::Lost => None,
        }
    }

    /// Walks the next bytes. `tell` is called at least once for a chunk with bytes, until the protocol is lost.
    pub fn walk<'a>(&mut self, chunk: &'a [u8], tell: &mut impl FnMut(Input<'a>)) -> Walked {
        let mut pass = Pass { chunk, position: 0, run: 0, skip: None, told: false, walked: Walked::default() };
        while pass.position < chunk.len() {
            self.state = match self.state {
                State::Header { bytes, length } => self.header(&mut pass, bytes, length, tell),
                State::Body { kind, remaining, allowance } => self.body(&mut pass, kind, remaining, allowance, tell),
                State::Lost => return pass.walked,
            };
        }
        pass.flush(tell);
        if !pass.told && !chunk.is_empty() {
            // Nothing but a piece of the header of a message that is left out.
            let kind = if let State::Header { bytes: [kind, ..], .. } = self.state { kind } else { 0 };
            tell(Input::Skipped { kind, bytes: 0, messages: 0 });
        }
        pass.walked
    }

    fn header<'a>(
        &self,
        pass: &mut Pass<'a>,
        mut bytes: [u8; HEADER_BYTES],
        length: u8,
        tell: &mut impl FnMut(Input<'a>),
    ) -> State {
        let have = usize::from(length);
        let rest = pass.rest();
        let taken = rest.len().min(HEADER_BYTES - have);
        for (slot, byte) in bytes[have..].iter_mut().zip(rest) {
            *slot = *byte;
        }
        let [kind, size @ ..] = bytes;
        if !is_known(self.side, kind) {
            return pass.lose(tell);
        }
        let left_out = is_left_out(self.side, kind);
        if left_out {
            pass.flush_run(tell);
        }
        pass.position += taken;
        if left_out {
            pass.run = pass.position;
        }
        pass.walked.ready = None;
        if have + taken < HEADER_BYTES {
            return State::Header { bytes, length: u8::try_from(have + taken).unwrap_or(u8::MAX) };
        }
        let Some(remaining) = u32::from_be_bytes(size).checked_sub(4).filter(|body| *body <= MESSAGE_BYTES_MAX - 4)
        else {
            return pass.lose(tell);
        };
        if left_out {
            pass.skip(kind, HEADER_BYTES as u64, 1, tell);
        }
        self.expect_body(pass, kind, remaining)
    }

    fn expect_body(&self, pass: &mut Pass<'_>, kind: u8, remaining: u32) -> State {
        if remaining == 0 {
            return self.complete(pass, kind);
        }
        State::Body { kind, remaining, allowance: self.allowance(kind).min(remaining) }
    }

    const fn complete(&self, pass: &mut Pass<'_>, kind: u8) -> State {
        pass.walked.messages += 1;
        if matches!((self.side, kind), (Side::Client, b'Q' | b'S' | b'F') | (Side::Server, b'Z')) {
            pass.walked.cycles += 1;
        }
        pass.walked.terminated |= kind == b'X';
        BOUNDARY
    }

    fn body<'a>(
        &self,
        pass: &mut Pass<'a>,
        kind: u8,
        remaining: u32,
        allowance: u32,
        tell: &mut impl FnMut(Input<'a>),
    ) -> State {
        let available = u32::try_from(pass.rest().len()).unwrap_or(u32::MAX).min(remaining);
        let told = available.min(allowance);
        if kind == b'Z' && self.side == Side::Server {
            pass.walked.ready = pass.rest().first().copied();
        }
        pass.position += told as usize;
        let left_out = available - told;
        if left_out > 0 {
            pass.flush_run(tell);
            pass.position += left_out as usize;
            pass.run = pass.position;
            pass.skip(kind, u64::from(left_out), 0, tell);
        }
        if available == remaining {
            return self.complete(pass, kind);
        }
        pass.walked.ready = None;
        State::Body { kind, remaining: remaining - available, allowance: allowance - told }
    }

    /// Body bytes that may be told.
    const fn allowance(&self, kind: u8) -> u32 {
        if is_left_out(self.side, kind) {
            return 0;
        }
        match (self.side, kind) {
            (Side::Client, _) => self.message_bytes_max,
            // Authentication: the method, not the salt or the server's proof. BackendKeyData: the pid, not the secret.
            (Side::Server, b'R' | b'K') => 4,
            // Notification: pid and channel (an identifier of at most 63 bytes), not the payload.
            (Side::Server, b'A') => 68,
            (Side::Server, _) => REPORT_BYTES_MAX,
        }
    }
}

/// One chunk under way: what is left out is told before the run of bytes that follows it.
struct Pass<'a> {
    chunk: &'a [u8],
    /// Next byte to look at.
    position: usize,
    /// First byte that is to be told.
    run: usize,
    skip: Option<Skip>,
    told: bool,
    walked: Walked,
}

#[derive(Clone, Copy)]
struct Skip {
    kind: u8,
    bytes: u64,
    messages: u64,
}

impl<'a> Pass<'a> {
    fn rest(&self) -> &'a [u8] {
        self.chunk.get(self.position..).unwrap_or_default()
    }

    /// Tells the run before the position, and what was left out before the run.
    fn flush(&mut self, tell: &mut impl FnMut(Input<'a>)) {
        if let Some(Skip { kind, bytes, messages }) = self.skip.take() {
            tell(Input::Skipped { kind, bytes, messages });
            self.told = true;
        }
        let run = self.chunk.get(self.run..self.position).unwrap_or_default();
        if !run.is_empty() {
            tell(Input::Bytes(run));
            self.told = true;
        }
        self.run = self.position;
    }

    /// The same, but what was left out may grow if nothing was told since.
    fn flush_run(&mut self, tell: &mut impl FnMut(Input<'a>)) {
        if self.run < self.position {
            self.flush(tell);
        }
    }

    /// Bytes before the position are left out.
    fn skip(&mut self, kind: u8, bytes: u64, messages: u64, tell: &mut impl FnMut(Input<'a>)) {
        match &mut self.skip {
            Some(skip) if skip.kind == kind => {
                skip.bytes += bytes;
                skip.messages += messages;
            }
            Some(_) => {
                self.flush(tell);
                self.skip = Some(Skip { kind, bytes, messages });
            }
            None => self.skip = Some(Skip { kind, bytes, messages }),
        }
    }

    /// What follows is not understood.
    fn lose(&mut self, tell: &mut impl FnMut(Input<'a>)) -> State {
        self.flush(tell);
        tell(Input::Lost { bytes: None, resume_in: None });
        self.told = true;
        self.walked.broken = true;
        self.walked.ready = None;
        self.position = self.chunk.len();
        self.run = self.position;
        State::Lost
    }
}

/// A set of type bytes: letters from `@` (0x40) on.
const fn letters(set: &[u8]) -> u64 {
    let mut bits = 0;
    let mut index = 0;
    while index < set.len() {
        bits |= 1 << (set[index] - 0x40);
        index += 1;
    }
    bits
}

const CLIENT_MESSAGES: u64 = letters(b"BCDEFHPQSXcdfp");
const SERVER_MESSAGES: u64 = letters(b"ACDEGHIKNRSTVWZcdnstv");
const CLIENT_LEFT_OUT: u64 = letters(b"dp");
const SERVER_LEFT_OUT: u64 = letters(b"DTVd");

const fn contains(set: u64, kind: u8) -> bool {
    kind >= 0x40 && kind < 0x80 && (set >> (kind & 0x3f)) & 1 == 1
}

/// Whether it is a type byte of that side, in protocol 3.0 or 3.2.
const fn is_known(side: Side, kind: u8) -> bool {
    match side {
        Side::Client => contains(CLIENT_MESSAGES, kind),
        Side::Server => contains(SERVER_MESSAGES, kind) || (kind >= b'1' && kind <= b'3'),
    }
}

/// Messages of which not even the header is told; only their number and size.
const fn is_left_out(side: Side, kind: u8) -> bool {
    match side {
        Side::Client => contains(CLIENT_LEFT_OUT, kind),
        Side::Server => contains(SERVER_LEFT_OUT, kind),
    }
}
