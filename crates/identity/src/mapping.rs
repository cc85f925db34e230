//! From claims to a principal: rules of the configuration, checked.
//!
//! A token of *person Y* with `act: { sub: X }` (RFC 8693, section 4.1) is X acting for Y; a nested `act` is somebody
//! between the two. The groups are those of the token, so of Y: what X may do is bounded by policies about its kind.

use std::sync::Arc;

use model::principal::{Actor, Principal, PrincipalKind, Proof};
use model::time::WallTime;
use serde_json::Value;

use crate::claims::Claims;
use crate::config::{ConditionConfig, IssuerConfig, Kind, RuleConfig};
use crate::mistake::Mistake;
use crate::name;
use crate::token_error::TokenError;

/// Longest chain of actors behind the first.
const DELEGATION_MAX: usize = 4;
/// Most groups of a token; Entra ID sends at most 200, Okta 100.
const GROUPS_MAX: usize = 512;

/// Rules of one issuer.
#[derive(Debug)]
pub(crate) struct Mapping {
    issuer: Arc<str>,
    rules: Vec<Rule>,
    groups: Vec<String>,
    overage: Overage,
    actor_kind: PrincipalKind,
}

#[derive(Debug)]
struct Rule {
    conditions: Vec<Condition>,
    kind: PrincipalKind,
    id: String,
    acting_for: Option<String>,
}

#[derive(Debug)]
enum Condition {
    Is { claim: String, values: Vec<String> },
    Present(String),
    Absent(String),
}

/// What to do about a token without its groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Overage {
    Refuse,
    Ignore,
}

impl Mapping {
    pub(crate) fn check(config: &IssuerConfig) -> Result<Self, Mistake> {
        let mut rules = config.rule.iter().map(Rule::check).collect::<Result<Vec<_>, _>>()?;
        if rules.is_empty() {
            let (kind, id) = (PrincipalKind::Person, "sub".to_owned());
            rules.push(Rule { conditions: Vec::new(), kind, id, acting_for: None });
        }
        let before_last = rules.len() - 1;
        if rules.iter().take(before_last).any(|rule| rule.conditions.is_empty()) {
            let text = "a rule without `when` matches every token, those behind it never do; move it to the end";
            return Err(Mistake::new("rule", text));
        }
        config.groups.iter().try_for_each(|claim| check_claim("groups", claim))?;
        Ok(Self {
            issuer: config.issuer.as_str().into(),
            rules,
            groups: config.groups.clone(),
            overage: if config.danger_ignore_group_overage { Overage::Ignore } else { Overage::Refuse },
            actor_kind: config.actor_kind.unwrap_or(Kind::Agent).into(),
        })
    }

    /// Who the claims are about. `end` is when the proof ends.
    pub(crate) fn principal(&self, claims: &Claims, end: WallTime) -> Result<Principal, TokenError> {
        let rule = self.rules.iter().find(|rule| rule.matches(claims)).ok_or(TokenError::NoRule)?;
        let mut acting_for = match &rule.acting_for {
            Some(claim) => vec![self.actor(PrincipalKind::Person, named(claims, claim)?)],
            None => Vec::new(),
        };
        let mut actor = self.actor(rule.kind, named(claims, &rule.id)?);
        // Outermost first: the current actor. Innermost was the first to whom it was delegated.
        for name in self.delegates(claims)?.into_iter().rev() {
            acting_for.insert(0, std::mem::replace(&mut actor, self.actor(self.actor_kind, name)));
        }
        Ok(Principal {
            actor,
            groups: self.groups(claims)?,
            acting_for,
            proof: Proof::Token,
            expires: Some(end),
            purpose: None,
        })
    }

    fn actor(&self, kind: PrincipalKind, id: Arc<str>) -> Actor {
        Actor { kind, id, issuer: Arc::clone(&self.issuer) }
    }

    /// `sub` of each `act`, outermost first.
    fn delegates(&self, claims: &Claims) -> Result<Vec<Arc<str>>, TokenError> {
        let mut names = Vec::new();
        let mut next = claims.get("act");
        while let Some(act) = next {
            let act = act.as_object().ok_or(TokenError::Delegation)?;
            // An issuer speaks for its own names only.
            let foreign = act.get("iss").is_some_and(|issuer| issuer.as_str() != Some(&*self.issuer));
            if foreign || names.len() == DELEGATION_MAX {
                return Err(TokenError::Delegation);
            }
            let name = act.get("sub").and_then(Value::as_str).and_then(name::checked);
            names.push(name.ok_or(TokenError::Delegation)?);
            next = act.get("act");
        }
        Ok(names)
    }

