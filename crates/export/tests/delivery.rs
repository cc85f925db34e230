//! At least once, in order, whatever the receiver does; and what happens to what cannot be delivered.
#![allow(clippy::unwrap_used, clippy::panic, clippy::allow_attributes, reason = "helpers of tests")]

mod support;

use std::collections::BTreeSet;
use std::process::{Child, Command};

use export::config::{Body, Compression, ExportConfig, Kind, Start};
use export::metrics::Metrics;
use serde_json::Value;
use support::http::{Behaviour, Receiver, Request};
use support::records::{record, statement, statements};
use support::{Journal, identity, json_lines, sample, seq, start, wait_for};

fn take() -> Behaviour {
    Behaviour::Take(Vec::new())
}

fn webhook(url: &str) -> ExportConfig {
    ExportConfig {
        url: Some(url.to_owned()),
        timeout_seconds: Some(1),
        retry_seconds_max: Some(1),
        ..ExportConfig::new("hook", Kind::Webhook)
    }
}

fn records(request: &Request) -> Vec<Value> {
    serde_json::from_slice(&request.body).unwrap()
}

fn seqs(request: &Request) -> Vec<u64> {
    records(request).iter().filter_map(seq).collect()
}

fn all_seqs(receiver: &Receiver) -> BTreeSet<u64> {
    receiver.taken().iter().flat_map(seqs).collect()
}

fn wait_for_seqs(receiver: &Receiver, last: u64) {
    wait_for("all records", || (all_seqs(receiver).last() == Some(&last)).then_some(()));
}

