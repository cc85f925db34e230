//! Takes secrets out of what Warder saw, before anything is kept: command lines and statements.
//!
//! Both directions of error exist and are not equal: a literal too much is an inconvenience, a password in a
//! record is a leak that we created ourselves. So the rule is *when in doubt, redact*: nothing here needs to
//! understand SQL or a shell completely, it only needs to see that it does not.
//!
//! What is not here: secrets in result rows (they are never captured) and in the authentication phase (it is
//! dropped in the kernel). A secret that nothing marks as one, as in `INSERT INTO notes VALUES ('hunter2')`,
//! cannot be recognised by anybody. Who has such values configures that all of them are replaced by fingerprints
//! (`docs/redaction.md`).
//!
//! Every pass is linear in its input, which may be hostile.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod argv;
mod assignment;
mod blank;
pub mod fingerprint;
mod issued;
mod literal;
mod mark;
mod number;
pub mod policy;
mod pseudonym;
mod quoted;
mod request;
mod statement;
mod taint;
mod text;
mod uri;

use fingerprint::Key;
use model::request::Request;
use model::statement::{Statement, Text};
use policy::Mode;
use pseudonym::Judged;

/// What stands in the place of a secret.
pub const REPLACEMENT: &str = "***";

/// What stands in the place of a comment.
const COMMENT: &str = "/*…*/";

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

/// Takes secrets out of a statement as [`statement()`] does, and then replaces its values by fingerprints, as far as the
/// mode says. Error messages may quote any value: in every mode but [`Mode::None`] they are withheld.
///
/// A second time in the same mode changes nothing more than [`statement()`] itself would.
pub fn statement_in_mode(statement: &mut Statement, mode: Mode, key: &Key) {
    let taint = statement::redact(statement);
    pseudonym::replace(statement, mode, taint, key);
}

/// Takes out of a request what may be a secret, as [`statement()`] does. Values are withheld also where it is in doubt
/// which text they are bound to.
pub fn request(request: &mut Request) {
    request::redact(request);
}

/// Takes secrets out of a request as [`request()`] does, and then replaces values as the mode says. Where literals are
/// replaced its text is withheld as a whole: only the answer tells whether the server reads the text as we would.
pub fn request_in_mode(request: &mut Request, mode: Mode, key: &Key) {
    let taint = request::redact(request);
    pseudonym::replace_request(request, mode, taint, key);
}

/// The text alone of a statement whose outcome is not known yet, as [`statement_in_mode`] leaves it.
#[must_use]
pub fn text_in_mode(text: &Text, mode: Mode, key: &Key) -> Text {
    let mut text = text.clone();
    let taint = statement::redact_text(&mut text);
    if mode.covers_literals() {
        pseudonym::replace_text(&mut text, Judged::NotRefused, taint, key);
    }
    text
}
