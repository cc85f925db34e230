//! What holds for all policies and questions.

mod support;

use std::sync::LazyLock;

use model::Known;
use model::facts::{Action, Columns, Condition, Effect, Object, OpaqueReason, StatementFacts};
use model::principal::{PrincipalKind, UnknownPrincipal};
use model::time::WallTime;
use model::verdict::{PolicyEpoch, Verdict};
use policy::reads::{Field, Reads};
use policy::{Asked, Decision, PolicyFile, PolicySet, Question, SessionContext, Transport, UtcOffset};
use proptest::prelude::*;
use proptest::sample::select as one_of;
use support::*;

const PERMITS: &str = r#"
    @id("analysts") @reason("r") permit (principal in Group::"analysts", action in Action::"Read", resource)
        unless { resource in Schema::"hr" };
    @id("agents") @reason("r") permit (principal is Agent, action in [Action::"Read", Action::"Write"], resource)
        when { context.condition != Condition::"everything" && principal has on_behalf_of };
    @id("hours") @reason("r") permit (principal is Person, action, resource)
        when { context.time.hour >= 8 && context.time.weekday != Weekday::"sunday" };
    @id("process") @reason("r") permit (principal is Service, action, resource)
        when { context has process && context.process.exe == "/usr/bin/psql" && context.session.encrypted };
    @id("columns") @reason("r") permit (principal, action == Action::"Select", resource == Relation::"public.orders")
        when { context has columns && ["id"].containsAll(context.columns) };
    @id("opaque") @reason("r") permit (principal is Person, action == Action::"Opaque", resource)
        when { context.reason == OpaqueReason::"code" };"#;

const FORBIDS: [&str; 5] = [
    r#"@id("f") @reason("r") forbid (principal, action in Action::"Write", resource);"#,
    r#"@id("f") @reason("r") forbid (principal, action, resource in Schema::"public");"#,
    r#"@id("f") @reason("r") forbid (principal, action, resource) when { context.session.in_transaction };"#,
    r#"@id("f") @reason("r") forbid (principal is Agent, action == Action::"Delete", resource)
        unless { context.condition == Condition::"some" };"#,
    r#"@id("f") @reason("r") forbid (principal, action, resource) unless { context.time.minute < 30 };"#,
];

static BASE: LazyLock<PolicySet> = LazyLock::new(|| set(PERMITS));
static WITH: LazyLock<Vec<PolicySet>> =
    LazyLock::new(|| FORBIDS.iter().map(|forbid| set(&format!("{PERMITS}{forbid}"))).collect());

#[derive(Clone, Debug)]
struct Case {
    who: Who,
    facts: StatementFacts,
    session: SessionContext,
    now: WallTime,
}

impl Case {
    fn decide(&self, set: &PolicySet) -> Decision {
        let facts = Asked::Statement(&self.facts);
        set.decide(&Question { principal: &self.who, facts, session: &self.session, grants: &[], now: self.now })
    }
}

fn reads(decision: &Decision) -> (Reads, Option<WallTime>) {
    match decision {
        Decision::Permit(permit) => (permit.reads(), permit.not_after()),
        Decision::Hold(hold) => (hold.reads(), hold.not_after()),
        Decision::Refusal(refusal) => (refusal.reads(), refusal.not_after()),
    }
}

fn whoever() -> impl Strategy<Value = Who> {
    let known = (0..3_usize, any::<bool>(), any::<bool>()).prop_map(|(kind, analyst, delegated)| {
        let kind = PrincipalKind::ALL[kind];
        let mut who = who(kind, "somebody", if analyst { &["analysts"] } else { &[] });
        who.acting_for.extend(delegated.then(|| actor(PrincipalKind::Person, "alice@example.com")));
        Known::Known(who)
    });
    prop_oneof![4 => known, 1 => one_of(UnknownPrincipal::ALL).prop_map(Known::Unknown)]
}

