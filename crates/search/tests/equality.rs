//! A search finds what a look at every line finds, whatever state the index is in.
#![allow(clippy::unwrap_used, clippy::panic, clippy::allow_attributes, reason = "helpers of tests")]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use common::brute;
use common::generate::{Happening, Scribe, Typed, happening, typed};
use common::{Memory, NOW};
use proptest::prelude::*;
use search::filter::{Condition, Filter, Key};
use search::index::indexer::Indexer;
use search::query::{Bounds, Order, Query, SearchError, sessions};
use serde_json::Value;

/// What happens to journal and index.
#[derive(Clone, Debug)]
enum Event {
    Append(Vec<Happening>),
    Rotate,
    /// So many steps of the indexer that runs.
    Step(u8),
    /// The indexer is killed; the next step starts another.
    Kill,
    /// A byte of a file of the index is changed.
    Damage(u8, u16),
    /// A file of the index is cut off.
    Truncate(u8, u16),
    /// A file of the index is gone.
    Remove(u8),
    /// Retention removes the oldest segments.
    Retire(u8),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => prop::collection::vec(happening(), 1..20).prop_map(Event::Append),
        3 => Just(Event::Rotate),
        4 => (1..4u8).prop_map(Event::Step),
        1 => Just(Event::Kill),
        1 => any::<(u8, u16)>().prop_map(|(file, at)| Event::Damage(file, at)),
        1 => any::<(u8, u16)>().prop_map(|(file, at)| Event::Truncate(file, at)),
        1 => any::<u8>().prop_map(Event::Remove),
        1 => (1..3u8).prop_map(Event::Retire),
    ]
}

fn files(directory: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.filter(|path| path.extension().is_some_and(|end| end == "index")).collect();
    files.sort();
    files
}

fn pick(directory: &Path, number: u8) -> Option<std::path::PathBuf> {
    let files = files(directory);
    (!files.is_empty()).then(|| files[usize::from(number) % files.len()].clone())
}

/// A journal with its index and everything that was ever in it.
struct World<'j> {
    journal: &'j Memory,
    directory: &'j Path,
    indexer: Option<Indexer<&'j Memory>>,
    scribe: Scribe,
    retired: bool,
    ever: Vec<String>,
}

impl<'j> World<'j> {
    fn new(journal: &'j Memory, directory: &'j Path) -> Self {
        Self { journal, directory, indexer: None, scribe: Scribe::default(), retired: false, ever: Vec::new() }
    }

    fn apply(&mut self, event: &Event) {
        match event {
            Event::Append(happenings) => {
                let before = self.journal.lines().len();
                happenings.iter().for_each(|happening| self.scribe.write(self.journal, happening));
                self.ever.extend(self.journal.lines().into_iter().skip(before));
            }
            Event::Rotate => self.journal.rotate(self.scribe.seq + 1),
            Event::Step(steps) => {
                let open = || Indexer::open(self.directory, self.journal).unwrap();
                let indexer = self.indexer.get_or_insert_with(open);
                for _ in 0..*steps {
                    indexer.step().unwrap();
                }
            }
            Event::Kill => self.indexer = None,
            Event::Damage(file, at) => {
                let Some(path) = pick(self.directory, *file) else { return };
                let mut bytes = fs::read(&path).unwrap();
                let Some(at) = usize::from(*at).checked_rem(bytes.len()) else { return };
                bytes[at] ^= 1 << (at % 8);
                fs::write(path, bytes).unwrap();
            }
            Event::Truncate(file, at) => {
                let Some(path) = pick(self.directory, *file) else { return };
                let bytes = fs::read(&path).unwrap();
                fs::write(&path, &bytes[..usize::from(*at).checked_rem(bytes.len()).unwrap_or(0)]).unwrap();
            }
            Event::Remove(file) => {
                let Some(path) = pick(self.directory, *file) else { return };
                fs::remove_file(path).unwrap();
            }
            Event::Retire(count) => {
                self.retired |= self.journal.segments() > 1;
                self.journal.remove_oldest(usize::from(*count));
            }
        }
    }

    /// All pages of a search.
    fn search(&self, filter: &str, order: Order, bounds: Bounds) -> Result<Vec<u64>, Key> {
        let mut query = Query::new(filter.as_bytes(), NOW, order).unwrap();
        let mut found = Vec::new();
        loop {
            let page = match query.search(&mut &*self.journal, self.directory, bounds) {
                Err(SearchError::NotRecorded { key }) => {
                    assert!(found.is_empty());
                    return Err(key);
                }
                page => page.unwrap(),
            };
            assert!(page.hits.len() <= bounds.hits_max);
            found.extend(page.hits.iter().map(|hit| hit.seq));
            let Some(token) = page.next else { break };
            query = Query::resume(filter.as_bytes(), &token.to_string()).unwrap();
        }
        match order {
            Order::NewestFirst => assert!(found.is_sorted_by(|a, b| a > b), "{found:?}"),
            Order::OldestFirst => assert!(found.is_sorted_by(|a, b| a < b), "{found:?}"),
        }
        found.sort_unstable();
        Ok(found)
    }

