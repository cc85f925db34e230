//! CREATE, ALTER, DROP, GRANT: what changes the catalogue.

use std::sync::Arc;

use model::facts::{Action, Name, Object, OpaqueReason, StateChange};
use pg_raw_parse::Node;
use pg_raw_parse::list::NodeList;
use pg_raw_parse::nodes::{
    AlterTableStmt, AlterTableType, Constraint, CreateSchemaStmt, CreateStmt, DropBehavior, DropStmt, GrantStmt,
    GrantTargetType, IndexStmt, IntoClause, ObjectType, PartitionBoundSpec, RangeVar, RenameStmt,
};

use crate::called;
use crate::effects::ColumnSet;
use crate::grammar::untyped;
use crate::name::{self, PG_CATALOG};
use crate::walk::Walk;
use crate::walk::object::{kind_word, role_name};
use crate::walk::text;

/// INCLUDING CONSTRAINTS, DEFAULTS, GENERATED, INDEXES, STATISTICS (`TableLikeOption` in `parsenodes.h`): expressions.
const LIKE_CODE: u32 = 1 << 2 | 1 << 3 | 1 << 4 | 1 << 6 | 1 << 7;
/// One whose name the text does not have.
const UNKNOWN_FUNCTION: &str = "?";

/// `relpersistence` of a temporary relation.
const TEMPORARY: std::os::raw::c_char = b't'.cast_signed();

/// Whether it is said that a relation is temporary.
pub(crate) fn is_temporary(relation: &RangeVar) -> bool {
    relation.relpersistence == TEMPORARY || name::is_temporary(relation.schemaname())
}

impl<'a> Walk<'a> {
    /// A relation that is made, temporary or not.
    pub(super) fn made(&mut self, relation: &RangeVar) -> Name {
        self.made_table(relation, false)
    }

    /// The same; or a table of which it is known that it was not there before, and that nothing is in it.
    fn made_table(&mut self, relation: &RangeVar, is_empty: bool) -> Name {
        if is_temporary(relation) {
            let name = Name {
                schema: model::Known::Known(Arc::from("pg_temp")),
                name: Arc::from(relation.relname().unwrap_or_default()),
            };
            self.effect(Action::Create, Object::Relation(name.clone()));
            self.changes.push(StateChange::Temporary { name: Some(Arc::clone(&name.name)) });
            return name;
        }
        let name = self.on_created(relation);
        let schema = name.schema.known().filter(|schema| is_empty && ***schema != *PG_CATALOG);
        self.relation_changed(Some(&name.name), schema.cloned());
        name
    }

    /// A name stands for another relation from now on; `None`: which one is not known.
    pub(super) fn relation_changed(&mut self, name: Option<&str>, made_in: Option<Arc<str>>) {
        self.changes.push(match name {
            Some(name) => StateChange::Relation { name: Arc::from(name), made_in },
            None => StateChange::Catalogue,
        });
    }

    /// SELECT INTO, CREATE TABLE AS: a table with rows.
    pub(super) fn make_from_query(&mut self, into: &'a IntoClause) {
        if let Some(relation) = into.rel() {
            let name = self.made(relation);
            if !into.skip_data {
                self.effects.add_on(
                    Action::Insert,
                    Object::Relation(name),
                    ColumnSet::all(),
                    model::facts::Condition::NotApplicable,
                );
            }
        }
    }

    pub(super) fn create_table(&mut self, create: &'a CreateStmt, kind: ObjectType::Type) {
        let is_like = create.table_elts().iter().any(|element| matches!(element, Node::TableLikeClause(_)));
        let is_empty = !create.if_not_exists && !is_like && create.inh_relations().is_empty();
        if let Some(relation) = create.relation() {
            self.made_table(relation, is_empty && kind == ObjectType::OBJECT_TABLE);
        }
        // A partition or a child changes what its parent contains.
        for node in create.inh_relations() {
            match node {
                Node::RangeVar(parent) => {
                    self.on_relation(Action::Alter, Some(parent));
                    self.relation_changed(parent.relname(), None);
                }
                _ => self.opaque(OpaqueReason::Construct),
            }
        }
        self.table_elements(create.table_elts());
        self.table_elements(untyped(create.constraints()));
        for node in create.partspec().into_iter().flat_map(|by| untyped(by.part_params())) {
            if let Node::PartitionElem(element) = node {
                self.stored_expression(element.expr());
            }
        }
        if let Some(bound) = create.partbound() {
            self.partition_bound(bound);
        }
    }

