//! The statement node decides who walks it. A node that stands in no arm is opaque.

use std::borrow::Cow;
use std::sync::Arc;

use model::facts::{Action, Condition, Object, OpaqueReason, StateChange};
use pg_raw_parse::Node;
use pg_raw_parse::list::NodeList;
use pg_raw_parse::nodes::{CreateTableAsStmt, ObjectType, ReindexObjectType, ReindexStmt, VacuumStmt, ViewStmt};

use crate::effects::ColumnSet;
use crate::grammar::untyped;
use crate::walk::Walk;
use crate::walk::object::kind_word;
use crate::walk::text;

/// A command in the words of the server's tags.
pub(super) type Command = Cow<'static, str>;

impl<'a> Walk<'a> {
    /// A statement inside another one, without a word of its own.
    pub(super) fn nested_statement(&mut self, node: Node<'a>) {
        self.deeper(|walk| {
            walk.statement(node);
        });
    }

    /// A statement with everything in it.
    pub(super) fn statement(&mut self, node: Node<'a>) -> Command {
        match node {
            Node::SelectStmt(select) => {
                self.note_limit(select);
                self.query(node);
                let makes_table = select.into_clause().is_some();
                Cow::Borrowed(if makes_table { "SELECT INTO" } else { "SELECT" })
            }
            Node::InsertStmt(_) => self.row_statement(node, "INSERT"),
            Node::UpdateStmt(_) => self.row_statement(node, "UPDATE"),
            Node::DeleteStmt(_) => self.row_statement(node, "DELETE"),
            Node::MergeStmt(_) => self.row_statement(node, "MERGE"),
            Node::CopyStmt(copy) => {
                self.copy(copy);
                Cow::Borrowed("COPY")
            }
            Node::TruncateStmt(truncate) => {
                self.truncate(truncate.relations());
                Cow::Borrowed("TRUNCATE TABLE")
            }
            Node::LockStmt(lock) => {
                self.on_relations(Action::Lock, lock.relations());
                Cow::Borrowed("LOCK TABLE")
            }
            Node::DoStmt(block) => {
                self.do_block(block);
                Cow::Borrowed("DO")
            }
            Node::CallStmt(call) => {
                self.effect(Action::Code, Object::Session(None));
                if let Some(call) = call.funccall() {
                    self.procedure(call);
                }
                Cow::Borrowed("CALL")
            }
            _ => {
                self.session_statement(node).or_else(|| self.maintenance(node)).unwrap_or_else(|| self.definition(node))
            }
        }
    }

    fn row_statement(&mut self, node: Node<'a>, command: &'static str) -> Command {
        self.query(node);
        Cow::Borrowed(command)
    }

    fn session_statement(&mut self, node: Node<'a>) -> Option<Command> {
        Some(Cow::Borrowed(match node {
            Node::VariableSetStmt(set) => self.set(set),
            Node::VariableShowStmt(show) => {
                let name = text::shared(show.name()).filter(|name| &**name != "all");
                self.effect(Action::Show, Object::Parameter(name));
                "SHOW"
            }
            Node::TransactionStmt(transaction) => self.transaction(transaction),
            Node::PrepareStmt(prepare) => {
                self.prepare(prepare);
                "PREPARE"
            }
            Node::ExecuteStmt(execute) => {
                self.execute(execute);
                "EXECUTE"
            }
            Node::DeallocateStmt(deallocate) => {
                self.deallocate(deallocate.name());
                if deallocate.isall { "DEALLOCATE ALL" } else { "DEALLOCATE" }
            }
            Node::DeclareCursorStmt(declare) => {
                self.effect(Action::Cursor, Object::Session(text::shared(declare.portalname())));
                self.query(declare.query());
                "DECLARE CURSOR"
            }
            Node::FetchStmt(fetch) => {
                self.effect(Action::Cursor, Object::Session(text::shared(fetch.portalname())));
                if fetch.ismove { "MOVE" } else { "FETCH" }
            }
            Node::ClosePortalStmt(close) => {
                self.effect(Action::Cursor, Object::Session(text::shared(close.portalname())));
                if close.portalname().is_some() { "CLOSE CURSOR" } else { "CLOSE CURSOR ALL" }
            }
            Node::ExplainStmt(explain) => {
                self.explain(explain);
                "EXPLAIN"
            }
            Node::ListenStmt(listen) => {
                self.effect(Action::Listen, Object::Session(text::shared(listen.conditionname())));
                "LISTEN"
            }
            Node::UnlistenStmt(unlisten) => {
                self.effect(Action::Listen, Object::Session(text::shared(unlisten.conditionname())));
                "UNLISTEN"
            }
            Node::NotifyStmt(notify) => {
                self.effect(Action::Notify, Object::Session(text::shared(notify.conditionname())));
                "NOTIFY"
            }
            Node::DiscardStmt(discard) => self.discard(discard),
            Node::ConstraintsSetStmt(_) => {
                self.effect(Action::Transaction, Object::Session(None));
                "SET CONSTRAINTS"
            }
            _ => return None,
        }))
    }

