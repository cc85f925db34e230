//! What is asked for, and on which terms it may be had.

use std::collections::BTreeSet;
use std::sync::Arc;

use model::access::{GrantId, Holder, Scope, StatementDigest};

/// Actions of one grant.
const ACTIONS_MAX: usize = 32;
/// Relations of one grant.
const RELATIONS_MAX: usize = 64;
/// Bytes of the names of all its relations.
const RELATIONS_BYTES_MAX: usize = 4 << 10;
/// Bytes of the name of an action, a relation or an SQL database: two identifiers, quoted.
const NAME_BYTES_MAX: usize = 260;
/// Bytes of a purpose or a reason.
pub const TEXT_BYTES_MAX: usize = 500;
/// Bytes of a ticket.
const TICKET_BYTES_MAX: usize = 100;

/// What somebody asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Who, and who has it then.
    pub holder: Holder,
    /// What it is to cover.
    pub scope: Scope,
    /// What for.
    pub purpose: Arc<str>,
    /// Ticket of another system.
    pub ticket: Option<Arc<str>>,
    /// For how long, in nanoseconds.
    pub duration: u64,
    /// One statement only.
    pub once: Option<StatementDigest>,
    /// At once, and looked at afterwards.
    pub break_glass: bool,
    /// An active grant of the same holder that it goes on with.
    pub renews: Option<GrantId>,
}

/// On which terms, by the policies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The policy (`@id`).
    pub rule: Arc<str>,
    /// Different people who must approve; 0: nobody.
    pub approvals: u8,
    /// Longest duration, in nanoseconds.
    pub duration_max: u64,
    /// How long a request waits for its decision, in nanoseconds.
    pub decide_within: u64,
    /// After how long others are asked, too, in nanoseconds.
    pub escalate_after: Option<u64>,
    /// How soon somebody must look at a broken glass, in nanoseconds; `None`: nobody must.
    pub review_within: Option<u64>,
}

/// What is wrong with what is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooMuch {
    /// The purpose.
    #[error("say what for (--purpose), in at most {TEXT_BYTES_MAX} bytes without line ends")]
    Purpose,
    /// The ticket.
    #[error("a ticket has 1 to {TICKET_BYTES_MAX} bytes without line ends")]
    Ticket,
    /// The reason.
    #[error("a reason has at most {TEXT_BYTES_MAX} bytes, without line ends")]
    Reason,
    /// The actions.
    #[error("name 1 to {ACTIONS_MAX} actions (--action)")]
    Actions,
    /// The relations.
    #[error(
        "name 1 to {RELATIONS_MAX} relations (--relation): schema.name, schema.* or *; in at most {RELATIONS_BYTES_MAX} bytes"
    )]
    Relations,
    /// The SQL database.
    #[error("an SQL database (--sql-database) has a name of 1 to {NAME_BYTES_MAX} bytes without line ends")]
    SqlDatabase,
    /// The duration.
    #[error("say for how long (--for): longer than nothing")]
    Duration,
}

impl Ask {
    /// Checks it against the limits.
    pub(crate) fn check(&self) -> Result<(), TooMuch> {
        let rules = [
            (is_line(&self.purpose, TEXT_BYTES_MAX), TooMuch::Purpose),
            (self.ticket.as_ref().is_none_or(|ticket| is_line(ticket, TICKET_BYTES_MAX)), TooMuch::Ticket),
            (are_names(&self.scope.actions, ACTIONS_MAX), TooMuch::Actions),
            (can_be_named(&self.scope.relations), TooMuch::Relations),
            (self.scope.sql_database.as_ref().is_none_or(|name| is_line(name, NAME_BYTES_MAX)), TooMuch::SqlDatabase),
            (self.duration > 0, TooMuch::Duration),
        ];
        rules.into_iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, what)| Err(what))
    }
}

/// Whether a request can name these relations; else it is for `*`.
#[must_use]
pub fn can_be_named(relations: &BTreeSet<Arc<str>>) -> bool {
    let bytes: usize = relations.iter().map(|name| name.len()).sum();
    are_names(relations, RELATIONS_MAX) && bytes <= RELATIONS_BYTES_MAX
}

fn are_names(names: &BTreeSet<Arc<str>>, max: usize) -> bool {
    (1..=max).contains(&names.len()) && names.iter().all(|name| is_line(name, NAME_BYTES_MAX))
}

/// One line that says something.
fn is_line(text: &str, bytes_max: usize) -> bool {
    !text.trim().is_empty() && text.len() <= bytes_max && !text.chars().any(char::is_control)
}

/// A reason; it may be empty.
pub(crate) fn reason(text: &str) -> Result<Arc<str>, TooMuch> {
    if text.is_empty() || is_line(text, TEXT_BYTES_MAX) { Ok(text.into()) } else { Err(TooMuch::Reason) }
}