    fn partition_bound(&mut self, bound: &'a PartitionBoundSpec) {
        for node in [bound.listdatums(), bound.lowerdatums(), bound.upperdatums()].into_iter().flatten() {
            match node {
                Node::PartitionRangeDatum(datum) => self.stored_expression(datum.value()),
                value => self.stored_expression(value),
            }
        }
    }

    /// Columns and constraints: their expressions are code that runs later, and may refer to other tables.
    fn table_elements(&mut self, elements: &'a NodeList) {
        for node in elements {
            match node {
                Node::ColumnDef(column) => {
                    self.table_elements(column.constraints());
                    self.stored_expression(column.raw_default());
                    // Its values are checked and converted where no statement names the type again.
                    self.calls(called::of_type(self.names, column.type_name()));
                }
                Node::Constraint(constraint) => self.constraint(constraint),
                Node::TableLikeClause(like) => {
                    if let Some(relation) = like.relation() {
                        let name = self.relation_name(relation);
                        self.effect(Action::Show, Object::Relation(name));
                    }
                    // Whatever the other table calls, the new one calls, too; which functions that are is not looked up.
                    if like.options & LIKE_CODE != 0 {
                        self.calls([self.names.function(None, UNKNOWN_FUNCTION)]);
                    }
                }
                _ => self.opaque(OpaqueReason::Construct),
            }
        }
    }

    pub(super) fn constraint(&mut self, constraint: &'a Constraint) {
        self.stored_expression(constraint.raw_expr());
        self.stored_expression(constraint.where_clause());
        // A foreign key puts triggers on the table that it refers to.
        self.on_relation(Action::Alter, constraint.pktable());
    }

    /// An expression that is kept, and runs when rows change.
    pub(super) fn stored_expression(&mut self, node: Node<'a>) {
        self.in_scope(super::scope::Scope::default(), |walk| walk.expression(node));
    }

    pub(super) fn create_index(&mut self, index: &'a IndexStmt) {
        let schema = index.relation().and_then(|relation| relation.schemaname());
        let name = index.idxname().map(|name| self.names.created(schema, name));
        self.effect(Action::Create, Object::Other { kind: Arc::from("INDEX"), name });
        self.on_relation(Action::Alter, index.relation());
        for node in untyped(index.index_params()) {
            self.stored_expression(node);
        }
        self.stored_expression(index.where_clause());
    }

    pub(super) fn functions_changed(&mut self) {
        self.changes.extend([StateChange::Catalogue, StateChange::Functions]);
    }

    /// Something happened to an object of a kind. What a table is called does not matter to any function.
    fn changed(&mut self, kind: ObjectType::Type) {
        self.changes.push(StateChange::Catalogue);
        if !is_relation(kind) && !is_column(kind) && kind != ObjectType::OBJECT_INDEX {
            self.changes.push(StateChange::Functions);
        }
    }

    /// A part of a relation that has a name: what happens to it changes the relation.
    pub(super) fn on_part_of(&mut self, action: Action, kind: &str, part: Option<&str>, relation: Option<&RangeVar>) {
        let relation = relation.map(|relation| self.relation_name(relation));
        let schema = relation.as_ref().map(|relation| relation.schema.clone());
        let name = part.zip(schema).map(|(part, schema)| Name { schema, name: Arc::from(part) });
        self.effect(action, Object::Other { kind: Arc::from(kind), name });
        if let Some(relation) = relation {
            self.effect(Action::Alter, Object::Relation(relation));
        }
    }

    pub(super) fn create_schema(&mut self, create: &'a CreateSchemaStmt) {
        let name = text::shared(create.schemaname()).or_else(|| create.authrole().and_then(role_name));
        self.effect(Action::Create, Object::Schema(name.unwrap_or_default()));
        self.changes.push(StateChange::Catalogue);
        for element in create.schema_elts() {
            self.nested_statement(element);
        }
    }

