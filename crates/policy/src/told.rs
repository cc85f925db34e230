//! What a policy comes to, as far as its text and a [`Case`] tell without Cedar.
//!
//! Most policies of a set are about something else than what is asked: other schemas, other actions of a group, other
//! people. That is cheap to see, and evaluating them is most of what a decision would cost (39 µs of 40 with the shipped
//! set). What is not certain is [`Told::Open`], and Cedar evaluates it: sums, addresses, sets of sets, values that are not
//! there, whatever could fail. A test is looked at in Cedar's order and no further, so that what fails there is never
//! passed over here. `tests/laws.rs` holds decisions against those of policies about which nothing can be told.

use std::ops::RangeInclusive;
use std::sync::Arc;

use cedar_policy::pst::{BinaryOp, Clause, EntityUID, Expr, Literal, PatternElem, UnaryOp, Var};
use cedar_policy::{EntityUid, Policy, PrincipalConstraint, ResourceConstraint};

use crate::case::{Case, Plain, Side};
use crate::language::{Kind, Language};
use crate::reads::{self, Field, Reads};

/// What the scope says of one side: the constraints of both sides have the same forms and different types.
macro_rules! scope {
    ($language:expr, $side:expr, $constraint:expr, $of:ident) => {
        match $constraint {
            $of::Any => Test::Constant(true),
            $of::Is(kind) => Test::Is($side, $language.kind(&kind)?),
            $of::In(uid) => Test::In($side, vec![id($language, &uid)?]),
            $of::Eq(uid) => Test::Same($side, id($language, &uid)?),
            $of::IsIn(kind, uid) => {
                Test::Is($side, $language.kind(&kind)?).and(Test::In($side, vec![id($language, &uid)?]))
            }
        }
    };
}

/// Whether a policy matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// It does.
    Matches,
    /// It does not.
    Passes,
    /// Cedar knows.
    Open,
}

/// What a policy asks, of that which can be told.
#[derive(Clone, Debug)]
pub(crate) enum Test {
    /// Nothing that can be told.
    Open,
    Constant(bool),
    Not(Box<Self>),
    /// The second only where the first is true.
    And(Box<Self>, Box<Self>),
    /// The second only where the first is false.
    Or(Box<Self>, Box<Self>),
    /// If, then, else.
    Choice(Box<Self>, Box<Self>, Box<Self>),
    /// A side is of that type.
    Is(Side, Kind),
    /// A side is one of these, or in one of them.
    In(Side, Vec<Id>),
    /// A side is this.
    Same(Side, Id),
    /// There is such a value.
    Has(Field, Reads),
    /// The value is one of these.
    OneOf(Field, Reads, Vec<Value>),
    /// It is a number of these.
    Within(Field, Reads, RangeInclusive<i64>),
    /// It begins so.
    Begins(Field, Reads, String),
    /// It is true.
    Flag(Field, Reads),
}

/// An entity: its type and its id.
type Id = (Kind, Arc<str>);

/// A value that is written in a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Text(String),
    Word(Kind, String),
    Number(i64),
}

impl Test {
    /// What a policy asks: its scope but for the action, then its conditions. `None`: it cannot be looked through.
    pub(crate) fn of(language: &Language, policy: &Policy) -> Option<Self> {
        let tree = policy.to_pst().ok()?;
        let conditions = tree.body().clauses().iter().map(|clause| match clause {
            Clause::When(expr) => language.test(expr),
            Clause::Unless(expr) => Self::Not(language.test(expr).into()),
        });
        let principal = scope!(language, Side::Principal, policy.principal_constraint(), PrincipalConstraint);
        let resource = scope!(language, Side::Resource, policy.resource_constraint(), ResourceConstraint);
        [principal, resource].into_iter().chain(conditions).reduce(Self::and)
    }

    fn and(self, other: Self) -> Self {
        Self::And(self.into(), other.into())
    }

