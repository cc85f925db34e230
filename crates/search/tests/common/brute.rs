//! The same questions answered the slow way: every line as JSON, attributes from all lines.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};

use serde_json::Value;

use super::generate::Typed;

/// Attributes of sessions: key of the grammar and value.
pub type Known = HashMap<String, HashSet<(&'static str, String)>>;

/// What lines state of their sessions.
pub fn known(lines: &[String]) -> Known {
    let mut known = Known::new();
    for line in lines {
        let record: Value = serde_json::from_str(line).unwrap();
        let Some(session) = record["session"].as_str() else { continue };
        let attributes = known.entry(session.to_owned()).or_default();
        match record["type"].as_str().unwrap() {
            "session.open" | "session.change" | "session.close" => {
                for (key, field) in [
                    ("user", "user"),
                    ("database", "database"),
                    ("database", "database_entry"),
                    ("application", "application_name"),
                    ("transport", "transport"),
                    ("encryption", "encryption"),
                    ("client", "client_address"),
                    ("pid", "peer_pid"),
                    ("uid", "peer_uid"),
                ] {
                    add(attributes, key, &record[field]);
                }
                process(attributes, &record["client"]);
                principal(attributes, &record["principal"]);
            }
            "process" => process(attributes, &record["process"]),
            _ => {}
        }
    }
    known
}

fn principal(attributes: &mut HashSet<(&'static str, String)>, principal: &Value) {
    add(attributes, "who", &principal["id"]);
    let chain = principal["acting_for"].as_array().cloned().unwrap_or_default();
    for actor in chain.iter().chain([principal]).filter(|actor| actor["kind"] == "agent") {
        add(attributes, "agent", &actor["id"]);
    }
    chain.iter().for_each(|actor| add(attributes, "for", &actor["id"]));
}

fn process(attributes: &mut HashSet<(&'static str, String)>, process: &Value) {
    for (key, field) in [("exe", "exe"), ("process", "name"), ("pid", "pid"), ("uid", "uid")] {
        add(attributes, key, &process[field]);
    }
}

fn add(attributes: &mut HashSet<(&'static str, String)>, key: &'static str, value: &Value) {
    match value {
        Value::String(text) => drop(attributes.insert((key, text.clone()))),
        Value::Number(number) => drop(attributes.insert((key, number.to_string()))),
        _ => {}
    }
}

/// Sequence numbers of the lines that fit, ascending.
pub fn search(lines: &[String], known: &Known, terms: &[Typed], since: Option<u64>) -> Vec<u64> {
    let records = lines.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let fitting = records.filter(|record| {
        let time = journal::time::Timestamp::parse(record["time"].as_str().unwrap()).unwrap().0.0;
        since.is_none_or(|since| time >= since) && terms.iter().all(|term| holds(term, record, known) != term.not)
    });
    fitting.map(|record| record["seq"].as_u64().unwrap()).collect()
}

fn holds(term: &Typed, record: &Value, known: &Known) -> bool {
    term.values
        .iter()
        .any(|value| one_holds(term.key, &value.replace("\\\"", "\"").replace("\\\\", "\\"), record, known))
}

fn one_holds(key: &'static str, value: &str, record: &Value, known: &Known) -> bool {
    let kind = record["type"].as_str().unwrap();
    let sessions = [&record["session"], &record["target"]].map(|session| session.as_str());
    let mut states: Vec<&str> = record["sqlstate"].as_str().into_iter().collect();
    let outcomes = record["outcomes"].as_array().cloned().unwrap_or_default();
    states.extend(outcomes.iter().filter_map(|outcome| outcome["sqlstate"].as_str()));
    match key {
        "session" if value == "none" => sessions == [None, None] && !["checkpoint", "segment"].contains(&kind),
        "session" => sessions.into_iter().flatten().any(|session| match value {
            "40" | "9" => session.ends_with(&format!("-{value}")),
            whole if whole.matches('-').count() == 2 => session == whole,
            prefix => session.starts_with(prefix),
        }),
        "type" => kind == value || kind.starts_with(&format!("{value}.")),
        "sqlstate" => states.iter().any(|state| state.starts_with(value)),
        "kind" => kind == "statement" && record["kind"] == value,
        "error" if kind == "statement" => (value == "yes") != states.is_empty(),
        "error" => kind == "refused" && value == "yes",
        "text" => {
            texts(record, &outcomes).iter().any(|text| text.to_ascii_lowercase().contains(&value.to_ascii_lowercase()))
        }
        "duration" => {
            let micros = if kind == "statement" { &record["latency_us"] } else { &record["duration_us"] };
            micros.as_u64().is_some_and(|micros| compare(micros, value, 1000))
        }
        "rows" => record["rows_sent"].as_u64().is_some_and(|rows| compare(rows, value, 1)),
        "verdict" => record["verdict"]["decision"] == value,
        "rule" => {
            let allowed_by = record["verdict"]["allowed_by"].as_array().cloned().unwrap_or_default();
            record["verdict"]["rule"] == value || allowed_by.iter().any(|policy| policy == value)
        }
        "action" => effects(record).iter().any(|effect| effect["action"] == value),
        "relation" => effects(record).iter().filter(|effect| effect["object"] == "relation").any(|effect| {
            let name = effect["name"].as_str().unwrap();
            value == name || effect["schema"].as_str().is_some_and(|schema| value == format!("{schema}.{name}"))
        }),
        "opaque" => record["opaque"].as_array().is_some_and(|reasons| reasons.iter().any(|reason| reason == value)),
        "uid" if kind == "operator" => record["uid"].as_u64() == value.parse().ok(),
        attribute => sessions[0].and_then(|session| known.get(session)).is_some_and(|attributes| {
            attributes.iter().any(|(of, has)| *of == attribute && attribute_fits(attribute, has, value))
        }),
    }
}

fn effects(record: &Value) -> Vec<Value> {
    record["effects"].as_array().cloned().unwrap_or_default()
}

/// Whether a line in that time has what the key asks for at all.
pub fn is_recorded(lines: &[String], key: &str, since: Option<u64>) -> bool {
    let since = since.map(|since| journal::time::Timestamp(model::time::WallTime(since)).to_string());
    lines.iter().map(|line| serde_json::from_str::<Value>(line).unwrap()).any(|record| {
        let in_time = since.as_deref().is_none_or(|since| record["time"].as_str().unwrap() >= since);
        match key {
            "verdict" | "rule" | "action" | "relation" | "opaque" => in_time && record["verdict"].is_object(),
            "who" | "agent" | "for" => in_time && record["principal"].is_object(),
            _ => true,
        }
    })
}

fn attribute_fits(key: &str, has: &str, value: &str) -> bool {
    match key {
        "exe" if !value.contains('/') => has.ends_with(&format!("/{value}")),
        "client" => {
            let address = has.parse::<SocketAddr>().unwrap().ip().to_canonical();
            let IpAddr::V4(address) = address else { return false };
            match value {
                "10.0.0.0/8" => address.octets()[0] == 10,
                "10.1.0.0/16" => address.octets()[..2] == [10, 1],
                "::/0" => false,
                exact => address.to_string() == exact,
            }
        }
        _ => has == value,
    }
}

fn texts(record: &Value, outcomes: &[Value]) -> Vec<String> {
    let parameters = record["parameters"].as_array().cloned().unwrap_or_default();
    let all = [record["text"].clone(), record["message"].clone()].into_iter();
    let all = all.chain(parameters.iter().map(|parameter| parameter["value"].clone()));
    let all = all.chain(outcomes.iter().map(|outcome| outcome["message"].clone()));
    all.filter_map(|value| value.as_str().map(str::to_owned)).collect()
}

fn compare(number: u64, text: &str, unit: u64) -> bool {
    let digits: u64 = text.chars().filter(char::is_ascii_digit).collect::<String>().parse().unwrap();
    let bound = digits
        * if text.ends_with("ms") {
            unit
        } else if text.ends_with('s') {
            1_000_000
        } else {
            1
        };
    match text.trim_end_matches(|c: char| c.is_ascii_alphanumeric()) {
        ">" => number > bound,
        "<" => number < bound,
        "<=" => number <= bound,
        _ => number == bound,
    }
}
