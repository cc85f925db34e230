//! `warder sessions`: the live sessions as a table, once or like `top`.

use std::path::Path;
use std::time::Duration;

use store::form::process::ProcessForm;
use store::form::session::SessionForm;

use crate::control::{SessionView, client};
use crate::terminal::{self, Style, Terminal};
use crate::words;

/// Pause between two pictures of the live view.
const REFRESH: Duration = Duration::from_secs(1);
/// Widest column but the last one; longer values are shortened.
const COLUMN_MAX: usize = 40;
const COLUMNS: usize = 10;
const HEADINGS: [&str; COLUMNS] = [
    "SESSION",
    "DATABASE",
    "USER",
    "CLIENT PROCESS",
    "TRANSPORT",
    "SINCE (UTC)",
    "STATEMENTS",
    "BYTES IN/OUT",
    "COVERAGE",
    "CURRENT",
];

/// How sessions are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A table for people.
    Table,
    /// One JSON object per session and line.
    Json,
}

/// Shows the live sessions once.
pub fn show(socket: &Path, form: Form) -> anyhow::Result<()> {
    let sessions = client::sessions(socket)?;
    Ok(terminal::print(&render(&sessions, form, Terminal::stdout())?)?)
}

/// Shows the live sessions again and again, until the process is interrupted.
pub fn watch(socket: &Path, form: Form) -> anyhow::Result<()> {
    let terminal = Terminal::stdout();
    // Home and erase: only a terminal understands it.
    let erase = if terminal.width.is_some() && form == Form::Table { "\x1b[H\x1b[2J" } else { "" };
    loop {
        let picture = render(&client::sessions(socket)?, form, terminal)?;
        terminal::print(&format!("{erase}{picture}"))?;
        std::thread::sleep(REFRESH);
    }
}

fn render(sessions: &[SessionView<'_>], form: Form, terminal: Terminal) -> serde_json::Result<String> {
    match form {
        Form::Table => Ok(table(sessions, terminal)),
        Form::Json => sessions
            .iter()
            .map(|session| serde_json::to_string(session).map(|json| terminal::escape_json(&json).into_owned() + "\n"))
            .collect(),
    }
}

/// The table; the last column takes what is left of the terminal's width.
#[must_use]
pub fn table(sessions: &[SessionView<'_>], terminal: Terminal) -> String {
    if sessions.is_empty() {
        return "no live sessions\n".into();
    }
    let rows: Vec<[String; COLUMNS]> = sessions.iter().map(row).collect();
    let widths: [usize; COLUMNS] = std::array::from_fn(|column| {
        let widest = rows.iter().map(|row| terminal::columns(&row[column])).max().unwrap_or(0);
        widest.min(COLUMN_MAX).max(HEADINGS[column].len())
    });
    let mut out = String::new();
    let heading = line(&HEADINGS.map(String::from), &widths, terminal);
    out.push_str(&terminal.paint(Style::Heading, &heading));
    out.push('\n');
    for (row, session) in rows.iter().zip(sessions) {
        let text = line(row, &widths, terminal);
        let incomplete = session.session.gaps > 0 || session.session.coverage.is_some_and(|share| share < 1.0);
        out.push_str(&if incomplete { terminal.paint(Style::Warning, &text) } else { text.as_str().into() });
        out.push('\n');
    }
    out
}

fn line(cells: &[String; COLUMNS], widths: &[usize; COLUMNS], terminal: Terminal) -> String {
    let mut out = String::new();
    let (last, first) = cells.split_last().expect("there are columns");
    for (cell, &width) in first.iter().zip(widths) {
        let cell = if terminal.width.is_some() { terminal::shorten(cell, width) } else { cell.into() };
        out.push_str(&cell);
        out.extend(std::iter::repeat_n(' ', (width + 2).saturating_sub(terminal::columns(&cell))));
    }
    match terminal.width {
        Some(width) => {
            let rest = width.saturating_sub(terminal::columns(&out)).max(16);
            out.push_str(&terminal::shorten(last, rest));
        }
        None => out.push_str(last),
    }
    out.truncate(out.trim_end().len());
    out
}

fn row(view: &SessionView<'_>) -> [String; COLUMNS] {
    let session = &view.session;
    let text = |value: Option<&str>| value.map_or_else(|| "-".into(), |value| terminal::escape(value).into_owned());
    [
        session.session.cookie().to_owned(),
        format!("{} ({})", text(session.database.as_deref()), terminal::escape(&session.database_entry)),
        text(session.user.as_deref()),
        client(session),
        words::transport(session),
        words::second(view.since),
        format!(
            "{}{}",
            session.statements,
            if session.errors > 0 { format!(" ({} failed)", session.errors) } else { String::new() }
        ),
        format!("{}/{}", words::bytes(session.received_bytes), words::bytes(session.sent_bytes)),
        session.coverage.map_or_else(|| "-".into(), words::percent),
        match view.current.as_deref() {
            None => "-".into(),
            Some("") => "(text not known)".into(),
            Some(text) => terminal::escape(text).into_owned(),
        },
    ]
}

fn client(session: &SessionForm<'_>) -> String {
    match &session.client {
        Some(ProcessForm { pid, uid, .. }) => {
            let name = session.client.as_ref().map(words::program).unwrap_or_default();
            format!("{name}[{pid}] uid {uid}")
        }
        None => words::unknown_process(session.client_unknown.as_deref()),
    }
}
