//! The same files and the same connections, judged by this crate and by a real PostgreSQL 15.
//!
//! Random files of valid and of broken lines; random connections over Unix sockets, TCP and TLS from addresses of
//! loopback and of the host. Compared are: whether the file is taken at all, which line decides (the server's log names it
//! where authentication fails), and the text of every refusal.

#![expect(clippy::disallowed_methods, reason = "a server needs a deadline")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "this is a test")]

mod server;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::process::Command;

use hba::Rules;
use hba::address::Network;
use hba::attempt::{Attempt, Encryption, How, Replication};
use hba::decision::Decision;
use hba::facts::{Facts, Interfaces};
use hba::include::File;
use hba::major::Major;
use hba::method::Method;
use hba::refusal::{Reason, Refusal, SQLSTATE};
use server::{Outcome, Server, hex};

/// Files, and connections for each that the server takes.
const FILES: usize = 150;
const ATTEMPTS: usize = 12;

const USERS: [&str; 8] = ["postgres", "alice", "bob", "x y", "all", "+crew", "Alice", "crew"];
const DATABASES: [&str; 7] = ["postgres", "alice", "bob", "sameuser", "replication", "db,1", "crew"];

/// Every fourth file is for the parser: columns of everything. The others mostly match something.
const STRANGE: u64 = 4;

/// A random number generator that needs no crate: splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.next().is_multiple_of(count)
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[usize::try_from(self.next()).unwrap_or(usize::MAX) % of.len()]
    }
}

fn list(random: &mut Random, of: &[&str]) -> String {
    let mut list = random.pick(of).to_owned();
    while random.one_in(3) {
        list.push_str(random.pick(&[",", ", ", " ,"][..2]));
        list.push_str(random.pick(of));
    }
    list
}

/// A line that matches much.
fn plain_line(random: &mut Random) -> String {
    let kind = random.pick(&["local", "host", "host", "hostssl", "hostnossl"]);
    let databases =
        list(random, &["all", "all", "all", "all", "postgres", "sameuser", "replication", "samerole", "crew"]);
    let users = list(random, &["all", "all", "all", "alice", "bob", "postgres", "+crew"]);
    let address = random.pick(&[
        "all",
        "127.0.0.0/8",
        "samenet",
        "samehost",
        "0.0.0.0/0",
        "::/0",
        "127.0.0.1/32",
        "127.64.0.0/10",
    ]);
    let method = random.pick(&["password", "password", "password", "md5", "trust", "reject", "scram-sha-256"]);
    match kind {
        "local" => format!("{kind} {databases} {users} {method}\n"),
        _ => format!("{kind} {databases} {users} {address} {method}\n"),
    }
}

fn line(random: &mut Random) -> String {
    let broken = random.one_in(60);
    let kind = random.pick(&[
        "local",
        "host",
        "host",
        "host",
        "hostssl",
        "hostnossl",
        "hostgssenc",
        "hostnogssenc",
        "\"host\"",
    ]);
    let databases = list(
        random,
        &[
            "all",
            "all",
            "sameuser",
            "samerole",
            "replication",
            "postgres",
            "alice",
            "bob",
            "\"all\"",
            "\"replication\"",
            "\"db,1\"",
            "crew",
            "\"sameuser\"",
            "/al",
        ],
    );
    let users = list(
        random,
        &[
            "all",
            "all",
            "postgres",
            "alice",
            "bob",
            "\"x y\"",
            "\"all\"",
            "+crew",
            "\"+crew\"",
            "Alice",
            "x\" y\"",
            "+nobody",
            "/al",
            "\"\"",
        ],
    );
    let address = random.pick(&[
        "all",
        "127.0.0.1/32",
        "127.0.0.0/8",
        "127.1.0.0/16",
        "127.0.0.1 255.255.255.255",
        "127.0.0.2 255.0.0.255",
        "0.0.0.0/0",
        "::1/128",
        "::/0",
        "samehost",
        "samenet",
        "127.1/32",
        "0x7f.2/32",
        "::ffff:127.0.0.1/128",
        "0.0.0.0 0.0.0.0",
        "192.0.2.0/24",
        "fd00::/8",
        "127.0.0.0/ 9",
        "\"127.0.0.1/32\"",
        "127.64.0.0/10",
    ]);
    // A method that asks and fails shows its line.
    let method = random.pick(&[
        "password",
        "password",
        "md5",
        "password",
        "trust",
        "reject",
        "scram-sha-256",
        "ident",
        "password",
    ]);
    let bad = random.pick(&[
        "nothing",
        "10.0.0.0/33 trust",
        "a,b trust",
        "peer map=x",
        "trust map=x",
        "md5 option",
        "cert",
        "localhost/8 md5",
    ]);
    let comment = random.pick(&["", "", " # comment", "#x", " \\\n", "\t\r", " clientcert=verify-full"][..6]);
    match (kind, broken) {
        (_, true) => format!("{kind} {databases} {users} {bad}{comment}\n"),
        ("local", _) => format!("{kind} {databases} {users} {method}{comment}\n"),
        _ => format!("{kind} {databases}\t{users}  {address} {method}{comment}\n"),
    }
}

