//! A snapshot of a catalogue on its way from the core, which fetches it, to the workers, which judge by it: rows as
//! [`sql::catalogue::QUERIES`] have them.

use serde::{Deserialize, Serialize};
use sql::catalogue::rows::{
    Body, Column, Conversion, Definition, Dependency, Events, Function, Generated, Inexact, Inheritance, Operator,
    Relation, RelationKind, Required, Rule, Trigger, Type,
};
use sql::catalogue::{Builder, Catalogue};

/// The rows of each query, in the order of its columns.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CatalogueForm {
    pub(crate) schemas: Vec<String>,
    /// The last is the letter of the kind.
    pub(crate) relations: Vec<(u32, String, String, u8)>,
    pub(crate) columns: Vec<(u32, i16, String)>,
    pub(crate) inheritance: Vec<(u32, u32)>,
    pub(crate) dependencies: Vec<(u32, u32, i16, u32)>,
    /// The last: 1 where it can be called with a row alone.
    pub(crate) functions: Vec<(u32, String, String, String, i16)>,
    pub(crate) operators: Vec<(String, String, u32)>,
    pub(crate) types: Vec<(String, String, u32, u32)>,
    pub(crate) triggers: Vec<(u32, u32, i16)>,
    /// The last is the digit of the event.
    pub(crate) rules: Vec<(u32, u8)>,
    pub(crate) definitions: Vec<(u32, String)>,
    pub(crate) generated: Vec<(u32, i16, String)>,
    pub(crate) required: Vec<(u32, i16)>,
    pub(crate) inexact: Vec<(u32, i16)>,
    pub(crate) conversions: Vec<(u32, i16, u32)>,
    pub(crate) bodies: Vec<(u32, String, String)>,
}

impl CatalogueForm {
    /// The snapshot, under a number that no other of this process has.
    pub(crate) fn build(self, epoch: u64) -> Catalogue {
        let mut builder = Builder::new();
        self.schemas.into_iter().for_each(|name| builder.schema(name.into()));
        for (oid, schema, name, letter) in self.relations {
            let (schema, name, kind) = (schema.into(), name.into(), RelationKind::from_letter(letter));
            builder.relation(Relation { oid, schema, name, kind });
        }
        for (relation, number, name) in self.columns {
            builder.column(Column { relation, number, name: name.into() });
        }
        for (child, parent) in self.inheritance {
            builder.inheritance(Inheritance { child, parent });
        }
        for (view, relation, column, function) in self.dependencies {
            builder.dependency(Dependency { view, relation, column, function });
        }
        for (oid, schema, name, extension, takes_row) in self.functions {
            let (schema, name, extension) = (schema.into(), name.into(), extension.into());
            builder.function(Function { oid, schema, name, extension, takes_row: takes_row != 0 });
        }
        for (schema, name, function) in self.operators {
            builder.operator(Operator { schema: schema.into(), name: name.into(), function });
        }
        for (schema, name, relation, function) in self.types {
            builder.type_code(Type { schema: schema.into(), name: name.into(), relation, function });
        }
        for (relation, function, bits) in self.triggers {
            builder.trigger(Trigger { relation, function, events: Events::from_trigger_type(bits) });
        }
        for (relation, digit) in self.rules {
            builder.rule(Rule { relation, events: Events::from_rule_type(digit) });
        }
        for (relation, text) in self.definitions {
            builder.definition(Definition { relation, text: text.into() });
        }
        for (relation, number, text) in self.generated {
            builder.generated(Generated { relation, number, text: text.into() });
        }
        for (relation, number) in self.required {
            builder.required(Required { relation, number });
        }
        for (relation, number) in self.inexact {
            builder.inexact(Inexact { relation, number });
        }
        for (relation, number, function) in self.conversions {
            builder.conversion(Conversion { relation, number, function });
        }
        for (function, text, arguments) in self.bodies {
            builder.body(Body { function, text: text.into(), arguments: arguments.into() });
        }
        builder.build(epoch)
    }
}