fn effects() -> impl Strategy<Value = Effect> {
    let columns = one_of(vec![Columns::None, Columns::All, Columns::Unknown, Columns::Named(vec!["id".into()])]);
    let relation = one_of(vec!["public.orders", "hr.salaries", "orders", "salaries", "other.orders"]);
    let object = prop_oneof![
        4 => relation.prop_map(|text| Object::Relation(name(text))),
        1 => one_of(vec![Object::Server, Object::Role(None), Object::Schema("hr".into())]),
    ];
    let made = (one_of(Action::ALL), object, columns, one_of(Condition::ALL));
    made.prop_map(|(action, object, columns, condition)| Effect { action, object, columns, condition })
}

fn statements() -> impl Strategy<Value = StatementFacts> {
    let opaque = prop::collection::vec(one_of(OpaqueReason::ALL), 0..2);
    let opaque = prop_oneof![3 => Just(Vec::new()), 1 => opaque];
    (prop::collection::vec(effects(), 0..3), opaque)
        .prop_map(|(effects, opaque)| StatementFacts { opaque, ..statement("SELECT", effects) })
}

fn sessions() -> impl Strategy<Value = SessionContext> {
    (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), -720..720_i16).prop_map(
        |(unix, encrypted, local, in_transaction, offset)| SessionContext {
            transport: if unix { Transport::Unix } else { Transport::Tcp },
            process: local.then(process),
            utc_offset: UtcOffset::new(offset).unwrap_or_default(),
            encrypted,
            in_transaction,
            ..session()
        },
    )
}

fn cases() -> impl Strategy<Value = Case> {
    let week = NOON.0..NOON.0 + 7 * 86_400_000_000_000;
    (whoever(), statements(), sessions(), week.prop_map(WallTime)).prop_map(|(who, facts, session, now)| Case {
        who,
        facts,
        session,
        now,
    })
}

/// The case with everything changed that a decision says it does not read.
fn unread(case: &Case, other: &Case, reads: Reads) -> Case {
    let mut changed = case.clone();
    macro_rules! change {
        ($($field:ident: $name:ident),+) => {
            $(if !reads.contains(Field::$field) { changed.session.$name = other.session.$name.clone(); })+
        };
    }
    change!(Transport: transport, Encrypted: encrypted, InTransaction: in_transaction);
    if !reads.contains(Field::Process) && !reads.contains(Field::Exe) {
        changed.session.process.clone_from(&other.session.process);
    }
    changed
}

fn no_denial(verdict: &Verdict) -> bool {
    verdict.denial.is_none()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn a_forbid_more_never_permits_more(case in cases(), with in 0..FORBIDS.len()) {
        let (before, after) = (case.decide(&BASE), case.decide(&WITH[with]));
        prop_assert!(no_denial(before.verdict()) || !no_denial(after.verdict()));
    }

    #[test]
    fn a_kept_decision_is_the_one_that_would_be_made(case in cases(), other in cases(), with in 0..FORBIDS.len()) {
        let set = &WITH[with];
        let kept = case.decide(set);
        let (reads, not_after) = reads(&kept);
        let mut later = unread(&case, &other, reads);
        later.now = not_after.map_or(other.now, |last| last);
        let made = later.decide(set);
        prop_assert_eq!(made.verdict(), kept.verdict());
    }

    #[test]
    fn an_unknown_schema_is_allowed_only_where_each_schema_is(case in cases(), schema in "public|hr|other|zzz") {
        let mut known = case.clone();
        for effect in &mut known.facts.effects {
            if let Object::Relation(name) = &mut effect.object && name.schema.known().is_none() {
                name.schema = Known::Known(schema.as_str().into());
            }
        }
        for set in std::iter::once(&*BASE).chain(WITH.iter()) {
            if no_denial(case.decide(set).verdict()) {
                prop_assert!(no_denial(known.decide(set).verdict()));
            }
        }
    }

    #[test]
    fn nobody_known_gets_nothing_that_somebody_is_named_for(case in cases(), reason in one_of(UnknownPrincipal::ALL)) {
        let decision = Case { who: Known::Unknown(reason), ..case }.decide(&BASE);
        let allowed: Vec<_> = decision.verdict().allowed_by.iter().map(|id| &**id).collect();
        prop_assert!(allowed.is_empty() || allowed == ["columns"]);
    }
}

