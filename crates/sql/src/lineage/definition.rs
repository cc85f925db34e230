//! DDL and upkeep: queries that are kept as views, and statements that run code on the rows of a table. Of those nothing
//! comes back but errors, which may quote any value.

use model::lineage::UnknownLineage;
use pg_raw_parse::Node;
use pg_raw_parse::nodes::{AlterTableStmt, ObjectType, RangeVar, ReindexObjectType, VacuumStmt, ViewStmt};

use crate::grammar::untyped;
use crate::lineage::Trace;
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
            Node::IndexStmt(index) => self.scanned(index.relation()),
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
            if let Node::AlterTableCmd(command) = node
                && let Node::PartitionCmd(partition) = command.def()
            {
                self.scanned(partition.name());
            }
        }
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
