//! What becomes of results where columns are protected.

use model::verdict::Mode;

use super::desk::Desk;
use super::{Guard, Passed, Piece};
use crate::judge::Judged;
use crate::masking::{self, ROW_BYTES_MAX};
use crate::message;
use crate::server::Fate;

impl Guard {
    /// Whether results are looked at.
    pub(super) fn masks(&self) -> bool {
        self.around.session.mode == Mode::Enforce && self.bench.masks()
    }

    /// A message goes on; its results will come, each with a plan.
    pub(super) fn expect_results(&mut self, kind: u8, judged: &Judged) {
        let results = &mut self.desk.cycles.open().results;
        if kind == b'E' && judged.plans.results.iter().any(Option::is_some) {
            self.describes = true;
            results.expect_description(true);
        }
        results.expect(&judged.plans);
    }

    /// In front of an Execute whose rows are masked: what they are.
    pub(super) fn describe(&mut self, piece: Piece<'_>, passed: &mut Passed) {
        if std::mem::take(&mut self.describes) {
            message::describe_portal(first_name(piece.bytes), &mut passed.bytes);
            passed.messages += 1;
        }
    }
}

impl Desk {
    /// Whether what comes answers the guard's own question.
    pub(super) fn answers_guard(&self) -> bool {
        self.asks_inside || self.cycles.front().is_some_and(|cycle| cycle.own)
    }

    /// An error or notice of the server as the client may have it. Details quote rows that the statement has not named (a
    /// constraint, a foreign key), so they go on nowhere; where something was hidden no text does.
    pub(super) fn quote(&self, message: &[u8], out: &mut Vec<u8>) {
        if self.protected.is_none() {
            return out.extend_from_slice(message);
        }
        if self.cycles.front().is_some_and(|cycle| cycle.results.withholds(message)) {
            return masking::withheld(message, out);
        }
        masking::without_details(message, out);
    }

    /// What becomes of a message where columns are protected. `None`: what becomes of it elsewhere.
    pub(super) fn masked_fate(&mut self, kind: u8, length: u32) -> Option<Fate> {
        let Self { protected, cycles, cells, notices, cancel, .. } = self;
        let protected = protected.as_ref()?;
        let cycle = cycles.front_mut().filter(|cycle| !cycle.own)?;
        if cycle.results.begins_doubted(kind, cycle.query) {
            cancel.wanted |= cycles.cut();
        }
        let cycle = cycles.front_mut()?;
        let is_beyond = cycle.bounds.as_ref().is_some_and(|bounds| bounds.beyond.is_some());
        let results = &mut cycle.results;
        match kind {
            b'T' if length <= ROW_BYTES_MAX => return (!is_beyond).then_some(Fate::Row),
            b'T' | b'n' => {
                let is_own = results.is_own_description();
                results.described(None, protected);
                return is_own.then_some(Fate::Drop);
            }
            b'D' if !is_beyond && results.rewrites() => return Some(Fate::Row),
            b'H' if !is_beyond && results.copies() => return Some(Fate::Row),
            b'd' if !is_beyond && let Some(rows) = results.copied_rows() => {
                if length > ROW_BYTES_MAX {
                    rows.blank(notices);
                    return Some(Fate::Drop);
                }
                return Some(Fate::Row);
            }
            b'C' | b's' | b'I' if cycle.query => results.ended(cells),
            b'C' | b's' | b'I' => results.message_ended(cells),
            // Also where another one is exchanged: a long one passes nowhere.
            b'E' => {
                results.failed(cells);
                // Of a bound that was crossed the client hears with ReadyForQuery.
                let is_dropped = is_beyond && length > ROW_BYTES_MAX;
                return Some(if is_dropped { Fate::Drop } else { withheld_fate(length, notices) });
            }
            b'N' => return Some(if length > ROW_BYTES_MAX { Fate::Drop } else { Fate::Row }),
            _ => {}
        }
        None
    }

    /// A description: the guard's own is not the client's.
    pub(super) fn described(&mut self, message: &[u8], out: &mut Vec<u8>) {
        let (Some(protected), Some(cycle)) = (&self.protected, self.cycles.front_mut()) else { return };
        if !cycle.results.is_own_description() {
            out.extend_from_slice(message);
        }
        cycle.results.described(message.get(5..), protected);
    }

    /// A COPY to the client begins.
    pub(super) fn copy_begins(&mut self, message: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(message);
        if let Some(cycle) = self.cycles.front_mut() {
            cycle.results.copy_begins(message.get(5..).unwrap_or_default());
        }
    }

    /// A row of it.
    pub(super) fn rewrite_copied(&mut self, message: &[u8], out: &mut Vec<u8>) {
        if let Some(rows) = self.cycles.front_mut().and_then(|cycle| cycle.results.copied_rows()) {
            rows.rewrite(message.get(5..).unwrap_or_default(), out);
        }
    }

    /// A row.
    pub(super) fn rewrite(&mut self, message: &[u8], out: &mut Vec<u8>) {
        if let Some(cycle) = self.cycles.front_mut().filter(|cycle| !cycle.own) {
            cycle.results.rows().rewrite(message.get(5..).unwrap_or_default(), out);
        }
    }
}

/// An error whose text is withheld. One that is too long to be looked at is exchanged for another.
fn withheld_fate(length: u32, notices: &mut Vec<u8>) -> Fate {
    if length <= ROW_BYTES_MAX {
        return Fate::Row;
    }
    message::report_withheld(b'E', &[(b'S', b"ERROR"), (b'V', b"ERROR"), (b'C', b"XX000")], notices);
    Fate::Drop
}

/// The first text in a message: the name of a portal in Execute.
fn first_name(message: &[u8]) -> &[u8] {
    let body = message.get(5..).unwrap_or_default();
    body.split(|byte| *byte == 0).next().unwrap_or_default()
}
