//! What must hold for any bytes of a client and of a server, in any pieces and in any order. Shared with the fuzz target
//! `relay`.

use std::rc::Rc;

use guard::{Book, Guard, Judge};
use model::Known;
use model::principal::UnknownPrincipal;
use model::time::{BootTime, WallTime};
use model::verdict::{Mode, PolicyEpoch};
use policy::{PolicyFile, PolicySet, SessionContext, Transport, UtcOffset};
use recorder::EncodedJudgement;

/// The session may be opened, and nothing may run.
const NOTHING: &str = r#"
@id("open")
@reason("sessions may be opened")
permit (principal, action == Action::"Connect", resource);
"#;
const EVERYTHING: &str = r#"
@id("all")
@reason("everything is allowed")
permit (principal, action, resource);
"#;

thread_local! {
    static EVERYTHING_JUDGE: Rc<Judge> = judge(EVERYTHING);
    static NOTHING_JUDGE: Rc<Judge> = judge(NOTHING);
}

/// Names that the guard gives to what is its own.
const OWN: &[u8] = b"warder_";
/// The guard's own question begins with a Parse of such a name, and has five messages.
const QUESTION: &[u8] = b"warder_asks_";
const QUESTION_MESSAGES: usize = 5;
/// What the guard may add for each byte that it gets. A message has five bytes or more; it adds the messages that make the
/// server fail in the place of one that was refused, the error that the client gets, and its own question.
const GROWTH_MAX: usize = 128;

/// Reads the data as a mode, then pieces: a byte with the side and the length, and so many bytes.
pub(crate) fn run(data: &[u8]) {
    let Some((mode, rest)) = data.split_first() else { return };
    match mode % 2 {
        0 => everything_is_allowed(rest),
        _ => nothing_is_allowed(rest),
    }
}

/// Each byte of the client reaches the server, and each of the server the client, as it was and in order.
fn everything_is_allowed(data: &[u8]) {
    let mut relay = Relay::new(EVERYTHING_JUDGE.with(Rc::clone), Mode::Observe);
    assert!(relay.run(data), "observation ends no session");
    let (forwarded, questions) = without_questions(&relay.to_server);
    let forwarded = without_flushes(&forwarded);
    assert!(without_flushes(&relay.from_client).starts_with(&forwarded), "other bytes than the client's");
    assert!(questions > 0 || relay.from_server.starts_with(&relay.to_client), "other bytes than the server's");
    // What goes on is on record before, and nothing else is.
    assert!(relay.from_client.starts_with(&relay.records.bytes), "a record of other bytes than the client's");
    assert_eq!(without_flushes(&relay.records.bytes), forwarded);
}

/// No SQL and no call reaches the server, whatever the server says in between. A Bind or an Execute runs only what a Parse
/// has brought there.
fn nothing_is_allowed(data: &[u8]) {
    let mut relay = Relay::new(NOTHING_JUDGE.with(Rc::clone), Mode::Enforce);
    let _broken_or_not = relay.run(data);
    let mut rest = relay.to_server.as_slice();
    while let Some((kind, message)) = message(rest) {
        let asks = matches!(kind, b'Q' | b'F' | b'P') && !is_empty(message);
        let is_own = message.windows(OWN.len()).any(|window| window == OWN);
        assert!(!asks || is_own, "{} was allowed by nobody", message.escape_ascii());
        rest = rest.get(message.len()..).unwrap_or_default();
    }
    let grown = (relay.from_client.len() + relay.from_server.len()).saturating_mul(GROWTH_MAX);
    assert!(relay.to_server.len() <= relay.from_client.len() + grown);
    assert!(relay.to_client.len() <= relay.from_server.len() + grown);
}

struct Relay {
    guard: Guard,
    records: Records,
    from_client: Vec<u8>,
    to_server: Vec<u8>,
    from_server: Vec<u8>,
    to_client: Vec<u8>,
}

impl Relay {
    fn new(judge: Rc<Judge>, mode: Mode) -> Self {
        let mut guard = Guard::new(judge, Known::Unknown(UnknownPrincipal::NoProof), context(mode), false);
        let opened = guard.open(BootTime(1), WallTime(1), b"", std::iter::empty());
        assert!(opened.is_ok(), "the session may be opened");
        let (from_client, to_server) = (Vec::new(), Vec::new());
        Self {
            guard,
            records: Records::default(),
            from_client,
            to_server,
            from_server: Vec::new(),
            to_client: Vec::new(),
        }
    }

