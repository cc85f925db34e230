//! The evasion corpus without a guard: every evasive case has its effect and every harmless one its answer, so that
//! the same cases prove something behind a guard.

use anyhow::{Result, ensure};
use warder_tests::cluster::Cluster;
use warder_tests::corpus::case::{Case, Purpose};
use warder_tests::corpus::ground::{self, Ground};
use warder_tests::corpus::play::{self, Entrance, Outcome};
use warder_tests::corpus::{Corpus, guard, judge};
use warder_tests::tooling;

/// What is wrong with one play.
fn problem(case: &Case, outcome: &Outcome) -> Option<String> {
    match &case.purpose {
        Purpose::Evasive(effect) => judge::unguarded(effect, outcome).or_else(|| {
            // The judgement behind a guard sees that there is none.
            let unseen = judge::guarded(effect, outcome).is_none();
            unseen.then(|| format!("{}: taken for refused", outcome.name))
        }),
        Purpose::Harmless(expected) => judge::answered(expected, outcome),
    }
}

#[test]
fn every_case_is_what_it_says() -> Result<()> {
    let cluster = Cluster::start(&ground::server())?;
    let mut ground = Ground::make(&cluster)?;
    let entrance = Entrance::direct(&ground);
    let corpus = Corpus::read(ground.places())?;
    let cases = corpus.asked_for()?;
    let (mut wrong, mut plays) = (Vec::new(), 0);
    for case in &cases {
        match play::play(&mut ground, &entrance, case) {
            Ok(outcomes) => {
                plays += outcomes.len();
                wrong.extend(outcomes.iter().filter_map(|outcome| problem(case, outcome)));
            }
            Err(error) => wrong.push(format!("{case}: {error:#}")),
        }
    }
    eprintln!("{} cases, {plays} plays, {} wrong", cases.len(), wrong.len());
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// Else a difference behind a guard would say nothing about the guard. The short form looks at one class.
#[test]
fn harmless_cases_are_answered_the_same_twice() -> Result<()> {
    let cluster = Cluster::start(&ground::server())?;
    let mut ground = Ground::make(&cluster)?;
    let entrance = Entrance::direct(&ground);
    let corpus = Corpus::read(ground.places())?;
    let chosen = |case: &&Case| {
        matches!(case.purpose, Purpose::Harmless(_)) && (tooling::long_form() || case.class == "protocol")
    };
    let cases: Vec<&Case> = corpus.cases.iter().filter(chosen).collect();
    let report = guard::check(&mut ground, &entrance, &cases)?;
    eprintln!("{} plays, {} differ", report.plays, report.wrong.len());
    ensure!(report.wrong.is_empty(), "{}", report.wrong.join("\n"));
    Ok(())
}

/// The corpus is as large as it has to be, and says of every class what it is.
#[test]
fn the_corpus_is_complete() -> Result<()> {
    let places = ground::Places { folder: "/nowhere".into(), port: 5432 };
    let corpus = Corpus::read(&places)?;
    let evasive = corpus.cases.iter().filter(|case| matches!(case.purpose, Purpose::Evasive(_))).count();
    let harmless = corpus.cases.len() - evasive;
    ensure!(evasive >= 300 && harmless >= 150, "{evasive} evasive cases, {harmless} harmless ones");
    Ok(())
}
