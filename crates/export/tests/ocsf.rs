//! Every record becomes an OCSF event that the schema accepts.
//!
//! `ocsf/schema.json` is made from OCSF 1.8.0 (Apache-2.0); it is reduced to the classes and objects that are used, and
//! refuses every other property.
#![allow(clippy::unwrap_used, clippy::panic, clippy::allow_attributes, reason = "helpers of tests")]

mod support;

use std::collections::BTreeMap;

use export::config::{ExportConfig, Kind};
use export::metrics::Metrics;
use jsonschema::Validator;
use serde_json::{Value, json};
use support::records::{all_types, statement};
use support::{Journal, json_lines, start};

/// The validators, by class.
fn validators() -> BTreeMap<u64, Validator> {
    let schema: Value = serde_json::from_str(include_str!("ocsf/schema.json")).unwrap();
    let class = |(uid, place): (&String, &Value)| {
        let schema = json!({"$schema": schema["$schema"], "$ref": place, "$defs": schema["$defs"]});
        (uid.parse().unwrap(), jsonschema::validator_for(&schema).unwrap())
    };
    schema["classes"].as_object().unwrap().iter().map(class).collect()
}

fn mistakes(validators: &BTreeMap<u64, Validator>, event: &Value) -> Vec<String> {
    let Some(validator) = event["class_uid"].as_u64().and_then(|class| validators.get(&class)) else {
        return vec!["an unknown class".into()];
    };
    validator.iter_errors(event).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

fn events(journal: &Journal) -> Vec<Value> {
    let out = journal.path().join("out.jsonl");
    let config = ExportConfig { file: Some(out.clone()), ..ExportConfig::new("ocsf", Kind::Ocsf) };
    start(&config, journal, &Metrics::new("0")).stop();
    json_lines(&std::fs::read(out).unwrap())
}

#[test]
fn events_of_all_types_are_valid() {
    let journal = Journal::new();
    journal.append(all_types());
    let (events, validators) = (events(&journal), validators());
    assert_eq!(events.len(), all_types().len());
    for event in &events {
        assert_eq!(mistakes(&validators, event), [""; 0], "{event:#}");
        let number = |key: &str| event[key].as_u64().unwrap();
        assert_eq!(number("type_uid"), number("class_uid") * 100 + number("activity_id"));
        assert_eq!(number("category_uid"), number("class_uid") / 1000);
    }
    for class in validators.keys() {
        assert!(events.iter().any(|event| event["class_uid"] == *class), "no event of class {class}");
    }
}

/// Makes a valid event invalid.
type Spoil = fn(&mut Value);

#[test]
fn the_schema_refuses_what_is_wrong() {
    let journal = Journal::new();
    journal.append([statement(1, "select 1")]);
    let (events, validators) = (events(&journal), validators());
    let wrong: [(&str, Spoil); 6] = [
        ("a property that does not exist", |event| event["flavour"] = "sweet".into()),
        ("an activity that does not exist", |event| event["activity_id"] = 77.into()),
        ("no actor", |event| drop(event.as_object_mut().unwrap().remove("actor"))),
        ("an empty actor", |event| event["actor"] = json!({})),
        ("a time as text", |event| event["time"] = "now".into()),
        ("no version", |event| drop(event["metadata"].as_object_mut().unwrap().remove("version"))),
    ];
    for (what, spoil) in wrong {
        let mut event = events[0].clone();
        spoil(&mut event);
        assert_ne!(mistakes(&validators, &event), [""; 0], "{what}");
    }
}

/// Type of record, class, activity, status.
type Expected = (&'static str, u64, &'static str, Option<u64>);

#[test]
fn records_are_what_the_documentation_says() {
    let journal = Journal::new();
    journal.append(all_types());
    let expected: [Expected; 44] = [
        ("segment", 1008, "Rotate", None),
        ("agent.start", 1008, "Start", None),
        ("gap", 1008, "gap", None),
        ("session.open", 4001, "Open", None),
        ("session.open", 4001, "Open", None),
        ("session.change", 3002, "Logon", Some(1)),
        ("session.change", 3002, "Logon", Some(1)),
        ("session.change", 4001, "Change", None),
        ("refused", 3002, "Logon", Some(2)),
        ("refused", 6005, "Connect", Some(2)),
        ("request", 6005, "Request", None),
        ("statement", 6005, "Query", Some(2)),
        ("statement", 6005, "Query", Some(0)),
        ("statement", 6005, "parse", Some(1)),
        ("statement", 6005, "Query", Some(1)),
        ("cancel", 6005, "Cancel", None),
        ("session.gap", 1008, "session.gap", None),
        ("process", 1007, "Launch", None),
        ("process", 1007, "Launch", None),
        ("process", 1007, "Terminate", None),
        ("loss", 1008, "loss", None),
        ("operator", 1008, "operator", None),
        ("bypass", 4001, "Bypass", None),
        ("bypass", 4001, "Bypass", None),
        ("bypass.refused", 4001, "Refuse", None),
        ("integrity", 1008, "integrity", None),
        ("coverage", 1008, "coverage", None),
        ("credential", 1008, "credential", None),
        ("session.close", 4001, "Close", None),
        ("checkpoint", 1008, "checkpoint", None),
        ("key.handover", 1008, "key.handover", None),
        ("segments.removed", 1008, "Delete", None),
        ("journal.recovered", 1008, "journal.recovered", None),
        ("something.new", 1008, "something.new", None),
        ("agent.stop", 1008, "Stop", None),
        ("statement", 6005, "Query", Some(1)),
        ("statement", 6005, "Write", Some(1)),
        ("statement", 6005, "Update", Some(1)),
        ("statement", 6005, "Delete", Some(1)),
        ("statement", 6005, "Create", Some(1)),
        ("statement", 6005, "BEGIN", Some(1)),
        ("statement", 6005, "Query", Some(1)),
        ("statement", 6005, "Update", Some(1)),
        ("statement", 6005, "COPY", Some(1)),
    ];
    let events = events(&journal);
    let found: Vec<_> = events
        .iter()
        .map(|event| {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            let (type_word, activity) = (text(&event["metadata"]["event_code"]), text(&event["activity_name"]));
            (type_word, event["class_uid"].as_u64().unwrap(), activity, event["status_id"].as_u64())
        })
        .collect();
    let expected =
        expected.map(|(type_word, class, activity, status)| (type_word.into(), class, activity.into(), status));
    assert_eq!(found, expected);
}

#[test]
fn a_statement_carries_what_its_session_is_known_for() {
    let journal = Journal::new();
    journal.append(all_types());
    let events = events(&journal);
    let failed = &events[11];
    assert_eq!(failed["actor"]["user"]["name"], "alice");
    assert_eq!(failed["actor"]["process"]["cmd_line"], "psql -h localhost");
    assert_eq!(failed["actor"]["process"]["file"], json!({"name": "psql", "path": "/usr/bin/psql", "type_id": 1}));
    assert_eq!(failed["database"], json!({"name": "shop", "uid": "main", "type": "Relational", "type_id": 1}));
    assert_eq!(failed["src_endpoint"], json!({"ip": "192.0.2.7", "port": 40000}));
    assert_eq!(failed["status_code"], "42601");
    assert_eq!(failed["query_info"]["query_string"], "selec 1");
    assert_eq!(failed["severity_id"], 2);
    let policy = json!({"name": "no-drop", "version": "7", "desc": "nobody drops"});
    assert_eq!(failed["actor"]["authorizations"], json!([{"decision": "refused", "policy": policy}]));
    assert_eq!(failed["actor"]["app_uid"], "nightly-report");
    let principal = json!({"kind": "agent", "id": "nightly-report", "issuer": "https://id.example.com",
        "acting_for": ["bob@example.com"], "purpose": "figures"});
    assert_eq!(failed["unmapped"]["principal"], principal);
    assert_eq!(failed["unmapped"]["verdict"]["what"], "DROP of table public.t");
    assert_eq!(failed["unmapped"]["effects"][0]["name"], "t");
    assert_eq!(failed["unmapped"]["opaque"], json!(["code"]));
    let asked = &events[10];
    assert_eq!(
        (&asked["actor"]["authorizations"], &asked["severity_id"]),
        (&failed["actor"]["authorizations"], &json!(2))
    );
    let allowed = json!([
        {"decision": "allowed", "policy": {"name": "owners", "version": "7"}},
        {"decision": "allowed", "policy": {"name": "readers", "version": "7"}},
    ]);
    assert_eq!(events[14]["actor"]["authorizations"], allowed);
    assert_eq!(events[12]["actor"].get("authorizations"), None, "nobody decided about it");
    assert_eq!(events[3]["unmapped"]["principal_unknown"], "no_proof");
    // A session that nobody knows is not given properties, nor is a text that was lost.
    let stranger = &events[13];
    assert_eq!(stranger["database"]["name"], "Unknown");
    assert_eq!(stranger["src_endpoint"]["name"], "Unknown");
    assert_eq!(stranger["actor"].as_object().unwrap().keys().collect::<Vec<_>>(), ["session"]);
    assert_eq!(events[12].get("query_info"), None);
    // Of a text that the journal has only a part of, the whole length is said.
    assert_eq!(events[14]["metadata"]["is_truncated"], true);
    assert_eq!(events[14]["metadata"]["untruncated_size"], 100_000);
}

#[test]
fn sessions_are_known_again_after_a_restart() {
    let journal = Journal::new();
    journal.append(all_types().into_iter().take(8));
    assert_eq!(events(&journal).len(), 8);
    journal.append([statement(9, "select 9"), statement(10, "select 10")]);
    let events = events(&journal);
    assert_eq!(events.len(), 10);
    assert_eq!(events[8]["actor"]["user"]["name"], "alice", "{:#}", events[8]);
    assert_eq!(events[9]["src_endpoint"]["ip"], "192.0.2.7");
}
