//! What a connection holds, and what it works on.

use model::statement::{Text, UnknownText};
use model::time::BootTime;
use wire_pg::{Connection, Limits, Start};

use crate::support::{Piece, c, client, feed, feed_at, s, server};

fn logged_in() -> Connection {
    let mut connection = Connection::new(Start::FirstByte, Limits::default());
    let pieces = [c(&[client::startup("u", "d")]), s(&[server::auth(0), server::ready('I')])];
    feed(&mut connection, &pieces, &mut |_| ());
    connection
}

fn idle_after(pieces: &[Piece]) -> usize {
    let mut connection = logged_in();
    feed(&mut connection, pieces, &mut |_| ());
    connection.retained_bytes()
}

/// A promise to operators: see the memory budget.
#[test]
fn an_idle_session_is_small() {
    assert!(size_of::<Connection>() < 700, "{} bytes", size_of::<Connection>());
    let select = [server::complete("SELECT 0"), server::ready('I')].concat();
    let long = client::query(&"x".repeat(100_000));
    let batch = [client::parse("s", "SELECT 1", &[]), client::bind_text("s", &[]), client::execute("", 0)].concat();
    let answer = [server::parsed(), server::bound(), server::complete("SELECT 1")].concat();
    let close = [client::close('S', "s"), client::sync()].concat();
    let closed = [server::closed(), server::ready('I')].concat();
    for pieces in [
        vec![],
        vec![c(&[long[..50_000].to_vec()]), c(&[long[50_000..].to_vec()]), s(&[select.clone()])],
        vec![c(&vec![client::query("SELECT 1"); 1000]), s(&vec![select; 1000])],
        vec![c(&[batch.clone(), close.clone()]), s(&[answer.clone(), closed.clone()])],
        vec![c(&[vec![batch; 100].concat(), close]), s(&[vec![answer; 100].concat(), closed])],
    ] {
        let retained = idle_after(&pieces);
        assert!(retained < 1024, "{retained} bytes after {} inputs", pieces.len());
    }
}

#[test]
fn a_huge_length_allocates_nothing() {
    for kind in [b'Q', b'd', b'B'] {
        let retained = idle_after(&[Piece::Bytes(model::wire::Side::Client, vec![kind, 0x3f, 0xff, 0xff, 0xff, 1, 2])]);
        assert!(retained < 1024, "{retained} bytes");
    }
}

#[test]
fn the_oldest_statement_in_progress() {
    let batch = [
        client::parse("", "SELECT pg_sleep($1)", &[]),
        client::bind_text("", &["9"]),
        client::execute("", 0),
        client::sync(),
    ];
    let whole = |text: &str| Text::Whole(text.into());
    for (pieces, expect) in [
        (vec![], None),
        (vec![c(&[client::query("A"), client::query("B")])], Some((whole("A"), 9))),
        // The answers to Parse and Bind are not flushed before the Execute ends.
        (vec![c(&batch)], Some((whole("SELECT pg_sleep($1)"), 9))),
        (vec![c(&[client::sync()])], None),
        (
            vec![c(&[client::bind_text("no", &[]), client::execute("", 0)])],
            Some((Text::Unknown(UnknownText::NoSuchName), 9)),
        ),
    ] {
        let mut connection = logged_in();
        for piece in &pieces {
            feed_at(&mut connection, BootTime(9), piece, &mut |_| ());
        }
        let progress = connection.in_progress().map(|it| (it.text.clone(), it.started.0));
        assert_eq!(progress, expect);
    }
}

#[test]
fn answers_to_nothing_are_counted() {
    let mut connection = Connection::new(Start::MidStream, Limits::default());
    feed(&mut connection, &[s(&[server::row("1"), server::complete("SELECT 1"), server::ready('I')])], &mut |_| ());
    assert_eq!(connection.responses_ignored(), 3);
}
