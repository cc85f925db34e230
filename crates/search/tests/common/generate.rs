//! Random journals and random filters over few values, so that they meet.

use std::collections::HashSet;

use journal::time::Timestamp;
use proptest::prelude::*;

use super::{Memory, NOW};

pub const USERS: [&str; 3] = ["alice", "bob", "an app"];
pub const EXES: [&str; 3] = ["/usr/bin/psql", "/usr/lib/other/psql", "/opt/app/server"];
pub const ADDRESSES: [&str; 3] = ["10.0.0.7:5000", "10.1.0.9:5000", "[::ffff:10.0.0.8]:5000"];
pub const TEXTS: [&str; 4] = ["SELECT 1", "select * from \"Customers\"", "update t set a = 'x\\y'", "INSERT über"];

/// One thing that happens, with some numbers to choose by.
#[derive(Clone, Debug)]
pub struct Happening {
    pub what: u8,
    pub session: u8,
    pub pick: [u8; 4],
    pub time: i16,
}

pub fn happening() -> impl Strategy<Value = Happening> {
    (0..16u8, 0..6u8, any::<[u8; 4]>(), -20..40i16).prop_map(|(what, session, pick, time)| Happening {
        what,
        session,
        pick,
        time,
    })
}

pub fn session_id(number: u8) -> String {
    format!("0123abcd-feed000{}-{}", number % 2, 40 + number)
}

/// Writes lines in the form of the agent.
#[derive(Debug, Default)]
pub struct Scribe {
    pub seq: u64,
    time: u64,
    occurred: HashSet<u8>,
}

