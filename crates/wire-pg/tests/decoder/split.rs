//! How a stream is cut into inputs must not matter.

use model::statement::{Ending, StatementKind};
use model::wire::WireEvent;
use proptest::prelude::*;

use crate::support::generate::{Habit, Random, play, script};
use crate::support::{Piece, feed_at, render};
use model::time::BootTime;
use wire_pg::{Connection, Limits, Start};

/// Events of pieces that each have a time.
pub(crate) fn events(start: Start, pieces: &[(u64, Piece)]) -> Vec<WireEvent> {
    let mut connection = Connection::new(start, Limits::default());
    let mut events = Vec::new();
    for (at, piece) in pieces {
        feed_at(&mut connection, BootTime(*at), piece, &mut |event| events.push(event));
    }
    connection.close(BootTime(u64::MAX), &mut |event| events.push(event));
    events
}

pub(crate) fn timed(pieces: Vec<Piece>) -> Vec<(u64, Piece)> {
    (1..).zip(pieces).collect()
}

/// Cuts pieces at random; the parts keep the time of the whole.
pub(crate) fn cut(pieces: &[(u64, Piece)], random: &mut Random, bytes_max: u64) -> Vec<(u64, Piece)> {
    let mut parts = Vec::new();
    for (at, piece) in pieces {
        let Piece::Bytes(side, bytes) = piece else {
            parts.push((*at, piece.clone()));
            continue;
        };
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (part, later) = rest.split_at(rest.len().min(1 + random.below(bytes_max) as usize));
            parts.push((*at, Piece::Bytes(*side, part.to_vec())));
            rest = later;
        }
    }
    parts
}

/// `transaction_after` of the extended protocol depends on the input by design.
pub(crate) fn lines(events: Vec<WireEvent>) -> Vec<String> {
    let mask = |mut event: WireEvent| {
        if let WireEvent::Statement(statement) = &mut event
            && (statement.kind != StatementKind::Simple || statement.ending != Ending::Answered)
        {
            statement.transaction_after = None;
        }
        render::event(&event)
    };
    events.into_iter().map(mask).collect()
}

/// Without times, and without what depends on them.
fn timeless(events: Vec<WireEvent>) -> Vec<String> {
    let mask = |mut event: WireEvent| {
        if let WireEvent::Statement(statement) = &mut event {
            statement.started = BootTime(0);
            statement.finished = statement.finished.map(|_| BootTime(0));
            statement.copy_bytes = 0;
        }
        event
    };
    lines(events.into_iter().map(mask).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn any_split_gives_the_same_events(seed: u64, length in 1_usize..60, bytes_max in 1_u64..40) {
        let pieces = timed(play(&script(Habit::Wild, seed, length), seed));
        let whole = lines(events(Start::FirstByte, &pieces));
        prop_assert!(whole.iter().all(|line| !line.starts_with("violation") && !line.ends_with("Lost")), "{whole:#?}");
        let parts = cut(&pieces, &mut Random::new(seed), bytes_max);
        prop_assert_eq!(lines(events(Start::FirstByte, &parts)), whole);
    }

    #[test]
    fn any_order_that_keeps_causes_before_effects_gives_the_same_events(seed: u64, other: u64, length in 1_usize..60) {
        let script = script(Habit::Wild, seed, length);
        let one = timeless(events(Start::FirstByte, &timed(play(&script, seed))));
        let two = timeless(events(Start::FirstByte, &timed(play(&script, other))));
        let statements = |lines: Vec<String>| {
            let (statements, others): (Vec<_>, Vec<_>) = lines.into_iter().partition(|line| line.contains('['));
            (statements, others)
        };
        prop_assert_eq!(statements(one), statements(two));
    }
}
