//! What goes in comes out, whatever it is; what does not fit says so; what is no judgement is refused.

use model::Known;
use model::facts::{
    Action, Columns, Condition, Effect, Facts, Name, Object, OpaqueReason, StateChange, StatementFacts, UnknownSchema,
};
use proptest::prelude::*;
use proptest::sample::select;

use super::*;

fn word<T: Copy + std::fmt::Debug>(all: &'static [T]) -> impl Strategy<Value = T> {
    select(all)
}

fn text() -> impl Strategy<Value = Arc<str>> {
    "\\PC{0,12}".prop_map(Arc::from)
}

fn maybe() -> impl Strategy<Value = Option<Arc<str>>> {
    prop::option::of(text())
}

fn name() -> impl Strategy<Value = Name> {
    let schema = prop_oneof![text().prop_map(Known::Known), word(UnknownSchema::ALL).prop_map(Known::Unknown)];
    (schema, text()).prop_map(|(schema, name)| Name { schema, name })
}

fn object() -> impl Strategy<Value = Object> {
    prop_oneof![
        name().prop_map(Object::Relation),
        name().prop_map(Object::Function),
        text().prop_map(Object::Schema),
        maybe().prop_map(Object::Role),
        maybe().prop_map(Object::Parameter),
        maybe().prop_map(Object::Session),
        (text(), prop::option::of(name())).prop_map(|(kind, name)| Object::Other { kind, name }),
        Just(Object::Server),
    ]
}

fn effect() -> impl Strategy<Value = Effect> {
    let columns = prop_oneof![
        Just(Columns::None),
        Just(Columns::All),
        prop::collection::vec(text(), 0..4).prop_map(Columns::Named),
        Just(Columns::Unknown),
    ];
    (word(Action::ALL), object(), columns, word(Condition::ALL))
        .prop_map(|(action, object, columns, condition)| Effect { action, object, columns, condition })
}

fn change() -> impl Strategy<Value = StateChange> {
    prop_oneof![
        (text(), maybe(), any::<bool>()).prop_map(|(name, value, local)| StateChange::Parameter { name, value, local }),
        select(vec![
            StateChange::ResetAll,
            StateChange::DiscardAll,
            StateChange::Role,
            StateChange::Begin,
            StateChange::End,
            StateChange::RolledBackTo,
            StateChange::Catalogue,
            StateChange::Relation { name: "orders".into(), made_in: None },
            StateChange::Relation { name: "orders".into(), made_in: Some("app".into()) },
        ]),
        text().prop_map(|name| StateChange::Executes { name }),
        maybe().prop_map(|name| StateChange::Deallocated { name }),
        maybe().prop_map(|name| StateChange::Temporary { name }),
    ]
}

fn plain_statement() -> impl Strategy<Value = StatementFacts> {
    let effects = prop::collection::vec(effect(), 0..5);
    let changes = prop::collection::vec(change(), 0..3);
    let opaque = prop::collection::vec(word(OpaqueReason::ALL), 0..3);
    (text(), effects, any::<Option<u64>>(), changes, opaque).prop_map(|(command, effects, limit, changes, opaque)| {
        StatementFacts { command, effects, limit, changes, opaque, lineage: None }
    })
}

fn statement() -> impl Strategy<Value = StatementFacts> {
    (plain_statement(), prop::option::of((text(), plain_statement()))).prop_map(|(mut outer, inner)| {
        outer.changes.extend(inner.map(|(name, facts)| StateChange::Prepared { name, facts: Arc::new(facts) }));
        outer
    })
}

fn denial() -> impl Strategy<Value = Denial> {
    (text(), text(), text(), text(), select(&SQLSTATES[..])).prop_map(|(rule, what, reason, remedy, sqlstate)| Denial {
        rule,
        what,
        reason,
        remedy,
        sqlstate,
    })
}

