//! Values replaced by fingerprints.

mod fuzz;
mod fuzz_body;
mod literals;
mod properties;
mod statements;

use std::sync::Arc;

use model::statement::Text;
use redact::fingerprint::{KEY_BYTES, Key};
use redact::policy::Mode;

/// A key for tests.
fn key() -> Key {
    Key::new(&[7; KEY_BYTES])
}

/// The text as it is recorded in mode `literals`.
fn replaced(text: &str) -> String {
    match redact::text_in_mode(&Text::Whole(Arc::from(text)), Mode::Literals, &key()) {
        Text::Whole(text) => text.to_string(),
        other => format!("{other:?}"),
    }
}

/// Whether nothing of the text was kept.
fn is_withheld(text: &str) -> bool {
    text.strip_prefix("withheld 'fp:").is_some_and(|rest| rest.len() == 17 && rest.ends_with('\''))
}
