//! Writes what was decided about a message, by hand like the rest of its line: the same bytes as
//! [`VerdictForm`](super::judgement::VerdictForm) and [`EffectForm`](super::judgement::EffectForm) through `serde_json`.

use model::Known;
use model::facts::{Columns, Condition, Effect, Facts, Name, Object, OpaqueReason};
use model::verdict::{Denial, Hold, Judgement, Masked, Mode, Obligations, Verdict};

use super::statement_line::{flag, integer, string, word, write_array};

/// Appends `verdict`, `effects` and `opaque`.
pub(super) fn write_judgement(out: &mut Vec<u8>, judgement: &Judgement) {
    write_verdict(out, &judgement.verdict);
    let effects = effects(&judgement.facts);
    if !effects.is_empty() {
        out.extend_from_slice(br#","effects":"#);
        write_array(out, &effects, |out, effect| write_effect(out, effect));
    }
    let opaque = opaque(&judgement.facts);
    if !opaque.is_empty() {
        out.extend_from_slice(br#","opaque":"#);
        write_array(out, &opaque, |out, reason| word(out, b"\"", reason.word()));
    }
}

/// What all statements of a message do, each thing once.
fn effects(facts: &Facts) -> Vec<&Effect> {
    match &facts.statements[..] {
        [only] => only.effects.iter().collect(),
        several => each_once(several.iter().flat_map(|statement| &statement.effects)),
    }
}

/// What is not understood of a message, each reason once.
fn opaque(facts: &Facts) -> Vec<&OpaqueReason> {
    each_once(facts.opaque.iter().chain(facts.statements.iter().flat_map(|statement| &statement.opaque)))
}

/// A message has few: looking through them is less than hashing them.
fn each_once<'a, T: PartialEq>(all: impl Iterator<Item = &'a T>) -> Vec<&'a T> {
    let mut once = Vec::new();
    for one in all {
        if !once.contains(&one) {
            once.push(one);
        }
    }
    once
}

fn write_verdict(out: &mut Vec<u8>, verdict: &Verdict) {
    let Verdict { epoch, mode, denial, hold, allowed_by, obligations, masked } = verdict;
    word(out, br#","verdict":{"decision":""#, decision_word(denial.as_ref(), *mode));
    if let Some(Denial { rule, what, reason, .. }) = denial {
        string(out, br#","rule":""#, rule);
        string(out, br#","what":""#, what);
        string(out, br#","reason":""#, reason);
    }
    integer(out, br#","epoch":"#, epoch.0);
    word(out, br#","mode":""#, mode.word());
    if !allowed_by.is_empty() {
        out.extend_from_slice(br#","allowed_by":"#);
        write_array(out, allowed_by, |out, policy| string(out, b"\"", policy));
    }
    if *obligations != Obligations::default() {
        write_obligations(out, obligations);
    }
    if let Some(hold) = hold {
        write_hold(out, hold);
    }
    if !masked.is_empty() {
        out.extend_from_slice(br#","masked":"#);
        write_array(out, masked, write_masked);
    }
    out.push(b'}');
}

fn write_masked(out: &mut Vec<u8>, Masked { rule, column }: &Masked) {
    string(out, br#"{"rule":""#, rule);
    if !column.is_empty() {
        string(out, br#","column":""#, column);
    }
    out.push(b'}');
}

fn write_hold(out: &mut Vec<u8>, hold: &Hold) {
    string(out, br#","hold":{"rule":""#, &hold.rule);
    string(out, br#","what":""#, &hold.what);
    string(out, br#","reason":""#, &hold.reason);
    if let Some(grant) = hold.grant {
        string(out, br#","grant":""#, &grant.to_string());
    }
    out.push(b'}');
}

pub(super) const fn decision_word(denial: Option<&Denial>, mode: Mode) -> &'static str {
    match (denial, mode) {
        (None, _) => "allowed",
        (Some(_), Mode::Enforce) => "refused",
        (Some(_), Mode::Observe | Mode::Warn) => "would_refuse",
    }
}

fn write_obligations(out: &mut Vec<u8>, obligations: &Obligations) {
    let Obligations { rows_max, bytes_max, runtime_max, rate_per_minute } = *obligations;
    out.extend_from_slice(br#","obligations":{"#);
    let bounds: [(&[u8], Option<u64>); 4] = [
        (br#""rows_max":"#, rows_max),
        (br#""bytes_max":"#, bytes_max),
        (br#""runtime_max_ms":"#, runtime_max),
        (br#""rate_per_minute":"#, rate_per_minute),
    ];
    let known = bounds.into_iter().filter_map(|(key, bound)| Some((key, bound?)));
    for (index, (key, bound)) in known.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        integer(out, key, bound);
    }
    out.push(b'}');
}

fn write_effect(out: &mut Vec<u8>, effect: &Effect) {
    word(out, br#"{"action":""#, effect.action.word());
    write_object(out, &effect.object);
    write_columns(out, &effect.columns);
    if effect.condition != Condition::NotApplicable {
        word(out, br#","condition":""#, effect.condition.word());
    }
    out.push(b'}');
}

fn write_object(out: &mut Vec<u8>, object: &Object) {
    let (word_of_kind, name) = match object {
        Object::Relation(name) => return write_named(out, "relation", Some(name)),
        Object::Function(name) => return write_named(out, "function", Some(name)),
        Object::Other { kind, name } => return write_named(out, kind, name.as_ref()),
        Object::Schema(name) => ("schema", Some(name)),
        Object::Role(name) => ("role", name.as_ref()),
        Object::Parameter(name) => ("parameter", name.as_ref()),
        Object::Session(name) => ("session", name.as_ref()),
        Object::Server => ("server", None),
    };
    word(out, br#","object":""#, word_of_kind);
    if let Some(name) = name {
        string(out, br#","name":""#, name);
    }
}

fn write_named(out: &mut Vec<u8>, kind: &str, name: Option<&Name>) {
    string(out, br#","object":""#, kind);
    let Some(Name { schema, name }) = name else { return };
    match schema {
        Known::Known(schema) => string(out, br#","schema":""#, schema),
        Known::Unknown(why) => word(out, br#","schema_unknown":""#, why.word()),
    }
    string(out, br#","name":""#, name);
}

fn write_columns(out: &mut Vec<u8>, columns: &Columns) {
    match columns {
        Columns::Named(names) if !names.is_empty() => {
            out.extend_from_slice(br#","columns":"#);
            write_array(out, names, |out, name| string(out, b"\"", name));
        }
        Columns::Named(_) | Columns::None => {}
        Columns::All => flag(out, br#","all_columns":true"#, true),
        Columns::Unknown => flag(out, br#","columns_unknown":true"#, true),
    }
}

#[cfg(test)]
pub(super) mod tests;
