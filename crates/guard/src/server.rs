//! The server's stream: passed on as it is, except for the errors that the guard has provoked and the answers to its
//! own questions. Pure: bytes go in, cut anywhere.

use std::borrow::Cow;

/// Longest message that is looked into; the server's answer to a refusal is far shorter.
const HELD_BYTES_MAX: u32 = 64 << 10;
const HEADER_BYTES: usize = 5;

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It goes to the client.
    Pass,
    /// It is collected, and its owner says what becomes of it.
    Hold,
    /// It is left out.
    Drop,
}

/// Who decides about messages.
pub(crate) trait Reader {
    /// By its kind, and the length of its body.
    fn fate(&mut self, kind: u8, length: u32) -> Fate;
    /// A held message is complete; what goes to the client is appended to `out`.
    fn complete(&mut self, message: &[u8], out: &mut Vec<u8>);
    /// Between two messages: what the guard itself has to say.
    fn interject(&mut self, out: &mut Vec<u8>);
    /// Whether it has.
    fn interjects(&self) -> bool;
}

/// One direction of one connection.
#[derive(Debug, Default)]
pub(crate) struct Server {
    header: Vec<u8>,
    body: Option<Body>,
    /// Messages that began.
    pub(crate) messages: u64,
}

#[derive(Debug)]
struct Body {
    fate: Fate,
    held: Vec<u8>,
    remaining: u32,
}

impl Server {
    /// No message is under way.
    pub(crate) const fn is_between(&self) -> bool {
        self.header.is_empty() && self.body.is_none()
    }

    /// Takes the next bytes; returns what the client gets.
    pub(crate) fn take<'a>(&mut self, chunk: &'a [u8], reader: &mut impl Reader) -> Cow<'a, [u8]> {
        let mut pass = Pass { chunk, copied: None, kept: 0 };
        let mut position = 0;
        while position < chunk.len() {
            position = match self.body.take() {
                Some(body) => self.body(body, position, &mut pass, reader),
                None => self.header(position, &mut pass, reader),
            };
        }
        pass.finish()
    }

    fn header(&mut self, position: usize, pass: &mut Pass<'_>, reader: &mut impl Reader) -> usize {
        if self.header.is_empty() && reader.interjects() {
            reader.interject(pass.change(position));
        }
        let rest = pass.chunk.get(position..).unwrap_or_default();
        let taken = rest.len().min(HEADER_BYTES.saturating_sub(self.header.len()));
        let (bytes, _) = rest.split_at_checked(taken).unwrap_or_default();
        let begun_earlier = !self.header.is_empty();
        self.header.extend_from_slice(bytes);
        let end = position.saturating_add(taken);
        let Ok([kind, size @ ..]) = <[u8; HEADER_BYTES]>::try_from(&self.header[..]) else {
            // A piece of a header: nothing is known of the message yet.
            pass.leave_out(position, end);
            return end;
        };
        let remaining = u32::from_be_bytes(size).saturating_sub(4);
        let fate = match reader.fate(kind, remaining) {
            Fate::Hold if remaining > HELD_BYTES_MAX => Fate::Pass,
            fate => fate,
        };
        self.messages = self.messages.saturating_add(1);
        let mut body = Body { fate, held: Vec::new(), remaining };
        match fate {
            Fate::Pass if begun_earlier => {
                pass.leave_out(position, end);
                pass.change(end).extend_from_slice(&self.header);
            }
            Fate::Pass => {}
            Fate::Hold => {
                pass.leave_out(position, end);
                body.held.extend_from_slice(&self.header);
            }
            Fate::Drop => pass.leave_out(position, end),
        }
        self.header.clear();
        self.go_on(body, end, pass, reader);
        end
    }

    fn body(&mut self, mut body: Body, position: usize, pass: &mut Pass<'_>, reader: &mut impl Reader) -> usize {
        let rest = pass.chunk.get(position..).unwrap_or_default();
        let taken = rest.len().min(body.remaining as usize);
        let end = position.saturating_add(taken);
        body.remaining = body.remaining.saturating_sub(u32::try_from(taken).unwrap_or(u32::MAX));
        match body.fate {
            Fate::Pass => {}
            Fate::Hold => {
                body.held.extend_from_slice(rest.get(..taken).unwrap_or_default());
                pass.leave_out(position, end);
            }
            Fate::Drop => pass.leave_out(position, end),
        }
        self.go_on(body, end, pass, reader);
        end
    }

    /// The message goes on, or is complete.
    fn go_on(&mut self, body: Body, position: usize, pass: &mut Pass<'_>, reader: &mut impl Reader) {
        if body.remaining > 0 {
            self.body = Some(body);
        } else if body.fate == Fate::Hold {
            reader.complete(&body.held, pass.change(position));
        }
    }
}

/// One chunk: passed on without a copy as long as nothing about it changes.
struct Pass<'a> {
    chunk: &'a [u8],
    copied: Option<Vec<u8>>,
    /// Up to here the chunk is in the copy, or left out of it.
    kept: usize,
}

impl<'a> Pass<'a> {
    /// The copy, with everything before `position`.
    fn change(&mut self, position: usize) -> &mut Vec<u8> {
        let copied = self.copied.get_or_insert_default();
        copied.extend_from_slice(self.chunk.get(self.kept..position).unwrap_or_default());
        self.kept = self.kept.max(position);
        copied
    }

    fn leave_out(&mut self, from: usize, to: usize) {
        self.change(from);
        self.kept = to;
    }

    fn finish(mut self) -> Cow<'a, [u8]> {
        if self.copied.is_none() {
            return Cow::Borrowed(self.chunk);
        }
        self.change(self.chunk.len());
        Cow::Owned(self.copied.unwrap_or_default())
    }
}
