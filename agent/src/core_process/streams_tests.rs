//! What a worker has decided reaches the request and the statement of its message: real messages, as they are read.

use std::sync::Arc;

use capture::decode::Position;
use model::facts::Facts;
use model::id::{DatabaseId, SocketCookie};
use model::statement::{Ending, Statement, StatementKind, Text};
use model::time::BootTime;
use model::verdict::{Judgement, Mode, Obligations, PolicyEpoch, Verdict};
use model::wire::{Input, Side, WireEvent};
use sessions::judgements::ASKED_MAX;

use super::streams::Streams;

const CONNECTION: SocketCookie = SocketCookie(7);

/// A judgement that is told from others by its epoch.
fn judgement(epoch: u64) -> Arc<Judgement> {
    let verdict = Verdict {
        epoch: PolicyEpoch(epoch),
        mode: Mode::Enforce,
        denial: None,
        hold: None,
        allowed_by: Arc::new([]),
        obligations: Obligations::default(),
        masked: Arc::new([]),
    };
    Arc::new(Judgement { verdict, facts: Arc::new(Facts::default()) })
}

fn epoch(judgement: Option<&Arc<Judgement>>) -> Option<u64> {
    judgement.map(|judgement| judgement.verdict.epoch.0)
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap();
    [&[kind][..], &length.to_be_bytes(), body].concat()
}

fn query(text: &str) -> Vec<u8> {
    message(b'Q', format!("{text}\0").as_bytes())
}

fn parse(name: &str, text: &str) -> Vec<u8> {
    message(b'P', format!("{name}\0{text}\0\0\0").as_bytes())
}

fn bind(statement: &str) -> Vec<u8> {
    message(b'B', format!("\0{statement}\0\0\0\0\0\0\0").as_bytes())
}

fn execute() -> Vec<u8> {
    message(b'E', &[0; 5])
}

fn sync() -> Vec<u8> {
    message(b'S', &[])
}

fn ready() -> Vec<u8> {
    message(b'Z', b"I")
}

fn complete(tag: &str) -> Vec<u8> {
    message(b'C', format!("{tag}\0").as_bytes())
}

fn error(sqlstate: &str) -> Vec<u8> {
    message(b'E', format!("SERROR\0VERROR\0C{sqlstate}\0Mrefused\0\0").as_bytes())
}

/// What came out of one connection.
#[derive(Default)]
struct Said {
    /// Kind of the message and epoch of its judgement.
    requests: Vec<(StatementKind, Option<u64>)>,
    statements: Vec<Statement>,
}

impl Said {
    fn take(&mut self, event: WireEvent) {
        match event {
            WireEvent::Requested(request) => self.requests.push((request.kind, epoch(request.judgement.as_ref()))),
            WireEvent::Statement(statement) => self.statements.push(*statement),
            _ => {}
        }
    }

    /// Text, ending and epoch of each statement.
    fn statements(&self) -> Vec<(String, Ending, Option<u64>)> {
        let text = |statement: &Statement| match &statement.text {
            Text::Whole(text) => text.to_string(),
            other => format!("{other:?}"),
        };
        self.statements.iter().map(|one| (text(one), one.ending, epoch(one.judgement.as_ref()))).collect()
    }
}

/// The streams of a core with one connection.
struct Subject {
    streams: Streams,
    now: u64,
    said: Said,
}

impl Subject {
    /// A session that has logged in, to a database whose requests are records of their own.
    fn new() -> Self {
        Self::of(&[DatabaseId(0)])
    }

    fn of(announced: &[DatabaseId]) -> Self {
        let mut subject = Self { streams: Streams::new(8, Position::START), now: 0, said: Said::default() };
        subject.streams.announce(announced.iter().copied());
        subject.streams.accepted(CONNECTION, DatabaseId(0), model::session::Origin::Opened);
        let startup = [&[0, 3, 0, 0][..], b"user\0alice\0\0"].concat();
        let length = u32::try_from(startup.len() + 4).unwrap();
        subject.read(&[(None, [&length.to_be_bytes()[..], &startup].concat())]);
        subject.server(&[message(b'R', &[0; 4]), ready()].concat());
        subject
    }

    /// One read of the client's socket: its messages, each with its judgement if it has one.
    fn read(&mut self, messages: &[(Option<u64>, Vec<u8>)]) {
        self.now += 1;
        for (epoch, bytes) in messages {
            self.more(*epoch, bytes);
        }
    }

