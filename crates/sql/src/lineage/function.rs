//! Calls: those that only compute, those that put values somewhere, and those that nobody has read.

use model::facts::Action;
use model::lineage::{Origin, Stored};
use pg_raw_parse::Node;
use pg_raw_parse::nodes::FuncCall;

use crate::function::{self, Does};
use crate::grammar::untyped;
use crate::lineage::Trace;
use crate::name::PG_CATALOG;
use crate::walk::text;

/// Functions of the server that give rows of one column, called as the function.
const ONE_COLUMN: &[&str] = &[
    "generate_series",
    "generate_subscripts",
    "json_object_keys",
    "jsonb_object_keys",
    "jsonb_path_query",
    "regexp_matches",
    "regexp_split_to_table",
    "string_to_table",
];

/// The others whose columns are known.
const COLUMNS: &[(&str, &[&str])] = &[
    ("json_array_elements", &["value"]),
    ("json_array_elements_text", &["value"]),
    ("json_each", &["key", "value"]),
    ("json_each_text", &["key", "value"]),
    ("jsonb_array_elements", &["value"]),
    ("jsonb_array_elements_text", &["value"]),
    ("jsonb_each", &["key", "value"]),
    ("jsonb_each_text", &["key", "value"]),
];

/// Whether a function of the server gives one column, called as the function.
pub(super) fn gives_one_column(name: &str) -> bool {
    ONE_COLUMN.contains(&name)
}

/// The columns of a function of the server, where there are more, or their names are not the function's.
pub(super) fn columns(name: &str) -> Option<&'static [&'static str]> {
    COLUMNS.iter().find(|(known, _)| *known == name).map(|(_, columns)| *columns)
}

/// Functions that only compute, and still tell later that they have run: by the number of the transaction, and the next
/// random one after `SET seed`.
const LEAVES_TRACES: &[&str] = &["pg_current_xact_id", "random", "random_normal", "txid_current"];

/// Functions that read no rows, and of which nothing is left but that they have run: by the time that it took, by a
/// snapshot that others can use now, by the next random value.
const ONLY_LEAVES_TRACES: &[&str] = &["pg_export_snapshot", "pg_sleep", "pg_sleep_for", "pg_sleep_until", "setseed"];

/// Whether a function of the server leaves something behind, though it reads no rows.
pub(super) fn leaves_traces(name: &str) -> bool {
    LEAVES_TRACES.contains(&name) || ONLY_LEAVES_TRACES.contains(&name)
}

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
        if function::gives_rows(name) {
            let origin = self.expressions(call.args());
            self.note_compared(&origin);
        }
        if self.is_builtin(&names) {
            let does = function::effects(name);
            let only_leaves_traces = ONLY_LEAVES_TRACES.contains(&name);
            self.sets_parameters |= does.contains(&Does::SetsParameter);
            if !does.is_empty() || leaves_traces(name) {
                self.effects += 1;
            }
            if function::is_harmless(name)
                || only_leaves_traces
                || (!does.is_empty() && does.iter().all(keeps_to_itself))
            {
                return;
            }
        }
        if self.computes(schema, name) {
            return;
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
            if call.agg_distinct {
                self.note_ordered(&origin);
            }
            if !self.is_as_stored(argument) {
                self.note_compared(&origin);
            }
        }
        // Their order says nothing; what it calls, and errors of it, may.
        self.expressions(untyped(call.agg_order()));
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
