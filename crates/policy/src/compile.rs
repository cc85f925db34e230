//! From text to a set: parse, check, validate, slice. Each step tells all that it finds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;

use cedar_policy::{ActionConstraint, Authorizer, Effect, Entity, Policy, PolicyId, ValidationMode, Validator};
use miette::Diagnostic;
use model::verdict::PolicyEpoch;
use sha2::{Digest as _, Sha256};

use crate::annotations::{self, Annotations, Owner, Subject};
use crate::candidates::Candidates;
use crate::language::{Language, Verb};
use crate::reads::{self, Reads};
use crate::scope::Scope;
use crate::set::{Compiled, PolicyEffect, Rule};
use crate::slice::{Member, Slice};
use crate::source::{self, FILE_BYTES_MAX, FILES_MAX, POLICIES_MAX, Piece};
use crate::told::Test;
use crate::{PolicyFile, Problem};

/// The id of a policy that has none, until that is told.
const NAMELESS: &str = "nameless";

/// What to do where Cedar has no advice.
const SEE: &str = "see the schema (policies/schema.cedarschema) and docs/policies.md";

/// A policy that is right by itself.
struct Checked<'a> {
    piece: Piece<'a>,
    policy: Policy,
    annotations: Annotations,
    scope: Scope,
    test: Arc<Test>,
    reads: Reads,
    candidates: Candidates,
}

/// Stack of the thread that compiles. Cedar needs 20 KiB for each level of a tree in a debug build, and the limits of
/// [`source`] allow some 300 levels.
const STACK_BYTES: usize = 64 << 20;

/// Compiles on a thread of its own, whose stack fits whatever the limits let in.
pub(crate) fn compile(files: &[PolicyFile], epoch: PolicyEpoch) -> Result<Compiled, Vec<Problem>> {
    thread::scope(|scope| {
        let compiler = thread::Builder::new().name("policies".to_owned()).stack_size(STACK_BYTES);
        let compiler = compiler.spawn_scoped(scope, || compile_here(files, epoch));
        let compiler = compiler.map_err(|error| nowhere(format!("there is no thread to compile on: {error}")))?;
        compiler.join().unwrap_or_else(|_| Err(nowhere("the compiler of policies has failed".to_owned())))
    })
}

/// A problem that is not the policies'.
fn nowhere(what: String) -> Vec<Problem> {
    vec![source::problem(&PolicyFile::default(), 0, what, "the policies are not at fault: tell Warder's authors")]
}

fn compile_here(files: &[PolicyFile], epoch: PolicyEpoch) -> Result<Compiled, Vec<Problem>> {
    let language = Language::get().map_err(nowhere)?;
    let pieces = pieces(files)?;
    let mut problems = Vec::new();
    let mut checked = Vec::new();
    for piece in pieces {
        match check(language, piece) {
            Ok(policy) => checked.push(policy),
            Err(found) => problems.extend(found),
        }
    }
    problems.extend(repeated(&checked));
    if !problems.is_empty() {
        problems.sort();
        return Err(problems);
    }
    let slices = language.actions().map(|(verb, action)| Ok((verb, slice(language, verb, action, &checked)?)));
    let slices = slices.collect::<Result<BTreeMap<Verb, Slice>, String>>().map_err(nowhere)?;
    let places = checked.iter().enumerate().map(|(place, one)| (Arc::clone(&one.annotations.id), place)).collect();
    let attends = names(language, Verb::RunUnattended, &checked);
    let rules: Vec<_> = checked.into_iter().map(rule).collect();
    let (digest, authorizer) = (digest(&rules), Authorizer::new());
    Ok(Compiled { epoch, digest, language, rules, places, slices, attends, authorizer })
}

