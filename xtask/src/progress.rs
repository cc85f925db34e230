//! Lines on standard error that say which step runs and how long each took.

use std::time::Instant;

use anyhow::{Context, Result};

/// Runs a step: its name before, the time it took after; its name in front of its error.
///
/// # Errors
/// Those of the step.
pub(crate) fn step<T>(name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let begin = Instant::now();
    eprintln!("==> {name}");
    let outcome = work().with_context(|| name.to_owned());
    let seconds = begin.elapsed().as_secs_f64();
    match &outcome {
        Ok(_) => eprintln!("    done in {seconds:.1} s"),
        Err(_) => eprintln!("    FAILED after {seconds:.1} s"),
    }
    outcome
}

/// A line within a step.
pub(crate) fn note(text: &str) {
    eprintln!("    {text}");
}