    /// What comes with the same read.
    fn more(&mut self, epoch: Option<u64>, bytes: &[u8]) {
        if let Some(epoch) = epoch {
            self.streams.judged(CONNECTION, judgement(epoch));
        }
        self.feed(Side::Client, Input::Bytes(bytes));
    }

    fn server(&mut self, bytes: &[u8]) {
        self.now += 1;
        self.feed(Side::Server, Input::Bytes(bytes));
    }

    fn feed(&mut self, side: Side, input: Input<'_>) {
        let Self { streams, said, now } = self;
        streams.feed_input(CONNECTION, side, BootTime(*now), input, &mut |event| said.take(event));
    }

    fn close(mut self) -> Said {
        let Self { streams, said, now } = &mut self;
        streams.close(CONNECTION, BootTime(*now), None, &mut |event| said.take(event));
        self.said
    }
}

fn answered(text: &str, epoch: Option<u64>) -> (String, Ending, Option<u64>) {
    (text.to_owned(), Ending::Answered, epoch)
}

#[test]
fn a_query_and_its_statement_have_one_judgement() {
    let mut subject = Subject::new();
    subject.read(&[(Some(1), query("select 1"))]);
    subject.server(&[complete("SELECT 1"), ready()].concat());
    subject.read(&[(Some(2), query("drop table customers"))]);
    subject.server(&[error("42501"), ready()].concat());
    let said = subject.close();
    assert_eq!(said.requests, [(StatementKind::Simple, Some(1)), (StatementKind::Simple, Some(2))]);
    assert_eq!(said.statements(), [answered("select 1", Some(1)), answered("drop table customers", Some(2))]);
}

#[test]
fn a_batch_of_one_read_keeps_them_apart() {
    let mut subject = Subject::new();
    subject.read(&[
        (Some(1), parse("", "select 1")),
        (None, bind("")),
        (Some(2), execute()),
        (Some(3), parse("", "select 2")),
        (None, bind("")),
        (Some(4), execute()),
        (None, sync()),
    ]);
    let answer = [message(b'1', &[]), message(b'2', &[]), complete("SELECT 1")].concat();
    subject.server(&[answer.clone(), answer, ready()].concat());
    let said = subject.close();
    let [parse, bind, execute] = [StatementKind::Parse, StatementKind::Bind, StatementKind::Execute];
    let expected =
        [(parse, Some(1)), (bind, None), (execute, Some(2)), (parse, Some(3)), (bind, None), (execute, Some(4))];
    assert_eq!(said.requests, expected);
    assert_eq!(said.statements(), [answered("select 1", Some(2)), answered("select 2", Some(4))]);
}

#[test]
fn a_refused_parse_has_its_own_and_what_is_skipped_behind_it_too() {
    let mut subject = Subject::new();
    subject.read(&[
        (Some(1), parse("", "select 1")),
        (None, bind("")),
        (Some(2), execute()),
        (Some(3), parse("", "drop table customers")),
        (None, bind("")),
        (Some(4), execute()),
        (None, sync()),
    ]);
    let answer = [message(b'1', &[]), message(b'2', &[]), complete("SELECT 1"), error("42501"), ready()].concat();
    subject.server(&answer);
    let skipped = ("drop table customers".to_owned(), Ending::Discarded, Some(4));
    let expected = [answered("select 1", Some(2)), answered("drop table customers", Some(3)), skipped];
    assert_eq!(subject.close().statements(), expected);
}

#[test]
fn of_two_parses_in_one_read_nobody_knows_which_was_refused() {
    let mut subject = Subject::new();
    subject.read(&[(Some(1), parse("a", "select 1")), (Some(2), parse("b", "drop table x")), (None, sync())]);
    subject.server(&[message(b'1', &[]), error("42501"), ready()].concat());
    assert_eq!(subject.close().statements(), [answered("drop table x", None)]);
}

#[test]
fn a_judgement_whose_message_was_lost_is_nobodys() {
    let mut subject = Subject::new();
    subject.streams.judged(CONNECTION, judgement(1));
    subject.feed(Side::Client, Input::Lost { bytes: None, resume_in: Some(0) });
    subject.read(&[(None, query("select 2"))]);
    let said = subject.close();
    assert_eq!(said.requests, [(StatementKind::Simple, None)]);
}

