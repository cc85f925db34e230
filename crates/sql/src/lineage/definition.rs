//! DDL and upkeep: queries that are kept as views, and statements that run code on the rows of a table. Of those nothing
//! comes back but errors, which may quote any value.

use model::Known;
use model::facts::UnknownSchema;
use model::lineage::{Lineage, UnknownLineage};
use pg_raw_parse::Node;
use pg_raw_parse::nodes::{AlterTableStmt, ObjectType, RangeVar, ReindexObjectType, VacuumStmt, ViewStmt};

use crate::changed::Changed;
use crate::grammar::untyped;
use crate::lineage::Trace;
use crate::lineage::scope::{Item, Scope};
use crate::name::Names;
use crate::state::{State, Temporary};
use crate::walk::definition::is_temporary;

/// `subtype` of ALTER DOMAIN where it looks at all values of the type: ADD and VALIDATE CONSTRAINT.
const CHECKS_VALUES: [std::os::raw::c_char; 2] = [b'C'.cast_signed(), b'V'.cast_signed()];

impl<'a> Trace<'a> {
    pub(super) fn definition(&mut self, node: Node<'a>) {
        match node {
            Node::ViewStmt(view) => self.create_view(view),
            Node::CreateSchemaStmt(create) => {
                for element in create.schema_elts() {
                    self.deeper(|trace| trace.definition(element));
                }
            }
            Node::IndexStmt(index) => {
                self.scanned(index.relation());
                self.kept_condition(index.relation(), index.where_clause());
            }
            Node::CreatePolicyStmt(policy) => {
                self.kept_condition(policy.table(), policy.qual());
                self.kept_condition(policy.table(), policy.with_check());
            }
            Node::AlterPolicyStmt(policy) => {
                self.kept_condition(policy.table(), policy.qual());
                self.kept_condition(policy.table(), policy.with_check());
            }
            Node::AlterTableStmt(alter) => self.alter_table(alter),
            Node::AlterDomainStmt(alter) if CHECKS_VALUES.contains(&alter.subtype) => self.scanned(None),
            Node::ReindexStmt(reindex) => {
                let is_table = reindex.kind == ReindexObjectType::REINDEX_OBJECT_TABLE;
                self.scanned(reindex.relation().filter(|_| is_table));
            }
            Node::ClusterStmt(cluster) => self.scanned(cluster.relation()),
            Node::RefreshMatViewStmt(refresh) => self.scanned(refresh.relation()),
            Node::VacuumStmt(vacuum) => self.vacuum(vacuum),
            _ => {}
        }
    }

    /// What a view shows is followed whenever it is read; conditions inside of it count here, for who writes them.
    fn create_view(&mut self, view: &'a ViewStmt) {
        let row = self.query(view.query());
        // A temporary one is in no snapshot: what it shows is kept under a name that means nothing here.
        if view.view().is_some_and(is_temporary) {
            self.store_row(&row);
        }
    }

    fn alter_table(&mut self, alter: &'a AlterTableStmt) {
        if !matches!(alter.objtype, ObjectType::OBJECT_TABLE | ObjectType::OBJECT_MATVIEW) {
            return;
        }
        self.scanned(alter.relation());
        for node in alter.cmds() {
            let Node::AlterTableCmd(command) = node else { continue };
            match command.def() {
                Node::PartitionCmd(partition) => self.scanned(partition.name()),
                // EXCLUDE makes an index.
                Node::Constraint(constraint) => self.kept_condition(alter.relation(), constraint.where_clause()),
                _ => {}
            }
        }
    }

    /// A condition on the rows of a table that stays: how many meet it shows in the size of an index, and in the rows that a
    /// policy of the server leaves. A table that the snapshot does not have is new: it keeps nothing that is protected.
    fn kept_condition(&mut self, relation: Option<&RangeVar>, condition: Node<'_>) {
        let Some(relation) = relation.filter(|_| !matches!(condition, Node::None)) else { return };
        let Names { state, catalogue } = self.names;
        // What this session has changed is not in the snapshot; what was there before is.
        let before =
            State { changed: Changed::Nothing, functions_changed: false, temporary: Temporary::None, ..state.clone() };
        let mut apart = Trace::new(Names { state: &before, catalogue }, self.depth_max);
        let name = apart.names.relation(relation.schemaname(), relation.relname().unwrap_or_default());
        let found = match &name.schema {
            Known::Known(schema) => catalogue.relation(schema, &name.name),
            Known::Unknown(UnknownSchema::NotFound) => None,
            Known::Unknown(_) => return drop(self.unknown(UnknownLineage::Relation)),
        };
        let Some(found) = found else { return };
        let row = apart.row_of(found);
        let scope = Scope::of(Item::of_relation(None, relation.relname(), row));
        let (_, _) = apart.within(scope, |trace| trace.condition(condition));
        let Lineage { compared, matched, joined, unknown, .. } = apart.lineage;
        self.lineage.compared.extend(compared);
        self.lineage.matched.extend(matched);
        self.lineage.joined.extend(joined);
        self.lineage.unknown = self.lineage.unknown.or(unknown);
    }

    /// ANALYZE computes what indexes and statistics are made of.
    fn vacuum(&mut self, vacuum: &'a VacuumStmt) {
        let relations = untyped(vacuum.rels());
        if relations.is_empty() {
            self.scanned(None);
        }
        for node in relations {
            match node {
                Node::VacuumRelation(of) => self.scanned(of.relation()),
                _ => self.scanned(None),
            }
        }
    }

    /// Code runs on whole rows of a relation. `None`: of some that are not named.
    fn scanned(&mut self, relation: Option<&RangeVar>) {
        let found = relation.ok_or(UnknownLineage::Relation).and_then(|relation| self.relation(relation));
        let unknown = match found {
            Ok(relation) => {
                // What cannot be followed does not come back: it is no reason to refuse.
                let mut apart = Trace::new(self.names, self.depth_max);
                let row = apart.row_of(relation);
                self.lineage.reads.extend(row.whole().sources().cloned().chain(apart.lineage.reads));
                apart.lineage.unknown
            }
            Err(reason) => Some(reason),
        };
        self.lineage.reads_unknown = self.lineage.reads_unknown.or(unknown);
    }
}
