//! `warder timeline`: what was recorded, for people. Needs only the journal, no agent.
//!
//! The search index tells which blocks need not be read ([`narrow`]); what is shown is decided by the records themselves,
//! so the answer is the same without it.

mod access;
mod narrow;
mod render;
mod statement;
#[cfg(test)]
mod tests;

use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use store::form::identity::SessionText;
use store::reader::ReadError;

use crate::terminal::{self, Terminal};
pub(crate) use render::Renderer;

/// Pause between two looks at the file while following it.
const FOLLOW_PAUSE: Duration = Duration::from_millis(200);
/// Candidates that are named when a session is not told unambiguously.
const CANDIDATES_SHOWN: usize = 8;

/// What somebody wants to see.
#[derive(Clone, Debug)]
pub struct Question {
    /// Folder of the journal.
    pub directory: PathBuf,
    /// Only this session: id, beginning, or cookie.
    pub session: Option<String>,
    /// From when on, as in a filter: `24h`, `2026-11-22`; everything where nothing is said.
    pub since: Option<String>,
    /// Only so many records, the newest; the journal's own book-keeping does not count.
    pub last: Option<usize>,
    /// What to do at the end of the file.
    pub end: End,
    /// How to show it.
    pub form: Form,
}

/// What to do at the end of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Stop.
    Stop,
    /// Wait for more, until the process is interrupted.
    Follow,
}

/// How records are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Lines for people.
    Text,
    /// The records as they are, one JSON object per line.
    Json,
}

/// Shows the timeline.
pub fn show(question: &Question) -> anyhow::Result<()> {
    readable(&question.directory)?;
    let session = question.session.as_deref().map(|typed| session_of(&question.directory, typed)).transpose()?;
    let mut renderer = Renderer::new(Terminal::stdout());
    if let Some(session) = session {
        renderer = renderer.only(session);
    }
    let mut reader = narrow::reader(question, session)?;
    let mut out = BufWriter::new(io::stdout().lock());
    loop {
        match reader.next_entry() {
            Some(Ok(_)) if question.form == Form::Json => {
                let json = String::from_utf8_lossy(reader.last_line());
                out.write_all(terminal::escape_json(&json).as_bytes())?;
                out.write_all(b"\n")?;
            }
            Some(Ok(entry)) => out.write_all(renderer.entry(&entry).as_bytes())?,
            Some(Err(error @ ReadError::Line { .. })) => {
                out.flush()?;
                eprintln!("warder: {}", terminal::escape(&format!("{:#}", anyhow::Error::new(error))));
            }
            Some(Err(error @ ReadError::File { .. })) => return Err(error.into()),
            None if question.end == End::Follow => {
                out.flush()?;
                std::thread::sleep(FOLLOW_PAUSE);
            }
            None => return Ok(out.flush()?),
        }
    }
}

/// A folder that cannot be read is explained before anything else is tried.
pub(crate) fn readable(directory: &Path) -> anyhow::Result<()> {
    let shown = directory.display();
    match std::fs::read_dir(directory) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => bail!(
            "there is no folder {shown}: nothing was recorded yet, or it is elsewhere; \
             name it with --journal, or its configuration with -c"
        ),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            bail!("this account may not read {shown}; run as root, or as a member of the group that owns it")
        }
        Err(error) => Err(error).with_context(|| format!("cannot read {shown}")),
    }
}

/// The one session that `typed` means.
pub(crate) fn session_of(directory: &Path, typed: &str) -> anyhow::Result<SessionText> {
    let found = narrow::sessions(directory, typed)?;
    match (found.len(), found.first()) {
        (1, Some(session)) => Ok(*session),
        (0, _) | (_, None) => bail!(
            "no session \"{typed}\" is recorded in {}; list all with warder timeline, live ones with warder sessions",
            directory.display()
        ),
        (count, _) => {
            let names: Vec<&str> = found.iter().take(CANDIDATES_SHOWN).map(SessionText::as_str).collect();
            let more = if count > CANDIDATES_SHOWN { ", ..." } else { "" };
            bail!("\"{typed}\" means {count} sessions; name one of {}{more}", names.join(", "))
        }
    }
}
