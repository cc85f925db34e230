//! An OpenTelemetry receiver, built on the protocol's own types, understands what is sent.
#![allow(clippy::unwrap_used, clippy::panic, clippy::allow_attributes, reason = "helpers of tests")]

mod support;

use std::collections::BTreeMap;

use export::config::{ExportConfig, Kind};
use export::metrics::{JournalTotals, Metrics};
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::{AggregationTemporality, Metric, metric::Data, number_data_point};
use prost::Message as _;
use support::http::{Behaviour, Receiver};
use support::records::{all_types, statements};
use support::{Journal, sample, start, wait_for};

fn config(receiver: &Receiver) -> ExportConfig {
    ExportConfig {
        url: Some(format!("http://{}/otlp", receiver.address)),
        metrics_interval_seconds: Some(1),
        timeout_seconds: Some(5),
        retry_seconds_max: Some(1),
        ..ExportConfig::new("otel", Kind::Otlp)
    }
}

fn text(value: Option<&AnyValue>) -> String {
    match value.and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(truth)) => truth.to_string(),
        Some(Value::ArrayValue(array)) => {
            array.values.iter().map(|value| text(Some(value))).collect::<Vec<_>>().join(" ")
        }
        other => panic!("{other:?}"),
    }
}

fn attributes(list: &[KeyValue]) -> BTreeMap<&str, String> {
    list.iter().map(|attribute| (&*attribute.key, text(attribute.value.as_ref()))).collect()
}

fn log_requests(receiver: &Receiver) -> Vec<ExportLogsServiceRequest> {
    let taken = receiver.taken().into_iter().filter(|request| request.path == "/otlp/v1/logs");
    taken
        .map(|request| {
            assert_eq!(request.header("content-type"), Some("application/x-protobuf"));
            ExportLogsServiceRequest::decode(&*request.body).unwrap()
        })
        .collect()
}

fn logs(receiver: &Receiver) -> Vec<LogRecord> {
    let requests = log_requests(receiver).into_iter();
    requests
        .flat_map(|request| request.resource_logs)
        .flat_map(|logs| logs.scope_logs)
        .flat_map(|logs| logs.log_records)
        .collect()
}

fn take() -> Behaviour {
    Behaviour::Take(ExportLogsServiceResponse::default().encode_to_vec())
}

#[test]
fn logs_carry_the_record_and_the_conventions_attributes() {
    let journal = Journal::new();
    journal.append(all_types());
    let receiver = Receiver::start(|_, _| take());
    start(&config(&receiver), &journal, &Metrics::new("0")).stop();
    let resource = log_requests(&receiver)[0].resource_logs[0].resource.clone().unwrap();
    let resource = attributes(&resource.attributes);
    assert_eq!(resource["service.name"], "warder");
    assert_eq!(resource["service.version"], "0.1.0");
    assert_eq!(resource["host.id"], "00112233445566778899aabbccddeeff");
    let logs = logs(&receiver);
    let bodies: Vec<String> = logs.iter().map(|log| text(log.body.as_ref())).collect();
    assert_eq!(bodies, all_types());
    let failed = &logs[11];
    assert_eq!(failed.event_name, "warder.statement");
    assert_eq!((failed.severity_number, &*failed.severity_text), (13, "WARN"));
    assert_eq!(failed.time_unix_nano % 1_000_000_000, 1_000);
    let expected = [
        ("client.address", "192.0.2.7"),
        ("client.port", "40000"),
        ("db.namespace", "shop"),
        ("db.query.text", "selec 1"),
        ("db.response.returned_rows", "0"),
        ("db.response.status_code", "42601"),
        ("db.system.name", "postgresql"),
        ("enduser.id", "nightly-report"),
        ("error.type", "42601"),
        ("network.protocol.name", "postgresql"),
        ("network.protocol.version", "3.0"),
        ("network.transport", "tcp"),
        ("network.type", "ipv4"),
        ("process.command_args", "psql -h localhost"),
        ("process.executable.name", "psql"),
        ("process.executable.path", "/usr/bin/psql"),
        ("process.parent_pid", "4000"),
        ("process.pid", "4242"),
        ("process.real_user.id", "1000"),
        ("server.address", "192.0.2.1"),
        ("server.port", "5432"),
        ("session.id", "00112233-44556677-1"),
        ("tls.established", "true"),
        ("user.name", "alice"),
        ("warder.actions", "drop"),
        ("warder.application_name", "psql"),
        ("warder.database_entry", "main"),
        ("warder.opaque", "code"),
        ("warder.principal.acting_for", "bob@example.com"),
        ("warder.principal.issuer", "https://id.example.com"),
        ("warder.principal.kind", "agent"),
        ("warder.principal.purpose", "figures"),
        ("warder.process.login_uid", "1000"),
        ("warder.relations", "t"),
        ("warder.seq", "12"),
        ("warder.statement.ending", "answered"),
        ("warder.statement.kind", "simple"),
        ("warder.statement.number", "1"),
        ("warder.verdict.decision", "refused"),
        ("warder.verdict.epoch", "7"),
        ("warder.verdict.mode", "enforce"),
        ("warder.verdict.rule", "no-drop"),
    ];
    assert_eq!(attributes(&failed.attributes), expected.map(|(key, value)| (key, value.to_owned())).into());
    let operation = |log: &LogRecord| attributes(&log.attributes).remove("db.operation.name");
    let operations: Vec<String> = logs.iter().filter_map(operation).collect();
    assert_eq!(operations[..3], ["SELECT", "INSERT", "UPDATE"]);
    // Nothing is known about this session, and nothing is made up.
    assert!(!attributes(&logs[13].attributes).contains_key("user.name"));
    assert_eq!(attributes(&logs[6].attributes)["server.address"], "/run/postgresql/.s.PGSQL.5432");
    assert_eq!((logs[20].severity_number, &*logs[20].event_name), (17, "warder.loss"));
}

