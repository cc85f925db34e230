//! A statement's lineage against what is protected: it goes on as it is, or with a plan, or not at all.

use std::sync::Arc;

use model::facts::OpaqueReason;
use model::lineage::{CopyForm, Lineage, Origin, Output, Rows, Sources, StoredColumn};

use crate::protection::{Mask, Predicates, Protection, Rule, Sight, WhenUnknown};

/// What a column that is in no relation is called: whoever may read it in clear may read everything.
pub const ANYTHING: &str = "*";
/// The rule of a column that is masked because nobody knows where it comes from.
pub const RULE_UNKNOWN: &str = "unknown-origin";
/// What somebody can do whose statement is not followed.
const SIMPLER: &str = "write it in simpler words, or ask for the right to read in clear";

/// What becomes of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Planned {
    /// Nothing of it is hidden from the principal.
    Clear,
    /// It goes on, and its result is rewritten or looked at.
    Masked(Arc<Plan>),
    /// It would show, keep or narrow down hidden values in a way that cannot be masked.
    Refused(Refusal),
}

/// Why a statement cannot go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The rule that protects what it is about.
    pub rule: Arc<str>,
    /// What it does.
    pub what: String,
    /// What that would mean.
    pub reason: String,
    /// What to do instead.
    pub remedy: String,
}

/// What the result of a statement looks like to the principal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Its columns.
    pub columns: Columns,
    /// It is a COPY whose rows are rewritten: how they are written.
    pub copy: Option<CopyForm>,
    /// Whether errors and notices may quote hidden values: their texts are replaced.
    pub withholds_texts: bool,
    /// Protected columns that the principal may read, as far as the statement has them.
    pub clear: Sources,
    /// Columns of the result that are masked, by the rule: for records.
    pub masked: Vec<Masked>,
}

/// A column of a result that is masked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Masked {
    /// Its place, from 0; `None`: every one.
    pub place: Option<usize>,
    /// By which rule.
    pub rule: Arc<str>,
    /// What is hidden, as `schema.relation.column`; empty: it is not known.
    pub column: String,
}

/// The columns of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Columns {
    /// Each, in order; `None`: in clear. A result of another width is masked whole.
    Each(Vec<Option<Cell>>),
    /// However many there are.
    Every(Option<Cell>),
}

impl Columns {
    /// Whatever is masked is NULL.
    fn be_null(&mut self) {
        let cells = match self {
            Self::Each(each) => each.as_mut_slice(),
            Self::Every(cell) => std::slice::from_mut(cell),
        };
        cells.iter_mut().flatten().for_each(|cell| cell.mask = Mask::Null);
    }
}

/// How a column is masked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    /// By which rule.
    pub rule: Arc<str>,
    /// What stands there. NULL for everything that is not the stored value itself.
    pub mask: Mask,
}

/// Plans a statement. `lineage`, or why it is not understood. `may_read` says whether the principal may read a
/// column in clear; it is asked about `*.*.*` where a statement may read anything.
pub fn plan(
    protection: &Protection,
    lineage: Result<&Lineage, OpaqueReason>,
    may_read: impl FnMut(&StoredColumn, &Rule) -> bool,
) -> Planned {
    let mut planner = Planner { protection, sight: Sight::new(protection, may_read) };
    if protection.rules().is_empty() {
        return planner.nothing_hidden();
    }
    match planner.plan(lineage) {
        Ok(planned) => planned,
        Err(refusal) => Planned::Refused(refusal),
    }
}

/// Whether the principal may read whatever there is.
pub fn sees_everything(protection: &Protection, mut may_read: impl FnMut(&StoredColumn, &Rule) -> bool) -> bool {
    let anything = anything();
    protection.rules().iter().all(|rule| may_read(&anything, rule))
}

/// The column that stands for anything.
#[must_use]
pub fn anything() -> StoredColumn {
    StoredColumn { schema: ANYTHING.into(), relation: ANYTHING.into(), name: ANYTHING.into() }
}

struct Planner<'a, F> {
    protection: &'a Protection,
    sight: Sight<'a, F>,
}

