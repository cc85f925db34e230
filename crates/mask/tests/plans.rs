//! What becomes of a statement, by its lineage, the settings, and who asks.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on ends")]

use std::collections::BTreeSet;
use std::sync::Arc;

use mask::plan::Columns;
use mask::{Detector, Mask, Pattern, Planned, Predicates, Protection, Rule, Settings, WhenUnknown, plan};
use model::Known;
use model::facts::{Name, OpaqueReason};
use model::lineage::{CopyForm, Lineage, Origin, Output, Rows, Sources, Stored, StoredColumn, UnknownLineage};

fn column(relation: &str, name: &str) -> StoredColumn {
    StoredColumn { schema: "public".into(), relation: relation.into(), name: name.into() }
}

fn sources(names: &[&str]) -> Sources {
    names.iter().map(|name| column("people", name)).collect()
}

fn direct(name: &str) -> Origin {
    Origin::Direct(Arc::new(sources(&[name])))
}

fn derived(names: &[&str]) -> Origin {
    Origin::Derived(Arc::new(sources(names)))
}

fn reads(origins: Vec<Origin>) -> Lineage {
    let reads = origins.iter().flat_map(|origin| origin.sources().cloned()).collect();
    Lineage { output: Output::Rows(Rows::Columns(origins.into())), reads, ..Lineage::default() }
}

fn protection(settings: Settings) -> Protection {
    let rule = |name: &str, column: &str, mask: Mask| Rule {
        name: name.into(),
        columns: vec![Pattern::parse(column).unwrap()],
        tags: BTreeSet::new(),
        mask,
    };
    Protection::new(
        vec![rule("numbers", "*.*.ssn", Mask::Last(4)), rule("mail", "*.*.email", Mask::EmailDomain)],
        settings,
    )
}

fn of(settings: Settings, lineage: Result<&Lineage, OpaqueReason>) -> Planned {
    plan(&protection(settings), lineage, |_, _| false)
}

fn masks(planned: &Planned) -> Vec<Option<Mask>> {
    let Planned::Masked(plan) = planned else { panic!("{planned:?}") };
    let Columns::Each(each) = &plan.columns else { panic!("{plan:?}") };
    each.iter().map(|cell| cell.as_ref().map(|cell| cell.mask.clone())).collect()
}

fn refused_by(planned: Planned) -> String {
    let Planned::Refused(refusal) = planned else { panic!("{planned:?}") };
    refusal.rule.to_string()
}

#[test]
fn stored_values_have_their_mask_and_made_ones_none() {
    let both = Origin::Direct(Arc::new(sources(&["ssn", "email"])));
    let lineage = reads(vec![direct("ssn"), derived(&["ssn"]), direct("name"), both, derived(&[])]);
    let masks = masks(&of(Settings::default(), Ok(&lineage)));
    assert_eq!(masks, [Some(Mask::Last(4)), Some(Mask::Null), None, Some(Mask::Null), None]);
}

#[test]
fn who_may_read_a_column_sees_it() {
    let lineage = reads(vec![direct("ssn"), direct("email")]);
    let planned = plan(&protection(Settings::default()), Ok(&lineage), |column, _| &*column.name == "ssn");
    assert_eq!(masks(&planned), [None, Some(Mask::EmailDomain)]);
    assert_eq!(plan(&protection(Settings::default()), Ok(&lineage), |_, _| true), Planned::Clear);
    // Whoever may read anything is not asked what a statement means.
    assert_eq!(plan(&protection(Settings::default()), Err(OpaqueReason::Construct), |_, _| true), Planned::Clear);
}

#[test]
fn what_is_not_known_is_refused_or_null() {
    assert_eq!(refused_by(of(Settings::default(), Err(OpaqueReason::Construct))), "unknown-origin");
    let Planned::Refused(misspelt) = of(Settings::default(), Err(OpaqueReason::Syntax)) else { panic!() };
    assert_eq!(misspelt.reason, "it is not understood (syntax)");
    assert!(misspelt.remedy.contains("grammar"), "{misspelt:?}");
    let unknown =
        Lineage { unknown: Some(UnknownLineage::Relation), ..reads(vec![derived(&["name"]), direct("name")]) };
    assert_eq!(refused_by(of(Settings::default(), Ok(&unknown))), "unknown-origin");
    let null = || Settings { unknown: WhenUnknown::Null, ..Settings::default() };
    assert_eq!(masks(&of(null(), Ok(&unknown))), [Some(Mask::Null), None]);
    let name = Name { schema: Known::Known("public".into()), name: "f".into() };
    let calls = Lineage { calls: [name].into(), ..reads(vec![derived(&[])]) };
    assert_eq!(refused_by(of(Settings::default(), Ok(&calls))), "unknown-origin");
    let trusted = Settings { trusted_functions: vec![("public".into(), "*".into())], ..Settings::default() };
    assert_eq!(of(trusted, Ok(&calls)), Planned::Clear);
    // A sink is not made harmless by NULLs in the output.
    let kept =
        Lineage { stored: vec![Stored { target: None, origin: Origin::Unknown(UnknownLineage::View) }], ..unknown };
    assert_eq!(refused_by(of(null(), Ok(&kept))), "unknown-origin");
}

