//! What was decided, in numbers. Counted when a request is recorded: once for each message.

use model::facts::OpaqueReason;
use model::verdict::{Judgement, Mode};
use prometheus::IntCounter;

use crate::families::Families;
use crate::metrics::OTHER;

/// Rules with series of their own: those that are met first. The others share the name [`OTHER`].
pub const RULES_MAX: usize = 64;

const DECISIONS: [&str; 3] = ["allowed", "refused", "would_refuse"];
/// Behind the reasons: everything is understood.
const REASONS: usize = OpaqueReason::ALL.len() + 1;

/// The series of one database; each exists from its first verdict on.
#[derive(Default)]
pub(crate) struct Verdicts([[Option<IntCounter>; REASONS]; DECISIONS.len()]);

impl Verdicts {
    pub(crate) fn count(&mut self, families: &Families, database: &str, judgement: &Judgement) {
        let decision = match (&judgement.verdict.denial, judgement.verdict.mode) {
            (None, _) => 0,
            (Some(_), Mode::Enforce) => 1,
            (Some(_), Mode::Observe | Mode::Warn) => 2,
        };
        let reason = first_reason(judgement);
        let slot = reason.map_or(REASONS - 1, |reason| reason as usize);
        let labels = || [database, DECISIONS[decision], reason.map_or("", OpaqueReason::word)];
        self.0[decision][slot].get_or_insert_with(|| families.verdicts.with_label_values(&labels())).inc();
    }
}

/// Why it is not understood, or the first part of it that is not.
fn first_reason(judgement: &Judgement) -> Option<OpaqueReason> {
    let of_parts = judgement.facts.statements.iter().flat_map(|statement| &statement.opaque);
    judgement.facts.opaque.iter().chain(of_parts).next().copied()
}

/// The rules that have refused something, or would have.
#[derive(Default)]
pub(crate) struct Rules(Vec<(String, IntCounter)>);

impl Rules {
    pub(crate) fn count(&mut self, families: &Families, rule: &str) {
        if let Some((_, counter)) = self.0.iter().find(|(known, _)| known == rule) {
            return counter.inc();
        }
        if self.0.len() >= RULES_MAX {
            return families.rules.with_label_values(&[OTHER]).inc();
        }
        let counter = families.rules.with_label_values(&[rule]);
        counter.inc();
        self.0.push((rule.to_owned(), counter));
    }
}