impl<F: FnMut(&StoredColumn, &Rule) -> bool> Planner<'_, F> {
    fn plan(&mut self, lineage: Result<&Lineage, OpaqueReason>) -> Result<Planned, Refusal> {
        let lineage = match lineage {
            Ok(lineage) => lineage,
            Err(_) if self.sees_everything() => return Ok(Planned::Clear),
            Err(why) => return Err(opaque(why)),
        };
        let untrusted = lineage.calls.iter().find(|function| !self.protection.trusts(function));
        let doubt = match (lineage.unknown, untrusted) {
            (Some(reason), _) => Some(format!("a part of it is not followed ({})", reason.word())),
            (None, Some(function)) => Some(format!("it calls {}, whose code may read anything", function.name)),
            (None, None) => None,
        };
        if let Some(doubt) = &doubt {
            if self.sees_everything() {
                return Ok(Planned::Clear);
            }
            if self.protection.settings().unknown == WhenUnknown::Refuse || !is_rows(&lineage.output) {
                return Err(not_understood(doubt));
            }
        }
        self.check_stored(lineage)?;
        self.check_conditions(lineage)?;
        let (columns, masked) = self.output(&lineage.output, doubt.is_some())?;
        let copy = match &lineage.output {
            Output::Copy(_, form) if !masked.is_empty() => form.clone(),
            _ => None,
        };
        let reads_any = lineage.reads_unknown.is_some() && !self.sees_everything();
        let reads_hidden = reads_any || self.first_hidden(&lineage.reads).is_some();
        if !reads_hidden && masked.is_empty() && doubt.is_none() {
            return Ok(self.nothing_hidden());
        }
        let clear = self.sight.clear.clone();
        Ok(Planned::Masked(Arc::new(Plan { columns, copy, withholds_texts: true, clear, masked })))
    }

    /// No column is hidden; detectors look at the values all the same.
    fn nothing_hidden(&self) -> Planned {
        if self.protection.settings().detectors.is_empty() {
            return Planned::Clear;
        }
        let (columns, clear) = (Columns::Every(None), self.sight.clear.clone());
        Planned::Masked(Arc::new(Plan { columns, copy: None, withholds_texts: false, clear, masked: Vec::new() }))
    }

    fn sees_everything(&mut self) -> bool {
        sees_everything(self.protection, &mut self.sight.may_read)
    }

    fn first_hidden(&mut self, sources: &Sources) -> Option<(StoredColumn, Rule)> {
        sources.iter().find_map(|column| Some((column.clone(), self.sight.hidden_by(column)?.clone())))
    }

    /// Hidden values may go as they are to where they are hidden by the same rule, and nowhere else: of one that is made of
    /// them, a later test for equality would tell as much as a condition.
    fn check_stored(&mut self, lineage: &Lineage) -> Result<(), Refusal> {
        for stored in &lineage.stored {
            if matches!(stored.origin, Origin::Unknown(_)) {
                return Err(not_understood("values whose origin is not known would be kept"));
            }
            for column in stored.origin.sources() {
                let Some(rule) = self.sight.hidden_by(column) else { continue };
                let target = stored.target.as_ref().and_then(|target| self.sight.hidden_by(target));
                let reason = match stored.origin {
                    Origin::Direct(_) if target.is_some_and(|of| of.name == rule.name) => continue,
                    Origin::Derived(_) if target.is_some() => "what is made of them would tell about them",
                    _ => "where it would keep them, they are not protected",
                };
                let remedy = "write other values, or ask for the right to read the column in clear";
                return Err(refusal(rule, column, "keeps values of", reason, remedy));
            }
        }
        Ok(())
    }

    fn check_conditions(&mut self, lineage: &Lineage) -> Result<(), Refusal> {
        let predicates = self.protection.settings().predicates;
        if predicates == Predicates::DangerAny {
            return Ok(());
        }
        let one_sided = |planner: &mut Self, (left, right): &(Sources, Sources)| match (
            planner.first_hidden(left),
            planner.first_hidden(right),
        ) {
            (Some(found), None) | (None, Some(found)) => Some(found),
            (Some(found), Some(_)) if predicates == Predicates::None => Some(found),
            _ => None,
        };
        let matched = if predicates == Predicates::None { self.first_hidden(&lineage.matched) } else { None };
        let compared = self.first_hidden(&lineage.compared).or(matched);
        let found = compared.or_else(|| lineage.joined.iter().find_map(|pair| one_sided(self, pair)));
        if let Some((column, rule)) = found {
            return Err(refusal(
                &rule,
                &column,
                "puts a condition on",
                "which rows come back would tell about values that are masked",
                "test it for equality with a constant, or leave the condition out",
            ));
        }
        let measured = if lineage.output == Output::Measured { self.first_hidden(&lineage.reads) } else { None };
        measured.map_or(Ok(()), |(column, rule)| {
            Err(refusal(
                &rule,
                &column,
                "measures a statement that reads",
                "how often each part of it ran would tell about values that are masked",
                "use EXPLAIN without ANALYZE",
            ))
        })
    }

    fn output(&mut self, output: &Output, in_doubt: bool) -> Result<(Columns, Vec<Masked>), Refusal> {
        match output {
            Output::Nothing => Ok((Columns::Each(Vec::new()), Vec::new())),
            Output::Plan | Output::Measured => Ok((Columns::Every(None), Vec::new())),
            Output::Rows(rows) => Ok(self.rows(rows, in_doubt)),
            Output::Copy(rows, form) => self.copy(rows, form.is_some()),
            Output::Cursor(_) | Output::Prepared(_) => Err(not_understood("the name that it uses is not known")),
        }
    }

    fn rows(&mut self, rows: &Rows, in_doubt: bool) -> (Columns, Vec<Masked>) {
        let mut masked = Vec::new();
        let columns = match rows {
            Rows::Every(origin) => Columns::Every(self.cell(origin, None, in_doubt, &mut masked)),
            Rows::Columns(origins) => {
                let each = origins.iter().enumerate();
                Columns::Each(
                    each.map(|(place, origin)| self.cell(origin, Some(place), in_doubt, &mut masked)).collect(),
                )
            }
        };
        (columns, masked)
    }

    fn cell(
        &mut self,
        origin: &Origin,
        place: Option<usize>,
        in_doubt: bool,
        masked: &mut Vec<Masked>,
    ) -> Option<Cell> {
        let (rule, mask, column) = match (origin, self.hides(origin)) {
            (Origin::Unknown(_), _) => (RULE_UNKNOWN.into(), Mask::Null, String::new()),
            (Origin::Direct(_), Some((column, rule))) => {
                let mask = if self.is_the_only(origin, &rule) { rule.mask.clone() } else { Mask::Null };
                (rule.name, mask, shown(&column))
            }
            (Origin::Derived(_), Some((column, rule))) => (rule.name, Mask::Null, shown(&column)),
            // A function that may read anything never gives what is stored.
            (Origin::Derived(_), None) if in_doubt => (RULE_UNKNOWN.into(), Mask::Null, String::new()),
            (Origin::Direct(_) | Origin::Derived(_), None) => return None,
        };
        masked.push(Masked { place, rule: Arc::clone(&rule), column });
        Some(Cell { rule, mask })
    }

    fn hides(&mut self, origin: &Origin) -> Option<(StoredColumn, Rule)> {
        origin.sources().find_map(|column| Some((column.clone(), self.sight.hidden_by(column)?.clone())))
    }

    /// Whether no other rule hides it as well: then nobody could say which mask is right.
    fn is_the_only(&mut self, origin: &Origin, rule: &Rule) -> bool {
        origin.sources().all(|column| self.sight.hidden_by(column).is_none_or(|other| other.name == rule.name))
    }

    /// The rows of a COPY have no description: whatever is hidden of them is NULL.
    fn copy(&mut self, rows: &Rows, is_followed: bool) -> Result<(Columns, Vec<Masked>), Refusal> {
        let origins: &[Origin] = match rows {
            Rows::Columns(origins) => origins,
            Rows::Every(origin) => std::slice::from_ref(origin),
        };
        if origins.iter().any(|origin| matches!(origin, Origin::Unknown(_))) {
            return Err(not_understood("the origin of a column of the COPY is not known"));
        }
        let hidden = origins.iter().find_map(|origin| self.hides(origin));
        match hidden {
            None => Ok((Columns::Each(Vec::new()), Vec::new())),
            Some((column, rule)) if !is_followed => Err(refusal(
                &rule,
                &column,
                "copies values of",
                "the rows of a COPY are not masked where it does not name its columns, with these options, or in this \
                 client encoding",
                "leave the column out; or name all columns, and use the options FORMAT, DELIMITER, NULL, QUOTE, HEADER \
                 and FORCE_QUOTE only, and UTF8",
            )),
            Some(_) => {
                let (mut columns, masked) = self.rows(rows, false);
                columns.be_null();
                Ok((columns, masked))
            }
        }
    }
}

