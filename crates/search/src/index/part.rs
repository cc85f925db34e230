//! One part of the index, and its form in a file: a fixed header, a head that decides whether the rest is read
//! (filter and late entries), and the body (blocks, terms, sessions). Header with head, and body, carry a checksum each.

use sha2::{Digest as _, Sha256};

use super::block_set::BlockSet;
use super::bloom::{self, Bloom};
use super::bytes::{Cursor, put_blocks, put_number, put_text};
use crate::attribute::{self, AttributeKind};

/// Version of the form. A part of another version is made again.
pub(crate) const VERSION: u32 = 1;

const MAGIC: &[u8; 8] = b"wdrindex";
const CHECK_BYTES: usize = 8;
/// Magic, version, five lengths, six numbers, checksum of the body: what the checksum of the head covers of it.
const CHECKED_BYTES: usize = 8 + 4 + 5 * 4 + 6 * 8 + CHECK_BYTES;
pub(crate) const HEADER_BYTES: usize = CHECKED_BYTES + CHECK_BYTES;

/// Kinds of terms that are not attributes, beside those of [`crate::aspect::Aspect`] (from 35 on). Numbers are in
/// files: never re-used.
pub(crate) const TYPE: u8 = 32;
pub(crate) const SQLSTATE: u8 = 33;
/// Blocks that could not be read, or have lines that are no record: they are always looked at, and reported.
pub(crate) const DAMAGED: u8 = 34;
/// Only in the filter.
pub(crate) const SESSION: u8 = 48;
pub(crate) const COOKIE: u8 = 49;
pub(crate) const FILE_NAME: u8 = 50;
/// A session occurs of which nobody knows who it is. (Parts that were made before November 2026 do not say so.)
pub(crate) const UNIDENTIFIED: u8 = 51;

/// What a part tells of one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockEntry {
    pub(crate) first_seq: u64,
    pub(crate) records: u64,
    /// Smallest and largest time of its records, which are not in the order of time.
    pub(crate) earliest: u64,
    pub(crate) latest: u64,
}

/// A value that occurs: with its blocks if it belongs to records, without if it belongs to sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TermEntry {
    pub(crate) kind: u8,
    pub(crate) value: Box<str>,
    pub(crate) blocks: BlockSet,
}

/// A session that occurs. The empty id stands for records without a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SessionEntry {
    pub(crate) id: Box<str>,
    pub(crate) blocks: BlockSet,
    /// Numbers of attributes, in no order, each once.
    pub(crate) terms: Vec<u32>,
}

/// An attribute that became known after the session had occurred in an earlier part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LateEntry {
    pub(crate) session: Box<str>,
    pub(crate) kind: u8,
    pub(crate) value: Box<str>,
}

/// Which blocks a part is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extent {
    /// First record of the segment.
    pub(crate) segment: u64,
    pub(crate) first_seq: u64,
    pub(crate) through_seq: u64,
    pub(crate) blocks: usize,
    pub(crate) earliest: u64,
    pub(crate) latest: u64,
    /// Attributes beyond the bound of a session.
    pub(crate) attributes_dropped: u64,
}

/// What is read of every part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) extent: Extent,
    pub(crate) bloom: Bloom,
    pub(crate) late: Vec<LateEntry>,
}

/// What is read of a part that may hold what is looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Body {
    pub(crate) blocks: Vec<BlockEntry>,
    pub(crate) terms: Vec<TermEntry>,
    pub(crate) sessions: Vec<SessionEntry>,
}

/// The fixed beginning of a file: how much to read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub(crate) extent: Extent,
    late: usize,
    bloom_bytes: usize,
    late_bytes: usize,
    body_bytes: usize,
    head_check: [u8; CHECK_BYTES],
    body_check: [u8; CHECK_BYTES],
}

