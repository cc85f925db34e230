//! Rows -> snapshot. Rows that refer to something that is not there are left out: it was dropped between two queries.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use super::rows::{self, Events, RelationKind};
use super::{Body, Catalogue, Conversion, Names, Reads, Relation, Snapshot, Trigger};

/// Takes rows in any order, and makes a snapshot of them.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    schemas: Vec<Arc<str>>,
    relations: Vec<rows::Relation>,
    columns: Vec<rows::Column>,
    inheritance: Vec<rows::Inheritance>,
    dependencies: Vec<rows::Dependency>,
    functions: Vec<rows::Function>,
    operators: Vec<rows::Operator>,
    types: Vec<rows::Type>,
    triggers: Vec<rows::Trigger>,
    rules: Vec<rows::Rule>,
    definitions: Vec<rows::Definition>,
    generated: Vec<rows::Generated>,
    required: Vec<rows::Required>,
    inexact: Vec<rows::Inexact>,
    conversions: Vec<rows::Conversion>,
    bodies: Vec<rows::Body>,
}

impl Builder {
    /// One without rows.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a schema.
    pub fn schema(&mut self, name: Arc<str>) {
        self.schemas.push(name);
    }

    /// Adds a relation.
    pub fn relation(&mut self, row: rows::Relation) {
        self.relations.push(row);
    }

    /// Adds a column.
    pub fn column(&mut self, row: rows::Column) {
        self.columns.push(row);
    }

    /// Adds an inheritance.
    pub fn inheritance(&mut self, row: rows::Inheritance) {
        self.inheritance.push(row);
    }

    /// Adds a dependency of a view.
    pub fn dependency(&mut self, row: rows::Dependency) {
        self.dependencies.push(row);
    }

    /// Adds a function.
    pub fn function(&mut self, row: rows::Function) {
        self.functions.push(row);
    }

    /// Adds an operator.
    pub fn operator(&mut self, row: rows::Operator) {
        self.operators.push(row);
    }

    /// Adds a function behind a type.
    pub fn type_code(&mut self, row: rows::Type) {
        self.types.push(row);
    }

    /// Adds a trigger.
    pub fn trigger(&mut self, row: rows::Trigger) {
        self.triggers.push(row);
    }

    /// Adds a rule.
    pub fn rule(&mut self, row: rows::Rule) {
        self.rules.push(row);
    }

    /// Adds a definition of a view.
    pub fn definition(&mut self, row: rows::Definition) {
        self.definitions.push(row);
    }

    /// Adds a generated column.
    pub fn generated(&mut self, row: rows::Generated) {
        self.generated.push(row);
    }

    /// Adds a column that is NOT NULL.
    pub fn required(&mut self, row: rows::Required) {
        self.required.push(row);
    }

    /// Adds a column whose text says less than its value.
    pub fn inexact(&mut self, row: rows::Inexact) {
        self.inexact.push(row);
    }

    /// Adds a cast of values of a relation.
    pub fn conversion(&mut self, row: rows::Conversion) {
        self.conversions.push(row);
    }

    /// Adds the body of a function.
    pub fn body(&mut self, row: rows::Body) {
        self.bodies.push(row);
    }