#[test]
fn after_a_loss_no_statement_of_that_read_is_taken_for_another() {
    let mut subject = Subject::new();
    subject.read(&[(Some(1), query("select 1"))]);
    subject.feed(Side::Client, Input::Lost { bytes: Some(30), resume_in: Some(0) });
    // The same read goes on: the time of these is that of what was forgotten.
    subject.more(Some(2), &query("select 2"));
    subject.server(&[complete("SELECT 1"), ready()].concat());
    let said = subject.close();
    assert_eq!(said.requests, [(StatementKind::Simple, Some(1)), (StatementKind::Simple, Some(2))]);
    assert!(said.statements().iter().all(|(_, _, epoch)| epoch.is_none()), "{:?}", said.statements());
}

#[test]
fn more_than_is_kept_is_forgotten_and_not_mixed_up() {
    let mut subject = Subject::new();
    let count = ASKED_MAX + 10;
    let queries: Vec<_> = (1..=count).map(|number| (Some(number as u64), query(&format!("select {number}")))).collect();
    subject.read(&queries);
    for _ in 0..count {
        subject.server(&[complete("SELECT 1"), ready()].concat());
    }
    subject.read(&[(Some(7), query("select 0"))]);
    subject.server(&[complete("SELECT 1"), ready()].concat());
    let said = subject.close();
    assert_eq!(said.requests.last(), Some(&(StatementKind::Simple, Some(7))));
    let statements = said.statements();
    assert_eq!(statements.len(), count + 1);
    let (last, others) = statements.split_last().unwrap();
    assert_eq!(last, &answered("select 0", Some(7)));
    for (text, _, epoch) in others {
        assert!(epoch.is_none_or(|epoch| *text == format!("select {epoch}")), "{text} got {epoch:?}");
    }
}

#[test]
fn what_was_asked_before_the_first_judgement_gets_none() {
    let mut subject = Subject::new();
    subject.read(&[(None, query("select 1"))]);
    subject.more(Some(1), &query("select 2"));
    subject.server(&[complete("SELECT 1"), ready(), complete("SELECT 1"), ready()].concat());
    subject.read(&[(Some(3), query("select 3"))]);
    subject.server(&[complete("SELECT 1"), ready()].concat());
    let said = subject.close();
    assert_eq!(
        said.statements(),
        [answered("select 1", None), answered("select 2", None), answered("select 3", Some(3))]
    );
}

#[test]
fn what_is_never_answered_keeps_its_judgement() {
    let mut subject = Subject::new();
    subject.read(&[(Some(1), query("select pg_sleep(60)"))]);
    let statements = subject.close().statements();
    assert_eq!(statements, [("select pg_sleep(60)".to_owned(), Ending::Unanswered, Some(1))]);
}

#[test]
fn requests_are_said_only_where_they_are_records() {
    for judged in [None, Some(1)] {
        let mut subject = Subject::of(&[]);
        subject.read(&[(judged, query("select 1"))]);
        subject.server(&[complete("SELECT 1"), ready()].concat());
        let said = subject.close();
        assert_eq!((said.requests.len(), said.statements()), (0, vec![answered("select 1", judged)]));
    }
}

#[test]
fn a_judgement_of_a_message_that_is_not_understood_is_nobodys() {
    let mut subject = Subject::new();
    subject.read(&[(Some(1), query("select 1"))]);
    // A loss of unknown length: the decoder looks for the next message that is certain.
    subject.feed(Side::Client, Input::Lost { bytes: None, resume_in: None });
    subject.read(&[(Some(2), b"of a message that was lost".to_vec())]);
    subject.server(&[complete("SELECT 1"), ready()].concat());
    subject.read(&[(None, bind(""))]);
    let said = subject.close();
    assert_eq!(said.requests, [(StatementKind::Simple, Some(1)), (StatementKind::Bind, None)]);
}

#[test]
fn a_loss_of_the_workers_is_a_doubt_about_every_connection() {
    let mut subject = Subject::new();
    subject.streams.judged(CONNECTION, judgement(1));
    subject.streams.lose_judgements();
    subject.read(&[(None, bind(""))]);
    assert_eq!(subject.close().requests, [(StatementKind::Bind, None)]);
}
