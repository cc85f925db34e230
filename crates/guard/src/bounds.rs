//! What one cycle may return, and for how long it may run: the tightest bounds of its statements.
//!
//! Bounds are about what leaves: beyond them nothing of the cycle reaches the client but one error, and the server is
//! asked to cancel.

use std::sync::Arc;

use model::time::BootTime;
use model::verdict::{Denial, Obligations, Verdict};

use crate::given::Amount;

/// Bounds, and what was counted.
#[derive(Debug)]
pub(crate) struct Bounds {
    rows_max: u64,
    bytes_max: u64,
    pub(crate) given: Amount,
    /// Cursors and portals whose rows they are.
    pub(crate) givers: Vec<Arc<str>>,
    /// When it must have ended.
    pub(crate) deadline: Option<BootTime>,
    rule: String,
    pub(crate) beyond: Option<Beyond>,
}

/// A bound that was crossed.
#[derive(Debug)]
pub(crate) struct Beyond {
    /// What the client gets; taken when it got it.
    pub(crate) error: Option<Denial>,
}

impl Bounds {
    /// Those of a verdict; `None`: it has none.
    pub(crate) fn of(verdict: &Verdict, at: BootTime) -> Option<Self> {
        let Obligations { rows_max, bytes_max, runtime_max, .. } = verdict.obligations;
        if rows_max.is_none() && bytes_max.is_none() && runtime_max.is_none() {
            return None;
        }
        let deadline = runtime_max.map(|millis| BootTime(at.0.saturating_add(millis.saturating_mul(1_000_000))));
        Some(Self {
            rows_max: rows_max.unwrap_or(u64::MAX),
            bytes_max: bytes_max.unwrap_or(u64::MAX),
            given: Amount::default(),
            givers: Vec::new(),
            deadline,
            rule: verdict.allowed_by.first().map_or_else(|| "default".to_owned(), ToString::to_string),
            beyond: None,
        })
    }

    /// There are none.
    pub(crate) fn none() -> Self {
        Self {
            rows_max: u64::MAX,
            bytes_max: u64::MAX,
            given: Amount::default(),
            givers: Vec::new(),
            deadline: None,
            rule: "masking".to_owned(),
            beyond: None,
        }
    }

    /// The rows are those of cursors and portals that have given so much before.
    pub(crate) fn go_on(self, givers: Vec<Arc<str>>, given: Amount) -> Self {
        Self { givers, given, ..self }
    }

    /// Another statement of the cycle has these.
    pub(crate) fn tighten(&mut self, other: Self) {
        self.rows_max = self.rows_max.min(other.rows_max);
        self.bytes_max = self.bytes_max.min(other.bytes_max);
        self.deadline = self.deadline.into_iter().chain(other.deadline).min();
        self.given = self.given.max(other.given);
        self.givers.extend(other.givers);
    }

    /// Counts a row of so many bytes. Whether a bound was crossed just now.
    pub(crate) fn row(&mut self, bytes: u64) -> bool {
        self.given.rows = self.given.rows.saturating_add(1);
        self.given.bytes = self.given.bytes.saturating_add(bytes);
        let what = if self.given.rows > self.rows_max {
            format!("more than {} rows", self.rows_max)
        } else if self.given.bytes > self.bytes_max {
            format!("more than {} bytes", self.bytes_max)
        } else {
            return false;
        };
        self.cross(&what, "ask for less: a WHERE, a LIMIT, fewer columns")
    }

    /// Whether its time has run out just now.
    pub(crate) fn expires(&mut self, now: BootTime) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
            && self.cross("a longer run", "ask for less, or for a longer time in the policy")
    }

    /// What it returns may not be what was judged. Whether that is news.
    pub(crate) fn go_stale(&mut self) -> bool {
        self.end_with(Denial {
            rule: "masking".into(),
            what: "the result".into(),
            reason: "while the statement waited or ran, another session changed what it reads, so what it shows is not known; \
                     what it has written may stay"
                .into(),
            remedy: "send it again".into(),
            sqlstate: "55000",
        })
    }

    fn cross(&mut self, what: &str, remedy: &str) -> bool {
        self.end_with(Denial {
            rule: self.rule.as_str().into(),
            what: what.into(),
            reason: "the policy allows the statement with a bound, which it has crossed".into(),
            remedy: remedy.into(),
            sqlstate: "54000",
        })
    }

    fn end_with(&mut self, error: Denial) -> bool {
        let is_first = self.beyond.is_none();
        self.beyond.get_or_insert(Beyond { error: Some(error) });
        is_first
    }
}
