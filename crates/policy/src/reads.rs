//! What policies look at: found in their text, so that a request carries no more, and a decision is known to depend on
//! no more.

use std::sync::Arc;

use cedar_policy::Policy;
use cedar_policy::pst::{Clause, Expr, Var};

macro_rules! fields {
    ($($(#[$doc:meta])* $field:ident = $path:literal,)+) => {
        /// One thing that a policy can look at, besides ids and the hierarchy of principal, action and resource.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Field { $($(#[$doc])* $field,)+ }

        impl Field {
            /// Every field.
            pub const ALL: &'static [Self] = &[$(Self::$field),+];

            /// Where policies find it: `context.session.user`.
            #[must_use]
            pub const fn path(self) -> &'static str {
                match self { $(Self::$field => $path),+ }
            }

            /// The last part of that: `user`.
            pub(crate) fn name(self) -> &'static str {
                self.path().rsplit('.').next().unwrap_or_default()
            }

            /// The field of that path; `None`: there is none, or it is more than one.
            pub(crate) fn at(path: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|field| field.path() == path)
            }
        }
    };
}

fields! {
    /// Who vouches for the principal.
    Issuer = "principal.issuer",
    /// How it was proved.
    Proof = "principal.proof",
    /// The chain of delegation.
    ActingFor = "principal.acting_for",
    /// The nearest person of that chain.
    OnBehalfOf = "principal.on_behalf_of",
    /// What it is for.
    Purpose = "principal.purpose",
    /// Name of the object without its schema.
    ObjectName = "resource.name",
    /// Why its schema is not known.
    UnknownSchema = "resource.unknown_schema",
    /// Kind of an object without a type of its own.
    ObjectKind = "resource.kind",
    /// Tags of a protected column.
    Tags = "resource.tags",
    /// SQL database.
    SqlDatabase = "context.session.database",
    /// Database role of the login.
    User = "context.session.user",
    /// `application_name`.
    Application = "context.session.application",
    /// Transport.
    Transport = "context.session.transport",
    /// Is the client's leg encrypted?
    Encrypted = "context.session.encrypted",
    /// Address of the client.
    Address = "context.session.address",
    /// Is a transaction block open?
    InTransaction = "context.session.in_transaction",
    /// Is the process known?
    Process = "context.process",
    /// Its executable.
    Exe = "context.process.exe",
    /// Hash of the executable.
    ExeHash = "context.process.exe_sha256",
    /// User id.
    Uid = "context.process.uid",
    /// Who logged in.
    LoginUid = "context.process.login_uid",
    /// Control group.
    Cgroup = "context.process.cgroup",
    /// Systemd unit.
    Unit = "context.process.unit",
    /// Ancestors.
    Ancestors = "context.process.ancestors",
    /// Has it a terminal?
    Tty = "context.process.tty",
    /// Hour of the day.
    Hour = "context.time.hour",
    /// Minute of the hour.
    Minute = "context.time.minute",
    /// Day of the week.
    Weekday = "context.time.weekday",
    /// Date.
    Date = "context.time.date",
    /// Command tag.
    Command = "context.statement.command",
    /// Number of effects.
    Effects = "context.statement.effects",
    /// Number of functions called.
    Functions = "context.statement.functions",
    /// Row limit.
    Limit = "context.statement.limit",
    /// Kind of where-clause.
    Condition = "context.condition",
    /// Names of columns.
    Columns = "context.columns",
    /// How the columns are given.
    ColumnsKind = "context.columns_kind",
    /// Why something is not understood.
    Reason = "context.reason",
    /// What is to run unattended.
    Verb = "context.verb",
    /// The group that this is in.
    VerbGroup = "context.verb_group",
    /// Does an active grant cover it?
    Granted = "context.granted",
    /// Is there that grant?
    Grant = "context.grant",
    /// Its number.
    GrantId = "context.grant.id",
    /// What for.
    GrantPurpose = "context.grant.purpose",
    /// Its ticket.
    GrantTicket = "context.grant.ticket",
    /// Did nobody have to approve it?
    GrantBreakGlass = "context.grant.break_glass",
}

/// A set of fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Reads(u64);

impl Reads {
    /// Is this field read?
    #[must_use]
    pub const fn contains(self, field: Field) -> bool {
        self.0 & bit(field) != 0
    }

    /// The fields that are read.
    pub fn fields(self) -> impl Iterator<Item = Field> {
        Field::ALL.iter().copied().filter(move |field| self.contains(*field))
    }

    /// Fields of both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in `principal`.
    pub(crate) const PRINCIPAL: Self = Self::span(Field::Issuer, Field::Purpose);
    /// What is in `resource`.
    pub(crate) const RESOURCE: Self = Self::span(Field::ObjectName, Field::Tags);
    /// What is in `context.session`.
    pub(crate) const SESSION: Self = Self::span(Field::SqlDatabase, Field::InTransaction);
    /// What is in `context.process`, and whether it is there.
    pub(crate) const PROCESS: Self = Self::span(Field::Process, Field::Tty);
    /// What is in `context.time`.
    pub(crate) const TIME: Self = Self::span(Field::Hour, Field::Date);
    /// What is in `context.statement`.
    pub(crate) const STATEMENT: Self = Self::span(Field::Command, Field::Limit);
    /// What is in `context` itself.
    pub(crate) const EFFECT: Self = Self::span(Field::Condition, Field::Granted);
    /// What is in `context.grant`, and whether it is there.
    pub(crate) const GRANT: Self = Self::span(Field::Grant, Field::GrantBreakGlass);

