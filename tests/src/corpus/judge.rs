//! What a play has to look like: without a guard, and behind one.

use std::fmt::Write as _;

use super::case::{Answered, Effect};
use super::play::{Client, Outcome, Played};
use super::session::{Answer, told};

/// SQLSTATEs of a refusal: insufficient privilege, and a text that is no SQL.
pub const REFUSALS: [&str; 2] = ["42501", "42601"];

/// Without a guard an evasive case has its effect; what is wrong otherwise.
#[must_use]
pub fn unguarded(effect: &Effect, outcome: &Outcome) -> Option<String> {
    let seen = outcome.seen.as_deref().unwrap_or_default();
    let harmed = effect.harmed.as_ref().map_or(seen != effect.unharmed, |harmed| seen == harmed);
    let mut wrong = outcome.played.wrong.clone();
    if !harmed {
        wrong.push(format!("the effect was not seen: '{seen}'"));
    }
    report(outcome, &wrong)
}

/// Behind a guard it has none; the client is told why; its session lives and knows the state of its transaction.
#[must_use]
pub fn guarded(effect: &Effect, outcome: &Outcome) -> Option<String> {
    let played = &outcome.played;
    let mut wrong = played.wrong.clone();
    if outcome.seen.as_ref() != Some(&effect.unharmed) {
        wrong.push(format!("IT HAPPENED: '{}'", outcome.seen.as_deref().unwrap_or_default()));
    }
    let refused = |answer: &Answer| {
        matches!(answer, Answer::Error { severity, sqlstate, .. }
            if severity == "ERROR" && REFUSALS.contains(&sqlstate.as_str()))
    };
    // Who may not even log in is told so by FATAL, and has no session.
    let shut_out = matches!(played.answers.as_slice(), [Answer::Error { severity, .. }, ..] if severity == "FATAL");
    if !played.answers.iter().any(refused) && !shut_out {
        wrong.push("it was not refused".into());
    }
    if !played.alive && !shut_out {
        wrong.push("the session did not live".into());
    }
    report(outcome, &wrong)
}

/// A harmless case is answered as its author says.
#[must_use]
pub fn answered(expected: &Answered, outcome: &Outcome) -> Option<String> {
    let played = &outcome.played;
    let mut wrong = played.wrong.clone();
    let error = played.answers.iter().find_map(|answer| match answer {
        Answer::Error { sqlstate, .. } => Some(sqlstate),
        _ => None,
    });
    if error != expected.error.as_ref() {
        wrong.push(format!("error {error:?} instead of {:?}", expected.error));
    }
    let row = played.answers.iter().rev().find_map(|answer| match answer {
        Answer::Row(text) => Some(text),
        _ => None,
    });
    // The binary results of the third client are not read.
    let readable = outcome.client != Client::TokioPostgres;
    if readable && expected.row.is_some() && expected.row.as_ref() != row {
        wrong.push(format!("row {row:?} instead of {:?}", expected.row));
    }
    if !played.alive {
        wrong.push("the session did not live".into());
    }
    report(outcome, &wrong)
}

/// Two ways tell the same.
#[must_use]
pub fn same(direct: &Outcome, through: &Outcome) -> Option<String> {
    let (one, other) = (&direct.played, &through.played);
    let equal = without_pids(&one.answers) == without_pids(&other.answers)
        && one.alive == other.alive
        && other.wrong.is_empty();
    let all = |played: &Played| {
        let end = if played.alive { "" } else { "; the session is dead" };
        format!("{}{end} {}", told(&played.answers), played.wrong.join("; "))
    };
    (!equal).then(|| format!("{}: directly {}, through the way {}", direct.name, all(one), all(other)))
}

/// Answers without the process of a server that psql names: each session has another one.
fn without_pids(answers: &[Answer]) -> Vec<Answer> {
    const BEFORE: &str = "received from server process with PID ";
    let plain = |answer: &Answer| match answer {
        Answer::Row(text) => Answer::Row(text.split_once(BEFORE).map_or(text.as_str(), |(begin, _)| begin).to_owned()),
        other => other.clone(),
    };
    answers.iter().map(plain).collect()
}

fn report(outcome: &Outcome, wrong: &[String]) -> Option<String> {
    /// Characters of the answers that are shown.
    const SHOWN: usize = 600;
    if wrong.is_empty() {
        return None;
    }
    let mut text = format!("{}: {}", outcome.name, wrong.join("; "));
    let answers: String = told(&outcome.played.answers).chars().take(SHOWN).collect();
    // A String takes every write.
    let _ = write!(text, "\n    told: {answers}");
    Some(text)
}