    /// Whoever passes over what the index allows to pass over misses nothing that a search finds.
    fn check_passable(&self, filter: &str, found: &[u64]) {
        let query = Query::new(filter.as_bytes(), NOW, Order::OldestFirst).unwrap();
        let passable = query.passable(&mut &*self.journal, self.directory).unwrap();
        assert!(found.iter().all(|seq| !passable.have_all(*seq, *seq)), "{filter}: {found:?} and {passable:?}");
    }

    /// The index knows the sessions that a look at every line knows, or says that it does not.
    fn check_sessions(&self, typed: &str) {
        let records = self.journal.lines().into_iter().map(|line| serde_json::from_str::<Value>(&line).unwrap());
        let all: BTreeSet<String> = records.filter_map(|record| Some(record["session"].as_str()?.to_owned())).collect();
        let pick = |fits: &dyn Fn(&str) -> bool| all.iter().filter(|id| fits(id)).cloned().collect::<Vec<_>>();
        let exact = pick(&|id| id == typed || id.rsplit('-').next() == Some(typed));
        let expected = if exact.is_empty() { pick(&|id| id.starts_with(typed)) } else { exact };
        if let Some(found) = sessions(typed, &mut &*self.journal, self.directory).unwrap() {
            assert_eq!(
                found.iter().map(|session| session.as_str().to_owned()).collect::<Vec<_>>(),
                expected,
                "{typed}"
            );
        }
    }

    fn check(&self, terms: &[Typed], since: Option<u8>, order: Order, bounds: Bounds) {
        let mut filter: Vec<String> = terms.iter().map(Typed::text).collect();
        filter.extend(since.map(|minutes| format!("since:{minutes}m")));
        let filter = filter.join(" ");
        let since = since.map(|minutes| NOW.0 - u64::from(minutes) * 60_000_000_000);
        let lines = self.journal.lines();
        let remaining = brute::search(&lines, &brute::known(&lines), terms, since);
        let found = self.search(&filter, order, bounds).unwrap_or_else(|key| {
            assert!(!brute::is_recorded(&lines, &key.to_string(), since), "{filter}: {key} is recorded");
            Vec::new()
        });
        self.check_passable(&filter, &found);
        let parsed = Filter::parse(filter.as_bytes(), NOW).unwrap();
        let attributes = parsed.terms.iter().any(|term| matches!(term.condition, Condition::Attribute(_)));
        if !self.retired || !attributes {
            assert_eq!(found, remaining, "{filter}");
            return;
        }
        // The index may still know of sessions what removed segments said.
        let ever = brute::search(&lines, &brute::known(&self.ever), terms, since);
        let either = |seq: &u64| remaining.contains(seq) || ever.contains(seq);
        assert!(found.iter().all(either), "{filter}: {found:?}, now {remaining:?}, ever {ever:?}");
        let both = remaining.iter().filter(|seq| ever.contains(seq));
        assert!(terms.len() > 1 || both.into_iter().all(|seq| found.contains(seq)), "{filter}: {found:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn a_search_finds_what_a_look_at_every_line_finds(
        events in prop::collection::vec(event(), 1..30),
        questions in prop::collection::vec(
            (prop::collection::vec(typed(), 0..3), prop::option::of(1..60u8), any::<bool>(), 1..20usize, 1..20usize),
            12,
        ),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let index = directory.path().join("index");
        let journal = Memory::default();
        let mut world = World::new(&journal, &index);
        for (number, event) in events.iter().enumerate() {
            world.apply(event);
            let (terms, since, newest, hits_max, blocks_max) = &questions[number % questions.len()];
            let order = if *newest { Order::NewestFirst } else { Order::OldestFirst };
            world.check(terms, *since, order, Bounds { hits_max: *hits_max, blocks_max: *blocks_max });
        }
        for typed in ["40", "41", "0", "0123abcd-feed0001", "0123abcd-feed0000-42", "9", "none", ""] {
            world.check_sessions(typed);
        }
        for (terms, since, newest, hits_max, blocks_max) in &questions {
            let order = if *newest { Order::NewestFirst } else { Order::OldestFirst };
            world.check(terms, *since, order, Bounds { hits_max: *hits_max, blocks_max: *blocks_max });
        }
    }
}
