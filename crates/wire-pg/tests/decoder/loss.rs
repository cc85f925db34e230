//! Holes in the stream: whatever is said is true, and what can not be known is said to be lost.

use model::statement::{Ending, Outcome, Statement, StatementKind, Text, Value};
use model::wire::Side::{self, Client, Server};
use model::wire::WireEvent;
use proptest::prelude::*;
use wire_pg::Start::{FirstByte, MidStream};

use crate::split::{cut, events, timed};
use crate::support::generate::{Habit, Random, play, play_and_rest, script};
use crate::support::{Piece, c, check, check_session, client, render, s, server, show};

fn select(number: u32) -> [Piece; 2] {
    let answer = [server::complete(&format!("SELECT {number}")), server::ready('I')];
    [c(&[client::query(&format!("SELECT {number}"))]), s(&answer)]
}

fn lost(side: Side, resume_in: Option<u64>) -> Piece {
    Piece::Lost(side, None, resume_in)
}

#[test]
fn a_lost_request() {
    check_session(
        &[&select(1)[..], &[lost(Client, Some(0))], &select(2)[1..], &select(3)].concat(),
        "simple 'SELECT 1' I>I 3-4 [SELECT 1 =1]
        gap Client None
        simple 'SELECT 3' I>I 7-8 [SELECT 3 =3]",
    );
}

#[test]
fn a_lost_request_behind_one_that_was_seen() {
    let two = [client::query("SELECT 1"), client::query("SELECT 2")];
    check_session(
        &[
            c(&two[..1]),
            lost(Client, Some(0)),
            s(&[server::complete("SELECT 1"), server::ready('I')]),
            s(&[server::complete("SELECT 2"), server::ready('I')]),
            c(&[client::query("SELECT 3")]),
            s(&[server::complete("SELECT 3"), server::ready('I')]),
        ],
        "gap Client None
        simple 'SELECT 1' I>I 3-5 [SELECT 1 =1]
        simple 'SELECT 3' I>I 7-8 [SELECT 3 =3]",
    );
}

#[test]
fn a_lost_answer() {
    check_session(
        &[&select(1)[..1], &[lost(Server, Some(0))], &[s(&[server::ready('I')])], &select(2)].concat(),
        "gap Server None
        simple 'SELECT 1' ?>? 3- [] Lost
        simple 'SELECT 2' I>I 6-7 [SELECT 2 =2]",
    );
}

/// A batch went down with the loss, all but its last Parse; the first answer seems to be about that one.
#[test]
fn a_name_that_was_paired_with_another_answer_is_forgotten() {
    let again = [client::bind("", "s", &[], &[]), client::execute("", 0), client::sync()];
    check_session(
        &[
            &[lost(Client, Some(0)), s(&[server::ready('I')])][..],
            &[
                c(&[client::parse("s", "SELECT 2", &[])]),
                s(&[server::parsed(), server::bound()]),
                s(&[server::error("ERROR", "42P05", "s exists")]),
                c(&[client::sync()]),
                s(&[server::ready('I')]),
                c(&again),
                s(&[server::bound(), server::complete("SELECT 1"), server::ready('I')]),
            ],
        ]
        .concat(),
        "gap Client None
        execute ?Lost s=s p= I>I 10-11 [SELECT 1 =1]",
    );
}

#[test]
fn a_loss_inside_a_long_message() {
    let long = client::query(&"x".repeat(100));
    check_session(
        &[
            Piece::Bytes(Client, long[..25].to_vec()),
            Piece::Lost(Client, Some(30), Some(51)),
            Piece::Bytes(Client, long[55..].to_vec()),
            s(&[server::row_description(), server::row("a long value")[..10].to_vec()]),
            Piece::Lost(Server, Some(13), Some(0)),
            s(&[server::complete("SELECT 1"), server::ready('I')]),
        ],
        "gap Client Some(30)
        gap Server Some(13)
        simple 'xxxxxxxxxxxxxxxxxxxx'..100 rows=1 I>I 5-8 [SELECT 1 =1]",
    );
}

