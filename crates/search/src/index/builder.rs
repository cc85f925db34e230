//! Makes one part from the lines of its blocks.

use std::collections::HashMap;

use super::history::{History, HistoryError};
use super::part::{self, BlockEntry, Body, DAMAGED, Extent, LateEntry, SQLSTATE, SessionEntry, TYPE, TermEntry};
use super::{PART_BLOCKS_MAX, PART_SESSIONS_MAX, PART_TERMS_MAX, SESSION_ATTRIBUTES_MAX};
use crate::aspect;
use crate::attribute::{self, AttributeKind};
use crate::fields::{Head, ProcessChangeFields, RecordFields, SessionFields, Str};
use crate::source::Block;

/// A part that is being made.
#[derive(Debug)]
pub(crate) struct Builder {
    extent: Extent,
    body: Body,
    late: Vec<LateEntry>,
    /// Number of each term, by kind and value.
    terms: HashMap<Box<[u8]>, u32>,
    sessions: HashMap<Box<str>, usize>,
    /// How many attributes of each session come from earlier parts; `None`: it did not occur in them.
    inherited: Vec<Option<usize>>,
    key: Vec<u8>,
}

impl Builder {
    /// A part without blocks.
    pub(crate) fn new() -> Self {
        Self {
            extent: Extent { earliest: u64::MAX, ..Extent::default() },
            body: Body::default(),
            late: Vec::new(),
            terms: HashMap::new(),
            sessions: HashMap::new(),
            inherited: Vec::new(),
            key: Vec::new(),
        }
    }

    /// Which blocks it is about so far.
    pub(crate) fn extent(&self) -> &Extent {
        &self.extent
    }

    /// Whether a block of this segment belongs to another part.
    pub(crate) fn ends_before(&self, segment: u64) -> bool {
        self.extent.blocks > 0
            && (self.extent.segment != segment
                || self.extent.blocks >= PART_BLOCKS_MAX
                || self.body.sessions.len() >= PART_SESSIONS_MAX
                || self.body.terms.len() >= PART_TERMS_MAX)
    }

