//! The series of one database, held so that counting a statement hashes no labels and allocates nothing.

use model::session::Ledger;
use model::statement::{Ending, Outcome, Statement, StatementKind};
use model::verdict::Judgement;
use prometheus::{Gauge, Histogram, IntCounter};

use crate::families::Families;
use crate::sqlstate;
use crate::verdicts::Verdicts;

const KINDS: [&str; 6] = ["simple", "execute", "parse", "bind", "describe", "function_call"];
const ENDINGS: [&str; 4] = ["answered", "discarded", "unanswered", "lost"];

/// A session's direction and layer, in the order of [`amounts`].
const BYTES: [(&str, &str); 5] =
    [("received", "socket"), ("sent", "socket"), ("received", "content"), ("sent", "content"), ("both", "captured")];

const fn amounts(ledger: &Ledger) -> [u64; BYTES.len()] {
    [ledger.socket_received, ledger.socket_sent, ledger.content_received, ledger.content_sent, ledger.captured]
}

pub(crate) struct Database {
    pub(crate) name: String,
    /// By kind and ending; a series exists from its first statement on.
    statements: [[Option<IntCounter>; ENDINGS.len()]; KINDS.len()],
    errors: [Option<IntCounter>; sqlstate::SLOTS],
    verdicts: Verdicts,
    duration: Histogram,
    bytes: [IntCounter; BYTES.len()],
    /// Absent before the first byte: unknown is not 0.
    coverage: Option<Gauge>,
    socket_bytes: u64,
    covered_bytes: u64,
}

impl Database {
    pub(crate) fn new(families: &Families, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            statements: Default::default(),
            errors: [const { None }; sqlstate::SLOTS],
            verdicts: Verdicts::default(),
            duration: families.statement_duration.with_label_values(&[name]),
            bytes: BYTES.map(|(direction, layer)| families.session_bytes.with_label_values(&[name, direction, layer])),
            coverage: None,
            socket_bytes: 0,
            covered_bytes: 0,
        }
    }

    pub(crate) fn statement(&mut self, families: &Families, statement: &Statement) {
        let (kind, ending) = (kind_slot(statement.kind), ending_slot(statement.ending));
        let labels = || [&*self.name, KINDS[kind], ENDINGS[ending]];
        self.statements[kind][ending].get_or_insert_with(|| families.statements.with_label_values(&labels())).inc();
        if let Some(finished) = statement.finished {
            self.duration.observe(finished.nanos_since(statement.started) as f64 / 1e9);
        }
        for outcome in &statement.outcomes {
            if let Outcome::Failed { sqlstate, .. } = outcome {
                let slot = sqlstate::slot(sqlstate);
                let labels = || [&*self.name, sqlstate::label(slot)];
                self.errors[slot].get_or_insert_with(|| families.statement_errors.with_label_values(&labels())).inc();
            }
        }
    }

    pub(crate) fn verdict(&mut self, families: &Families, judgement: &Judgement) {
        self.verdicts.count(families, &self.name, judgement);
    }

    /// Accounts for what a session's ledger grew by.
    pub(crate) fn ledger(&mut self, families: &Families, before: &Ledger, now: &Ledger) {
        for ((counter, before), now) in self.bytes.iter().zip(amounts(before)).zip(amounts(now)) {
            counter.inc_by(now.saturating_sub(before));
        }
        // The covered part of one session can also shrink: bytes are seen on the socket before they are explained.
        self.socket_bytes = (self.socket_bytes + socket(now)).saturating_sub(socket(before));
        self.covered_bytes = (self.covered_bytes + covered(now)).saturating_sub(covered(before));
        if self.socket_bytes > 0 {
            let coverage = self.coverage.get_or_insert_with(|| families.coverage.with_label_values(&[&*self.name]));
            coverage.set(self.covered_bytes as f64 / self.socket_bytes as f64);
        }
    }
}

const fn socket(ledger: &Ledger) -> u64 {
    ledger.socket_received.saturating_add(ledger.socket_sent)
}

fn covered(ledger: &Ledger) -> u64 {
    match ledger.coverage_ppm() {
        None => 0,
        // Rounded down to a millionth in general, but what is complete stays complete.
        Some(1_000_000) => socket(ledger),
        Some(ppm) => u64::try_from(u128::from(socket(ledger)) * u128::from(ppm) / 1_000_000).unwrap_or(u64::MAX),
    }
}

const fn kind_slot(kind: StatementKind) -> usize {
    match kind {
        StatementKind::Simple => 0,
        StatementKind::Execute => 1,
        StatementKind::Parse => 2,
        StatementKind::Bind => 3,
        StatementKind::Describe => 4,
        StatementKind::FunctionCall { .. } => 5,
    }
}

const fn ending_slot(ending: Ending) -> usize {
    match ending {
        Ending::Answered => 0,
        Ending::Discarded => 1,
        Ending::Unanswered => 2,
        Ending::Lost => 3,
    }
}