#[test]
fn a_loss_in_the_middle_of_a_message_of_unknown_kind() {
    let query = client::query("SELECT 1234567890");
    check_session(
        &[
            &[
                Piece::Lost(Client, Some(12), Some(11)),
                Piece::Bytes(Client, query[12..].to_vec()),
                s(&[server::complete("SELECT 1"), server::ready('I')]),
            ][..],
            &select(2),
        ]
        .concat(),
        "gap Client Some(12)
        simple 'SELECT 2' I>I 6-7 [SELECT 2 =2]",
    );
}

#[test]
fn a_loss_of_unknown_extent() {
    check_session(
        &[
            &select(1)[..1],
            &[lost(Server, None), s(&[b"rest of a row".to_vec(), server::complete("SELECT 1"), server::ready('I')])],
            &select(2),
            &[lost(Client, None), s(&[server::complete("SELECT 3"), server::ready('I')])],
            &select(4),
        ]
        .concat(),
        "gap Server None
        simple 'SELECT 1' ?>? 3- [] Lost
        simple 'SELECT 2' ?>I 6-7 [SELECT 2 =2]
        gap Client None
        simple 'SELECT 4' I>I 10-11 [SELECT 4 =4]",
    );
}

#[test]
fn names_are_not_certain_after_a_loss() {
    let run = [client::bind_text("s", &[]), client::execute("", 0), client::sync()];
    let ran = [server::bound(), server::complete("SET"), server::ready('I')];
    let prepare = [
        c(&[client::parse("s", "A", &[]), client::sync()]),
        s(&[server::parsed(), server::ready('I')]),
        c(&run),
        s(&ran),
    ];
    // Lost requests may have given the name another meaning.
    check_session(
        &[&prepare[..], &[lost(Client, Some(0)), s(&[server::ready('I')]), c(&run), s(&ran)]].concat(),
        "execute 'A' s=s p= I>I 5-6 [SET]
        gap Client None
        execute ?Lost s=s p= I>I 9-10 [SET]",
    );
    // Lost answers can not.
    check_session(
        &[&prepare[..2], &[c(&run), lost(Server, Some(0)), s(&[server::ready('I')]), c(&run), s(&ran)]].concat(),
        "gap Server None
        execute 'A' s=s p= ?>? 5- [] Lost
        execute 'A' s=s p= I>I 8-9 [SET]",
    );
}

#[test]
fn a_batch_whose_beginning_was_lost_is_not_believed() {
    let tail = [client::execute("", 0), client::sync()];
    check_session(
        &[
            &[
                lost(Client, Some(0)),
                s(&[server::ready('I')]),
                // The Parse and Bind of a second batch were in the hole too.
                c(&tail),
                s(&[server::parsed(), server::bound(), server::complete("SELECT 1"), server::ready('I')]),
            ][..],
            &select(2),
        ]
        .concat(),
        "gap Client None
        execute ?Lost p= (?) ?>? 5- [] Lost
        simple 'SELECT 2' I>I 7-8 [SELECT 2 =2]",
    );
}

#[test]
fn a_session_joined_while_it_works() {
    check(
        MidStream,
        &[
            &[s(&[server::row("1"), server::complete("SELECT 1"), server::ready('I')])][..],
            &select(2),
            &[lost(Client, Some(0))],
        ]
        .concat(),
        "simple 'SELECT 2' I>I 2-3 [SELECT 2 =2]
        gap Client None",
    );
    // In the middle of a batch: its first half was not seen, and its answers do not fit the second.
    check(
        MidStream,
        &[
            &[
                c(&[client::bind_text("s", &[]), client::execute("", 0), client::sync()]),
                s(&[server::bound(), server::complete("SELECT 1"), server::bound(), server::complete("SELECT 2")]),
                s(&[server::ready('I')]),
            ][..],
            &select(3),
        ]
        .concat(),
        "execute ?PreparedBeforeStart s=s p= ?>? 1- [] Lost
        simple 'SELECT 3' I>I 4-5 [SELECT 3 =3]",
    );
}

#[test]
fn requests_beyond_the_queue_are_a_gap() {
    let many = vec![client::query("SELECT 1"); 16_390];
    let events = crate::support::run(FirstByte, &[c(&[client::startup("u", "d")]), c(&many)]);
    let statements = events.iter().filter(|event| matches!(event, WireEvent::Statement(_))).count();
    let gaps = events.iter().filter(|event| matches!(event, WireEvent::Gap { .. })).count();
    assert_eq!((statements, gaps), (16_390, 1));
}