fn hold() -> impl Strategy<Value = Hold> {
    let grant = prop::option::of(any::<u64>().prop_map(GrantId::new));
    (text(), text(), text(), text(), grant).prop_map(|(rule, what, reason, remedy, grant)| Hold {
        rule,
        what,
        reason,
        remedy,
        grant,
    })
}

fn verdict() -> impl Strategy<Value = Verdict> {
    let obligations = any::<[Option<u64>; 4]>().prop_map(|[rows_max, bytes_max, runtime_max, rate_per_minute]| {
        Obligations { rows_max, bytes_max, runtime_max, rate_per_minute }
    });
    let allowed_by = prop::collection::vec(text(), 0..4).prop_map(Arc::from);
    let masked = prop::collection::vec((text(), text()).prop_map(|(rule, column)| Masked { rule, column }), 0..4);
    let ground = (prop::option::of(denial()), prop::option::of(hold()));
    (any::<u64>(), word(Mode::ALL), ground, allowed_by, obligations, masked.prop_map(Arc::from)).prop_map(
        |(epoch, mode, (denial, hold), allowed_by, obligations, masked)| Verdict {
            epoch: PolicyEpoch(epoch),
            mode,
            denial,
            hold,
            allowed_by,
            obligations,
            masked,
        },
    )
}

