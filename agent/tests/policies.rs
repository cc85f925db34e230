//! The shipped policies against their cases, and the commands over policies.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot be set up has failed"
)]

use std::fs;
use std::path::{Path, PathBuf};

use agent::policies::case::{Form, read};
use agent::policies::load::Source;
use agent::policies::trial::Deed;
use agent::policies::{check, diff, explain, try_cases};
use agent::terminal::Terminal;
use tempfile::TempDir;

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies").join(name)
}

/// A folder with a policy that permits reading, and the given cases.
fn folder(policies: &str, cases: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.cedar"), policies).unwrap();
    fs::write(folder.path().join("a.test.toml"), cases).unwrap();
    folder
}

const READ: &str = r#"@id("read") @reason("r") @max_rows("5") permit (principal, action in Action::"Read", resource);"#;

const CASES: &str = r#"
[defaults]
who = "person:alice@example.com"
[[case]]
name = "reads"
sql = "SELECT * FROM public.orders"
expect = "permit"
rule = "read"
max_rows = 5
"#;

#[test]
fn the_shipped_policies_decide_as_their_cases_say() {
    let tally = try_cases::try_cases(&[shipped(""), shipped("transparency")]).unwrap();
    assert!(tally.failed.is_empty(), "{}", try_cases::text(&tally, Terminal::PIPE).unwrap());
    assert!(tally.passed > 100, "only {} cases", tally.passed);
}

#[test]
fn each_shipped_policy_has_cases_and_decides_one() {
    for entry in fs::read_dir(shipped("")).unwrap().chain(fs::read_dir(shipped("transparency")).unwrap()) {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "cedar") {
            assert!(path.with_extension("test.toml").is_file(), "{} has no cases", path.display());
        }
    }
    let findings = check::check(&[shipped(""), shipped("transparency")], check::Depth::Deep).unwrap();
    assert!(findings.problems.is_empty() && findings.idle.is_empty(), "{}", check::text(&findings).unwrap());
}

#[test]
fn a_case_that_comes_out_differently_is_shown() {
    let cases = CASES.replace("max_rows = 5", "max_rows = 6")
        + "[[case]]\nname = \"writes\"\nsql = \"DELETE FROM public.orders\"\nexpect = \"permit\"\n";
    let folder = folder(READ, &cases);
    let tally = try_cases::try_cases(&[folder.path().to_owned()]).unwrap();
    let text = try_cases::text(&tally, Terminal::PIPE).unwrap();
    let shown: Vec<_> = text.lines().map(str::trim).filter(|line| !line.starts_with("failed")).collect();
    assert_eq!(
        shown,
        [
            "- expected: permit by read, at most 6 rows",
            "+ found:    permit by read, at most 5 rows",
            "- expected: permit",
            "+ found:    refuse by default",
            "0 cases passed, 2 failed",
        ]
    );
}

#[test]
fn mistakes_in_cases_are_told() {
    for (wrong, part) in [
        ("who = \"person:a\"\n[[case]]\nname = \"x\"\nexpect = \"permit\"\nsql = \"\"", "unknown field"),
        ("[[case]]\nname = \"x\"\nexpect = \"permit\"\nsql = \"\"", "nobody acts"),
        ("[[case]]\nname = \"x\"\nexpect = \"permit\"\nwho = \"person:a\"", "write either sql, open"),
        ("[[case]]\nname = \"x\"\nexpect = \"permit\"\nwho = \"person:a\"\nsql = \"\"\nat = \"noon\"", "write a time"),
        ("[[case]]\nname = \"x\"\nexpect = \"perhaps\"\nwho = \"person:a\"\nsql = \"\"", "unknown variant"),
    ] {
        let error = read("x.test.toml", wrong).unwrap_err();
        assert!(format!("{error:#}").contains(part), "{error:#}");
    }
}

#[test]
fn a_set_with_mistakes_is_not_tried() {
    let folder = folder("permit (principal, action, resource);", CASES);
    assert!(try_cases::try_cases(&[folder.path().to_owned()]).is_err());
    let findings = check::check(&[folder.path().to_owned()], check::Depth::Shallow).unwrap();
    assert_eq!(findings.problems.len(), 2);
    assert!(check::text(&findings).unwrap().contains("a.cedar:1:1: the policy has no @id"));
}

#[test]
fn idle_policies_are_found_by_a_deep_check() {
    let idle = r#"@id("idle") @reason("r") forbid (principal is Agent, action, resource);"#;
    let folder = folder(&format!("{READ}\n{idle}"), CASES);
    let findings = check::check(&[folder.path().to_owned()], check::Depth::Deep).unwrap();
    assert_eq!(findings.idle.len(), 1);
    assert!(findings.idle[0].ends_with("a.cedar:2: idle decides none of the cases"), "{:?}", findings.idle);
}

#[test]
fn the_difference_of_two_sets_is_ids_and_verdicts() {
    let forbid = r#"@id("no") @reason("r") forbid (principal, action, resource in Schema::"public");"#;
    let old = folder(&format!("{READ} {}", forbid.replace("no", "old").replace("public", "x")), CASES);
    let new = folder(&format!("{forbid} // a comment\n{}", READ.replace("5", "6")), CASES);
    let differences = diff::diff(old.path(), new.path()).unwrap();
    let text = differences.text(Terminal::PIPE).unwrap();
    let expected =
        ["added no", "removed old", "changed read", "- permitted by read", "+ refused by no", "1 of 1 cases"];
    for line in expected {
        assert!(text.contains(line), "{line}: {text}");
    }
    let same = diff::diff(old.path(), old.path()).unwrap();
    assert_eq!((same.added.len(), same.changed.len(), same.verdicts.len(), same.cases), (0, 0, 0, 1));
}

#[test]
fn an_explanation_names_each_step() {
    let set = Source::read(&shipped("")).unwrap().set().unwrap();
    let who = "agent:helper,group=data-readers,group=data-writers,for=person:alice@example.com";
    let form = Form { who: Some(who.to_owned()), ..Form::default() };
    let sql = "SELECT * FROM public.a; DELETE FROM public.b";
    let outcome = form.trial(Deed::Sql(sql.to_owned())).unwrap().run(&set);
    let text = explain::text(&outcome, Terminal::PIPE).unwrap();
    let expected = [
        "refused by agents-no-unbounded-writes: DELETE of every row of relation public.b",
        "reason: An agent must not change every row of a relation.",
        "remedy: Add a WHERE",
        "SQLSTATE 42501",
        "SELECT of relation public.a: permitted by agents-read",
        "at most 10000 rows",
    ];
    for line in expected {
        assert!(text.contains(line), "{line}: {text}");
    }
    let json = explain::json(&outcome);
    assert_eq!(json["verdict"], "refuse");
    assert_eq!(json["denial"]["rule"], "agents-no-unbounded-writes");
    assert_eq!(json["parts"][0]["obligations"]["rows_max"], 10_000);
}
