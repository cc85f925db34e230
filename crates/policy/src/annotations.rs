//! What stands above a policy: its id, its reason, its remedy, and the bounds that come with a permission.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::verdict::Obligations;

use crate::decision::{RULE_DEFAULT, RULE_ERROR};

/// Characters of an id.
const ID_CHARS_MAX: usize = 64;
/// Characters of a reason or remedy: both go to clients.
const TEXT_CHARS_MAX: usize = 300;

/// The annotations of one policy, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Annotations {
    pub(crate) id: Arc<str>,
    pub(crate) reason: Arc<str>,
    pub(crate) remedy: Arc<str>,
    pub(crate) obligations: Obligations,
    pub(crate) terms: Terms,
}

/// On which terms access may be asked for. `None`: the policies do not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// Different people who must approve (`@approvals`); 0: nobody.
    pub approvals: Option<u8>,
    /// Longest duration in nanoseconds (`@max_duration`).
    pub max_duration: Option<u64>,
    /// How long a request waits for its decision, in nanoseconds (`@decide_within`).
    pub decide_within: Option<u64>,
    /// After how long others are asked, in nanoseconds (`@escalate_after`).
    pub escalate_after: Option<u64>,
    /// How soon somebody looks at a broken glass, in nanoseconds (`@review_within`).
    pub review_within: Option<u64>,
}

impl Terms {
    /// The tighter of each.
    pub(crate) fn tighter(self, other: Self) -> Self {
        let least = |left: Option<u64>, right: Option<u64>| left.into_iter().chain(right).min();
        Self {
            approvals: self.approvals.into_iter().chain(other.approvals).max(),
            max_duration: least(self.max_duration, other.max_duration),
            decide_within: least(self.decide_within, other.decide_within),
            escalate_after: least(self.escalate_after, other.escalate_after),
            review_within: least(self.review_within, other.review_within),
        }
    }
}

/// What a policy is about: terms come with a permission to have access only, bounds with one to run something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    Statements,
    Grants,
}

/// What is wrong with one annotation, and what to do.
pub(crate) type Mistake = (String, String);

/// Whose annotations they are: bounds come with a permission only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    Permit,
    Forbid,
}

/// Reads the annotations of a policy.
pub(crate) fn read<'a>(
    owner: Owner,
    subject: Subject,
    annotations: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<Annotations, Vec<Mistake>> {
    let mut given: BTreeMap<&str, &str> = annotations.collect();
    let mut mistakes = Vec::new();
    let mut checked = |result: Result<Arc<str>, Mistake>| result.map_err(|mistake| mistakes.push(mistake)).ok();
    let id = checked(id(given.remove("id")));
    let reason = checked(reason(given.remove("reason")));
    let remedy = checked(text("remedy", given.remove("remedy").unwrap_or_default()));
    let obligations = bounds(owner, &mut given, &mut mistakes);
    let terms = if (owner, subject) == (Owner::Permit, Subject::Grants) {
        terms(&mut given, &mut mistakes)
    } else {
        Terms::default()
    };
    mistakes.extend(given.keys().map(|name| unknown(name)));
    match (id, reason, remedy) {
        (Some(id), Some(reason), Some(remedy)) if mistakes.is_empty() => {
            Ok(Annotations { id, reason, remedy, obligations, terms })
        }
        _ => Err(mistakes),
    }
}

fn unknown(name: &str) -> Mistake {
    if TERMS.contains(&name) {
        let remedy = "put it on a permit of RequestGrant or BreakGlass".to_owned();
        return (format!("@{name} says on which terms access may be asked for"), remedy);
    }
    let known = "id, reason, remedy, max_rows, max_bytes, max_runtime_ms, rate_per_minute, approvals, max_duration, \
                 decide_within, escalate_after, review_within";
    (format!("@{name} is not an annotation of Warder"), format!("use one of {known}, or a comment"))
}