#[test]
fn texts_are_withheld_where_hidden_values_are_read() {
    let withholds = |lineage: &Lineage| match of(Settings::default(), Ok(lineage)) {
        Planned::Masked(plan) => plan.withholds_texts,
        Planned::Clear => false,
        refused @ Planned::Refused(_) => panic!("{refused:?}"),
    };
    let nothing = Lineage::default();
    assert!(withholds(&Lineage { reads: sources(&["ssn"]), ..nothing.clone() }));
    assert!(!withholds(&Lineage { reads: sources(&["name"]), ..nothing.clone() }));
    let somewhere = Lineage { reads_unknown: Some(UnknownLineage::Relation), ..nothing };
    assert!(withholds(&somewhere));
    assert_eq!(plan(&protection(Settings::default()), Ok(&somewhere), |_, _| true), Planned::Clear);
}

#[test]
fn hidden_values_stay_where_they_are() {
    let stores = |target: Option<StoredColumn>, origin| Lineage {
        stored: vec![Stored { target, origin }],
        ..Lineage::default()
    };
    let kept = |target: Option<StoredColumn>| of(Settings::default(), Ok(&stores(target, direct("ssn"))));
    assert_eq!(refused_by(kept(None)), "numbers");
    assert_eq!(refused_by(kept(Some(column("people", "name")))), "numbers");
    assert_eq!(refused_by(kept(Some(column("people", "email")))), "numbers");
    assert_eq!(kept(Some(column("archive", "ssn"))), Planned::Clear);
    // What is made of them could be tested for equality later.
    let made = stores(Some(column("people", "ssn")), derived(&["ssn"]));
    assert_eq!(refused_by(of(Settings::default(), Ok(&made))), "numbers");
    // Where the reader may read the target, it is no hiding place.
    let copied = stores(Some(column("archive", "ssn")), direct("ssn"));
    let planned = plan(&protection(Settings::default()), Ok(&copied), |column, _| &*column.relation == "archive");
    assert_eq!(refused_by(planned), "numbers");
}

#[test]
fn a_statement_that_reads_hidden_values_is_not_measured() {
    let measured = |name: &str| Lineage { output: Output::Measured, ..reads(vec![direct(name)]) };
    assert_eq!(refused_by(of(Settings::default(), Ok(&measured("ssn")))), "numbers");
    assert_eq!(of(Settings::default(), Ok(&measured("name"))), Planned::Clear);
    let planned = Lineage { output: Output::Plan, ..measured("ssn") };
    assert!(matches!(of(Settings::default(), Ok(&planned)), Planned::Masked(_)));
}

#[test]
fn a_copy_is_rewritten_where_its_form_is_known() {
    let copied = |form: Option<CopyForm>| {
        let rows = Rows::Columns([direct("name"), direct("ssn")].into());
        of(Settings::default(), Ok(&Lineage { output: Output::Copy(rows, form), ..Lineage::default() }))
    };
    assert_eq!(refused_by(copied(None)), "numbers");
    let Planned::Masked(plan) = copied(Some(CopyForm::Binary)) else { panic!("it is planned") };
    assert_eq!(plan.copy, Some(CopyForm::Binary));
    assert!(matches!(&plan.columns, Columns::Each(each) if matches!(each[..], [None, Some(_)])));
    let unknown = Output::Copy(Rows::Every(Origin::Unknown(UnknownLineage::View)), Some(CopyForm::Binary));
    assert_eq!(
        refused_by(of(Settings::default(), Ok(&Lineage { output: unknown, ..reads(vec![]) }))),
        "unknown-origin"
    );
}

#[test]
fn conditions_are_as_close_as_the_settings_let_them() {
    let compared = Lineage { compared: sources(&["ssn"]), ..reads(vec![direct("name")]) };
    let matched = Lineage { matched: sources(&["ssn"]), ..reads(vec![direct("name")]) };
    let joined = |other: &[&str]| Lineage {
        joined: [(sources(&["ssn"]), sources(other))].into(),
        ..reads(vec![direct("name")])
    };
    let with = |predicates| Settings { predicates, ..Settings::default() };
    assert_eq!(refused_by(of(with(Predicates::Equality), Ok(&compared))), "numbers");
    assert_eq!(of(with(Predicates::DangerAny), Ok(&compared)), Planned::Clear);
    assert_eq!(of(with(Predicates::Equality), Ok(&matched)), Planned::Clear);
    assert_eq!(refused_by(of(with(Predicates::None), Ok(&matched))), "numbers");
    assert_eq!(refused_by(of(with(Predicates::Equality), Ok(&joined(&["name"])))), "numbers");
    assert_eq!(of(with(Predicates::Equality), Ok(&joined(&["email"]))), Planned::Clear);
    assert_eq!(refused_by(of(with(Predicates::None), Ok(&joined(&["email"])))), "numbers");
}

#[test]
fn detectors_look_at_results_that_hide_nothing() {
    let settings = || Settings { detectors: [Detector::Card].into(), ..Settings::default() };
    let looked_at = [
        of(settings(), Ok(&reads(vec![direct("name")]))),
        plan(&Protection::new(Vec::new(), settings()), Err(OpaqueReason::Syntax), |_, _| false),
    ];
    for planned in looked_at {
        let Planned::Masked(plan) = planned else { panic!("{planned:?}") };
        assert_eq!((&plan.columns, plan.withholds_texts), (&Columns::Every(None), false));
    }
}