/// Replaces some bytes by a loss.
fn punch(pieces: &mut Vec<(u64, Piece)>, random: &mut Random) {
    let index = random.below(pieces.len() as u64) as usize;
    let (at, piece) = pieces[index].clone();
    let Piece::Bytes(side, bytes) = piece else {
        return;
    };
    if bytes.is_empty() {
        return;
    }
    let from = random.below(bytes.len() as u64) as usize;
    let to = from + 1 + random.below((bytes.len() - from) as u64) as usize;
    let (from, to) = if random.one_in(3) { (0, bytes.len()) } else { (from, to) };
    let before: usize = pieces[..index].iter().map(|(_, piece)| bytes_of(piece, side)).sum();
    let resume_in = remaining(pieces, side, before + to);
    let known = !random.one_in(3);
    let counted = random.one_in(2).then_some((to - from) as u64);
    let parts = [
        (at, Piece::Bytes(side, bytes[..from].to_vec())),
        (at, Piece::Lost(side, counted, known.then_some(resume_in).flatten())),
        (at, Piece::Bytes(side, bytes[to..].to_vec())),
    ];
    pieces.splice(index..=index, parts);
}

fn bytes_of(piece: &Piece, of: Side) -> usize {
    match piece {
        Piece::Bytes(side, bytes) if *side == of => bytes.len(),
        _ => 0,
    }
}

/// How many bytes of a message remain at an offset of a side's stream; only streams without holes are looked at.
fn remaining(pieces: &[(u64, Piece)], of: Side, offset: usize) -> Option<u64> {
    let mut stream = Vec::new();
    for (_, piece) in pieces {
        match piece {
            Piece::Bytes(side, bytes) if *side == of => stream.extend(bytes),
            Piece::Lost(side, ..) if *side == of => return None,
            _ => {}
        }
    }
    let mut end = 0;
    while end < offset {
        let header = if stream[end] == 0 { &stream[end..end + 4] } else { &stream[end + 1..end + 5] };
        let length = u32::from_be_bytes(header.try_into().unwrap()) as usize;
        end += length + usize::from(stream[end] != 0);
    }
    Some((end - offset) as u64)
}

/// What is said of a statement does not contradict the truth, and nothing but `Lost` is said without having been seen.
fn agrees(said: &Statement, truth: &Statement) -> bool {
    let text = match (&said.text, &truth.text) {
        (Text::Truncated { beginning, bytes }, Text::Whole(text)) => {
            text.starts_with(&**beginning) && *bytes == text.len() as u64
        }
        (Text::Unknown(_), _) => true,
        (said, truth) => said == truth,
    };
    let name = |said: &Option<_>, truth: &Option<_>| said.is_none() || said == truth;
    // Function 0 does not exist: the message was cut before its number.
    let kind = said.kind == truth.kind
        || (said.kind == StatementKind::FunctionCall { function: 0 }
            && matches!(truth.kind, StatementKind::FunctionCall { .. }));
    let identity = kind
        && text
        && name(&said.prepared, &truth.prepared)
        && name(&said.portal, &truth.portal)
        && said.started == truth.started;
    if said.ending == Ending::Lost {
        return identity && is_beginning(&said.outcomes, &truth.outcomes);
    }
    let parameters = match (&said.parameters, &truth.parameters) {
        (Some(said), Some(truth)) => {
            said.len() == truth.len()
                && said
                    .iter()
                    .zip(truth)
                    .all(|(said, truth)| matches!(said.value, Value::Opaque { .. }) || said.value == truth.value)
        }
        (said, _) => said.is_none(),
    };
    let transaction = |said: Option<_>, truth: Option<_>| said.is_none() || truth.is_none() || said == truth;
    identity
        && parameters
        && same(&said.outcomes, &truth.outcomes)
        && said.finished == truth.finished
        && said.rows_sent == truth.rows_sent
        && said.ending == truth.ending
        && transaction(said.transaction_before, truth.transaction_before)
        && transaction(said.transaction_after, truth.transaction_after)
}

fn is_beginning(said: &[Outcome], truth: &[Outcome]) -> bool {
    truth.get(..said.len()).is_some_and(|truth| same(said, truth))
}

