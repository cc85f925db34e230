//! Which sessions a person means: a whole id, the beginning of one, or the bare cookie.

use crate::form::identity::SessionText;

/// A choice of sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionSelector {
    choice: Choice,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Choice {
    /// What somebody typed, in lower case.
    Typed(String),
    /// This one and no other, even if its id is the beginning of another's.
    Exactly(SessionText),
}

/// How well a session fits a selector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fit {
    /// The id begins with the text.
    Prefix,
    /// The text is the cookie, or the whole id.
    Exact,
}

impl SessionSelector {
    /// A selector from what was typed. Any text is allowed; it may fit nothing.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self { choice: Choice::Typed(text.to_ascii_lowercase()) }
    }

    /// The selector that fits one session and no other.
    #[must_use]
    pub fn exactly(session: SessionText) -> Self {
        Self { choice: Choice::Exactly(session) }
    }

    /// Whether, and how well, `session` is meant.
    #[must_use]
    pub fn fit(&self, session: &SessionText) -> Option<Fit> {
        match &self.choice {
            Choice::Exactly(only) => (only == session).then_some(Fit::Exact),
            Choice::Typed(text) if session.as_str() == text || session.cookie() == text => Some(Fit::Exact),
            Choice::Typed(text) => session.as_str().starts_with(&**text).then_some(Fit::Prefix),
        }
    }
}
