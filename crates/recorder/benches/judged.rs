//! What a judgement costs on its way through the ring: `cargo bench -p recorder`. Figures are printed, never asserted.
#![allow(clippy::unwrap_used, clippy::allow_attributes, reason = "a measurement")]

use std::hint::black_box;
use std::sync::Arc;

use model::Known;
use model::facts::{Action, Columns, Condition, Effect, Facts, Name, Object, StatementFacts};
use model::id::SocketCookie;
use model::verdict::{Judgement, Mode, Obligations, PolicyEpoch, Verdict};
use nix::time::{ClockId, clock_gettime};
use recorder::{EncodedJudgement, Item, RING_BYTES_MAX, pair};

const ROUNDS: u64 = 200;
const IN_A_ROUND: u64 = 10_000;

/// A point select on one of `number` tables.
fn judgement(number: u64) -> Judgement {
    let effect = Effect {
        action: Action::Select,
        object: Object::Relation(Name { schema: Known::Known("public".into()), name: format!("t{number}").into() }),
        columns: Columns::Named(vec!["balance".into(), "id".into()]),
        condition: Condition::Some,
    };
    let statement = StatementFacts { command: "SELECT".into(), effects: vec![effect], ..StatementFacts::default() };
    let verdict = Verdict {
        epoch: PolicyEpoch(1),
        mode: Mode::Enforce,
        denial: None,
        hold: None,
        allowed_by: Arc::new(["readers".into()]),
        obligations: Obligations::default(),
        masked: Arc::new([]),
    };
    Judgement { verdict, facts: Arc::new(Facts { statements: vec![statement], opaque: None }) }
}

/// Processor time of this thread in nanoseconds.
fn now() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap();
    u64::try_from(time.tv_sec() * 1_000_000_000 + time.tv_nsec()).unwrap()
}

/// Says judgements of so many kinds in turn, and takes them.
fn measure(kinds: u64) {
    let (mut recorder, mut intake) = pair(RING_BYTES_MAX).unwrap();
    let encoded: Vec<EncodedJudgement> = (0..kinds).map(|number| EncodedJudgement::of(&judgement(number))).collect();
    let (mut saying, mut taking) = (0, 0);
    for _ in 0..ROUNDS {
        let begin = now();
        for judgement in encoded.iter().cycle().take(usize::try_from(IN_A_ROUND).unwrap()) {
            recorder.judged(SocketCookie(1), judgement).unwrap();
        }
        let said = now();
        let mut take = |item: Item<'_>| drop(black_box(item));
        while intake.drain(4096, &mut take) > 0 {}
        saying += said - begin;
        taking += now() - said;
    }
    let each = |nanos: u64| nanos as f64 / (ROUNDS * IN_A_ROUND) as f64;
    println!("{kinds} kinds: said in {:.0} ns, taken in {:.0} ns each", each(saying), each(taking));
}

fn main() {
    let given = judgement(1);
    let begin = now();
    for _ in 0..IN_A_ROUND {
        black_box(EncodedJudgement::of(black_box(&given)));
    }
    println!("encoded in {:.0} ns", (now() - begin) as f64 / IN_A_ROUND as f64);
    measure(1);
    measure(100);
    // More than are remembered.
    measure(2000);
}
