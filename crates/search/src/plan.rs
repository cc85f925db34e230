//! Decides which blocks are read: parts that cannot have what is looked for are skipped by their head, and of the
//! others only candidate blocks remain.

use std::collections::HashMap;

use crate::aspect::Aspect;
use crate::attribute::AttributeKind;
use crate::filter::{Condition, Filter, Key, Sense, SessionPattern, Wanted};
use crate::index::block_set::BlockSet;
use crate::index::bloom::{self, Bloom};
use crate::index::part::{Body, COOKIE, DAMAGED, FILE_NAME, Head, SESSION, SQLSTATE, TYPE, UNIDENTIFIED};
use crate::matching::{Fitting, SessionTerms, is_type};

/// Late sessions that are looked up one by one in a part's filter; with more, the part is read.
const LATE_LOOKED_UP_MAX: usize = 4096;

/// Types that stand for several.
const GROUPS: [&str; 5] = ["agent", "journal", "key", "segments", "session"];

/// Attribute terms that sessions fit by what became known after they had occurred in an earlier part.
/// It holds for all parts: those from there on know it themselves.
#[derive(Debug, Default)]
pub(crate) struct Late(HashMap<Box<str>, Said>);

/// What later parts say of a session.
#[derive(Clone, Copy, Debug, Default)]
struct Said {
    /// Terms that fit.
    bits: u32,
    /// Who it is.
    identified: bool,
}

impl Late {
    /// Adds what a later part says.
    pub(crate) fn add(&mut self, head: &Head, terms: &SessionTerms<'_>) {
        for entry in &head.late {
            let bits = terms.bits(entry.kind, &entry.value);
            let identified = entry.kind == AttributeKind::Transport as u8;
            if bits != 0 || (identified && !terms.is_empty()) {
                let said = self.0.entry(entry.session.clone()).or_default();
                said.bits |= bits;
                said.identified |= identified;
            }
        }
    }

    fn of(&self, session: &str) -> Said {
        self.0.get(session).copied().unwrap_or_default()
    }

    /// Whether a session that fits one of these bits may occur in a part.
    fn may_occur(&self, bit: u32, bloom: &Bloom) -> bool {
        let sessions = || self.0.iter().filter(|(_, said)| said.bits & bit != 0).map(|(session, _)| session);
        sessions().take(LATE_LOOKED_UP_MAX + 1).count() > LATE_LOOKED_UP_MAX
            || sessions().any(|session| bloom.may_contain(bloom::hash(SESSION, session.as_bytes())))
    }
}

/// Whether a part may have a record that fits. `late` is what all later parts say.
pub(crate) fn may_fit(head: &Head, filter: &Filter, terms: &SessionTerms<'_>, late: &Late) -> bool {
    let has = |kind, value: &str| head.bloom.may_contain(bloom::hash(kind, value.as_bytes()));
    if has(DAMAGED, "") {
        return true;
    }
    if head.extent.earliest <= head.extent.latest
        && !filter.overlaps(crate::query::wall(head.extent.earliest), crate::query::wall(head.extent.latest))
    {
        return false;
    }
    if !terms.is_empty() && has(UNIDENTIFIED, "") {
        // It has nothing that fits, and has to be read to say of how many sessions that is not known.
        return true;
    }
    let attributes = terms.required().all(|(bit, wanted)| {
        let may_have = |wanted: &Wanted| match wanted {
            Wanted::Value(kind, value) => has(*kind as u8, value),
            Wanted::FileName(name) => has(FILE_NAME, name),
            Wanted::Network(_) => true,
        };
        wanted.iter().any(may_have) || late.may_occur(bit, &head.bloom)
    });
    let records = filter.terms.iter().filter(|term| term.sense == Sense::Is).all(|term| match &term.condition {
        Condition::Type(words) => words.iter().any(|word| GROUPS.contains(&&**word) || has(TYPE, word)),
        Condition::Sqlstate(codes) => codes.iter().any(|code| code.len() != 5 || has(SQLSTATE, code)),
        Condition::Aspect(aspect, values) => values.iter().any(|value| has(*aspect as u8, value)),
        Condition::Session(patterns) => patterns.iter().any(|pattern| match pattern {
            SessionPattern::Whole(id) => has(SESSION, id),
            SessionPattern::Cookie(cookie) => has(COOKIE, cookie),
            SessionPattern::NoSession => has(SESSION, ""),
            SessionPattern::Prefix(_) => true,
        }),
        _ => true,
    });
    attributes && records
}

/// Whether every record of a type belongs to a session. Of types that are not known here nobody knows it.
fn has_session(type_word: &str) -> bool {
    type_word.starts_with("session.")
        || matches!(type_word, "statement" | "request" | "process" | "refused" | "cancel" | "bypass" | "integrity")
}

/// What of a part is read.
#[derive(Debug, Default)]
pub(crate) struct Candidates {
    pub(crate) blocks: BlockSet,
    /// Sessions that fit the attribute terms; empty if there are none.
    pub(crate) fitting: Fitting,
    /// Sessions of which no record says who they are: their opening is not in the journal.
    pub(crate) unidentified: Vec<Box<str>>,
    /// Blocks that tell of lost or unobserved events.
    pub(crate) incomplete: BlockSet,
}

