//! The second opinion: does sqlparser see a change in the text that the facts do not have?
//!
//! It runs only where it can change the outcome. A parser sees a change where it sees the change's word, in whatever
//! place: so if every such word of the text, in strings and comments too, belongs to a change that the facts have, there
//! is nothing left for it to find. A word ends where no byte of a name follows it (`updated_at` is none); what stands
//! before it does not matter, because a number may (`1delete`). Where it refuses a text, or sees less, the facts stand: they are the stricter ones.
//! `tests/facts/opinion.rs` shows that no text without the word makes it see the change.

use std::ops::ControlFlow;

use model::facts::{Action, Facts, StateChange, StatementFacts};
use sqlparser::ast::{MergeAction, OnConflictAction, OnInsert, Statement, Visit, Visitor};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;

use crate::scan;

/// Longest text that gets a second opinion. The parser builds chains of operators as deep trees, which it frees by
/// recursion.
const TEXT_BYTES_MAX: usize = 4096;

/// Parentheses inside each other, wherever they stand, for which the parser is asked: it may try each one twice.
const NESTING_MAX: usize = 16;

/// A change, by the word without which no parser can see it.
const WORDS: &[(&str, Action)] = &[
    ("insert", Action::Insert),
    ("update", Action::Update),
    ("delete", Action::Delete),
    ("merge", Action::Merge),
    ("truncate", Action::Truncate),
    ("create", Action::Create),
    ("alter", Action::Alter),
    ("drop", Action::Drop),
    ("grant", Action::Grant),
    ("revoke", Action::Revoke),
];

/// Changes that EXPLAIN takes without making them.
const EXPLAINED: &[Action] = &[Action::Insert, Action::Update, Action::Delete, Action::Merge, Action::Create];

/// A set of changes: a bit for each row of [`WORDS`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes(u16);

impl Changes {
    fn add(&mut self, action: Action) {
        if let Some(place) = WORDS.iter().position(|(_, known)| *known == action) {
            self.0 |= 1 << place;
        }
    }

    const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether all of them are in another set.
    #[must_use]
    pub const fn is_within(self, other: Self) -> bool {
        self.without(other).is_empty()
    }
}

/// Whether sqlparser sees a change that the facts do not have.
pub(crate) fn disagrees(text: &str, facts: &Facts) -> bool {
    let known = in_facts(facts);
    if !is_cheap(text) || in_words(text).is_within(known) {
        return false;
    }
    seen(text).is_some_and(|seen| !seen.is_within(known))
}

/// Changes whose words are in a text, wherever.
#[must_use]
pub fn in_words(text: &str) -> Changes {
    let mut changes = Changes::default();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        // The first letters of all the words.
        if matches!(first.to_ascii_lowercase(), b'i' | b'u' | b'd' | b'm' | b't' | b'c' | b'a' | b'g' | b'r') {
            let is_here = |word: &str| {
                let (here, behind) = rest.split_at_checked(word.len()).unwrap_or_default();
                here.eq_ignore_ascii_case(word.as_bytes()) && !behind.first().is_some_and(|byte| scan::is_word(*byte))
            };
            WORDS.iter().filter(|(word, _)| is_here(word)).for_each(|(_, action)| changes.add(*action));
        }
        rest = after;
    }
    changes
}

/// Changes that sqlparser sees; `None`: it refuses the text.
#[must_use]
pub fn seen(text: &str) -> Option<Changes> {
    let statements = Parser::parse_sql(&PostgreSqlDialect {}, text).ok()?;
    let mut reader = Reader::default();
    let _ = statements.visit(&mut reader);
    Some(reader.changes)
}

fn is_cheap(text: &str) -> bool {
    let mut depth = 0_usize;
    let deeper = |byte: &u8| {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth > NESTING_MAX
    };
    text.len() <= TEXT_BYTES_MAX && !text.as_bytes().iter().any(deeper)
}

fn in_facts(facts: &Facts) -> Changes {
    let mut changes = Changes::default();
    facts.statements.iter().for_each(|statement| in_statement(statement, &mut changes));
    changes
}

fn in_statement(facts: &StatementFacts, changes: &mut Changes) {
    for effect in &facts.effects {
        changes.add(effect.action);
        // What is only explained is not in the facts.
        if effect.action == Action::Explain {
            EXPLAINED.iter().for_each(|action| changes.add(*action));
        }
    }
    for change in &facts.changes {
        if let StateChange::Prepared { facts, .. } = change {
            in_statement(facts, changes);
        }
    }
}

#[derive(Default)]
struct Reader {
    changes: Changes,
}

impl Visitor for Reader {
    type Break = ();

    fn pre_visit_statement(&mut self, statement: &Statement) -> ControlFlow<()> {
        changes_of(statement).iter().for_each(|action| self.changes.add(*action));
        if let Statement::Merge(merge) = statement {
            for clause in &merge.clauses {
                self.changes.add(match clause.action {
                    MergeAction::Insert(_) => Action::Insert,
                    MergeAction::Update { .. } => Action::Update,
                    MergeAction::Delete { .. } => Action::Delete,
                    MergeAction::DoNothing { .. } => Action::Merge,
                });
            }
        }
        ControlFlow::Continue(())
    }
}

fn changes_of(statement: &Statement) -> &'static [Action] {
    match statement {
        Statement::Insert(insert) => match &insert.on {
            Some(OnInsert::OnConflict(conflict)) if matches!(conflict.action, OnConflictAction::DoUpdate(_)) => {
                &[Action::Insert, Action::Update]
            }
            _ => &[Action::Insert],
        },
        Statement::Update(_) => &[Action::Update],
        Statement::Delete(_) => &[Action::Delete],
        Statement::Merge(_) => &[Action::Merge],
        Statement::Truncate(_) => &[Action::Truncate],
        Statement::CreateTable(_)
        | Statement::CreateView(_)
        | Statement::CreateIndex(_)
        | Statement::CreateRole(_)
        | Statement::CreateUser(_)
        | Statement::CreateSchema { .. }
        | Statement::CreateDatabase { .. }
        | Statement::CreateFunction(_)
        | Statement::CreateProcedure { .. }
        | Statement::CreateTrigger(_)
        | Statement::CreatePolicy(_)
        | Statement::CreateExtension(_)
        | Statement::CreateSequence { .. }
        | Statement::CreateDomain(_)
        | Statement::CreateType { .. }
        | Statement::CreateServer(_)
        | Statement::CreateOperator(_) => &[Action::Create],
        Statement::AlterTable(_)
        | Statement::AlterIndex { .. }
        | Statement::AlterView { .. }
        | Statement::AlterFunction(_)
        | Statement::AlterSchema(_)
        | Statement::AlterType(_)
        | Statement::AlterRole { .. }
        | Statement::AlterUser(_)
        | Statement::AlterPolicy(_)
        | Statement::AlterOperator(_) => &[Action::Alter],
        Statement::Drop { .. }
        | Statement::DropFunction(_)
        | Statement::DropProcedure { .. }
        | Statement::DropDomain(_)
        | Statement::DropTrigger(_)
        | Statement::DropPolicy(_)
        | Statement::DropExtension(_)
        | Statement::DropOperator(_) => &[Action::Drop],
        Statement::Grant(_) => &[Action::Grant],
        Statement::Revoke(_) => &[Action::Revoke],
        _ => &[],
    }
}
