//! Who may ask for access, on which terms, and who may decide about it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use cedar_policy::{Context, Entities, Entity, Request, RestrictedExpression as Value};
use model::access::Scope;
use model::principal::{Principal, PrincipalKind};
use model::time::WallTime;
use model::verdict::Denial;

use crate::annotations::Terms;
use crate::calendar::Local;
use crate::decision::Ground;
use crate::granted::{self, ScopeError};
use crate::language::{Kind, Language, Verb};
use crate::session::UtcOffset;
use crate::set::{Matching, PolicySet};

/// Somebody asks for access, or wants to decide about what another one asks for.
#[derive(Clone, Copy, Debug)]
pub struct GrantQuestion<'a> {
    /// Who asks, or decides.
    pub principal: &'a Principal,
    /// What they want to do.
    pub wants: Wants<'a>,
    /// What is asked for.
    pub scope: &'a Scope,
    /// For how long, in nanoseconds.
    pub duration: u64,
    /// What for.
    pub purpose: &'a str,
    /// Ticket of another system.
    pub ticket: Option<&'a str>,
    /// One statement only.
    pub once: bool,
    /// It goes on with another grant.
    pub renewal: bool,
    /// Environment of the database.
    pub environment: &'a str,
    /// When.
    pub now: WallTime,
    /// Time zone of the configuration.
    pub utc_offset: UtcOffset,
}

/// What somebody wants to do about a grant.
#[derive(Clone, Copy, Debug)]
pub enum Wants<'a> {
    /// To have it.
    Request,
    /// To have it at once, and to be asked about it afterwards.
    BreakGlass,
    /// To decide about it.
    Approve {
        /// Who has asked for it.
        requester: &'a model::access::Holder,
        /// It became active without anybody's approval.
        break_glass: bool,
        /// Nobody has decided for long.
        escalated: bool,
    },
}

/// It may be: on these terms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantTerms {
    /// The policies (`@id`) that permit it, sorted.
    pub rules: Vec<Arc<str>>,
    /// What they say, the tightest of each.
    pub terms: Terms,
}

impl Wants<'_> {
    const fn verb(self) -> Verb {
        match self {
            Self::Request => Verb::RequestGrant,
            Self::BreakGlass => Verb::BreakGlass,
            Self::Approve { .. } => Verb::ApproveGrant,
        }
    }

    const fn what(self) -> &'static str {
        match self {
            Self::Request => "asking for this access",
            Self::BreakGlass => "breaking the glass for this access",
            Self::Approve { .. } => "deciding about this access",
        }
    }
}

impl PolicySet {
    /// Decides about a grant. Only policies that name the action count.
    ///
    /// # Errors
    /// It may not be: why.
    pub fn decide_grant(&self, question: &GrantQuestion<'_>) -> Result<GrantTerms, Denial> {
        let what: Arc<str> = question.wants.what().into();
        let denial = |ground: Ground| ground.denial(Arc::clone(&what), super::set::NOT_ALLOWED);
        let Some(slice) = self.compiled().slices.get(&question.wants.verb()) else {
            return Err(denial(Ground::Failed));
        };
        let request = question.build(self.compiled().language, &slice.action).ok().flatten();
        let Some((request, entities)) = request else { return Err(denial(Ground::Failed)) };
        let response = self.compiled().authorizer.is_authorized(&request, &slice.whole().policies, &entities);
        let mut matching = Matching::default();
        self.compiled().note(&response, &mut matching);
        matching.conclude(self.compiled()).map_err(denial).map(|matching| {
            let rules = matching.iter().map(|rule| Arc::clone(&rule.annotations.id));
            let terms = matching.iter().fold(Terms::default(), |terms, rule| terms.tighter(rule.annotations.terms));
            let mut rules: Vec<_> = rules.collect();
            rules.sort_unstable();
            GrantTerms { rules, terms }
        })
    }
}

