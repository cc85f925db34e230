//! What the sessions of all workers change in the catalogues, so that none is judged by what another has changed meanwhile.
//!
//! Who changes a catalogue says so before the server hears of it. Whoever is shown less than everything is judged as if it
//! had changed the same, until a snapshot is there that was read behind the change.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::rc::Rc;

use model::facts::{Facts, StateChange};
use model::time::BootTime;
use recorder::{Change, ChangeReader, ChangeWriter, Notice};
use sql::changed::Changed;
use sql::state::State;

/// How long a statement may go on at the server whose session is gone: nobody hears when its change is there for everybody.
const ABANDONED_NANOS: u64 = 60_000_000_000;
/// Changes that one session tells apart until they are there for everybody; with more it may be everything.
const SAID_MAX: usize = 32;
/// Sessions that change one catalogue at once, and are told apart.
const OPEN_MAX: usize = 4096;
/// Catalogues that are told apart: more than there are.
const CATALOGUES_MAX: usize = 4096;
/// Changes that are over and kept apart; the older ones are kept as one.
const OVER_MAX: usize = 64;

/// What sessions have changed in a catalogue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Altered {
    changed: Changed,
    functions: bool,
}

impl Altered {
    const fn is_nothing(&self) -> bool {
        self.changed.is_nothing() && !self.functions
    }

    fn note(&mut self, change: &StateChange) {
        self.changed.note(change);
        self.functions |= *change == StateChange::Functions;
    }

    fn join(&mut self, other: &Self) {
        self.changed.join(&other.changed);
        self.functions |= other.functions;
    }

    fn everything() -> Self {
        Self { changed: Changed::Everything, functions: true }
    }

    /// A session as if it had changed this itself.
    pub(crate) fn applied_to(&self, state: &State) -> State {
        let mut state = state.clone();
        state.changed.join(&self.changed);
        state.functions_changed |= self.functions;
        state
    }

    /// Whether what is known of a text may be wrong with this.
    pub(crate) fn concerns(&self, facts: &Facts, catalogue: &sql::catalogue::Catalogue) -> bool {
        self.functions || sql::changed::concerns(&self.changed, facts, catalogue)
    }
}

/// One catalogue.
#[derive(Debug, Default)]
struct Catalogue {
    /// What is under way, by log and session.
    open: HashMap<(usize, u64), Altered>,
    /// What is there for everybody since then: the last ones, for those who ask by older snapshots too.
    over: VecDeque<(BootTime, Altered)>,
}

impl Catalogue {
    fn close(&mut self, who: (usize, u64), at: BootTime) {
        let Some(altered) = self.open.remove(&who) else { return };
        self.put(at, altered);
    }

    fn put(&mut self, at: BootTime, altered: Altered) {
        self.over.push_back((at, altered));
        if self.over.len() > OVER_MAX
            && let Some((first, oldest)) = self.over.pop_front()
            && let Some((next, into)) = self.over.front_mut()
        {
            into.join(&oldest);
            *next = first.max(*next);
        }
    }
}

/// What all workers are told, and tell.
pub struct Neighbours {
    inner: RefCell<Inner>,
    clock: fn() -> BootTime,
}

struct Inner {
    writer: ChangeWriter,
    logs: Vec<ChangeReader>,
    catalogues: HashMap<u64, Catalogue>,
    /// Until when what could not be heard counts as happening, in every catalogue.
    missed: Option<BootTime>,
    /// Another number whenever something was heard.
    epoch: u64,
    /// Numbers given to sessions.
    sessions: u64,
    /// Which of the logs is the one that is written here.
    own: usize,
}

impl fmt::Debug for Neighbours {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Neighbours").finish_non_exhaustive()
    }
}

impl Neighbours {
    /// With the logs of all workers, of which this one is written here.
    #[must_use]
    pub fn new(mut writer: ChangeWriter, logs: Vec<ChangeReader>, own: usize, clock: fn() -> BootTime) -> Self {
        writer.write(&Notice { session: 0, catalogue: 0, change: Change::Begins(clock()) });
        let inner = Inner { writer, logs, catalogues: HashMap::new(), missed: None, epoch: 0, sessions: 0, own };
        Self { inner: RefCell::new(inner), clock }
    }

    /// Hears what is new: to be called now and then, also while nobody asks.
    pub fn listen(&self) {
        self.inner.borrow_mut().listen(self.clock);
    }
}

impl Inner {
    fn listen(&mut self, clock: fn() -> BootTime) {
        let Self { logs, catalogues, missed, epoch, .. } = self;
        for (log, reader) in logs.iter_mut().enumerate().filter(|(_, reader)| reader.has_news()) {
            *epoch += 1;
            let heard = reader.read(&mut |notice| hear(catalogues, log, notice));
            let is_much = catalogues.len() > CATALOGUES_MAX
                || catalogues.values().any(|catalogue| catalogue.open.len() > OPEN_MAX);
            if heard.is_err() || is_much {
                catalogues.clear();
                *missed = Some(abandoned(clock()));
            }
        }
    }
}