struct Case {
    how: How,
    user: String,
    database: String,
    replication: Replication,
}

impl Case {
    fn random(random: &mut Random, addresses: &[&str]) -> Self {
        let encryption = if random.one_in(3) { Encryption::Tls } else { Encryption::None };
        let how = match random.one_in(5) {
            true => How::Local,
            false => How::Host { address: random.pick(addresses).parse().unwrap(), encryption },
        };
        let long = random.one_in(40);
        let replication = match random.next() % 8 {
            0 => Replication::Physical,
            1 => Replication::Logical,
            _ => Replication::No,
        };
        let user = if long { "n".repeat(70) } else { random.pick(&USERS).to_owned() };
        Self { how, user, database: random.pick(&DATABASES).to_owned(), replication }
    }

    fn attempt(&self) -> Attempt<'_> {
        Attempt {
            how: self.how,
            user: self.user.as_bytes(),
            database: self.database.as_bytes(),
            replication: self.replication,
        }
    }

    /// The server asks the peer's host from loopback, which never reaches another address.
    fn waits_for_ident(&self, decision: &Decision<'_>) -> bool {
        let foreign = matches!(self.how, How::Host { address, .. } if !address.is_loopback());
        foreign && matches!(decision, Decision::Rule(rule) if rule.method() == Method::Ident)
    }

    fn request(&self) -> String {
        let (way, source, encryption) = match self.how {
            How::Local => ("local", String::new(), "none"),
            How::Host { address, encryption: Encryption::Tls } => ("host", address.to_string(), "tls"),
            How::Host { address, .. } => ("host", address.to_string(), "none"),
        };
        let replication = match self.replication {
            Replication::No => "no",
            Replication::Logical => "logical",
            Replication::Physical => "physical",
        };
        let (user, database) = (hex(self.user.as_bytes()), hex(self.database.as_bytes()));
        [way, &source, encryption, &user, &database, replication].join("\t")
    }
}

