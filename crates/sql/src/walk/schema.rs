//! Which walk of `definition` or `object` takes a statement that changes the catalogue.

use std::borrow::Cow;

use model::facts::{Action, Object, OpaqueReason, StateChange};
use pg_raw_parse::Node;
use pg_raw_parse::list::NodeList;
use pg_raw_parse::nodes::{DefineStmt, ObjectType, RangeVar};

use crate::grammar::{foreign_table, untyped};
use crate::walk::Walk;
use crate::walk::object::kind_word;
use crate::walk::statement::Command;
use crate::walk::text;

/// Kinds without a schema that bring functions, or change which one is called.
const BRINGS_FUNCTIONS: &[&str] = &["EXTENSION", "LANGUAGE", "CAST", "TRANSFORM", "ACCESS METHOD"];

impl<'a> Walk<'a> {
    pub(super) fn definition(&mut self, node: Node<'a>) -> Command {
        let command = self.relation_definition(node).or_else(|| self.object_definition(node));
        command.or_else(|| self.global_definition(node)).unwrap_or_else(|| {
            self.opaque(OpaqueReason::Construct);
            Cow::Borrowed("")
        })
    }

    /// Tables and what belongs to them.
    fn relation_definition(&mut self, node: Node<'a>) -> Option<Command> {
        Some(match node {
            Node::CreateStmt(create) => {
                self.create_table(create, ObjectType::OBJECT_TABLE);
                Cow::Borrowed("CREATE TABLE")
            }
            Node::CreateTableAsStmt(create) => self.create_table_as(create),
            Node::ViewStmt(create) => {
                self.create_view(create);
                Cow::Borrowed("CREATE VIEW")
            }
            Node::CreateSeqStmt(create) => self.create_relation(create.sequence(), "CREATE SEQUENCE"),
            Node::AlterSeqStmt(alter) => {
                self.on_relation(Action::Alter, alter.sequence());
                // OWNED BY ties it to a table.
                Cow::Borrowed("ALTER SEQUENCE")
            }
            Node::IndexStmt(create) => {
                self.create_index(create);
                Cow::Borrowed("CREATE INDEX")
            }
            Node::AlterTableStmt(alter) => Cow::Owned(self.alter_table(alter)),
            Node::CreateTrigStmt(create) => {
                self.create_trigger(create);
                Cow::Borrowed("CREATE TRIGGER")
            }
            Node::RuleStmt(create) => {
                self.create_rule(create);
                Cow::Borrowed("CREATE RULE")
            }
            Node::CreatePolicyStmt(create) => {
                self.on_part_of(Action::Create, "POLICY", create.policy_name(), create.table());
                self.stored_expression(create.qual());
                self.stored_expression(create.with_check());
                Cow::Borrowed("CREATE POLICY")
            }
            Node::AlterPolicyStmt(alter) => {
                self.on_part_of(Action::Alter, "POLICY", alter.policy_name(), alter.table());
                self.stored_expression(alter.qual());
                self.stored_expression(alter.with_check());
                Cow::Borrowed("ALTER POLICY")
            }
            Node::CreateStatsStmt(create) => {
                for node in untyped(create.relations()) {
                    match node {
                        Node::RangeVar(relation) => self.on_relation(Action::Alter, Some(relation)),
                        // The grammar takes any FROM here, the server only a table.
                        _ => self.opaque(OpaqueReason::Construct),
                    }
                }
                for node in create.exprs() {
                    if let Node::StatsElem(element) = node {
                        self.stored_expression(element.expr());
                    }
                }
                self.defined("STATISTICS", untyped(create.defnames()))
            }
            Node::AlterStatsStmt(alter) => self.altered("STATISTICS", untyped(alter.defnames())),
            Node::CompositeTypeStmt(create) => {
                let name = create.typevar().map(|of| [of.schemaname(), of.relname()]);
                let names: Vec<&str> = name.into_iter().flatten().flatten().collect();
                self.simple_definition(Action::Create, ObjectType::OBJECT_TYPE, &names)
            }
            _ => return self.foreign_table(node),
        })
    }

