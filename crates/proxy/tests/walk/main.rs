//! The walk: what it tells is what the decoder needs, and no more.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "tests choose their numbers")]

mod fuzz_body;

use model::time::BootTime;
use model::wire::{Input, Side, WireEvent};
use proptest::prelude::*;
use proxy::Walk;
use wire_pg::{Connection, Limits, Start};

use fuzz_body::{Told, told};

const BOUND: u32 = 1 << 20;

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind][..], &(body.len() as u32 + 4).to_be_bytes(), body].concat()
}

/// One exchange: what the client sends, and what the server answers.
#[derive(Clone, Debug)]
struct Exchange {
    client: Vec<u8>,
    server: Vec<u8>,
}

fn simple(text: String, rows: Vec<Vec<u8>>) -> Exchange {
    let mut server = message(b'T', &[0, 0]);
    for row in &rows {
        server.extend(message(b'D', row));
    }
    server.extend(message(b'C', format!("SELECT {}\0", rows.len()).as_bytes()));
    server.extend(message(b'Z', b"I"));
    Exchange { client: message(b'Q', format!("{text}\0").as_bytes()), server }
}

fn extended(text: String, value: Vec<u8>, rows: Vec<Vec<u8>>, fails: bool) -> Exchange {
    let mut client = message(b'P', format!("\0{text}\0\0\0").as_bytes());
    let mut bind = vec![0, 0, 0, 0, 0, 1];
    bind.extend((value.len() as u32).to_be_bytes());
    bind.extend(&value);
    bind.extend([0, 0]);
    client.extend(message(b'B', &bind));
    client.extend(message(b'D', b"P\0"));
    client.extend(message(b'E', b"\0\0\0\0\0"));
    client.extend(message(b'S', b""));
    let mut server = [message(b'1', b""), message(b'2', b""), message(b'T', &[0, 0])].concat();
    for row in &rows {
        server.extend(message(b'D', row));
    }
    if fails {
        server.extend(message(b'E', b"SERROR\0VERROR\0C22012\0Mdivision by zero\0\0"));
    } else {
        server.extend(message(b'C', format!("SELECT {}\0", rows.len()).as_bytes()));
    }
    server.extend(message(b'Z', b"I"));
    Exchange { client, server }
}

fn copy_out(rows: Vec<Vec<u8>>) -> Exchange {
    let mut server = message(b'H', &[0, 0, 0]);
    for row in &rows {
        server.extend(message(b'd', row));
    }
    server.extend([message(b'c', b""), message(b'C', format!("COPY {}\0", rows.len()).as_bytes())].concat());
    server.extend(message(b'N', b"SNOTICE\0C00000\0Mhello\0\0"));
    server.extend(message(b'A', b"\0\0\0\x05channel\0the payload is not kept\0"));
    server.extend(message(b'Z', b"I"));
    Exchange { client: message(b'Q', b"copy t to stdout\0"), server }
}

/// COPY IN needs the server's go-ahead in between: two exchanges.
fn copy_in(rows: &[Vec<u8>]) -> [Exchange; 2] {
    let mut data = Vec::new();
    for row in rows {
        data.extend(message(b'd', row));
    }
    data.extend(message(b'c', b""));
    let done = [message(b'C', format!("COPY {}\0", rows.len()).as_bytes()), message(b'Z', b"I")].concat();
    [
        Exchange { client: message(b'Q', b"copy t from stdin\0"), server: message(b'G', &[0, 0, 0]) },
        Exchange { client: data, server: done },
    ]
}

fn opening() -> Exchange {
    let mut server = [message(b'R', &[0, 0, 0, 10, b'S', 0, 0]), message(b'R', &[0, 0, 0, 0])].concat();
    server.extend(message(b'S', b"TimeZone\0UTC\0"));
    server.extend(message(b'K', &[0, 0, 0, 9, 0xde, 0xad, 0xbe, 0xef]));
    server.extend(message(b'Z', b"I"));
    Exchange { client: message(b'p', b"the password"), server }
}

fn exchanges() -> impl Strategy<Value = Vec<Exchange>> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..200);
    let rows = || prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..6);
    let one = prop_oneof![
        ("[a-z ]{0,300}", rows()).prop_map(|(text, rows)| vec![simple(text, rows)]),
        ("[a-z ]{0,60}", bytes(), rows(), any::<bool>())
            .prop_map(|(text, value, rows, fails)| vec![extended(text, value, rows, fails)]),
        rows().prop_map(|rows| vec![copy_out(rows)]),
        rows().prop_map(|rows| copy_in(&rows).to_vec()),
    ];
    prop::collection::vec(one, 0..8).prop_map(|all| {
        let mut exchanges = vec![opening()];
        exchanges.extend(all.into_iter().flatten());
        exchanges
    })
}

fn startup() -> Vec<u8> {
    let body = b"user\0somebody\0\0";
    [&(body.len() as u32 + 8).to_be_bytes()[..], &[0, 3, 0, 0], body].concat()
}

/// A decoder that has seen the StartupMessage.
fn decoder(events: &mut Vec<WireEvent>) -> Connection {
    let mut connection = Connection::new(Start::FirstByte, Limits::default());
    connection.feed(Side::Client, BootTime(0), Input::Bytes(&startup()), &mut |event| events.push(event));
    connection
}

/// The status after a statement is known only if it came in the same input: that depends on the pieces.
fn without_status(mut events: Vec<WireEvent>) -> Vec<WireEvent> {
    for event in &mut events {
        if let WireEvent::Statement(statement) = event {
            statement.transaction_after = None;
        }
    }
    events
}

