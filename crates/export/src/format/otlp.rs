//! OpenTelemetry log records (OTLP 1.x, protobuf over HTTP), with the semantic conventions' attribute names.
//!
//! The body is the record as it stands in the journal, so nothing is lost that has no attribute. What is not known has
//! no attribute.

use std::borrow::Cow;
use std::collections::BTreeSet;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use store::form::event::Event;
use store::form::judgement::{EffectForm, VerdictForm};
use store::form::statement::StatementForm;
use store::line::Entry;

use super::outcome::{Status, operation};
use super::split_address;
use crate::config::Identity;
use crate::context::{Facts, PrincipalFacts, ProcessFacts};
use crate::item::{Content, Item};
use crate::severity::Severity;

/// Path of logs below the configured URL.
pub(crate) const LOGS_PATH: &str = "/v1/logs";
/// Text of a statement in its attribute; the body has more.
const QUERY_TEXT_BYTES_MAX: usize = 64 * 1024;

/// Attributes of a record, without those that are not known.
#[derive(Default)]
pub(crate) struct Attributes(Vec<KeyValue>);

impl Attributes {
    pub(crate) fn text(&mut self, key: &str, value: Option<&str>) {
        self.push(key, value.map(|value| Value::StringValue(value.to_owned())));
    }

    fn number(&mut self, key: &str, value: Option<u64>) {
        self.push(key, value.map(|value| Value::IntValue(i64::try_from(value).unwrap_or(i64::MAX))));
    }

    /// A list; none if it is empty.
    fn texts<'a>(&mut self, key: &str, texts: impl IntoIterator<Item = &'a str>) {
        let values = texts.into_iter().map(|text| AnyValue { value: Some(Value::StringValue(text.to_owned())) });
        let values: Vec<AnyValue> = values.collect();
        if !values.is_empty() {
            self.push(key, Some(Value::ArrayValue(ArrayValue { values })));
        }
    }

    fn push(&mut self, key: &str, value: Option<Value>) {
        if let Some(value) = value {
            let value = Some(AnyValue { value: Some(value) });
            self.0.push(KeyValue { key: key.to_owned(), value, ..KeyValue::default() });
        }
    }

    pub(crate) fn into_list(self) -> Vec<KeyValue> {
        self.0
    }
}

/// Who speaks.
pub(crate) fn resource(identity: &Identity) -> Resource {
    let mut attributes = Attributes::default();
    attributes.text("service.name", Some("warder"));
    attributes.text("service.version", Some(&identity.version));
    attributes.text("host.id", Some(&identity.host));
    attributes.text("host.name", identity.host_name.as_deref());
    Resource { attributes: attributes.into_list(), ..Resource::default() }
}

/// What of the agent speaks.
pub(crate) fn scope(identity: &Identity) -> InstrumentationScope {
    InstrumentationScope { name: "warder".into(), version: identity.version.clone(), ..InstrumentationScope::default() }
}

/// The request for a batch.
pub(crate) fn logs_request(items: &[Item], identity: &Identity) -> ExportLogsServiceRequest {
    let records = items.iter().filter_map(|item| match &item.content {
        Content::Log(log) => Some((**log).clone()),
        Content::Json(_) => None,
    });
    let scope_logs =
        ScopeLogs { scope: Some(scope(identity)), log_records: records.collect(), schema_url: String::new() };
    let resource_logs =
        ResourceLogs { resource: Some(resource(identity)), scope_logs: vec![scope_logs], schema_url: String::new() };
    ExportLogsServiceRequest { resource_logs: vec![resource_logs] }
}