/// The file of a part.
pub(crate) fn encode(extent: &Extent, late: &[LateEntry], body: &Body) -> Vec<u8> {
    let bloom = bloom_of(body);
    let mut entries = Vec::new();
    for entry in late {
        put_text(&mut entries, &entry.session);
        entries.push(entry.kind);
        put_text(&mut entries, &entry.value);
    }
    let encoded = encode_body(body);
    let mut out = Vec::with_capacity(HEADER_BYTES + bloom.bytes().len() + entries.len() + encoded.len());
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    let lengths = [late.len(), bloom.bytes().len(), entries.len(), encoded.len(), extent.blocks];
    for length in lengths {
        out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
    }
    for number in [extent.segment, extent.first_seq, extent.through_seq, extent.earliest, extent.latest] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.extend_from_slice(&extent.attributes_dropped.to_le_bytes());
    out.extend_from_slice(&check(&[&encoded]));
    let head = check(&[&out, bloom.bytes(), &entries]);
    out.extend_from_slice(&head);
    out.extend_from_slice(bloom.bytes());
    out.extend_from_slice(&entries);
    out.extend_from_slice(&encoded);
    out
}

fn check(pieces: &[&[u8]]) -> [u8; CHECK_BYTES] {
    let mut sum = Sha256::new();
    pieces.iter().for_each(|piece| sum.update(piece));
    let mut check = [0; CHECK_BYTES];
    check.iter_mut().zip(sum.finalize()).for_each(|(to, from)| *to = from);
    check
}

fn bloom_of(body: &Body) -> Bloom {
    let count = |term: &&TermEntry| term.kind == AttributeKind::Executable as u8;
    let mut bloom =
        Bloom::for_terms(body.terms.len() + body.terms.iter().filter(count).count() + 2 * body.sessions.len());
    for term in &body.terms {
        bloom.insert(bloom::hash(term.kind, term.value.as_bytes()));
        if term.kind == AttributeKind::Executable as u8 {
            bloom.insert(bloom::hash(FILE_NAME, attribute::file_name(&term.value).as_bytes()));
        }
    }
    for session in &body.sessions {
        bloom.insert(bloom::hash(SESSION, session.id.as_bytes()));
        bloom.insert(bloom::hash(COOKIE, cookie(&session.id).as_bytes()));
    }
    if body.sessions.iter().any(|session| !body.identifies(session)) {
        bloom.insert(bloom::hash(UNIDENTIFIED, b""));
    }
    bloom
}

impl Body {
    /// Whether some record says who a session is: every one that does states its transport.
    pub(crate) fn identifies(&self, session: &SessionEntry) -> bool {
        let states = |number: &u32| {
            self.terms.get(*number as usize).is_some_and(|term| term.kind == AttributeKind::Transport as u8)
        };
        session.id.is_empty() || session.terms.iter().any(states)
    }
}

/// What stands after the last dash of a session's id.
pub(crate) fn cookie(id: &str) -> &str {
    id.rsplit('-').next().unwrap_or(id)
}

fn encode_body(body: &Body) -> Vec<u8> {
    let mut out = Vec::new();
    put_number(&mut out, body.blocks.len() as u64);
    for block in &body.blocks {
        for number in [block.first_seq, block.records, block.earliest, block.latest] {
            put_number(&mut out, number);
        }
    }
    put_number(&mut out, body.terms.len() as u64);
    for term in &body.terms {
        out.push(term.kind);
        put_text(&mut out, &term.value);
        if is_of_records(term.kind) {
            put_blocks(&mut out, term.blocks);
        }
    }
    put_number(&mut out, body.sessions.len() as u64);
    for session in &body.sessions {
        put_text(&mut out, &session.id);
        put_blocks(&mut out, session.blocks);
        put_number(&mut out, session.terms.len() as u64);
        session.terms.iter().for_each(|term| put_number(&mut out, u64::from(*term)));
    }
    out
}

/// Terms from the first to the last of these belong to records.
const fn is_of_records(kind: u8) -> bool {
    TYPE <= kind && kind < SESSION
}

