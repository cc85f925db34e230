//! Nothing that the analysis says only reads changes anything, or touches a relation that it does not name.

use anyhow::{Context, Result, ensure};
use model::facts::Facts;
use sql::session::Session as Tracker;
use sql::state::State;
use sql::{Analyser, Limits};
use warder_tests::cluster::Cluster;
use warder_tests::corpus::Corpus;
use warder_tests::corpus::case::{Case, Step};
use warder_tests::corpus::ground::{self, Ground, Scene};
use warder_tests::corpus::session::{Answer, Session};
use warder_tests::effects::{self, Declared, snapshot};

/// What was looked at.
#[derive(Debug, Default)]
struct Tally {
    texts: usize,
    claimed: usize,
    failed: usize,
    wrong: Vec<String>,
}

/// The text of a step that is nothing but a text.
fn text(step: &Step) -> Option<&str> {
    match step {
        Step::Query(sql) | Step::CopyOut(sql) => Some(sql),
        Step::Extended(extended) if extended.parameters.is_empty() => Some(&extended.sql),
        _ => None,
    }
}

/// The texts of a case, if it is nothing but texts in a session that begins as any other.
fn texts(case: &Case) -> Option<Vec<&str>> {
    let steps = case.variants.first()?;
    case.startup.is_empty().then(|| steps.iter().map(text).collect()).flatten()
}

/// Plays texts in one session, and looks at each that is said to read only.
fn look(scene: &mut Scene, mut session: Session, texts: &[&str], name: &str, tally: &mut Tally) -> Result<()> {
    let catalogue = snapshot::take(&mut scene.observer, 1)?;
    let mut analyser = Analyser::new(Limits::default());
    let mut state = State::new("postgres".into());
    state.server_major = Some(15);
    let mut tracker = Tracker::new(state);
    for sql in texts {
        let facts = analyser.facts(sql.as_bytes(), tracker.state(), &catalogue);
        tally.texts += 1;
        let answers = match Declared::reads_only(&facts) {
            // Nobody else sees what an open transaction did, and its locks would hold the observer up.
            Some(declared) if !session.in_transaction() => claimed(scene, &mut session, sql, &declared, name, tally)?,
            _ => unclaimed(&mut session, sql, &mut tracker, &facts)?,
        };
        if answers.contains(&Answer::Ended) {
            return Ok(());
        }
    }
    session.close()
}

fn claimed(
    scene: &mut Scene,
    session: &mut Session,
    sql: &str,
    declared: &Declared,
    name: &str,
    tally: &mut Tally,
) -> Result<Vec<Answer>> {
    tally.claimed += 1;
    let before = effects::digest(&mut scene.observer)?;
    let executed = effects::execute(session, sql)?;
    tally.failed += usize::from(executed.answers.iter().any(|answer| matches!(answer, Answer::Error { .. })));
    let changed = effects::differences(&before, &effects::digest(&mut scene.observer)?);
    let undeclared = declared.undeclared(&executed.touched);
    if !changed.is_empty() || !undeclared.is_empty() {
        tally.wrong.push(format!("{name}: {sql}\n    changed {changed:?}, touched undeclared {undeclared:?}"));
    }
    Ok(executed.answers)
}

/// Runs a text, and follows what it says about its session.
fn unclaimed(session: &mut Session, sql: &str, tracker: &mut Tracker, facts: &Facts) -> Result<Vec<Answer>> {
    let was_open = session.in_transaction();
    let answers = session.query(sql.as_bytes())?;
    if !was_open && session.in_transaction() {
        tracker.begin();
    }
    if !answers.iter().any(|answer| matches!(answer, Answer::Error { .. })) {
        facts.statements.iter().flat_map(|statement| &statement.changes).for_each(|change| tracker.apply(change));
    }
    if was_open && !session.in_transaction() {
        let committed = answers.iter().any(|answer| matches!(answer, Answer::Done(tag) if tag == "COMMIT"));
        if committed { tracker.commit() } else { tracker.rollback() }
    }
    Ok(answers)
}

#[test]
fn what_is_said_to_read_changes_nothing_in_the_corpus() -> Result<()> {
    let cluster = Cluster::start(&ground::server())?;
    let mut ground = Ground::make(&cluster)?;
    let corpus = Corpus::read(ground.places())?;
    let mut tally = Tally::default();
    for case in corpus.asked_for()? {
        let Some(texts) = texts(case) else { continue };
        let mut scene = ground.prepare(case)?;
        let session = ground.session()?;
        let looked = look(&mut scene, session, &texts, &case.to_string(), &mut tally);
        ground.clean(scene, case).and(looked).with_context(|| case.to_string())?;
    }
    let Tally { texts, claimed, failed, wrong } = tally;
    eprintln!("{texts} texts, {claimed} said to read only ({failed} of them fail), {} wrong", wrong.len());
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    let chosen = std::env::var_os("WARDER_CASES").is_some();
    ensure!(chosen || claimed * 10 > texts, "too few claims to prove anything: {claimed} of {texts}");
    Ok(())
}