/// The log record of a record.
pub(crate) fn log_record(
    entry: &Entry,
    type_word: &str,
    severity: Severity,
    facts: Option<&Facts>,
    line: Vec<u8>,
) -> LogRecord {
    let mut attributes = Attributes::default();
    attributes.number("warder.seq", (entry.seq > 0).then_some(entry.seq));
    attributes.text("session.id", entry.session.as_ref().map(|session| session.as_str()));
    facts.inspect(|facts| session(&mut attributes, facts));
    match &entry.event {
        Event::Statement(form) => statement(&mut attributes, form),
        Event::Request(form) => {
            let text = form.text.as_deref().map(|text| &text[..text.floor_char_boundary(QUERY_TEXT_BYTES_MAX)]);
            attributes.text("db.query.text", text);
            attributes.text("warder.statement.kind", Some(&form.kind));
            judgement(&mut attributes, form.verdict.as_deref(), &form.effects, &form.opaque);
        }
        Event::Refused(form) => {
            attributes.text("db.response.status_code", Some(&form.sqlstate));
            attributes.text("error.type", Some(&form.sqlstate));
        }
        Event::Process(form) => {
            attributes.text("warder.process.change", Some(&form.change));
            if let Some(form) = &form.process {
                attributes.0.retain(|attribute| !attribute.key.starts_with("process."));
                process(&mut attributes, &ProcessFacts::from(form));
            }
        }
        Event::Bypass(form) => attributes.text("warder.bypass.reason", Some(&form.reason)),
        Event::BypassRefused(form) => {
            attributes.text("warder.database_entry", Some(&form.database_entry));
            address(&mut attributes, ["server.address", "server.port"], Some(&form.server_address));
            process(&mut attributes, &ProcessFacts::from(&form.client));
        }
        Event::Integrity(form) => {
            attributes.text("warder.integrity.figure", Some(&form.figure));
            attributes.number("warder.integrity.proxy", Some(form.proxy));
            attributes.number("warder.integrity.kernel", Some(form.kernel));
        }
        Event::Coverage(form) => attributes.text("warder.database_entry", Some(&form.database_entry)),
        Event::Credential(form) => {
            attributes.text("warder.credential.step", Some(&form.step));
            attributes.text("warder.credential.role", form.role.as_deref());
            attributes.text("warder.database_entry", Some(&form.database_entry));
        }
        Event::Loss(form) => attributes.number("warder.loss.count", Some(form.count)),
        _ => {}
    }
    let body = String::from_utf8(line).unwrap_or_default();
    LogRecord {
        time_unix_nano: entry.time.0.0,
        observed_time_unix_nano: entry.time.0.0,
        severity_number: severity_number(severity),
        severity_text: severity_text(severity).to_owned(),
        event_name: format!("warder.{type_word}"),
        body: Some(AnyValue { value: Some(Value::StringValue(body)) }),
        attributes: attributes.into_list(),
        ..LogRecord::default()
    }
}

fn statement(attributes: &mut Attributes, form: &StatementForm<'_>) {
    let text = form.text.as_deref().map(|text| &text[..text.floor_char_boundary(QUERY_TEXT_BYTES_MAX)]);
    attributes.text("db.query.text", text);
    attributes.text("db.operation.name", operation(form));
    attributes.number("db.response.returned_rows", Some(form.rows_sent));
    if let Status::Failed { sqlstate, .. } = Status::of(form) {
        attributes.text("db.response.status_code", Some(sqlstate));
        attributes.text("error.type", Some(sqlstate));
    }
    attributes.number("warder.statement.number", Some(form.number));
    attributes.text("warder.statement.kind", Some(&form.kind));
    attributes.text("warder.statement.ending", Some(&form.ending));
    attributes.number("warder.statement.latency_us", form.latency_us);
    judgement(attributes, form.verdict.as_deref(), &form.effects, &form.opaque);
}

