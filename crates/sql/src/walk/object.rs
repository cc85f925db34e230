//! Objects that a definition names, whatever they are.

use std::sync::Arc;

use model::facts::{Action, Name, Object, OpaqueReason};
use pg_raw_parse::Node;
use pg_raw_parse::nodes::{ObjectType, RangeVar, RoleSpec, RoleSpecType};

use crate::walk::Walk;
use crate::walk::text;

/// The word of the server's command tags for a kind of object.
pub(super) const fn kind_word(kind: ObjectType::Type) -> &'static str {
    match kind {
        ObjectType::OBJECT_ACCESS_METHOD => "ACCESS METHOD",
        ObjectType::OBJECT_AGGREGATE => "AGGREGATE",
        ObjectType::OBJECT_ATTRIBUTE | ObjectType::OBJECT_TYPE => "TYPE",
        ObjectType::OBJECT_CAST => "CAST",
        ObjectType::OBJECT_COLLATION => "COLLATION",
        ObjectType::OBJECT_COLUMN | ObjectType::OBJECT_TABLE | ObjectType::OBJECT_TABCONSTRAINT => "TABLE",
        ObjectType::OBJECT_CONVERSION => "CONVERSION",
        ObjectType::OBJECT_DATABASE => "DATABASE",
        ObjectType::OBJECT_DOMAIN | ObjectType::OBJECT_DOMCONSTRAINT => "DOMAIN",
        ObjectType::OBJECT_EVENT_TRIGGER => "EVENT TRIGGER",
        ObjectType::OBJECT_EXTENSION => "EXTENSION",
        ObjectType::OBJECT_FDW => "FOREIGN DATA WRAPPER",
        ObjectType::OBJECT_FOREIGN_SERVER => "SERVER",
        ObjectType::OBJECT_FOREIGN_TABLE => "FOREIGN TABLE",
        ObjectType::OBJECT_FUNCTION => "FUNCTION",
        ObjectType::OBJECT_INDEX => "INDEX",
        ObjectType::OBJECT_LANGUAGE => "LANGUAGE",
        ObjectType::OBJECT_LARGEOBJECT => "LARGE OBJECT",
        ObjectType::OBJECT_MATVIEW => "MATERIALIZED VIEW",
        ObjectType::OBJECT_OPCLASS => "OPERATOR CLASS",
        ObjectType::OBJECT_OPERATOR => "OPERATOR",
        ObjectType::OBJECT_OPFAMILY => "OPERATOR FAMILY",
        ObjectType::OBJECT_PARAMETER_ACL => "PARAMETER",
        ObjectType::OBJECT_POLICY => "POLICY",
        ObjectType::OBJECT_PROCEDURE => "PROCEDURE",
        ObjectType::OBJECT_PUBLICATION => "PUBLICATION",
        ObjectType::OBJECT_ROLE => "ROLE",
        ObjectType::OBJECT_ROUTINE => "ROUTINE",
        ObjectType::OBJECT_RULE => "RULE",
        ObjectType::OBJECT_SCHEMA => "SCHEMA",
        ObjectType::OBJECT_SEQUENCE => "SEQUENCE",
        ObjectType::OBJECT_SUBSCRIPTION => "SUBSCRIPTION",
        ObjectType::OBJECT_STATISTIC_EXT => "STATISTICS",
        ObjectType::OBJECT_TABLESPACE => "TABLESPACE",
        ObjectType::OBJECT_TRANSFORM => "TRANSFORM",
        ObjectType::OBJECT_TRIGGER => "TRIGGER",
        ObjectType::OBJECT_TSCONFIGURATION => "TEXT SEARCH CONFIGURATION",
        ObjectType::OBJECT_TSDICTIONARY => "TEXT SEARCH DICTIONARY",
        ObjectType::OBJECT_TSPARSER => "TEXT SEARCH PARSER",
        ObjectType::OBJECT_TSTEMPLATE => "TEXT SEARCH TEMPLATE",
        ObjectType::OBJECT_USER_MAPPING => "USER MAPPING",
        ObjectType::OBJECT_VIEW => "VIEW",
        _ => "OBJECT",
    }
}