fn judgement() -> impl Strategy<Value = Judgement> {
    let facts = (prop::collection::vec(statement(), 0..4), prop::option::of(word(OpaqueReason::ALL)))
        .prop_map(|(statements, opaque)| Arc::new(Facts { statements, opaque }));
    (verdict(), facts).prop_map(|(verdict, facts)| Judgement { verdict, facts })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn what_goes_in_comes_out(judgement in judgement()) {
        let encoded = EncodedJudgement::of(&judgement);
        prop_assert_eq!(decode(encoded.bytes()), Some(judgement));
    }

    #[test]
    fn what_is_cut_or_longer_is_refused(judgement in judgement(), place in any::<prop::sample::Index>(), more in any::<u8>()) {
        let encoded = EncodedJudgement::of(&judgement);
        let bytes = encoded.bytes();
        prop_assert_eq!(decode(&bytes[..place.index(bytes.len())]), None);
        prop_assert_eq!(decode(&[bytes, &[more]].concat()), None);
    }

    #[test]
    fn any_bytes_are_a_judgement_or_none(
        judgement in judgement(),
        noise in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        garbage in prop::collection::vec(any::<u8>(), 0..512),
    ) {
        decode(&garbage);
        let mut bytes = EncodedJudgement::of(&judgement).bytes().to_vec();
        for (place, byte) in noise {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if let Some(other) = decode(&bytes) {
            // Whatever it says can be said again.
            prop_assert!(decode(EncodedJudgement::of(&other).bytes()).is_some());
        }
    }

    #[test]
    fn what_does_not_fit_is_opaque(effects in 100..2000_usize, statements in 1..4_usize) {
        let statement = StatementFacts { effects: vec![drop_of("public", "customers"); effects], ..StatementFacts::default() };
        let facts = Facts { statements: vec![statement; statements], opaque: None };
        let given = Judgement { verdict: allowed(), facts: Arc::new(facts) };
        let encoded = EncodedJudgement::of(&given);
        prop_assert!(encoded.bytes().len() <= JUDGEMENT_BYTES_MAX);
        let read = decode(encoded.bytes()).unwrap();
        let is_cut = read.facts.statements.iter().any(|facts| facts.opaque == [OpaqueReason::TooLarge]);
        prop_assert_eq!(is_cut, read != given, "what is missing is said, and nothing else");
        prop_assert!(!is_cut || encoded.bytes().len() > JUDGEMENT_BYTES_MAX - 256, "and only where it must be");
    }
}

fn drop_of(schema: &str, name: &str) -> Effect {
    Effect {
        action: Action::Drop,
        object: Object::Relation(Name { schema: Known::Known(Arc::from(schema)), name: Arc::from(name) }),
        columns: Columns::None,
        condition: Condition::NotApplicable,
    }
}

fn allowed() -> Verdict {
    Verdict {
        epoch: PolicyEpoch(1),
        mode: Mode::Enforce,
        denial: None,
        hold: None,
        allowed_by: Arc::new([]),
        obligations: Obligations::default(),
        masked: Arc::new([]),
    }
}

#[test]
fn a_statement_without_room_for_anything_is_opaque_too() {
    let columns = Columns::Named((0..2000).map(|number| Arc::from(format!("column_{number}"))).collect());
    let effect = Effect { columns, ..drop_of("public", "wide") };
    let facts =
        Facts { statements: vec![StatementFacts { effects: vec![effect], ..StatementFacts::default() }], opaque: None };
    let read = decode(EncodedJudgement::of(&Judgement { verdict: allowed(), facts: Arc::new(facts) }).bytes()).unwrap();
    assert_eq!(read.facts.statements[0].effects, []);
    assert_eq!(read.facts.statements[0].opaque, [OpaqueReason::TooLarge]);
}

#[test]
fn nesting_ends() {
    let mut facts = StatementFacts::default();
    for _ in 0..100 {
        let name = Arc::from("again");
        facts = StatementFacts {
            changes: vec![StateChange::Prepared { name, facts: Arc::new(facts) }],
            ..StatementFacts::default()
        };
    }
    let facts = Facts { statements: vec![facts], opaque: None };
    let read = decode(EncodedJudgement::of(&Judgement { verdict: allowed(), facts: Arc::new(facts) }).bytes()).unwrap();
    let StateChange::Prepared { facts, .. } = &read.facts.statements[0].changes[0] else { panic!("the first is kept") };
    let StateChange::Prepared { facts, .. } = &facts.changes[0] else { panic!("the second is kept") };
    assert_eq!((facts.changes.len(), &facts.opaque[..]), (0, &[OpaqueReason::TooLarge][..]));
}

#[test]
fn a_policy_that_finds_no_room_is_counted() {
    let policies: Vec<Arc<str>> = (0..3000).map(|number| Arc::from(format!("policy-{number:04}"))).collect();
    let verdict = Verdict { allowed_by: policies.into(), ..allowed() };
    let read = decode(EncodedJudgement::of(&Judgement { verdict, facts: Arc::default() }).bytes()).unwrap();
    let kept = read.verdict.allowed_by.len() - 1;
    assert_eq!(read.verdict.allowed_by.last(), Some(&Arc::from(format!("(and {} more)", 3000 - kept))));
}

#[test]
fn a_masked_column_that_finds_no_room_is_counted() {
    let columns =
        (0..3000).map(|number| Masked { rule: "rule".into(), column: format!("public.t.c{number:04}").into() });
    let masked: Vec<Masked> = columns.collect();
    let verdict = Verdict { masked: masked.into(), ..allowed() };
    let read = decode(EncodedJudgement::of(&Judgement { verdict, facts: Arc::default() }).bytes()).unwrap();
    let kept = read.verdict.masked.len() - 1;
    assert_eq!(&*read.verdict.masked[kept].rule, format!("(and {} more)", 3000 - kept));
}

#[test]
fn equal_ones_are_decoded_once_and_memory_has_a_bound() {
    let mut decoded = Decoded::default();
    let of_epoch = |epoch| {
        let verdict = Verdict { epoch: PolicyEpoch(epoch), ..allowed() };
        EncodedJudgement::of(&Judgement { verdict, facts: Arc::default() })
    };
    let first = decoded.judgement(of_epoch(1).bytes()).unwrap();
    assert!(Arc::ptr_eq(&first, &decoded.judgement(of_epoch(1).bytes()).unwrap()));
    for epoch in 0..5000 {
        decoded.judgement(of_epoch(epoch).bytes()).unwrap();
        assert!(decoded.judgements.len() <= Decoded::COUNT_MAX && decoded.bytes <= Decoded::BYTES_MAX);
    }
}