    /// The snapshot, under a number that no other snapshot of this process has, and that is not 0.
    #[must_use]
    pub fn build(mut self, epoch: u64) -> Catalogue {
        let index: HashMap<u32, usize> = self.relations.iter().enumerate().map(|(at, row)| (row.oid, at)).collect();
        let functions: HashMap<u32, (Arc<str>, Arc<str>)> =
            self.functions.iter().map(|row| (row.oid, (Arc::clone(&row.schema), Arc::clone(&row.name)))).collect();
        let column_name: HashMap<(u32, i16), Arc<str>> =
            self.columns.iter().map(|row| ((row.relation, row.number), Arc::clone(&row.name))).collect();
        let mut snapshot = Snapshot {
            relations: self.relations.iter().map(relation).collect(),
            schemas: self.schemas.drain(..).map(|name| (name, ())).collect(),
            ..Snapshot::default()
        };
        for (at, row) in self.relations.iter().enumerate() {
            name(&mut snapshot.relation_by_name, &row.schema, &row.name, at);
        }
        self.functions.iter().for_each(|row| name(&mut snapshot.functions, &row.schema, &row.name, ()));
        self.read_bodies(&mut snapshot.bodies);
        let rows = self.functions.iter().filter(|row| row.takes_row);
        rows.for_each(|row| name(&mut snapshot.row_functions, &row.schema, &row.name, ()));
        let computes = |row: &&rows::Function| is_reviewed(&row.extension);
        let computing: HashSet<u32> = self.functions.iter().filter(computes).map(|row| row.oid).collect();
        let unread = self.functions.iter().filter(|row| !computing.contains(&row.oid));
        unread.for_each(|row| name(&mut snapshot.unread_functions, &row.schema, &row.name, ()));
        let operators = self.operators.iter().filter(|row| !computing.contains(&row.function));
        operators.for_each(|row| name(&mut snapshot.operators, &row.schema, &row.name, ()));

        let relations = &mut snapshot.relations;
        self.columns.sort_by_key(|row| (row.relation, row.number));
        for row in self.columns {
            if let Some(relation) = find(relations, &index, row.relation) {
                relation.columns.push(row.name);
                relation.numbers.push(row.number);
            }
        }
        for row in self.inheritance {
            let (Some(child), Some(parent)) = (index.get(&row.child), index.get(&row.parent)) else { continue };
            find(relations, &index, row.child).into_iter().for_each(|below| below.parents.push(*parent));
            find(relations, &index, row.parent).into_iter().for_each(|above| above.children.push(*child));
        }
        for row in self.dependencies {
            let Some(view) = find(relations, &index, row.view) else { continue };
            if let Some(function) = functions.get(&row.function) {
                view.calls.push(function.clone());
            } else if let Some(read) = index.get(&row.relation) {
                view.read(*read, row.column, column_name.get(&(row.relation, row.column)));
            }
        }
        for row in self.types.into_iter().filter(|row| !computing.contains(&row.function)) {
            // A function that no row names is the server's own: what it does is not read here.
            let Some((schema, function)) = functions.get(&row.function).cloned() else { continue };
            if let Some(relation) = find(relations, &index, row.relation) {
                let (schema, function) = (Arc::clone(&schema), Arc::clone(&function));
                relation.triggers.push(Trigger { events: Events::INSERT.with(Events::UPDATE), schema, function });
            }
            snapshot.types.entry(row.schema).or_default().entry(row.name).or_default().push((schema, function));
        }
        for row in self.triggers {
            let Some(relation) = find(relations, &index, row.relation) else { continue };
            // A function that no row names is one of `pg_catalog`.
            let pg_catalog = || (Arc::from("pg_catalog"), Arc::from("trigger"));
            let (schema, function) = functions.get(&row.function).cloned().unwrap_or_else(pg_catalog);
            relation.triggers.push(Trigger { events: row.events, schema, function });
        }
        for row in self.rules {
            if let Some(relation) = find(relations, &index, row.relation) {
                relation.rules = relation.rules.with(row.events);
            }
        }
        for row in self.definitions {
            if let Some(view) = find(relations, &index, row.relation) {
                view.definition = Some(row.text);
            }
        }
        for row in self.generated {
            let Some(relation) = find(relations, &index, row.relation) else { continue };
            if let Some(column) = column_name.get(&(row.relation, row.number)) {
                relation.generated.push((Arc::clone(column), row.text));
            }
        }
        for row in self.required {
            let column = column_name.get(&(row.relation, row.number));
            if let (Some(relation), Some(column)) = (find(relations, &index, row.relation), column) {
                relation.required.push(Arc::clone(column));
            }
        }
        for row in self.inexact {
            let column = column_name.get(&(row.relation, row.number));
            if let (Some(relation), Some(column)) = (find(relations, &index, row.relation), column) {
                relation.inexact.push(Arc::clone(column));
            }
        }
        // What extensions have in C is made to be converted all the time, and computes.
        let of_extension = |row: &&rows::Function| !row.extension.is_empty();
        let of_extensions: HashSet<u32> = self.functions.iter().filter(of_extension).map(|row| row.oid).collect();
        for row in self.conversions.into_iter().filter(|row| !of_extensions.contains(&row.function)) {
            let Some((schema, function)) = functions.get(&row.function).cloned() else { continue };
            let Some(relation) = find(relations, &index, row.relation) else { continue };
            let column = column_name.get(&(row.relation, row.number)).cloned();
            relation.conversions.push(Conversion { column, schema, function });
        }
        snapshot.relation_by_oid = index;
        Catalogue { epoch, snapshot: Some(snapshot) }
    }
}

