//! A plan that has met the description of a result: rewrites its rows.
//!
//! The description can only add masks: a result of another width than planned is masked whole, and so is a column that
//! the server says is a hidden one, or one of a relation that nobody knows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::lineage::Sources;

use crate::description::{Column, Description};
use crate::detect::Detector;
use crate::fill::Fill;
use crate::plan::{Cell, Columns, Plan, RULE_UNKNOWN};
use crate::protection::{Mask, Settings, Source};
use crate::token::Key;
use crate::types::{Format, Type};
use crate::value;

/// The rule of a result that is not what was planned.
pub const RULE_UNEXPECTED: &str = "unexpected-result";
/// What stands in the place of a text in which a detector has found something.
const DETECTED: &[u8] = b"***";
/// NULL as a length (chapter 55.7, `D`).
pub(crate) const NULL: [u8; 4] = [0xff; 4];

/// Rewrites the rows of one result.
#[derive(Clone, Debug)]
pub struct Rows {
    actions: Vec<Action>,
    detectors: BTreeSet<Detector>,
    key: Option<Key>,
    /// Cells that were masked, by rule.
    cells: BTreeMap<Arc<str>, u64>,
    fill: Option<Fill>,
}

#[derive(Clone, Debug)]
struct Action {
    cell: Option<Cell>,
    kind: Type,
    format: Format,
}

impl Rows {
    /// For a result that the server has described. `sources` says from which protected columns the values of a column of a
    /// relation come, both by their numbers; `None`: from any.
    #[must_use]
    pub fn new(
        plan: &Plan,
        description: &Description,
        settings: &Settings,
        mut sources: impl FnMut(u32, i16) -> Option<Arc<[Source]>>,
    ) -> Self {
        let width = description.columns.len();
        let mut action = |place: usize, column: &Column| {
            let cell = planned(&plan.columns, place, width).or_else(|| checked(column, &mut sources, &plan.clear));
            let format = if column.is_binary { Format::Binary } else { Format::Text };
            Action { cell, kind: Type::of(column.type_oid), format }
        };
        Self {
            actions: description.columns.iter().enumerate().map(|(place, column)| action(place, column)).collect(),
            detectors: settings.detectors.clone(),
            key: settings.key.clone(),
            cells: BTreeMap::new(),
            fill: None,
        }
    }

    /// For a result that nobody has described: nothing of it is shown.
    #[must_use]
    pub const fn blind() -> Self {
        Self { actions: Vec::new(), detectors: BTreeSet::new(), key: None, cells: BTreeMap::new(), fill: None }
    }

    /// Whether rows can go on as they are.
    #[must_use]
    pub fn is_clear(&self) -> bool {
        !self.actions.is_empty() && self.detectors.is_empty() && self.actions.iter().all(|action| action.cell.is_none())
    }

    /// Cells that were masked, by rule.
    #[must_use]
    pub const fn cells(&self) -> &BTreeMap<Arc<str>, u64> {
        &self.cells
    }

    /// Appends what the client gets for the body of a DataRow: a whole message of as many columns.
    pub fn rewrite(&mut self, body: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(b"D\0\0\0\0");
        if self.write(body, out).is_none() {
            out.truncate(start.saturating_add(5));
            self.write_nulls(body, out);
        }
        let length = u32::try_from(out.len().saturating_sub(start).saturating_sub(1)).unwrap_or(u32::MAX);
        if let Some(place) = out.get_mut(start.saturating_add(1)..start.saturating_add(5)) {
            place.copy_from_slice(&length.to_be_bytes());
        }
    }

    /// `None`: the row is not what was described.
    fn write(&mut self, body: &[u8], out: &mut Vec<u8>) -> Option<()> {
        let (count, mut rest) = body.split_first_chunk::<2>()?;
        if usize::from(u16::from_be_bytes(*count)) != self.actions.len() {
            return None;
        }
        out.extend_from_slice(count);
        let Self { actions, detectors, key, cells, .. } = self;
        for action in actions {
            let (size, behind) = rest.split_first_chunk::<4>()?;
            if *size == NULL {
                out.extend_from_slice(size);
                rest = behind;
                continue;
            }
            let (value, behind) = behind.split_at_checked(usize::try_from(u32::from_be_bytes(*size)).ok()?)?;
            rest = behind;
            action.write(value, detectors, key.as_ref(), cells, out);
        }
        rest.is_empty().then_some(())
    }

