//! What decoding a statement and its answer costs: `cargo bench -p wire-pg --bench statement`. Prints, asserts nothing.

#![expect(clippy::disallowed_methods, reason = "a measurement needs a clock")]

#[path = "../tests/decoder/support/mod.rs"]
mod support;

use std::time::Instant;

use model::time::BootTime;
use model::wire::{Input, Side};
use support::{c, client, feed, s, server};
use wire_pg::{Connection, Limits, Start};

const ROUNDS: u32 = 2_000_000;

fn main() {
    let row = [server::row("12345"), server::complete("SELECT 1"), server::ready('I')].concat();
    let text = "SELECT abalance FROM pgbench_accounts WHERE aid = 54321;";
    let simple = (client::query(text), [server::row_description(), row.clone()].concat());
    let rest = |name| {
        let bind = client::bind_text(name, &["54321"]);
        [bind, client::describe('P', ""), client::execute("", 0), client::sync()].concat()
    };
    let answer = [server::bound(), server::row_description(), row].concat();
    let unnamed = [client::parse("", text, &[]), rest("")].concat();
    for (name, ask, answer) in [
        ("simple", simple.0, simple.1),
        ("named", rest("P_2"), answer.clone()),
        ("unnamed", unnamed, [server::parsed(), answer].concat()),
    ] {
        println!("wire-pg: {name}: {} ns a statement (budget: 500)", measure(&ask, &answer));
    }
}

fn measure(ask: &[u8], answer: &[u8]) -> u128 {
    let mut connection = Connection::new(Start::FirstByte, Limits::default());
    let opening = [
        c(&[client::startup("u", "d")]),
        s(&[server::auth(0), server::ready('I')]),
        c(&[client::parse("P_2", "SELECT abalance FROM pgbench_accounts WHERE aid = $1;", &[]), client::sync()]),
        s(&[server::parsed(), server::ready('I')]),
    ];
    feed(&mut connection, &opening, &mut |_| ());
    let mut events = 0_u32;
    let begin = Instant::now();
    for round in 0..ROUNDS {
        let at = BootTime(round.into());
        connection.feed(Side::Client, at, Input::Bytes(ask), &mut |_| events += 1);
        connection.feed(Side::Server, at, Input::Bytes(answer), &mut |_| events += 1);
    }
    assert_eq!(events, ROUNDS);
    begin.elapsed().as_nanos() / u128::from(ROUNDS)
}
