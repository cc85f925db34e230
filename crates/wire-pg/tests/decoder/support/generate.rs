//! Sessions made up from a seed, with a model of what the server answers.
//!
//! Every statement text and every command tag carries a number of its own: an answer that is paired with the wrong
//! request shows.

use std::collections::BTreeMap;

use model::wire::Side;

use super::{Piece, client, message, server};

/// xorshift64*: enough to choose with, the same everywhere.
#[derive(Clone)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 16) % bound.max(1)
    }

    pub fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }
}

/// Something that the client sends, and what the server makes of it.
#[derive(Clone, Default)]
pub struct Exchange {
    pub ask: Vec<u8>,
    pub answer: Vec<u8>,
    /// The server sends what it has written so far.
    flush: bool,
    /// The client waits for the answer.
    wait: bool,
}

/// How the client behaves.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Habit {
    /// Like every driver: a batch of the extended protocol ends with Sync before anything else is sent.
    Orderly,
    /// As the protocol allows.
    Wild,
}

struct World {
    habit: Habit,
    unsynced: bool,
    random: Random,
    number: u32,
    statements: BTreeMap<&'static str, ()>,
    portals: BTreeMap<&'static str, ()>,
    status: char,
    skipping: bool,
    script: Vec<Exchange>,
}

/// A session: login, then about `length` things that the client does.
pub fn script(habit: Habit, seed: u64, length: usize) -> Vec<Exchange> {
    let mut world = World {
        habit,
        unsynced: false,
        random: Random::new(seed),
        number: 0,
        statements: BTreeMap::new(),
        portals: BTreeMap::new(),
        status: 'I',
        skipping: false,
        script: Vec::new(),
    };
    world.login();
    for _ in 0..length {
        world.step();
    }
    world.sync();
    world.script
}

/// Puts exchanges on the wire: reads of several messages, which may end inside one, and what the server flushes.
/// The server reads on only when it has answered what it has read, as PostgreSQL does.
pub fn play(script: &[Exchange], seed: u64) -> Vec<Piece> {
    play_and_rest(script, seed).0
}

/// The same, with the numbers of the pieces before which the session is idle: all that was read is answered.
pub fn play_and_rest(script: &[Exchange], seed: u64) -> (Vec<Piece>, Vec<usize>) {
    let mut idle = Vec::new();
    let mut random = Random::new(seed ^ 0x5555);
    let (mut pieces, mut unsent, mut read) = (Vec::new(), Vec::new(), Vec::new());
    let (mut answered, mut left) = (0, 0);
    for (index, exchange) in script.iter().enumerate() {
        read.extend(&exchange.ask);
        left = if left == 0 { random.below(6) } else { left - 1 };
        let must_end = exchange.wait || index + 1 == script.len();
        if left > 0 && !must_end {
            continue;
        }
        left = 0;
        // The read may end inside this message, which is then answered after the next read.
        let cut = if must_end || random.one_in(2) { 0 } else { random.below(exchange.ask.len() as u64) as usize };
        let kept = read.split_off(read.len() - cut);
        pieces.push(Piece::Bytes(Side::Client, std::mem::replace(&mut read, kept)));
        let complete = if cut == 0 { index + 1 } else { index };
        for exchange in &script[answered..complete] {
            unsent.extend(&exchange.answer);
            if exchange.flush && !unsent.is_empty() {
                pieces.push(Piece::Bytes(Side::Server, std::mem::take(&mut unsent)));
            }
        }
        answered = complete;
        let synced = script[..complete].last().is_some_and(|exchange| is_ready(&exchange.answer));
        if cut == 0 && unsent.is_empty() && synced {
            idle.push(pieces.len());
        }
    }
    if !unsent.is_empty() {
        pieces.push(Piece::Bytes(Side::Server, unsent));
    }
    (pieces, idle)
}

fn is_ready(answer: &[u8]) -> bool {
    answer.len() >= 6 && answer[answer.len() - 6..].starts_with(b"Z\0\0\0\x05")
}

const STATEMENTS: [&str; 3] = ["", "s1", "s2"];
const PORTALS: [&str; 2] = ["", "p1"];

impl World {
    fn say(&mut self, ask: Vec<u8>, answer: Vec<u8>) {
        self.script.push(Exchange { ask, answer, flush: false, wait: false });
    }

