//! DDL and upkeep: queries that are kept as views, and statements that run code on the rows of a table. Of those nothing
//! comes back but errors, which may quote any value.

use model::lineage::UnknownLineage;
use pg_raw_parse::Node;
use pg_raw_parse::nodes::{
    AlterTableStmt, ConstrType, CreateStatsStmt, ObjectType, RangeVar, ReindexObjectType, VacuumStmt, ViewStmt,
};

use crate::grammar::untyped;
use crate::lineage::Trace;
use crate::lineage::moved::Looks;
use crate::walk::definition::is_temporary;

/// `subtype` of ALTER DOMAIN where it looks at all values of the type: ADD and VALIDATE CONSTRAINT.
const CHECKS_VALUES: [std::os::raw::c_char; 2] = [b'C'.cast_signed(), b'V'.cast_signed()];

/// The same where it sets or drops the default.
const SETS_DEFAULT: std::os::raw::c_char = b'T'.cast_signed();

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
                let keys = untyped(index.index_params()).iter().filter_map(|node| match node {
                    Node::IndexElem(element) if element.name().is_none() => Some(Looks::Key(element.expr())),
                    _ => None,
                });
                let looks: Vec<_> = keys.chain(condition(index.where_clause())).collect();
                self.kept(index.relation(), &looks);
            }
            Node::CreateStatsStmt(create) => self.statistics(create),
            Node::CreatePolicyStmt(policy) => {
                let looks: Vec<_> = [policy.qual(), policy.with_check()].into_iter().filter_map(condition).collect();
                self.kept(policy.table(), &looks);
            }
            Node::AlterPolicyStmt(policy) => {
                let looks: Vec<_> = [policy.qual(), policy.with_check()].into_iter().filter_map(condition).collect();
                self.kept(policy.table(), &looks);
            }
            Node::AlterTableStmt(alter) => self.alter_table(alter),
            Node::CreateStmt(create) => self.create_table(create),
            Node::RenameStmt(rename) => self.rename(rename),
            Node::AlterObjectSchemaStmt(alter) => self.move_to_schema(alter),
            Node::RuleStmt(rule) => self.rule(rule),
            Node::CreateTrigStmt(trigger) => self.trigger(trigger),
            Node::CreateDomainStmt(create) => {
                for node in untyped(create.constraints()) {
                    if let Node::Constraint(constraint) = node
                        && constraint.contype == ConstrType::CONSTR_DEFAULT
                    {
                        self.computed(constraint.raw_expr());
                    }
                }
            }
            Node::AlterDomainStmt(alter) if alter.subtype == SETS_DEFAULT => self.computed(alter.def()),
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
            if let Node::PartitionCmd(partition) = command.def() {
                self.scanned(partition.name());
            }
            self.alter_command(alter.relation(), command);
        }
    }

    /// Statistics of expressions: how many different values they have, and how often each is there.
    fn statistics(&mut self, create: &'a CreateStatsStmt) {
        let expression = |node| match node {
            Node::StatsElem(element) if element.name().is_none() => Some(Looks::Key(element.expr())),
            _ => None,
        };
        let looks: Vec<_> = create.exprs().iter().filter_map(expression).collect();
        for node in untyped(create.relations()) {
            match node {
                Node::RangeVar(relation) => self.kept(Some(relation), &looks),
                _ => drop(self.unknown(UnknownLineage::Construct)),
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

fn condition(node: Node<'_>) -> Option<Looks<'_>> {
    (!matches!(node, Node::None)).then_some(Looks::Condition(node))
}
