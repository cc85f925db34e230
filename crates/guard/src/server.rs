//! The server's stream: passed on as it is, except for the errors that the guard has provoked and the answers to its
//! own questions. Pure: bytes go in, cut anywhere.

use std::borrow::Cow;

use crate::masking::ROW_BYTES_MAX;

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
    /// A row: collected like others, up to a higher bound; a longer one is rewritten in its place.
    Row,
}

/// Who decides about messages.
pub(crate) trait Reader {
    /// By its kind, and the length of its body.
    fn fate(&mut self, kind: u8, length: u32) -> Fate;
    /// A held message is complete; what goes to the client is appended to `out`.
    fn complete(&mut self, message: &[u8], out: &mut Vec<u8>);
    /// A row that is too long to be collected begins.
    fn long_row(&mut self);
    /// More of it, rewritten in its place.
    fn long_row_goes_on(&mut self, bytes: &mut [u8]);
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
    /// It is rewritten as it comes.
    is_long_row: bool,
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
        let is_long_row = fate == Fate::Row && remaining > ROW_BYTES_MAX;
        if is_long_row {
            reader.long_row();
        }
        self.messages = self.messages.saturating_add(1);
        if matches!(fate, Fate::Hold | Fate::Row)
            && !begun_earlier
            && let Some(message) = pass.whole(position, remaining)
        {
            // The usual case: all of it is here, and need not be collected.
            let end = position.saturating_add(message.len());
            self.header.clear();
            pass.leave_out(position, end);
            reader.complete(message, pass.change(end));
            return end;
        }
        let mut body = Body { fate, held: Vec::new(), remaining, is_long_row };
        match fate {
            Fate::Pass | Fate::Row if begun_earlier && (is_long_row || fate == Fate::Pass) => {
                pass.leave_out(position, end);
                pass.change(end).extend_from_slice(&self.header);
            }
            Fate::Pass => {}
            Fate::Row if is_long_row => {}
            Fate::Hold | Fate::Row => {
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
            Fate::Row if body.is_long_row => {
                let mut bytes = rest.get(..taken).unwrap_or_default().to_vec();
                reader.long_row_goes_on(&mut bytes);
                pass.leave_out(position, end);
                pass.change(end).extend_from_slice(&bytes);
            }
            Fate::Hold | Fate::Row => {
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
        } else if matches!(body.fate, Fate::Hold | Fate::Row) && !body.is_long_row {
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
    /// The message that begins here, if all of it is in the chunk.
    fn whole(&self, position: usize, body_bytes: u32) -> Option<&'a [u8]> {
        let end = position.checked_add(HEADER_BYTES)?.checked_add(usize::try_from(body_bytes).ok()?)?;
        self.chunk.get(position..end)
    }

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