    fn end(&mut self, ask: Vec<u8>, answer: Vec<u8>) {
        let wait = self.random.one_in(2);
        self.script.push(Exchange { ask, answer, flush: true, wait });
    }

    fn number(&mut self) -> u32 {
        self.number += 1;
        self.number
    }

    fn login(&mut self) {
        let answer = [server::auth(0), server::status("a", "b"), server::key(1), server::ready('I')].concat();
        let wait = self.random.one_in(2);
        self.script.push(Exchange { ask: client::startup("u", "d"), answer, flush: true, wait });
    }

    fn step(&mut self) {
        let choice = self.random.below(24);
        if self.habit == Habit::Orderly && self.unsynced && matches!(choice, 0..=5 | 22..) {
            self.sync();
        }
        match choice {
            0..=4 => self.query(),
            5 => self.transaction(),
            6..=8 => self.parse(),
            9..=11 => self.bind(),
            12 | 13 => self.describe(),
            14..=17 => self.execute(),
            18 => self.close(),
            19..=21 => self.sync(),
            22 => self.copy(),
            _ => self.rare(),
        }
    }

    fn rows(&mut self) -> Vec<u8> {
        let mut rows = Vec::new();
        for _ in 0..self.random.below(4) {
            if self.random.one_in(10) {
                rows.extend(server::notice("n"));
            }
            if self.random.one_in(10) {
                // Data that looks like the protocol.
                let fake = [server::complete("SELECT 999999"), server::ready('I')].concat();
                rows.extend(message(b'D', &fake));
            } else {
                rows.extend(server::row("value"));
            }
        }
        rows
    }

    fn failure(&mut self, sqlstate: &str) -> Vec<u8> {
        if self.status == 'T' {
            self.status = 'E';
        }
        let number = self.number();
        server::error("ERROR", sqlstate, &format!("error {number}"))
    }

    fn ready(&mut self) -> Vec<u8> {
        if self.status == 'I' {
            self.portals.clear();
        }
        server::ready(self.status)
    }

    fn query(&mut self) {
        let number = self.number();
        let mut answer = Vec::new();
        let ask = client::query(&format!("Q{number}"));
        if self.skipping {
            return self.say(ask, answer);
        }
        self.statements.remove("");
        self.portals.remove("");
        let parts = 1 + self.random.below(3);
        for part in 0..parts {
            if self.status == 'E' || self.random.one_in(5) {
                answer.extend(self.failure("XX000"));
                break;
            }
            answer.extend(
                [server::row_description(), self.rows(), server::complete(&format!("SELECT {number}{part}"))].concat(),
            );
        }
        answer.extend(self.ready());
        self.end(ask, answer);
    }

    fn transaction(&mut self) {
        let number = self.number();
        let (tag, status) = if self.status == 'I' { ("BEGIN", 'T') } else { ("ROLLBACK", 'I') };
        let ask = client::query(&format!("{tag} -- {number}"));
        if self.skipping {
            return self.say(ask, Vec::new());
        }
        self.statements.remove("");
        self.portals.remove("");
        self.status = status;
        let answer = [server::complete(tag), self.ready()].concat();
        self.end(ask, answer);
    }

    /// A message of the extended protocol: skipped, refused, or answered.
    fn message(&mut self, ask: Vec<u8>, refused: Option<&str>, answer: Vec<u8>) -> bool {
        self.unsynced = true;
        if self.skipping {
            self.say(ask, Vec::new());
            return false;
        }
        if let Some(sqlstate) = refused {
            let answer = self.failure(sqlstate);
            self.skipping = true;
            let flush = self.random.one_in(2);
            self.script.push(Exchange { ask, answer, flush, wait: false });
            return false;
        }
        self.say(ask, answer);
        true
    }

    fn parse(&mut self) {
        let name = self.random.pick(&STATEMENTS);
        let number = self.number();
        let aborted = self.status == 'E' || self.random.one_in(8);
        let exists = !name.is_empty() && self.statements.contains_key(name);
        if name.is_empty() && !self.skipping {
            self.statements.remove("");
        }
        let ask = client::parse(name, &format!("P{number}"), &[]);
        let refused = if exists { Some("42P05") } else { aborted.then_some("42601") };
        if self.message(ask, refused, server::parsed()) {
            self.statements.insert(name, ());
        }
    }

