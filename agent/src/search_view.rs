//! `warder search`: records that fit a filter, page by page. Needs the journal's files only.

use std::collections::BTreeSet;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use search::query::{Bounds, Figures, Hit, IndexState, Order, Page, Query, UnreadableRange};
use search::source::Journal;
use serde_json::json;
use store::form::identity::SessionText;

use crate::clock;
use crate::terminal::{Terminal, escape, escape_json};
use crate::timeline::{Renderer, readable};
use crate::words;

/// Blocks of one page at most: half a gigabyte of lines.
const BLOCKS_MAX: usize = 2000;

/// Blocks from which on a missing index is felt.
const BLOCKS_WITHOUT_INDEX: usize = 16;

/// What somebody looks for.
#[derive(Clone, Debug)]
pub struct Question {
    /// Folder of the journal.
    pub directory: PathBuf,
    /// The filter as it was typed.
    pub filter: String,
    /// Token of a page.
    pub page: Option<String>,
    /// Most records of a page.
    pub limit: usize,
    /// Which come first.
    pub order: Order,
    /// How to show them.
    pub form: Form,
}

/// How records are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Lines for people, in the order in which things happened.
    Text,
    /// The records as they are, in the order asked for, one JSON object per line; the last line is about the search.
    Json,
}

/// The folder of the index within the journal's.
pub(crate) fn index_folder(journal: &Path) -> PathBuf {
    journal.join("index")
}

/// What an answer is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// All that was to be looked at could be.
    Whole,
    /// Part of the journal could not be read.
    Incomplete,
}

impl Answer {
    pub(crate) const fn of(figures: &Figures) -> Self {
        if figures.is_incomplete() { Self::Incomplete } else { Self::Whole }
    }

    /// What the process ends with.
    pub(crate) fn exit_code(self) -> ExitCode {
        match self {
            Self::Whole => ExitCode::SUCCESS,
            Self::Incomplete => ExitCode::from(3),
        }
    }
}

/// Searches for one page and shows it.
pub fn show(question: &Question) -> Result<Answer> {
    readable(&question.directory)?;
    let query = match &question.page {
        Some(token) => Query::resume(question.filter.as_bytes(), token)?,
        None => Query::new(question.filter.as_bytes(), clock::wall(), question.order)?,
    };
    let mut journal = Journal::new(&question.directory);
    let bounds = Bounds { hits_max: question.limit, blocks_max: BLOCKS_MAX };
    let page = query.search(&mut journal, &index_folder(&question.directory), bounds)?;
    let mut out = BufWriter::new(io::stdout().lock());
    match question.form {
        Form::Json => write_json(&page, &mut out)?,
        Form::Text => {
            let known = who_they_are(question, &mut journal, &page)?;
            write_text(&page, &known, question.order, &mut out)?;
        }
    }
    out.flush()?;
    drop(out);
    if question.form == Form::Text {
        for remark in remarks(&page, question) {
            eprintln!("{remark}");
        }
    }
    for warning in unreadable(&page.figures) {
        eprintln!("warning: {warning}");
    }
    Ok(Answer::of(&page.figures))
}

/// Which records were not searched because their segments cannot be read.
pub(crate) fn unreadable(figures: &Figures) -> Vec<String> {
    let mut warnings: Vec<String> = figures
        .unreadable_ranges
        .iter()
        .map(|UnreadableRange { from, through, why }| {
            let through = through.map_or("to the end".to_owned(), |through| format!("to {through}"));
            format!("records {from} {through} were not searched: {}", escape(why))
        })
        .collect();
    let rest = figures.unreadable_segments.saturating_sub(warnings.len());
    if rest > 0 {
        warnings.push(format!("{} more cannot be read", words::count(rest as u64, "segment", "segments")));
    }
    warnings
}

fn write_json(page: &Page, out: &mut impl Write) -> Result<()> {
    for hit in &page.hits {
        out.write_all(escape_json(&String::from_utf8_lossy(&hit.line)).as_bytes())?;
        out.write_all(b"\n")?;
    }
    let figures = &page.figures;
    let about = json!({
        "search": {
            "records": page.hits.len(),
            "next": page.next.as_ref().map(ToString::to_string),
            "journal_from": figures.journal_from,
            "journal_through": figures.journal_through,
            "indexed_through": figures.indexed_through,
            "not_indexed_records": figures.not_indexed_records,
            "index": match figures.index {
                IndexState::Missing => "missing",
                IndexState::Used => "used",
                IndexState::Damaged => "damaged",
            },
            "blocks": figures.blocks,
            "blocks_read": figures.blocks_read,
            "records_examined": figures.records_examined,
            "unreadable_blocks": figures.unreadable_blocks,
            "unreadable_segments": figures.unreadable_segments,
            "unreadable": figures.unreadable_ranges.iter().map(|range| json!({
                "from": range.from,
                "through": range.through,
                "why": range.why,
            })).collect::<Vec<_>>(),
            "damaged_lines": figures.damaged_lines,
            "missing": figures.missing,
            "holes": figures.holes,
            "incomplete_blocks": figures.incomplete_blocks,
            "attributes_dropped": figures.attributes_dropped,
            "unidentified_sessions": figures.unidentified_sessions,
            "unidentified": figures.unidentified,
        }
    });
    writeln!(out, "{about}")?;
    Ok(())
}

