//! What a replay came to, in numbers and samples. Every list has a bound, and what is beyond it is counted.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::verdict::Denial;
use store::form::statement::StatementForm;

use super::past::Past;
use crate::terminal::shorten;

/// Rules, and principals, that are told apart.
const NAMES_MAX: usize = 1000;
/// Groups of differences that are told apart.
const GROUPS_MAX: usize = 1000;
/// Columns of a sample's text.
const SAMPLE_COLUMNS: usize = 160;
/// In the place of names beyond the bound.
const OTHERS: &str = "(others)";

/// What came of one question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Came {
    /// It would have been permitted, by these.
    Permitted(Vec<Arc<str>>),
    /// It would have been refused.
    Refused(Denial),
    /// Nobody can tell.
    Undecidable(Undecidable),
}

/// Why nobody can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Undecidable {
    Redacted,
    Truncated,
    TextLost,
    PreparedBySql,
    NotRecorded,
    Login,
    Session,
}

impl Undecidable {
    /// In words.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Redacted => "redacted",
            Self::Truncated => "truncated",
            Self::TextLost => "text_not_known",
            Self::PreparedBySql => "prepared_by_sql",
            Self::NotRecorded => "policy_reads_what_is_not_recorded",
            Self::Login => "login_not_seen",
            Self::Session => "session_not_recorded",
        }
    }
}

/// What was done at the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Was {
    /// Nobody decided: it went around the proxy, or there were no policies.
    Undecided,
    Permitted,
    WouldRefuse,
    Refused,
}

impl Was {
    pub(super) fn of(form: &StatementForm<'_>) -> Self {
        match form.verdict.as_ref().map(|verdict| &*verdict.decision) {
            Some("allowed") => Self::Permitted,
            Some("refused") => Self::Refused,
            Some("would_refuse") => Self::WouldRefuse,
            _ => Self::Undecided,
        }
    }

    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Undecided => "not_decided",
            Self::Permitted => "permitted",
            Self::WouldRefuse => "would_refuse",
            Self::Refused => "refused",
        }
    }
}

/// Numbers of one kind of question.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Would have been permitted.
    pub permitted: u64,
    /// Would have been refused.
    pub refused: u64,
    /// Nobody can tell.
    pub undecidable: u64,
}

impl Counts {
    pub(super) fn add(&mut self, came: &Came) {
        match came {
            Came::Permitted(_) => self.permitted += 1,
            Came::Refused(_) => self.refused += 1,
            Came::Undecidable(_) => self.undecidable += 1,
        }
    }

    /// All of them.
    #[must_use]
    pub const fn all(&self) -> u64 {
        self.permitted + self.refused + self.undecidable
    }
}

/// Statements that would have come out differently, in the same way and for the same principal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Group {
    pub(super) was: Was,
    /// The rule that would refuse; `None`: it would have been permitted.
    pub(super) rule: Option<Arc<str>>,
    pub(super) principal: Arc<str>,
}

/// How many, and the first of them.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) count: u64,
    pub(super) seq: u64,
    pub(super) session: String,
    pub(super) what: Arc<str>,
    pub(super) text: String,
}

/// What a replay came to.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Openings of sessions.
    pub openings: Counts,
    /// Statements.
    pub statements: Counts,
    /// Statements of databases that have no policies.
    pub without_policies: u64,
    /// Lines of the journal that are no records.
    pub damaged: u64,
    /// Why, for those that nobody can tell.
    pub(super) undecidable: BTreeMap<&'static str, u64>,
    /// By how they came: `mediated`, `bypass`.
    pub(super) classes: BTreeMap<Arc<str>, Counts>,
    /// By the rules that permit or refuse.
    pub(super) rules: BTreeMap<Arc<str>, Counts>,
    pub(super) principals: BTreeMap<Arc<str>, Counts>,
    pub(super) differences: BTreeMap<Group, Sample>,
    /// Differences in groups beyond the bound.
    pub(super) differences_beyond: u64,
}

impl Tally {
    /// How many statements would have come out differently.
    #[must_use]
    pub fn different(&self) -> u64 {
        self.differences.values().map(|sample| sample.count).sum::<u64>() + self.differences_beyond
    }

    /// A statement of a session of which there is no record.
    pub(super) fn add_unknown_session(&mut self) {
        self.statements.undecidable += 1;
        *self.undecidable.entry(Undecidable::Session.word()).or_default() += 1;
    }

    /// A statement.
    pub(super) fn add(&mut self, past: &Past, form: &StatementForm<'_>, was: Was, came: &Came, seq: u64) {
        let principal = who(past);
        self.statements.add(came);
        count(&mut self.classes, &past.class).add(came);
        count(&mut self.principals, &principal).add(came);
        match came {
            Came::Permitted(rules) => rules.iter().for_each(|rule| count(&mut self.rules, rule).add(came)),
            Came::Refused(denial) => count(&mut self.rules, &denial.rule).add(came),
            Came::Undecidable(reason) => *self.undecidable.entry(reason.word()).or_default() += 1,
        }
        let (rule, what) = match (came, was) {
            (Came::Permitted(_), Was::Refused | Was::WouldRefuse) => (None, Arc::default()),
            (Came::Refused(denial), Was::Permitted | Was::Undecided) => {
                (Some(Arc::clone(&denial.rule)), Arc::clone(&denial.what))
            }
            _ => return,
        };
        self.differs(Group { was, rule, principal }, what, form, seq);
    }

    fn differs(&mut self, group: Group, what: Arc<str>, form: &StatementForm<'_>, seq: u64) {
        if let Some(sample) = self.differences.get_mut(&group) {
            sample.count += 1;
        } else if self.differences.len() < GROUPS_MAX {
            let session = form.session.to_string();
            let text = form.text.as_deref().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
            let text = shorten(&text, SAMPLE_COLUMNS).into_owned();
            self.differences.insert(group, Sample { count: 1, seq, session, what, text });
        } else {
            self.differences_beyond += 1;
        }
    }
}

/// Counts under a name, or under that of all others.
fn count<'a>(counts: &'a mut BTreeMap<Arc<str>, Counts>, name: &Arc<str>) -> &'a mut Counts {
    let is_room = counts.len() < NAMES_MAX || counts.contains_key(name);
    counts.entry(if is_room { Arc::clone(name) } else { Arc::from(OTHERS) }).or_default()
}

/// `agent helper for person alice@example.com`, or why it is not known.
fn who(past: &Past) -> Arc<str> {
    match &past.principal {
        model::Known::Known(principal) => {
            let all = std::iter::once(&principal.actor).chain(&principal.acting_for);
            let all: Vec<_> = all.map(|actor| format!("{} {}", actor.kind.word(), actor.id)).collect();
            all.join(" for ").into()
        }
        model::Known::Unknown(reason) => format!("unknown: {}", reason.word()).into(),
    }
}