fn abandoned(at: BootTime) -> BootTime {
    BootTime(at.0.saturating_add(ABANDONED_NANOS))
}

fn hear(catalogues: &mut HashMap<u64, Catalogue>, log: usize, Notice { session, catalogue, change }: Notice) {
    let change = match change {
        Change::Relation(name) => StateChange::Relation { name, made_in: None },
        Change::Everything => StateChange::Catalogue,
        Change::Functions => StateChange::Functions,
        Change::Over(at) => return catalogues.entry(catalogue).or_default().close((log, session), at),
        Change::Begins(at) => {
            for catalogue in catalogues.values_mut() {
                let gone: Vec<_> = catalogue.open.keys().filter(|(of, _)| *of == log).copied().collect();
                gone.into_iter().for_each(|who| catalogue.close(who, abandoned(at)));
            }
            return;
        }
    };
    let catalogue = catalogues.entry(catalogue).or_default();
    catalogue.open.entry((log, session)).or_default().note(&change);
}

/// One session among all.
pub(crate) struct Place {
    neighbours: Option<Rc<Neighbours>>,
    session: u64,
    catalogue: u64,
    /// What it has said since everything was there for everybody; more than that is everything.
    said: BTreeSet<Change>,
}

impl Place {
    /// In an SQL database of a database. Without neighbours nobody hears of it, nor it of anybody.
    pub(crate) fn new(neighbours: Option<Rc<Neighbours>>, database: &str, sql_database: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        (database, sql_database).hash(&mut hasher);
        let session = neighbours.as_ref().map_or(0, |neighbours| {
            let mut inner = neighbours.inner.borrow_mut();
            inner.sessions += 1;
            inner.sessions
        });
        Self { neighbours, session, catalogue: hasher.finish(), said: BTreeSet::new() }
    }

    /// Something with these facts is about to go to the server.
    pub(crate) fn announce(&mut self, facts: &Facts) {
        let changes = facts.statements.iter().flat_map(|facts| &facts.changes);
        for change in changes.filter(|change| change.is_of_catalogue()) {
            let change = match change {
                StateChange::Relation { name, .. } => Change::Relation(name.clone()),
                StateChange::Functions => Change::Functions,
                _ => Change::Everything,
            };
            let change = if self.said.len() < SAID_MAX { change } else { Change::Everything };
            if !self.said.contains(&Change::Everything) || change == Change::Functions {
                self.say_once(change);
            }
        }
    }

    /// Everything is answered, outside of a transaction.
    pub(crate) fn settle(&mut self, at: BootTime) {
        if !std::mem::take(&mut self.said).is_empty() {
            self.say(Change::Over(at));
        }
    }

    fn say_once(&mut self, change: Change) {
        if self.said.insert(change.clone()) {
            self.say(change);
        }
    }

    fn say(&self, change: Change) {
        if let Some(neighbours) = &self.neighbours {
            let notice = Notice { session: self.session, catalogue: self.catalogue, change };
            neighbours.inner.borrow_mut().writer.write(&notice);
        }
    }

    /// Hears what is new; returns another number whenever there was something. `None`: it has no neighbours.
    pub(crate) fn listen(&self) -> Option<u64> {
        let neighbours = self.neighbours.as_ref()?;
        let mut inner = neighbours.inner.borrow_mut();
        inner.listen(neighbours.clock);
        Some(inner.epoch)
    }