    fn bind(&mut self) {
        let (portal, statement) = (self.random.pick(&PORTALS), self.random.pick(&STATEMENTS));
        let exists = !portal.is_empty() && self.portals.contains_key(portal);
        let unknown = !self.statements.contains_key(statement);
        let value = self.number().to_string();
        let ask = client::bind(portal, statement, &[], &[Some(value.as_bytes()), None]);
        let refused = match () {
            () if unknown => Some("26000"),
            () if exists => Some("42P03"),
            () => (self.status == 'E' || self.random.one_in(10)).then_some("22P02"),
        };
        if self.message(ask, refused, server::bound()) {
            self.portals.insert(portal, ());
        }
    }

    fn describe(&mut self) {
        let (portal, statement) = (self.random.pick(&PORTALS), self.random.pick(&STATEMENTS));
        if self.random.one_in(2) {
            let refused = (!self.portals.contains_key(portal)).then_some("34000");
            self.message(client::describe('P', portal), refused, server::row_description());
        } else {
            let refused = (!self.statements.contains_key(statement)).then_some("26000");
            let answer = [server::parameters(&[25, 23]), server::no_data()].concat();
            self.message(client::describe('S', statement), refused, answer);
        }
    }

    fn execute(&mut self) {
        let portal = self.random.pick(&PORTALS);
        let number = self.number();
        let refused = match () {
            () if !self.portals.contains_key(portal) => Some("34000"),
            () => (self.status == 'E' || self.random.one_in(8)).then_some("XX000"),
        };
        let mut answer = self.rows();
        answer.extend(if self.random.one_in(4) {
            server::suspended()
        } else {
            server::complete(&format!("SELECT {number}"))
        });
        self.message(client::execute(portal, number), refused, answer);
    }

    fn close(&mut self) {
        let (portal, statement) = (self.random.pick(&PORTALS), self.random.pick(&STATEMENTS));
        if self.random.one_in(2) {
            if self.message(client::close('P', portal), None, server::closed()) {
                self.portals.remove(portal);
            }
        } else if self.message(client::close('S', statement), None, server::closed()) {
            self.statements.remove(statement);
        }
    }

    fn sync(&mut self) {
        let mut answer = Vec::new();
        if !self.skipping && self.status == 'I' && self.random.one_in(15) {
            answer.extend(self.failure("23503"));
        }
        self.skipping = false;
        self.unsynced = false;
        answer.extend(self.ready());
        self.end(client::sync(), answer);
    }

    fn copy(&mut self) {
        let number = self.number();
        let ask = client::query(&format!("COPY {number}"));
        if self.skipping || self.status == 'E' {
            return self.query();
        }
        self.statements.remove("");
        self.portals.remove("");
        if self.random.one_in(2) {
            let data: Vec<u8> = (0..self.random.below(4)).flat_map(|_| server::copy_data(b"row\n")).collect();
            let end = [server::copy_done(), server::complete(&format!("COPY {number}")), self.ready()].concat();
            return self.end(ask, [server::copy_response(b'H'), data, end].concat());
        }
        self.script.push(Exchange { ask, answer: server::copy_response(b'G'), flush: true, wait: true });
        for _ in 0..self.random.below(4) {
            self.say(client::copy_data(b"data\n"), Vec::new());
        }
        if self.random.one_in(3) {
            let failure = [self.failure("22P02"), self.ready()].concat();
            self.end(client::copy_data(b"bad\n"), failure);
            self.say(client::copy_data(b"ignored\n"), Vec::new());
            self.say(client::copy_done(), Vec::new());
        } else {
            let end = [server::complete(&format!("COPY {number}")), self.ready()].concat();
            self.end(client::copy_done(), end);
        }
    }

    fn rare(&mut self) {
        let number = self.number();
        match self.random.below(4) {
            0 => self.script.push(Exchange { ask: client::flush(), answer: Vec::new(), flush: true, wait: false }),
            1 if !self.skipping && self.status != 'E' => {
                let answer = [server::function_result(), self.ready()].concat();
                self.end(client::function_call(number), answer);
            }
            2 if !self.skipping => {
                self.statements.remove("");
                let answer = [server::empty(), self.ready()].concat();
                self.portals.remove("");
                self.end(client::query(&format!("-- {number}")), answer);
            }
            _ => self.script.push(Exchange {
                ask: client::flush(),
                answer: [server::notification("n", "p"), server::status("x", "y")].concat(),
                flush: true,
                wait: false,
            }),
        }
    }
}
