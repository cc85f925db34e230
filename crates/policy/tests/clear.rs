//! Reading in clear: a permission of its own.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;

use model::lineage::StoredColumn;
use policy::{Asked, Decision, Protected, Question};
use support::{NOON, alice, session, set};

const ALL: &str = r#"@id("all") @reason("everything") permit (principal, action, resource);"#;

fn may_read(policies: &str, column: [&str; 3], tags: &[&str]) -> bool {
    let [schema, relation, name] = column.map(Arc::from);
    let column = StoredColumn { schema, relation, name };
    let tags: BTreeSet<Arc<str>> = tags.iter().map(|tag| Arc::from(*tag)).collect();
    let protected = Protected { column: &column, tags: &tags };
    let (principal, session) = (alice(), session());
    let question = Question {
        principal: &principal,
        facts: Asked::ReadClear(&protected),
        session: &session,
        grants: &[],
        now: NOON,
    };
    matches!(set(policies).decide(&question), Decision::Permit(_))
}

fn with(rest: &str) -> String {
    format!("{ALL}\n@id(\"clear\") @reason(\"clear\") {rest}")
}

#[test]
fn a_permission_for_everything_does_not_include_it() {
    let ssn = ["public", "people", "ssn"];
    assert!(!may_read(ALL, ssn, &[]));
    assert!(may_read(&with("permit (principal, action == Action::\"ReadClear\", resource);"), ssn, &[]));
    assert!(may_read(&with("permit (principal, action in [Action::\"ReadClear\"], resource);"), ssn, &[]));
}

#[test]
fn columns_have_names_places_and_tags() {
    let clear = |condition: &str| with(&format!("permit (principal, action == Action::\"ReadClear\", {condition};"));
    let ssn = ["public", "people", "ssn"];
    for (condition, expected) in [
        ("resource == Column::\"public.people.ssn\")", true),
        ("resource == Column::\"public.people.name\")", false),
        ("resource is Column)", true),
        ("resource is Column in Schema::\"public\")", true),
        ("resource in Relation::\"public.people\")", true),
        ("resource in Schema::\"public\")", true),
        ("resource in Schema::\"hr\")", false),
        ("resource in Database::\"shop\")", true),
        ("resource) when { resource.tags.contains(\"pii\") }", true),
        ("resource) when { resource.tags.contains(\"other\") }", false),
        ("resource) when { resource.name == \"ssn\" }", true),
        ("resource) when { principal in Group::\"analysts\" }", true),
        ("resource) when { principal in Group::\"others\" }", false),
    ] {
        assert_eq!(may_read(&clear(condition), ssn, &["pii"]), expected, "{condition}");
    }
}

#[test]
fn a_forbid_for_everything_includes_it() {
    let clear = with("permit (principal, action == Action::\"ReadClear\", resource);");
    let policies = format!(
        "{clear}\n@id(\"no\") @reason(\"no\") forbid (principal, action, resource) when {{ principal in Group::\"analysts\" }};"
    );
    assert!(!may_read(&policies, ["public", "people", "ssn"], &[]));
}

#[test]
fn a_forbid_about_columns_is_found() {
    let clear = with("permit (principal, action == Action::\"ReadClear\", resource);");
    let policies = format!(
        "{clear}\n@id(\"no\") @reason(\"no\") forbid (principal, action == Action::\"ReadClear\", resource is Column in Schema::\"hr\");"
    );
    assert!(!may_read(&policies, ["hr", "people", "ssn"], &[]));
    assert!(may_read(&policies, ["public", "people", "ssn"], &[]));
}
