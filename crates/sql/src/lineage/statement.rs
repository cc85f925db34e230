//! The statement node decides what comes back, and what is kept.

use std::sync::Arc;

use model::lineage::{DeclaredCursor, Output, UnknownLineage};
use pg_raw_parse::Node;
use pg_raw_parse::nodes::{CallStmt, CreateTableAsStmt, DeclareCursorStmt};

use crate::grammar::untyped;
use crate::lineage::Trace;
use crate::lineage::row::Row;
use crate::walk::text;

/// WITH HOLD in the options of a DeclareCursorStmt (`parsenodes.h`).
const CURSOR_OPT_HOLD: std::os::raw::c_int = 0x0020;

impl<'a> Trace<'a> {
    pub(super) fn statement(&mut self, node: Node<'a>) {
        self.lineage.output = match node {
            Node::SelectStmt(_)
            | Node::InsertStmt(_)
            | Node::UpdateStmt(_)
            | Node::DeleteStmt(_)
            | Node::MergeStmt(_) => match self.query(node) {
                Row::Columns(fields) if fields.is_empty() => Output::Nothing,
                row => Output::Rows(row.into_rows()),
            },
            Node::CopyStmt(copy) => self.copy(copy),
            Node::ExplainStmt(explain) => {
                self.nested(explain.query());
                if text::is_on(untyped(explain.options()), "analyze") { Output::Measured } else { Output::Plan }
            }
            Node::ExecuteStmt(execute) => {
                self.expressions(execute.params());
                Output::Prepared(Arc::from(execute.name().unwrap_or_default()))
            }
            Node::DeclareCursorStmt(declare) => self.declare(declare),
            // MOVE computes the rows, too.
            Node::FetchStmt(fetch) => Output::Cursor(Arc::from(fetch.portalname().unwrap_or_default())),
            Node::CreateTableAsStmt(create) => self.create_table_as(create),
            Node::VariableShowStmt(_) => Output::Rows(Row::Every(model::lineage::Origin::none()).into_rows()),
            Node::CallStmt(call) => self.procedure(call),
            Node::DoStmt(_) => {
                self.unknown(UnknownLineage::Code);
                Output::Nothing
            }
            other => {
                self.definition(other);
                Output::Nothing
            }
        };
    }

    /// A statement that is planned, and perhaps run, without giving its rows.
    fn nested(&mut self, node: Node<'a>) {
        match node {
            Node::ExecuteStmt(_) | Node::CreateTableAsStmt(_) | Node::DeclareCursorStmt(_) => {
                self.deeper(|trace| trace.statement(node));
            }
            _ => drop(self.query(node)),
        }
    }

    fn declare(&mut self, declare: &'a DeclareCursorStmt) -> Output {
        let rows = self.query(declare.query()).into_rows();
        let name = Arc::from(declare.portalname().unwrap_or_default());
        self.lineage.cursor = Some(DeclaredCursor { name, rows, holds: declare.options & CURSOR_OPT_HOLD != 0 });
        Output::Nothing
    }

    fn create_table_as(&mut self, create: &'a CreateTableAsStmt) -> Output {
        match create.query() {
            Node::ExecuteStmt(execute) => {
                self.expressions(execute.params());
                let reason = UnknownLineage::UnknownName;
                self.store_row(&Row::unknown(reason));
            }
            query => {
                let row = self.query(query);
                self.store_row(&row);
            }
        }
        Output::Nothing
    }

    /// CALL: what comes back are arguments that the procedure has set.
    fn procedure(&mut self, call: &'a CallStmt) -> Output {
        let Some(call) = call.funccall() else { return Output::Nothing };
        let arguments = self.expressions(call.args());
        let names = text::strings(call.funcname());
        let (schema, name) = text::qualified(&names);
        let name = self.names.function(schema, name);
        self.lineage.calls.insert(name);
        Output::Rows(Row::Every(arguments.derived()).into_rows())
    }
}
