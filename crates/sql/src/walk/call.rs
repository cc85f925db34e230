//! Calls of functions: harmless ones of the server, its own with effects, and all others.

use std::sync::Arc;

use model::Known;
use model::facts::{Action, Name, Object, OpaqueReason};
use pg_raw_parse::Node;
use pg_raw_parse::list::NodeList;
use pg_raw_parse::nodes::{CoercionForm, FuncCall};

use crate::function::{self, Does};
use crate::name::PG_CATALOG;
use crate::walk::Walk;
use crate::walk::text;

impl<'a> Walk<'a> {
    pub(super) fn call(&mut self, call: &'a FuncCall) {
        let names = text::strings(call.funcname());
        let (schema, name) = text::qualified(&names);
        let is_builtin = match schema {
            Some(schema) => schema == PG_CATALOG,
            None => self.names.is_builtin_function(name),
        };
        // SYSTEM_USER; before, the name of a column.
        if call.funcformat == CoercionForm::COERCE_SQL_SYNTAX && name == "system_user" {
            self.since(16);
        }
        if is_builtin && function::is_harmless(name) {
            if name == "current_setting" {
                self.effect(Action::Show, Object::Parameter(parameter(call.args())));
            }
            return;
        }
        if schema == Some("information_schema") && function::is_harmless_in_information_schema(name) {
            return;
        }
        let effects = function::effects(name);
        if is_builtin && effects == [Does::SetsParameter] && parameter(call.args()).is_some() {
            // Nothing but a SET.
        } else if is_builtin && !effects.is_empty() {
            self.effect(Action::Call, Object::Function(builtin(name)));
        } else {
            let name = self.names.function(schema, name);
            self.effect(Action::Call, Object::Function(name));
        }
        // Also where the name may mean another function: extensions are installed into any schema.
        effects.iter().for_each(|does| self.does(*does, call.args()));
    }

    /// What a function of the server does besides being called.
    fn does(&mut self, does: Does, arguments: &'a NodeList) {
        match does {
            Does::ReadsSequence => self.on_sequence(Action::Select, arguments),
            Does::ChangesSequence => self.on_sequence(Action::Update, arguments),
            Does::SetsParameter => self.calls_set_config(arguments),
            Does::Locks => self.effect(Action::Lock, Object::Session(None)),
            Does::Notifies => self.effect(Action::Notify, Object::Session(argument(arguments, 0).map(Arc::from))),
            Does::Administers => self.effect(Action::Admin, Object::Server),
            Does::TouchesServerFile => self.effect(Action::ServerFile, Object::Server),
            Does::TouchesLargeObject(action) => self.on_plain(action, "LARGE OBJECT", None),
            Does::Replicates => self.effect(Action::Replicate, Object::Server),
            Does::RunsText => self.opaque(OpaqueReason::DynamicSql),
        }
    }

    /// The sequence that a function names in its first argument.
    fn on_sequence(&mut self, action: Action, arguments: &'a NodeList) {
        let Some(written) = argument(arguments, 0) else { return };
        let Some(names) = crate::state::split_name(&written) else { return };
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (schema, name) = text::qualified(&names);
        let name = self.names.relation(schema, name);
        self.effect(action, Object::Relation(name));
    }

    /// `set_config(name, value, is_local)`.
    fn calls_set_config(&mut self, arguments: &'a NodeList) {
        let Some(name) = parameter(arguments) else {
            self.set_unknown_parameter();
            return;
        };
        // A call that is not the whole statement may run or not, and more than once.
        let value = argument(arguments, 1).filter(|_| self.runs_once);
        let local = argument(arguments, 2).is_some_and(|word| crate::state::switch(&word) == Some(true));
        self.set_parameter(&name, value, local);
    }

    /// CALL.
    pub(super) fn procedure(&mut self, call: &'a FuncCall) {
        let names = text::strings(call.funcname());
        let (schema, name) = text::qualified(&names);
        let name = self.names.function(schema, name);
        self.effect(Action::Call, Object::Function(name));
        self.expressions(call.args());
    }
}

fn builtin(name: &str) -> Name {
    Name { schema: Known::Known(Arc::from(PG_CATALOG)), name: Arc::from(name) }
}

/// The parameter that a function names in its first argument; `None`: the text does not show it.
fn parameter(arguments: &NodeList) -> Option<Arc<str>> {
    argument(arguments, 0).map(|name| Arc::from(name.to_ascii_lowercase()))
}

/// An argument, where it is a constant.
fn argument(arguments: &NodeList, index: usize) -> Option<String> {
    arguments.get(index).and_then(|node: Node<'_>| text::constant(node))
}
