//! The coverage ledger: which share of every database's sessions and bytes went which way.
//!
//! Every session is counted once, in the interval in which its class became known, and every byte of its ledger once,
//! in the interval in which it was reported. So what was observed is exactly the sum of the classes.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::coverage::{Class, ClassCount, Coverage};
use model::id::{DatabaseId, SocketCookie};
use model::mediation::Leg;
use model::record::{Record, What};
use model::session::Session;
use model::time::{BootTime, WallTime};

use crate::Sessions;
use crate::entry::Entry;
use crate::guard::Guard;

/// Classes that one database has a line for in one interval; the names of rules come from the configuration.
type Classes = BTreeMap<Class, ClassCount>;

/// The interval that is under way.
#[derive(Debug, Default)]
pub(crate) struct Interval {
    begin: Option<(WallTime, BootTime)>,
    databases: BTreeMap<DatabaseId, Classes>,
    lost_before: u64,
}

impl Sessions {
    /// From now on the clients of this database are sent through the proxy (`Some`), or no more (`None`).
    /// To be repeated when anything about it changes: sessions that are open get their class by the last word.
    pub fn set_guarded(&mut self, database: DatabaseId, guard: Option<Guard>) {
        let guard = match guard {
            Some(guard) => self.guards.entry(database).insert_entry(guard).get().clone(),
            None => {
                self.guards.remove(&database);
                for entry in self.live.values_mut().filter(|entry| is_direct_of(entry, database)) {
                    entry.session.class = None;
                }
                return;
            }
        };
        for entry in self.live.values_mut().filter(|entry| is_direct_of(entry, database)) {
            classify(entry, &guard);
        }
    }

    /// The agent stops: the interval that is under way is recorded. Nothing may follow.
    pub fn on_stop(&mut self, now: BootTime, out: &mut Vec<Record>) {
        self.latest = self.latest.max(now);
        self.give_up_all(out);
        self.close_interval(now, out);
    }

    /// Records the intervals that are over.
    pub(crate) fn tick_coverage(&mut self, now: BootTime, out: &mut Vec<Record>) {
        let Some((_, begin)) = self.interval.begin else {
            self.interval.begin = Some((self.clock.wall(now), now));
            return;
        };
        if now.nanos_since(begin) >= self.limits.coverage_nanos {
            self.close_interval(now, out);
        }
    }

    fn close_interval(&mut self, now: BootTime, out: &mut Vec<Record>) {
        let cookies: Vec<SocketCookie> = self.live.keys().copied().collect();
        for cookie in cookies {
            if let Some(entry) = self.live.get_mut(&cookie) {
                reclassify(entry, &self.guards);
                count(entry, &mut self.interval, &mut self.totals.coverage, true);
            }
        }
        let to = self.clock.wall(now);
        let from = self.interval.begin.map_or(to, |(from, _)| from);
        self.interval.begin = Some((to, now));
        let lost = self.events_lost_in_total();
        let lost_events = lost - std::mem::replace(&mut self.interval.lost_before, lost);
        for (database, classes) in std::mem::take(&mut self.interval.databases) {
            let name = self.database_names.get(&database).map_or_else(|| Arc::from("unnamed"), Arc::clone);
            let classes = classes.into_iter().collect();
            let coverage = Coverage { database, database_name: name, from, to, classes, lost_events };
            out.push(Record { time: to, what: What::Coverage(Arc::new(coverage)) });
        }
    }

    /// A session ends: its last bytes belong to the interval that is under way.
    pub(crate) fn count_last(&mut self, entry: &mut Entry) {
        reclassify(entry, &self.guards);
        count(entry, &mut self.interval, &mut self.totals.coverage, false);
    }

    /// A session is announced: from now on its class is known. Tells whoever got around the proxy, with the time of the
    /// telling: the session's own record says when it came.
    pub(crate) fn announced(&mut self, cookie: SocketCookie, out: &mut Vec<Record>) {
        let Some(entry) = self.live.get_mut(&cookie) else {
            return;
        };
        if let Some(Class::Bypass(reason)) = entry.session.class {
            let session = Arc::new(entry.session.clone());
            let time = self.clock.wall(self.latest);
            out.push(Record { time, what: What::Bypass { session, reason } });
        }
    }

    fn events_lost_in_total(&self) -> u64 {
        let totals = &self.totals;
        totals.lost.values().sum::<u64>() + totals.sessions_beyond_limit + totals.early_events_dropped
    }
}

fn is_direct_of(entry: &Entry, database: DatabaseId) -> bool {
    entry.session.database == database && entry.leg == Leg::Direct
}

/// Gives a direct session of a guarded database its class; others get theirs when they are joined.
pub(crate) fn reclassify(entry: &mut Entry, guards: &BTreeMap<DatabaseId, Guard>) {
    if entry.leg == Leg::Direct
        && let Some(guard) = guards.get(&entry.session.database)
    {
        classify(entry, guard);
    }
}

/// What was told of a bypass stays: the guard of today does not know how it was when the session came.
fn classify(entry: &mut Entry, guard: &Guard) {
    let class = guard.class_of(&entry.session);
    let was_told = !entry.is_new() && matches!(entry.session.class, Some(Class::Bypass(_)));
    if !was_told || !matches!(class, Class::Bypass(_)) {
        entry.session.class = Some(class);
    }
}

/// Adds what is new of a session to the interval and to the totals.
fn count(
    entry: &mut Entry,
    interval: &mut Interval,
    totals: &mut BTreeMap<(DatabaseId, Class), ClassCount>,
    open: bool,
) {
    if !entry.is_counted {
        // It waits for its other half.
        return;
    }
    let session = &entry.session;
    let class = session.class.clone().unwrap_or(Class::NotGuarded);
    let bytes = bytes_of(session);
    let news = ClassCount {
        sessions: u64::from(!std::mem::replace(&mut entry.is_in_coverage, true)),
        open: u64::from(open),
        bytes: bytes - std::mem::replace(&mut entry.bytes_in_coverage, bytes),
    };
    let of_interval = interval.databases.entry(session.database).or_default().entry(class.clone()).or_default();
    *of_interval = of_interval.plus(news);
    let total = totals.entry((session.database, class)).or_default();
    *total = total.plus(ClassCount { open: 0, ..news });
}

fn bytes_of(session: &Session) -> u64 {
    session.ledger.socket_received.saturating_add(session.ledger.socket_sent)
}
