//! The snapshot that the queries fetch, with a login that has no rights.

use std::sync::Arc;

use sql::catalogue::rows::{self, Events, RelationKind};
use sql::catalogue::{Builder, Catalogue, QUERIES};

use crate::cluster::Cluster;

pub(crate) fn fetch(cluster: &Cluster) -> Catalogue {
    let mut builder = Builder::new();
    for (name, query) in QUERIES {
        for row in cluster.rows("reader", query) {
            add(&mut builder, name, &row);
        }
    }
    builder.build(1)
}

fn add(builder: &mut Builder, query: &str, row: &[String]) {
    let text = |at: usize| Arc::<str>::from(row[at].as_str());
    let oid = |at: usize| row[at].parse::<u32>().unwrap();
    let number = |at: usize| row[at].parse::<i16>().unwrap();
    match query {
        "schemas" => builder.schema(text(0)),
        "relations" => builder.relation(rows::Relation {
            oid: oid(0),
            schema: text(1),
            name: text(2),
            kind: RelationKind::from_letter(row[3].as_bytes()[0]),
        }),
        "columns" => builder.column(rows::Column { relation: oid(0), number: number(1), name: text(2) }),
        "inheritance" => builder.inheritance(rows::Inheritance { child: oid(0), parent: oid(1) }),
        "dependencies" => {
            builder.dependency(rows::Dependency { view: oid(0), relation: oid(1), column: number(2), function: oid(3) })
        }
        "functions" => builder.function(rows::Function {
            oid: oid(0),
            schema: text(1),
            name: text(2),
            extension: text(3),
            takes_row: number(4) != 0,
        }),
        "operators" => builder.operator(rows::Operator { schema: text(0), name: text(1), function: oid(2) }),
        "types" => {
            builder.type_code(rows::Type { schema: text(0), name: text(1), relation: oid(2), function: oid(3) });
        }
        "triggers" => builder.trigger(rows::Trigger {
            relation: oid(0),
            function: oid(1),
            events: Events::from_trigger_type(number(2)),
        }),
        "rules" => {
            builder.rule(rows::Rule { relation: oid(0), events: Events::from_rule_type(row[1].as_bytes()[0]) });
        }
        "definitions" => builder.definition(rows::Definition { relation: oid(0), text: text(1) }),
        "generated" => builder.generated(rows::Generated { relation: oid(0), number: number(1), text: text(2) }),
        "required" => builder.required(rows::Required { relation: oid(0), number: number(1) }),
        "inexact" => builder.inexact(rows::Inexact { relation: oid(0), number: number(1) }),
        "conversions" => {
            builder.conversion(rows::Conversion { relation: oid(0), number: number(1), function: oid(2) });
        }
        "bodies" => builder.body(rows::Body { function: oid(0), text: text(1), arguments: text(2) }),
        other => panic!("nobody reads the rows of {other}"),
    }
}