/// The message of an error may have been cut.
fn same(said: &[Outcome], truth: &[Outcome]) -> bool {
    let equal = |(said, truth): (&Outcome, &Outcome)| match (said, truth) {
        (
            Outcome::Failed { severity, sqlstate, message },
            Outcome::Failed { severity: true_severity, sqlstate: true_sqlstate, message: whole },
        ) => severity == true_severity && sqlstate == true_sqlstate && whole.starts_with(message),
        _ => said == truth,
    };
    said.len() == truth.len() && said.iter().zip(truth).all(equal)
}

/// Every statement that is said is one of the true ones, in their order.
fn invented(said: Vec<WireEvent>, truth: &[WireEvent]) -> Option<String> {
    let mut truth = truth.iter().filter_map(|event| match event {
        WireEvent::Statement(statement) => Some(statement),
        _ => None,
    });
    for event in said {
        if let WireEvent::Statement(statement) = &event
            && statement.ending != Ending::Lost
            && !truth.any(|truth| agrees(statement, truth))
        {
            return Some(render::event(&event));
        }
    }
    None
}

/// A Lost statement was asked for; a lossy Parse, Bind or Describe is none.
fn lost_invented(said: &[WireEvent], truth: &[WireEvent]) -> Option<String> {
    let is_true = |said: &Statement| {
        truth.iter().any(|event| match event {
            WireEvent::Statement(truth) => agrees_as_lost(said, truth),
            _ => false,
        })
    };
    said.iter().find_map(|event| match event {
        WireEvent::Statement(statement) if statement.ending == Ending::Lost && !is_true(statement) => {
            Some(render::event(event))
        }
        _ => None,
    })
}

/// The names of a lost Execute are those that the client meant, which the server may not have accepted.
fn agrees_as_lost(said: &Statement, truth: &Statement) -> bool {
    let text = matches!(said.kind, StatementKind::Execute)
        || matches!(said.text, Text::Unknown(_) | Text::Truncated { .. })
        || said.text == truth.text;
    let kind = said.kind == truth.kind || matches!(said.kind, StatementKind::FunctionCall { function: 0 });
    kind && text && said.started == truth.started && is_beginning(&said.outcomes, &truth.outcomes)
}

/// Statements that were seen without any hole come out the same; this many of them are spoilt at most.
fn count_exact(events: &[WireEvent]) -> usize {
    let exact = |event: &&WireEvent| matches!(event, WireEvent::Statement(it) if it.ending == Ending::Answered);
    events.iter().filter(exact).count()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_loss_invents_nothing(seed: u64, length in 1_usize..80, holes in 1_usize..4, bytes_max in 1_u64..200) {
        let pieces = timed(play(&script(Habit::Orderly, seed, length), seed));
        let truth = events(FirstByte, &pieces);
        let mut random = Random::new(seed ^ 0xaaaa);
        let mut lossy = pieces;
        for _ in 0..holes {
            punch(&mut lossy, &mut random);
        }
        let said = events(FirstByte, &cut(&lossy, &mut random, bytes_max));
        prop_assert_eq!(lost_invented(&said, &truth), None, "{}", show(&lossy));
        prop_assert_eq!(invented(said, &truth), None, "{}", show(&lossy));
    }

    #[test]
    fn a_late_start_invents_nothing(seed: u64, length in 1_usize..60, skip in 0_usize..30) {
        let (pieces, idle) = play_and_rest(&script(Habit::Orderly, seed, length), seed);
        let pieces = timed(pieces);
        let truth = events(FirstByte, &pieces);
        let Some(from) = idle.get(skip) else { return Ok(()) };
        let rest = &pieces[*from..];
        let said = events(MidStream, rest);
        prop_assert_eq!(invented(said, &truth), None, "{}", show(rest));
    }
}

/// After one hole at most the statements in flight are spoilt, not the rest of the session.
#[test]
fn the_session_recovers() {
    let mut all = vec![c(&[client::startup("u", "d")]), s(&[server::auth(0), server::ready('I')])];
    for number in 0..100 {
        all.extend(select(number));
        if number % 10 == 5 {
            all.push(lost(if number % 20 == 5 { Client } else { Server }, Some(0)));
            all.push(s(&[server::ready('I')]));
        }
    }
    let events = events(FirstByte, &timed(all));
    assert_eq!(count_exact(&events), 100);
}