const fn is_rows(output: &Output) -> bool {
    matches!(output, Output::Rows(_))
}

/// `schema.relation.column`
#[must_use]
pub fn shown(column: &StoredColumn) -> String {
    format!("{}.{}.{}", column.schema, column.relation, column.name)
}

fn refusal(rule: &Rule, column: &StoredColumn, does: &str, reason: &str, remedy: &str) -> Refusal {
    Refusal {
        rule: Arc::clone(&rule.name),
        what: format!("a statement that {does} {}", shown(column)),
        reason: reason.to_owned(),
        remedy: remedy.to_owned(),
    }
}

fn opaque(why: OpaqueReason) -> Refusal {
    let remedy = match why {
        OpaqueReason::Syntax => "check its spelling: PostgreSQL's grammar does not accept it",
        OpaqueReason::TooLarge => "send values as parameters, or fewer at a time",
        _ => SIMPLER,
    };
    Refusal { remedy: remedy.to_owned(), ..not_understood(&format!("it is not understood ({})", why.word())) }
}

fn not_understood(why: &str) -> Refusal {
    Refusal {
        rule: RULE_UNKNOWN.into(),
        what: "a statement that may show protected columns".to_owned(),
        reason: why.to_owned(),
        remedy: SIMPLER.to_owned(),
    }
}
