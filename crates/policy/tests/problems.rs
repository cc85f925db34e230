//! What is wrong with policies is told: everything at once, with place and remedy.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot be set up has failed"
)]

use model::verdict::PolicyEpoch;
use policy::{PolicyFile, PolicySet};

fn problems(text: &str) -> Vec<String> {
    let file = PolicyFile { name: "a.cedar".to_owned(), text: text.to_owned() };
    match PolicySet::compile(&[file], PolicyEpoch(1)) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().map(ToString::to_string).collect(),
    }
}

/// Each line of `expected` is the beginning of a problem and, after `..`, a part of it.
fn check(text: &str, expected: &[&str]) {
    let found = problems(text);
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        let (place, part) = expected.split_once("..").unwrap();
        assert!(found.starts_with(place) && found.contains(part), "{found}\n{expected}");
    }
}

const ALL: &str = r#"@id("all") @reason("r") permit (principal, action, resource);"#;

#[test]
fn a_right_set_has_none() {
    check(ALL, &[]);
    check("// nothing\n", &[]);
}

#[test]
fn mistakes_of_grammar_are_told_for_each_policy() {
    let text = "// a comment; with a semicolon\n\
        @id(\"a\") @reason(\"it's; fine\")\npermit (principal, action);\n\npermit (principal, action, resource";
    check(text, &["a.cedar:3:..resource", "a.cedar:5:.."]);
}

#[test]
fn the_validator_is_obeyed() {
    let policy =
        |condition: &str| format!("{ALL}\n\n{}\nwhen {{ {condition} }};", ALL.replace("all", "b").replace(';', ""));
    check(&policy("context.sesion.user == \"x\""), &["a.cedar:4:8..sesion"]);
    check(&policy("context.session.user == 1"), &["a.cedar:4:8..types"]);
    check(&policy("principal.on_behalf_of == \"x\""), &["a.cedar:4:8.."]);
    // A warning: it never applies.
    check(&policy("context has session && false"), &["a.cedar:3:1..evaluates to false"]);
}

#[test]
fn words_that_do_not_exist_are_found() {
    let policy = r#"@id("a") @reason("r") forbid (principal, action == Action::"Delete", resource)
when { context.condition == Condition::"everthing" };"#;
    check(policy, &["a.cedar:2:..everthing"]);
    let policy = r#"@id("a") @reason("r") forbid (principal, action == Action::"Delet", resource);"#;
    assert!(!problems(policy).is_empty());
}

#[test]
fn names_that_nothing_can_have_are_found() {
    let policy =
        |id: &str| format!(r#"@id("a") @reason("r") permit (principal, action, resource == Relation::"{id}");"#);
    check(&policy("public.customers"), &[]);
    check(&policy("?.customers"), &[]);
    check(&policy("customers"), &["a.cedar:1:1..not a schema and a name"]);
    check(&policy("shop.public.customers"), &["a.cedar:1:1..not a schema and a name"]);
}

#[test]
fn annotations_are_checked() {
    let with = |annotations: &str| format!("{annotations}permit (principal, action, resource);");
    check(&with(""), &["a.cedar:1:1..no @id", "a.cedar:1:1..no @reason"]);
    check(&with(r#"@id("A b") @reason("r")"#), &["a.cedar:1:1..@id is not a name"]);
    check(&with(r#"@id("default") @reason("r")"#), &["a.cedar:1:1..default"]);
    check(&with(r#"@id("a") @reason(" ")"#), &["a.cedar:1:1..no @reason"]);
    check(&with(r#"@id("a") @reason("r") @max_row("1")"#), &["a.cedar:1:1..@max_row is not"]);
    for bound in ["0", "-1", "many", "1.5", "99999999999999999999999"] {
        check(&with(&format!(r#"@id("a") @reason("r") @max_rows("{bound}")"#)), &["a.cedar:1:1..@max_rows is not"]);
    }
    let forbid = with(r#"@id("a") @reason("r") @max_rows("1")"#).replace("permit", "forbid");
    check(&forbid, &["a.cedar:1:1..@max_rows on a forbid"]);
}

#[test]
fn an_id_is_given_once() {
    check(&format!("{ALL}\n{ALL}"), &["a.cedar:2:1..taken by a.cedar:1"]);
}

#[test]
fn templates_are_refused() {
    let template = r#"@id("a") @reason("r") permit (principal == ?principal, action, resource);"#;
    assert!(!problems(template).is_empty());
}

#[test]
fn limits_hold() {
    let deep = |depth: usize| ALL.replace(';', &format!(" when {{ {}true{} }};", "(".repeat(depth), ")".repeat(depth)));
    check(&deep(20), &[]);
    let long = |terms: usize| ALL.replace(';', &format!(" when {{ {}true }};", "true || ".repeat(terms)));
    check(&long(128), &[]);
    check(&long(129), &["a.cedar:1:1..operators"]);
    check(&deep(100_000), &["a.cedar:1:1..bytes"]);
    check(&deep(10_000), &["a.cedar:1:1..nested"]);
    check(&ALL.repeat(5000), &["a.cedar:1:..more than 4096 policies"]);
    check(&" ".repeat(2 << 20), &["a.cedar:1:1..more than 1048576 bytes"]);
}

#[test]
fn what_the_policies_say_has_a_digest_and_their_layout_has_none() {
    let digest = |texts: &[&str]| {
        let file = |text: &&str| PolicyFile { name: "f".to_owned(), text: (*text).to_owned() };
        PolicySet::compile(&texts.iter().map(file).collect::<Vec<_>>(), PolicyEpoch(1)).unwrap().digest()
    };
    let other = ALL.replace("all", "b");
    let same = digest(&[ALL, &other]);
    assert_eq!(same, digest(&[&format!("// why\n{other}\n\n{}", ALL.replace(' ', "\n  "))]));
    assert_ne!(same, digest(&[ALL]));
    assert_ne!(same, digest(&[&ALL.replace("\"r\"", "\"s\""), &other]));
    assert_ne!(same, digest(&[&ALL.replace("permit", "forbid"), &other]));
}

#[test]
fn policies_are_listed_as_they_are_written() {
    let text = "\n@id(\"a\")\n@reason(\"why\") @remedy(\"do\") forbid (principal, action, resource);";
    let file = PolicyFile { name: "x.cedar".to_owned(), text: text.to_owned() };
    let set = PolicySet::compile(&[file], PolicyEpoch(3)).unwrap();
    assert_eq!(set.epoch(), PolicyEpoch(3));
    let policy = set.policies().next().unwrap();
    assert_eq!((&*policy.id, &*policy.reason, &*policy.remedy), ("a", "why", "do"));
    assert_eq!((&*policy.file, policy.line, policy.effect), ("x.cedar", 2, policy::PolicyEffect::Forbid));
}
