//! Roles, and what they may: attributes, members, owners, rights.
//!
//! Whoever gives a role something grants, however the statement is called: `ALTER ROLE bob SUPERUSER` and `GRANT admin TO
//! bob` are alike.

use std::borrow::Cow;
use std::sync::Arc;

use model::facts::{Action, Object, OpaqueReason};
use pg_raw_parse::Node;
use pg_raw_parse::list::{CastNodeList, NodeList};
use pg_raw_parse::nodes::{DefElem, RoleStmtType};

use crate::grammar::untyped;
use crate::walk::Walk;
use crate::walk::object::role_name;
use crate::walk::statement::Command;
use crate::walk::text;

impl<'a> Walk<'a> {
    pub(super) fn rights(&mut self, node: Node<'a>) -> Option<Command> {
        Some(Cow::Borrowed(match node {
            Node::GrantStmt(grant) => self.grant(grant),
            Node::GrantRoleStmt(grant) => {
                let action = if grant.is_grant { Action::Grant } else { Action::Revoke };
                for node in grant.granted_roles() {
                    match node {
                        Node::AccessPriv(role) => self.effect(action, Object::Role(text::shared(role.priv_name()))),
                        _ => self.opaque(OpaqueReason::Construct),
                    }
                }
                if grant.is_grant { "GRANT ROLE" } else { "REVOKE ROLE" }
            }
            Node::AlterDefaultPrivilegesStmt(alter) => {
                if let Some(action) = alter.action() {
                    self.grant(action);
                }
                self.effect(Action::Grant, Object::Server);
                "ALTER DEFAULT PRIVILEGES"
            }
            Node::DropOwnedStmt(drop) => {
                self.on_roles(Action::Drop, drop.roles());
                self.effect(Action::Drop, Object::Server);
                self.functions_changed();
                "DROP OWNED"
            }
            Node::ReassignOwnedStmt(reassign) => {
                for action in [Action::Alter, Action::Grant] {
                    self.on_roles(action, reassign.roles());
                    self.effect(action, Object::Server);
                }
                "REASSIGN OWNED"
            }
            _ => return None,
        }))
    }

    fn on_roles(&mut self, action: Action, roles: &'a NodeList) {
        for node in roles {
            match node {
                Node::RoleSpec(role) => self.effect(action, Object::Role(role_name(role))),
                _ => self.opaque(OpaqueReason::Construct),
            }
        }
    }

    pub(super) fn roles(&mut self, node: Node<'a>) -> Option<Command> {
        Some(Cow::Borrowed(match node {
            Node::CreateRoleStmt(create) => {
                let role = text::shared(create.role());
                self.effect(Action::Create, Object::Role(role.clone()));
                if create.stmt_type == RoleStmtType::ROLESTMT_USER {
                    // LOGIN, without the word.
                    self.effect(Action::Grant, Object::Role(role.clone()));
                }
                self.role_options(role.as_ref(), create.options(), Action::Create);
                "CREATE ROLE"
            }
            Node::AlterRoleStmt(alter) => {
                self.on_role(Action::Alter, alter.role());
                if alter.action < 0 {
                    self.on_role(Action::Revoke, alter.role());
                } else {
                    self.role_options(alter.role().and_then(role_name).as_ref(), alter.options(), Action::Revoke);
                }
                "ALTER ROLE"
            }
            Node::AlterRoleSetStmt(alter) => {
                self.on_role(Action::Alter, alter.role());
                self.kept_setting(alter.setstmt());
                "ALTER ROLE"
            }
            Node::DropRoleStmt(drop) => {
                self.on_roles(Action::Drop, drop.roles());
                "DROP ROLE"
            }
            Node::CreateUserMappingStmt(create) => {
                self.on_role(Action::Alter, create.user());
                self.on_plain(Action::Create, "USER MAPPING", create.servername());
                "CREATE USER MAPPING"
            }
            Node::AlterUserMappingStmt(alter) => {
                self.on_plain(Action::Alter, "USER MAPPING", alter.servername());
                "ALTER USER MAPPING"
            }
            Node::DropUserMappingStmt(drop) => {
                self.on_plain(Action::Drop, "USER MAPPING", drop.servername());
                "DROP USER MAPPING"
            }
            _ => return None,
        }))
    }

    /// What the options of CREATE ROLE and ALTER ROLE give to a role. `without`: what it is not to give something.
    fn role_options(&mut self, role: Option<&Arc<str>>, options: &'a CastNodeList<DefElem>, without: Action) {
        for node in untyped(options) {
            let Node::DefElem(option) = node else {
                self.opaque(OpaqueReason::Construct);
                continue;
            };
            match (option.defname(), option.arg()) {
                (Some("connectionlimit" | "sysid" | "inherit"), _) => {}
                // IN ROLE: the other role gets a member.
                (Some("addroleto"), Node::NodeList(others)) => self.on_roles(Action::Grant, others),
                (_, Node::Boolean(given)) if !given.boolval => self.effect(without, Object::Role(role.cloned())),
                // An attribute, members, a password, more time.
                _ => self.effect(Action::Grant, Object::Role(role.cloned())),
            }
        }
    }
}