    /// What others have changed, as far as was heard, that a snapshot that was read then does not have. `None`: nothing.
    pub(crate) fn altered(&self, read_at: Option<BootTime>) -> Option<Altered> {
        let inner = self.neighbours.as_ref()?.inner.borrow();
        let own = (inner.own, self.session);
        let is_news = |at: BootTime| read_at.is_none_or(|read_at| at >= read_at);
        let mut sum = if inner.missed.is_some_and(is_news) { Altered::everything() } else { Altered::default() };
        if let Some(Catalogue { open, over }) = inner.catalogues.get(&self.catalogue) {
            let open = open.iter().filter(|(who, _)| **who != own).map(|(_, altered)| altered);
            let over = over.iter().filter(|(at, _)| is_news(*at)).map(|(_, altered)| altered);
            open.chain(over).for_each(|altered| sum.join(altered));
        }
        (!sum.is_nothing()).then_some(sum)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(neighbours) = self.neighbours.as_ref().filter(|_| !self.said.is_empty()) {
            self.say(Change::Over(abandoned((neighbours.clock)())));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

    use std::sync::Arc;

    use model::facts::StatementFacts;
    use recorder::Bulletin;

    use super::*;

    fn now() -> BootTime {
        BootTime(1000)
    }

    /// Two workers, and a third that takes the place of the second.
    fn workers() -> [Rc<Neighbours>; 3] {
        let logs = [Bulletin::create().unwrap(), Bulletin::create().unwrap()];
        let worker = |own: usize| {
            let writer = ChangeWriter::open(&logs[own].writer().try_clone_to_owned().unwrap()).unwrap();
            let readers = logs.iter().map(|log| ChangeReader::open(&log.reader().unwrap()).unwrap()).collect();
            Neighbours::new(writer, readers, own, now)
        };
        [Rc::new(worker(0)), Rc::new(worker(1)), Rc::new(worker(1))]
    }

    fn place(worker: &Rc<Neighbours>, sql_database: &str) -> Place {
        Place::new(Some(Rc::clone(worker)), "shop", sql_database)
    }

    fn changing(names: &[&str]) -> Facts {
        let change = |name: &&str| StateChange::Relation { name: Arc::from(*name), made_in: None };
        let statement = StatementFacts { changes: names.iter().map(change).collect(), ..StatementFacts::default() };
        Facts { statements: vec![statement], opaque: None }
    }

    /// What a session has heard of that a snapshot of that time does not have.
    fn altered(place: &Place, read_at: u64) -> Vec<String> {
        place.listen();
        let altered = place.altered(Some(BootTime(read_at))).unwrap_or_default();
        let names = ["orders", "people", "anything"];
        names.iter().filter(|name| altered.changed.is_among(name)).map(ToString::to_string).collect()
    }

    #[test]
    fn others_hear_of_a_change_before_it_is_there_and_until_a_snapshot_has_it() {
        let [first, second, _] = workers();
        let mut changes = place(&first, "postgres");
        let observers = [place(&first, "postgres"), place(&second, "postgres")];
        let elsewhere = place(&second, "another");
        changes.announce(&changing(&["orders"]));
        changes.announce(&changing(&["people"]));
        for observer in &observers {
            assert_eq!(altered(observer, u64::MAX), ["orders", "people"], "whenever a snapshot was read");
        }
        assert_eq!(altered(&elsewhere, 0), [""; 0]);
        assert_eq!(altered(&changes, 0), [""; 0], "its own are none of another's");
        changes.settle(BootTime(50));
        for observer in &observers {
            assert_eq!(altered(observer, 50), ["orders", "people"]);
            assert_eq!(altered(observer, 51), [""; 0]);
            // Something that was asked by an older snapshot.
            assert_eq!(altered(observer, 7), ["orders", "people"]);
        }
        changes.settle(BootTime(60));
        assert_eq!(altered(&observers[0], 51), [""; 0], "it has changed nothing since");
    }

    #[test]
    fn what_is_under_way_when_a_session_or_worker_ends_may_go_on_for_a_while() {
        let [first, second, restarted] = workers();
        let observer = place(&first, "postgres");
        let mut changes = place(&first, "postgres");
        changes.announce(&changing(&["orders"]));
        drop(changes);
        let end = abandoned(now()).0;
        assert_eq!(altered(&observer, end), ["orders"]);
        assert_eq!(altered(&observer, end + 1), [""; 0]);
        let mut changes = place(&second, "postgres");
        changes.announce(&changing(&["people"]));
        assert_eq!(altered(&observer, end + 1), ["people"]);
        // The worker is killed, and another one begins.
        std::mem::forget(changes);
        drop(restarted);
        let begins = Notice { session: 0, catalogue: 0, change: Change::Begins(now()) };
        second.inner.borrow_mut().writer.write(&begins);
        assert_eq!(altered(&observer, end), ["orders", "people"]);
        assert_eq!(altered(&observer, end + 1), [""; 0]);
    }

    #[test]
    fn what_is_missed_may_be_anything_in_every_catalogue() {
        let [first, second, _] = workers();
        let observer = place(&first, "postgres");
        let mut changes = place(&second, "another");
        for number in 0..5000 {
            changes.announce(&changing(&["orders"]));
            changes.settle(BootTime(number));
        }
        let end = abandoned(now()).0;
        assert_eq!(altered(&observer, end), ["orders", "people", "anything"]);
        assert_eq!(altered(&observer, end + 1), [""; 0]);
    }

    #[test]
    fn who_changes_much_says_so_once() {
        let [first, second, _] = workers();
        let observer = place(&first, "postgres");
        let names: Vec<String> = (0..10_000).map(|number| format!("t{number}")).collect();
        let mut changes = place(&second, "postgres");
        changes.announce(&changing(&names.iter().map(String::as_str).collect::<Vec<_>>()));
        assert_eq!(altered(&observer, u64::MAX), ["orders", "people", "anything"]);
        let elsewhere = place(&first, "another");
        assert_eq!(altered(&elsewhere, 0), [""; 0], "nothing was missed");
        changes.settle(BootTime(50));
        assert_eq!(altered(&observer, 51), [""; 0]);
    }

    #[test]
    fn of_many_changes_the_older_ones_are_kept_as_one() {
        let [first, ..] = workers();
        let observer = place(&first, "postgres");
        let mut changes = place(&first, "postgres");
        for (time, name) in (1..=200).zip(["people", "orders"].into_iter().cycle()) {
            changes.announce(&changing(&[name]));
            changes.settle(BootTime(time));
        }
        assert_eq!(altered(&observer, 200), ["orders"]);
        assert_eq!(altered(&observer, 199), ["orders", "people"]);
        assert_eq!(altered(&observer, 1), ["orders", "people"]);
        assert_eq!(altered(&observer, 201), [""; 0]);
    }
}
