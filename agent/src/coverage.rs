//! `warder coverage`: what went through the proxy, what did not, and what nobody saw. Needs the journal's files only.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Result;
use search::query::{Bounds, Order, Query};
use search::source::Journal;
use serde_json::json;
use store::form::event::Event;
use store::form::mediation::{CountForm, CoverageForm};
use store::time::Timestamp;

use crate::clock;
use crate::search_view::index_folder;
use crate::terminal::{self, escape};
use crate::timeline::readable;
use crate::words;

/// Records that are fetched at once.
const PAGE: Bounds = Bounds { hits_max: 1024, blocks_max: 2000 };

/// What somebody asks.
#[derive(Clone, Debug)]
pub struct Question {
    /// Folder of the journal.
    pub directory: PathBuf,
    /// From when on, as in a filter: `24h`, `2026-11-22`; everything where nothing is said.
    pub since: Option<String>,
    /// One JSON object instead of a table.
    pub json: bool,
}

/// All intervals of a journal together.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sum {
    databases: BTreeMap<String, Database>,
    not_observed_us: u64,
    unreadable: u64,
}

/// The ledger of one database.
#[derive(Debug, Default, PartialEq, Eq)]
struct Database {
    from: Timestamp,
    to: Timestamp,
    intervals: u64,
    lost_events: u64,
    /// By class and detail.
    classes: BTreeMap<(String, String), CountForm>,
}

impl Database {
    fn add(&mut self, form: &CoverageForm<'_>) {
        if self.intervals == 0 {
            self.from = form.from;
        }
        self.to = form.to;
        self.intervals += 1;
        self.lost_events += form.lost_events;
        // Only the last interval tells what is open.
        self.classes.values_mut().for_each(|count| count.open = 0);
        for class in &form.classes {
            let key = (class.class.clone().into_owned(), class.detail.clone().unwrap_or_default().into_owned());
            let sum = self.classes.entry(key).or_default();
            sum.sessions += class.count.sessions;
            sum.bytes = sum.bytes.saturating_add(class.count.bytes);
            sum.open = class.count.open;
        }
    }

    fn observed(&self) -> CountForm {
        self.classes.values().fold(CountForm::default(), |sum, count| CountForm {
            sessions: sum.sessions + count.sessions,
            open: sum.open + count.open,
            bytes: sum.bytes.saturating_add(count.bytes),
        })
    }
}

impl Sum {
    fn add(&mut self, event: &Event) {
        match event {
            Event::Coverage(form) => {
                self.databases.entry(form.database_entry.clone().into_owned()).or_default().add(form);
            }
            Event::Gap(gap) => self.not_observed_us += gap.to.0.0.saturating_sub(gap.from.0.0) / 1000,
            _ => {}
        }
    }
}

/// Answers.
pub fn show(question: &Question) -> Result<()> {
    readable(&question.directory)?;
    let sum = read(&question.directory, question.since.as_deref())?;
    let text = if question.json { as_json(&sum) } else { as_text(&sum) };
    Ok(terminal::print(&text)?)
}

fn read(directory: &Path, since: Option<&str>) -> Result<Sum> {
    let since = since.map_or_else(String::new, |since| format!("since:{since} "));
    let filter = format!("{since}type:coverage,gap");
    let mut journal = Journal::new(directory);
    let mut query = Query::new(filter.as_bytes(), clock::wall(), Order::OldestFirst)?;
    let mut sum = Sum::default();
    loop {
        let page = query.search(&mut journal, &index_folder(directory), PAGE)?;
        for hit in &page.hits {
            match hit.entry() {
                Ok(entry) => sum.add(&entry.event),
                Err(_newer_version) => sum.unreadable += 1,
            }
        }
        sum.unreadable += page.figures.damaged_lines;
        match page.next {
            Some(token) => query = query.next(token),
            None => return Ok(sum),
        }
    }
}