/// The texts of the policies, if they keep the limits.
fn pieces(files: &[PolicyFile]) -> Result<Vec<Piece<'_>>, Vec<Problem>> {
    let Some(first) = files.first() else { return Ok(Vec::new()) };
    let limit = |file, what: String| source::problem(file, 0, what, "split the set, or leave out what is not needed");
    if files.len() > FILES_MAX {
        return Err(vec![limit(first, format!("there are more than {FILES_MAX} files"))]);
    }
    let large = files.iter().filter(|file| file.text.len() > FILE_BYTES_MAX);
    let large: Vec<_> =
        large.map(|file| limit(file, format!("the file has more than {FILE_BYTES_MAX} bytes"))).collect();
    if !large.is_empty() {
        return Err(large);
    }
    let pieces: Vec<_> = files.iter().flat_map(source::pieces).collect();
    match pieces.get(POLICIES_MAX) {
        Some(piece) => Err(vec![limit(piece.file, format!("there are more than {POLICIES_MAX} policies"))]),
        None => Ok(pieces),
    }
}

/// Looks at one policy by itself.
fn check<'a>(language: &Language, piece: Piece<'a>) -> Result<Checked<'a>, Vec<Problem>> {
    if let Some(problem) = piece.oversize() {
        return Err(vec![problem]);
    }
    let policy = Policy::parse(None, piece.text);
    let policy = policy.map_err(|errors| errors.iter().map(|error| explain(&piece, error)).collect::<Vec<_>>())?;
    let about = if is_about_grants(language, &policy) { Subject::Grants } else { Subject::Statements };
    let annotations = annotations::read(owner(&policy), about, policy.annotations());
    let id = annotations.as_ref().map_or(NAMELESS, |annotations| &annotations.id);
    let policy = policy.new_id(PolicyId::new(id));
    let validator = match about {
        Subject::Statements => &language.validator,
        Subject::Grants => &language.grant_validator,
    };
    let mut problems = validate(validator, &piece, &policy);
    let candidates = Candidates::of(language, &policy);
    let seen = (Scope::of(language, &policy), Test::of(language, &policy).map(Arc::new), reads::of(&policy));
    let seen = match seen {
        (Some(scope), Some(test), Some(reads)) => Some((scope, test, reads)),
        _ => None,
    };
    let seen = seen.ok_or_else(|| vec![("it cannot be looked through".to_owned(), SEE.to_owned())]);
    match (annotations, candidates, seen) {
        (Ok(annotations), Ok(candidates), Ok((scope, test, reads))) if problems.is_empty() => {
            Ok(Checked { piece, policy, annotations, scope, test, reads, candidates })
        }
        (annotations, candidates, seen) => {
            let mistakes = [annotations.err(), candidates.err(), seen.err()].into_iter().flatten().flatten();
            problems.extend(mistakes.map(|(what, remedy)| piece.problem(0, what, remedy)));
            Err(problems)
        }
    }
}

fn owner(policy: &Policy) -> Owner {
    match policy.effect() {
        Effect::Permit => Owner::Permit,
        Effect::Forbid => Owner::Forbid,
    }
}

/// What Cedar says about a policy, at the place that it names.
fn explain(piece: &Piece<'_>, error: &dyn Diagnostic) -> Problem {
    let place = error.labels().and_then(|mut labels| labels.next()).map_or(0, |label| label.offset());
    let remedy = error.help().map_or_else(|| SEE.to_owned(), |help| help.to_string());
    let text = error.to_string();
    // The place says which policy.
    let what = text.strip_prefix("for policy `").and_then(|rest| rest.split_once("`, "));
    piece.problem(place, what.map_or(&*text, |(_, what)| what), remedy)
}