    /// Adds the next block with its lines, or without if they cannot be read. After an error the builder is not used
    /// any more.
    pub(crate) fn add(
        &mut self,
        block: &Block,
        lines: Option<&[u8]>,
        history: &mut History<'_>,
    ) -> Result<(), HistoryError> {
        let Block { segment, first_seq, records, .. } = *block;
        if self.extent.blocks == 0 {
            self.extent.segment = segment;
            self.extent.first_seq = first_seq;
        }
        self.body.blocks.push(BlockEntry { first_seq, records, earliest: u64::MAX, latest: 0 });
        for line in lines.unwrap_or_default().split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            match Head::parse_quickly(line) {
                Some(head) => self.add_record(&head, line, history)?,
                None => self.mark(DAMAGED, "", self.extent.blocks),
            }
        }
        if lines.is_none() {
            self.mark(DAMAGED, "", self.extent.blocks);
        }
        self.extent.blocks += 1;
        self.extent.through_seq = first_seq.saturating_add(records).saturating_sub(1);
        if let Some(block) = self.body.blocks.last() {
            self.extent.earliest = self.extent.earliest.min(block.earliest);
            self.extent.latest = self.extent.latest.max(block.latest);
        }
        Ok(())
    }

    /// The file of the part.
    pub(crate) fn encode(&self) -> Vec<u8> {
        part::encode(&self.extent, &self.late, &self.body)
    }

    fn add_record(&mut self, head: &Head<'_>, line: &[u8], history: &mut History<'_>) -> Result<(), HistoryError> {
        let block = self.extent.blocks;
        if let Some(entry) = self.body.blocks.last_mut() {
            entry.earliest = entry.earliest.min(head.time.0.0);
            entry.latest = entry.latest.max(head.time.0.0);
        }
        self.mark(TYPE, &head.type_word.0, block);
        for sqlstate in head.sqlstates() {
            self.mark(SQLSTATE, attribute::bounded(sqlstate), block);
        }
        aspect::of_record(head, |aspect, value| self.mark(aspect as u8, value, block));
        let target = head.target.as_ref().map(|Str(text)| &**text);
        if let Some(target) = target.filter(|target| head.session() != Some(target)) {
            let session = self.session(target, Occurrence::Any, history)?;
            self.occurs(session, block);
        }
        let states_session = matches!(&*head.type_word.0, "session.open" | "session.change" | "session.close");
        let fields: SessionFields<'_> =
            if states_session { serde_json::from_slice(line).unwrap_or_default() } else { SessionFields::default() };
        let opened = &*head.type_word.0 == "session.open" && fields.origin.as_ref().is_some_and(|s| &*s.0 == "opened");
        let occurrence = if opened { Occurrence::First } else { Occurrence::Any };
        let session = self.session(head.session().unwrap_or_default(), occurrence, history)?;
        self.occurs(session, block);
        if head.session().is_none() {
            // Whoever used a control verb: the only identity outside sessions.
            let operator = (&*head.type_word.0 == "operator").then(|| serde_json::from_slice::<RecordFields<'_>>(line));
            if let Some(uid) = operator.and_then(|fields| fields.ok()?.uid) {
                self.state(session, AttributeKind::Uid as u8, &uid.to_string());
            }
            return Ok(());
        }
        if states_session {
            attribute::of_session(&fields, |kind, value| self.state(session, kind as u8, value));
        } else if &*head.type_word.0 == "process" {
            let fields = serde_json::from_slice::<ProcessChangeFields<'_>>(line);
            if let Some(process) = fields.ok().and_then(|fields| fields.process) {
                attribute::of_process(&process, &mut |kind, value| self.state(session, kind as u8, value));
            }
        }
        Ok(())
    }

    fn occurs(&mut self, session: usize, block: usize) {
        if let Some(entry) = self.body.sessions.get_mut(session) {
            entry.blocks.insert(block);
        }
    }

    /// A value that belongs to a record of this block.
    fn mark(&mut self, kind: u8, value: &str, block: usize) {
        let term = self.term(kind, value);
        if let Some(entry) = self.body.terms.get_mut(term as usize) {
            entry.blocks.insert(block);
        }
    }

    fn term(&mut self, kind: u8, value: &str) -> u32 {
        self.key.clear();
        self.key.push(kind);
        self.key.extend_from_slice(value.as_bytes());
        if let Some(term) = self.terms.get(&*self.key) {
            return *term;
        }
        let term = u32::try_from(self.body.terms.len()).unwrap_or(u32::MAX);
        self.terms.insert(self.key.as_slice().into(), term);
        self.body.terms.push(TermEntry { kind, value: value.into(), blocks: Default::default() });
        term
    }

    /// The number of a session in this part. At its first record here it inherits what earlier parts know of it.
    fn session(&mut self, id: &str, occurrence: Occurrence, history: &mut History<'_>) -> Result<usize, HistoryError> {
        if let Some(session) = self.sessions.get(id) {
            return Ok(*session);
        }
        let earlier = match occurrence {
            Occurrence::Any if !id.is_empty() => history.attributes(id)?,
            _ => None,
        };
        let session = self.body.sessions.len();
        self.sessions.insert(id.into(), session);
        self.inherited.push(earlier.as_ref().map(Vec::len));
        let terms = earlier.unwrap_or_default().iter().map(|(kind, value)| self.term(*kind, value)).collect();
        self.body.sessions.push(SessionEntry { id: id.into(), blocks: Default::default(), terms });
        Ok(session)
    }

    /// A record states an attribute of its session.
    fn state(&mut self, session: usize, kind: u8, value: &str) {
        let term = self.term(kind, value);
        let Some(entry) = self.body.sessions.get_mut(session).filter(|entry| !entry.terms.contains(&term)) else {
            return;
        };
        if entry.terms.len() >= SESSION_ATTRIBUTES_MAX && !entry.id.is_empty() {
            self.extent.attributes_dropped += 1;
            return;
        }
        entry.terms.push(term);
        if self.inherited.get(session).is_some_and(Option::is_some) {
            self.late.push(LateEntry { session: entry.id.clone(), kind, value: value.into() });
        }
    }
}

/// Whether earlier parts can know a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Occurrence {
    /// Its opening was seen: it has no earlier record.
    First,
    /// Any other record.
    Any,
}
