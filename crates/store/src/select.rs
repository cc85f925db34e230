//! Which sessions a person means: a whole id, the beginning of one, or the bare cookie.

use crate::form::identity::SessionText;

/// A choice of sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionSelector {
    text: String,
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
        Self { text: text.to_ascii_lowercase() }
    }

    /// The selector that fits exactly one session.
    #[must_use]
    pub fn exactly(session: SessionText) -> Self {
        Self { text: session.as_str().to_owned() }
    }

    /// Whether, and how well, `session` is meant.
    #[must_use]
    pub fn fit(&self, session: &SessionText) -> Option<Fit> {
        if session.as_str() == self.text || session.cookie() == self.text {
            return Some(Fit::Exact);
        }
        session.as_str().starts_with(&*self.text).then_some(Fit::Prefix)
    }
}