impl Builder {
    /// Of the functions of one name any may be meant: their bodies count where each has one.
    fn read_bodies(&mut self, bodies: &mut Names<Vec<Body>>) {
        let mut of: HashMap<u32, rows::Body> = self.bodies.drain(..).map(|row| (row.function, row)).collect();
        let mut named: HashMap<_, Option<Vec<Body>>> = HashMap::new();
        for row in &self.functions {
            let known = named.entry((&row.schema, &row.name)).or_insert_with(|| Some(Vec::new()));
            match (of.remove(&row.oid), known.as_mut()) {
                (Some(body), Some(known)) => known.push(Body {
                    text: body.text,
                    arguments: body.arguments.split('\u{1}').filter(|name| !name.is_empty()).map(Arc::from).collect(),
                }),
                _ => *known = None,
            }
        }
        for ((schema, function), known) in named {
            if let Some(known) = known {
                name(bodies, schema, function, known);
            }
        }
    }
}

/// Whether the extension's code is known to compute only.
fn is_reviewed(extension: &str) -> bool {
    include_str!("extensions.txt").lines().any(|line| line == extension && !line.is_empty())
}

fn relation(row: &rows::Relation) -> Relation {
    Relation {
        schema: Arc::clone(&row.schema),
        name: Arc::clone(&row.name),
        kind: row.kind,
        columns: Vec::new(),
        required: Vec::new(),
        inexact: Vec::new(),
        numbers: Vec::new(),
        definition: None,
        defined: OnceLock::new(),
        generated: Vec::new(),
        made: OnceLock::new(),
        parents: Vec::new(),
        children: Vec::new(),
        reads: Vec::new(),
        calls: Vec::new(),
        conversions: Vec::new(),
        triggers: Vec::new(),
        rules: Events::NONE,
    }
}

fn name<T>(names: &mut Names<T>, schema: &Arc<str>, name: &Arc<str>, value: T) {
    names.entry(Arc::clone(schema)).or_default().insert(Arc::clone(name), value);
}

fn find<'a>(relations: &'a mut [Relation], index: &HashMap<u32, usize>, oid: u32) -> Option<&'a mut Relation> {
    relations.get_mut(*index.get(&oid)?)
}

impl Relation {
    fn read(&mut self, relation: usize, number: i16, column: Option<&Arc<str>>) {
        if self.kind == RelationKind::Table {
            return;
        }
        let at = self.reads.iter().position(|reads| reads.relation == relation).unwrap_or_else(|| {
            self.reads.push(Reads { relation, columns: Vec::new(), whole_row: false });
            self.reads.len() - 1
        });
        let Some(reads) = self.reads.get_mut(at) else { return };
        match column {
            Some(column) => reads.columns.push(Arc::clone(column)),
            // A system column, or one that came after the columns were fetched: in doubt all of them.
            None if number != 0 => reads.whole_row = true,
            None => {}
        }
    }
}
