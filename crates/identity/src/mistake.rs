//! What is wrong with a configuration.

/// One mistake: where it is, what is wrong, what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {key}: {text}")]
pub struct ConfigError {
    /// Which table, with its name where it has one: `identity.issuer "okta"`.
    pub place: String,
    /// The key in it.
    pub key: &'static str,
    /// What is wrong with it, and what to do.
    pub text: String,
}

/// A mistake whose place the caller knows.
#[derive(Debug)]
pub(crate) struct Mistake {
    key: &'static str,
    text: String,
}

impl Mistake {
    pub(crate) fn new(key: &'static str, text: impl Into<String>) -> Self {
        Self { key, text: text.into() }
    }

    pub(crate) fn at(self, place: String) -> ConfigError {
        ConfigError { place, key: self.key, text: self.text }
    }
}
