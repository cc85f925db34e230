//! COPY and replication streams: data is counted, never read (55.2.7 COPY Operations).
//!
//! While the server reads COPY data it ignores Flush and Sync, so those have no answer. Which ones it ignored is
//! certain once the COPY has completed: all up to CopyDone. After a failed COPY it is not, if a Sync lies between.

use model::statement::{CopyDirection, Outcome, Statement};

use crate::queue::Request;
use crate::session::{Session, Sink};

impl Session {
    /// CopyInResponse, CopyOutResponse, CopyBothResponse.
    pub(crate) fn copy_started(&mut self, direction: CopyDirection, sink: Sink<'_>) {
        let limits = self.limits;
        let Some(statement) = self.running() else {
            return self.unexpected(sink);
        };
        add_outcome(statement, Outcome::CopyStarted { direction }, limits.outcomes_max);
        self.copy = Some(direction);
    }

    /// CopyData of the client. It is of no interest to anybody where no COPY is going on: the server drops it too.
    pub(crate) fn copy_data_in(&mut self, bytes: u64) {
        if matches!(self.copy, Some(CopyDirection::In | CopyDirection::Both))
            && let Some(statement) = self.running()
        {
            statement.copy_bytes = statement.copy_bytes.saturating_add(bytes);
        }
    }

    /// CopyData of the server.
    pub(crate) fn copy_data_out(&mut self, messages: u64, bytes: u64, sink: Sink<'_>) {
        let (Some(direction), Some(statement)) = (self.copy, self.running()) else {
            return self.unexpected(sink);
        };
        statement.copy_bytes = statement.copy_bytes.saturating_add(bytes);
        if direction == CopyDirection::Out {
            statement.rows_sent = statement.rows_sent.saturating_add(messages);
        }
    }

    /// CopyDone or CopyFail of the client. It matters only behind a request that may be a COPY.
    pub(crate) fn copy_end(&mut self, sink: Sink<'_>) {
        if !self.queue.is_empty() && self.discarded.is_none() {
            self.ask(Request::CopyEnd, sink);
        }
    }

    /// The COPY of the oldest request has completed: the server has read everything up to CopyDone.
    pub(crate) fn skip_copied(&mut self) {
        let mut ignored = 0_usize;
        for request in self.queue.iter().skip(1) {
            match request {
                Request::Sync => ignored = ignored.saturating_add(1),
                Request::CopyEnd => {
                    ignored = ignored.saturating_add(1);
                    break;
                }
                // CopyDone was lost: it lies in the hole.
                Request::Gap => break,
                _ => return,
            }
        }
        self.queue.remove_behind_front(ignored);
    }

    /// A COPY has failed while a Sync was on its way, before CopyDone: whether the server ignored it is not known.
    pub(crate) fn copy_failure_is_ambiguous(&self) -> bool {
        matches!(self.copy, Some(CopyDirection::In)) && matches!(self.queue.iter().nth(1), Some(Request::Sync))
    }
}

/// Appends an outcome within the limit.
pub(crate) fn add_outcome(statement: &mut Statement, outcome: Outcome, outcomes_max: u32) {
    if statement.outcomes.len() as u64 >= u64::from(outcomes_max) {
        statement.outcomes_dropped = statement.outcomes_dropped.saturating_add(1);
    } else {
        statement.outcomes.push(outcome);
    }
}