/// How an object of a kind is named.
enum Naming {
    /// A relation, perhaps with a part of it behind.
    Relation,
    /// Schema and name.
    Qualified,
    /// A part of a relation: its name stands last.
    OfRelation,
    /// No schema.
    Plain,
}

const fn naming(kind: ObjectType::Type) -> Naming {
    match kind {
        ObjectType::OBJECT_TABLE
        | ObjectType::OBJECT_VIEW
        | ObjectType::OBJECT_MATVIEW
        | ObjectType::OBJECT_FOREIGN_TABLE
        | ObjectType::OBJECT_SEQUENCE => Naming::Relation,
        ObjectType::OBJECT_COLUMN
        | ObjectType::OBJECT_TABCONSTRAINT
        | ObjectType::OBJECT_POLICY
        | ObjectType::OBJECT_RULE
        | ObjectType::OBJECT_TRIGGER => Naming::OfRelation,
        ObjectType::OBJECT_ACCESS_METHOD
        | ObjectType::OBJECT_CAST
        | ObjectType::OBJECT_DATABASE
        | ObjectType::OBJECT_EVENT_TRIGGER
        | ObjectType::OBJECT_EXTENSION
        | ObjectType::OBJECT_FDW
        | ObjectType::OBJECT_FOREIGN_SERVER
        | ObjectType::OBJECT_LANGUAGE
        | ObjectType::OBJECT_LARGEOBJECT
        | ObjectType::OBJECT_PARAMETER_ACL
        | ObjectType::OBJECT_PUBLICATION
        | ObjectType::OBJECT_ROLE
        | ObjectType::OBJECT_SCHEMA
        | ObjectType::OBJECT_SUBSCRIPTION
        | ObjectType::OBJECT_TABLESPACE
        | ObjectType::OBJECT_TRANSFORM
        | ObjectType::OBJECT_USER_MAPPING => Naming::Plain,
        _ => Naming::Qualified,
    }
}

