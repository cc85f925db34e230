//! Who may ask for what under the shipped library, on which terms, and who may decide.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot be set up has failed")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use model::access::{Holder, Scope};
use model::principal::{Actor, Principal, PrincipalKind, Proof};
use model::time::WallTime;
use model::verdict::PolicyEpoch;
use policy::{GrantQuestion, PolicyFile, PolicySet, UtcOffset, Wants};

const HOUR: u64 = 3_600_000_000_000;

static SHIPPED: LazyLock<PolicySet> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|extension| extension == "cedar"));
    let file = |path: &Path| PolicyFile { name: path.display().to_string(), text: fs::read_to_string(path).unwrap() };
    set(&files.map(|path| file(&path)).collect::<Vec<_>>())
});

fn set(files: &[PolicyFile]) -> PolicySet {
    PolicySet::compile(files, PolicyEpoch(1)).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

fn actor(kind: PrincipalKind, id: &str) -> Actor {
    Actor { kind, id: id.into(), issuer: "https://login.example.com".into() }
}

fn principal(kind: PrincipalKind, groups: &[&str], acting_for: Vec<Actor>) -> Principal {
    Principal {
        actor: actor(kind, "somebody"),
        groups: groups.iter().map(|group| Arc::from(*group)).collect(),
        acting_for,
        proof: Proof::Token,
        expires: None,
        purpose: None,
    }
}

fn person(groups: &[&str]) -> Principal {
    principal(PrincipalKind::Person, groups, Vec::new())
}

fn agent(groups: &[&str]) -> Principal {
    principal(PrincipalKind::Agent, groups, vec![actor(PrincipalKind::Person, "alice@example.com")])
}

/// Approvals and hours of the terms, or the rule that refuses.
fn decide(
    set: &PolicySet,
    who: &Principal,
    wants: Wants<'_>,
    actions: &[&str],
) -> Result<(Option<u8>, Option<u64>), String> {
    let scope = Scope {
        database: "shop".into(),
        sql_database: None,
        actions: actions.iter().map(|action| Arc::from(*action)).collect(),
        relations: BTreeSet::from(["public.orders".into()]),
    };
    let question = GrantQuestion {
        principal: who,
        wants,
        scope: &scope,
        duration: HOUR,
        purpose: "cleaning",
        ticket: None,
        once: false,
        renewal: false,
        environment: "production",
        now: WallTime(1_800_000_000_000_000_000),
        utc_offset: UtcOffset::default(),
    };
    let found = set.decide_grant(&question).map_err(|denial| denial.rule.to_string())?;
    Ok((found.terms.approvals, found.terms.max_duration.map(|nanos| nanos / HOUR)))
}

#[test]
fn the_tightest_terms_of_all_that_let_somebody_ask_hold() {
    let ask = |who: &Principal, actions: &[&str]| decide(&SHIPPED, who, Wants::Request, actions);
    assert_eq!(ask(&person(&["engineers"]), &["Delete"]), Ok((Some(1), Some(8))));
    assert_eq!(ask(&agent(&["engineers"]), &["Delete"]), Ok((Some(1), Some(1))));
    assert_eq!(ask(&person(&["engineers"]), &["Ddl"]), Ok((Some(2), Some(2))), "a group stands for its members");
    assert_eq!(ask(&agent(&["engineers"]), &["Alter", "Select"]), Ok((Some(2), Some(1))));
    let alone = principal(PrincipalKind::Agent, &["engineers"], Vec::new());
    assert_eq!(ask(&alone, &["Select"]), Err("grants-agents-ask-for-somebody".into()));
    assert_eq!(ask(&person(&["engineers"]), &["Admin"]), Err("grants-not-for-the-server".into()));
    assert_eq!(ask(&person(&["analysts"]), &["Select"]), Err("default".into()));
}

#[test]
fn a_policy_about_every_action_lets_nobody_ask_or_decide() {
    // break-glass.cedar permits these people every `action`.
    let glass = principal(PrincipalKind::Person, &["break-glass"], Vec::new());
    let glass = Principal { purpose: Some("INC-1".into()), ..glass };
    assert_eq!(decide(&SHIPPED, &glass, Wants::Request, &["Select"]), Err("default".into()));
    let all = PolicyFile {
        name: "all.cedar".into(),
        text: "@id(\"all\") @reason(\"all\") permit (principal, action, resource);".into(),
    };
    assert_eq!(decide(&set(&[all]), &glass, Wants::BreakGlass, &["Select"]), Err("default".into()));
}

#[test]
fn who_decides_may_depend_on_how_long_nobody_did() {
    let requester = Holder { actor: actor(PrincipalKind::Person, "alice@example.com"), acting_for: Vec::new() };
    let approve = |escalated| Wants::Approve { requester: &requester, break_glass: false, escalated };
    assert!(decide(&SHIPPED, &person(&["approvers"]), approve(false), &["Delete"]).is_ok());
    assert!(decide(&SHIPPED, &agent(&["approvers"]), approve(false), &["Delete"]).is_err(), "agents approve nothing");
    let administrator = person(&["database-administrators"]);
    assert_eq!(decide(&SHIPPED, &administrator, approve(false), &["Delete"]), Err("default".into()));
    assert!(decide(&SHIPPED, &administrator, approve(true), &["Delete"]).is_ok());
}

#[test]
fn terms_stand_where_they_mean_something() {
    let problems = |text: &str| {
        let file = PolicyFile { name: "a.cedar".into(), text: text.into() };
        let problems = PolicySet::compile(&[file], PolicyEpoch(1)).unwrap_err();
        problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    let policy = |annotation: &str, action: &str| {
        format!("@id(\"a\") @reason(\"a\") {annotation} permit (principal, action == Action::\"{action}\", resource);")
    };
    assert!(problems(&policy("@approvals(\"2\")", "Select")).contains("says on which terms"));
    assert!(problems(&policy("@approvals(\"9\")", "RequestGrant")).contains("number from 0 to 8"));
    assert!(problems(&policy("@max_duration(\"8\")", "RequestGrant")).contains("not a time"));
    assert!(problems(&policy("@max_duration(\"91d\")", "BreakGlass")).contains("not a time"));
    let unknown = "@id(\"a\") @reason(\"a\") permit (principal, action, resource) when { context.asked.once };";
    assert!(problems(unknown).contains("asked"), "a policy about statements knows nothing of requests");
}

#[test]
fn a_scope_that_looks_like_more_than_it_is_is_none() {
    let check = |sql_database: Option<&str>, relation: &str| {
        let scope = Scope {
            database: "shop".into(),
            sql_database: sql_database.map(Arc::from),
            actions: BTreeSet::from(["Read".into()]),
            relations: BTreeSet::from([relation.into()]),
        };
        policy::granted::check(&scope).is_ok()
    };
    for relation in ["*", "public.*", "public.orders", "public.Orders"] {
        assert!(check(None, relation) && check(Some("shop"), relation), "{relation}");
    }
    for relation in ["*.*", "*.orders", "pub*.orders", "public.ord*", "public.**", "public.orders ", " *", "orders", ""]
    {
        assert!(!check(None, relation), "{relation}");
    }
    assert!(!check(Some(""), "public.orders"));
}

#[test]
fn what_an_agent_holds_answers_to_the_person_behind_it() {
    let holder = Holder::from(&agent(&[]));
    let alice = |acting_for| Holder { actor: actor(PrincipalKind::Person, "alice@example.com"), acting_for };
    assert!(holder.answers_to(&holder) && holder.answers_to(&alice(Vec::new())));
    assert!(!alice(Vec::new()).answers_to(&holder), "but not the other way round");
    assert!(!holder.answers_to(&alice(vec![actor(PrincipalKind::Person, "bob")])), "nor to who acts for another one");
    assert!(!holder.answers_to(&Holder::from(&person(&[]))));
}
