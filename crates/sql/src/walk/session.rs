//! Statements about the session itself: parameters, transactions, prepared statements, cursors.

use std::sync::Arc;

use model::facts::{Action, Columns, Condition, Effect, Object, OpaqueReason, StateChange};
use pg_raw_parse::Node;
use pg_raw_parse::list::NodeList;
use pg_raw_parse::nodes::{
    DiscardMode, DiscardStmt, ExecuteStmt, ExplainStmt, PrepareStmt, TransactionStmt, TransactionStmtKind,
    VariableSetKind, VariableSetStmt,
};

use crate::called;
use crate::grammar::untyped;
use crate::walk::Walk;
use crate::walk::text;

/// The parameters that are the current role.
const ROLE: &[&str] = &["role", "session_authorization"];

/// Parameters that decide what a text means: whoever sets an unknown one may have set any of these.
const MEANING: &[&str] = &["search_path", "standard_conforming_strings", "client_encoding", "role"];

impl<'a> Walk<'a> {
    pub(super) fn set(&mut self, set: &'a VariableSetStmt) -> &'static str {
        let name = set.name().unwrap_or_default();
        match set.kind {
            VariableSetKind::VAR_RESET_ALL => {
                self.effect(Action::SetParameter, Object::Parameter(None));
                self.changes.push(StateChange::ResetAll);
                return "RESET";
            }
            // TRANSACTION, SESSION CHARACTERISTICS, TRANSACTION SNAPSHOT.
            VariableSetKind::VAR_SET_MULTI => self.set_transaction(name, set.args()),
            VariableSetKind::VAR_SET_VALUE => {
                let value = set_value(name, set.args());
                self.set_parameter(name, value, set.is_local);
            }
            // To the default, or to what is current.
            _ => self.set_parameter(name, None, set.is_local),
        }
        if set.kind == VariableSetKind::VAR_RESET { "RESET" } else { "SET" }
    }

    /// SET in another statement: it holds in sessions to come, or while a function runs.
    pub(super) fn kept_setting(&mut self, set: Option<&'a VariableSetStmt>) {
        let gives =
            |set: &&VariableSetStmt| !matches!(set.kind, VariableSetKind::VAR_RESET | VariableSetKind::VAR_RESET_ALL);
        if let Some(set) = set.filter(gives) {
            self.later(|walk| {
                walk.set(set);
            });
        }
    }

    /// SET TRANSACTION: each mode is a parameter.
    fn set_transaction(&mut self, kind: &str, modes: &'a NodeList) {
        let is_session = kind == "SESSION CHARACTERISTICS";
        for node in modes {
            if let Node::DefElem(mode) = node {
                let name = mode.defname().unwrap_or_default();
                let name = if is_session { format!("default_{name}") } else { name.to_owned() };
                self.set_parameter(&name, text::constant(mode.arg()), !is_session);
            }
        }
        if modes.is_empty() || kind == "TRANSACTION SNAPSHOT" {
            self.effect(Action::SetParameter, Object::Parameter(Some(Arc::from("transaction_snapshot"))));
        }
    }

    /// A parameter gets a value; `None`: one that the text does not show.
    pub(super) fn set_parameter(&mut self, name: &str, value: Option<String>, local: bool) {
        let name: Arc<str> = Arc::from(name.to_ascii_lowercase());
        if ROLE.contains(&&*name) {
            self.effect(Action::SetRole, Object::Role(value.as_deref().filter(|role| *role != "none").map(Arc::from)));
            self.changes.push(StateChange::Role);
        } else {
            self.effect(Action::SetParameter, Object::Parameter(Some(Arc::clone(&name))));
        }
        let value = value.filter(|value| !(ROLE.contains(&&*name) && value == "none")).map(Arc::from);
        self.changes.push(StateChange::Parameter { name, value, local });
    }

    /// Some parameter gets a value, and the text does not show which one.
    pub(super) fn set_unknown_parameter(&mut self) {
        self.effect(Action::SetParameter, Object::Parameter(None));
        for name in MEANING {
            self.changes.push(StateChange::Parameter { name: Arc::from(*name), value: None, local: false });
        }
    }

    pub(super) fn transaction(&mut self, transaction: &'a TransactionStmt) -> &'static str {
        match transaction.gid() {
            // It outlives the session, and any other may end it.
            Some(name) => self.on_plain(Action::Transaction, "PREPARED TRANSACTION", Some(name)),
            None => self.effect(Action::Transaction, Object::Session(text::shared(transaction.savepoint_name()))),
        }
        for node in transaction.options() {
            if let Node::DefElem(mode) = node {
                self.set_parameter(mode.defname().unwrap_or_default(), text::constant(mode.arg()), true);
            }
        }
        let change = |walk: &mut Self, change| walk.changes.push(change);
        match transaction.kind {
            TransactionStmtKind::TRANS_STMT_BEGIN => change(self, StateChange::Begin),
            TransactionStmtKind::TRANS_STMT_START => change(self, StateChange::Begin),
            TransactionStmtKind::TRANS_STMT_COMMIT
            | TransactionStmtKind::TRANS_STMT_ROLLBACK
            | TransactionStmtKind::TRANS_STMT_PREPARE => change(self, StateChange::End),
            TransactionStmtKind::TRANS_STMT_ROLLBACK_TO => change(self, StateChange::RolledBackTo),
            // What another transaction did to the catalogue becomes visible.
            TransactionStmtKind::TRANS_STMT_COMMIT_PREPARED => change(self, StateChange::Catalogue),
            _ => {}
        }
        if transaction.chain {
            change(self, StateChange::Begin);
        }
        match transaction.kind {
            TransactionStmtKind::TRANS_STMT_BEGIN => "BEGIN",
            TransactionStmtKind::TRANS_STMT_START => "START TRANSACTION",
            TransactionStmtKind::TRANS_STMT_COMMIT => "COMMIT",
            TransactionStmtKind::TRANS_STMT_ROLLBACK | TransactionStmtKind::TRANS_STMT_ROLLBACK_TO => "ROLLBACK",
            TransactionStmtKind::TRANS_STMT_SAVEPOINT => "SAVEPOINT",
            TransactionStmtKind::TRANS_STMT_RELEASE => "RELEASE",
            TransactionStmtKind::TRANS_STMT_PREPARE => "PREPARE TRANSACTION",
            TransactionStmtKind::TRANS_STMT_COMMIT_PREPARED => "COMMIT PREPARED",
            TransactionStmtKind::TRANS_STMT_ROLLBACK_PREPARED => "ROLLBACK PREPARED",
            _ => {
                self.opaque(OpaqueReason::Construct);
                "TRANSACTION"
            }
        }
    }

    /// PREPARE: what the statement does happens when it is executed.
    pub(super) fn prepare(&mut self, prepare: &'a PrepareStmt) {
        let name: Arc<str> = Arc::from(prepare.name().unwrap_or_default());
        self.effect(Action::Prepare, Object::Session(Some(Arc::clone(&name))));
        let mut facts = super::statement(prepare.query(), self.names, self.limits, self.standing);
        // EXECUTE converts its arguments, and only this statement names their types.
        for function in called::of_parameters(self.names, prepare) {
            if let Some(lineage) = &mut facts.lineage {
                Arc::make_mut(lineage).calls.insert(function.clone());
            }
            facts.effects.push(Effect {
                action: Action::Call,
                object: Object::Function(function),
                columns: Columns::None,
                condition: Condition::NotApplicable,
            });
        }
        self.changes.push(StateChange::Prepared { name, facts: Arc::new(facts) });
    }

    pub(super) fn execute(&mut self, execute: &'a ExecuteStmt) {
        let name: Arc<str> = Arc::from(execute.name().unwrap_or_default());
        self.effect(Action::Execute, Object::Session(Some(Arc::clone(&name))));
        self.changes.push(StateChange::Executes { name });
        self.expressions(execute.params());
    }

    pub(super) fn deallocate(&mut self, name: Option<&'a str>) {
        let name = text::shared(name);
        self.effect(Action::Prepare, Object::Session(name.clone()));
        self.changes.push(StateChange::Deallocated { name });
    }

    /// EXPLAIN: with ANALYZE the statement runs. Without, it is planned only, and yet facts name what it would read:
    /// plans tell about data.
    pub(super) fn explain(&mut self, explain: &'a ExplainStmt) {
        self.effect(Action::Explain, Object::Session(None));
        if text::is_on(untyped(explain.options()), "analyze") {
            self.nested_statement(explain.query());
        } else {
            self.planned(explain.query());
        }
    }

    /// What a statement does while it is only planned: it looks at relations, and the planner may call any function
    /// that says it is immutable. It changes no rows.
    fn planned(&mut self, node: Node<'a>) {
        let facts = super::statement(node, self.names, self.limits, self.standing);
        self.opaque.extend(facts.opaque);
        let happens = |effect: &Effect| matches!(effect.action, Action::Select | Action::Call);
        facts.effects.into_iter().filter(happens).for_each(|effect| self.effects.add_effect(effect));
        // EXPLAIN EXECUTE: what the name stands for is planned.
        self.changes.extend(facts.changes.into_iter().filter(|change| matches!(change, StateChange::Executes { .. })));
    }

    pub(super) fn discard(&mut self, discard: &'a DiscardStmt) -> &'static str {
        self.effect(Action::Discard, Object::Session(None));
        match discard.target {
            DiscardMode::DISCARD_ALL => {
                self.changes.push(StateChange::DiscardAll);
                "DISCARD ALL"
            }
            DiscardMode::DISCARD_PLANS => "DISCARD PLANS",
            DiscardMode::DISCARD_SEQUENCES => "DISCARD SEQUENCES",
            // Names that are not hidden any more are still taken for hidden: nothing is lost by that.
            _ => "DISCARD TEMP",
        }
    }
}

/// The value that a SET gives, in the form that `State` reads; `None`: the text does not show it.
fn set_value(name: &str, values: &NodeList) -> Option<String> {
    let values: Option<Vec<String>> = values.iter().map(text::constant).collect();
    let values = values?;
    if name.eq_ignore_ascii_case("search_path") {
        let quoted = values.iter().map(|value| format!("\"{}\"", value.replace('"', "\"\"")));
        return Some(quoted.collect::<Vec<_>>().join(", "));
    }
    Some(values.join(", "))
}