impl Scribe {
    pub fn write(&mut self, journal: &Memory, happening: &Happening) {
        self.seq += 1;
        self.time = self.time.saturating_add_signed(i64::from(happening.time));
        let fields = self.fields(happening);
        let time = Timestamp(model::time::WallTime(NOW.0 - 3_600_000_000_000 + self.time * 1_000_000_000));
        journal.append(self.seq, &format!(r#"{{"v":1,"seq":{},"time":"{time}",{fields}}}"#, self.seq));
    }

    fn fields(&mut self, happening: &Happening) -> String {
        let [a, b, c, d] = happening.pick;
        let session = session_id(happening.session);
        let first = self.occurred.insert(happening.session);
        let state = session_fields(happening.pick);
        match happening.what {
            0 => {
                let origin = if first { "opened" } else { "found_at_start" };
                format!(r#""type":"session.open","session":"{session}","origin":"{origin}"{state}"#)
            }
            1 => format!(r#""type":"session.change","session":"{session}","origin":"missed_open"{state}"#),
            2 => {
                format!(r#""type":"session.close","session":"{session}"{state},"duration_us":{}"#, u32::from(a) * 1000)
            }
            3 => format!(
                r#""type":"process","session":"{session}","change":"exec","pid":{c},"process":{{"pid":{c},"name":"p{}","exe":"{}","uid":{}}}"#,
                a % 3,
                EXES[usize::from(b) % 3],
                1000 + u32::from(d % 3),
            ),
            4 => format!(
                r#""type":"refused","session":"{session}","severity":"FATAL","sqlstate":"28P01","message":"no {}""#,
                a % 4
            ),
            5 => {
                let other = happening.session.wrapping_add(1) % 6;
                self.occurred.insert(other);
                format!(r#""type":"cancel","session":"{session}","pid":{a},"target":"{}""#, session_id(other))
            }
            6 => {
                self.occurred.remove(&happening.session);
                if !first {
                    self.occurred.insert(happening.session);
                }
                format!(r#""type":"operator","verb":"scan","uid":{}"#, 1000 + u32::from(a % 3))
            }
            7 => {
                if first {
                    self.occurred.remove(&happening.session);
                }
                format!(r#""type":"loss","kind":"statement","stage":"kernel","count":{a}"#)
            }
            _ => statement(&session, happening.pick),
        }
    }
}

fn session_fields([a, b, c, d]: [u8; 4]) -> String {
    let mut out = String::new();
    if a & 1 != 0 {
        out.push_str(&format!(
            r#","user":"{}","database":"shop","database_entry":"main""#,
            USERS[usize::from(a / 2) % 3]
        ));
    }
    if b & 1 != 0 {
        let process = format!(
            r#"{{"pid":{c},"name":"p{}","exe":"{}","uid":{}}}"#,
            c % 3,
            EXES[usize::from(b / 2) % 3],
            1000 + u32::from(d % 3)
        );
        out.push_str(&format!(r#","client":{process}"#));
    }
    if c & 1 != 0 {
        out.push_str(&format!(r#","transport":"tcp","client_address":"{}""#, ADDRESSES[usize::from(c / 2) % 3]));
    } else {
        out.push_str(&format!(r#","transport":"unix","peer_pid":{d},"peer_uid":{}"#, 1000 + u32::from(d % 3)));
    }
    if d & 1 != 0 {
        out.push_str(&format!(r#","application_name":"app{}","encryption":"tls""#, d / 2 % 3));
    }
    if a & 2 != 0 {
        out.push_str(&principal([b, c]));
    }
    out
}

fn principal([a, b]: [u8; 2]) -> String {
    let kind = ["agent", "person", "service"][usize::from(a) % 3];
    let chain =
        [r#"{"kind":"person","id":"alice"}"#, r#"{"kind":"agent","id":"robot"},{"kind":"person","id":"bob"}"#, ""]
            [usize::from(b) % 3];
    format!(r#","principal":{{"kind":"{kind}","id":"{}","acting_for":[{chain}]}}"#, USERS[usize::from(a / 3) % 3])
}

/// What was decided about a message, or nothing.
fn verdict([a, b]: [u8; 2]) -> String {
    let decision = match a % 4 {
        0 => r#""decision":"allowed","allowed_by":["readers","writers"]"#,
        1 => r#""decision":"refused","rule":"no-drop""#,
        2 => r#""decision":"would_refuse","rule":"readers""#,
        _ => return String::new(),
    };
    let effect = |number: u8| {
        let (action, name) =
            (["select", "drop"][usize::from(number) % 2], ["t", "customers"][usize::from(number / 2) % 2]);
        let object = ["relation", "function"][usize::from(number / 4) % 2];
        let schema = [r#","schema":"public""#, r#","schema_unknown":"not_found""#][usize::from(number / 8) % 2];
        format!(r#"{{"action":"{action}","object":"{object}"{schema},"name":"{name}"}}"#)
    };
    let opaque = if b % 3 == 0 { r#","opaque":["code"]"# } else { "" };
    format!(r#","verdict":{{{decision},"epoch":1,"mode":"warn"}},"effects":[{},{}]{opaque}"#, effect(a / 4), effect(b))
}

fn statement(session: &str, [a, b, c, d]: [u8; 4]) -> String {
    let kind = ["simple", "execute", "parse"][usize::from(a) % 3];
    let text = serde_json::to_string(TEXTS[usize::from(b) % 4]).unwrap();
    let outcome = match c % 4 {
        0 => r#"{"severity":"ERROR","sqlstate":"23505","message":"duplicate KEY"}"#,
        1 => r#"{"severity":"ERROR","sqlstate":"42P01"}"#,
        _ => r#"{"tag":"SELECT 1","rows":1}"#,
    };
    format!(
        r#""type":"statement","session":"{session}","number":1,"kind":"{kind}","text":{text},"parameters":[{{"value":"v{}"}},{{"null":true}}],"latency_us":{},"outcomes":[{outcome}],"rows_sent":{}{}"#,
        d % 5,
        u32::from(d) * 1000,
        a,
        verdict([b / 4, d]),
    )
}

/// A term as it is typed: minus, key, values.
#[derive(Clone, Debug)]
pub struct Typed {
    pub not: bool,
    pub key: &'static str,
    pub values: Vec<String>,
}

pub fn typed() -> impl Strategy<Value = Typed> {
    let choices: Vec<(&'static str, &'static [&'static str])> = vec![
        ("user", &["alice", "bob", "an app", "nobody"]),
        ("database", &["shop", "main", "none"]),
        ("application", &["app0", "app1", "app9"]),
        ("client", &["10.0.0.7", "10.0.0.8", "10.0.0.0/8", "10.1.0.0/16", "::/0"]),
        ("exe", &["psql", "/usr/bin/psql", "server", "nothing"]),
        ("process", &["p0", "p1", "p7"]),
        ("pid", &["3", "77", "255"]),
        ("uid", &["1000", "1001", "9"]),
        ("transport", &["tcp", "unix"]),
        ("encryption", &["tls", "plaintext"]),
        ("session", &["40", "0123abcd-feed0000-42", "0123abcd-feed0001", "9", "none"]),
        ("type", &["statement", "session", "session.open", "refused", "cancel", "operator", "loss"]),
        ("sqlstate", &["23505", "23", "42", "28P01", "00000"]),
        ("kind", &["simple", "execute"]),
        ("text", &["select", "customers\\\"", "über", "v3", "duplicate key", "x\\\\y", "zzz"]),
        ("duration", &[">100ms", "<=3ms", ">10s"]),
        ("rows", &[">100", "5", "<9"]),
        ("error", &["yes", "no"]),
        ("who", &["alice", "bob", "nobody"]),
        ("agent", &["robot", "alice", "bob"]),
        ("for", &["alice", "bob", "an app"]),
        ("verdict", &["allowed", "refused", "would_refuse"]),
        ("rule", &["readers", "no-drop", "nothing"]),
        ("action", &["select", "drop", "grant"]),
        ("relation", &["t", "customers", "public.customers", "public.none"]),
        ("opaque", &["code", "syntax"]),
    ];
    (prop::sample::select(choices), any::<bool>(), prop::collection::vec(any::<prop::sample::Index>(), 1..3)).prop_map(
        |((key, values), not, picks)| {
            let many = !matches!(key, "duration" | "rows" | "error");
            let picks = picks.iter().take(if many { 2 } else { 1 });
            Typed { not, key, values: picks.map(|pick| (*pick.get(values)).to_owned()).collect() }
        },
    )
}

impl Typed {
    pub fn text(&self) -> String {
        let values: Vec<String> = self.values.iter().map(|value| format!("\"{value}\"")).collect();
        format!("{}{}:{}", if self.not { "-" } else { "" }, self.key, values.join(","))
    }
}
