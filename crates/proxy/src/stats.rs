//! Counters of one worker. One thread writes them; the agent makes metrics of a copy.

use std::cell::Cell;

use model::mediation::{Listener, Refusal};

/// Buckets of [`LatencyHistogram`]: up to 1, 2, 4, ... microseconds; the last has no bound.
pub const LATENCY_BUCKETS: usize = 20;

/// The proxy's own time per piece of a client's stream: from being read to being written to the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LatencyHistogram {
    /// Observations of at most `1 << index` microseconds, and more than in the bucket before.
    pub buckets: [u64; LATENCY_BUCKETS],
    /// Sum of all, in nanoseconds.
    pub sum_nanos: u64,
}

/// Why a TLS handshake failed, in fixed words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsFailure {
    /// The other end closed in the middle.
    Closed,
    /// It sent an alert: most often it does not like the certificate.
    Alert,
    /// No version or cipher suite in common.
    Incompatible,
    /// It broke the protocol, or does not speak it.
    Protocol,
    /// The certificate is not the expected one.
    Certificate,
    /// It took too long.
    Timeout,
    /// Something else.
    Other,
}

impl TlsFailure {
    /// Every value.
    pub const ALL: [Self; 7] =
        [Self::Closed, Self::Alert, Self::Incompatible, Self::Protocol, Self::Certificate, Self::Timeout, Self::Other];

    /// Its fixed word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Alert => "alert",
            Self::Incompatible => "incompatible",
            Self::Protocol => "protocol",
            Self::Certificate => "certificate",
            Self::Timeout => "timeout",
            Self::Other => "other",
        }
    }
}

/// Counts of listeners, in the order steered, plain, Unix socket.
pub const LISTENERS: [Listener; 3] = [Listener::Steered, Listener::Plain, Listener::UnixSocket];

/// A copy of a worker's counters. Everything but `sessions`, `startups` and `buffered` only grows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Connections that were accepted, in the order of [`LISTENERS`].
    pub accepted: [u64; LISTENERS.len()],
    /// Connections that are open, in the order of [`LISTENERS`].
    pub sessions: [u64; LISTENERS.len()],
    /// Of these, those that have not started up yet.
    pub startups: u64,
    /// Bytes on the sockets.
    pub from_client: u64,
    /// Bytes on the sockets.
    pub to_client: u64,
    /// Bytes on the sockets.
    pub to_upstream: u64,
    /// Bytes on the sockets.
    pub from_upstream: u64,
    /// Refusals, in the order of [`Refusal::ALL`].
    pub refusals: Vec<u64>,
    /// Failed handshakes with clients, in the order of [`TlsFailure::ALL`].
    pub client_tls_failures: [u64; TlsFailure::ALL.len()],
    /// Failed handshakes with the server, in the order of [`TlsFailure::ALL`].
    pub upstream_tls_failures: [u64; TlsFailure::ALL.len()],
    /// Cancel requests forwarded.
    pub cancels: u64,
    /// Times that accepting a connection failed (descriptors, memory).
    pub accept_failures: u64,
    /// Pieces of client streams that were forwarded although they were not recorded.
    pub unrecorded: u64,
    /// Pieces of server streams and notes that were not recorded.
    pub outcomes_unrecorded: u64,
    /// Streams that stopped being the protocol and were relayed unread from there.
    pub not_the_protocol: u64,
    /// Values that clients got masked.
    pub masked_cells: u64,
    /// The proxy's own time.
    pub latency: LatencyHistogram,
}

impl Snapshot {
    /// As numbers in a fixed order; [`Snapshot::decode`] of the same version understands it.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        self.clone().numbers().iter().flat_map(|number| number.to_ne_bytes()).collect()
    }

    /// `None`: these are not the figures of a worker of this version.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut snapshot = Self { refusals: vec![0; REFUSALS], ..Self::default() };
        let mut places = snapshot.numbers();
        if bytes.len() != places.len() * size_of::<u64>() {
            return None;
        }
        for (place, number) in places.iter_mut().zip(bytes.chunks_exact(size_of::<u64>())) {
            **place = u64::from_ne_bytes(number.try_into().ok()?);
        }
        Some(snapshot)
    }

    /// Every number, in the order of the fields.
    fn numbers(&mut self) -> Vec<&mut u64> {
        let Self {
            accepted,
            sessions,
            startups,
            from_client,
            to_client,
            to_upstream,
            from_upstream,
            refusals,
            client_tls_failures,
            upstream_tls_failures,
            cancels,
            accept_failures,
            unrecorded,
            outcomes_unrecorded,
            not_the_protocol,
            masked_cells,
            latency: LatencyHistogram { buckets, sum_nanos },
        } = self;
        let lists = [&mut accepted[..], sessions, refusals, client_tls_failures, upstream_tls_failures, buckets];
        let single = [
            startups,
            from_client,
            to_client,
            to_upstream,
            from_upstream,
            cancels,
            accept_failures,
            unrecorded,
            outcomes_unrecorded,
            not_the_protocol,
            masked_cells,
            sum_nanos,
        ];
        lists.into_iter().flatten().chain(single).collect()
    }
}