fn id(given: Option<&str>) -> Result<Arc<str>, Mistake> {
    let remedy = || "write @id(\"a-name\"): small letters, digits and minus, at most 64, unique in the set".to_owned();
    let id = given.ok_or_else(|| ("the policy has no @id".to_owned(), remedy()))?;
    let letters = id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if !letters || id.is_empty() || id.starts_with('-') || id.len() > ID_CHARS_MAX {
        return Err(("this @id is not a name".to_owned(), remedy()));
    }
    if [RULE_DEFAULT, RULE_ERROR].contains(&id) {
        return Err((format!("@id(\"{id}\") is what Warder calls a refusal without a policy"), remedy()));
    }
    Ok(id.into())
}

fn reason(given: Option<&str>) -> Result<Arc<str>, Mistake> {
    let remedy = "write @reason(\"...\"): one sentence for whoever is refused or asks why it was allowed".to_owned();
    match given {
        Some(given) if !given.trim().is_empty() => text("reason", given),
        _ => Err(("the policy has no @reason".to_owned(), remedy)),
    }
}

fn text(name: &str, given: &str) -> Result<Arc<str>, Mistake> {
    if given.chars().count() > TEXT_CHARS_MAX || given.chars().any(char::is_control) {
        let what = format!("@{name} is longer than {TEXT_CHARS_MAX} characters, or has control characters");
        return Err((what, "write one short line".to_owned()));
    }
    Ok(given.into())
}

/// Annotations that say on which terms access may be asked for.
const TERMS: [&str; 5] = ["approvals", "max_duration", "decide_within", "escalate_after", "review_within"];
/// Different people who may have to approve one request.
const APPROVALS_MAX: u8 = 8;
/// Longest time that a term may say.
const TERM_DAYS_MAX: u64 = 90;

fn terms(given: &mut BTreeMap<&str, &str>, mistakes: &mut Vec<Mistake>) -> Terms {
    let approvals = given.remove("approvals").map(|text| {
        text.parse().ok().filter(|number| *number <= APPROVALS_MAX).ok_or_else(|| {
            let what = format!("@approvals is not a number from 0 to {APPROVALS_MAX}");
            (what, "write @approvals(\"1\"): how many different people must approve".to_owned())
        })
    });
    let approvals = approvals.and_then(|read| read.map_err(|mistake| mistakes.push(mistake)).ok());
    let mut term = |name: &str| {
        let text = given.remove(name)?;
        let nanos = nanos(text);
        if nanos.is_none() {
            let what = format!("@{name} is not a time up to {TERM_DAYS_MAX}d");
            mistakes.push((what, format!("write @{name}(\"8h\"): a number, and one of s, m, h, d")));
        }
        nanos
    };
    Terms {
        approvals,
        max_duration: term("max_duration"),
        decide_within: term("decide_within"),
        escalate_after: term("escalate_after"),
        review_within: term("review_within"),
    }
}

/// `8h` and the like.
fn nanos(text: &str) -> Option<u64> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let seconds: u64 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    let seconds = number.parse::<u64>().ok()?.checked_mul(seconds)?;
    (1..=TERM_DAYS_MAX * 86_400).contains(&seconds).then_some(seconds * 1_000_000_000)
}

fn bounds(owner: Owner, given: &mut BTreeMap<&str, &str>, mistakes: &mut Vec<Mistake>) -> Obligations {
    let mut bound = |name: &str| {
        let given = given.remove(name)?;
        if owner == Owner::Forbid {
            let what = format!("@{name} on a forbid");
            mistakes.push((what, "put it on the permits that it is to bound".to_owned()));
            return None;
        }
        let number = given.parse().ok().filter(|number: &u64| *number > 0);
        if number.is_none() {
            let what = format!("@{name} is not a whole number above 0");
            mistakes.push((what, format!("write @{name}(\"1000\")")));
        }
        number
    };
    Obligations {
        rows_max: bound("max_rows"),
        bytes_max: bound("max_bytes"),
        runtime_max: bound("max_runtime_ms"),
        rate_per_minute: bound("rate_per_minute"),
    }
}
