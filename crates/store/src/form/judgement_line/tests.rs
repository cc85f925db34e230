//! The hand-written fields against the same judgement through its forms and `serde_json`.

use std::borrow::Cow;
use std::sync::Arc;

use model::access::GrantId;
use model::facts::{Action, StatementFacts, UnknownSchema};
use model::verdict::PolicyEpoch;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use serde::{Deserialize, Serialize};

use super::*;
use crate::form::judgement::{EffectForm, HoldForm, MaskedForm, ObligationsForm, VerdictForm};

/// What a judgement adds to a line.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct JudgedForm<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) verdict: Option<Box<VerdictForm<'a>>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) effects: Vec<EffectForm<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) opaque: Vec<Cow<'a, str>>,
}

/// The oracle, built field by field.
pub(crate) fn form_of(judgement: &Judgement) -> JudgedForm<'_> {
    let Judgement { verdict, facts } = judgement;
    let denial = verdict.denial.as_ref();
    let Obligations { rows_max, bytes_max, runtime_max, rate_per_minute } = verdict.obligations;
    let obligations = ObligationsForm { rows_max, bytes_max, runtime_max_ms: runtime_max, rate_per_minute };
    let mut form = JudgedForm {
        verdict: Some(Box::new(VerdictForm {
            decision: decision_word(denial, verdict.mode).into(),
            rule: denial.map(|denial| (&*denial.rule).into()),
            what: denial.map(|denial| (&*denial.what).into()),
            reason: denial.map(|denial| (&*denial.reason).into()),
            epoch: verdict.epoch.0,
            mode: verdict.mode.word().into(),
            allowed_by: verdict.allowed_by.iter().map(|policy| (&**policy).into()).collect(),
            obligations: (verdict.obligations != Obligations::default()).then_some(obligations),
            hold: verdict.hold.as_ref().map(hold_form),
            masked: verdict.masked.iter().map(masked_form).collect(),
        })),
        ..JudgedForm::default()
    };
    form.opaque.extend(facts.opaque.map(|reason| Cow::from(reason.word())));
    let several = facts.statements.len() > 1;
    for statement in &facts.statements {
        let effects = statement.effects.iter().map(effect_form);
        form.effects.extend(effects);
        form.opaque.extend(statement.opaque.iter().map(|reason| Cow::from(reason.word())));
    }
    if several {
        keep_first(&mut form.effects);
    }
    keep_first(&mut form.opaque);
    form
}

fn masked_form(masked: &Masked) -> MaskedForm<'_> {
    let column = (!masked.column.is_empty()).then(|| (&*masked.column).into());
    MaskedForm { rule: (&*masked.rule).into(), column }
}

fn hold_form(hold: &Hold) -> HoldForm<'_> {
    HoldForm {
        rule: (&*hold.rule).into(),
        what: (&*hold.what).into(),
        reason: (&*hold.reason).into(),
        grant: hold.grant.map(|grant| grant.to_string().into()),
    }
}

fn keep_first<T: PartialEq + Clone>(all: &mut Vec<T>) {
    let copy = all.clone();
    let mut index = 0;
    all.retain(|one| {
        index += 1;
        !copy[..index - 1].contains(one)
    });
}

fn effect_form(effect: &Effect) -> EffectForm<'_> {
    let mut form = EffectForm { action: effect.action.word().into(), ..EffectForm::default() };
    match &effect.object {
        Object::Relation(name) => name_form(&mut form, "relation", Some(name)),
        Object::Function(name) => name_form(&mut form, "function", Some(name)),
        Object::Other { kind, name } => name_form(&mut form, kind, name.as_ref()),
        Object::Schema(name) => (form.object, form.name) = ("schema".into(), Some((&**name).into())),
        Object::Role(name) => (form.object, form.name) = ("role".into(), name.as_deref().map(Cow::from)),
        Object::Parameter(name) => (form.object, form.name) = ("parameter".into(), name.as_deref().map(Cow::from)),
        Object::Session(name) => (form.object, form.name) = ("session".into(), name.as_deref().map(Cow::from)),
        Object::Server => form.object = "server".into(),
    }
    match &effect.columns {
        Columns::None => {}
        Columns::All => form.all_columns = true,
        Columns::Unknown => form.columns_unknown = true,
        Columns::Named(names) => form.columns = names.iter().map(|name| (&**name).into()).collect(),
    }
    form.condition = match effect.condition {
        Condition::NotApplicable => None,
        other => Some(other.word().into()),
    };
    form
}