    pub(super) fn alter_table(&mut self, alter: &'a AlterTableStmt) -> String {
        self.on_altered(Action::Alter, alter.objtype, alter.relation());
        match alter.relation() {
            Some(relation) if is_relation(alter.objtype) => self.relation_altered(relation),
            _ => self.changes.push(StateChange::Catalogue),
        }
        for node in alter.cmds() {
            let Node::AlterTableCmd(command) = node else {
                self.opaque(OpaqueReason::Construct);
                continue;
            };
            if command.subtype == AlterTableType::AT_ChangeOwner {
                self.on_altered(Action::Grant, alter.objtype, alter.relation());
            }
            match command.def() {
                Node::NodeList(options) if command.subtype == AlterTableType::AT_GenericOptions => {
                    self.wrapper_options(options);
                }
                // Nothing more, or values only.
                Node::None | Node::NodeList(_) | Node::String(_) | Node::Integer(_) | Node::DefElem(_) => {}
                Node::ReplicaIdentityStmt(_) | Node::ATAlterConstraint(_) | Node::TypeName(_) => {}
                Node::ColumnDef(_) | Node::Constraint(_) => self.table_element(command.def()),
                // A table above or below.
                Node::RangeVar(other) => {
                    self.on_relation(Action::Alter, Some(other));
                    self.share_rows(alter.relation(), other);
                }
                Node::PartitionCmd(partition) => {
                    self.on_altered(Action::Alter, alter.objtype, partition.name());
                    partition.name().into_iter().for_each(|other| self.share_rows(alter.relation(), other));
                    partition.bound().into_iter().for_each(|bound| self.partition_bound(bound));
                }
                other => self.stored_expression(other),
            }
        }
        format!("ALTER {}", kind_word(alter.objtype))
    }

    /// A relation keeps its name and its rows.
    fn relation_altered(&mut self, relation: &RangeVar) {
        let name = relation.relname().unwrap_or_default();
        self.relation_changed(Some(name), self.names.made(relation.schemaname(), name));
    }

    /// Rows of one table are rows of another one from now on, or are not any more.
    fn share_rows(&mut self, one: Option<&RangeVar>, other: &RangeVar) {
        [one.and_then(RangeVar::relname), other.relname()]
            .into_iter()
            .for_each(|name| self.relation_changed(name, None));
    }

    /// ALTER TABLE, and ALTER INDEX, which is the same to the grammar.
    fn on_altered(&mut self, action: Action, kind: ObjectType::Type, relation: Option<&RangeVar>) {
        match relation {
            Some(index) if kind == ObjectType::OBJECT_INDEX => {
                let names: Vec<&str> = [index.schemaname(), index.relname()].into_iter().flatten().collect();
                self.on_other(action, "INDEX", &names);
            }
            relation => self.on_relation(action, relation),
        }
    }

    fn table_element(&mut self, node: Node<'a>) {
        match node {
            Node::ColumnDef(column) => {
                self.table_elements(column.constraints());
                self.stored_expression(column.raw_default());
            }
            Node::Constraint(constraint) => self.constraint(constraint),
            _ => self.opaque(OpaqueReason::Construct),
        }
    }

    pub(super) fn drop_objects(&mut self, drop: &'a DropStmt) -> String {
        for node in drop.objects() {
            self.on_object(Action::Drop, drop.remove_type, node);
        }
        if drop.behavior == DropBehavior::DROP_CASCADE {
            // Whatever depends on it: foreign tables, columns, views. The text does not name them.
            self.on_plain(Action::Drop, "DEPENDENT OBJECT", None);
        }
        match drop.behavior {
            // That may be a column of another table, which has the type of one that is dropped.
            DropBehavior::DROP_CASCADE => self.changes.push(StateChange::Catalogue),
            _ => drop.objects().iter().for_each(|node| self.dropped(drop.remove_type, node)),
        }
        format!("DROP {}", kind_word(drop.remove_type))
    }

    /// Of an object on which nothing else depends.
    fn dropped(&mut self, kind: ObjectType::Type, node: Node<'a>) {
        let names = self.object_names(node);
        match (kind, names.as_slice()) {
            // Nothing that has rows.
            (ObjectType::OBJECT_INDEX, _) => {}
            (kind, [.., name]) if is_relation(kind) => self.relation_changed(Some(name), None),
            (ObjectType::OBJECT_TRIGGER | ObjectType::OBJECT_RULE | ObjectType::OBJECT_POLICY, [.., relation, _]) => {
                self.relation_changed(Some(relation), None);
            }
            _ => self.changes.push(StateChange::Catalogue),
        }
    }

