//! Code that is kept and runs later: functions, triggers, rules; and DO.
//!
//! What SQL does is read, and counts as what a view reads does. What other languages do is not: that is the action `Code`.

use std::sync::Arc;

use model::facts::{Action, Name, Object, OpaqueReason, StateChange};
use pg_raw_parse::Node;
use pg_raw_parse::list::NodeList;
use pg_raw_parse::nodes::{AlterFunctionStmt, CreateFunctionStmt, CreateTrigStmt, DefElem, DoStmt, RangeVar, RuleStmt};

use crate::grammar::untyped;
use crate::limits::Limits;
use crate::walk::scope::{Scope, Source};
use crate::walk::text;
use crate::walk::{Standing, Walk};

/// Languages that cannot leave the database, as PostgreSQL's authors and those of PL/v8 say. Any other one may be like C.
const TRUSTED: &[&str] = &["plpgsql", "plperl", "pltcl", "plv8"];

impl<'a> Walk<'a> {
    pub(super) fn create_function(&mut self, create: &'a CreateFunctionStmt) -> &'static str {
        let names = text::strings(create.funcname());
        let (schema, name) = text::qualified(&names);
        let function = Object::Function(self.names.created(schema, name));
        self.effect(Action::Create, function.clone());
        for node in untyped(create.parameters()) {
            if let Node::FunctionParameter(parameter) = node {
                self.stored_expression(parameter.defexpr());
            }
        }
        let options = untyped(create.options());
        self.settings_of_function(options);
        let language = option(options, "language").and_then(|language| text::constant(language.arg()));
        match language.as_deref() {
            // Without a word for it only the standard's body is possible.
            None | Some("sql") => self.function_in_sql(create, &function),
            Some(language) => self.foreign_code(language, &function),
        }
        self.functions_changed();
        if create.is_procedure { "CREATE PROCEDURE" } else { "CREATE FUNCTION" }
    }

    pub(super) fn alter_function(&mut self, alter: &'a AlterFunctionStmt) {
        if let Some(function) = alter.func() {
            self.on_object(Action::Alter, alter.objtype, Node::ObjectWithArgs(function));
        }
        self.settings_of_function(untyped(alter.actions()));
        self.functions_changed();
    }

    /// SET: holds while the function runs.
    fn settings_of_function(&mut self, options: &'a NodeList) {
        for node in options {
            if let Node::DefElem(option) = node
                && let Node::VariableSetStmt(set) = option.arg()
            {
                self.kept_setting(Some(set));
            }
        }
    }

    /// Code whose effects are not read.
    fn foreign_code(&mut self, language: &str, object: &Object) {
        if !TRUSTED.contains(&language) {
            self.effect(Action::Program, object.clone());
        }
        self.effect(Action::Code, object.clone());
    }

    fn function_in_sql(&mut self, create: &'a CreateFunctionStmt, function: &Object) {
        self.later(|walk| walk.body(create.sql_body()));
        let Some(written) = option(untyped(create.options()), "as") else { return };
        let body = match written.arg() {
            Node::NodeList(parts) if self.standing == Standing::Sent => text::single(parts),
            _ => None,
        };
        let read = body.and_then(|body| self.body_facts(body, untyped(create.options())));
        match read {
            Some(statements) => statements.into_iter().for_each(|facts| {
                self.opaque.extend(facts.opaque);
                facts.effects.into_iter().for_each(|effect| self.effects.add_effect(effect));
            }),
            None => self.effect(Action::Code, function.clone()),
        }
    }

    /// A body as a string; `None`: it is not read. A function that the body makes is not looked into.
    fn body_facts(&self, body: &str, options: &NodeList) -> Option<Vec<model::facts::StatementFacts>> {
        let nesting_max = self.limits.nesting_max.saturating_sub(self.depth);
        let limits = Limits { nesting_max, lineage: false, ..*self.limits };
        let mut state = self.names.state.clone();
        if options.iter().any(sets_search_path) {
            state.apply(&StateChange::Parameter { name: Arc::from("search_path"), value: None, local: true });
        }
        crate::statements(body, &mut state, self.names.catalogue, &limits, Standing::Body).ok()
    }

    /// The body that the standard has: RETURN, or BEGIN ATOMIC with statements.
    fn body(&mut self, node: Node<'a>) {
        match node {
            Node::None => {}
            Node::NodeList(statements) => self.deeper(|walk| statements.iter().for_each(|node| walk.body(node))),
            Node::ReturnStmt(value) => self.stored_expression(value.returnval()),
            statement => self.nested_statement(statement),
        }
    }

    /// Walks what runs in another session, or later: what it would change about this one does not count.
    pub(super) fn later(&mut self, inner: impl FnOnce(&mut Self)) {
        let changes = std::mem::take(&mut self.changes);
        inner(self);
        self.changes = changes;
    }

    pub(super) fn do_block(&mut self, block: &'a DoStmt) {
        let language = option(untyped(block.args()), "language").and_then(|language| text::constant(language.arg()));
        self.foreign_code(language.as_deref().unwrap_or("plpgsql"), &Object::Session(None));
        self.opaque(OpaqueReason::Code);
    }

    pub(super) fn create_trigger(&mut self, create: &'a CreateTrigStmt) {
        self.on_part_of(Action::Create, "TRIGGER", create.trigname(), create.relation());
        self.on_relation(Action::Alter, create.constrrel());
        self.relation_changed(create.relation().and_then(RangeVar::relname), None);
        self.stored_expression(create.when_clause());
        let names = text::strings(create.funcname());
        let (schema, function) = text::qualified(&names);
        let name: Name = self.names.function(schema, function);
        self.effect(Action::Call, Object::Function(name));
    }

    pub(super) fn create_rule(&mut self, rule: &'a RuleStmt) {
        self.on_part_of(Action::Create, "RULE", rule.rulename(), rule.relation());
        let rows = [Some("old"), Some("new")].map(Source::derived);
        let scope = Scope { entries: Vec::from(rows), ..Scope::default() };
        self.in_scope(scope, |walk| {
            walk.expression(rule.where_clause());
            walk.later(|walk| rule.actions().iter().for_each(|action| walk.nested_statement(action)));
        });
        self.relation_changed(rule.relation().and_then(RangeVar::relname), None);
    }
}

/// An option by its name.
fn option<'t>(options: &'t NodeList, name: &str) -> Option<&'t DefElem> {
    options.iter().find_map(|node| match node {
        Node::DefElem(option) if option.defname() == Some(name) => Some(option),
        _ => None,
    })
}

fn sets_search_path(option: Node<'_>) -> bool {
    match option {
        Node::DefElem(option) => match option.arg() {
            Node::VariableSetStmt(set) => set.name() == Some("search_path"),
            _ => false,
        },
        _ => false,
    }
}
