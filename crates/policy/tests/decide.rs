//! What a set decides.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot be set up has failed"
)]

mod support;

use model::Known;
use model::access::GrantId;
use model::facts::{Action, Columns, Condition, Effect, Object, OpaqueReason};
use model::principal::{PrincipalKind, UnknownPrincipal};
use model::verdict::Mode;
use policy::reads::Field;
use policy::{Asked, Decision, Question};
use support::*;

const READERS: &str = r#"
@id("readers")
@reason("Analysts read.")
permit (principal in Group::"analysts", action in Action::"Read", resource in Database::"shop");
"#;

fn check(policies: &str, who: &Who, relation: &str, expected: &str) {
    assert_eq!(outcome(&ask(&set(policies), who, &select(relation))), expected, "{relation}");
}

#[test]
fn nothing_is_allowed_without_a_policy() {
    check("", &alice(), "public.orders", "-default");
}

#[test]
fn a_permit_allows_what_it_says_and_no_more() {
    check(READERS, &alice(), "public.orders", "readers");
    let bob = Known::Known(who(PrincipalKind::Person, "bob@example.com", &[]));
    check(READERS, &bob, "public.orders", "-default");
    let delete = statement("DELETE", [effect(Action::Delete, "public.orders")]);
    assert_eq!(outcome(&ask(&set(READERS), &alice(), &delete)), "-default");
}

#[test]
fn a_statement_is_allowed_only_if_each_of_its_effects_is() {
    let both = [effect(Action::Select, "public.orders"), effect(Action::Insert, "public.copies")];
    let decision = ask(&set(READERS), &alice(), &statement("INSERT", both));
    let denial = decision.verdict().denial.clone().unwrap();
    assert_eq!((&*denial.rule, &*denial.what), ("default", "INSERT of relation public.copies"));
}