/// The newest state of every session on the page whose identity the page itself does not tell.
fn who_they_are(question: &Question, journal: &mut Journal, page: &Page) -> Result<Vec<Hit>> {
    let entries = page.hits.iter().filter_map(|hit| hit.entry().ok());
    let sessions: BTreeSet<SessionText> = entries.filter_map(|entry| entry.session).collect();
    let bounds = Bounds { hits_max: 1, blocks_max: BLOCKS_MAX };
    let mut known = Vec::new();
    for session in sessions {
        let filter = format!("session:{} type:session.open,session.change,session.close", session.as_str());
        let query = Query::new(filter.as_bytes(), clock::wall(), Order::NewestFirst)?;
        known.extend(query.search(journal, &index_folder(&question.directory), bounds)?.hits);
    }
    Ok(known)
}

fn write_text(page: &Page, known: &[Hit], order: Order, out: &mut impl Write) -> Result<()> {
    let mut renderer = Renderer::new(Terminal::stdout());
    for session in page.hits.iter().filter_map(|hit| hit.entry().ok()?.session) {
        renderer.not_recorded(session);
    }
    for entry in known.iter().filter_map(|hit| hit.entry().ok()) {
        renderer.introduce(&entry);
    }
    let mut hits: Vec<&Hit> = page.hits.iter().collect();
    if order == Order::NewestFirst {
        hits.reverse();
    }
    for hit in hits {
        match hit.entry() {
            Ok(entry) => out.write_all(renderer.entry(&entry).as_bytes())?,
            Err(_newer_version) => writeln!(out, "{}", escape_json(&String::from_utf8_lossy(&hit.line)))?,
        }
    }
    Ok(())
}

/// What a person must know to read the result rightly.
fn remarks(page: &Page, question: &Question) -> Vec<String> {
    let figures = &page.figures;
    let mut remarks = vec![match page.hits.len() as u64 {
        0 => format!("no record fits ({})", extent(figures)),
        count => format!("{} ({})", words::count(count, "record", "records"), extent(figures)),
    }];
    if let Some(next) = &page.next {
        remarks.push(format!("more: add --page {next} to the same filter ({})", escape(&question.filter)));
    }
    match figures.index {
        // A young journal is looked through at once.
        IndexState::Missing if figures.blocks < BLOCKS_WITHOUT_INDEX => {}
        IndexState::Missing => {
            remarks.push("there is no index: every block was looked at; a running agent makes one".into())
        }
        IndexState::Damaged => {
            remarks.push("a part of the index is damaged and was not used; a running agent repairs it".into())
        }
        IndexState::Used => {}
    }
    let mut incomplete = |count: u64, one: &str, many: &str| {
        if count > 0 {
            remarks.push(format!("warning: {}; see warder verify", words::count(count, one, many)));
        }
    };
    incomplete(
        figures.unreadable_blocks as u64,
        "part of the journal cannot be read",
        "parts of the journal cannot be read",
    );
    incomplete(figures.damaged_lines, "line is no record", "lines are no records");
    incomplete(figures.holes as u64, "hole in the numbers of the records", "holes in the numbers of the records");
    if figures.unidentified_sessions > 0 {
        let sessions = words::count(figures.unidentified_sessions, "session has", "sessions have");
        remarks.push(format!(
            "{sessions} no identity in the journal, because their beginning was removed by retention or never seen: filters \
             by user, process and the like do not find them; look at them with session:ID (one is {})",
            figures.unidentified.first().map_or("not known", |session| session)
        ));
    }
    if figures.incomplete_blocks > 0 {
        remarks.push("in this time events were lost or not observed: warder search type:loss,gap,session.gap".into());
    }
    remarks
}

fn extent(figures: &Figures) -> String {
    match (figures.journal_from, figures.journal_through) {
        (Some(from), Some(through)) => format!(
            "journal {from} to {through}; {} of {} read",
            figures.blocks_read,
            words::count(figures.blocks as u64, "block", "blocks")
        ),
        _ => "the journal is empty".into(),
    }
}