    /// Looks at what is asked. Adds what was looked at to `reads`; where it stays open that is not all.
    pub(crate) fn tell(&self, case: &Case<'_>, reads: &mut Reads) -> Told {
        match self {
            Self::Open => Told::Open,
            Self::Constant(value) => (*value).into(),
            Self::Not(test) => match test.tell(case, reads) {
                Told::Matches => Told::Passes,
                Told::Passes => Told::Matches,
                Told::Open => Told::Open,
            },
            Self::And(first, second) => match first.tell(case, reads) {
                Told::Matches => second.tell(case, reads),
                told => told,
            },
            Self::Or(first, second) => match first.tell(case, reads) {
                Told::Passes => second.tell(case, reads),
                told => told,
            },
            Self::Choice(test, yes, no) => match test.tell(case, reads) {
                Told::Matches => yes.tell(case, reads),
                Told::Passes => no.tell(case, reads),
                Told::Open => Told::Open,
            },
            Self::Is(side, kind) => (case.kind(*side) == *kind).into(),
            Self::In(side, ids) => ids.iter().any(|id| case.is_in(*side, id)).into(),
            Self::Same(side, id) => case.is(*side, id).into(),
            Self::Has(field, seen)
            | Self::OneOf(field, seen, _)
            | Self::Within(field, seen, _)
            | Self::Begins(field, seen, _)
            | Self::Flag(field, seen) => {
                *reads = reads.and(*seen);
                self.tell_of(case.value(*field).as_ref())
            }
        }
    }

    /// Looks at a value. Where a value is needed and there is none, Cedar fails.
    fn tell_of(&self, value: Option<&Plain<'_>>) -> Told {
        match (self, value) {
            (Self::Has(..), value) => value.is_some().into(),
            (Self::Within(_, _, range), Some(Plain::Number(number))) => range.contains(number).into(),
            (Self::Flag(..), Some(Plain::Flag(flag))) => (*flag).into(),
            (Self::Begins(_, _, beginning), Some(Plain::Text(text))) => text.starts_with(beginning.as_str()).into(),
            (Self::OneOf(_, _, values), Some(plain)) => {
                values.iter().fold(Told::Passes, |told, value| match (told, value.is(plain)) {
                    (Told::Passes, Some(is)) => is.into(),
                    (told, Some(_)) => told,
                    (_, None) => Told::Open,
                })
            }
            _ => Told::Open,
        }
    }
}

impl From<bool> for Told {
    fn from(value: bool) -> Self {
        if value { Self::Matches } else { Self::Passes }
    }
}

impl Value {
    /// Whether it is that value; `None`: they are of different types.
    fn is(&self, plain: &Plain<'_>) -> Option<bool> {
        match (self, plain) {
            (Self::Number(number), Plain::Number(plain)) => Some(number == plain),
            (Self::Text(text), Plain::Text(plain)) => Some(*text == **plain),
            (Self::Word(kind, word), Plain::Word(of, plain)) if kind == of => Some(*word == **plain),
            _ => None,
        }
    }
}

fn id(language: &Language, uid: &EntityUid) -> Option<Id> {
    Some((language.kind(uid.type_name())?, uid.id().unescaped().into()))
}

impl Language {
    /// What can be told of a condition.
    fn test(&self, expr: &Expr) -> Test {
        self.closed(expr).unwrap_or(Test::Open)
    }

    /// The same; `None`: nothing.
    fn closed(&self, expr: &Expr) -> Option<Test> {
        Some(match expr {
            Expr::Literal(Literal::Bool(value)) => Test::Constant(*value),
            Expr::UnaryOp { op: UnaryOp::Not, expr } => Test::Not(self.test(expr).into()),
            Expr::BinaryOp { op: BinaryOp::And, left, right } => self.test(left).and(self.test(right)),
            Expr::BinaryOp { op: BinaryOp::Or, left, right } => {
                Test::Or(self.test(left).into(), self.test(right).into())
            }
            Expr::BinaryOp { op: BinaryOp::NotEq, left, right } => Test::Not(self.equal(left, right)?.into()),
            Expr::BinaryOp { op: BinaryOp::Eq, left, right } => self.equal(left, right)?,
            Expr::BinaryOp { op: BinaryOp::In, left, right } => Test::In(side(left)?, self.ids(right)?),
            Expr::BinaryOp { op: BinaryOp::Contains, left, right } => self.one_of(left, right)?,
            Expr::BinaryOp { op, left, right } => within(*op, left, right)?,
            Expr::IfThenElse { cond, then_expr, else_expr } => {
                Test::Choice(self.test(cond).into(), self.test(then_expr).into(), self.test(else_expr).into())
            }
            Expr::Is { expr, entity_type, in_expr } => {
                let side = side(expr)?;
                let is = Test::Is(side, self.kind_of_name(&entity_type.to_string())?);
                match in_expr {
                    Some(around) => is.and(Test::In(side, self.ids(around)?)),
                    None => is,
                }
            }
            Expr::HasAttr { expr, attrs } => {
                let names = attrs.iter().map(|name| format!(".{name}")).collect::<String>();
                let (field, reads) = field(&(reads::path(expr)? + &names))?;
                Test::Has(field, reads)
            }
            Expr::GetAttr { .. } => {
                let (field, reads) = field(&reads::path(expr)?)?;
                Test::Flag(field, reads)
            }
            Expr::Like { expr, pattern } => {
                let (field, reads) = field(&reads::path(expr)?)?;
                Test::Begins(field, reads, beginning(pattern)?)
            }
            _ => return None,
        })
    }