fn raw(exchanges: &[Exchange]) -> Vec<WireEvent> {
    let mut events = Vec::new();
    let mut connection = decoder(&mut events);
    for Exchange { client, server } in exchanges {
        connection.feed(Side::Client, BootTime(1), Input::Bytes(client), &mut |event| events.push(event));
        connection.feed(Side::Server, BootTime(1), Input::Bytes(server), &mut |event| events.push(event));
    }
    connection.close(BootTime(1), &mut |event| events.push(event));
    without_status(events)
}

fn walked(exchanges: &[Exchange], sizes: &[u8]) -> (Vec<WireEvent>, u64, u64) {
    let mut events = Vec::new();
    let mut connection = decoder(&mut events);
    let mut walks = [Walk::new(Side::Client, BOUND), Walk::new(Side::Server, BOUND)];
    let mut sizes = sizes.iter().cycle();
    let (mut asked, mut answered) = (1, 0);
    for Exchange { client, server } in exchanges {
        for (side, mut rest) in [(Side::Client, &client[..]), (Side::Server, &server[..])] {
            let walk = &mut walks[usize::from(side == Side::Server)];
            while !rest.is_empty() {
                let size = sizes.next().map_or(rest.len(), |size| usize::from(*size) + 1).min(rest.len());
                let (piece, after) = rest.split_at(size);
                rest = after;
                let walked = walk.walk(piece, &mut |input| {
                    connection.feed(side, BootTime(1), input, &mut |event| events.push(event));
                });
                match side {
                    Side::Client => asked += walked.cycles,
                    Side::Server => answered += walked.cycles,
                }
                if side == Side::Server && rest.is_empty() && server.ends_with(b"I") {
                    assert_eq!(walked.ready, Some(b'I'));
                }
            }
        }
    }
    connection.close(BootTime(1), &mut |event| events.push(event));
    (without_status(events), asked, answered)
}

proptest! {
    /// The decoder says the same whether it sees all bytes, or what the walk leaves of them in any pieces.
    #[test]
    fn the_decoder_misses_nothing(exchanges in exchanges(), sizes in prop::collection::vec(any::<u8>(), 1..20)) {
        let expected = raw(&exchanges);
        for sizes in [&sizes[..], &[], &[0]] {
            let (events, asked, answered) = walked(&exchanges, sizes);
            prop_assert_eq!(&events, &expected);
            prop_assert_eq!(asked, answered);
        }
    }

    /// Any bytes, in any pieces.
    #[test]
    fn fuzz(data in prop::collection::vec(any::<u8>(), 0..600)) {
        fuzz_body::run(&data);
    }

    /// Bytes that are nearly the protocol.
    #[test]
    fn fuzz_near_the_protocol(
        exchanges in exchanges(),
        server in any::<bool>(),
        head in any::<[u8; 3]>(),
        sizes in any::<[u8; 16]>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
    ) {
        let mut data = [&[u8::from(server), head[1], 15][..], &sizes[..15]].concat();
        let start = data.len();
        for exchange in &exchanges {
            data.extend(if server { &exchange.server } else { &exchange.client });
        }
        for (index, byte) in damage {
            let at = start + index.index(data.len() - start);
            data[at] = byte;
        }
        fuzz_body::run(&data);
    }
}

#[test]
fn secrets_and_rows_are_not_told() {
    let client = [message(b'p', b"the password"), message(b'd', b"a row"), message(b'Q', b"select 1\0")].concat();
    let all = told(Side::Client, BOUND, &client, &[]);
    let query = Told::Bytes(message(b'Q', b"select 1\0"));
    assert_eq!(all, [Told::Skipped(b'p', 17, 1), Told::Skipped(b'd', 10, 1), query]);
    let server = [message(b'R', &[0, 0, 0, 5, 1, 2, 3, 4]), message(b'K', &[0, 0, 0, 9, 5, 6, 7, 8])].concat();
    let expected = [
        Told::Bytes(server[..9].to_vec()),
        Told::Skipped(b'R', 4, 0),
        Told::Bytes(server[13..22].to_vec()),
        Told::Skipped(b'K', 4, 0),
    ];
    assert_eq!(told(Side::Server, BOUND, &server, &[]), expected);
}

#[test]
fn long_messages_are_told_up_to_the_bound() {
    let query = message(b'Q', &[b'x'; 100]);
    let expected = [Told::Bytes(query[..15].to_vec()), Told::Skipped(b'Q', 90, 0)];
    assert_eq!(told(Side::Client, 10, &query, &[]), expected);
    assert_eq!(told(Side::Client, 10, &query, &[6]), expected);
}

#[test]
fn several_rows_are_one_record() {
    let rows = message(b'D', b"row").repeat(50);
    let mut inputs = 0;
    let walked = Walk::new(Side::Server, BOUND).walk(&rows, &mut |input| {
        assert_eq!(input, Input::Skipped { kind: b'D', bytes: 400, messages: 50 });
        inputs += 1;
    });
    assert_eq!((inputs, walked.messages), (1, 50));
}

#[test]
fn impossible_lengths_and_types_are_lost_once() {
    for bytes in [&b"Q\0\0\0\x03"[..], b"Q\x40\0\0\0", b"\x01", b"y\0\0\0\x04"] {
        let twice = [bytes, b"Q\0\0\0\x04"].concat();
        let all = told(Side::Client, BOUND, &twice, &[]);
        assert_eq!(all.last(), Some(&Told::Lost), "{bytes:?}");
    }
}
