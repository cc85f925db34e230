//! How much a record matters, in one scale for all formats.

use store::form::event::Event;
use store::form::judgement::VerdictForm;

/// From ordinary to alarming.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Severity {
    Information,
    /// A statement failed, was refused or would have been; a session was refused.
    Warning,
    /// Something was not observed, or evidence is missing.
    Error,
    /// A session got around the proxy, or the two witnesses disagree.
    Critical,
}

impl Severity {
    /// The severity of a record. `type_word` counts where this version does not know the type.
    pub(crate) fn of(event: &Event, type_word: &str) -> Self {
        match event {
            Event::Statement(statement) => {
                let failed = statement.outcomes.iter().any(|outcome| outcome.sqlstate.is_some());
                if failed || is_denied(statement.verdict.as_deref()) { Self::Warning } else { Self::Information }
            }
            Event::Request(request) if is_denied(request.verdict.as_deref()) => Self::Warning,
            Event::Refused(_) | Event::BypassRefused(_) => Self::Warning,
            // It was there before the steering: known, and left alone on purpose.
            Event::Bypass(form) if form.reason == "before_steering" => Self::Warning,
            Event::Bypass(_) | Event::Integrity(_) => Self::Critical,
            // Nobody has looked at a broken glass in time.
            Event::Access(form) if form.change == "review_overdue" => Self::Critical,
            Event::Credential(form) if matches!(&*form.step, "orphan" | "stuck") => Self::Error,
            Event::Credential(form) if form.step == "failed" => Self::Warning,
            Event::Gap(_) | Event::Loss(_) | Event::SessionGap(_) => Self::Error,
            _ if type_word == "journal.recovered" => Self::Warning,
            _ => Self::Information,
        }
    }

    /// RFC 5424, table 2.
    pub(crate) const fn syslog(self) -> u8 {
        match self {
            Self::Information => 6,
            Self::Warning => 4,
            Self::Error => 3,
            Self::Critical => 2,
        }
    }

    /// OCSF `severity_id`.
    pub(crate) const fn ocsf(self) -> u8 {
        match self {
            Self::Information => 1,
            Self::Warning => 2,
            Self::Error => 4,
            Self::Critical => 5,
        }
    }
}

/// A rule forbids it, whether or not that was enforced.
fn is_denied(verdict: Option<&VerdictForm<'_>>) -> bool {
    verdict.is_some_and(|verdict| verdict.rule.is_some())
}