#[test]
fn records_go_to_a_file_as_they_stand() {
    let journal = Journal::new();
    let lines: Vec<String> = support::records::all_types();
    journal.append(lines.clone());
    let out = journal.path().join("out.jsonl");
    let config = ExportConfig { file: Some(out.clone()), ..ExportConfig::new("copy", Kind::Jsonl) };
    let metrics = Metrics::new("0");
    start(&config, &journal, &metrics).stop();
    let read = || std::fs::read_to_string(&out).unwrap();
    assert_eq!(read(), lines.join("\n") + "\n");
    // Another process goes on where this one ended.
    let next = statement(lines.len() as u64 + 1, "select 'next'");
    journal.append([next.clone()]);
    metrics.newest_record(lines.len() as u64 + 1);
    start(&config, &journal, &metrics).stop();
    assert_eq!(read(), lines.join("\n") + "\n" + &next + "\n");
    assert_eq!(sample(&metrics, r#"warder_export_delivered_total{export="copy"}"#), lines.len() as f64 + 1.0);
    assert_eq!(sample(&metrics, r#"warder_export_lag_records{export="copy"}"#), 0.0);
    assert_eq!(sample(&metrics, r#"warder_export_lag_seconds{export="copy"}"#), 0.0);
}

#[test]
fn records_that_come_later_are_followed() {
    let journal = Journal::new();
    let receiver = Receiver::start(|_, _| take());
    let handle = start(&webhook(&receiver.url()), &journal, &Metrics::new("0"));
    journal.append(statements(1..=3));
    wait_for_seqs(&receiver, 3);
    journal.append(statements(4..=5));
    wait_for_seqs(&receiver, 5);
    handle.stop();
    assert_eq!(receiver.taken().iter().flat_map(seqs).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
}

/// Batches are whole and in order: each one goes on after the last, or is one that came before.
fn assert_order(taken: &[Request]) {
    let mut last = 0;
    let mut before: Vec<Vec<u64>> = Vec::new();
    for request in taken {
        let seqs = seqs(request);
        let (first, end) = (seqs[0], *seqs.last().unwrap());
        assert_eq!(seqs, (first..=end).collect::<Vec<_>>(), "a batch is contiguous");
        assert_eq!(request.header("warder-first-seq"), Some(&*first.to_string()));
        assert_eq!(request.header("warder-last-seq"), Some(&*end.to_string()));
        if first != last + 1 {
            assert_eq!(before.last(), Some(&seqs), "only the last batch comes twice, and as it was");
        }
        last = end;
        before.push(seqs);
    }
}

#[test]
fn a_receiver_that_fails_half_the_time_gets_everything_in_order() {
    const RECORDS: u64 = 1_000;
    let journal = Journal::new();
    journal.append(statements(1..=RECORDS));
    let receiver = Receiver::start(|number, _| match number % 10 {
        1 => Behaviour::Status(503),
        3 => Behaviour::Reset,
        5 => Behaviour::TakeAndVanish,
        7 => Behaviour::Status(429),
        // It costs the exporter's whole timeout: not every time.
        9 if number < 20 => Behaviour::TakeAndHang,
        9 => Behaviour::Status(500),
        _ => take(),
    });
    let config = ExportConfig { batch_records_max: Some(50), ..webhook(&receiver.url()) };
    let metrics = Metrics::new("0");
    let handle = start(&config, &journal, &metrics);
    wait_for_seqs(&receiver, RECORDS);
    wait_for("the receipt", || {
        (sample(&metrics, r#"warder_export_delivered_total{export="hook"}"#) >= RECORDS as f64).then_some(())
    });
    handle.stop();
    assert_order(&receiver.taken());
    assert_eq!(all_seqs(&receiver), (1..=RECORDS).collect());
    assert_eq!(sample(&metrics, r#"warder_export_delivered_total{export="hook"}"#), RECORDS as f64);
    assert_eq!(sample(&metrics, r#"warder_export_lost_total{export="hook",reason="removed"}"#), 0.0);
    for reason in ["status", "broken", "timeout"] {
        let name = format!(r#"warder_export_failed_attempts_total{{export="hook",reason="{reason}"}}"#);
        assert!(sample(&metrics, &name) > 0.0, "{name}");
    }
}

/// A sink that echoes, or an error page of a megabyte: the status says what became of the batch.
#[test]
fn a_long_answer_is_an_answer() {
    let journal = Journal::new();
    journal.append(statements(1..=5));
    let receiver = Receiver::start(|_, _| Behaviour::Take(vec![b'x'; 200_000]));
    let metrics = Metrics::new("0");
    let handle = start(&webhook(&receiver.url()), &journal, &metrics);
    wait_for_seqs(&receiver, 5);
    journal.append(statements(6..=6));
    wait_for_seqs(&receiver, 6);
    handle.stop();
    let all: Vec<u64> = receiver.taken().iter().flat_map(seqs).collect();
    assert_eq!(all, (1..=6).collect::<Vec<_>>(), "nothing is sent again");
}

#[test]
fn a_receiver_that_is_away_makes_the_lag_visible() {
    let journal = Journal::new();
    journal.append(statements(1..=7));
    let metrics = Metrics::new("0");
    metrics.newest_record(7);
    // A port that nobody listens on.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let handle = start(&webhook(&format!("http://{address}/")), &journal, &metrics);
    wait_for("a failed attempt", || {
        let name = r#"warder_export_failed_attempts_total{export="hook",reason="connect"}"#;
        (sample(&metrics, name) > 0.0).then_some(())
    });
    assert_eq!(sample(&metrics, r#"warder_export_lag_records{export="hook"}"#), 7.0);
    assert!(sample(&metrics, r#"warder_export_lag_seconds{export="hook"}"#) > 0.0);
    handle.stop();
}

#[test]
#[expect(clippy::disallowed_methods, reason = "measures elapsed time")]
fn a_stop_takes_a_bounded_time_whatever_the_receiver_does() {
    let journal = Journal::new();
    journal.append(statements(1..=7));
    let receiver = Receiver::start(|_, _| Behaviour::TakeAndHang);
    let config = ExportConfig { timeout_seconds: Some(300), ..webhook(&receiver.url()) };
    let handle = start(&config, &journal, &Metrics::new("0"));
    wait_for("the request", || (!receiver.taken().is_empty()).then_some(()));
    let begin = std::time::Instant::now();
    export::export::stop_all(vec![handle]);
    assert!(begin.elapsed() < export::export::STOP_TIMEOUT * 2);
    // Nobody said that it was taken, so the next one takes it again.
    assert!(!journal.path().join("cursors/hook.json").exists());
}

#[test]
fn a_refused_record_is_found_skipped_and_told() {
    let journal = Journal::new();
    journal.append((1..=64).map(|seq| statement(seq, if seq == 23 { "poison" } else { "select 1" })));
    let receiver = Receiver::start(|_, request| {
        let poisoned = request.body.windows(6).any(|window| window == b"poison");
        if poisoned { Behaviour::Status(400) } else { take() }
    });
    let config = ExportConfig { refusals_max: Some(2), ..webhook(&receiver.url()) };
    let metrics = Metrics::new("0");
    let handle = start(&config, &journal, &metrics);
    let told = wait_for("the statement about the loss", || {
        receiver.taken().iter().flat_map(records).find(|record| record["type"] == "loss")
    });
    handle.stop();
    assert_eq!(all_seqs(&receiver), (1..=64).filter(|seq| *seq != 23).collect());
    for (key, value) in [("stage", "export"), ("kind", "record"), ("export", "hook"), ("reason", "refused")] {
        assert_eq!(told[key], value, "{told}");
    }
    assert_eq!((&told["count"], &told["first"], &told["last"]), (&1.into(), &23.into(), &23.into()));
    assert_eq!(sample(&metrics, r#"warder_export_lost_total{export="hook",reason="refused"}"#), 1.0);
}

#[test]
fn a_revoked_token_loses_nothing() {
    let journal = Journal::new();
    journal.append(statements(1..=9));
    let token = journal.path().join("token");
    std::fs::write(&token, "old\n").unwrap();
    let receiver = Receiver::start(|_, request| {
        if request.header("authorization") == Some("Bearer new") { take() } else { Behaviour::Status(401) }
    });
    let config =
        ExportConfig { bearer_token_file: Some(token.clone()), refusals_max: Some(1), ..webhook(&receiver.url()) };
    let metrics = Metrics::new("0");
    let handle = start(&config, &journal, &metrics);
    wait_for("refusals", || {
        let name = r#"warder_export_failed_attempts_total{export="hook",reason="status"}"#;
        (sample(&metrics, name) >= 2.0).then_some(())
    });
    assert_eq!(receiver.taken(), []);
    std::fs::write(&token, "new\n").unwrap();
    wait_for_seqs(&receiver, 9);
    handle.stop();
    assert_eq!(all_seqs(&receiver), (1..=9).collect());
}

#[test]
fn what_retention_removed_is_told_in_its_place() {
    let journal = Journal::new();
    journal.append(statements(1..=10));
    let receiver = Receiver::start(|_, _| take());
    let metrics = Metrics::new("0");
    let handle = start(&webhook(&receiver.url()), &journal, &metrics);
    wait_for_seqs(&receiver, 10);
    handle.stop();
    journal.replace(statements(21..=30));
    let handle = start(&webhook(&receiver.url()), &journal, &metrics);
    wait_for_seqs(&receiver, 30);
    handle.stop();
    let all: Vec<Value> = receiver.taken().iter().flat_map(records).collect();
    let loss = &all[10];
    assert_eq!((&loss["type"], &loss["reason"]), (&"loss".into(), &"removed".into()), "{loss}");
    assert_eq!((&loss["count"], &loss["first"], &loss["last"]), (&10.into(), &11.into(), &20.into()));
    assert_eq!(all.iter().filter_map(seq).collect::<Vec<_>>(), (1..=10).chain(21..=30).collect::<Vec<_>>());
    assert_eq!(sample(&metrics, r#"warder_export_lost_total{export="hook",reason="removed"}"#), 10.0);
}

#[test]
fn a_damaged_record_is_told_and_the_rest_delivered() {
    let journal = Journal::new();
    let damaged = |seq| if seq == 4 { "{\"v\":1,\"seq\":4,".to_owned() } else { statement(seq, "select 1") };
    journal.append((1..=6).map(damaged));
    let receiver = Receiver::start(|_, _| take());
    let handle = start(&webhook(&receiver.url()), &journal, &Metrics::new("0"));
    wait_for_seqs(&receiver, 6);
    handle.stop();
    let all: Vec<Value> = receiver.taken().iter().flat_map(records).collect();
    assert_eq!((&all[3]["reason"], &all[3]["first"], &all[3]["count"]), (&"unreadable".into(), &4.into(), &1.into()));
    assert_eq!(all.iter().filter_map(seq).collect::<Vec<_>>(), [1, 2, 3, 5, 6]);
}

#[test]
fn numbers_that_were_given_away_twice_are_delivered_twice() {
    let journal = Journal::new();
    journal.append(statements(1..=60));
    let receiver = Receiver::start(|_, _| take());
    let config = ExportConfig { batch_records_max: Some(5), ..webhook(&receiver.url()) };
    let handle = start(&config, &journal, &Metrics::new("0"));
    wait_for_seqs(&receiver, 60);
    handle.stop();
    // The power failed before the last records were on the disk; the agent went on from 41.
    journal.replace(statements(1..=41).chain((42..=70).map(|seq| statement(seq, "select 'after the failure'"))));
    let handle = start(&config, &journal, &Metrics::new("0"));
    wait_for_seqs(&receiver, 70);
    handle.stop();
    let second: Vec<Value> = receiver
        .taken()
        .iter()
        .flat_map(records)
        .filter(|record| record["text"] == "select 'after the failure'")
        .collect();
    assert_eq!(second.iter().filter_map(seq).collect::<Vec<_>>(), (42..=70).collect::<Vec<_>>());
    // Not everything again: from the last mark that both journals share.
    assert!(receiver.taken().iter().flat_map(seqs).filter(|seq| *seq <= 25).count() == 25);
}

#[test]
fn a_record_that_is_too_long_is_shortened_and_says_so() {
    let journal = Journal::new();
    let text = "é\"".repeat(40_000);
    journal.append([statement(1, "select 1"), statement(2, &text), statement(3, "select 3")]);
    let receiver = Receiver::start(|_, _| take());
    let config = ExportConfig { batch_bytes_max: Some(16 << 10), body: Some(Body::Lines), ..webhook(&receiver.url()) };
    let handle = start(&config, &journal, &Metrics::new("0"));
    let lines = || receiver.taken().iter().flat_map(|request| json_lines(&request.body)).collect::<Vec<_>>();
    let lines = wait_for("three records", || Some(lines()).filter(|lines| lines.len() == 3));
    handle.stop();
    assert_eq!(lines[1]["text_bytes"], text.len());
    assert_eq!(lines[1]["shortened_line_bytes"], statement(2, &text).len());
    assert!(text.starts_with(lines[1]["text"].as_str().unwrap()));
    assert!(receiver.taken().iter().all(|request| request.body.len() < 32 << 10));
    assert_eq!(receiver.taken()[0].header("content-type"), Some("application/x-ndjson"));
}

#[test]
fn bodies_can_be_compressed_and_types_selected() {
    use std::io::Read as _;
    let journal = Journal::new();
    journal.append(support::records::all_types());
    let receiver = Receiver::start(|_, _| take());
    let config = ExportConfig {
        compression: Some(Compression::Gzip),
        types: Some(vec!["refused".into(), "agent.stop".into()]),
        ..webhook(&receiver.url())
    };
    start(&config, &journal, &Metrics::new("0")).stop();
    let [request] = &*receiver.taken() else { panic!("one batch") };
    assert_eq!(request.header("content-encoding"), Some("gzip"));
    let mut body = String::new();
    flate2::read::GzDecoder::new(&*request.body).read_to_string(&mut body).unwrap();
    let records: Vec<Value> = serde_json::from_str(&body).unwrap();
    let types: Vec<&str> = records.iter().filter_map(|record| record["type"].as_str()).collect();
    assert_eq!(types, ["refused", "refused", "agent.stop"]);
}

#[test]
fn an_export_may_begin_with_what_comes() {
    let journal = Journal::new();
    journal.append(statements(1..=5));
    let receiver = Receiver::start(|_, _| take());
    let config = ExportConfig { start: Start::Newest, ..webhook(&receiver.url()) };
    let handle = start(&config, &journal, &Metrics::new("0"));
    wait_for("the cursor", || journal.path().join("cursors/hook.json").exists().then_some(()));
    journal.append(statements(6..=7));
    wait_for_seqs(&receiver, 7);
    handle.stop();
    assert_eq!(all_seqs(&receiver), (6..=7).collect());
}

#[test]
fn a_witness_gets_what_binds_the_journal_and_nothing_else() {
    let journal = Journal::new();
    let lines = support::records::all_types();
    journal.append(lines.clone());
    let receiver = Receiver::start(|_, _| take());
    let witness = |url: Option<String>, file| export::witness::WitnessConfig {
        name: if file { "copy" } else { "far" }.into(),
        file: file.then(|| journal.path().join("witness")),
        url,
        syslog: None,
        ca_file: None,
        certificate_file: None,
        key_file: None,
        bearer_token_file: None,
        facility: None,
        timeout_seconds: None,
        retry_seconds_max: None,
    };
    let metrics = Metrics::new("0");
    for config in [witness(Some(receiver.url()), false), witness(None, true)] {
        let plan = export::witness::plan(&config).unwrap();
        export::export::Export::start(&plan, journal.path(), &identity(), &metrics).unwrap().stop();
    }
    let binds = |line: &&String| {
        ["\"segment\"", "\"checkpoint\"", "\"key.handover\""].iter().any(|t| line.contains(&format!("\"type\":{t}")))
    };
    let expected: String = lines.iter().filter(binds).map(|line| format!("{line}\n")).collect();
    assert_eq!(expected.lines().count(), 3);
    assert_eq!(std::fs::read_to_string(journal.path().join("witness")).unwrap(), expected);
    assert_eq!(String::from_utf8(receiver.taken()[0].body.clone()).unwrap(), expected);
}

#[test]
fn a_cursor_that_is_damaged_means_everything_again() {
    let journal = Journal::new();
    journal.append(statements(1..=3));
    let receiver = Receiver::start(|_, _| take());
    start(&webhook(&receiver.url()), &journal, &Metrics::new("0")).stop();
    std::fs::write(journal.path().join("cursors/hook.json"), "{").unwrap();
    start(&webhook(&receiver.url()), &journal, &Metrics::new("0")).stop();
    assert_eq!(receiver.taken().iter().flat_map(seqs).collect::<Vec<_>>(), [1, 2, 3, 1, 2, 3]);
}

/// Not a test: the process that [`a_killed_exporter_goes_on_where_it_was`] kills.
#[test]
#[ignore = "not a test: the process that a_killed_exporter_goes_on_where_it_was starts and kills"]
fn exporter() {
    let (Ok(url), Ok(folder)) = (std::env::var("EXPORTER_URL"), std::env::var("EXPORTER_JOURNAL")) else { return };
    let config = ExportConfig { batch_records_max: Some(7), ..webhook(&url) };
    let plan = export::plan::Plan::check(&config).unwrap();
    let metrics = Metrics::new("0");
    let _running = export::export::Export::start(&plan, folder.as_ref(), &identity(), &metrics).unwrap();
    loop {
        std::thread::park();
    }
}

fn spawn_exporter(receiver: &Receiver, journal: &Journal) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "exporter", "--ignored", "--nocapture"])
        .env("EXPORTER_URL", receiver.url())
        .env("EXPORTER_JOURNAL", journal.path())
        .spawn()
        .unwrap()
}

#[test]
fn a_killed_exporter_goes_on_where_it_was() {
    const RECORDS: u64 = 3_000;
    const KILLS: u64 = 10;
    let journal = Journal::new();
    journal.append(statements(1..=RECORDS));
    let receiver = Receiver::start(|number, _| if number % 13 == 5 { Behaviour::TakeAndVanish } else { take() });
    for round in 1..=KILLS {
        let mut child = spawn_exporter(&receiver, &journal);
        let enough = round * RECORDS / (KILLS + 2);
        wait_for("some batches", || (all_seqs(&receiver).last() >= Some(&enough)).then_some(()));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let before_the_end = all_seqs(&receiver).len() as u64;
    assert!(before_the_end < RECORDS, "it was killed while there was work");
    journal.append([record(RECORDS + 1, "agent.stop", "")]);
    let mut child = spawn_exporter(&receiver, &journal);
    wait_for_seqs(&receiver, RECORDS + 1);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(all_seqs(&receiver), (1..=RECORDS + 1).collect());
    // A batch goes on after what came before, or begins again within the batch before: nothing further back.
    let mut end = 0;
    let mut repeated = 0;
    for request in receiver.taken() {
        let seqs = seqs(&request);
        assert!(seqs[0] <= end + 1 && seqs[0] + 7 > end, "{} after {end}", seqs[0]);
        repeated += u64::from(seqs[0] <= end);
        end = end.max(*seqs.last().unwrap());
    }
    println!("{repeated} batches came twice in {KILLS} kills");
}

#[test]
fn a_segment_that_cannot_be_read_does_not_hold_up_what_follows() {
    let journal = Journal::new();
    journal.append(statements(1..=5));
    // A segment that is none: sealed, and damaged from its first to its last byte.
    let segment = |first, form| store::files::segment_path(journal.path(), first, form);
    std::fs::write(segment(6, store::files::Form::Sealed), [7; 4096]).unwrap();
    let lines: String = statements(11..=15).map(|line| line + "\n").collect();
    std::fs::write(segment(11, store::files::Form::Plain), lines).unwrap();
    let receiver = Receiver::start(|_, _| take());
    let metrics = Metrics::new("0");
    let handle = start(&webhook(&receiver.url()), &journal, &metrics);
    wait_for_seqs(&receiver, 15);
    handle.stop();
    let all: Vec<Value> = receiver.taken().iter().flat_map(records).collect();
    assert_eq!(all.iter().filter_map(seq).collect::<Vec<_>>(), (1..=5).chain(11..=15).collect::<Vec<_>>());
    assert_eq!((&all[5]["reason"], &all[5]["first"], &all[5]["last"]), (&"unreadable".into(), &6.into(), &10.into()));
    assert_eq!(sample(&metrics, r#"warder_export_lost_total{export="hook",reason="unreadable"}"#), 5.0);
    assert!(sample(&metrics, r#"warder_export_failed_attempts_total{export="hook",reason="journal"}"#) >= 8.0);
}

/// Delivers five records, spoils their segment, and begins again where there are five more behind it.
#[track_caller]
fn restarted_behind_damage(config: impl Fn(&str) -> ExportConfig) {
    let journal = Journal::new();
    journal.append(statements(1..=5));
    let receiver = Receiver::start(|_, _| take());
    let metrics = Metrics::new("0");
    let config = config(&receiver.url());
    let handle = start(&config, &journal, &metrics);
    wait_for("the first records", || (!receiver.taken().is_empty()).then_some(()));
    handle.stop();
    let segment = |first, form| store::files::segment_path(journal.path(), first, form);
    std::fs::remove_file(segment(1, store::files::Form::Plain)).unwrap();
    std::fs::write(segment(1, store::files::Form::Sealed), [7; 4096]).unwrap();
    let lines: String = statements(6..=10).map(|line| line + "\n").collect();
    std::fs::write(segment(6, store::files::Form::Plain), lines).unwrap();
    let before = receiver.taken().len();
    let handle = start(&config, &journal, &metrics);
    wait_for("what came since", || (receiver.taken().len() > before).then_some(()));
    handle.stop();
    // Nothing of it was missed: what cannot be read any more was delivered before.
    assert_eq!(sample(&metrics, r#"warder_export_lost_total{export="hook",reason="unreadable"}"#), 0.0);
}

#[test]
fn damage_to_what_was_delivered_does_not_hold_up_what_follows() {
    restarted_behind_damage(webhook);
}

/// Those that know sessions read what is before their position once more.
#[test]
fn damage_to_what_was_delivered_does_not_hold_up_those_that_know_sessions() {
    restarted_behind_damage(|url| ExportConfig { kind: Kind::Ocsf, ..webhook(url) });
}
