//! Requests, said before their answers.

use std::collections::HashMap;

use model::request::Request;
use model::statement::{Statement, StatementKind, Text};
use model::time::BootTime;
use model::wire::{Input, Side, WireEvent};
use proptest::prelude::*;
use wire_pg::{Connection, Limits, Start};

use crate::split::{cut, timed};
use crate::support::generate::{Habit, Random, play, script};
use crate::support::{Piece, c, client, feed_at, render, s, server};

fn announced(pieces: &[(u64, Piece)]) -> Vec<WireEvent> {
    let mut connection = Connection::new(Start::FirstByte, Limits::default());
    connection.announce();
    let mut events = Vec::new();
    for (at, piece) in pieces {
        feed_at(&mut connection, BootTime(*at), piece, &mut |event| events.push(event));
    }
    connection.close(BootTime(u64::MAX), &mut |event| events.push(event));
    events
}

/// The requests of a session whose login takes the times 1 and 2.
#[track_caller]
fn check(pieces: &[Piece], expect: &str) {
    let login = [c(&[client::startup("alice", "shop")]), s(&[server::auth(0), server::ready('I')])];
    let events = announced(&timed([&login, pieces].concat()));
    let requests = events.iter().filter(|event| matches!(event, WireEvent::Requested(_)));
    let requests: Vec<String> = requests.map(render::event).collect();
    let expect: Vec<&str> = expect.lines().map(str::trim).collect();
    assert_eq!(requests, expect);
}

#[test]
fn each_message_that_asks_is_said_when_it_is_complete() {
    check(
        &[
            c(&[client::query("select 1")]),
            s(&[server::complete("SELECT 1"), server::ready('I')]),
            c(&[
                client::parse("", "select $1", &[23]),
                client::bind_text("", &["7"]),
                client::describe('P', ""),
                client::execute("", 5),
                client::sync(),
            ]),
        ],
        "ask simple 'select 1' 3
        ask parse 'select $1' s= 5
        ask bind 'select $1' s= p= ('7':23) 5
        ask execute 'select $1' s= p= limit=5 5",
    );
}

#[test]
fn passwords_and_half_messages_are_not() {
    let mut half = client::query("select secret");
    half.truncate(10);
    check(&[c(&[client::password("Sentinel")]), c(&[half])], "");
}

#[test]
fn what_has_no_answer_when_it_begins_leaves_names_in_doubt() {
    let mut connection = Connection::new(Start::FirstByte, Limits::default());
    let before = timed(vec![
        c(&[client::startup("alice", "shop")]),
        s(&[server::auth(0), server::ready('I')]),
        c(&[client::query("prepare p as select 1")]),
    ]);
    let after = timed(vec![
        c(&[client::bind_text("", &[]), client::sync()]),
        s(&[server::complete("PREPARE"), server::ready('I'), server::bound(), server::ready('I')]),
        c(&[client::bind_text("", &[])]),
    ]);
    for (at, piece) in &before {
        feed_at(&mut connection, BootTime(*at), piece, &mut |_| {});
    }
    connection.announce();
    let mut doubtful = Vec::new();
    for (at, piece) in &after {
        feed_at(&mut connection, BootTime(10 + *at), piece, &mut |event| {
            if let WireEvent::Requested(request) = event {
                doubtful.push(request.doubtful);
            }
        });
    }
    assert_eq!(doubtful, [true, false], "and not any more when everything is answered");
}

#[test]
fn nothing_is_said_unless_wanted() {
    let mut connection = Connection::new(Start::FirstByte, Limits::default());
    let mut events = Vec::new();
    let bytes = [client::startup("alice", "shop"), client::query("select 1")].concat();
    connection.feed(Side::Client, BootTime(1), Input::Bytes(&bytes), &mut |event| events.push(event));
    assert!(!events.iter().any(|event| matches!(event, WireEvent::Requested(_))));
}

#[test]
fn names_of_answered_messages_are_certain() {
    let batch = [client::bind_text("s", &["1"]), client::execute("", 0), client::sync()];
    check(
        &[
            c(&[client::parse("s", "select $1", &[]), client::sync()]),
            s(&[server::parsed(), server::ready('I')]),
            c(&batch),
        ],
        "ask parse 'select $1' s=s 3
        ask bind 'select $1' s=s p= ('1') 5
        ask execute 'select $1' s=s p= 5",
    );
}

