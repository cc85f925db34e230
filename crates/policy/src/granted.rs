//! Grants as decisions see them: what each covers.

use std::collections::BTreeSet;
use std::sync::Arc;

use model::access::{Grant, GrantId, Scope};
use model::facts::Object;
use model::time::BootTime;

use crate::language::{Language, Verb};
use crate::named;

/// Everything of a database.
const EVERYTHING: &str = "*";

/// A grant that is active, ready to be compared with what statements do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActiveGrant {
    /// Its number.
    pub id: GrantId,
    /// What for.
    pub purpose: Arc<str>,
    /// Ticket of another system.
    pub ticket: Option<Arc<str>>,
    /// Nobody had to approve it.
    pub break_glass: bool,
    /// When it ends: whoever keeps it does not show it to decisions any more.
    pub until: BootTime,
    sql_database: Option<Arc<str>>,
    verbs: BTreeSet<Verb>,
    patterns: Vec<Pattern>,
}

/// What a scope says about relations.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Pattern {
    /// Everything, also what is no relation.
    Everything,
    /// Everything in a schema.
    Schema(String),
    /// One relation.
    Relation(String, String),
}

/// What is wrong with a scope.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// There is no such action.
    #[error(
        "{0} is no action; actions are those of the policies: Select, Delete, ..., or a group: Read, Write, Ddl, Admin, Session"
    )]
    Action(String),
    /// No SQL database has that name.
    #[error("the name of the SQL database is empty: leave it out for each of them")]
    Database,
    /// This is no relation.
    #[error("{0} is no relation; write schema.name, schema.* or *, parts with a dot in them quoted as in SQL")]
    Relation(String),
    /// The vocabulary cannot be used.
    #[error("{0}")]
    Language(String),
}

impl ActiveGrant {
    /// A grant, until then.
    ///
    /// # Errors
    /// Its scope names what there is not.
    pub fn new(grant: &Grant, until: BootTime) -> Result<Self, ScopeError> {
        let Scope { sql_database, actions, relations, .. } = &grant.scope;
        Ok(Self {
            id: grant.id,
            purpose: Arc::clone(&grant.purpose),
            ticket: grant.ticket.clone(),
            break_glass: grant.break_glass,
            until,
            sql_database: sql_database.clone(),
            verbs: verbs(actions)?,
            patterns: relations.iter().map(|text| Pattern::parse(text)).collect::<Result<_, _>>()?,
        })
    }

    /// Whether it covers an action on an object, which is taken to be in this schema. To open a session is covered by
    /// any grant there: without it none could be used.
    pub(crate) fn covers(&self, verb: Verb, object: &Object, schema: Option<&str>, sql_database: &str) -> bool {
        let here = self.sql_database.as_deref().is_none_or(|name| name == sql_database);
        let known = verb == Verb::Connect || self.verbs.contains(&verb);
        here && known && (verb == Verb::Connect || self.patterns.iter().any(|pattern| pattern.matches(object, schema)))
    }
}

/// The actions that these names stand for, as policies call them: each that is there, for a group its members.
///
/// # Errors
/// One of them is the name of nothing.
pub fn actions(names: &BTreeSet<Arc<str>>) -> Result<BTreeSet<String>, ScopeError> {
    Ok(verbs(names)?.into_iter().map(Verb::name).collect())
}

/// Checks a scope: that all that it names can be.
///
/// # Errors
/// What cannot.
pub fn check(scope: &Scope) -> Result<(), ScopeError> {
    verbs(&scope.actions)?;
    if scope.sql_database.as_deref().is_some_and(str::is_empty) {
        return Err(ScopeError::Database);
    }
    scope.relations.iter().try_for_each(|text| {
        // An approver would take it for more than the one name that it could be.
        let looks_like_more = text.strip_suffix(".*").unwrap_or(text).contains('*') && &**text != EVERYTHING;
        let is_one = !looks_like_more && text.trim() == &**text;
        if is_one { Pattern::parse(text).map(drop) } else { Err(ScopeError::Relation(text.to_string())) }
    })
}

fn verbs(names: &BTreeSet<Arc<str>>) -> Result<BTreeSet<Verb>, ScopeError> {
    let language = Language::get().map_err(ScopeError::Language)?;
    let mut all = BTreeSet::new();
    for name in names {
        // Nothing that is granted reads in clear: masking asks policies only.
        let meant = language.actions().filter(|(verb, _)| !verb.is_about_grants() && *verb != Verb::ReadClear);
        let meant = meant.filter(|(_, action)| {
            language.action_with_groups(action).iter().any(|uid| uid.id().unescaped() == &**name)
        });
        let found: BTreeSet<Verb> = meant.map(|(verb, _)| verb).collect();
        if found.is_empty() {
            return Err(ScopeError::Action(name.to_string()));
        }
        all.extend(found);
    }
    Ok(all)
}

impl Pattern {
    fn parse(text: &str) -> Result<Self, ScopeError> {
        let malformed = || ScopeError::Relation(text.to_owned());
        if text == EVERYTHING {
            return Ok(Self::Everything);
        }
        match named::parse(text).ok_or_else(malformed)? {
            (Some(schema), name) if name == EVERYTHING && text.ends_with(".*") => Ok(Self::Schema(schema)),
            (Some(schema), name) => Ok(Self::Relation(schema, name)),
            (None, _) => Err(malformed()),
        }
    }

    fn matches(&self, object: &Object, schema: Option<&str>) -> bool {
        match self {
            Self::Everything => true,
            Self::Schema(known) => schema == Some(known),
            Self::Relation(known, name) => {
                matches!(object, Object::Relation(relation) if *relation.name == **name) && schema == Some(known)
            }
        }
    }
}