/// The interfaces of this host, as `ip` prints them.
fn interfaces() -> Vec<Network> {
    let output = Command::new("ip").args(["-o", "addr", "show"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let column = text.lines().filter_map(|line| line.split_whitespace().nth(3));
    let networks = column.filter_map(|word| {
        let (address, bits) = word.split_once('/')?;
        Network::prefix(address.parse().ok()?, bits.parse().ok()?)
    });
    networks.collect()
}

/// Members as the server was given them: `crew` has alice, directly, and bob, through `mates`.
fn facts() -> Facts {
    let names = |names: &[&str]| names.iter().map(|name| name.as_bytes().to_vec()).collect::<BTreeSet<_>>();
    let mut members = BTreeMap::new();
    members.insert(b"crew".to_vec(), names(&["alice", "mates", "bob"]));
    members.insert(b"mates".to_vec(), names(&["bob"]));
    for nobody in ["nobody", "postgres", "alice", "bob", "sameuser", "replication", "db,1"] {
        members.insert(nobody.as_bytes().to_vec(), BTreeSet::new());
    }
    Facts { interfaces: Interfaces::Known(interfaces()), members }
}

fn prepare(server: &mut Server) {
    let sql = "create role alice; create role bob; create role crew; create role mates; create role \"x y\"; \
               create role \"all\"; create role \"+crew\"; create role \"Alice\"; \
               grant crew to alice; grant crew to mates; grant mates to bob;";
    server.sql(sql);
}

/// What differs, in words.
fn compare(case: &Case, decision: &Decision<'_>, outcome: &Outcome, major: Major) -> Option<String> {
    let refusal = |reason| {
        let refusal = Refusal::new(reason, &case.attempt(), major);
        Outcome::Refused { sqlstate: SQLSTATE.into(), message: refusal.message }
    };
    let same = match decision {
        Decision::NoEntry => *outcome == refusal(Reason::NoEntry),
        Decision::Undecided { .. } => false,
        Decision::Rule(rule) => match (rule.method(), outcome) {
            (Method::Reject, _) => *outcome == refusal(Reason::Rejected),
            (Method::Trust, Outcome::Admitted) => true,
            // Let in, and then there is no such database, or it may not log in.
            (Method::Trust, Outcome::Refused { message, .. }) => {
                let message = String::from_utf8_lossy(message);
                !message.contains("pg_hba.conf")
            }
            (Method::ScramSha256, Outcome::Asked(10)) => true,
            (Method::Password, Outcome::Failed { line, message }) => {
                *line == rule.place().line && message.starts_with("password authentication failed")
            }
            (Method::Md5, Outcome::Failed { line, message }) => {
                *line == rule.place().line && message.starts_with("password authentication failed")
            }
            // The roles have no password, so the server pretends to want SCRAM.
            (Method::Md5, Outcome::Asked(10)) => true,
            (Method::Ident, Outcome::Failed { line, message }) => {
                *line == rule.place().line && message.starts_with("Ident authentication failed")
            }
            (Method::Peer, Outcome::Failed { line, message }) => {
                *line == rule.place().line && message.starts_with("Peer authentication failed")
            }
            // The client runs as the system account of that name.
            (Method::Peer, Outcome::Admitted | Outcome::Refused { .. }) => case.user == "postgres",
            _ => false,
        },
    };
    (!same).then(|| format!("{} by us {decision:?}\nby the server {outcome:?}", case.request()))
}

#[test]
fn a_real_server_decides_the_same() {
    let seed = std::env::var("WARDER_FUZZ_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let mut random = Random(seed);
    let mut server = Server::start();
    prepare(&mut server);
    let facts = facts();
    let own: Vec<String> = interfaces().iter().map(|network| network.address().to_string()).collect();
    let mut addresses = vec!["127.0.0.1", "127.0.0.2", "127.1.0.1", "127.86.0.1", "127.255.255.254", "::1"];
    addresses.extend(own.iter().map(String::as_str).filter(|own| {
        let address: IpAddr = own.parse().unwrap();
        !own.starts_with("fe80") && !address.is_loopback()
    }));
    let major = Major::new(15).unwrap();
    let (mut taken, mut refused, mut attempts, mut kinds) = (0, 0, 0, BTreeMap::<String, u32>::new());
    for _ in 0..FILES {
        let make = if random.one_in(STRANGE) { line } else { plain_line };
        let text: String = (0..2 + random.next() % 9).map(|_| make(&mut random)).collect();
        let loaded = server.load(text.as_bytes());
        let all = loaded.clone().unwrap_or_else(|| [b"local all mark password\n", text.as_bytes()].concat());
        let file = File { name: "pg_hba.conf".into(), text: all };
        let rules = Rules::parse(&file, major, &mut |_| Err("not here".into()));
        assert_eq!(rules.is_ok(), loaded.is_some(), "{text}\n{rules:?}\n{}", server.log());
        let Ok(rules) = rules else {
            refused += 1;
            continue;
        };
        taken += 1;
        for _ in 0..ATTEMPTS {
            let case = Case::random(&mut random, &addresses);
            let decision = rules.decide(&case.attempt(), &facts);
            if case.waits_for_ident(&decision) {
                continue;
            }
            let outcome = server.attempt(&case.request());
            let differs = compare(&case, &decision, &outcome, major);
            assert_eq!(differs, None, "seed {seed}\n{text}");
            let kind = match decision {
                Decision::Rule(rule) => rule.method().to_string(),
                _ => "no entry".into(),
            };
            *kinds.entry(kind).or_default() += 1;
            attempts += 1;
        }
    }
    println!("{taken} files taken, {refused} refused, {attempts} attempts: {kinds:?}");
    assert!(taken > 0 && refused > 0 && attempts > 500);
}