    fn create_relation(&mut self, relation: Option<&'a RangeVar>, command: &'static str) -> Command {
        if let Some(relation) = relation {
            self.made(relation);
        }
        Cow::Borrowed(command)
    }

    fn foreign_table(&mut self, node: Node<'a>) -> Option<Command> {
        if let Some(foreign) = foreign_table(node) {
            self.create_table(foreign.table, ObjectType::OBJECT_FOREIGN_TABLE);
            self.on_plain(Action::Select, "SERVER", foreign.server);
            foreign.options.into_iter().for_each(|options| self.wrapper_options(options));
            return Some(Cow::Borrowed("CREATE FOREIGN TABLE"));
        }
        let Node::ImportForeignSchemaStmt(import) = node else { return None };
        self.effect(Action::Create, Object::Schema(text::shared(import.local_schema()).unwrap_or_default()));
        self.on_plain(Action::Select, "SERVER", import.server_name());
        self.changes.push(StateChange::Catalogue);
        Some(Cow::Borrowed("IMPORT FOREIGN SCHEMA"))
    }

    /// What a wrapper is told that reads files or runs programs (`file_fdw`).
    pub(super) fn wrapper_options(&mut self, options: &'a NodeList) {
        for node in options {
            if let Node::DefElem(option) = node {
                match option.defname() {
                    Some("filename") => self.effect(Action::ServerFile, Object::Server),
                    Some("program") => self.effect(Action::Program, Object::Server),
                    _ => {}
                }
            }
        }
    }

    /// Objects in schemas that are no relations; and DROP, RENAME and the like of anything.
    fn object_definition(&mut self, node: Node<'a>) -> Option<Command> {
        Some(match node {
            Node::DropStmt(drop) => Cow::Owned(self.drop_objects(drop)),
            Node::RenameStmt(rename) => Cow::Owned(self.rename(rename)),
            Node::AlterOwnerStmt(alter) => {
                self.on_named(Action::Grant, alter.object_type, alter.relation(), alter.object());
                Cow::Owned(self.alter_object(alter.object_type, alter.relation(), alter.object()))
            }
            Node::AlterObjectSchemaStmt(alter) => {
                Cow::Owned(self.alter_object(alter.object_type, alter.relation(), alter.object()))
            }
            Node::AlterObjectDependsStmt(alter) => {
                Cow::Owned(self.alter_object(alter.object_type, alter.relation(), alter.object()))
            }
            Node::CommentStmt(comment) => self.comment(comment.objtype, comment.object(), "COMMENT"),
            Node::SecLabelStmt(label) => self.comment(label.objtype, label.object(), "SECURITY LABEL"),
            Node::CreateSchemaStmt(create) => {
                self.create_schema(create);
                Cow::Borrowed("CREATE SCHEMA")
            }
            Node::CreateFunctionStmt(create) => Cow::Borrowed(self.create_function(create)),
            Node::AlterFunctionStmt(alter) => {
                self.alter_function(alter);
                Cow::Owned(format!("ALTER {}", kind_word(alter.objtype)))
            }
            Node::DefineStmt(define) => self.define(define),
            Node::CreateEnumStmt(create) => self.enumeration(Action::Create, untyped(create.type_name())),
            Node::CreateRangeStmt(create) => self.defined("TYPE", untyped(create.type_name())),
            Node::AlterEnumStmt(alter) => self.enumeration(Action::Alter, untyped(alter.type_name())),
            Node::AlterTypeStmt(alter) => self.altered("TYPE", alter.type_name()),
            Node::CreateDomainStmt(create) => {
                for node in untyped(create.constraints()) {
                    if let Node::Constraint(constraint) = node {
                        self.constraint(constraint);
                    }
                }
                self.defined("DOMAIN", untyped(create.domainname()))
            }
            Node::AlterDomainStmt(alter) => {
                if let Node::Constraint(constraint) = alter.def() {
                    self.constraint(constraint);
                }
                self.altered("DOMAIN", alter.type_name())
            }
            Node::AlterCollationStmt(alter) => self.altered("COLLATION", alter.collname()),
            Node::CreateConversionStmt(create) => self.defined("CONVERSION", create.conversion_name()),
            Node::CreateOpClassStmt(create) => self.defined("OPERATOR CLASS", untyped(create.opclassname())),
            Node::CreateOpFamilyStmt(create) => self.defined("OPERATOR FAMILY", untyped(create.opfamilyname())),
            Node::AlterOpFamilyStmt(alter) => self.altered("OPERATOR FAMILY", untyped(alter.opfamilyname())),
            Node::AlterOperatorStmt(alter) => {
                if let Some(operator) = alter.opername() {
                    self.on_object(Action::Alter, ObjectType::OBJECT_OPERATOR, Node::ObjectWithArgs(operator));
                }
                self.functions_changed();
                Cow::Borrowed("ALTER OPERATOR")
            }
            Node::AlterTSDictionaryStmt(alter) => self.altered("TEXT SEARCH DICTIONARY", untyped(alter.dictname())),
            Node::AlterTSConfigurationStmt(alter) => {
                self.altered("TEXT SEARCH CONFIGURATION", untyped(alter.cfgname()))
            }
            _ => return None,
        })
    }