#[test]
fn forbid_wins_and_tells_why() {
    let policies = format!(
        "{READERS}
        @id(\"no-salaries\") @reason(\"Salaries are private.\") @remedy(\"Ask HR.\")
        forbid (principal, action, resource == Relation::\"hr.salaries\");"
    );
    check(&policies, &alice(), "public.orders", "readers");
    let decision = ask(&set(&policies), &alice(), &select("hr.salaries"));
    let denial = decision.verdict().denial.clone().unwrap();
    assert_eq!((&*denial.rule, &*denial.reason, &*denial.remedy), ("no-salaries", "Salaries are private.", "Ask HR."));
    assert_eq!(denial.sqlstate, "42501");
}

#[test]
fn a_relation_without_a_known_schema_must_be_allowed_wherever_it_may_be() {
    check(READERS, &alice(), "orders", "readers");
    let forbidden = r#"@id("f") @reason("r") forbid (principal, action, resource in Schema::"hr");"#;
    check(&format!("{READERS}{forbidden}"), &alice(), "salaries", "-f");
    let except = READERS.replace(';', " unless { resource in Schema::\"hr\" };");
    check(&except, &alice(), "public.orders", "readers");
    check(&except, &alice(), "salaries", "-default");
    let only = r#"@id("p") @reason("r") permit (principal, action, resource == Relation::"public.orders");"#;
    check(only, &alice(), "public.orders", "p");
    check(only, &alice(), "orders", "-default");
}

#[test]
fn unknown_schemas_can_be_spoken_about() {
    let refuse = r#"@id("f") @reason("r") forbid (principal, action, resource is Relation)
        when { resource has unknown_schema && resource.unknown_schema == UnknownSchema::"no_catalogue" };"#;
    check(&format!("{READERS}{refuse}"), &alice(), "public.orders", "readers");
    check(&format!("{READERS}{refuse}"), &alice(), "orders", "-f");
}

#[test]
fn nobody_known_is_in_no_group() {
    let unknown = Known::Unknown(UnknownPrincipal::SharedPool);
    check(READERS, &unknown, "public.orders", "-default");
    let pools = r#"@id("pools") @reason("r") permit (principal == Unknown::"shared_pool", action, resource);"#;
    check(pools, &unknown, "public.orders", "pools");
    check(pools, &Known::Unknown(UnknownPrincipal::NoProof), "public.orders", "-default");
    check(pools, &Known::Known(who(PrincipalKind::Person, "shared_pool", &[])), "public.orders", "-default");
}

#[test]
fn an_agent_is_told_from_the_person_it_acts_for() {
    let policies = r#"@id("p") @reason("r") permit (principal == Agent::"helper", action, resource)
        when { principal has on_behalf_of && principal.on_behalf_of == "alice@example.com" };"#;
    let mut agent = who(PrincipalKind::Agent, "helper", &[]);
    check(policies, &Known::Known(agent.clone()), "a.b", "-default");
    agent.acting_for = vec![actor(PrincipalKind::Service, "desk"), actor(PrincipalKind::Person, "alice@example.com")];
    check(policies, &Known::Known(agent), "a.b", "p");
    check(policies, &alice(), "a.b", "-default");
}

#[test]
fn what_is_not_understood_needs_a_permission_of_its_own() {
    let decide = |policies: &str, reason| {
        let (who, session) = (alice(), session());
        set(policies).decide(&Question {
            principal: &who,
            facts: Asked::Opaque(reason),
            session: &session,
            grants: &[],
            now: NOON,
        })
    };
    assert_eq!(decide(READERS, OpaqueReason::Syntax).verdict().denial.clone().unwrap().sqlstate, "42601");
    assert_eq!(decide(READERS, OpaqueReason::Construct).verdict().denial.clone().unwrap().sqlstate, "42501");
    let syntax = r#"@id("syntax") @reason("r") permit (principal, action == Action::"Opaque", resource)
        when { context.reason == OpaqueReason::"syntax" };"#;
    assert_eq!(outcome(&decide(syntax, OpaqueReason::Syntax)), "syntax");
    assert_eq!(outcome(&decide(syntax, OpaqueReason::Code)), "-default");
    let mut facts = select("public.orders");
    facts.opaque.push(OpaqueReason::DynamicSql);
    assert_eq!(outcome(&ask(&set(READERS), &alice(), &facts)), "-default");
}

#[test]
fn a_statement_that_touches_nothing_is_asked_about_too() {
    let compute = r#"@id("session") @reason("r") permit (principal is Person, action in Action::"Session", resource);"#;
    assert_eq!(outcome(&ask(&set(READERS), &alice(), &statement("SELECT", []))), "-default");
    assert_eq!(outcome(&ask(&set(compute), &alice(), &statement("SELECT", []))), "session");
}

#[test]
fn opening_and_replication_are_asked_about() {
    let policies = r#"@id("open") @reason("r") permit (principal, action == Action::"Connect", resource);"#;
    let (who, session) = (alice(), session());
    let decide =
        |facts| set(policies).decide(&Question { principal: &who, facts, session: &session, grants: &[], now: NOON });
    assert_eq!(outcome(&decide(Asked::Connect)), "open");
    assert_eq!(outcome(&decide(Asked::Replication)), "-default");
}

#[test]
fn the_condition_and_the_columns_can_decide() {
    let policies = r#"
        @id("deletes") @reason("r") permit (principal, action == Action::"Delete", resource)
        when { context.condition == Condition::"some" };
        @id("names") @reason("r") permit (principal, action == Action::"Select", resource)
        when { context has columns && ["id", "name"].containsAll(context.columns) };"#;
    let delete = |condition| {
        let effect = Effect { condition, ..effect(Action::Delete, "public.orders") };
        ask(&set(policies), &alice(), &statement("DELETE", [effect]))
    };
    assert_eq!(outcome(&delete(Condition::Some)), "deletes");
    let decision = delete(Condition::Everything);
    assert_eq!(&*decision.verdict().denial.clone().unwrap().what, "DELETE of every row of relation public.orders");
    let select = |columns| {
        let effect = Effect { columns, ..effect(Action::Select, "public.orders") };
        outcome(&ask(&set(policies), &alice(), &statement("SELECT", [effect])))
    };
    assert_eq!(select(Columns::Named(vec!["id".into()])), "names");
    assert_eq!(select(Columns::None), "names");
    for columns in [Columns::All, Columns::Unknown, Columns::Named(vec!["id".into(), "ssn".into()])] {
        assert_eq!(select(columns), "-default");
    }
}

#[test]
fn a_drop_is_named_as_people_name_it() {
    let drop = statement("DROP TABLE", [effect(Action::Drop, "public.customers")]);
    let denial = ask(&set(""), &alice(), &drop).verdict().denial.clone().unwrap();
    assert_eq!(&*denial.what, "DROP of table public.customers");
    let object = Object::Other { kind: "EXTENSION".into(), name: Some(name("pgcrypto")) };
    let drop = statement("DROP EXTENSION", [Effect { object, ..effect(Action::Drop, "x") }]);
    let denial = ask(&set(""), &alice(), &drop).verdict().denial.clone().unwrap();
    assert_eq!(&*denial.what, "DROP of extension pgcrypto");
}

#[test]
fn the_tightest_bound_of_all_that_allow_holds() {
    let policies = r#"
        @id("a") @reason("r") @max_rows("100") @max_bytes("5000") permit (principal, action, resource);
        @id("b") @reason("r") @max_rows("1000") @rate_per_minute("6") permit (principal is Person, action, resource);
        @id("c") @reason("r") @max_rows("1") permit (principal is Agent, action, resource);"#;
    let decision = ask(&set(policies), &alice(), &select("a.b"));
    assert_eq!(outcome(&decision), "a,b");
    let bounds = decision.verdict().obligations;
    assert_eq!((bounds.rows_max, bounds.bytes_max, bounds.runtime_max), (Some(100), Some(5000), None));
    assert_eq!(bounds.rate_per_minute, Some(6));
}

#[test]
fn a_policy_that_cannot_be_evaluated_refuses() {
    let policies = r#"
        @id("all") @reason("r") permit (principal, action, resource);
        @id("broken") @reason("r") forbid (principal, action in Action::"Read", resource)
        when { context.time.date * 9223372036854775807 == 1 };"#;
    let decision = ask(&set(policies), &alice(), &select("a.b"));
    assert_eq!(outcome(&decision), "-error");
    let Decision::Refusal(refusal) = decision else { panic!("{decision:?}") };
    assert!(!refusal.is_cacheable());
}

#[test]
fn a_refusal_is_tolerated_unless_the_mode_enforces() {
    let refusal = || match ask(&set(""), &alice(), &select("a.b")) {
        Decision::Refusal(refusal) => refusal,
        other => panic!("{other:?}"),
    };
    assert_eq!(refusal().tolerated(Mode::Enforce), None);
    for mode in [Mode::Observe, Mode::Warn] {
        let permit = refusal().tolerated(mode).unwrap();
        assert_eq!(permit.verdict().mode, mode);
        assert_eq!(&*permit.verdict().denial.clone().unwrap().rule, "default");
    }
}

#[test]
fn a_parameter_or_role_that_is_not_known_may_be_any_that_is_named() {
    let policies = r#"
        @id("all") @reason("r") permit (principal, action, resource);
        @id("role") @reason("r") forbid (principal, action, resource == Role::"postgres");
        @id("parameter") @reason("r") forbid (principal, action, resource == Parameter::"row_security");"#;
    let decide = |action, object| {
        let effect = Effect { object, ..effect(action, "a.b") };
        outcome(&ask(&set(policies), &alice(), &statement("SET", [effect])))
    };
    assert_eq!(decide(Action::SetParameter, Object::Parameter(Some("work_mem".into()))), "all");
    assert_eq!(decide(Action::SetParameter, Object::Parameter(None)), "-parameter");
    assert_eq!(decide(Action::SetRole, Object::Role(Some("app".into()))), "all");
    assert_eq!(decide(Action::SetRole, Object::Role(None)), "-role");
}

const ATTENDED: &str = r#"
@id("all") @reason("Everything is allowed.")
permit (principal, action, resource);
@id("writes-wait") @reason("Somebody looks at writes first.") @remedy("Read instead.")
forbid (principal, action == Action::"RunUnattended", resource in Schema::"public")
when { context.verb_group == VerbGroup::"Write" && context.verb != Verb::"Insert" };
"#;

#[test]
fn what_must_not_run_unattended_is_held() {
    let set = set(ATTENDED);
    let held = |action, relation| {
        let decision = ask(&set, &alice(), &statement("X", [effect(action, relation)]));
        assert_eq!(decision.verdict().denial, None);
        match decision {
            Decision::Hold(hold) => hold.verdict().hold.as_ref().map(|hold| hold.what.to_string()),
            Decision::Permit(permit) => permit.verdict().hold.as_ref().map(|hold| panic!("{hold:?}")),
            Decision::Refusal(refusal) => panic!("{refusal:?}"),
        }
    };
    assert_eq!(held(Action::Delete, "public.orders").as_deref(), Some("DELETE of relation public.orders"));
    // A relation in an unknown schema may be in that one.
    assert_eq!(held(Action::Delete, "orders").as_deref(), Some("DELETE of relation orders"));
    for (action, relation) in
        [(Action::Delete, "hr.salaries"), (Action::Insert, "public.orders"), (Action::Select, "public.orders")]
    {
        assert_eq!(held(action, relation), None);
    }
}

#[test]
fn a_set_that_says_nothing_about_it_lets_everything_run_unattended() {
    assert!(matches!(ask(&set(READERS), &alice(), &select("public.orders")), Decision::Permit(_)));
    // Once a policy speaks of it, what none permits waits.
    let only = r#"@id("services") @reason("Services run.") permit (principal is Service, action == Action::"RunUnattended", resource);"#;
    let Decision::Hold(hold) = ask(&set(&format!("{READERS}{only}")), &alice(), &select("public.orders")) else {
        panic!("it is not held")
    };
    let why = hold.verdict().hold.clone().unwrap();
    assert_eq!((&*why.rule, &*why.reason), ("default", "no policy lets it run unattended"));
    assert!(hold.clone().tolerated(Mode::Enforce).is_none());
    assert!(hold.clone().tolerated(Mode::Warn).is_some());
    let grant = GrantId::new(7);
    assert_eq!(hold.released(grant).verdict().hold.clone().unwrap().grant, Some(grant));
}

#[test]
fn what_is_refused_waits_for_nobody() {
    let refused =
        format!("{ATTENDED} @id(\"f\") @reason(\"No.\") forbid (principal, action == Action::\"Delete\", resource);");
    let decision = ask(&set(&refused), &alice(), &statement("DELETE", [effect(Action::Delete, "public.orders")]));
    assert_eq!((outcome(&decision).as_str(), &decision.verdict().hold), ("-f", &None));
}

#[test]
fn what_cannot_be_decided_about_running_unattended_is_refused() {
    let wrong = r#"
        @id("all") @reason("r") permit (principal, action, resource);
        @id("overflows") @reason("r") forbid (principal, action == Action::"RunUnattended", resource)
        when { context.statement.effects + 9223372036854775807 > 0 };"#;
    assert_eq!(outcome(&ask(&set(wrong), &alice(), &select("public.orders"))), "-error");
}

#[test]
fn what_is_not_understood_can_be_held() {
    let opaque = r#"
        @id("all") @reason("r") permit (principal, action, resource);
        @id("look") @reason("r") forbid (principal, action == Action::"RunUnattended", resource)
        when { context.verb == Verb::"Opaque" && context has reason && context.reason == OpaqueReason::"code" };"#;
    let (set, who, session) = (set(opaque), alice(), session());
    let ask = |reason| {
        set.decide(&Question {
            principal: &who,
            facts: Asked::Opaque(reason),
            session: &session,
            grants: &[],
            now: NOON,
        })
    };
    assert!(matches!(ask(OpaqueReason::Code), Decision::Hold(_)));
    assert!(matches!(ask(OpaqueReason::Syntax), Decision::Permit(_)));
}

#[test]
fn a_policy_about_something_else_does_not_make_a_decision_depend_on_what_it_reads() {
    let set = set(r#"
        @id("all") @reason("r") permit (principal, action == Action::"Select", resource);
        @id("hr") @reason("r") forbid (principal, action == Action::"Select", resource)
            when { resource in Schema::"hr" && (context.time.minute < 30 || context has process) };"#);
    let check = |relation: &str, outcomes: &str, expected: &[Field]| {
        let decision = ask(&set, &alice(), &select(relation));
        assert_eq!(outcome(&decision), outcomes, "{relation}");
        let reads = match &decision {
            Decision::Permit(permit) => permit.reads(),
            Decision::Hold(hold) => hold.reads(),
            Decision::Refusal(refusal) => refusal.reads(),
        };
        assert_eq!(reads.fields().filter(|field| expected.contains(field)).count(), expected.len(), "{relation}");
        assert_eq!(decision.not_after().is_some(), expected.contains(&Field::Minute), "{relation}");
        assert_eq!(reads.contains(Field::Process), expected.contains(&Field::Process), "{relation}");
    };
    check("public.orders", "all", &[]);
    // 12:34, and nobody knows the process.
    check("hr.salaries", "all", &[Field::Minute, Field::Process]);
    check("salaries", "all", &[Field::Minute, Field::Process]);
}
