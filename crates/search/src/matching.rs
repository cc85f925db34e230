//! Compares one record with a filter, exactly.

use std::collections::HashSet;
use std::net::IpAddr;

use crate::aspect;
use crate::attribute::{self, AttributeKind};
use crate::fields::{Head, RecordFields, Str};
use crate::filter::{Condition, Filter, Sense, Term, Wanted};

/// The attribute terms of a filter: what sessions, not records, decide. At most 32, a bit for each.
#[derive(Debug)]
pub(crate) struct SessionTerms<'f> {
    terms: Vec<(Sense, &'f [Wanted])>,
    /// Bits that must be set, and that must be set or not: all that are used.
    wanted: u32,
    used: u32,
}

/// Sessions that fit all attribute terms. The empty id stands for records without a session that may fit.
pub(crate) type Fitting = HashSet<Box<str>>;

impl<'f> SessionTerms<'f> {
    pub(crate) fn of(filter: &'f Filter) -> Self {
        let attributes = filter.terms.iter().filter_map(|term| match &term.condition {
            Condition::Attribute(wanted) => Some((term.sense, wanted.as_slice())),
            _ => None,
        });
        let terms: Vec<_> = attributes.take(32).collect();
        let bit = |(number, (sense, _)): (usize, &(Sense, _))| u32::from(*sense == Sense::Is) << number;
        let wanted = terms.iter().enumerate().map(bit).sum();
        let used = terms.iter().enumerate().map(|(number, _)| 1u32 << number).sum();
        Self { terms, wanted, used }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// Terms that must hold, with their bits.
    pub(crate) fn required(&self) -> impl Iterator<Item = (u32, &'f [Wanted])> + '_ {
        let terms = self.terms.iter().enumerate();
        terms.filter(|(_, (sense, _))| *sense == Sense::Is).map(|(number, (_, wanted))| (1 << number, *wanted))
    }

    /// Bits of the terms that this attribute fits.
    pub(crate) fn bits(&self, kind: u8, value: &str) -> u32 {
        let fits = |wanted: &[Wanted]| wanted.iter().any(|wanted| wanted.fits(kind, value));
        self.terms.iter().enumerate().map(|(number, (_, wanted))| u32::from(fits(wanted)) << number).sum()
    }

    /// Whether a session whose attributes fit these terms fits all of them.
    pub(crate) fn fit(&self, bits: u32) -> bool {
        bits & self.used == self.wanted
    }

    /// Whether some record without a session, with at most these attributes, may fit.
    pub(crate) fn may_fit(&self, bits: u32) -> bool {
        bits & self.wanted == self.wanted
    }
}

impl Wanted {
    fn fits(&self, kind: u8, value: &str) -> bool {
        match self {
            Self::Value(wanted, text) => *wanted as u8 == kind && text == value,
            Self::FileName(name) => AttributeKind::Executable as u8 == kind && attribute::file_name(value) == name,
            Self::Network(network) => {
                AttributeKind::Client as u8 == kind
                    && value.parse::<IpAddr>().is_ok_and(|address| network.contains(address))
            }
        }
    }
}

/// Whether a record fits. `fitting` are the sessions that fit the attribute terms; not looked at if there are none.
pub(crate) fn fits(filter: &Filter, terms: &SessionTerms<'_>, fitting: &Fitting, head: &Head<'_>, line: &[u8]) -> bool {
    if !filter.covers(head.time.0) {
        return false;
    }
    let session_fits = match head.session() {
        _ if terms.is_empty() => true,
        Some(session) => fitting.contains(session),
        None => fitting.contains("") && terms.fit(own_bits(terms, head, line)),
    };
    session_fits && fits_itself(filter, head, line)
}

/// What a record without a session says of identity: who used a control verb.
fn own_bits(terms: &SessionTerms<'_>, head: &Head<'_>, line: &[u8]) -> u32 {
    if &*head.type_word.0 != "operator" {
        return 0;
    }
    let uid = serde_json::from_slice::<RecordFields<'_>>(line).ok().and_then(|fields| fields.uid);
    uid.map_or(0, |uid| terms.bits(AttributeKind::Uid as u8, &uid.to_string()))
}

fn fits_itself(filter: &Filter, head: &Head<'_>, line: &[u8]) -> bool {
    let mut fields = None;
    filter.terms.iter().all(|Term { sense, condition }| {
        let holds = match condition {
            Condition::Attribute(_) => return true,
            Condition::Session(patterns) => {
                let mut sessions = [&head.session, &head.target].into_iter().flatten().peekable();
                match sessions.peek() {
                    None => patterns.iter().any(|pattern| pattern.fits_no_session(&head.type_word.0)),
                    Some(_) => sessions.any(|Str(session)| patterns.iter().any(|pattern| pattern.fits(session))),
                }
            }
            Condition::Type(words) => words.iter().any(|word| is_type(&head.type_word.0, word)),
            Condition::Sqlstate(codes) => {
                head.sqlstates().any(|state| codes.iter().any(|code| state.starts_with(&**code)))
            }
            Condition::Failed(failed) => match &*head.type_word.0 {
                "statement" => head.sqlstates().next().is_some() == *failed,
                "refused" => *failed,
                _ => false,
            },
            Condition::Aspect(wanted, values) => {
                let mut fits = false;
                aspect::of_record(head, |aspect, has| {
                    fits |= aspect == *wanted && values.iter().any(|value| value == has)
                });
                fits
            }
            Condition::Text(texts) if !texts.iter().any(|text| may_contain(line, text)) => false,
            other => {
                let fields = fields.get_or_insert_with(|| serde_json::from_slice(line).unwrap_or_default());
                fits_fields(other, head, fields)
            }
        };
        holds == (*sense == Sense::Is)
    })
}

/// Conditions that need more of the line than its head.
fn fits_fields(condition: &Condition, head: &Head<'_>, fields: &RecordFields<'_>) -> bool {
    match condition {
        Condition::Kind(kinds) => {
            let kind = fields.kind.as_ref().filter(|_| &*head.type_word.0 == "statement");
            kind.is_some_and(|Str(kind)| kinds.iter().any(|wanted| kind == wanted))
        }
        Condition::Text(texts) => {
            let parameters = fields.parameters.iter().flatten().filter_map(|parameter| parameter.value.as_ref());
            let messages = head.outcomes.iter().filter_map(|outcome| outcome.message.as_ref());
            let mut all = [&fields.text, &fields.message].into_iter().flatten().chain(parameters).chain(messages);
            all.any(|Str(text)| texts.iter().any(|wanted| contains(text.as_bytes(), wanted.as_bytes())))
        }
        Condition::Duration(comparison) => {
            let micros = match &*head.type_word.0 {
                "statement" => fields.latency_us,
                "session.close" => fields.duration_us,
                _ => None,
            };
            micros.is_some_and(|micros| comparison.holds(micros))
        }
        Condition::Rows(comparison) => {
            let rows = fields.rows_sent.filter(|_| &*head.type_word.0 == "statement");
            rows.is_some_and(|rows| comparison.holds(rows))
        }
        Condition::Session(_)
        | Condition::Attribute(_)
        | Condition::Type(_)
        | Condition::Sqlstate(_)
        | Condition::Aspect(..)
        | Condition::Failed(_) => false,
    }
}

/// `session.open` is `session.open` and `session`.
pub(crate) fn is_type(word: &str, wanted: &str) -> bool {
    word.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// False: the text is certainly not in the line. A text of plain characters stands in a line as it is.
fn may_contain(line: &[u8], text: &str) -> bool {
    let plain = text.bytes().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\' | b'/'));
    !plain || contains(line, text.as_bytes())
}

/// Whether `text` contains `lower`, ASCII letters in either case.
fn contains(text: &[u8], lower: &[u8]) -> bool {
    let Some(first) = lower.first() else { return true };
    let upper = first.to_ascii_uppercase();
    let starts = text.iter().enumerate().filter(|(_, byte)| **byte == *first || **byte == upper);
    starts
        .map(|(at, _)| at)
        .take_while(|at| at + lower.len() <= text.len())
        .any(|at| text.get(at..at + lower.len()).is_some_and(|window| window.eq_ignore_ascii_case(lower)))
}
