//! What must hold for any text: no panic, a second time changes nothing, the bounds. Shared with the fuzz target of the
//! same name.

use std::sync::Arc;

use model::statement::Text;
use redact::Judgement;
use redact::fingerprint::{KEY_BYTES, Key};
use redact::policy::Mode;

/// A mark and what surrounds it, for every byte, and a text that is withheld.
const GROWTH: usize = 24;

/// Reads the data as a text.
pub(crate) fn run(data: &[u8]) {
    let key = Key::new(&[7; KEY_BYTES]);
    let given = Text::Whole(Arc::from(String::from_utf8_lossy(data)));
    let once = redact::text_in_mode(&given, Mode::Literals, &key);
    let twice = redact::text_in_mode(&once, Mode::Literals, &key);
    // What takes out secrets may take out more at a second time, where the text is no SQL.
    if redact::sql(&String::from_utf8_lossy(data)) == Judgement::Plain {
        assert_eq!(once, twice, "a second time");
    }
    let (Text::Whole(before), Text::Whole(after)) = (&given, &once) else {
        return;
    };
    assert!(after.len() <= (before.len() + 2) * GROWTH, "{} bytes from {}", after.len(), before.len());
}
