//! The decoders of the live sessions.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use capture::decode::{ContentRecord, Position, Told};
use model::id::{DatabaseId, SocketCookie};
use model::session::Origin;
use model::time::BootTime;
use model::verdict::Judgement;
use model::wire::{Input, Side, WireEvent};
use sessions::judgements::Judgements;
use wire_pg::{Connection, InProgress, Limits, Start};

/// Reason that a kernel program gives up on a stream; the decoder never saw the bytes.
const NOT_THE_PROTOCOL: &str = "not the PostgreSQL protocol";

struct Stream {
    connection: Connection,
    client: Position,
    server: Position,
    /// A worker feeds it; the kernel, which is heard by another way, does not know how far the worker has told.
    is_mediated: bool,
    /// What the worker has decided, if it decides.
    judgements: Option<Box<Judgements>>,
    /// Requests are records of their own; else they only carry judgements to their statements.
    requests: bool,
}

/// A worker whose connection has gone says so within this time, or never: it has died itself. In nanoseconds, and less
/// than sessions wait for the other half of what they are told.
const LAST_WORDS: u64 = 1_000_000_000;

impl Stream {
    fn new(start: Start, position: Position) -> Box<Self> {
        let connection = Connection::new(start, Limits::default());
        Box::new(Self {
            connection,
            client: position,
            server: position,
            is_mediated: false,
            judgements: None,
            requests: false,
        })
    }

    /// Takes what was decided about the client's next request.
    fn judged(&mut self, judgement: Arc<Judgement>) {
        // A request must be said for itself to be judged, and before its answer.
        self.connection.announce();
        let has_unanswered = self.connection.in_progress().is_some();
        let judgements = self
            .judgements
            .get_or_insert_with(|| Box::new(if has_unanswered { Judgements::late() } else { Judgements::default() }));
        judgements.judged(judgement);
    }

    fn feed(&mut self, side: Side, at: BootTime, input: Input<'_>, sink: &mut dyn FnMut(WireEvent)) {
        let requests = self.requests;
        let Some(judgements) = &mut self.judgements else {
            return self.connection.feed(side, at, input, sink);
        };
        self.connection.feed(side, at, input, &mut |mut event| {
            judgements.attach(&mut event);
            if requests || !matches!(event, WireEvent::Requested(_)) {
                sink(event);
            }
        });
        if side == Side::Client && !self.connection.is_aligned(side) {
            // The message that was judged was among what was not understood.
            judgements.lose_next();
        }
    }

    fn close(&mut self, at: BootTime, sink: &mut dyn FnMut(WireEvent)) {
        let judgements = &mut self.judgements;
        self.connection.close(at, &mut |mut event| {
            judgements.iter_mut().for_each(|judgements| judgements.attach(&mut event));
            sink(event);
        });
    }
}

/// One decoder per session, at most as many as sessions.
pub(super) struct Streams {
    /// Boxed: a map has up to twice as many places as entries, and a decoder is large.
    streams: HashMap<SocketCookie, Box<Stream>>,
    streams_max: usize,
    /// Where sessions older than this core continue: at their start, unless another core has read them before.
    older: Position,
    /// Content that found no room for a decoder.
    pub(super) refused: u64,
    /// The same of the proxy's: what a client asked for is not on record.
    pub(super) unrecorded: u64,
    /// Databases whose requests are recorded before their answers.
    announced: HashSet<DatabaseId>,
    /// Streams of workers whose sockets are closed, and when they were: in this order.
    orphans: VecDeque<(SocketCookie, BootTime)>,
}

impl Streams {
    pub(super) fn new(streams_max: usize, older: Position) -> Self {
        let (streams, announced) = (HashMap::new(), HashSet::new());
        Self { streams, streams_max, older, refused: 0, unrecorded: 0, announced, orphans: VecDeque::new() }
    }

    /// Requests through the proxy to these databases are said when they come.
    pub(super) fn announce(&mut self, databases: impl IntoIterator<Item = DatabaseId>) {
        self.announced.extend(databases);
    }

    /// A worker has accepted a connection: just now, or while another core was there.
    pub(super) fn accepted(&mut self, connection: SocketCookie, database: DatabaseId, origin: Origin) {
        self.open(connection, origin);
        if let Some(stream) = self.streams.get_mut(&connection) {
            stream.is_mediated = true;
        }
        if self.announced.contains(&database)
            && let Some(stream) = self.streams.get_mut(&connection)
        {
            stream.requests = true;
            stream.connection.announce();
        }
    }

    /// A session is known: how it came to be decides how its decoder begins.
    pub(super) fn open(&mut self, cookie: SocketCookie, origin: Origin) {
        let (start, position) = match origin {
            Origin::Opened => (Start::FirstByte, Position::START),
            Origin::FoundAtStart => (Start::MidStream, self.older),
            Origin::MissedOpen => (Start::MidStream, Position::START),
        };
        if self.streams.len() < self.streams_max {
            self.streams.entry(cookie).or_insert_with(|| Stream::new(start, position));
        }
    }