    /// A row with nothing in it, as wide as the server says.
    fn write_nulls(&mut self, body: &[u8], out: &mut Vec<u8>) {
        let count = body.first_chunk::<2>().copied().unwrap_or_default();
        out.extend_from_slice(&count);
        let width = u16::from_be_bytes(count);
        (0..width).for_each(|_| out.extend_from_slice(&NULL));
        add(&mut self.cells, &RULE_UNEXPECTED.into(), u64::from(width));
    }

    /// A row begins that is too long to be collected: its values keep their lengths, and hidden ones are filled.
    pub fn begin_long(&mut self) {
        let hidden =
            self.actions.iter().map(|action| (action.cell.is_some() || !self.detectors.is_empty(), action.kind));
        self.fill = Some(Fill::new(hidden.collect()));
    }

    /// More of that row's body, rewritten in place.
    pub fn go_on_long(&mut self, chunk: &mut [u8]) {
        if let Some(fill) = &mut self.fill {
            fill.take(chunk);
        }
    }
}

impl Action {
    fn write(
        &self,
        value: &[u8],
        detectors: &BTreeSet<Detector>,
        key: Option<&Key>,
        cells: &mut BTreeMap<Arc<str>, u64>,
        out: &mut Vec<u8>,
    ) {
        let start = out.len();
        out.extend_from_slice(&NULL);
        let is_there = match &self.cell {
            Some(cell) => {
                add(cells, &cell.rule, 1);
                value::write(&cell.mask, self.kind, self.format, value, key, out)
            }
            None => match detectors.iter().find(|detector| self.may_hold_text() && detector.finds(value)) {
                Some(detector) => {
                    add(cells, &format!("detected-{}", detector.word()).into(), 1);
                    // Only a text can be told apart from NULL and still be of its type.
                    let is_text = self.kind == Type::Text;
                    out.extend_from_slice(if is_text { DETECTED } else { &[] });
                    is_text
                }
                None => {
                    out.extend_from_slice(value);
                    true
                }
            },
        };
        if !is_there {
            return out.truncate(start.saturating_add(4));
        }
        let written = out.len().saturating_sub(start).saturating_sub(4);
        let size = i32::try_from(written).unwrap_or(i32::MAX);
        if let Some(place) = out.get_mut(start..start.saturating_add(4)) {
            place.copy_from_slice(&size.to_be_bytes());
        }
    }

    /// Whether there may be text in the bytes: of arrays and JSON as well as of text. Of numbers one in ten has a check
    /// digit that is right: they are left alone.
    const fn may_hold_text(&self) -> bool {
        matches!(self.kind, Type::Text | Type::Json | Type::Other)
    }
}

pub(crate) fn add(cells: &mut BTreeMap<Arc<str>, u64>, rule: &Arc<str>, count: u64) {
    match cells.get_mut(rule) {
        Some(known) => *known = known.saturating_add(count),
        None => _ = cells.insert(Arc::clone(rule), count),
    }
}

/// What the plan says about a column.
fn planned(columns: &Columns, place: usize, width: usize) -> Option<Cell> {
    match columns {
        Columns::Every(cell) => cell.clone(),
        Columns::Each(each) if each.len() == width => each.get(place).cloned().flatten(),
        Columns::Each(_) => Some(Cell { rule: RULE_UNEXPECTED.into(), mask: Mask::Null }),
    }
}

/// What the server says about a column that the plan leaves in clear. `clear`: what the principal may read.
fn checked(
    column: &Column,
    sources: &mut impl FnMut(u32, i16) -> Option<Arc<[Source]>>,
    clear: &Sources,
) -> Option<Cell> {
    // Of no relation, a whole row, or a column of the system: the plan has followed it.
    if column.relation == 0 || column.number <= 0 {
        return None;
    }
    let rule = match sources(column.relation, column.number) {
        Some(sources) => Arc::clone(&sources.iter().find(|source| !clear.contains(&source.column))?.rule),
        None => RULE_UNKNOWN.into(),
    };
    Some(Cell { rule, mask: Mask::Null })
}