/// Scopes, each as a head and as the condition that says the same.
const PRINCIPALS: [(&str, &str); 8] = [
    ("principal", "true"),
    ("principal is Person", "principal is Person"),
    ("principal is Unknown", "principal is Unknown"),
    ("principal == Agent::\"somebody\"", "principal == Agent::\"somebody\""),
    ("principal == Unknown::\"no_proof\"", "principal == Unknown::\"no_proof\""),
    ("principal in Group::\"analysts\"", "principal in Group::\"analysts\""),
    ("principal in Service::\"somebody\"", "principal in Service::\"somebody\""),
    ("principal is Service in Group::\"analysts\"", "principal is Service in Group::\"analysts\""),
];
const RESOURCES: [(&str, &str); 9] = [
    ("resource", "true"),
    ("resource is Relation", "resource is Relation"),
    ("resource is Database", "resource is Database"),
    ("resource == Database::\"shop\"", "resource == Database::\"shop\""),
    ("resource in Database::\"other\"", "resource in Database::\"other\""),
    ("resource in Environment::\"production\"", "resource in Environment::\"production\""),
    ("resource in Schema::\"hr\"", "resource in Schema::\"hr\""),
    ("resource is Relation in Schema::\"public\"", "resource is Relation in Schema::\"public\""),
    ("resource == Relation::\"public.orders\"", "resource == Relation::\"public.orders\""),
];
const CONDITIONS: [&str; 3] = ["true", "context.session.encrypted", "context.time.hour >= 8"];

/// One policy: its effect, and places in the lists above.
type Scoped = (bool, usize, usize, usize);

fn scoped() -> impl Strategy<Value = Vec<Scoped>> {
    let one = (prop::bool::weighted(0.3), 0..PRINCIPALS.len(), 0..RESOURCES.len(), 0..CONDITIONS.len());
    prop::collection::vec(one, 1..8)
}

/// The policies with scopes, and the same ones with conditions only: of these every one meets every request.
fn two_sets(policies: &[Scoped]) -> Option<(PolicySet, PolicySet)> {
    let mut texts = [String::new(), String::new()];
    for (number, (forbids, principal, resource, condition)) in policies.iter().enumerate() {
        let effect = if *forbids { "forbid" } else { "permit" };
        let (principal, resource, condition) = (PRINCIPALS[*principal], RESOURCES[*resource], CONDITIONS[*condition]);
        let head = format!("@id(\"p{number}\") @reason(\"r\") {effect}");
        texts[0] += &format!("{head} ({}, action, {}) when {{ {condition} }};\n", principal.0, resource.0);
        texts[1] += &format!(
            "{head} (principal, action, resource) when {{ {} }} when {{ {} }} when {{ {condition} }};\n",
            principal.1, resource.1
        );
    }
    let [scopes, conditions] = texts.map(|text| PolicySet::compile(&[file(text)], PolicyEpoch(7)));
    Some((scopes.ok()?, conditions.ok()?))
}

fn file(text: String) -> PolicyFile {
    PolicyFile { name: "test.cedar".to_owned(), text }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn policies_that_are_left_aside_would_have_decided_nothing(
        policies in scoped(),
        cases in prop::collection::vec(cases(), 1..8),
    ) {
        let sets = two_sets(&policies);
        prop_assert!(sets.is_some(), "{policies:?}");
        let Some((scopes, conditions)) = sets else { return Ok(()) };
        for case in cases {
            // Twice: what was put aside for the first is there for the second.
            for _ in 0..2 {
                let (with, without) = (case.decide(&scopes), case.decide(&conditions));
                prop_assert_eq!(with.verdict(), without.verdict());
            }
        }
    }
}