    /// Whether the session lived to the end.
    fn run(&mut self, mut data: &[u8]) -> bool {
        let mut now = 2;
        while let Some((head, rest)) = data.split_first() {
            let (piece, rest) = rest.split_at(rest.len().min(usize::from(head >> 1)));
            data = rest;
            now += 1;
            if head & 1 == 1 {
                self.from_server.extend_from_slice(piece);
                self.to_client.extend_from_slice(&self.guard.server(BootTime(now), piece));
            } else {
                self.from_client.extend_from_slice(piece);
            }
            let said = if head & 1 == 1 { &[][..] } else { piece };
            // Without room nothing is decided about; with it, what waited is.
            self.records.room = head % 16 != 2;
            let Ok(passed) = self.guard.client(BootTime(now), WallTime(1), said, &mut self.records) else {
                return false;
            };
            self.to_server.extend_from_slice(&passed.bytes);
        }
        true
    }
}

struct Records {
    bytes: Vec<u8>,
    room: bool,
}

impl Default for Records {
    fn default() -> Self {
        Self { bytes: Vec::new(), room: true }
    }
}

impl Book for Records {
    fn judged(&mut self, _: &EncodedJudgement) {}

    fn bytes(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    fn has_room(&mut self) -> bool {
        self.room
    }
}

/// Whether there is no statement in a Query or a Parse: nothing but names, NUL, blanks, semicolons, and perhaps comments.
fn is_empty(message: &[u8]) -> bool {
    let texts = message.get(5..).unwrap_or_default();
    let text = texts.split(|byte| *byte == 0).nth(usize::from(message.first() == Some(&b'P'))).unwrap_or_default();
    let has_comment = text.windows(2).any(|pair| matches!(pair, b"--" | b"/*"));
    has_comment || text.iter().all(|byte| byte.is_ascii_whitespace() || matches!(byte, b';' | 0x0b))
}

/// The first message and its kind, if it is there whole.
fn message(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let size = bytes.get(1..5).and_then(|size| <[u8; 4]>::try_from(size).ok())?;
    let whole = bytes.get(..(u32::from_be_bytes(size) as usize).saturating_add(1))?;
    Some((*whole.first()?, whole))
}

/// The same without any Flush: the guard has the server answer sometimes, and a Flush has no answer of its own.
fn without_flushes(stream: &[u8]) -> Vec<u8> {
    const FLUSH: &[u8] = b"H\0\0\0\x04";
    let (mut left, mut rest) = (Vec::new(), stream);
    while let Some(place) = rest.windows(FLUSH.len()).position(|window| window == FLUSH) {
        left.extend_from_slice(&rest[..place]);
        rest = &rest[place + FLUSH.len()..];
    }
    left.extend_from_slice(rest);
    left
}

/// What is the client's in a stream to the server, and how often the guard has asked something itself.
fn without_questions(stream: &[u8]) -> (Vec<u8>, usize) {
    let (mut clients, mut questions, mut rest) = (Vec::new(), 0, stream);
    while let Some(place) = rest.windows(QUESTION.len()).position(|window| window == QUESTION) {
        let (before, mut question) = rest.split_at(place.saturating_sub(5));
        clients.extend_from_slice(before);
        for _ in 0..QUESTION_MESSAGES {
            let length = message(question).map_or(question.len(), |(_, whole)| whole.len());
            question = question.get(length..).unwrap_or_default();
        }
        questions += 1;
        rest = question;
    }
    clients.extend_from_slice(rest);
    (clients, questions)
}

fn judge(policies: &str) -> Rc<Judge> {
    let file = PolicyFile { name: "fuzz.cedar".into(), text: policies.into() };
    Rc::new(Judge::new(PolicySet::compile(&[file], PolicyEpoch(1)).unwrap(), Rc::default()))
}

/// A session of alice's, over TCP.
pub(crate) fn context(mode: Mode) -> SessionContext {
    SessionContext {
        database_name: "shop".into(),
        environment: "production".into(),
        mode,
        database: "shop".into(),
        user: "alice".into(),
        application: "".into(),
        transport: Transport::Tcp,
        encrypted: false,
        client_address: None,
        process: None,
        in_transaction: false,
        utc_offset: UtcOffset::default(),
    }
}
