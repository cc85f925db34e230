//! DDL by which values come to stand under other names, or are looked at from now on: rules are about names, and masks about
//! what a statement shows.

use model::Known;
use model::facts::{Name, UnknownSchema};
use model::lineage::{Lineage, Origin, Sources, StoredColumn, UnknownLineage};
use pg_raw_parse::Node;
use pg_raw_parse::list::NodeList;
use pg_raw_parse::nodes::{
    AlterObjectSchemaStmt, AlterTableCmd, AlterTableType, ConstrType, Constraint, CreateStmt, CreateTrigStmt,
    ObjectType, RangeVar, RenameStmt, RuleStmt,
};

use crate::catalogue::Relation;
use crate::catalogue::rows::RelationKind;
use crate::changed::Changed;
use crate::grammar::untyped;
use crate::lineage::Trace;
use crate::lineage::relation::family;
use crate::lineage::row::{self, Field, Row};
use crate::lineage::scope::{Item, Scope};
use crate::name::Names;
use crate::state::{State, Temporary};
use crate::tree;
use crate::walk::text;

/// ON UPDATE CASCADE (`parsenodes.h`).
const FKCONSTR_ACTION_CASCADE: std::os::raw::c_char = b'c'.cast_signed();
/// The server's own triggers that write what other columns hold into one.
const COPYING_TRIGGERS: &[&str] = &["tsvector_update_trigger", "tsvector_update_trigger_column"];

/// A relation that DDL is about, as it was before this session changed anything: that is not in the snapshot.
enum Altered<'a> {
    Known(&'a Relation),
    /// It is new: nobody can have written to it yet, but they will.
    New(Name),
    Unknown,
}

