//! Takes secrets out of what Warder saw, before anything is kept: command lines and statements.
//!
//! Both directions of error exist and are not equal: a literal too much is an inconvenience, a password in a
//! record is a leak that we created ourselves. So the rule is *when in doubt, redact*: nothing here needs to
//! understand SQL or a shell completely, it only needs to see that it does not.
//!
//! What is not here: secrets in result rows (they are never captured) and in the authentication phase (it is
//! dropped in the kernel). A secret that nothing marks as one, as in `INSERT INTO notes VALUES ('hunter2')`,
//! cannot be recognised by anybody.
//!
//! Every pass is linear in its input, which may be hostile.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod argv;
mod assignment;
mod blank;
mod literal;
mod mark;
mod statement;
mod taint;
mod uri;

use model::statement::Statement;

/// What stands in the place of a secret.
pub const REPLACEMENT: &str = "***";

/// What stands in the place of an error message that may quote a secret. The SQLSTATE beside it is kept.
pub const WITHHELD_MESSAGE: &str = "message withheld: the statement may contain a secret";

/// How much of a command line is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ArgvPolicy {
    /// Nothing.
    None,
    /// All of it, with secrets replaced.
    #[default]
    Redacted,
    /// All of it, secrets included.
    Full,
}

/// What [`sql`] thinks of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// Nothing in the text speaks of a secret: it may be kept as it is.
    Plain,
    /// The text speaks of a secret. It may be kept in this form, which has no literals and no comments; the
    /// values bound to it and the messages it causes must not be kept.
    Tainted(String),
}

/// The arguments of a NUL-separated command line (`/proc/PID/cmdline`), lossy UTF-8.
///
/// A command line that does not end with NUL is taken as cut: its last argument may end inside a secret.
#[must_use]
pub fn arguments(raw: &[u8], policy: ArgvPolicy) -> Vec<String> {
    match policy {
        ArgvPolicy::None => Vec::new(),
        ArgvPolicy::Redacted => argv::redact(raw),
        ArgvPolicy::Full => argv::split(raw).map(|(argument, _)| argument).collect(),
    }
}

/// Judges a statement's text. Costs one pass and no allocation for a text that is plain.
#[must_use]
pub fn sql(text: &str) -> Judgement {
    if taint::is_tainted(text) { Judgement::Tainted(literal::replace(text)) } else { Judgement::Plain }
}

/// Takes out of a statement what may be a secret: literals and comments of its text, bound values, the error
/// messages that may quote them. Sets `redacted` where something was, or had to be taken as, withheld.
pub fn statement(statement: &mut Statement) {
    statement::redact(statement);
}
