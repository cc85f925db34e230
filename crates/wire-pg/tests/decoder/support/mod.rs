//! Building streams, feeding them, and writing events down so that they can be compared with a text.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::cast_possible_truncation,
    reason = "shared by test binaries that use parts of it"
)]

pub mod client;
pub mod generate;
pub mod render;
pub mod server;

use model::time::BootTime;
use model::wire::{Input, Side, WireEvent};
use wire_pg::{Connection, Limits, Start};

/// One piece of a conversation, in the order in which the server saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    Bytes(Side, Vec<u8>),
    Skipped(Side, u8, u64, u64),
    Lost(Side, Option<u64>, Option<u64>),
}

pub fn c(messages: &[Vec<u8>]) -> Piece {
    Piece::Bytes(Side::Client, messages.concat())
}

pub fn s(messages: &[Vec<u8>]) -> Piece {
    Piece::Bytes(Side::Server, messages.concat())
}

/// A typed message.
pub fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend((body.len() as u32 + 4).to_be_bytes());
    bytes.extend(body);
    bytes
}

pub fn cstr(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.push(0);
    bytes
}

/// Feeds pieces, the first at time 1, the second at 2, ...; closes at the end.
pub fn run(start: Start, pieces: &[Piece]) -> Vec<WireEvent> {
    let mut connection = Connection::new(start, Limits::default());
    let mut events = Vec::new();
    feed(&mut connection, pieces, &mut |event| events.push(event));
    connection.close(BootTime(pieces.len() as u64 + 1), &mut |event| events.push(event));
    events
}

pub fn feed(connection: &mut Connection, pieces: &[Piece], sink: &mut dyn FnMut(WireEvent)) {
    for (index, piece) in pieces.iter().enumerate() {
        feed_at(connection, BootTime(index as u64 + 1), piece, sink);
    }
}

pub fn feed_at(connection: &mut Connection, at: BootTime, piece: &Piece, sink: &mut dyn FnMut(WireEvent)) {
    match piece {
        Piece::Bytes(side, bytes) => connection.feed(*side, at, Input::Bytes(bytes), sink),
        Piece::Skipped(side, kind, bytes, messages) => {
            let input = Input::Skipped { kind: *kind, bytes: *bytes, messages: *messages };
            connection.feed(*side, at, input, sink);
        }
        Piece::Lost(side, bytes, resume_in) => {
            connection.feed(*side, at, Input::Lost { bytes: *bytes, resume_in: *resume_in }, sink);
        }
    }
}

/// The events of a conversation, one a line, must be these.
#[track_caller]
pub fn check(start: Start, pieces: &[Piece], expect: &str) {
    let lines: Vec<String> = run(start, pieces).iter().map(render::event).collect();
    let expect: Vec<&str> = expect.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert!(lines == expect, "got:\n{}\nexpected:\n{}", lines.join("\n"), expect.join("\n"));
}

/// After a login that is over.
#[track_caller]
pub fn check_session(pieces: &[Piece], expect: &str) {
    let mut all = vec![c(&[client::startup("u", "d")]), s(&[server::auth(0), server::ready('I')])];
    all.extend_from_slice(pieces);
    let expect = format!(
        "encryption Plaintext\nstartup 3.0 user=u database=d\nauthenticated\n{}",
        expect.lines().map(str::trim).collect::<Vec<_>>().join("\n")
    );
    check(Start::FirstByte, &all, &expect);
}

/// Pieces with their times, one a line.
pub fn show(pieces: &[(u64, Piece)]) -> String {
    let line = |(at, piece): &(u64, Piece)| match piece {
        Piece::Bytes(side, bytes) => format!("{at} {side:?} {}\n", bytes.escape_ascii()),
        other => format!("{at} {other:?}\n"),
    };
    pieces.iter().map(line).collect()
}