#[test]
fn names_of_an_earlier_unanswered_batch_are_in_doubt() {
    let run = [client::bind_text("s", &["1"]), client::execute("", 0), client::sync()].concat();
    check(
        &[c(&[client::parse("s", "select $1", &[]), client::sync(), run])],
        "ask parse 'select $1' s=s 3
        ask bind 'select $1' s=s p= ('1') 3 doubtful
        ask execute 'select $1' s=s p= 3 doubtful",
    );
}

#[test]
fn a_portal_of_an_earlier_unanswered_batch_is_in_doubt() {
    let bound = [client::bind("p", "", &[], &[]), client::execute("p", 1), client::sync()];
    check(
        &[
            c(&[client::parse("", "select 1", &[]), client::query("begin")]),
            s(&[server::parsed(), server::complete("BEGIN"), server::ready('T')]),
            c(&[client::parse("", "select 1", &[])]),
            c(&bound),
            c(&[client::execute("p", 2), client::sync()]),
        ],
        "ask parse 'select 1' s= 3
        ask simple 'begin' 3
        ask parse 'select 1' s= 5
        ask bind 'select 1' s= p=p () 6
        ask execute 'select 1' s= p=p limit=1 6
        ask execute 'select 1' s= p=p limit=2 7 doubtful",
    );
}

#[test]
fn sql_that_may_prepare_puts_names_in_doubt() {
    check(
        &[
            c(&[client::parse("s", "select $1", &[]), client::sync()]),
            s(&[server::parsed(), server::ready('I')]),
            c(&[client::query("deallocate s"), client::bind_text("s", &["1"]), client::bind_text("t", &["2"])]),
        ],
        "ask parse 'select $1' s=s 3
        ask simple 'deallocate s' 5
        ask bind 'select $1' s=s p= ('1') 5 doubtful
        ask bind ?None s=t p= ('2') 5 doubtful",
    );
}

/// Every statement that was asked for by a message of its own has been said before: with the same text, or in doubt.
fn each_statement_was_said(events: &[WireEvent]) -> Result<(), TestCaseError> {
    let mut asked: HashMap<(StatementKind, BootTime), Vec<&Request>> = HashMap::new();
    for event in events {
        match event {
            WireEvent::Requested(request) => {
                asked.entry((request.kind, request.at)).or_default().push(request);
            }
            WireEvent::Statement(statement) if statement.kind != StatementKind::Describe => {
                let requests = asked.get(&(statement.kind, statement.started));
                let said = requests.is_some_and(|requests| requests.iter().any(|request| fits(request, statement)));
                prop_assert!(said, "{} after {requests:?}", render::event(event));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Names that turned out not to exist were not known to do so.
fn fits(request: &Request, statement: &Statement) -> bool {
    request.doubtful || request.text == statement.text || matches!(statement.text, Text::Unknown(_))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn every_statement_is_said_before_it_is_answered(seed: u64, length in 1_usize..60, bytes_max in 1_u64..40) {
        let pieces = timed(play(&script(Habit::Wild, seed, length), seed));
        let events = announced(&pieces);
        each_statement_was_said(&events)?;
        let parts = cut(&pieces, &mut Random::new(seed), bytes_max);
        let requests = |events: &[WireEvent]| {
            let requests = events.iter().filter(|event| matches!(event, WireEvent::Requested(_)));
            requests.map(render::event).collect::<Vec<_>>()
        };
        prop_assert_eq!(requests(&announced(&parts)), requests(&events));
    }

    #[test]
    fn saying_them_changes_nothing_else(seed: u64, length in 1_usize..60) {
        let pieces = timed(play(&script(Habit::Wild, seed, length), seed));
        let mut events = announced(&pieces);
        events.retain(|event| !matches!(event, WireEvent::Requested(_)));
        prop_assert_eq!(events, crate::split::events(Start::FirstByte, &pieces));
    }
}
