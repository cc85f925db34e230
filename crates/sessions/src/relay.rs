//! What is kept of a proxied connection beside its session: whose word counts, which ends were seen, and whether the
//! two witnesses agree.

use std::sync::Arc;

use model::mediation::{Moment, RelayCounts};
use model::principal::Principal;
use model::process::{Process, ProcessKey};
use model::session::Ledger;
use model::time::BootTime;

/// Which decoder's word counts for a hop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Source {
    /// Not known yet: what comes from the kernel waits.
    #[default]
    Undecided,
    /// The worker reads the plaintext. What the kernel witness decodes as well only repeats it.
    Worker,
    /// The worker relays ciphertext, or says nothing.
    Kernel,
}

/// State of one proxied connection.
#[derive(Debug, Default)]
pub(crate) struct Relay {
    pub(crate) source: Source,
    /// The proxy has said what protects the client's side.
    pub(crate) encryption_known: bool,
    /// Since when it waits for its other half.
    pub(crate) since: BootTime,
    /// It has waited long enough: it stands for itself.
    pub(crate) is_alone: bool,
    /// The kernel saw the client's connection end.
    pub(crate) front_closed: Option<BootTime>,
    /// The proxy said that it is over.
    pub(crate) ended: Option<BootTime>,
    /// The kernel saw the server's end (and whether an iterator noticed it).
    pub(crate) server_closed: Option<(BootTime, bool)>,
    pub(crate) comparison: Comparison,
    /// Who acted until the proof of that ended.
    pub(crate) outlived: Option<Arc<Principal>>,
    /// What its client's processes did before it counted as a session.
    pub(crate) changes: Vec<ProcessChange>,
}

/// A process that holds the client's connection began, became another program, or ended.
#[derive(Debug)]
pub(crate) struct ProcessChange {
    pub(crate) change: &'static str,
    pub(crate) at: BootTime,
    pub(crate) key: ProcessKey,
    pub(crate) process: Option<Arc<Process>>,
    /// The process is the client itself.
    pub(crate) is_client: bool,
}

impl Relay {
    /// Keeps what a process did until it can be told, at most `max` of it; whether something had to be dropped for that. Which
    /// programs were executed is kept longest, and of these the client's own: however often it forks, it cannot hide them.
    pub(crate) fn keep(&mut self, change: ProcessChange, max: usize) -> bool {
        self.changes.push(change);
        let is_over = self.changes.len() > max;
        if is_over {
            let place = |is_least: fn(&ProcessChange) -> bool| self.changes.iter().position(is_least);
            let least = place(|change| change.change != "exec").or_else(|| place(|change| !change.is_client));
            self.changes.remove(least.unwrap_or_default());
        }
        is_over
    }

    /// A connection that waits since `at`.
    pub(crate) fn since(at: BootTime) -> Box<Self> {
        Box::new(Self { since: at, ..Self::default() })
    }

    /// When the proxy told counts that nothing of the server's can follow any more.
    pub(crate) fn last_counts(&self) -> Option<BootTime> {
        self.ended.or(self.comparison.finished)
    }

    /// When the first of its ends was seen.
    pub(crate) fn first_end(&self) -> Option<BootTime> {
        let server = self.server_closed.map(|(at, _)| at);
        [self.front_closed, self.ended, server].into_iter().flatten().min()
    }
}

/// A figure on which the two witnesses differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) figure: &'static str,
    pub(crate) proxy: u64,
    pub(crate) kernel: u64,
}

/// The kernel's figures that the proxy's must agree with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Figures {
    received: u64,
    sent: u64,
}

/// Compares at quiet points and at the end.
#[derive(Debug, Default)]
pub(crate) struct Comparison {
    /// The last look at the kernel's ledger, and when these figures were seen first.
    seen: Option<(Figures, BootTime)>,
    last_look: BootTime,
    /// When the proxy counted, if it was at a quiet point.
    quiet: Option<BootTime>,
    /// When it counted after the server had finished.
    finished: Option<BootTime>,
    /// Looks in a row that found a difference.
    suspicious: u8,
    /// Reported already: a wrong ledger does not become right.
    reported: bool,
}

/// Looks that find the same difference before it is reported.
const LOOKS: u8 = 2;
/// A look's own time may be this much behind: the core's clock is that of the last event.
const CLOCK_SLACK: u64 = 1_000_000_000;

impl Comparison {
    /// The proxy has counted.
    pub(crate) fn counted(&mut self, at: BootTime, moment: Moment) {
        self.quiet = (moment == Moment::Quiet).then_some(at);
        if moment == Moment::ServerFinished {
            self.finished = Some(at);
        }
    }

    /// A look at the kernel's ledger. Returns what differs, once.
    ///
    /// It compares where the kernel's figures were seen before the proxy counted: whatever they contain the proxy must
    /// have counted too, and at a quiet point the server must have received all that the proxy sent.
    pub(crate) fn look(&mut self, now: BootTime, counts: &RelayCounts, ledger: &Ledger) -> Vec<Difference> {
        let figures = Figures { received: ledger.socket_received, sent: ledger.socket_sent };
        if self.seen.is_none_or(|(seen, _)| seen != figures) {
            self.seen = Some((figures, now));
            (self.suspicious, self.last_look) = (0, now);
            return Vec::new();
        }
        if now.nanos_since(self.last_look) < CLOCK_SLACK {
            return Vec::new();
        }
        self.last_look = now;
        let first_seen = self.seen.map_or(now, |(_, at)| at);
        let is_later = self.quiet.is_some_and(|quiet| quiet.nanos_since(first_seen) >= CLOCK_SLACK);
        let differences = differences(counts, ledger);
        if !is_later || differences.is_empty() {
            self.suspicious = 0;
            return Vec::new();
        }
        self.suspicious += 1;
        if self.suspicious < LOOKS || std::mem::replace(&mut self.reported, true) {
            return Vec::new();
        }
        differences
    }

    /// The end of the session: the receiver of either direction may have read less, never more.
    pub(crate) fn end(&mut self, counts: &RelayCounts, ledger: &Ledger) -> Vec<Difference> {
        if std::mem::replace(&mut self.reported, true) {
            return Vec::new();
        }
        let is_impossible = |difference: &Difference| match difference.figure {
            TO_SERVER | MESSAGES_TO_SERVER => difference.kernel > difference.proxy,
            _ => difference.proxy > difference.kernel,
        };
        differences(counts, ledger).into_iter().filter(is_impossible).collect()
    }
}

const TO_SERVER: &str = "bytes_to_server";
const FROM_SERVER: &str = "bytes_from_server";
const MESSAGES_TO_SERVER: &str = "messages_to_server";
const MESSAGES_FROM_SERVER: &str = "messages_from_server";

/// What differs. Messages count where both walked them: neither has walked one that it relays as ciphertext.
fn differences(counts: &RelayCounts, ledger: &Ledger) -> Vec<Difference> {
    let both_walk = counts.messages_to_upstream > 0 && ledger.messages_received > 0;
    let messages = [
        (MESSAGES_TO_SERVER, counts.messages_to_upstream, ledger.messages_received),
        (MESSAGES_FROM_SERVER, counts.messages_to_client, ledger.messages_sent),
    ];
    let bytes = [
        (TO_SERVER, counts.to_upstream, ledger.socket_received),
        (FROM_SERVER, counts.from_upstream, ledger.socket_sent),
    ];
    let compared = bytes.into_iter().chain(messages.into_iter().filter(|_| both_walk));
    let different = compared.filter(|(_, proxy, kernel)| proxy != kernel);
    different.map(|(figure, proxy, kernel)| Difference { figure, proxy, kernel }).collect()
}