/// What DDL does with an expression over the columns of its table.
pub(super) enum Looks<'n> {
    /// Which rows meet it will show.
    Condition(Node<'n>),
    /// Which values of it are equal, and their order, will show.
    Key(Node<'n>),
    /// More of it will show.
    Closely(Node<'n>),
    /// The same, of a column by its name.
    AtColumn(&'n str),
    /// It is written into this column.
    Into(&'n str, Node<'n>),
}

impl<'a> Trace<'a> {
    /// What stays looks at the rows of a table: how many meet a condition shows in the size of an index, and in the rows
    /// that a policy of the server leaves; which values an expression has shows in what the server counts of them.
    pub(super) fn kept(&mut self, relation: Option<&RangeVar>, looks: &[Looks<'_>]) {
        let Some(relation) = relation else { return };
        let found = self.altered(relation);
        let Names { state, catalogue } = self.names;
        let before = before(state);
        let mut apart = Trace::new(Names { state: &before, catalogue }, self.depth_max);
        let own = match &found {
            Altered::Known(found) => Some((found.schema.clone(), found.name.clone())),
            Altered::New(Name { schema: Known::Known(schema), name }) => Some((schema.clone(), name.clone())),
            Altered::New(_) | Altered::Unknown => None,
        };
        let Some((schema, name)) = own else {
            if !looks.is_empty() {
                self.unknown(UnknownLineage::Relation);
            }
            return;
        };
        let own = |column: &str| StoredColumn { schema: schema.clone(), relation: name.clone(), name: column.into() };
        let row = match found {
            Altered::Known(found) => apart.row_of(found),
            _ => {
                Row::Columns(looks.iter().flat_map(columns).map(|name| Field::named(name, direct(own(name)))).collect())
            }
        };
        let mut scope = Scope::of(Item::of_relation(None, relation.relname(), row.clone()));
        scope.items.extend(["old", "new"].map(|name| Item::qualified_only(name, row.clone())));
        let (_, _) = apart.within(scope, |trace| {
            for look in looks {
                match look {
                    Looks::Condition(node) => trace.condition(*node),
                    Looks::Key(node) => drop(trace.sorted_by(*node)),
                    Looks::Closely(node) => {
                        let origin = trace.expression(*node);
                        trace.note_compared(&origin);
                    }
                    Looks::AtColumn(name) => {
                        let origin = row.named().and_then(|fields| row::find(fields, Some(name)));
                        trace.note_compared(&origin.unwrap_or_else(|| direct(own(name))));
                    }
                    Looks::Into(name, node) => {
                        let origin = trace.expression(*node);
                        trace.store(Some(own(name)), origin);
                    }
                }
            }
        });
        let Lineage { compared, matched, joined, stored, unknown, calls, .. } = apart.lineage;
        self.lineage.calls.extend(calls);
        self.lineage.compared.extend(compared);
        self.lineage.matched.extend(matched);
        self.lineage.joined.extend(joined);
        self.lineage.stored.extend(stored);
        self.lineage.unknown = self.lineage.unknown.or(unknown);
    }

    fn altered(&self, relation: &RangeVar) -> Altered<'a> {
        let Names { state, catalogue } = self.names;
        let before = before(state);
        let names = Names { state: &before, catalogue };
        let (schema, name) = (relation.schemaname(), relation.relname().unwrap_or_default());
        let found = names.relation(schema, name);
        // One of a name that was changed may have been called otherwise before, unless the transaction has made it.
        let changed = &state.changed;
        let is_other = !changed.is_everything() && changed.is_among(name) && self.names.made(schema, name).is_none();
        match &found.schema {
            Known::Known(schema) => match catalogue.relation(schema, name) {
                Some(relation) => Altered::Known(relation),
                None if is_other => Altered::Unknown,
                None => Altered::New(found),
            },
            Known::Unknown(UnknownSchema::NotFound) if !is_other => Altered::New(names.created(schema, name)),
            Known::Unknown(_) => Altered::Unknown,
        }
    }

    /// ALTER ... RENAME of a table, a column, a schema.
    pub(super) fn rename(&mut self, rename: &'a RenameStmt) {
        let new = rename.newname().unwrap_or_default();
        match (rename.rename_type, rename.relation()) {
            (ObjectType::OBJECT_COLUMN, Some(relation)) => {
                let Some(old) = rename.subname() else { return };
                match self.altered(relation) {
                    Altered::Known(found) => {
                        for member in family(self.names.catalogue, found) {
                            self.rename_columns(member, Some(old), |column| StoredColumn {
                                name: new.into(),
                                ..column
                            });
                        }
                    }
                    Altered::New(Name { schema: Known::Known(schema), name }) => {
                        let column = StoredColumn { schema, relation: name, name: old.into() };
                        self.store(Some(StoredColumn { name: new.into(), ..column.clone() }), direct(column));
                    }
                    Altered::New(_) | Altered::Unknown => drop(self.unknown(UnknownLineage::Relation)),
                }
            }
            (ObjectType::OBJECT_TABLE | ObjectType::OBJECT_FOREIGN_TABLE, Some(relation)) => {
                self.rename_table(relation, |column| StoredColumn { relation: new.into(), ..column });
            }
            (ObjectType::OBJECT_SCHEMA, _) => {
                let schema = rename.subname().unwrap_or_default();
                for relation in self.names.catalogue.relations_in(schema) {
                    self.rename_columns(relation, None, |column| StoredColumn { schema: new.into(), ..column });
                }
            }
            _ => {}
        }
    }

    /// ALTER ... SET SCHEMA.
    pub(super) fn move_to_schema(&mut self, alter: &'a AlterObjectSchemaStmt) {
        let is_table = matches!(alter.object_type, ObjectType::OBJECT_TABLE | ObjectType::OBJECT_FOREIGN_TABLE);
        if let Some(relation) = alter.relation().filter(|_| is_table) {
            let new = alter.newschema().unwrap_or_default();
            self.rename_table(relation, |column| StoredColumn { schema: new.into(), ..column });
        }
    }

    fn rename_table(&mut self, relation: &RangeVar, renamed: impl Fn(StoredColumn) -> StoredColumn) {
        let name = relation.relname().unwrap_or_default();
        let is_temporary = relation.schemaname().is_none() && self.names.state.temporary.is_followed(name);
        match self.altered(relation) {
            Altered::Known(found) => self.rename_columns(found, None, renamed),
            // Nothing protected is in those of this session.
            Altered::New(_) if is_temporary => {}
            // It may be one that was called otherwise before.
            Altered::New(_) if self.names.state.changed.is_everything() => {
                drop(self.unknown(UnknownLineage::Relation));
            }
            Altered::New(_) => {}
            Altered::Unknown => drop(self.unknown(UnknownLineage::Relation)),
        }
    }

    /// What a column keeps stands under another name.
    fn rename_columns(
        &mut self,
        relation: &Relation,
        only: Option<&str>,
        renamed: impl Fn(StoredColumn) -> StoredColumn,
    ) {
        // What a view shows is followed under any name.
        if !matches!(relation.kind, RelationKind::Table | RelationKind::ForeignTable) {
            return;
        }
        for name in relation.columns.iter().filter(|name| only.is_none_or(|only| *only == ***name)) {
            let column = own_column(relation, name);
            self.store(Some(renamed(column.clone())), direct(column));
        }
    }

    /// What one command of an ALTER TABLE moves.
    pub(super) fn alter_command(&mut self, relation: Option<&RangeVar>, command: &'a AlterTableCmd) {
        let Some(relation) = relation else { return };
        let name = command.name();
        match (command.subtype, command.def()) {
            (AlterTableType::AT_DetachPartition, Node::PartitionCmd(partition)) => {
                self.parted(relation, None);
                partition.name().into_iter().for_each(|child| self.parted(child, None));
            }
            (AlterTableType::AT_DropInherit, Node::RangeVar(parent)) => {
                self.parted(relation, None);
                self.parted(parent, None);
            }
            // Tables below may keep theirs.
            (AlterTableType::AT_DropColumn, _) => {
                let Altered::Known(found) = self.altered(relation) else { return };
                for child in self.names.catalogue.children(found) {
                    self.parted_columns(child, name);
                }
            }
            (AlterTableType::AT_DropExpression, _) => {
                let Altered::Known(found) = self.altered(relation) else { return };
                if let (Row::Columns(fields), Some(name)) = (self.row_of(found), name)
                    && let Some(origin) = row::find(&fields, Some(name))
                {
                    self.store(Some(own_column(found, name)), origin);
                }
            }
            (AlterTableType::AT_AlterColumnType, Node::ColumnDef(column)) => {
                if let Some(name) = name.filter(|_| !matches!(column.raw_default(), Node::None)) {
                    self.kept(Some(relation), &[Looks::Into(name, column.raw_default())]);
                }
            }
            (AlterTableType::AT_AddColumn, Node::ColumnDef(column)) => {
                let own: Vec<&str> = column.colname().into_iter().collect();
                self.constraints(relation, &own, column.constraints());
            }
            (AlterTableType::AT_ColumnDefault, Node::None) => {}
            (AlterTableType::AT_ColumnDefault, default) => self.computed(default),
            (_, Node::Constraint(constraint)) => self.constraint(relation, &[], constraint),
            _ => {}
        }
    }

    /// Tables above and below lose each other: each is protected by its own name from then on.
    fn parted(&mut self, relation: &RangeVar, only: Option<&str>) {
        match self.altered(relation) {
            Altered::Known(found) => self.parted_columns(found, only),
            Altered::New(_) => {}
            Altered::Unknown => drop(self.unknown(UnknownLineage::Relation)),
        }
    }

    fn parted_columns(&mut self, relation: &'a Relation, only: Option<&str>) {
        let Row::Columns(fields) = self.row_of(relation) else { return };
        for field in fields {
            let Some(name) = field.name.filter(|name| only.is_none_or(|only| *only == **name)) else { continue };
            self.store(Some(own_column(relation, &name)), field.origin);
        }
    }

    /// CREATE TABLE: in which partition a row is tells about the key; and constraints.
    pub(super) fn create_table(&mut self, create: &'a CreateStmt) {
        let Some(relation) = create.relation() else { return };
        for element in create.table_elts() {
            match element {
                Node::ColumnDef(column) => {
                    let own: Vec<&str> = column.colname().into_iter().collect();
                    self.constraints(relation, &own, column.constraints());
                }
                Node::Constraint(constraint) => self.constraint(relation, &[], constraint),
                _ => {}
            }
        }
        self.constraints(relation, &[], untyped(create.constraints()));
        let keys: Vec<_> = create.partspec().into_iter().flat_map(|by| untyped(by.part_params())).collect();
        let looks: Vec<Looks<'_>> = keys
            .into_iter()
            .filter_map(|key| match key {
                Node::PartitionElem(key) => Some(key.name().map_or(Looks::Closely(key.expr()), Looks::AtColumn)),
                _ => None,
            })
            .collect();
        if !looks.is_empty() {
            self.kept(Some(relation), &looks);
        }
    }

    fn constraints(&mut self, relation: &RangeVar, own: &[&str], constraints: &'a NodeList) {
        for node in constraints {
            if let Node::Constraint(constraint) = node {
                self.constraint(relation, own, constraint);
            }
        }
    }

    fn constraint(&mut self, relation: &RangeVar, own: &[&str], constraint: &'a Constraint) {
        // EXCLUDE makes an index, and tells with ON CONFLICT whether there is a row that an operator finds.
        let mut looks = Vec::new();
        for exclusion in constraint.exclusions() {
            let parts = exclusion.as_node_list();
            let [element, operator] =
                [0, 1].map(|place| parts.and_then(|parts| parts.get(place)).unwrap_or(Node::None));
            let is_equality = operator.as_node_list().is_some_and(|name| text::single(name) == Some("="));
            match element {
                Node::IndexElem(element) => looks.extend(match element.name() {
                    Some(_) if is_equality => None,
                    Some(name) => Some(Looks::AtColumn(name)),
                    None if is_equality => Some(Looks::Key(element.expr())),
                    None => Some(Looks::Closely(element.expr())),
                }),
                _ => drop(self.unknown(UnknownLineage::Construct)),
            }
        }
        // So does a key without overlaps, of the period that it ends with.
        if constraint.without_overlaps {
            looks.extend(text::strings(constraint.keys()).pop().map(Looks::AtColumn));
        }
        if constraint.fk_with_period {
            looks.extend(text::strings(constraint.fk_attrs()).pop().map(Looks::AtColumn));
        }
        if constraint.pk_with_period {
            let period = text::strings(constraint.pk_attrs()).pop().map(Looks::AtColumn);
            self.kept(constraint.pktable(), period.as_slice());
        }
        if !matches!(constraint.where_clause(), Node::None) {
            looks.push(Looks::Condition(constraint.where_clause()));
        }
        if !looks.is_empty() {
            self.kept(Some(relation), &looks);
        }
        match constraint.contype {
            ConstrType::CONSTR_DEFAULT => self.computed(constraint.raw_expr()),
            ConstrType::CONSTR_CHECK => self.checked(constraint.raw_expr()),
            _ => {}
        }
        if constraint.contype == ConstrType::CONSTR_FOREIGN && constraint.fk_upd_action == FKCONSTR_ACTION_CASCADE {
            self.cascading(relation, own, constraint);
        }
    }

    /// A default: what it gives is kept, whoever writes a row.
    pub(super) fn computed(&mut self, node: Node<'a>) {
        let origin = self.expression(node);
        self.store(None, origin);
    }

    /// A condition that runs for rows that are written, and fails or not: what it calls counts.
    pub(super) fn checked(&mut self, node: Node<'a>) {
        let mut apart = Trace::new(self.names, self.depth_max);
        apart.bodies = self.bodies;
        apart.expression(node);
        self.lineage.calls.extend(apart.lineage.calls);
    }

    /// A foreign key with ON UPDATE CASCADE writes what is written into the columns that it refers to.
    fn cascading(&mut self, relation: &RangeVar, own: &[&str], constraint: &'a Constraint) {
        let Some(referred) = constraint.pktable() else { return };
        let row = match self.altered(referred) {
            Altered::Known(found) => self.row_of(found),
            Altered::New(Name { schema: Known::Known(schema), name }) if !constraint.pk_attrs().is_empty() => {
                let column =
                    |column: &str| StoredColumn { schema: schema.clone(), relation: name.clone(), name: column.into() };
                let names = text::strings(constraint.pk_attrs());
                Row::Columns(names.into_iter().map(|name| Field::named(name, direct(column(name)))).collect())
            }
            _ => return drop(self.unknown(UnknownLineage::Relation)),
        };
        let mut into = text::strings(constraint.fk_attrs());
        into.extend_from_slice(own);
        let referred = text::strings(constraint.pk_attrs());
        let into = match self.altered(relation) {
            Altered::Known(found) => into.into_iter().map(|name| own_column(found, name)).collect(),
            Altered::New(Name { schema: Known::Known(schema), name }) => {
                let column =
                    |column: &str| StoredColumn { schema: schema.clone(), relation: name.clone(), name: column.into() };
                into.into_iter().map(column).collect()
            }
            _ => Vec::new(),
        };
        let Row::Columns(fields) = row else { return drop(self.unknown(UnknownLineage::Relation)) };
        for field in fields {
            // Without names it is the primary key, which may be any of them.
            let place = match &field.name {
                _ if referred.is_empty() => 0,
                Some(name) => match referred.iter().position(|wanted| **wanted == **name) {
                    Some(place) => place,
                    None => continue,
                },
                None => 0,
            };
            self.store(into.get(place).cloned(), field.origin);
        }
    }

    /// A rule runs whatever it says for whoever changes the rows; so it may not be about what is hidden from its author.
    pub(super) fn rule(&mut self, rule: &'a RuleStmt) {
        let Some(relation) = rule.relation() else { return };
        let row = match self.altered(relation) {
            Altered::Known(found) => self.row_of(found),
            Altered::New(_) => Row::Every(Origin::none()),
            Altered::Unknown => Row::Every(self.unknown(UnknownLineage::Relation)),
        };
        self.store_row(&row);
        let items = ["old", "new"].map(|name| Item::qualified_only(name, row.clone()));
        let scope = Scope { items: items.into(), star: Row::empty() };
        let (_, _) = self.within(scope, |trace| {
            trace.condition(rule.where_clause());
            for action in rule.actions() {
                if !matches!(action, Node::NotifyStmt(_)) {
                    let shown = trace.query(action);
                    trace.store_row(&shown);
                }
            }
        });
    }

    /// The condition of a trigger decides whether it runs, and the server has one that copies.
    pub(super) fn trigger(&mut self, trigger: &'a CreateTrigStmt) {
        if !matches!(trigger.when_clause(), Node::None) {
            self.kept(trigger.relation(), &[Looks::Condition(trigger.when_clause())]);
        }
        let function = text::strings(trigger.funcname()).pop().unwrap_or_default();
        let arguments = text::strings(untyped(trigger.args()));
        let (Some((into, [_, from @ ..])), true) = (arguments.split_first(), COPYING_TRIGGERS.contains(&function))
        else {
            return;
        };
        let Some(Altered::Known(found)) = trigger.relation().map(|relation| self.altered(relation)) else { return };
        if let Row::Columns(fields) = self.row_of(found) {
            let read = fields.iter().filter(|field| field.name.as_deref().is_none_or(|name| from.contains(&name)));
            let origin = read.fold(Origin::none(), |origin, field| origin.or(field.origin.clone())).derived();
            self.store(Some(own_column(found, into)), origin);
        }
    }
}

/// The state of a session before it has changed the catalogue.
fn before(state: &State) -> State {
    State { changed: Changed::Nothing, functions_changed: false, temporary: Temporary::None, ..state.clone() }
}

fn own_column(relation: &Relation, name: &str) -> StoredColumn {
    StoredColumn { schema: relation.schema.clone(), relation: relation.name.clone(), name: name.into() }
}

fn direct(column: StoredColumn) -> Origin {
    Origin::Direct(Sources::from([column]).into())
}

/// Columns that an expression names.
fn columns<'n>(look: &Looks<'n>) -> Vec<&'n str> {
    let mut left = match look {
        Looks::AtColumn(name) => return vec![name],
        Looks::Condition(node) | Looks::Key(node) | Looks::Closely(node) | Looks::Into(_, node) => vec![*node],
    };
    let mut found = Vec::new();
    while let Some(node) = left.pop() {
        match node {
            Node::ColumnRef(column) => found.extend(text::strings(column.fields()).pop()),
            // What is not known here is no reason to refuse: the walk says it itself.
            _ => _ = tree::is_leaf(node) || tree::below(node, &mut left),
        }
    }
    found
}
