//! What was decided about a message and can be searched: the decision, and what the message would do.

use model::facts::{Action, OpaqueReason};

use crate::attribute::bounded;
use crate::fields::{Head, Str};

/// What of a judgement is asked for. The numbers are in files: never re-used, and not those of attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Aspect {
    /// `allowed`, `refused`, `would_refuse`.
    Decision = 35,
    /// A policy that forbids it, or allows it; a rule that masks a column of its result.
    Rule = 36,
    /// Something that it does.
    Action = 37,
    /// A relation that it does something to: by its name, or with the schema before it.
    Relation = 38,
    /// Why a part of it is not understood.
    Opaque = 39,
    /// A grant that something became of.
    Grant = 40,
}

/// What can be decided.
pub(crate) const DECISIONS: [&str; 3] = ["allowed", "refused", "would_refuse"];

/// Groups of actions, in the words of a filter: the actions of `Read`, `Write` and `Ddl` in policies. The other groups there
/// have no word here: `admin` is an action.
const ACTION_GROUPS: [(&str, &[Action]); 3] = [
    ("read", &[Action::Select, Action::CopyOut]),
    (
        "write",
        &[
            Action::Insert,
            Action::Update,
            Action::Delete,
            Action::Merge,
            Action::Truncate,
            Action::Lock,
            Action::CopyIn,
            Action::Call,
            Action::Notify,
        ],
    ),
    ("ddl", &[Action::Create, Action::Alter, Action::Drop]),
];

impl Aspect {
    /// The values that a word of a group stands for.
    pub(crate) fn group(self, word: &str) -> Option<impl Iterator<Item = &'static str>> {
        let (_, actions) = ACTION_GROUPS.iter().find(|(group, _)| self == Self::Action && *group == word)?;
        Some(actions.iter().map(|action| action.word()))
    }

    /// Words that a filter may say, where they are a fixed set.
    pub(crate) fn words(self) -> Option<Vec<&'static str>> {
        match self {
            Self::Decision => Some(DECISIONS.to_vec()),
            Self::Action => {
                let groups = ACTION_GROUPS.iter().map(|(group, _)| *group);
                Some(groups.chain(Action::ALL.iter().map(|action| action.word())).collect())
            }
            Self::Opaque => Some(OpaqueReason::ALL.iter().map(|reason| reason.word()).collect()),
            Self::Rule | Self::Relation | Self::Grant => None,
        }
    }
}

/// Calls `state` with everything that a line says of its judgement, or of a grant; with nothing if it has neither.
pub(crate) fn of_record(head: &Head<'_>, mut state: impl FnMut(Aspect, &str)) {
    let mut text = |aspect, text: &str| state(aspect, bounded(text));
    if let Some(Str(grant)) = &head.grant {
        text(Aspect::Grant, grant);
    }
    let Some(verdict) = &head.verdict else { return };
    text(Aspect::Decision, &verdict.decision.0);
    let masking = verdict.masked.iter().map(|masked| &masked.rule);
    for Str(rule) in verdict.rule.iter().chain(&verdict.allowed_by).chain(masking) {
        text(Aspect::Rule, rule);
    }
    for effect in &head.effects {
        text(Aspect::Action, &effect.action.0);
        let Some(Str(name)) = effect.name.as_ref().filter(|_| &*effect.object.0 == "relation") else { continue };
        text(Aspect::Relation, name);
        if let Some(Str(schema)) = &effect.schema {
            text(Aspect::Relation, &format!("{schema}.{name}"));
        }
    }
    for Str(reason) in &head.opaque {
        text(Aspect::Opaque, reason);
    }
}