    /// A side and an entity, or a field and a value, whichever is first.
    fn equal(&self, left: &Expr, right: &Expr) -> Option<Test> {
        let (variable, literal) = if matches!(left, Expr::Literal(_)) { (right, left) } else { (left, right) };
        match side(variable) {
            Some(side) => Some(Test::Same(side, self.id(literal)?)),
            None => {
                let (field, reads) = field(&reads::path(variable)?)?;
                Some(Test::OneOf(field, reads, vec![self.value(literal)?]))
            }
        }
    }

    /// A list of values that has the value of a field.
    fn one_of(&self, list: &Expr, value: &Expr) -> Option<Test> {
        let Expr::Set(values) = list else { return None };
        let (field, reads) = field(&reads::path(value)?)?;
        let values = values.iter().map(|value| self.value(value)).collect::<Option<_>>()?;
        Some(Test::OneOf(field, reads, values))
    }

    fn value(&self, expr: &Expr) -> Option<Value> {
        match expr {
            Expr::Literal(Literal::String(text)) => Some(Value::Text(text.as_str().to_owned())),
            Expr::Literal(Literal::Long(number)) => Some(Value::Number(*number)),
            Expr::Literal(Literal::EntityUID(uid)) => {
                Some(Value::Word(self.kind_of_name(&uid.ty.to_string())?, uid.eid.as_str().to_owned()))
            }
            _ => None,
        }
    }

    /// One entity.
    fn id(&self, expr: &Expr) -> Option<Id> {
        match expr {
            Expr::Literal(Literal::EntityUID(EntityUID { ty, eid })) => {
                Some((self.kind_of_name(&ty.to_string())?, eid.as_str().into()))
            }
            _ => None,
        }
    }

    /// One or several.
    fn ids(&self, expr: &Expr) -> Option<Vec<Id>> {
        match expr {
            Expr::Set(ids) => ids.iter().map(|id| self.id(id)).collect(),
            one => Some(vec![self.id(one)?]),
        }
    }
}

/// A number and a bound, whichever is first.
fn within(op: BinaryOp, left: &Expr, right: &Expr) -> Option<Test> {
    let (variable, op, bound) = match (left, right) {
        (variable, Expr::Literal(Literal::Long(bound))) => (variable, op, *bound),
        (Expr::Literal(Literal::Long(bound)), variable) => (variable, mirrored(op)?, *bound),
        _ => return None,
    };
    let (field, reads) = field(&reads::path(variable)?)?;
    let range = match op {
        BinaryOp::Less => i64::MIN..=bound.checked_sub(1)?,
        BinaryOp::LessEq => i64::MIN..=bound,
        BinaryOp::Greater => bound.checked_add(1)?..=i64::MAX,
        BinaryOp::GreaterEq => bound..=i64::MAX,
        _ => return None,
    };
    Some(Test::Within(field, reads, range))
}

/// The comparison with its sides changed.
const fn mirrored(op: BinaryOp) -> Option<BinaryOp> {
    match op {
        BinaryOp::Less => Some(BinaryOp::Greater),
        BinaryOp::LessEq => Some(BinaryOp::GreaterEq),
        BinaryOp::Greater => Some(BinaryOp::Less),
        BinaryOp::GreaterEq => Some(BinaryOp::LessEq),
        _ => None,
    }
}

fn side(expr: &Expr) -> Option<Side> {
    match expr {
        Expr::Var(Var::Principal) => Some(Side::Principal),
        Expr::Var(Var::Resource) => Some(Side::Resource),
        _ => None,
    }
}

/// The field of a path, and what it reads.
fn field(path: &str) -> Option<(Field, Reads)> {
    Some((Field::at(path)?, reads::at(path)))
}

/// What a pattern with its only wildcard at the end begins with.
fn beginning(pattern: &[PatternElem]) -> Option<String> {
    let (PatternElem::Wildcard, rest) = pattern.split_last()? else { return None };
    let letter = |element: &PatternElem| match element {
        PatternElem::Char(letter) => Some(*letter),
        PatternElem::Wildcard => None,
    };
    rest.iter().map(letter).collect()
}