    /// AGGREGATE, OPERATOR, TYPE, COLLATION, TEXT SEARCH ...
    fn define(&mut self, define: &'a DefineStmt) -> Command {
        let names = text::strings(untyped(define.defnames()));
        self.changes.push(StateChange::Functions);
        if define.kind == ObjectType::OBJECT_AGGREGATE {
            let (schema, name) = text::qualified(&names);
            let name = self.names.created(schema, name);
            self.effect(Action::Create, Object::Function(name));
            self.changes.push(StateChange::Catalogue);
            return Cow::Borrowed("CREATE AGGREGATE");
        }
        self.simple_definition(Action::Create, define.kind, &names)
    }

    fn defined(&mut self, kind: &'static str, names: &'a NodeList) -> Command {
        self.on_other(Action::Create, kind, &text::strings(names));
        self.functions_changed();
        Cow::Owned(format!("CREATE {kind}"))
    }

    /// A type that brings no functions, operators or casts: the server has them for all enumerations.
    fn enumeration(&mut self, action: Action, names: &'a NodeList) -> Command {
        self.on_other(action, "TYPE", &text::strings(names));
        self.changes.push(StateChange::Catalogue);
        Cow::Owned(format!("{} TYPE", action.word().to_ascii_uppercase()))
    }

    fn altered(&mut self, kind: &'static str, names: &'a NodeList) -> Command {
        self.on_other(Action::Alter, kind, &text::strings(names));
        self.functions_changed();
        Cow::Owned(format!("ALTER {kind}"))
    }

    /// Objects without a schema: roles, databases, extensions, foreign servers, publications, rights.
    fn global_definition(&mut self, node: Node<'a>) -> Option<Command> {
        let grants = self.rights(node);
        grants.or_else(|| self.roles(node)).or_else(|| self.plain_definition(node))
    }

    fn plain_definition(&mut self, node: Node<'a>) -> Option<Command> {
        match node {
            Node::CreatePublicationStmt(create) => self.publish(create.pubobjects(), create.for_all_tables),
            Node::AlterPublicationStmt(alter) => self.publish(alter.pubobjects(), alter.for_all_tables),
            Node::AlterDatabaseSetStmt(alter) => self.kept_setting(alter.setstmt()),
            _ => {}
        }
        let (action, kind, name) = plain_name(node)?;
        [Some(action), beyond(action, kind)].into_iter().flatten().for_each(|action| self.on_plain(action, kind, name));
        self.changes.push(StateChange::Catalogue);
        if BRINGS_FUNCTIONS.contains(&kind) {
            self.changes.push(StateChange::Functions);
        }
        Some(Cow::Owned(format!("{} {kind}", action.word().to_ascii_uppercase())))
    }
}