impl Header {
    /// `None` for what is not the header of a part of this version.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = Cursor(bytes.get(..HEADER_BYTES)?);
        if rest.take(MAGIC.len())? != MAGIC || little_32(&mut rest)? != VERSION {
            return None;
        }
        let mut length = || little_32(&mut rest).and_then(|length| usize::try_from(length).ok());
        let (late, bloom_bytes, late_bytes, body_bytes, blocks) =
            (length()?, length()?, length()?, length()?, length()?);
        let mut number = || rest.take(8).and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes);
        let (segment, first_seq, through_seq) = (number()?, number()?, number()?);
        let (earliest, latest, attributes_dropped) = (number()?, number()?, number()?);
        let body_check = rest.take(CHECK_BYTES)?.try_into().ok()?;
        let head_check = rest.take(CHECK_BYTES)?.try_into().ok()?;
        let extent = Extent { segment, first_seq, through_seq, blocks, earliest, latest, attributes_dropped };
        Some(Self { extent, late, bloom_bytes, late_bytes, body_bytes, head_check, body_check })
    }

    /// Bytes of the head after the header.
    pub(crate) fn head_bytes(&self) -> usize {
        self.bloom_bytes.saturating_add(self.late_bytes)
    }

    /// Where the body is.
    pub(crate) fn body_range(&self) -> std::ops::Range<usize> {
        let start = HEADER_BYTES.saturating_add(self.head_bytes());
        start..start.saturating_add(self.body_bytes)
    }

    /// Reads the head. `None` if it is damaged.
    pub(crate) fn decode_head(&self, header: &[u8], head: &[u8]) -> Option<Head> {
        let (bloom, late) = head.split_at_checked(self.bloom_bytes)?;
        let checked = header.get(..CHECKED_BYTES)?;
        if check(&[checked, bloom, late]) != self.head_check {
            return None;
        }
        let mut rest = Cursor(late);
        let late = (0..self.late).map(|_| {
            let session = rest.text()?.into();
            Some(LateEntry { session, kind: rest.byte()?, value: rest.text()?.into() })
        });
        Some(Head { extent: self.extent, late: late.collect::<Option<_>>()?, bloom: Bloom::from_bytes(bloom) })
    }

    /// Reads the body. `None` if it is damaged.
    pub(crate) fn decode_body(&self, body: &[u8]) -> Option<Body> {
        if check(&[body]) != self.body_check {
            return None;
        }
        let mut rest = Cursor(body);
        let blocks = (0..rest.count()?).map(|_| {
            let (first_seq, records) = (rest.number()?, rest.number()?);
            Some(BlockEntry { first_seq, records, earliest: rest.number()?, latest: rest.number()? })
        });
        let blocks = blocks.collect::<Option<Vec<_>>>()?;
        let terms = (0..rest.count()?).map(|_| {
            let (kind, value) = (rest.byte()?, rest.text()?.into());
            let blocks = if is_of_records(kind) { rest.blocks()? } else { BlockSet::default() };
            Some(TermEntry { kind, value, blocks })
        });
        let terms = terms.collect::<Option<Vec<_>>>()?;
        let sessions = (0..rest.count()?).map(|_| {
            let (id, blocks) = (rest.text()?.into(), rest.blocks()?);
            let numbers = (0..rest.count()?).map(|_| {
                let number = usize::try_from(rest.number()?).ok().filter(|number| *number < terms.len())?;
                u32::try_from(number).ok()
            });
            Some(SessionEntry { id, blocks, terms: numbers.collect::<Option<_>>()? })
        });
        let sessions = sessions.collect::<Option<Vec<_>>>()?;
        (blocks.len() == self.extent.blocks).then_some(Body { blocks, terms, sessions })
    }
}

fn little_32(rest: &mut Cursor<'_>) -> Option<u32> {
    rest.take(4)?.try_into().ok().map(u32::from_le_bytes)
}