/// The counters themselves.
#[derive(Debug, Default)]
pub(crate) struct Stats(Cells);

type Counter = Cell<u64>;

#[derive(Debug, Default)]
struct Cells {
    accepted: [Counter; LISTENERS.len()],
    sessions: [Counter; LISTENERS.len()],
    startups: Counter,
    bytes: [Counter; 4],
    refusals: [Counter; REFUSALS],
    client_tls: [Counter; TlsFailure::ALL.len()],
    upstream_tls: [Counter; TlsFailure::ALL.len()],
    cancels: Counter,
    accept_failures: Counter,
    unrecorded: Counter,
    outcomes_unrecorded: Counter,
    not_the_protocol: Counter,
    masked_cells: Counter,
    latency: [Counter; LATENCY_BUCKETS],
    latency_sum: Counter,
}

const REFUSALS: usize = Refusal::ALL.len();

/// A direction of a relay.
#[derive(Clone, Copy)]
pub(crate) enum Bytes {
    FromClient,
    ToClient,
    ToUpstream,
    FromUpstream,
}

/// Which end of the proxy.
#[derive(Clone, Copy)]
pub(crate) enum Leg {
    Client,
    Upstream,
}

fn add(counter: &Counter, count: u64) {
    counter.set(counter.get().wrapping_add(count));
}

fn copied<const N: usize>(counters: &[Counter; N]) -> [u64; N] {
    std::array::from_fn(|index| counters.get(index).map_or(0, Cell::get))
}

const fn place(listener: Listener) -> usize {
    match listener {
        Listener::Steered => 0,
        Listener::Plain => 1,
        Listener::UnixSocket => 2,
    }
}

impl Stats {
    pub(crate) fn accepted(&self, listener: Listener) {
        add(&self.0.accepted[place(listener)], 1);
        add(&self.0.sessions[place(listener)], 1);
        add(&self.0.startups, 1);
    }

    pub(crate) fn ended(&self, listener: Listener) {
        add(&self.0.sessions[place(listener)], u64::MAX);
    }

    pub(crate) fn started_up(&self) {
        add(&self.0.startups, u64::MAX);
    }

    pub(crate) fn startups(&self) -> usize {
        usize::try_from(self.0.startups.get()).unwrap_or(usize::MAX)
    }

    pub(crate) fn relayed(&self, direction: Bytes, bytes: u64) {
        add(&self.0.bytes[direction as usize], bytes);
    }

    pub(crate) fn refused(&self, reason: Refusal) {
        if let Some(counter) = Refusal::ALL.iter().zip(&self.0.refusals).find(|(one, _)| **one == reason) {
            add(counter.1, 1);
        }
    }

    pub(crate) fn tls_failed(&self, leg: Leg, failure: TlsFailure) {
        let counters = match leg {
            Leg::Client => &self.0.client_tls,
            Leg::Upstream => &self.0.upstream_tls,
        };
        if let Some(counter) = TlsFailure::ALL.iter().zip(counters).find(|(one, _)| **one == failure) {
            add(counter.1, 1);
        }
    }

    pub(crate) fn cancelled(&self) {
        add(&self.0.cancels, 1);
    }

    pub(crate) fn accept_failed(&self) {
        add(&self.0.accept_failures, 1);
    }

    pub(crate) fn unrecorded(&self) {
        add(&self.0.unrecorded, 1);
    }

    pub(crate) fn outcome_unrecorded(&self) {
        add(&self.0.outcomes_unrecorded, 1);
    }

    pub(crate) fn not_the_protocol(&self) {
        add(&self.0.not_the_protocol, 1);
    }

    pub(crate) fn masked(&self, cells: u64) {
        add(&self.0.masked_cells, cells);
    }

    pub(crate) fn forwarded_after(&self, nanos: u64) {
        let micros = nanos.div_ceil(1000).max(1);
        let bucket = micros.next_power_of_two().trailing_zeros() as usize;
        add(&self.0.latency[bucket.min(LATENCY_BUCKETS - 1)], 1);
        add(&self.0.latency_sum, nanos);
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let cells = &self.0;
        let [from_client, to_client, to_upstream, from_upstream] = copied(&cells.bytes);
        Snapshot {
            accepted: copied(&cells.accepted),
            sessions: copied(&cells.sessions),
            startups: cells.startups.get(),
            from_client,
            to_client,
            to_upstream,
            from_upstream,
            refusals: copied(&cells.refusals).to_vec(),
            client_tls_failures: copied(&cells.client_tls),
            upstream_tls_failures: copied(&cells.upstream_tls),
            cancels: cells.cancels.get(),
            accept_failures: cells.accept_failures.get(),
            unrecorded: cells.unrecorded.get(),
            outcomes_unrecorded: cells.outcomes_unrecorded.get(),
            not_the_protocol: cells.not_the_protocol.get(),
            masked_cells: cells.masked_cells.get(),
            latency: LatencyHistogram { buckets: copied(&cells.latency), sum_nanos: cells.latency_sum.get() },
        }
    }
}