fn name_form<'a>(form: &mut EffectForm<'a>, kind: &'a str, name: Option<&'a Name>) {
    form.object = kind.into();
    if let Some(Name { schema, name }) = name {
        form.schema = schema.known().map(|schema| (&**schema).into());
        form.schema_unknown = match schema {
            Known::Unknown(why) => Some(why.word().into()),
            Known::Known(_) => None,
        };
        form.name = Some((&**name).into());
    }
}

fn text() -> impl Strategy<Value = Arc<str>> {
    prop_oneof!["[a-z]{0,8}", "\\PC{0,8}", Just("\"\\\n".to_owned())].prop_map(Arc::from)
}

fn effect() -> impl Strategy<Value = Effect> {
    let schema = prop_oneof![text().prop_map(Known::Known), select(UnknownSchema::ALL).prop_map(Known::Unknown),];
    let name = (schema, text()).prop_map(|(schema, name)| Name { schema, name }).boxed();
    let object = prop_oneof![
        name.clone().prop_map(Object::Relation),
        name.clone().prop_map(Object::Function),
        (text(), option::of(name)).prop_map(|(kind, name)| Object::Other { kind, name }),
        text().prop_map(Object::Schema),
        option::of(text()).prop_map(Object::Role),
        option::of(text()).prop_map(Object::Parameter),
        option::of(text()).prop_map(Object::Session),
        Just(Object::Server),
    ];
    let columns = prop_oneof![
        Just(Columns::None),
        Just(Columns::All),
        Just(Columns::Unknown),
        prop::collection::vec(text(), 0..3).prop_map(Columns::Named),
    ];
    (select(Action::ALL), object, columns, select(Condition::ALL))
        .prop_map(|(action, object, columns, condition)| Effect { action, object, columns, condition })
}

fn facts() -> impl Strategy<Value = Arc<Facts>> {
    let opaque = prop::collection::vec(select(OpaqueReason::ALL), 0..3);
    let statement = (prop::collection::vec(effect(), 0..4), opaque).prop_map(|(effects, opaque)| StatementFacts {
        effects,
        opaque,
        ..StatementFacts::default()
    });
    (prop::collection::vec(statement, 0..3), option::of(select(OpaqueReason::ALL)), any::<bool>()).prop_map(
        |(mut statements, opaque, twice)| {
            // What several statements do alike is told once.
            if let (true, Some(first)) = (twice, statements.first().cloned()) {
                statements.push(first);
            }
            Arc::new(Facts { statements, opaque })
        },
    )
}

pub(crate) fn judgement() -> impl Strategy<Value = Arc<Judgement>> {
    let denial = (text(), text(), text()).prop_map(|(rule, what, reason)| Denial {
        rule,
        what,
        reason,
        remedy: Arc::from("ask"),
        sqlstate: "42501",
    });
    let hold = (text(), text(), text(), option::of(any::<u64>())).prop_map(|(rule, what, reason, grant)| Hold {
        rule,
        what,
        reason,
        remedy: Arc::from("wait"),
        grant: grant.map(GrantId::new),
    });
    let allowed_by = prop::collection::vec(text(), 0..3).prop_map(Arc::from);
    let obligations = any::<[Option<u64>; 4]>().prop_map(|[rows_max, bytes_max, runtime_max, rate_per_minute]| {
        Obligations { rows_max, bytes_max, runtime_max, rate_per_minute }
    });
    let ground = (option::of(denial), option::of(hold));
    let masked = (text(), text()).prop_map(|(rule, column)| Masked { rule, column });
    let masked = prop::collection::vec(masked, 0..3).prop_map(Arc::from);
    let verdict = (any::<u64>(), select(Mode::ALL), ground, allowed_by, option::of(obligations), masked).prop_map(
        |(epoch, mode, (denial, hold), allowed_by, obligations, masked)| Verdict {
            epoch: PolicyEpoch(epoch),
            mode,
            denial,
            hold,
            allowed_by,
            obligations: obligations.unwrap_or_default(),
            masked,
        },
    );
    (verdict, facts()).prop_map(|(verdict, facts)| Arc::new(Judgement { verdict, facts }))
}

proptest! {
    #[test]
    fn a_judgement_is_written_as_its_forms(judgement in judgement()) {
        let mut out = Vec::new();
        write_judgement(&mut out, &judgement);
        let fields = format!("{{{}}}", String::from_utf8(out).unwrap().strip_prefix(',').unwrap());
        let form = form_of(&judgement);
        prop_assert_eq!(&fields, &serde_json::to_string(&form).unwrap());
        prop_assert_eq!(serde_json::from_str::<JudgedForm<'_>>(&fields).unwrap(), form);
    }
}