/// Conditions of which the text tells all, some, or nothing.
const ATOMS: [&str; 29] = [
    "principal is Person",
    "principal == Agent::\"somebody\"",
    "principal in Group::\"analysts\"",
    "principal is Service in Group::\"analysts\"",
    "principal in [Person::\"somebody\", Service::\"somebody\"]",
    "(!(principal is Unknown) && principal has on_behalf_of)",
    "(principal is Unknown || principal.proof == Proof::\"token\")",
    "resource is Relation",
    "resource in Schema::\"public\"",
    "resource in [Schema::\"hr\", Relation::\"other.orders\", Role::\"app\"]",
    "resource == Relation::\"public.orders\"",
    "Database::\"shop\" == resource",
    "(resource is Relation && resource.name like \"or*\")",
    "(resource is Relation && resource.name like \"*a*s\")",
    "(resource is Relation && resource has unknown_schema)",
    "context.condition != Condition::\"everything\"",
    "[Columns::\"all\", Columns::\"named\"].contains(context.columns_kind)",
    "(context has columns && [\"id\"].containsAll(context.columns))",
    "context.granted",
    "(context has process && context.process.exe like \"/usr/*\")",
    "(context has process && context.process has unit && context.process.unit == \"a\")",
    "context.session.encrypted",
    "[\"SELECT\", \"DELETE\"].contains(context.statement.command)",
    "context.session.transport == Transport::\"unix\"",
    "context.time.minute < 30",
    "12 <= context.time.hour",
    "[0, 1].contains(context.statement.effects)",
    "(context has process && context.process.uid != 1000)",
    // Fails in the second half of an hour.
    "9223372036854775807 - 30 + context.time.minute > 0",
];

fn conditions() -> impl Strategy<Value = String> {
    one_of(&ATOMS[..]).prop_map(str::to_owned).prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(left, right)| format!("({left} && {right})")),
            (inner.clone(), inner.clone()).prop_map(|(left, right)| format!("({left} || {right})")),
            inner.clone().prop_map(|inner| format!("!({inner})")),
            (inner.clone(), inner.clone(), inner)
                .prop_map(|(test, yes, no)| format!("(if {test} then {yes} else {no})")),
        ]
    })
}

/// Policies about SELECT, and the same ones so that their text tells nothing: Cedar evaluates each. What the validator
/// does not take, because it can never match, is left out.
fn told_and_untold(policies: &[(bool, String, String)]) -> Option<(PolicySet, PolicySet)> {
    let mut texts = [String::new(), String::new()];
    for (number, (forbids, when, unless)) in policies.iter().enumerate() {
        let effect = if *forbids { "forbid" } else { "permit" };
        let head =
            format!("@id(\"p{number}\") @reason(\"r\") {effect} (principal, action == Action::\"Select\", resource)");
        let hidden = |text: &str| format!("if context.time.hour + 1 > 0 then {text} else !({text})");
        let told = format!("{head} when {{ {when} }} unless {{ {unless} }};\n");
        let untold = format!("{head} when {{ {} }} unless {{ {} }};\n", hidden(when), hidden(unless));
        let taken = |text: &str| PolicySet::compile(&[file(text.to_owned())], PolicyEpoch(7)).is_ok();
        if taken(&told) && taken(&untold) {
            texts[0] += &told;
            texts[1] += &untold;
        }
    }
    let [told, untold] = texts.map(|text| PolicySet::compile(&[file(text)], PolicyEpoch(7)));
    Some((told.ok()?, untold.ok()?))
}