impl GrantQuestion<'_> {
    /// `None`: a value that Cedar does not take.
    fn build(&self, language: &Language, action: &Entity) -> Result<Option<(Request, Entities)>, ScopeError> {
        let asked = self.asked()?;
        let build = || {
            let principal = self.principal(language)?;
            let environment = language.uid(Kind::Environment, self.environment);
            let database = language.uid(Kind::Database, &self.scope.database);
            let resource = Entity::new_no_attrs(database, HashSet::from([environment]));
            let mut context = vec![("asked".to_owned(), asked), ("time".to_owned(), self.time(language)?)];
            self.put_requester(&mut context);
            let context = Context::from_pairs(context).ok()?;
            let request = Request::new(principal.uid(), action.uid(), resource.uid(), context, None).ok()?;
            Some((request, Entities::from_entities([principal, action.clone(), resource], None).ok()?))
        };
        Ok(build())
    }

    fn principal(&self, language: &Language) -> Option<Entity> {
        let Principal { actor, groups, acting_for, proof, purpose, .. } = self.principal;
        let kind = match actor.kind {
            PrincipalKind::Person => Kind::Person,
            PrincipalKind::Service => Kind::Service,
            PrincipalKind::Agent => Kind::Agent,
        };
        let mut attributes = HashMap::from([
            ("issuer".to_owned(), text(&actor.issuer)),
            ("proof".to_owned(), Value::new_entity_uid(language.uid(Kind::Proof, proof.word()))),
            ("acting_for".to_owned(), texts(acting_for.iter().map(|actor| &actor.id))),
        ]);
        let person = acting_for.iter().find(|actor| actor.kind == PrincipalKind::Person);
        attributes.extend(person.map(|person| ("on_behalf_of".to_owned(), text(&person.id))));
        attributes.extend(purpose.as_deref().map(|purpose| ("purpose".to_owned(), text(purpose))));
        let groups = groups.iter().map(|group| language.uid(Kind::Group, group)).collect();
        Entity::new(language.uid(kind, &actor.id), attributes, groups).ok()
    }

    fn asked(&self) -> Result<Value, ScopeError> {
        let actions: BTreeSet<String> = granted::actions(&self.scope.actions)?;
        let seconds = i64::try_from(self.duration / 1_000_000_000).unwrap_or(i64::MAX);
        let mut asked = vec![
            ("actions".to_owned(), texts(&actions)),
            ("relations".to_owned(), texts(&self.scope.relations)),
            ("seconds".to_owned(), Value::new_long(seconds)),
            ("purpose".to_owned(), text(self.purpose)),
            ("once".to_owned(), Value::new_bool(self.once)),
            ("renewal".to_owned(), Value::new_bool(self.renewal)),
        ];
        asked.extend(self.scope.sql_database.as_deref().map(|name| ("database".to_owned(), text(name))));
        asked.extend(self.ticket.map(|ticket| ("ticket".to_owned(), text(ticket))));
        Value::new_record(asked).map_err(|error| ScopeError::Language(error.to_string()))
    }

    fn time(&self, language: &Language) -> Option<Value> {
        let local = Local::new(self.now, self.utc_offset);
        let weekday = Value::new_entity_uid(language.uid(Kind::Weekday, local.weekday()));
        let time = [
            ("hour".to_owned(), Value::new_long(local.hour())),
            ("minute".to_owned(), Value::new_long(local.minute())),
            ("weekday".to_owned(), weekday),
            ("date".to_owned(), Value::new_long(local.date())),
        ];
        Value::new_record(time).ok()
    }

    fn put_requester(&self, context: &mut Vec<(String, Value)>) {
        let Wants::Approve { requester, break_glass, escalated } = self.wants else { return };
        context.extend([
            ("requester".to_owned(), text(&requester.actor.id)),
            ("requester_kind".to_owned(), text(requester.actor.kind.word())),
            ("acting_for".to_owned(), texts(requester.acting_for.iter().map(|actor| &actor.id))),
            ("break_glass".to_owned(), Value::new_bool(break_glass)),
            ("escalated".to_owned(), Value::new_bool(escalated)),
        ]);
    }
}

fn text(text: &str) -> Value {
    Value::new_string(text.to_owned())
}

fn texts<'a, T: AsRef<str> + 'a>(texts: impl IntoIterator<Item = &'a T>) -> Value {
    Value::new_set(texts.into_iter().map(|one| text(one.as_ref())))
}
