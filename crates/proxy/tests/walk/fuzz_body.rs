//! What must hold for any bytes in any pieces. Shared with the fuzz target `proxy_walk`.

use model::wire::{Input, Side};
use proxy::Walk;

/// What was told, as if it had come in one piece.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Bytes(Vec<u8>),
    Skipped(u8, u64, u64),
    Lost,
}

/// Reads the data as a side, a bound, sizes of pieces, and bytes.
pub(crate) fn run(data: &[u8]) {
    let Some((&[side, bound, sizes, ..], bytes)) = data.split_at_checked(3) else { return };
    let side = if side % 2 == 0 { Side::Client } else { Side::Server };
    let (sizes, bytes) = bytes.split_at(bytes.len().min(usize::from(sizes % 16)));
    let whole = told(side, u32::from(bound), bytes, &[]);
    assert_eq!(told(side, u32::from(bound), bytes, sizes), whole);
    let passwords = whole.iter().any(|told| matches!(told, Told::Skipped(b'p', ..)));
    assert!(!passwords || side == Side::Client || !bytes.is_empty());
}

/// Walks bytes in pieces of these sizes (over and over; none: all at once).
pub(crate) fn told(side: Side, bound: u32, bytes: &[u8], sizes: &[u8]) -> Vec<Told> {
    let mut walk = Walk::new(side, bound);
    let mut all = Vec::new();
    let mut rest = bytes;
    let mut sizes = sizes.iter().cycle();
    let mut accounted = 0;
    let mut messages = 0;
    while !rest.is_empty() {
        let size = sizes.next().map_or(rest.len(), |size| usize::from(*size) + 1).min(rest.len());
        let (piece, after) = rest.split_at(size);
        rest = after;
        let lost = walk.is_lost();
        let mut times = 0;
        let walked = walk.walk(piece, &mut |input| {
            times += 1;
            accounted += add(&mut all, input);
        });
        messages += walked.messages;
        assert!(lost || times > 0, "a piece of which nothing was told");
        assert_eq!(walked.broken, !lost && walk.is_lost());
    }
    // All that is not told is a header of less than five bytes, or what followed the loss.
    let left = bytes.len() as u64 - accounted;
    assert!(walk.is_lost() || left < 5, "{left} bytes not accounted for");
    assert!(messages <= bytes.len() as u64 / 5);
    all.retain(|told| !matches!(told, Told::Skipped(_, 0, 0)));
    merged(all)
}

fn add(all: &mut Vec<Told>, input: Input<'_>) -> u64 {
    match input {
        Input::Bytes(bytes) => {
            all.push(Told::Bytes(bytes.to_vec()));
            bytes.len() as u64
        }
        Input::Skipped { kind, bytes, messages } => {
            all.push(Told::Skipped(kind, bytes, messages));
            bytes
        }
        Input::Lost { .. } => {
            all.push(Told::Lost);
            0
        }
    }
}

fn merged(all: Vec<Told>) -> Vec<Told> {
    let mut merged: Vec<Told> = Vec::new();
    for told in all {
        match (merged.last_mut(), told) {
            (Some(Told::Bytes(before)), Told::Bytes(bytes)) => before.extend(bytes),
            (Some(Told::Skipped(before, bytes, messages)), Told::Skipped(kind, more, begun)) if *before == kind => {
                *bytes += more;
                *messages += begun;
            }
            (_, told) => merged.push(told),
        }
    }
    merged
}