/// What was decided; the body has the rest of it.
fn judgement(
    attributes: &mut Attributes,
    verdict: Option<&VerdictForm<'_>>,
    effects: &[EffectForm<'_>],
    opaque: &[Cow<'_, str>],
) {
    let Some(verdict) = verdict else { return };
    attributes.text("warder.verdict.decision", Some(&verdict.decision));
    attributes.text("warder.verdict.rule", verdict.rule.as_deref());
    attributes.text("warder.verdict.mode", Some(&verdict.mode));
    attributes.number("warder.verdict.epoch", Some(verdict.epoch));
    let relations = effects.iter().filter(|effect| effect.object == "relation");
    attributes.texts("warder.relations", once(relations.filter_map(|effect| effect.name.as_deref())));
    attributes.texts("warder.actions", once(effects.iter().map(|effect| &*effect.action)));
    attributes.texts("warder.opaque", once(opaque.iter().map(|reason| &**reason)));
}

/// Each text once, sorted.
fn once<'a>(texts: impl Iterator<Item = &'a str>) -> BTreeSet<&'a str> {
    texts.collect()
}

fn principal(attributes: &mut Attributes, facts: &PrincipalFacts) {
    attributes.text("enduser.id", Some(&facts.id));
    attributes.text("warder.principal.kind", Some(&facts.kind));
    attributes.text("warder.principal.issuer", Some(&facts.issuer));
    attributes.texts("warder.principal.acting_for", facts.acting_for.iter().map(|id| &**id));
    attributes.text("warder.principal.purpose", facts.purpose.as_deref());
}

fn session(attributes: &mut Attributes, facts: &Facts) {
    attributes.text("db.system.name", Some("postgresql"));
    attributes.text("db.namespace", facts.database.as_deref());
    attributes.text("warder.database_entry", Some(&*facts.entry).filter(|entry| !entry.is_empty()));
    attributes.text("user.name", facts.user.as_deref());
    attributes.text("warder.application_name", facts.application.as_deref());
    attributes.text("network.transport", Some(&*facts.transport).filter(|transport| !transport.is_empty()));
    attributes.text("network.protocol.name", Some("postgresql"));
    attributes.text("network.protocol.version", facts.protocol.as_deref());
    attributes.push("tls.established", facts.encryption.as_deref().map(|word| Value::BoolValue(word == "tls")));
    address(attributes, ["client.address", "client.port"], facts.client_address.as_deref());
    match &facts.socket_path {
        Some(path) => attributes.text("server.address", Some(path)),
        None => address(attributes, ["server.address", "server.port"], facts.server_address.as_deref()),
    }
    if let Some((ip, _)) = facts.client_address.as_deref().and_then(split_address) {
        attributes.text("network.type", Some(if ip.contains(':') { "ipv6" } else { "ipv4" }));
    }
    facts.client.as_ref().inspect(|client| process(attributes, client));
    facts.principal.as_ref().inspect(|who| principal(attributes, who));
}

fn address(attributes: &mut Attributes, [host_key, port_key]: [&str; 2], address: Option<&str>) {
    if let Some((host, port)) = address.and_then(split_address) {
        attributes.text(host_key, Some(host));
        attributes.number(port_key, Some(port.into()));
    }
}

fn process(attributes: &mut Attributes, facts: &ProcessFacts) {
    attributes.number("process.pid", Some(facts.pid.into()));
    attributes.number("process.parent_pid", facts.parent.map(u64::from));
    attributes.text("process.executable.path", facts.executable.as_deref());
    attributes.text("process.executable.name", Some(&*facts.name).filter(|name| !name.is_empty()));
    attributes.number("process.real_user.id", Some(facts.uid.into()));
    attributes.number("warder.process.login_uid", facts.login_uid.map(u64::from));
    attributes.texts("process.command_args", facts.arguments.iter().map(|argument| &**argument));
}

/// The logs data model's SeverityNumber: INFO, WARN, ERROR.
const fn severity_number(severity: Severity) -> i32 {
    match severity {
        Severity::Information => 9,
        Severity::Warning => 13,
        Severity::Error => 17,
        Severity::Critical => 18,
    }
}

const fn severity_text(severity: Severity) -> &'static str {
    match severity {
        Severity::Information => "INFO",
        Severity::Warning => "WARN",
        Severity::Error => "ERROR",
        Severity::Critical => "CRITICAL",
    }
}