    fn groups(&self, claims: &Claims) -> Result<Arc<[Arc<str>]>, TokenError> {
        if self.overage == Overage::Refuse && self.groups.iter().any(|claim| left_out(claims, claim)) {
            return Err(TokenError::GroupOverage);
        }
        let mut groups = Vec::new();
        for value in self.groups.iter().filter_map(|claim| claims.get(claim)) {
            let list = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
            for group in list {
                groups.push(group.as_str().and_then(name::checked).ok_or(TokenError::Groups)?);
            }
        }
        groups.sort_unstable();
        groups.dedup();
        if groups.len() > GROUPS_MAX { Err(TokenError::Groups) } else { Ok(groups.into()) }
    }
}

/// Whether the issuer says that the claim stands somewhere else (OpenID Connect Core, section 5.6.2). Entra ID does so
/// when a user has more than 200 groups, and sets `hasgroups` in the implicit flow.
fn left_out(claims: &Claims, claim: &str) -> bool {
    let elsewhere =
        claims.get("_claim_names").is_some_and(|names| names.as_object().is_none_or(|n| n.contains_key(claim)));
    let flagged = claim == "groups" && claims.get("hasgroups").is_some_and(|flag| flag != &Value::Bool(false));
    elsewhere || flagged
}

/// The name in a claim. An address that the issuer calls unverified is anybody's.
fn named(claims: &Claims, claim: &str) -> Result<Arc<str>, TokenError> {
    let unverified = claim == "email" && claims.get("email_verified").is_some_and(|flag| !verified(flag));
    if unverified {
        return Err(TokenError::Name);
    }
    claims.text(claim).and_then(name::checked).ok_or(TokenError::Name)
}

/// Some issuers write the flag as a text.
fn verified(flag: &Value) -> bool {
    flag.as_bool() == Some(true) || flag.as_str() == Some("true")
}

impl Rule {
    fn check(config: &RuleConfig) -> Result<Self, Mistake> {
        check_claim("rule.id", &config.id)?;
        config.acting_for.iter().try_for_each(|claim| check_claim("rule.acting_for", claim))?;
        if config.acting_for.as_ref() == Some(&config.id) {
            return Err(Mistake::new("rule.acting_for", "nobody acts for himself; name another claim than `id`"));
        }
        Ok(Self {
            conditions: config.when.iter().map(Condition::check).collect::<Result<_, _>>()?,
            kind: config.kind.into(),
            id: config.id.clone(),
            acting_for: config.acting_for.clone(),
        })
    }

    fn matches(&self, claims: &Claims) -> bool {
        self.conditions.iter().all(|condition| condition.holds(claims))
    }
}

impl Condition {
    fn check(config: &ConditionConfig) -> Result<Self, Mistake> {
        check_claim("rule.when.claim", &config.claim)?;
        let claim = config.claim.clone();
        match (&config.is, config.present) {
            (Some(values), None) if !values.is_empty() => Ok(Self::Is { claim, values: values.clone() }),
            (None, Some(true)) => Ok(Self::Present(claim)),
            (None, Some(false)) => Ok(Self::Absent(claim)),
            _ => Err(Mistake::new("rule.when", "a condition has either `is`, with at least one text, or `present`")),
        }
    }

    fn holds(&self, claims: &Claims) -> bool {
        match self {
            Self::Is { claim, values } => {
                let wanted =
                    |value: &Value| value.as_str().is_some_and(|text| values.iter().any(|known| known == text));
                match claims.get(claim) {
                    Some(Value::Array(list)) => list.iter().any(wanted),
                    Some(value) => wanted(value),
                    None => false,
                }
            }
            Self::Present(claim) => claims.get(claim).is_some(),
            Self::Absent(claim) => claims.get(claim).is_none(),
        }
    }
}

fn check_claim(key: &'static str, claim: &str) -> Result<(), Mistake> {
    match name::checked(claim) {
        Some(_) => Ok(()),
        None => Err(Mistake::new(key, "a claim has a name of at most 256 bytes, without control characters")),
    }
}