fn as_json(sum: &Sum) -> String {
    let databases: Vec<_> = sum
        .databases
        .iter()
        .map(|(name, database)| {
            let classes: Vec<_> = database
                .classes
                .iter()
                .map(|((class, detail), count)| {
                    let detail = (!detail.is_empty()).then_some(detail);
                    json!({
                        "class": class, "detail": detail,
                        "sessions": count.sessions, "open": count.open, "bytes": count.bytes,
                    })
                })
                .collect();
            json!({
                "database": name, "from": database.from.to_string(), "to": database.to.to_string(),
                "intervals": database.intervals, "observed": database.observed(), "classes": classes,
                "lost_events": database.lost_events,
            })
        })
        .collect();
    let about = json!({
        "databases": databases, "not_observed_us": sum.not_observed_us, "unreadable_records": sum.unreadable,
    });
    format!("{about}\n")
}

fn as_text(sum: &Sum) -> String {
    let mut out = String::new();
    if sum.databases.is_empty() {
        out.push_str("no interval of the coverage ledger is recorded in this time\n");
    }
    for (name, database) in &sum.databases {
        let (from, to) = (words::second(database.from), words::second(database.to));
        let observed = database.observed();
        let _ = writeln!(out, "{}  {from} to {to} (UTC)", escape(name));
        let _ = writeln!(out, "  {:<32} {:>10} {:>8} {:>10}", "CLASS", "SESSIONS", "OPEN", "BYTES");
        let mut line = |name: &str, count: &CountForm| {
            let bytes = words::bytes(count.bytes);
            let _ = writeln!(out, "  {name:<32} {:>10} {:>8} {bytes:>10}", count.sessions, count.open);
        };
        for ((class, detail), count) in &database.classes {
            let name = if detail.is_empty() { class.clone() } else { format!("{class} ({detail})") };
            line(&escape(&name), count);
        }
        line("observed", &observed);
        if database.lost_events > 0 {
            let lost = words::count(database.lost_events, "event was", "events were");
            let _ = writeln!(out, "  {lost} lost on this host: what they would have told is missing above");
        }
    }
    if sum.not_observed_us > 0 {
        let span = words::duration(sum.not_observed_us);
        let _ = writeln!(out, "not observed, because no agent ran: {span} (warder search type:gap)");
    }
    if sum.unreadable > 0 {
        let records = words::count(sum.unreadable, "record is", "records are");
        let _ = writeln!(out, "{records} not readable; see warder verify");
    }
    out
}

#[cfg(test)]
mod tests {
    use model::coverage::{BypassReason, Class, ClassCount, Coverage};
    use model::id::DatabaseId;
    use model::time::WallTime;

    use super::*;

    fn interval(from: u64, classes: &[(Class, u64, u64, u64)]) -> Event {
        let count = |sessions, open, bytes| ClassCount { sessions, open, bytes };
        let coverage = Coverage {
            database: DatabaseId(0),
            database_name: "orders".into(),
            from: WallTime(from * 1_000_000_000),
            to: WallTime((from + 60) * 1_000_000_000),
            classes: classes.iter().map(|(class, a, b, c)| (class.clone(), count(*a, *b, *c))).collect(),
            lost_events: 0,
        };
        let form = CoverageForm::from(&coverage);
        let text = serde_json::to_string(&form).expect("a form");
        let owned: CoverageForm<'static> = serde_json::from_str(&text).expect("the same form");
        Event::Coverage(Box::new(owned))
    }

    #[test]
    fn intervals_are_added_and_the_last_tells_what_is_open() {
        let mut sum = Sum::default();
        sum.add(&interval(0, &[(Class::Mediated, 3, 2, 1000), (Class::Bypass(BypassReason::UnixSocket), 1, 1, 24)]));
        sum.add(&interval(60, &[(Class::Mediated, 1, 3, 500)]));
        let text = as_text(&sum);
        let expected = "\
orders  1970-01-01 00:00:00 to 1970-01-01 00:02:00 (UTC)
  CLASS                              SESSIONS     OPEN      BYTES
  bypass (unix_socket)                      1        0         24
  mediated                                  4        3       1.5K
  observed                                  5        3       1.5K
";
        assert_eq!(text, expected);
        let json: serde_json::Value = serde_json::from_str(&as_json(&sum)).expect("JSON");
        assert_eq!(json["databases"][0]["observed"], json!({"sessions": 5, "open": 3, "bytes": 1524}));
        assert_eq!(json["databases"][0]["classes"][1]["detail"], serde_json::Value::Null);
    }
}