impl<'a> Walk<'a> {
    /// What a publication hands out.
    fn publish(&mut self, objects: &'a NodeList, everything: bool) {
        if everything {
            self.effect(Action::Replicate, Object::Server);
        }
        for node in objects {
            let Node::PublicationObjSpec(object) = node else {
                self.opaque(OpaqueReason::Construct);
                continue;
            };
            match (object.pubtable(), object.name()) {
                (Some(table), _) => {
                    self.on_relation(Action::Replicate, table.relation());
                    self.stored_expression(table.where_clause());
                }
                (None, Some(schema)) => self.effect(Action::Replicate, Object::Schema(schema.into())),
                (None, None) => self.effect(Action::Replicate, Object::Server),
            }
        }
    }
}

/// What a definition does besides.
fn beyond(action: Action, kind: &str) -> Option<Action> {
    match (action, kind) {
        (_, "SUBSCRIPTION" | "PUBLICATION") => Some(Action::Replicate),
        (Action::Create, "TABLESPACE") => Some(Action::ServerFile),
        // Its scripts and functions are not read.
        (Action::Create | Action::Alter, "EXTENSION" | "LANGUAGE" | "EVENT TRIGGER") => Some(Action::Code),
        _ => None,
    }
}

/// Definitions that have a name and nothing else that matters here.
fn plain_name(node: Node<'_>) -> Option<(Action, &'static str, Option<&str>)> {
    Some(match node {
        Node::CreatedbStmt(create) => (Action::Create, "DATABASE", create.dbname()),
        Node::AlterDatabaseStmt(alter) => (Action::Alter, "DATABASE", alter.dbname()),
        Node::AlterDatabaseSetStmt(alter) => (Action::Alter, "DATABASE", alter.dbname()),
        Node::AlterDatabaseRefreshCollStmt(alter) => (Action::Alter, "DATABASE", alter.dbname()),
        Node::DropdbStmt(drop) => (Action::Drop, "DATABASE", drop.dbname()),
        Node::CreateTableSpaceStmt(create) => (Action::Create, "TABLESPACE", create.tablespacename()),
        Node::AlterTableSpaceOptionsStmt(alter) => (Action::Alter, "TABLESPACE", alter.tablespacename()),
        Node::AlterTableMoveAllStmt(alter) => (Action::Alter, "TABLESPACE", alter.orig_tablespacename()),
        Node::DropTableSpaceStmt(drop) => (Action::Drop, "TABLESPACE", drop.tablespacename()),
        Node::CreateExtensionStmt(create) => (Action::Create, "EXTENSION", create.extname()),
        Node::AlterExtensionStmt(alter) => (Action::Alter, "EXTENSION", alter.extname()),
        Node::AlterExtensionContentsStmt(alter) => (Action::Alter, "EXTENSION", alter.extname()),
        Node::CreateFdwStmt(create) => (Action::Create, "FOREIGN DATA WRAPPER", create.fdwname()),
        Node::AlterFdwStmt(alter) => (Action::Alter, "FOREIGN DATA WRAPPER", alter.fdwname()),
        Node::CreateForeignServerStmt(create) => (Action::Create, "SERVER", create.servername()),
        Node::AlterForeignServerStmt(alter) => (Action::Alter, "SERVER", alter.servername()),
        Node::CreateAmStmt(create) => (Action::Create, "ACCESS METHOD", create.amname()),
        Node::CreateEventTrigStmt(create) => (Action::Create, "EVENT TRIGGER", create.trigname()),
        Node::AlterEventTrigStmt(alter) => (Action::Alter, "EVENT TRIGGER", alter.trigname()),
        Node::CreatePLangStmt(create) => (Action::Create, "LANGUAGE", create.plname()),
        Node::CreatePublicationStmt(create) => (Action::Create, "PUBLICATION", create.pubname()),
        Node::AlterPublicationStmt(alter) => (Action::Alter, "PUBLICATION", alter.pubname()),
        Node::CreateSubscriptionStmt(create) => (Action::Create, "SUBSCRIPTION", create.subname()),
        Node::AlterSubscriptionStmt(alter) => (Action::Alter, "SUBSCRIPTION", alter.subname()),
        Node::DropSubscriptionStmt(drop) => (Action::Drop, "SUBSCRIPTION", drop.subname()),
        Node::CreateCastStmt(_) => (Action::Create, "CAST", None),
        Node::CreateTransformStmt(create) => (Action::Create, "TRANSFORM", create.lang()),
        _ => return None,
    })
}
