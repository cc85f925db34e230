//! Strings and lists of names in the tree.

use std::sync::Arc;

use pg_raw_parse::list::NodeList;
use pg_raw_parse::nodes::A_Const;
use pg_raw_parse::{ConstValue, Node};

/// A list of names in which each is a string; whatever else is in it is left out.
pub(crate) fn strings(list: &NodeList) -> Vec<&str> {
    list.iter().filter_map(Node::as_str).collect()
}

/// The only string of a list.
pub(crate) fn single(list: &NodeList) -> Option<&str> {
    if list.len() == 1 { list.first().and_then(Node::as_str) } else { None }
}

/// A qualified name: its schema, and the name itself. A database before the schema can only be the current one.
pub(crate) fn qualified<'a>(names: &[&'a str]) -> (Option<&'a str>, &'a str) {
    match names {
        [] => (None, ""),
        [name] => (None, name),
        [.., schema, name] => (Some(schema), name),
    }
}

/// A constant as text, also with a cast around it.
pub(crate) fn constant(mut node: Node<'_>) -> Option<String> {
    loop {
        match node {
            Node::TypeCast(cast) => node = cast.arg(),
            Node::NamedArgExpr(argument) => node = argument.arg(),
            Node::A_Const(constant) => return value(constant),
            Node::String(string) => return string.sval().map(str::to_owned),
            Node::Integer(integer) => return Some(integer.ival.to_string()),
            Node::Float(float) => return float.fval().map(str::to_owned),
            Node::Boolean(boolean) => return Some(boolean.boolval.to_string()),
            _ => return None,
        }
    }
}

fn value(constant: &A_Const) -> Option<String> {
    match constant.val()? {
        ConstValue::Integer(integer) => Some(integer.to_string()),
        ConstValue::Boolean(boolean) => Some(boolean.to_string()),
        ConstValue::Float(text) | ConstValue::String(text) | ConstValue::BitString(text) => Some(text.to_owned()),
        _ => None,
    }
}

/// Whether an option is there and on, as `defGetBoolean` of the server reads it: without a value it is on. Of several
/// the server takes the last; here one that is on is enough.
pub(crate) fn is_on(options: &NodeList, name: &str) -> bool {
    options.iter().any(|node| match node {
        Node::DefElem(option) if option.defname() == Some(name) => {
            let word = constant(option.arg()).map(|word| word.to_ascii_lowercase());
            !matches!(word.as_deref(), Some("false" | "off" | "0"))
        }
        _ => false,
    })
}

pub(crate) fn shared(text: Option<&str>) -> Option<Arc<str>> {
    text.map(Arc::from)
}