/// The candidates of a part.
pub(crate) fn candidates(body: Body, filter: &Filter, terms: &SessionTerms<'_>, late: &Late) -> Candidates {
    let mut blocks = BlockSet::default();
    for (number, block) in body.blocks.iter().enumerate() {
        if filter.overlaps(crate::query::wall(block.earliest), crate::query::wall(block.latest)) {
            blocks.insert(number);
        }
    }
    let in_time = blocks;
    for term in filter.terms.iter().filter(|term| term.sense == Sense::Is) {
        if let Some(with) = blocks_with(&body, &term.condition) {
            blocks.intersect(with);
        }
    }
    let mut incomplete = of_records(&body, TYPE, |word| matches!(word, "gap" | "loss" | "session.gap"));
    incomplete.intersect(in_time);
    let damaged = of_records(&body, DAMAGED, |_| true);
    let mut found = Candidates { incomplete, ..Candidates::default() };
    if !terms.is_empty() {
        blocks.intersect(add_fitting(&mut found, body, terms, late, in_time));
    }
    blocks.union(damaged);
    found.blocks = blocks;
    found
}

/// Finds the sessions that fit; returns the blocks in which they occur.
fn add_fitting(
    found: &mut Candidates,
    mut body: Body,
    terms: &SessionTerms<'_>,
    late: &Late,
    in_time: BlockSet,
) -> BlockSet {
    let bits: Vec<u32> = body.terms.iter().map(|term| terms.bits(term.kind, &term.value)).collect();
    let mut blocks = BlockSet::default();
    for session in std::mem::take(&mut body.sessions) {
        let own = session.terms.iter().filter_map(|term| bits.get(*term as usize)).fold(0, |all, bits| all | bits);
        let identified = body.identifies(&session);
        let later = late.of(&session.id);
        let all = own | later.bits;
        let fits = if session.id.is_empty() { terms.may_fit(all) } else { terms.fit(all) };
        if fits {
            blocks.union(session.blocks);
            found.fitting.insert(session.id);
        } else if !identified && !later.identified {
            let mut here = session.blocks;
            here.intersect(in_time);
            if !here.is_empty() {
                found.unidentified.push(session.id);
            }
        }
    }
    blocks
}

/// The blocks in which a condition on records can hold; `None`: anywhere.
fn blocks_with(body: &Body, condition: &Condition) -> Option<BlockSet> {
    match condition {
        Condition::Type(words) => Some(of_records(body, TYPE, |word| words.iter().any(|wanted| is_type(word, wanted)))),
        Condition::Sqlstate(codes) => {
            Some(of_records(body, SQLSTATE, |state| codes.iter().any(|code| state.starts_with(&**code))))
        }
        Condition::Failed(true) => {
            let mut blocks = of_records(body, SQLSTATE, |_| true);
            blocks.union(of_records(body, TYPE, |word| word == "refused"));
            Some(blocks)
        }
        Condition::Kind(_) | Condition::Rows(_) | Condition::Failed(false) => {
            Some(of_records(body, TYPE, |word| word == "statement"))
        }
        Condition::Session(patterns) => {
            let mut blocks = BlockSet::default();
            for session in &body.sessions {
                if session.id.is_empty() {
                    let mut here = of_records(body, TYPE, |word| {
                        !has_session(word) && patterns.iter().any(|pattern| pattern.fits_no_session(word))
                    });
                    here.intersect(session.blocks);
                    blocks.union(here);
                } else if patterns.iter().any(|pattern| pattern.fits(&session.id)) {
                    blocks.union(session.blocks);
                }
            }
            Some(blocks)
        }
        Condition::Aspect(aspect, values) => {
            Some(of_records(body, *aspect as u8, |has| values.iter().any(|value| value == has)))
        }
        Condition::Attribute(_) | Condition::Text(_) | Condition::Duration(_) => None,
    }
}

/// The blocks that have a record with such a value.
fn of_records(body: &Body, kind: u8, fits: impl Fn(&str) -> bool) -> BlockSet {
    let mut blocks = BlockSet::default();
    let terms = body.terms.iter().filter(|term| term.kind == kind && fits(&term.value));
    terms.for_each(|term| blocks.union(term.blocks));
    blocks
}

/// What an answer needs that a journal may not have recorded (yet).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Recorded {
    /// What was decided about messages.
    pub(crate) judged: bool,
    /// Who acts.
    pub(crate) identified: bool,
}

impl Recorded {
    /// Adds what a part tells.
    pub(crate) fn add(&mut self, body: &Body) {
        let has = |kind: u8| body.terms.iter().any(|term| term.kind == kind);
        self.judged |= has(Aspect::Decision as u8);
        self.identified |= has(AttributeKind::Principal as u8);
    }

    /// The key of the first term that nothing recorded can answer.
    pub(crate) fn lacks(self, filter: &Filter) -> Option<Key> {
        let terms = filter.terms.iter().filter(|term| term.sense == Sense::Is);
        let lacking = |condition: &Condition| match condition {
            Condition::Aspect(aspect, _) if !self.judged => Some(Key::Aspect(*aspect)),
            Condition::Attribute(wanted) if !self.identified => wanted.iter().find_map(Wanted::key_of_principal),
            _ => None,
        };
        terms.map(|term| &term.condition).find_map(lacking)
    }
}

impl Wanted {
    fn key_of_principal(&self) -> Option<Key> {
        match self {
            Self::Value(kind @ (AttributeKind::Principal | AttributeKind::Agent | AttributeKind::ActingFor), _) => {
                Some(Key::Attribute(*kind))
            }
            _ => None,
        }
    }
}

/// Whether a filter asks for attributes that a block without an index cannot answer by itself.
pub(crate) fn needs_attributes(filter: &Filter) -> bool {
    filter.terms.iter().any(|term| matches!(term.condition, Condition::Attribute(_)))
}

const _: () = assert!(AttributeKind::ActingFor as u8 <= 31, "numbers from 32 on are terms of records");
