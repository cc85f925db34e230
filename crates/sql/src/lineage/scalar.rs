//! Values that are surely no rows of several columns: in FROM they are one column.

use pg_raw_parse::Node;
use pg_raw_parse::nodes::TypeName;

use crate::grammar::untyped;
use crate::name::{Names, PG_CATALOG};
use crate::walk::text;

/// Types of the server that are no rows, as its grammar or its users call them.
const SCALARS: &[&str] = &[
    "bool",
    "bpchar",
    "bytea",
    "date",
    "float4",
    "float8",
    "inet",
    "int2",
    "int4",
    "int8",
    "interval",
    "json",
    "jsonb",
    "name",
    "numeric",
    "oid",
    "text",
    "time",
    "timestamp",
    "timestamptz",
    "timetz",
    "uuid",
    "varchar",
];

/// Whether an array is surely one of such values: `ARRAY['a', $1::text]`, `'{1}'::int[]`.
pub(super) fn is_of_scalars(names: Names<'_>, array: Node<'_>) -> bool {
    match array {
        Node::A_ArrayExpr(array) => {
            array.elements().iter().all(|element| matches!(element, Node::A_Const(_)) || is_scalar(names, element))
        }
        other => is_scalar(names, other),
    }
}

/// Whether it is cast to such a type, or to an array of it.
fn is_scalar(names: Names<'_>, node: Node<'_>) -> bool {
    let Node::TypeCast(cast) = node else { return false };
    cast.type_name().is_some_and(|of| is_type(names, of))
}

/// Whether a type is surely one of these, or an array of it.
pub(super) fn is_type(names: Names<'_>, of: &TypeName) -> bool {
    let written = text::strings(untyped(of.names()));
    match written[..] {
        [PG_CATALOG, name] => SCALARS.contains(&name),
        [name] => SCALARS.contains(&name) && names.is_builtin_type(name),
        _ => false,
    }
}