impl Walk<'_> {
    /// An effect on an object as DROP, COMMENT, ALTER ... name it, and on the relation that it is a part of.
    pub(super) fn on_object(&mut self, action: Action, kind: ObjectType::Type, node: Node<'_>) {
        let names = self.object_names(node);
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        match naming(kind) {
            Naming::Relation => {
                let (schema, name) = text::qualified(&names);
                let name = self.names.relation(schema, name);
                self.effect(action, Object::Relation(name));
            }
            Naming::OfRelation => self.on_part(action, kind, &names),
            Naming::Plain => {
                let name = names.last().copied().unwrap_or_default();
                self.effect(action, plain(kind, name));
            }
            Naming::Qualified => {
                let (schema, name) = text::qualified(&names);
                self.effect(action, self.qualified_object(kind, schema, name));
            }
        }
    }

    /// A part of a relation: whatever happens to it changes the relation.
    fn on_part(&mut self, action: Action, kind: ObjectType::Type, names: &[&str]) {
        let Some((part, relation)) = names.split_last() else { return };
        let (schema, name) = text::qualified(relation);
        let relation = self.names.relation(schema, name);
        if !matches!(kind, ObjectType::OBJECT_COLUMN | ObjectType::OBJECT_TABCONSTRAINT) {
            let name = Name { schema: relation.schema.clone(), name: Arc::from(*part) };
            self.effect(action, Object::Other { kind: Arc::from(kind_word(kind)), name: Some(name) });
        }
        self.effect(Action::Alter, Object::Relation(relation));
    }

    /// An object with a schema that is no relation.
    fn qualified_object(&self, kind: ObjectType::Type, schema: Option<&str>, name: &str) -> Object {
        match kind {
            ObjectType::OBJECT_FUNCTION
            | ObjectType::OBJECT_PROCEDURE
            | ObjectType::OBJECT_ROUTINE
            | ObjectType::OBJECT_AGGREGATE => Object::Function(self.names.function(schema, name)),
            _ => Object::Other { kind: Arc::from(kind_word(kind)), name: Some(self.names.other(schema, name)) },
        }
    }

    /// The parts of an object's name.
    pub(super) fn object_names(&mut self, node: Node<'_>) -> Vec<String> {
        match node {
            Node::String(name) => name.sval().into_iter().map(str::to_owned).collect(),
            Node::NodeList(list) => {
                list.iter()
                    .filter_map(|node| match node {
                        // A type as the first part: of a cast, or of a domain's constraint.
                        Node::TypeName(of) => {
                            text::strings(crate::grammar::untyped(of.names())).last().map(|name| (*name).to_owned())
                        }
                        other => other.as_str().map(str::to_owned),
                    })
                    .collect()
            }
            Node::ObjectWithArgs(object) => text::strings(object.objname()).into_iter().map(str::to_owned).collect(),
            Node::TypeName(of) => {
                text::strings(crate::grammar::untyped(of.names())).into_iter().map(str::to_owned).collect()
            }
            Node::RangeVar(relation) => {
                [relation.schemaname(), relation.relname()].into_iter().flatten().map(str::to_owned).collect()
            }
            Node::RoleSpec(role) => vec![role_name(role).unwrap_or_default().to_string()],
            Node::Integer(number) => vec![number.ival.to_string()],
            Node::Float(number) => number.fval().into_iter().map(str::to_owned).collect(),
            _ => {
                self.opaque(OpaqueReason::Construct);
                Vec::new()
            }
        }
    }

    /// An object without a schema.
    pub(super) fn on_plain(&mut self, action: Action, kind: &str, name: Option<&str>) {
        self.effect(action, other(kind, name));
    }

    /// An object with a schema, by the parts of its name.
    pub(super) fn on_other(&mut self, action: Action, kind: &str, names: &[&str]) {
        let (schema, name) = text::qualified(names);
        let name =
            if action == Action::Create { self.names.created(schema, name) } else { self.names.other(schema, name) };
        self.effect(action, Object::Other { kind: Arc::from(kind), name: Some(name) });
    }

    /// A relation that is made.
    pub(super) fn on_created(&mut self, relation: &RangeVar) -> Name {
        let name = self.names.created(relation.schemaname(), relation.relname().unwrap_or_default());
        self.effect(Action::Create, Object::Relation(name.clone()));
        name
    }

    pub(super) fn on_role(&mut self, action: Action, role: Option<&RoleSpec>) {
        let name = role.and_then(role_name);
        self.effect(action, Object::Role(name));
    }
}

fn plain(kind: ObjectType::Type, name: &str) -> Object {
    match kind {
        ObjectType::OBJECT_SCHEMA => Object::Schema(Arc::from(name)),
        ObjectType::OBJECT_ROLE => Object::Role(Some(Arc::from(name))),
        ObjectType::OBJECT_PARAMETER_ACL => Object::Parameter(Some(Arc::from(name))),
        _ => other(kind_word(kind), Some(name)),
    }
}

/// An object that has no schema, and so no search in a path.
fn other(kind: &str, name: Option<&str>) -> Object {
    let name = name.map(|name| Name { schema: model::Known::Known(Arc::from("")), name: Arc::from(name) });
    Object::Other { kind: Arc::from(kind), name }
}

/// The name of a role; CURRENT_USER and the like are what they are called.
pub(super) fn role_name(role: &RoleSpec) -> Option<Arc<str>> {
    Some(match role.roletype {
        RoleSpecType::ROLESPEC_CURRENT_ROLE => Arc::from("current_role"),
        RoleSpecType::ROLESPEC_CURRENT_USER => Arc::from("current_user"),
        RoleSpecType::ROLESPEC_SESSION_USER => Arc::from("session_user"),
        RoleSpecType::ROLESPEC_PUBLIC => Arc::from("public"),
        _ => Arc::from(role.rolename()?),
    })
}