/// Cases that read, of something with or without a known schema.
fn reading() -> impl Strategy<Value = Case> {
    cases().prop_map(|mut case| {
        case.facts.opaque.clear();
        case.facts.effects.iter_mut().for_each(|effect| effect.action = Action::Select);
        case.facts.effects.truncate(1);
        case
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn what_the_text_of_a_policy_tells_is_what_cedar_says(
        policies in prop::collection::vec((prop::bool::weighted(0.4), conditions(), conditions()), 1..4),
        cases in prop::collection::vec((reading(), reading()), 1..40),
    ) {
        let sets = told_and_untold(&policies);
        prop_assert!(sets.is_some(), "{policies:?}");
        let Some((told, untold)) = sets else { return Ok(()) };
        for (case, other) in cases {
            let (with, without) = (case.decide(&told), case.decide(&untold));
            prop_assert_eq!(with.verdict(), without.verdict());
            // And what it says it depends on is all.
            let (reads, not_after) = reads(&with);
            let mut later = unread(&case, &other, reads);
            later.now = not_after.map_or(other.now, |last| last);
            let made = later.decide(&untold);
            prop_assert_eq!(made.verdict(), with.verdict());
        }
    }
}

/// Policies as people break them.
fn broken() -> impl Strategy<Value = String> {
    let shipped = concat!(
        include_str!("../../../policies/session.cedar"),
        include_str!("../../../policies/agents.cedar"),
        include_str!("../../../policies/business-hours.cedar"),
    );
    let tokens = one_of(vec![
        "permit",
        "forbid",
        "(",
        ")",
        "{",
        "}",
        "[",
        "]",
        "principal",
        "action",
        "resource",
        "context",
        ";",
        ",",
        "@id(\"x\")",
        "when",
        "unless",
        "if",
        "then",
        "else",
        "&&",
        "||",
        "!",
        "-",
        "==",
        "in",
        "has",
        "like",
        "is",
        "Action::\"Read\"",
        "\"",
        "//",
        "\n",
        "?principal",
        ".a",
        "1",
        "9223372036854775808",
        "ip(\"x\")",
        "\\u{0}",
        "\u{202e}",
        "true",
        "__cedar",
    ]);
    let soup = prop::collection::vec(tokens, 0..60).prop_map(|tokens| tokens.join(" "));
    let length = shipped.len();
    let cut = (0..length, 0..length, "\\PC{0,3}").prop_map(move |(from, to, with)| {
        let (from, to) = (from.min(to), from.max(to).min(from.min(to) + 40));
        let keep = |range: &[u8]| String::from_utf8_lossy(range).into_owned();
        keep(&shipped.as_bytes()[..from]) + &with + &keep(&shipped.as_bytes()[to..])
    });
    prop_oneof![3 => soup, 1 => cut, 1 => "\\PC{0,200}"]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn broken_policies_are_told_and_nothing_else_happens(text in broken()) {
        let file = PolicyFile { name: "broken.cedar".to_owned(), text };
        let lines = file.text.lines().count().max(1);
        if let Err(problems) = PolicySet::compile(&[file], PolicyEpoch(1)) {
            prop_assert!(!problems.is_empty());
            for problem in problems {
                prop_assert!(problem.line as usize <= lines + 1 && !problem.what.is_empty(), "{problem}");
            }
        }
    }
}

/// Shapes that make recursive code deep, as deep as the limits let in and deeper.
#[test]
fn deep_policies_end() {
    let shapes = ["true && ", "true || ", "!", "- ", "1 + ", "if true then true else ", "[", "(", "{a:", "-1 * "];
    for (shape, times, tail) in combinations(&shapes, &[30, 100, 128, 30_000], &["true", "1 == 1"]) {
        let condition = shape.repeat(times) + tail;
        let closed = condition.clone()
            + &match shape {
                "[" => "]".repeat(times),
                "(" => ")".repeat(times),
                "{a:" => "}".repeat(times),
                _ => String::new(),
            };
        for condition in [condition, closed, format!("context{}", ".a".repeat(times))] {
            let text =
                format!("@id(\"a\") @reason(\"r\") permit (principal, action, resource) when {{ {condition} }};");
            let file = PolicyFile { name: "deep.cedar".to_owned(), text };
            if let Ok(set) = PolicySet::compile(&[file], PolicyEpoch(1)) {
                // What the stack of this thread cannot hold is refused with the rule `error`, and nothing else happens.
                let outcome = outcome(&ask(&set, &alice(), &select("a.b")));
                assert!(["a", "-default", "-error"].contains(&&*outcome), "{outcome}");
            }
        }
    }
}

fn combinations<'a>(
    shapes: &'a [&str],
    times: &'a [usize],
    tails: &'a [&str],
) -> impl Iterator<Item = (&'a str, usize, &'a str)> {
    shapes.iter().flat_map(move |shape| {
        times.iter().flat_map(move |times| tails.iter().map(move |tail| (*shape, *times, *tail)))
    })
}
