//! `warder replay`: one session as it went, with its real pauses.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use search::query::Figures;
use search::source::Journal;
use search::transcript::Transcript;

use crate::search_view::{Answer, index_folder, unreadable};
use crate::terminal::{Terminal, escape_json};
use crate::timeline::{Renderer, readable, session_of};
use crate::words;

/// What somebody wants to see again.
#[derive(Clone, Debug)]
pub struct Question {
    /// Folder of the journal.
    pub directory: PathBuf,
    /// Id, beginning, or cookie of the session.
    pub session: String,
    /// How fast.
    pub pace: Pace,
}

/// How fast a session is played.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// Pauses are divided by this; more than 0.
    Times(f64),
    /// Without pauses.
    AtOnce,
}

impl Pace {
    fn pause(self, real: Duration) -> Duration {
        match self {
            // A pause that is too long for the type is longer than anybody waits.
            Self::Times(speed) => Duration::try_from_secs_f64(real.as_secs_f64() / speed).unwrap_or(Duration::MAX),
            Self::AtOnce => Duration::ZERO,
        }
    }
}

/// Plays the session; says whether the journal could be read as far as that needs.
pub fn play(question: &Question) -> Result<Answer> {
    readable(&question.directory)?;
    let session = session_of(&question.directory, &question.session)?;
    let index = index_folder(&question.directory);
    let mut journal = Journal::new(&question.directory);
    let mut renderer = Renderer::new(Terminal::stdout()).only(session);
    let mut out = io::stdout().lock();
    let mut shown = 0_u64;
    let mut transcript = Transcript::new(&mut journal, &index, session.as_str())?;
    for step in &mut transcript {
        let step = step?;
        let pause = question.pace.pause(step.pause);
        if !pause.is_zero() {
            out.flush()?;
            std::thread::sleep(pause);
        }
        match step.hit.entry() {
            Ok(entry) => out.write_all(renderer.entry(&entry).as_bytes())?,
            Err(_newer_version) => writeln!(out, "{}", escape_json(&String::from_utf8_lossy(&step.hit.line)))?,
        }
        shown += 1;
    }
    out.flush()?;
    warn_of_unreadable(transcript.figures());
    if shown == 0 {
        bail!("session {} has no records any more: they were removed by retention", session.as_str());
    }
    Ok(Answer::of(transcript.figures()))
}

/// What could not be read may have been of this session.
fn warn_of_unreadable(figures: &Figures) {
    for warning in unreadable(figures) {
        eprintln!("warning: {warning}");
    }
    if figures.unreadable_blocks > 0 || figures.damaged_lines > 0 {
        eprintln!(
            "warning: {} and {} of the journal cannot be read, which may be of this session; see warder verify",
            words::count(figures.unreadable_blocks as u64, "part", "parts"),
            words::count(figures.damaged_lines, "line", "lines")
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_divided_by_the_speed() {
        let real = Duration::from_secs(10);
        assert_eq!(Pace::Times(1.0).pause(real), real);
        assert_eq!(Pace::Times(4.0).pause(real), Duration::from_millis(2500));
        assert_eq!(Pace::Times(1e-300).pause(real), Duration::MAX);
        assert_eq!(Pace::AtOnce.pause(real), Duration::ZERO);
    }
}
