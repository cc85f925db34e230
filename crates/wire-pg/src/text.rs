//! Bytes of the stream as text.

use std::sync::Arc;

use model::statement::Text;

/// What is kept of a statement's text once waiting requests use up their memory.
pub(crate) const SHORT_TEXT_BYTES: usize = 1 << 10;

/// Lossy UTF-8. The empty string allocates nothing.
pub(crate) fn shared(bytes: &[u8]) -> Arc<str> {
    if bytes.is_empty() { Arc::default() } else { Arc::from(&*String::from_utf8_lossy(bytes)) }
}

/// Lossy UTF-8, at most `bytes_max` of input.
pub(crate) fn owned(bytes: &[u8], bytes_max: usize) -> String {
    String::from_utf8_lossy(bytes.get(..bytes_max).unwrap_or(bytes)).into_owned()
}

/// A text of which `captured` was seen and which is `bytes` long.
pub(crate) fn statement(captured: &[u8], bytes: u64, room: usize) -> Text {
    match captured.get(..room) {
        Some(beginning) if room < captured.len() => Text::Truncated { beginning: shared(beginning), bytes },
        _ if (captured.len() as u64) < bytes => Text::Truncated { beginning: shared(captured), bytes },
        _ => Text::Whole(shared(captured)),
    }
}

/// Heap bytes of a text.
pub(crate) fn retained(text: &Text) -> usize {
    match text {
        Text::Whole(text) => text.len(),
        Text::Truncated { beginning, .. } => beginning.len(),
        Text::Unknown(_) => 0,
    }
}
