//! Calls: those that only compute, those that put values somewhere, and those that nobody has read.

use model::facts::Action;
use model::lineage::{Origin, Stored};
use pg_raw_parse::Node;
use pg_raw_parse::nodes::FuncCall;

use crate::function::{self, Does};
use crate::lineage::Trace;
use crate::name::PG_CATALOG;
use crate::walk::text;

/// Functions of the server that give rows of one column, called as the function.
const ONE_COLUMN: &[&str] = &[
    "generate_series",
    "generate_subscripts",
    "json_array_elements",
    "json_array_elements_text",
    "json_object_keys",
    "jsonb_array_elements",
    "jsonb_array_elements_text",
    "jsonb_object_keys",
    "jsonb_path_query",
    "regexp_matches",
    "regexp_split_to_table",
    "string_to_table",
    "unnest",
];

/// The others whose columns are known.
const COLUMNS: &[(&str, &[&str])] = &[
    ("json_each", &["key", "value"]),
    ("json_each_text", &["key", "value"]),
    ("jsonb_each", &["key", "value"]),
    ("jsonb_each_text", &["key", "value"]),
];

/// Whether a function of the server gives one column. `unnest` gives one for each argument.
pub(super) fn gives_one_column(name: &str, arguments: usize) -> bool {
    match name {
        "unnest" => arguments == 1,
        // Their columns have names of their own.
        "json_array_elements" | "json_array_elements_text" | "jsonb_array_elements" | "jsonb_array_elements_text" => {
            false
        }
        name => ONE_COLUMN.contains(&name),
    }
}

/// The columns of a function of the server, where there are more, or their names are not the function's.
pub(super) fn columns(name: &str) -> Option<&'static [&'static str]> {
    match name {
        "json_array_elements" | "json_array_elements_text" | "jsonb_array_elements" | "jsonb_array_elements_text" => {
            Some(&["value"])
        }
        name => COLUMNS.iter().find(|(known, _)| *known == name).map(|(_, columns)| *columns),
    }
}

/// Functions of the server that give several rows: their number tells about their arguments.
const SETS: &[&str] = &[
    "generate_series",
    "generate_subscripts",
    "json_array_elements",
    "json_array_elements_text",
    "json_each",
    "json_each_text",
    "json_object_keys",
    "json_populate_recordset",
    "json_to_recordset",
    "jsonb_array_elements",
    "jsonb_array_elements_text",
    "jsonb_each",
    "jsonb_each_text",
    "jsonb_object_keys",
    "jsonb_path_query",
    "jsonb_path_query_tz",
    "jsonb_populate_recordset",
    "jsonb_to_recordset",
    "regexp_matches",
    "regexp_split_to_table",
    "string_to_table",
    "ts_debug",
    "ts_parse",
    "unnest",
];

impl<'a> Trace<'a> {
    /// Whether a name can only mean a function of the server.
    pub(super) fn is_builtin(&self, names: &[&str]) -> bool {
        match text::qualified(names) {
            (Some(schema), _) => schema == PG_CATALOG,
            (None, name) => self.names.is_builtin_function(name),
        }
    }

    /// What a call does besides computing. Its arguments are walked by whoever calls this.
    pub(super) fn call(&mut self, call: &'a FuncCall) {
        let names = text::strings(call.funcname());
        let (schema, name) = text::qualified(&names);
        if self.is_builtin(&names) {
            if SETS.contains(&name) {
                let origin = self.expressions(call.args());
                self.note_compared(&origin);
            }
            let does = function::effects(name);
            if function::is_harmless(name) {
                return;
            }
            if !does.is_empty() && does.iter().all(keeps_to_itself) {
                // Notifications, parameters: values that others can read.
                let arguments = self.expressions(call.args());
                self.store(None, arguments);
                return;
            }
        }
        let name = self.names.function(schema, name);
        self.lineage.calls.insert(name);
    }

    /// `count`: it tells how many, and nothing about values. `None`: it is another function.
    pub(super) fn count(&mut self, call: &'a FuncCall) -> Option<Vec<Node<'a>>> {
        let names = text::strings(call.funcname());
        if text::qualified(&names).1 != "count" || !self.is_builtin(&names) {
            return None;
        }
        for argument in call.args() {
            let origin = self.expression(argument);
            if !self.is_as_stored(argument) {
                self.note_compared(&origin);
            }
        }
        self.condition(call.agg_filter());
        Some(call.over().map(Node::WindowDef).into_iter().collect())
    }

    /// Values are kept somewhere.
    pub(super) fn store(&mut self, target: Option<model::lineage::StoredColumn>, origin: Origin) {
        let is_nothing = !matches!(origin, Origin::Unknown(_)) && origin.sources().next().is_none();
        if !is_nothing {
            self.lineage.stored.push(Stored { target, origin });
        }
    }
}

/// Whether a function with effects reads no rows.
const fn keeps_to_itself(does: &Does) -> bool {
    match does {
        Does::ReadsSequence
        | Does::ChangesSequence
        | Does::SetsParameter
        | Does::Locks
        | Does::Notifies
        | Does::Administers => true,
        Does::TouchesLargeObject(action) => matches!(action, Action::Drop | Action::Create),
        Does::TouchesServerFile | Does::Replicates | Does::RunsText => false,
    }
}