    /// Decodes one record of content.
    pub(super) fn feed(&mut self, content: &ContentRecord<'_>, sink: &mut dyn FnMut(WireEvent)) {
        if self.streams.len() >= self.streams_max && !self.streams.contains_key(&content.cookie) {
            self.refused += 1;
            return;
        }
        let first = content.is_first() && content.side == Side::Client;
        let (start, position) =
            if first { (Start::FirstByte, Position::START) } else { (Start::MidStream, self.older) };
        let stream = self.streams.entry(content.cookie).or_insert_with(|| Stream::new(start, position));
        let Stream { connection, client, server, .. } = &mut **stream;
        let position = if content.side == Side::Client { client } else { server };
        content.inputs(position, &mut |input| connection.feed(content.side, content.at, input, sink));
        if content.desynchronised {
            sink(WireEvent::Violation { side: content.side, what: NOT_THE_PROTOCOL });
        }
    }

    /// Decodes a piece of what a proxy's worker read.
    pub(super) fn feed_input(
        &mut self,
        connection: SocketCookie,
        side: Side,
        at: BootTime,
        input: Input<'_>,
        sink: &mut dyn FnMut(WireEvent),
    ) {
        match self.mediated(connection) {
            Some(stream) => stream.feed(side, at, input, sink),
            None => {
                self.refused += 1;
                self.unrecorded += u64::from(side == Side::Client && !self.announced.is_empty());
            }
        }
    }

    /// A worker has decided about the next request of a connection.
    pub(super) fn judged(&mut self, connection: SocketCookie, judgement: Arc<Judgement>) {
        if let Some(stream) = self.mediated(connection) {
            stream.judged(judgement);
        }
    }

    /// Something that workers said was lost, nobody knows of which connection.
    pub(super) fn lose_judgements(&mut self) {
        self.streams
            .values_mut()
            .filter_map(|stream| stream.judgements.as_mut())
            .for_each(|judgements| judgements.lose());
    }

    /// The stream of a connection that a worker feeds; `None`: there are too many.
    fn mediated(&mut self, connection: SocketCookie) -> Option<&mut Stream> {
        if self.streams.len() >= self.streams_max && !self.streams.contains_key(&connection) {
            return None;
        }
        let announces = !self.announced.is_empty();
        let stream = self.streams.entry(connection).or_insert_with(|| {
            // Older than this core, or its beginning was lost: it may be one that waits for its record.
            let mut stream = Stream::new(Start::MidStream, Position::UNKNOWN);
            stream.is_mediated = true;
            if announces {
                stream.requests = true;
                stream.connection.announce();
            }
            stream
        });
        Some(stream)
    }

    /// The session ended: what was lost at its end, and what was not answered, is said now.
    pub(super) fn close(
        &mut self,
        cookie: SocketCookie,
        at: BootTime,
        told: Option<Told>,
        sink: &mut dyn FnMut(WireEvent),
    ) {
        let Some(mut stream) = self.streams.remove(&cookie) else { return };
        for (side, position) in [(Side::Client, stream.client), (Side::Server, stream.server)] {
            let missing = told.map_or(0, |told| told.missing(side, position));
            if missing > 0 {
                let lost = Input::Lost { bytes: Some(missing), resume_in: Some(0) };
                stream.feed(side, at, lost, sink);
            }
        }
        stream.close(at, sink);
    }

    /// The kernel says that a socket is closed. Where a worker feeds the stream, it may have more to tell.
    pub(super) fn close_socket(
        &mut self,
        cookie: SocketCookie,
        at: BootTime,
        told: Option<Told>,
        sink: &mut dyn FnMut(WireEvent),
    ) {
        if self.streams.get(&cookie).is_some_and(|stream| stream.is_mediated) {
            self.orphans.push_back((cookie, at));
            return;
        }
        self.close(cookie, at, told, sink);
    }

    /// The next stream of a worker that has not said its end in time; it is to be closed.
    pub(super) fn next_orphan(&mut self, now: BootTime) -> Option<(SocketCookie, BootTime)> {
        while let Some((cookie, at)) = self.orphans.front().copied() {
            let is_there = self.streams.contains_key(&cookie);
            if is_there && now.nanos_since(at) < LAST_WORDS {
                return None;
            }
            self.orphans.pop_front();
            if is_there {
                return Some((cookie, at));
            }
        }
        None
    }

    /// The statement that a session is executing.
    pub(super) fn in_progress(&self, cookie: SocketCookie) -> Option<InProgress<'_>> {
        self.streams.get(&cookie)?.connection.in_progress()
    }

    pub(super) fn len(&self) -> usize {
        self.streams.len()
    }
}
