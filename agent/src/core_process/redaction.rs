//! What is taken out of statements before anything else sees them: secrets always, values where the configuration says so.

use anyhow::{Context as _, Result};
use model::request::Request;
use model::session::Session;
use model::statement::{Statement, Text};
use model::wire::WireEvent;
use redact::Judgement;
use redact::fingerprint::Key;
use redact::policy::{Mode, Policy, Scope};

use crate::config::Redaction as Config;
use crate::key_file;

/// Policy and key; without a key no value is replaced.
pub(super) struct Redaction {
    values: Option<(Policy, Key)>,
}

impl Redaction {
    pub(super) fn new(config: &Config) -> Result<Self> {
        let policy = config.policy().context("the kernel process passed an unknown mode of redaction")?;
        if policy.is_none() {
            return Ok(Self { values: None });
        }
        Ok(Self { values: Some((policy, key_file::load_or_create(&config.key_file)?)) })
    }

    /// Redacts a statement of this session; `None`: the session is not known (any more).
    pub(super) fn statement(&self, session: Option<&Session>, statement: &mut Statement) {
        match self.mode(session) {
            (Mode::None, _) | (_, None) => redact::statement(statement),
            (mode, Some(key)) => redact::statement_in_mode(statement, mode, key),
        }
    }

    /// Redacts a request of this session likewise.
    pub(super) fn request(&self, session: Option<&Session>, request: &mut Request) {
        match self.mode(session) {
            (Mode::None, _) | (_, None) => redact::request(request),
            (mode, Some(key)) => redact::request_in_mode(request, mode, key),
        }
    }

    /// Redacts what a decoder says of this session.
    pub(super) fn event(&self, session: Option<&Session>, event: &mut WireEvent) {
        match event {
            WireEvent::Statement(statement) => self.statement(session, statement),
            WireEvent::Requested(request) => self.request(session, request),
            _ => {}
        }
    }

    /// The text of a running statement as it may be shown; empty where it is not known.
    pub(super) fn running(&self, session: &Session, text: &Text) -> String {
        let replaced;
        let text = match self.mode(Some(session)) {
            (Mode::None, _) | (_, None) => text,
            (mode, Some(key)) => {
                replaced = redact::text_in_mode(text, mode, key);
                &replaced
            }
        };
        let (Text::Whole(text) | Text::Truncated { beginning: text, .. }) = text else { return String::new() };
        match redact::sql(text) {
            Judgement::Plain => text.to_string(),
            Judgement::Tainted(redacted) => redacted,
        }
    }

    fn mode(&self, session: Option<&Session>) -> (Mode, Option<&Key>) {
        let Some((policy, key)) = &self.values else { return (Mode::None, None) };
        let scope = Scope {
            database: session.map_or("", |session| &session.database_name),
            role: session.and_then(|session| session.login.user.as_deref()),
        };
        (policy.mode(&scope), Some(key))
    }
}