    pub(super) fn rename(&mut self, rename: &'a RenameStmt) -> String {
        match rename.relation() {
            Some(relation) if is_relation(rename.rename_type) || is_column(rename.rename_type) => {
                self.on_relation(Action::Alter, Some(relation));
            }
            Some(relation) if rename.rename_type == ObjectType::OBJECT_INDEX => {
                self.on_other(Action::Alter, "INDEX", &[relation.relname().unwrap_or_default()]);
            }
            Some(relation) => {
                self.on_part_of(Action::Alter, kind_word(rename.rename_type), rename.subname(), Some(relation));
            }
            None if !matches!(rename.object(), Node::None) => {
                self.on_object(Action::Alter, rename.rename_type, rename.object());
            }
            // Databases, roles and the like.
            None if rename.rename_type == ObjectType::OBJECT_ROLE => {
                self.effect(Action::Alter, Object::Role(text::shared(rename.subname())));
            }
            None if rename.rename_type == ObjectType::OBJECT_SCHEMA => {
                self.effect(Action::Alter, Object::Schema(text::shared(rename.subname()).unwrap_or_default()));
            }
            None => self.on_plain(Action::Alter, kind_word(rename.rename_type), rename.subname()),
        }
        match rename.relation() {
            // To the server ALTER INDEX may name a table as well.
            Some(relation) if is_relation(rename.rename_type) || rename.rename_type == ObjectType::OBJECT_INDEX => {
                [relation.relname(), rename.newname()].into_iter().for_each(|name| self.relation_changed(name, None));
            }
            Some(relation) if rename.rename_type != ObjectType::OBJECT_ATTRIBUTE => self.relation_altered(relation),
            _ => self.changed(rename.rename_type),
        }
        format!("ALTER {}", kind_word(rename.rename_type))
    }

    /// ALTER of an object that is named by a relation or by itself: owner, schema, extension.
    pub(super) fn alter_object(
        &mut self,
        kind: ObjectType::Type,
        relation: Option<&'a RangeVar>,
        object: Node<'a>,
    ) -> String {
        self.on_named(Action::Alter, kind, relation, object);
        self.changed(kind);
        format!("ALTER {}", kind_word(kind))
    }

    /// An effect on an object that is named by a relation or by itself.
    pub(super) fn on_named(
        &mut self,
        action: Action,
        kind: ObjectType::Type,
        relation: Option<&'a RangeVar>,
        object: Node<'a>,
    ) {
        match relation {
            Some(relation) => self.on_relation(action, Some(relation)),
            None => self.on_object(action, kind, object),
        }
    }

    pub(super) fn grant(&mut self, grant: &'a GrantStmt) -> &'static str {
        let action = if grant.is_grant { Action::Grant } else { Action::Revoke };
        for node in untyped(grant.objects()) {
            match (grant.targtype, node) {
                (GrantTargetType::ACL_TARGET_ALL_IN_SCHEMA, node) => {
                    self.effect(action, Object::Schema(Arc::from(node.as_str().unwrap_or_default())));
                }
                (_, Node::RangeVar(relation)) => self.on_relation(action, Some(relation)),
                (_, node) => self.on_object(action, grant.objtype, node),
            }
        }
        if grant.targtype == GrantTargetType::ACL_TARGET_DEFAULTS {
            self.effect(action, Object::Server);
        }
        if grant.is_grant { "GRANT" } else { "REVOKE" }
    }
}

const fn is_relation(kind: ObjectType::Type) -> bool {
    matches!(
        kind,
        ObjectType::OBJECT_TABLE
            | ObjectType::OBJECT_VIEW
            | ObjectType::OBJECT_MATVIEW
            | ObjectType::OBJECT_FOREIGN_TABLE
            | ObjectType::OBJECT_SEQUENCE
    )
}

const fn is_column(kind: ObjectType::Type) -> bool {
    matches!(kind, ObjectType::OBJECT_COLUMN | ObjectType::OBJECT_ATTRIBUTE | ObjectType::OBJECT_TABCONSTRAINT)
}
