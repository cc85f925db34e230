//! A judgement becomes that of its own request and statement, or of none, whatever is asked, answered and lost.

use std::collections::VecDeque;
use std::sync::Arc;

use model::facts::Facts;
use model::request::Request;
use model::statement::{Ending, Statement, StatementKind, Text, UnknownText};
use model::time::BootTime;
use model::verdict::{Judgement, Mode, Obligations, PolicyEpoch, Verdict};
use model::wire::{Side, WireEvent};
use proptest::prelude::*;
use sessions::judgements::{ASKED_MAX, Judgements};

const KINDS: [StatementKind; 4] =
    [StatementKind::Simple, StatementKind::Parse, StatementKind::Bind, StatementKind::Execute];

/// What happens on a connection.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// The next messages come with another read.
    Read,
    /// A message, and whether it is judged.
    Ask(StatementKind, bool),
    /// The oldest message is answered, and whether it fails.
    Answer { fails: bool },
    /// Something is lost.
    Lose,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Read),
        8 => (prop::sample::select(&KINDS[..]), prop::bool::weighted(0.8)).prop_map(|(kind, judged)| Step::Ask(kind, judged)),
        8 => any::<bool>().prop_map(|fails| Step::Answer { fails }),
        1 => Just(Step::Lose),
    ]
}

/// The number of a message is the epoch of its judgement.
fn judgement(epoch: u64) -> Arc<Judgement> {
    let verdict = Verdict {
        epoch: PolicyEpoch(epoch),
        mode: Mode::Observe,
        denial: None,
        hold: None,
        allowed_by: Arc::new([]),
        obligations: Obligations::default(),
        masked: Arc::new([]),
    };
    Arc::new(Judgement { verdict, facts: Arc::new(Facts::default()) })
}

fn request(kind: StatementKind, at: BootTime) -> WireEvent {
    WireEvent::Requested(Box::new(Request {
        kind,
        text: Text::Unknown(UnknownText::None),
        doubtful: false,
        prepared: None,
        portal: None,
        parameters: None,
        row_limit: 0,
        at,
        redacted: false,
        judgement: None,
    }))
}

fn statement(kind: StatementKind, started: BootTime) -> WireEvent {
    WireEvent::Statement(Box::new(Statement {
        kind,
        text: Text::Unknown(UnknownText::None),
        prepared: None,
        portal: None,
        parameters: None,
        row_limit: 0,
        resumed: false,
        transaction_before: None,
        transaction_after: None,
        started,
        finished: None,
        outcomes: Vec::new(),
        outcomes_dropped: 0,
        rows_sent: 0,
        notices: 0,
        copy_bytes: 0,
        ending: Ending::Answered,
        redacted: false,
        judgement: None,
    }))
}

/// One connection, and what is true of it.
#[derive(Default)]
struct Subject {
    judgements: Judgements,
    now: u64,
    messages: u64,
    /// Messages without an answer: number, kind, time, whether judged.
    open: VecDeque<(u64, StatementKind, BootTime, bool)>,
    /// Statements that got their judgement.
    attached: u64,
    has_lost: bool,
}

impl Subject {
    fn step(&mut self, step: Step) {
        match step {
            Step::Read => self.now += 1,
            Step::Ask(kind, judged) => self.ask(kind, judged),
            Step::Answer { fails } => self.answer(fails),
            Step::Lose => {
                self.has_lost = true;
                self.judgements.attach(&mut WireEvent::Gap { side: Side::Client, bytes: None });
            }
        }
    }

    fn ask(&mut self, kind: StatementKind, judged: bool) {
        self.messages += 1;
        if judged {
            self.judgements.judged(judgement(self.messages));
        }
        let at = BootTime(self.now);
        let mut event = request(kind, at);
        self.judgements.attach(&mut event);
        let WireEvent::Requested(request) = event else { return };
        assert_eq!(request.judgement, judged.then(|| judgement(self.messages)));
        self.open.push_back((self.messages, kind, at, judged));
    }

    fn answer(&mut self, fails: bool) {
        let Some((number, kind, at, judged)) = self.open.pop_front() else { return };
        let is_statement = fails || !matches!(kind, StatementKind::Parse | StatementKind::Bind);
        if !is_statement {
            return;
        }
        let mut event = statement(kind, at);
        self.judgements.attach(&mut event);
        let WireEvent::Statement(statement) = event else { return };
        match statement.judgement {
            Some(attached) => {
                assert_eq!((Some(attached.verdict.epoch.0), true), (Some(number), judged), "another one's judgement");
                self.attached += 1;
            }
            None => {
                let is_certain = !matches!(kind, StatementKind::Parse | StatementKind::Bind);
                assert!(!judged || self.has_lost || !is_certain, "nothing was lost, and yet it has none");
            }
        }
    }
}

proptest! {
    #[test]
    fn no_statement_gets_the_judgement_of_another(steps in prop::collection::vec(step(), 0..400)) {
        let mut subject = Subject::default();
        for step in steps {
            subject.step(step);
        }
    }
}

#[test]
fn what_is_kept_has_a_bound_and_what_is_forgotten_is_not_mixed_up() {
    let mut subject = Subject { has_lost: true, ..Subject::default() };
    for _ in 0..ASKED_MAX + 100 {
        subject.step(Step::Ask(StatementKind::Execute, true));
    }
    for _ in 0..ASKED_MAX + 100 {
        subject.step(Step::Answer { fails: false });
    }
    assert_eq!(subject.attached, 0, "all of one read: nobody can tell them apart");
    for step in [Step::Read, Step::Ask(StatementKind::Execute, true), Step::Answer { fails: false }] {
        subject.step(step);
    }
    assert_eq!(subject.attached, 1);
}

#[test]
fn one_that_found_no_request_gives_way_to_the_next() {
    let mut subject = Subject::default();
    subject.judgements.judged(judgement(99));
    subject.step(Step::Ask(StatementKind::Simple, true));
    subject.step(Step::Answer { fails: false });
    assert_eq!(subject.attached, 1);
}
