//! Any bytes in any state: facts come, and are the same when they come from the cache. Shared with `fuzz/`.

use std::sync::Arc;

use model::Known;
use sql::catalogue::Catalogue;
use sql::state::{Encoding, State};
use sql::{Analyser, Limits};

/// The first byte picks the state.
pub(crate) fn run(data: &[u8]) {
    let Some((switches, text)) = data.split_first() else { return };
    let state = State {
        search_path: Known::Known(Arc::from([Arc::from("public")])),
        standard_conforming_strings: switches & 1 == 0,
        encoding: match switches >> 1 & 3 {
            0 | 3 => Encoding::Utf8,
            1 => Encoding::Latin1,
            _ => Encoding::SqlAscii,
        },
        server_major: (switches & 8 == 0).then_some(15),
        ..State::new(Arc::from("fuzz"))
    };
    let mut analyser = Analyser::new(Limits::default());
    let first = analyser.facts(text, &state, &Catalogue::none());
    let cached = analyser.facts(text, &state, &Catalogue::none());
    assert_eq!(first, cached);
    assert!(first.opaque.is_none() || first.statements.is_empty());
}
