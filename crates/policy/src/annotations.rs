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
    annotations: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<Annotations, Vec<Mistake>> {
    let mut given: BTreeMap<&str, &str> = annotations.collect();
    let mut mistakes = Vec::new();
    let mut checked = |result: Result<Arc<str>, Mistake>| result.map_err(|mistake| mistakes.push(mistake)).ok();
    let id = checked(id(given.remove("id")));
    let reason = checked(reason(given.remove("reason")));
    let remedy = checked(text("remedy", given.remove("remedy").unwrap_or_default()));
    let obligations = bounds(owner, &mut given, &mut mistakes);
    mistakes.extend(given.keys().map(|name| unknown(name)));
    match (id, reason, remedy) {
        (Some(id), Some(reason), Some(remedy)) if mistakes.is_empty() => {
            Ok(Annotations { id, reason, remedy, obligations })
        }
        _ => Err(mistakes),
    }
}

fn unknown(name: &str) -> Mistake {
    let known = "id, reason, remedy, max_rows, max_bytes, max_runtime_ms, rate_per_minute";
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

/// The tighter of each bound.
pub(crate) fn tighter(left: Obligations, right: Obligations) -> Obligations {
    let least = |left: Option<u64>, right: Option<u64>| left.into_iter().chain(right).min();
    Obligations {
        rows_max: least(left.rows_max, right.rows_max),
        bytes_max: least(left.bytes_max, right.bytes_max),
        runtime_max: least(left.runtime_max, right.runtime_max),
        rate_per_minute: least(left.rate_per_minute, right.rate_per_minute),
    }
}