fn repeated(checked: &[Checked<'_>]) -> Vec<Problem> {
    let mut first: BTreeMap<&str, &Piece<'_>> = BTreeMap::new();
    let mut problems = Vec::new();
    for one in checked {
        let id = &*one.annotations.id;
        match first.get(id) {
            Some(other) => {
                let what = format!("@id(\"{id}\") is taken by {}:{}", other.file.name, other.line());
                problems.push(one.piece.problem(0, what, "give each policy an id of its own"));
            }
            None => _ = first.insert(id, &one.piece),
        }
    }
    problems
}

/// Whether a policy names an action about grants.
fn is_about_grants(language: &Language, policy: &Policy) -> bool {
    let named = match policy.action_constraint() {
        ActionConstraint::Any => Vec::new(),
        ActionConstraint::Eq(uid) => vec![uid],
        ActionConstraint::In(uids) => uids,
    };
    let mut about = language.actions().filter(|(verb, _)| verb.is_about_grants());
    about.any(|(_, action)| named.contains(&action.uid()))
}

/// What the validator objects to, its warnings included. No policy makes another one right: each is looked at alone.
fn validate(validator: &Validator, piece: &Piece<'_>, policy: &Policy) -> Vec<Problem> {
    let alone = match cedar_policy::PolicySet::from_policies([policy.clone()]) {
        Ok(alone) => alone,
        Err(error) => return vec![explain(piece, &error)],
    };
    let found = validator.validate(&alone, ValidationMode::Strict);
    let errors = found.validation_errors().map(|error| explain(piece, error));
    first_of_each_place(errors.chain(found.validation_warnings().map(|warning| explain(piece, warning))).collect())
}

/// The validator says the same for each action that a policy is about.
fn first_of_each_place(mut problems: Vec<Problem>) -> Vec<Problem> {
    problems.sort();
    problems.dedup_by_key(|problem| (problem.line, problem.column));
    problems
}

/// The policies that can be about an action.
fn slice(language: &Language, verb: Verb, action: &Entity, checked: &[Checked<'_>]) -> Result<Slice, String> {
    let within = language.action_with_groups(action);
    let about = |(_, one): &(usize, &Checked<'_>)| match one.policy.action_constraint() {
        // Reading in clear must be named: who permits everything has hardly thought of it.
        ActionConstraint::Any if verb == Verb::ReadClear => one.policy.effect() == Effect::Forbid,
        ActionConstraint::Any => !verb.is_about_grants(),
        ActionConstraint::Eq(uid) => uid == action.uid(),
        ActionConstraint::In(uids) => uids.iter().any(|uid| within.contains(uid)),
    };
    let member = |(place, one): (usize, &Checked<'_>)| Member {
        place,
        policy: one.policy.clone(),
        scope: one.scope.clone(),
        test: Arc::clone(&one.test),
        reads: one.reads,
        candidates: one.candidates.clone(),
    };
    Slice::new(action.clone(), checked.iter().enumerate().filter(about).map(member).collect())
}

/// Whether a policy speaks of this action by its name.
fn names(language: &Language, verb: Verb, checked: &[Checked<'_>]) -> bool {
    let action = language.actions().find_map(|(known, action)| (known == verb).then(|| action.uid()));
    checked.iter().any(|one| match one.policy.action_constraint() {
        ActionConstraint::Any => false,
        ActionConstraint::Eq(uid) => Some(uid) == action,
        ActionConstraint::In(uids) => uids.into_iter().any(|uid| Some(uid) == action),
    })
}

/// Over what the policies say, in the order of their ids.
fn digest(rules: &[Rule]) -> [u8; 32] {
    let digests: BTreeMap<&str, [u8; 32]> = rules.iter().map(|rule| (&*rule.annotations.id, rule.digest)).collect();
    digests.into_values().fold(Sha256::new(), |hash, digest| hash.chain_update(digest)).finalize().into()
}

impl Checked<'_> {
    /// The policy without comments, in Cedar's own layout.
    fn normal(&self) -> String {
        self.policy.to_pst().map_or_else(|_| self.piece.text.to_owned(), |tree| tree.to_string())
    }
}

fn rule(one: Checked<'_>) -> Rule {
    let effect = match one.policy.effect() {
        Effect::Permit => PolicyEffect::Permit,
        Effect::Forbid => PolicyEffect::Forbid,
    };
    let file = one.piece.file.name.as_str().into();
    let digest = Sha256::digest(one.normal()).into();
    Rule { effect, digest, file, line: one.piece.line(), annotations: one.annotations }
}
