//! What may be configured, and how mistakes are named.
#![allow(clippy::unwrap_used, clippy::allow_attributes, reason = "helpers of tests")]

use export::config::ExportConfig;
use export::plan::Plan;
use serde_json::{Value, json};

fn check(keys: Value, expected: Result<(), &str>) {
    let mut all = json!({"name": "siem"});
    all.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
    let config: ExportConfig = serde_json::from_value(all.clone()).unwrap();
    let found = Plan::check(&config).map(drop).map_err(|error| error.to_string());
    match expected {
        Ok(()) => assert_eq!(found, Ok(()), "{all}"),
        Err(key) => {
            let error = found.expect_err(&all.to_string());
            assert!(error.starts_with(&format!("{key}: ")), "{all}: {error}");
        }
    }
}

#[test]
fn each_kind_has_its_places() {
    let places = [("file", json!("/var/x")), ("url", json!("https://h/x")), ("syslog", json!("tls://h:6514"))];
    let kinds = [
        ("jsonl", [true, false, false]),
        ("otlp", [false, true, false]),
        ("ocsf", [true, true, true]),
        ("syslog", [false, false, true]),
        ("webhook", [false, true, false]),
    ];
    for (kind, allowed) in kinds {
        for ((place, value), allowed) in places.iter().zip(allowed) {
            check(json!({"kind": kind, *place: value}), if allowed { Ok(()) } else { Err(place) });
        }
        check(json!({"kind": kind}), Err("kind"));
        check(json!({"kind": kind, "file": "/x", "url": "https://h/"}), Err("kind"));
    }
}

#[test]
fn mistakes_are_named() {
    for (keys, key) in [
        (json!({"kind": "jsonl", "file": "relative"}), "file"),
        (json!({"kind": "jsonl", "file": "/"}), "file"),
        (json!({"kind": "jsonl", "file": "/x", "file_bytes_max": 5}), "file_bytes_max"),
        (json!({"kind": "jsonl", "file": "/x", "files_max": 0}), "files_max"),
        (json!({"kind": "jsonl", "file": "/x", "types": []}), "types"),
        (json!({"kind": "jsonl", "file": "/x", "facility": "user"}), "facility"),
        (json!({"kind": "jsonl", "file": "-", "files_max": 3}), "files_max"),
        (json!({"kind": "jsonl", "file": "/x", "batch_records_max": 0}), "batch_records_max"),
        (json!({"kind": "jsonl", "file": "/x", "batch_bytes_max": 1}), "batch_bytes_max"),
        (json!({"kind": "jsonl", "file": "/x", "timeout_seconds": 0}), "timeout_seconds"),
        (json!({"kind": "jsonl", "file": "/x", "retry_seconds_max": 0}), "retry_seconds_max"),
        (json!({"kind": "jsonl", "file": "/x", "refusals_max": 0}), "refusals_max"),
        (json!({"kind": "jsonl", "file": "/x", "ca_file": "/ca"}), "ca_file"),
        (json!({"kind": "webhook", "url": "h/x"}), "url"),
        (json!({"kind": "webhook", "url": "ftp://h/x"}), "url"),
        (json!({"kind": "webhook", "url": "https://user:secret@h/x"}), "url"),
        (json!({"kind": "webhook", "url": "http://h/x", "ca_file": "/ca"}), "ca_file"),
        (json!({"kind": "webhook", "url": "http://h/x", "bearer_token_file": "/t"}), "bearer_token_file"),
        (json!({"kind": "webhook", "url": "https://h/x", "certificate_file": "/c"}), "key_file"),
        (json!({"kind": "webhook", "url": "https://h/x", "key_file": "/k"}), "certificate_file"),
        (json!({"kind": "webhook", "url": "https://h/x", "metrics_interval_seconds": 1}), "metrics_interval_seconds"),
        (json!({"kind": "otlp", "url": "https://h/x", "body": "lines"}), "body"),
        (json!({"kind": "syslog", "syslog": "h:514"}), "syslog"),
        (json!({"kind": "syslog", "syslog": "tcp://h"}), "syslog"),
        (json!({"kind": "syslog", "syslog": "tcp://:514"}), "syslog"),
        (json!({"kind": "syslog", "syslog": "tcp://h:99999"}), "syslog"),
        (json!({"kind": "syslog", "syslog": "unix://relative"}), "syslog"),
        (json!({"kind": "syslog", "syslog": "tcp://h:1", "facility": "kern"}), "facility"),
        (json!({"kind": "syslog", "syslog": "tcp://h:1", "ca_file": "/ca"}), "ca_file"),
    ] {
        check(keys, Err(key));
    }
    for name in ["", "Upper", "with space", "../up", "a/b", &"x".repeat(33)] {
        check(json!({"name": name, "kind": "jsonl", "file": "/x"}), Err("name"));
    }
}

#[test]
fn good_configurations_are_taken() {
    for keys in [
        json!({"kind": "jsonl", "file": "-"}),
        json!({"kind": "webhook", "url": "http://127.0.0.1:8080/x", "bearer_token_file": "/t"}),
        json!({"kind": "webhook", "url": "http://[::1]:8080/x", "bearer_token_file": "/t"}),
        json!({"kind": "webhook", "url": "https://h/x", "compression": "gzip", "body": "lines"}),
        json!({"kind": "otlp", "url": "http://h:4318", "metrics_interval_seconds": 0}),
        json!({"kind": "syslog", "syslog": "tcp://[2001:db8::1]:601", "facility": "local0"}),
        json!({"kind": "ocsf", "syslog": "unix:///dev/log", "start": "newest", "types": ["statement"]}),
    ] {
        check(keys, Ok(()));
    }
}

/// The examples of the documentation: tables of keys whose values are JSON as well.
fn examples() -> Vec<(String, Value)> {
    let text = include_str!("../../../docs/exports.md");
    let mut examples: Vec<(String, Value)> = Vec::new();
    for block in text.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()) {
        for line in block.lines().filter(|line| !line.is_empty()) {
            if line.starts_with("[[") {
                examples.push((line.to_owned(), json!({})));
            } else {
                let (key, value) = line.split_once(" = ").unwrap();
                let value = value.split("  #").next().unwrap().trim();
                examples.last_mut().unwrap().1[key] = serde_json::from_str(value).unwrap();
            }
        }
    }
    examples
}

#[test]
fn the_documentations_examples_are_taken() {
    let examples = examples();
    assert_eq!(examples.len(), 7);
    for (table, keys) in examples {
        let checked = if table == "[[export]]" {
            Plan::check(&serde_json::from_value(keys.clone()).unwrap())
        } else {
            export::witness::plan(&serde_json::from_value(keys.clone()).unwrap())
        };
        assert!(checked.is_ok(), "{keys}: {checked:?}");
    }
}

#[test]
fn mistakes_do_not_repeat_secrets() {
    let config = ExportConfig {
        url: Some("https://user:hunter2@h/x".into()),
        ..ExportConfig::new("siem", export::config::Kind::Webhook)
    };
    assert!(!Plan::check(&config).unwrap_err().to_string().contains("hunter2"));
}