    /// Those of these fields that are read.
    pub(crate) const fn of(self, fields: Self) -> Self {
        Self(self.0 & fields.0)
    }

    /// From one field to another.
    const fn span(first: Field, last: Field) -> Self {
        Self((bit(last) | (bit(last).wrapping_sub(1))) & !bit(first).wrapping_sub(1))
    }

    /// Is any of these read?
    pub(crate) const fn any_of(self, fields: Self) -> bool {
        self.0 & fields.0 != 0
    }
}

const fn bit(field: Field) -> u64 {
    1 << field as u8
}

impl FromIterator<Field> for Reads {
    fn from_iter<I: IntoIterator<Item = Field>>(fields: I) -> Self {
        fields.into_iter().fold(Self::default(), |reads, field| reads.and(Self(bit(field))))
    }
}

/// Is `path` the same as `root`, or something in it?
fn below(path: &str, root: &str) -> bool {
    path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// What a policy reads; `None`: its text cannot be looked through.
pub(crate) fn of(policy: &Policy) -> Option<Reads> {
    let tree = policy.to_pst().ok()?;
    let clauses = tree.body().clauses().iter();
    Some(clauses.fold(Reads::default(), |reads, clause| match clause {
        Clause::When(expr) | Clause::Unless(expr) => reads.and(expression(expr)),
    }))
}

/// Everything: for what is not understood.
fn everything() -> Reads {
    Field::ALL.iter().copied().collect()
}

/// A path that is read, all that is in it, and what it is in.
pub(crate) fn at(path: &str) -> Reads {
    Field::ALL.iter().copied().filter(|field| below(field.path(), path) || below(path, field.path())).collect()
}

fn expression(expr: &Expr) -> Reads {
    let all = |parts: &[&Arc<Expr>]| parts.iter().fold(Reads::default(), |reads, part| reads.and(expression(part)));
    match expr {
        Expr::Literal(_) | Expr::Slot(_) => Reads::default(),
        // Compared as a whole it is an id; the context has none, so that all of it is compared.
        Expr::Var(Var::Context) => at("context"),
        Expr::Var(_) => Reads::default(),
        Expr::GetAttr { .. } => path(expr).map_or_else(everything, |path| at(&path)),
        Expr::HasAttr { expr, attrs } => {
            let names = attrs.iter().map(|name| format!(".{name}")).collect::<String>();
            path(expr).map_or_else(everything, |path| at(&(path + &names)))
        }
        Expr::UnaryOp { expr, .. } | Expr::Like { expr, .. } => expression(expr),
        Expr::BinaryOp { left, right, .. } => all(&[left, right]),
        Expr::Is { expr, in_expr, .. } => {
            expression(expr).and(in_expr.as_ref().map_or_else(Reads::default, |expr| expression(expr)))
        }
        Expr::IfThenElse { cond, then_expr, else_expr } => all(&[cond, then_expr, else_expr]),
        Expr::Set(parts) => all(&parts.iter().collect::<Vec<_>>()),
        Expr::Record(parts) => all(&parts.values().collect::<Vec<_>>()),
        _ => everything(),
    }
}

/// A chain of attributes of a variable: `context.session.user`.
pub(crate) fn path(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Var(Var::Principal) => Some("principal".to_owned()),
        Expr::Var(Var::Resource) => Some("resource".to_owned()),
        Expr::Var(Var::Context) => Some("context".to_owned()),
        Expr::GetAttr { expr, attr } => Some(format!("{}.{attr}", path(expr)?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_the_context_are_whole() {
        let parts = [
            ("principal", Reads::PRINCIPAL),
            ("resource", Reads::RESOURCE),
            ("context.session", Reads::SESSION),
            ("context.process", Reads::PROCESS),
            ("context.time", Reads::TIME),
            ("context.statement", Reads::STATEMENT),
            ("context.grant", Reads::GRANT),
        ];
        for (path, part) in parts {
            assert_eq!(part, at(path), "{path}");
        }
        let effect = |field: &Field| field.path().matches('.').count() == 1 && field.path().starts_with("context.");
        let alone =
            Field::ALL.iter().copied().filter(effect).filter(|field| at(field.path()) == Reads::from_iter([*field]));
        assert_eq!(alone.collect::<Reads>(), Reads::EFFECT);
    }

    #[test]
    fn what_a_policy_reads_is_found_wherever_it_is() {
        let check = |condition: &str, expected: &[Field]| {
            let policy = Policy::parse(None, format!("permit (principal, action, resource) when {{ {condition} }};"));
            assert_eq!(of(&policy.unwrap()), Some(expected.iter().copied().collect()), "{condition}");
        };
        check("principal == Person::\"a\" && resource in Schema::\"s\"", &[]);
        check("context.session.user == \"a\"", &[Field::User]);
        check("context.session has address", &[Field::Address]);
        check("context has process", &Reads::PROCESS.fields().collect::<Vec<_>>());
        check("context.process.uid == 1", &[Field::Process, Field::Uid]);
        check(
            "if context.time.hour > 1 then [context.condition].contains(context.condition) else principal has purpose",
            &[Field::Hour, Field::Condition, Field::Purpose],
        );
        check("{a: context.columns_kind}.a == Columns::\"all\"", Field::ALL);
        check("(if true then principal else principal).issuer == \"a\"", Field::ALL);
        check("context.session == context.session", &Reads::SESSION.fields().collect::<Vec<_>>());
    }
}