#[test]
fn what_the_receiver_rejects_is_counted_and_told_and_not_repeated() {
    let journal = Journal::new();
    journal.append(statements(1..=10));
    let partial = ExportLogsPartialSuccess { rejected_log_records: 3, error_message: "no".into() };
    let answer = ExportLogsServiceResponse { partial_success: Some(partial) }.encode_to_vec();
    let receiver = Receiver::start(move |_, request| {
        // The number of the request would count metrics as well.
        let first = request.header("warder-first-seq") == Some("1");
        if first { Behaviour::Take(answer.clone()) } else { take() }
    });
    let metrics = Metrics::new("0");
    let handle = start(&config(&receiver), &journal, &metrics);
    wait_for("the loss", || logs(&receiver).iter().any(|log| log.event_name == "warder.loss").then_some(()));
    handle.stop();
    let logs = logs(&receiver);
    assert_eq!(logs.len(), 11);
    assert_eq!(attributes(&logs[10].attributes)["warder.loss.count"], "3");
    assert_eq!(sample(&metrics, r#"warder_export_lost_total{export="otel",reason="refused"}"#), 3.0);
    assert_eq!(sample(&metrics, r#"warder_export_delivered_total{export="otel"}"#), 8.0);
}

#[test]
fn metrics_are_sent_again_and_again_with_their_newest_values() {
    let journal = Journal::new();
    let receiver = Receiver::start(|_, _| take());
    let metrics = Metrics::new("7.7");
    metrics.journal(&JournalTotals { records: 5, bytes: 500, ..JournalTotals::default() });
    let handle = start(&config(&receiver), &journal, &metrics);
    let find = |name: &str| -> Option<Metric> {
        let taken = receiver.taken();
        let last = taken.iter().rfind(|request| request.path == "/otlp/v1/metrics")?;
        let request = ExportMetricsServiceRequest::decode(&*last.body).unwrap();
        request.resource_metrics[0].scope_metrics[0].metrics.iter().find(|metric| metric.name == name).cloned()
    };
    let written = |value: f64| {
        let Some(Data::Sum(sum)) = find("warder_journal_records_total")?.data else { panic!("a counter is a sum") };
        assert!(sum.is_monotonic && sum.aggregation_temporality == AggregationTemporality::Cumulative as i32);
        let point = &sum.data_points[0];
        assert!(point.start_time_unix_nano > 0 && point.start_time_unix_nano <= point.time_unix_nano);
        (point.value == Some(number_data_point::Value::AsDouble(value))).then_some(())
    };
    wait_for("the first value", || written(5.0));
    metrics.journal(&JournalTotals { records: 9, bytes: 900, ..JournalTotals::default() });
    wait_for("the next value", || written(9.0));
    handle.stop();
    let Some(Data::Gauge(gauge)) = find("warder_build_info").unwrap().data else { panic!("a gauge is a gauge") };
    assert_eq!(attributes(&gauge.data_points[0].attributes)["version"], "7.7");
    assert_eq!(find("warder_journal_bytes_total").unwrap().unit, "By");
    let lag = find("warder_export_lag_records").expect("also its own numbers");
    assert!(matches!(lag.data, Some(Data::Gauge(_))));
}