    fn maintenance(&mut self, node: Node<'a>) -> Option<Command> {
        Some(Cow::Borrowed(match node {
            Node::VacuumStmt(vacuum) => {
                self.vacuum(vacuum);
                if vacuum.is_vacuumcmd { "VACUUM" } else { "ANALYZE" }
            }
            Node::ClusterStmt(cluster) => {
                self.maintain(cluster.relation().map(|relation| Object::Relation(self.relation_name(relation))));
                "CLUSTER"
            }
            Node::ReindexStmt(reindex) => {
                self.reindex(reindex);
                "REINDEX"
            }
            Node::RefreshMatViewStmt(refresh) => {
                self.maintain(refresh.relation().map(|relation| Object::Relation(self.relation_name(relation))));
                if let Some(relation) = refresh.relation() {
                    self.refreshed(relation);
                }
                "REFRESH MATERIALIZED VIEW"
            }
            Node::CheckPointStmt(_) => self.admin("CHECKPOINT"),
            Node::AlterSystemStmt(_) => self.admin("ALTER SYSTEM"),
            Node::LoadStmt(_) => {
                self.effect(Action::ServerFile, Object::Server);
                self.admin("LOAD")
            }
            _ => return None,
        }))
    }

    fn admin(&mut self, command: &'static str) -> &'static str {
        self.effect(Action::Admin, Object::Server);
        command
    }

    fn maintain(&mut self, object: Option<Object>) {
        self.effect(Action::Maintain, object.unwrap_or(Object::Server));
    }

    fn on_relations(&mut self, action: Action, relations: &'a NodeList) {
        for node in relations {
            match node {
                Node::RangeVar(relation) => {
                    let name = self.relation_name(relation);
                    self.on_rows_of(action, &name, ColumnSet::default(), Condition::NotApplicable, !relation.inh);
                }
                _ => self.opaque(OpaqueReason::Construct),
            }
        }
    }

    fn truncate(&mut self, relations: &'a NodeList) {
        self.on_relations(Action::Truncate, relations);
    }

    fn vacuum(&mut self, vacuum: &'a VacuumStmt) {
        let relations = untyped(vacuum.rels());
        if relations.is_empty() {
            self.maintain(None);
        }
        for node in relations {
            match node {
                Node::VacuumRelation(of) => {
                    self.maintain(of.relation().map(|relation| Object::Relation(self.relation_name(relation))));
                }
                _ => self.opaque(OpaqueReason::Construct),
            }
        }
    }

    fn reindex(&mut self, reindex: &'a ReindexStmt) {
        match (reindex.kind, reindex.relation()) {
            (ReindexObjectType::REINDEX_OBJECT_INDEX, Some(index)) => {
                let name = self.names.other(index.schemaname(), index.relname().unwrap_or_default());
                self.maintain(Some(Object::Other { kind: Arc::from("INDEX"), name: Some(name) }));
            }
            (_, Some(relation)) => self.on_relation(Action::Maintain, Some(relation)),
            (ReindexObjectType::REINDEX_OBJECT_SCHEMA, None) => {
                self.maintain(text::shared(reindex.name()).map(Object::Schema));
            }
            (_, None) => self.maintain(None),
        }
    }

    /// CREATE TABLE AS and CREATE MATERIALIZED VIEW: the query is a statement of its own, or an EXECUTE.
    pub(super) fn create_table_as(&mut self, create: &'a CreateTableAsStmt) -> Command {
        if let Some(into) = create.into() {
            self.make_from_query(into);
        }
        self.nested_statement(create.query());
        if create.is_select_into {
            return Cow::Borrowed("SELECT INTO");
        }
        let is_view = create.objtype == ObjectType::OBJECT_MATVIEW;
        Cow::Borrowed(if is_view { "CREATE MATERIALIZED VIEW" } else { "CREATE TABLE AS" })
    }

    /// CREATE VIEW: nothing runs, and yet the view hands out what it names.
    pub(super) fn create_view(&mut self, create: &'a ViewStmt) {
        if let Some(view) = create.view() {
            self.made(view);
        }
        self.query(create.query());
    }

    pub(super) fn comment(&mut self, kind: ObjectType::Type, object: Node<'a>, command: &'static str) -> Command {
        self.on_object(Action::Alter, kind, object);
        Cow::Borrowed(command)
    }

    /// A definition of an object without walks of its own.
    pub(super) fn simple_definition(&mut self, action: Action, kind: ObjectType::Type, names: &[&str]) -> Command {
        let kind = kind_word(kind);
        self.on_other(action, kind, names);
        self.changes.push(StateChange::Catalogue);
        Cow::Owned(format!("{} {kind}", action.word().to_ascii_uppercase()))
    }
}
