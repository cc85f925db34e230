//! Records with whatever a client can bring into them, and worse: every form is made of them, and no export ends.
#![allow(clippy::unwrap_used, clippy::allow_attributes, reason = "helpers of tests")]

mod support;

use std::io::Read as _;
use std::net::{SocketAddr, TcpListener};

use export::config::{ExportConfig, Kind};
use export::metrics::Metrics;
use serde_json::{Value, json};
use support::http::{Behaviour, Receiver};
use support::records::all_types;
use support::{Journal, json_lines, start, wait_for};

/// SplitMix64: every run with a seed is the same.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % bound as u64).unwrap()
    }
}

fn texts() -> Vec<Value> {
    let long = "\u{10ffff}\u{e9}x\u{2028}".repeat(20_000);
    ["", "\0", "\"", "\\", "]", "\r\n<1>1 ", "\u{feff}\u{202e}", "192.0.2.7", "[::1]:99999", "main", "ERROR", &long]
        .into_iter()
        .map(Value::from)
        .collect()
}

fn numbers() -> Vec<Value> {
    let largest: Value = u64::MAX.into();
    vec![0.into(), 1.into(), largest, i64::MAX.into(), u32::MAX.into(), i32::MAX.into(), (1_u64 << 53).into()]
}

/// Puts another value of the same kind somewhere into the record; never into what every record begins with.
fn spoil(value: &mut Value, random: &mut Random) {
    match value {
        Value::String(_) => *value = texts().swap_remove(random.below(texts().len())),
        Value::Number(_) => *value = numbers().swap_remove(random.below(numbers().len())),
        Value::Bool(state) => *state = !*state,
        Value::Null => *value = json!([]),
        Value::Array(items) => {
            let at = random.below(items.len() + 1);
            match items.get_mut(at) {
                Some(item) => spoil(item, random),
                None => items.clear(),
            }
        }
        Value::Object(fields) => {
            let keys: Vec<String> =
                fields.keys().filter(|key| !["v", "seq", "time", "type"].contains(&key.as_str())).cloned().collect();
            let Some(key) = keys.get(random.below(keys.len().max(1))) else { return };
            if random.below(8) == 0 {
                fields.remove(key);
            } else if let Some(field) = fields.get_mut(key) {
                spoil(field, random);
            }
        }
    }
}

/// Lines that begin as every record does.
fn lines() -> Vec<String> {
    let variants = if std::env::var_os("WARDER_LONG").is_some_and(|value| value == "1") { 1000 } else { 40 };
    let mut random = Random(1);
    let mut lines = Vec::new();
    for _ in 0..variants {
        for line in all_types() {
            let mut record: Value = serde_json::from_str(&line).unwrap();
            for _ in 0..=random.below(3) {
                spoil(&mut record, &mut random);
            }
            let fields = record.as_object_mut().unwrap();
            let time = fields["time"].clone();
            let word = fields["type"].clone();
            for key in ["v", "seq", "time", "type"] {
                fields.remove(key);
            }
            let rest = record.to_string();
            let comma = if rest == "{}" { "" } else { "," };
            lines.push(format!(
                r#"{{"v":1,"seq":{},"time":{time},"type":{word}{comma}{}"#,
                lines.len() + 1,
                rest.trim_start_matches('{')
            ));
        }
    }
    // What must come through in any case.
    lines.push(format!(
        r#"{{"v":1,"seq":{},"time":"2026-11-22T10:00:00.000000Z","type":"agent.stop"}}"#,
        lines.len() + 1
    ));
    lines
}

/// Takes everything.
fn syslog_receiver() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            stream.unwrap().read_to_end(&mut Vec::new()).unwrap();
        }
    });
    address
}

#[test]
fn no_record_ends_an_export() {
    let journal = Journal::new();
    let lines = lines();
    journal.append(lines.iter().cloned());
    let receiver = Receiver::start(|_, _| Behaviour::Take(Vec::new()));
    let syslog = syslog_receiver();
    let out = |name: &str| journal.path().join(name);
    let configs = [
        ExportConfig { file: Some(out("plain")), batch_bytes_max: Some(16384), ..ExportConfig::new("a", Kind::Jsonl) },
        ExportConfig { file: Some(out("ocsf")), ..ExportConfig::new("b", Kind::Ocsf) },
        ExportConfig {
            url: Some(format!("http://{}", receiver.address)),
            batch_records_max: Some(7),
            ..ExportConfig::new("c", Kind::Otlp)
        },
        ExportConfig { syslog: Some(format!("tcp://{syslog}")), ..ExportConfig::new("d", Kind::Syslog) },
    ];
    let metrics = Metrics::new("0");
    let handles: Vec<_> = configs.iter().map(|config| start(config, &journal, &metrics)).collect();
    let last = lines.len();
    metrics.newest_record(last as u64);
    for config in &configs {
        let lag = format!(r#"warder_export_lag_records{{export="{}"}}"#, config.name);
        wait_for(&config.name, || {
            metrics.newest_record(last as u64);
            metrics.render().lines().any(|line| line == format!("{lag} 0")).then_some(())
        });
    }
    export::export::stop_all(handles);
    for name in ["plain", "ocsf"] {
        let records = json_lines(&std::fs::read(out(name)).unwrap());
        assert!(records.len() >= last / 3, "{name}: {}", records.len());
    }
    assert!(receiver.taken().len() >= last / 14);
}
