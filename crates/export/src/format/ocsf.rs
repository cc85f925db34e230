//! OCSF events (Open Cybersecurity Schema Framework, version 1.8.0, profiles `host` and `linux/linux_users`).
//!
//! A record becomes one event, always. `docs/exports.md` has the table; a test validates events of all types against
//! the schema.

mod activity;
mod objects;

use serde_json::{Map, Value, json};
use store::form::event::Event;
use store::line::Entry;

use self::activity::{Activity, Class};
use super::outcome::Status;
use crate::config::Identity;
use crate::context::{Facts, ProcessFacts};
use crate::severity::Severity;
use crate::source::NewLogin;

/// Version of the schema.
pub(crate) const VERSION: &str = "1.8.0";
/// Text of a statement that an event carries.
const QUERY_BYTES_MAX: usize = 64 * 1024;

/// All that an event is made of.
struct Material<'a> {
    entry: &'a Entry,
    type_word: &'a str,
    severity: Severity,
    facts: Option<&'a Facts>,
    identity: &'a Identity,
}

/// The event of a record, as one line of JSON.
pub(crate) fn event(
    entry: &Entry,
    type_word: &str,
    severity: Severity,
    facts: Option<&Facts>,
    login: Option<NewLogin>,
    identity: &Identity,
) -> Vec<u8> {
    let material = Material { entry, type_word, severity, facts, identity };
    let activity = Activity::of(entry, type_word, login);
    let mut event = material.base(activity);
    match activity.class {
        Class::Datastore => material.datastore(&mut event),
        Class::Authentication => material.authentication(&mut event),
        Class::Network => material.network(&mut event),
        Class::Process => material.process(&mut event),
        Class::EventLog => material.event_log(&mut event),
    }
    serde_json::to_vec(&event).expect("maps have text keys, and memory does not fail")
}

impl Material<'_> {
    /// What every event has.
    fn base(&self, activity: Activity<'_>) -> Map<String, Value> {
        let class = activity.class.uid();
        let time_milliseconds = self.entry.time.0.0 / 1_000_000;
        let fields = json!({
            "metadata": self.metadata(),
            "category_uid": activity.class.category(),
            "class_uid": class,
            "activity_id": activity.id,
            "activity_name": activity.name,
            "type_uid": class * 100 + u64::from(activity.id),
            "severity_id": self.severity.ocsf(),
            "time": time_milliseconds,
            "device": objects::device(self.identity),
            "message": self.type_word,
        });
        let Value::Object(fields) = fields else { return Map::new() };
        fields
    }

    fn metadata(&self) -> Value {
        let mut metadata = json!({
            "version": VERSION,
            "profiles": ["host", "linux/linux_users"],
            "product": objects::product(self.identity),
            "log_name": "journal",
            "event_code": self.type_word,
            "original_time": self.entry.time.to_string(),
        });
        if self.entry.seq > 0 {
            metadata["sequence"] = self.entry.seq.into();
            metadata["uid"] = format!("{}/{}", self.identity.host, self.entry.seq).into();
        }
        if let Some(session) = &self.entry.session {
            metadata["correlation_uid"] = session.as_str().into();
        }
        metadata
    }

    fn actor(&self) -> Value {
        objects::actor(self.facts, self.entry.session.as_ref())
    }

    /// Who acts, as far as it is remembered of the session.
    fn principal(&self) -> Option<Value> {
        self.facts.and_then(|facts| facts.principal.as_ref()).map(objects::principal)
    }

    fn datastore(&self, event: &mut Map<String, Value>) {
        event.insert("actor".into(), self.actor());
        event.insert("src_endpoint".into(), objects::client(self.facts, self.identity));
        event.insert("dst_endpoint".into(), objects::server(self.facts, self.identity));
        event.insert("database".into(), objects::database(self.facts));
        event.insert("type_id".into(), 1.into());
        match &self.entry.event {
            Event::Statement(form) => {
                objects::status(event, Status::of(form));
                if let Some(text) = form.text.as_deref() {
                    let whole = form.text_bytes.unwrap_or(text.len() as u64);
                    query(event, text, whole, &format!("{}/{}", form.session, form.number));
                }
                if let Some(latency_us) = form.latency_us {
                    event.insert("duration".into(), (latency_us / 1000).into());
                }
                objects::authorize(event, form.verdict.as_deref());
                let unmapped = json!({
                    "kind": form.kind, "ending": form.ending, "rows_sent": form.rows_sent,
                    "latency_us": form.latency_us, "redacted": form.redacted, "principal": self.principal(),
                    "verdict": form.verdict, "effects": objects::some(&form.effects),
                    "opaque": objects::some(&form.opaque),
                });
                event.insert("unmapped".into(), objects::known(unmapped));
            }
            Event::Request(form) => {
                if let Some(text) = form.text.as_deref() {
                    let whole = form.text_bytes.unwrap_or(text.len() as u64);
                    query(event, text, whole, &format!("{}/request/{}", form.session, self.entry.seq));
                }
                objects::authorize(event, form.verdict.as_deref());
                let unmapped = json!({
                    "kind": form.kind, "doubtful": form.doubtful, "redacted": form.redacted,
                    "principal": self.principal(), "verdict": form.verdict, "effects": objects::some(&form.effects),
                    "opaque": objects::some(&form.opaque),
                });
                event.insert("unmapped".into(), objects::known(unmapped));
            }
            Event::Refused(form) => {
                let status = Status::Failed { sqlstate: &form.sqlstate, message: Some(&form.message) };
                objects::status(event, status);
            }
            Event::Cancel(form) => {
                let target = form.target.as_ref().map(|target| target.as_str());
                event.insert("unmapped".into(), objects::known(json!({"pid": form.pid, "target": target})));
            }
            _ => {}
        }
    }

    fn authentication(&self, event: &mut Map<String, Value>) {
        event.insert("user".into(), objects::user(self.facts.and_then(|facts| facts.user.as_deref())));
        event.insert("actor".into(), self.actor());
        event.insert("src_endpoint".into(), objects::client(self.facts, self.identity));
        event.insert("dst_endpoint".into(), objects::server(self.facts, self.identity));
        event.insert("service".into(), json!({"name": "postgresql"}));
        event.insert("session".into(), objects::session(self.entry.session.as_ref()));
        if let Some(facts) = self.facts {
            event.insert("is_remote".into(), facts.client.is_none().into());
        }
        let status = match &self.entry.event {
            Event::Refused(form) => Status::Failed { sqlstate: &form.sqlstate, message: Some(&form.message) },
            _ => Status::Succeeded,
        };
        objects::status(event, status);
    }

    fn network(&self, event: &mut Map<String, Value>) {
        event.insert("actor".into(), self.actor());
        event.insert("src_endpoint".into(), objects::client(self.facts, self.identity));
        event.insert("dst_endpoint".into(), objects::server(self.facts, self.identity));
        event.insert("app_name".into(), "postgresql".into());
        event.insert("connection_info".into(), objects::connection(self.facts, self.entry.session.as_ref()));
        let form = match &self.entry.event {
            Event::SessionOpen(form) | Event::SessionChange(form) => form,
            Event::SessionClose(form) => {
                event.insert("duration".into(), (form.duration_us / 1000).into());
                &form.session
            }
            Event::Bypass(form) => &form.session,
            Event::BypassRefused(form) => {
                event.insert("actor".into(), json!({"process": objects::process(&ProcessFacts::from(&form.client))}));
                event.insert("dst_endpoint".into(), objects::address(&form.server_address));
                event.insert("unmapped".into(), json!({"database_entry": form.database_entry}));
                return;
            }
            _ => return,
        };
        let traffic = json!({
            "bytes": form.received_bytes.saturating_add(form.sent_bytes),
            "bytes_in": form.received_bytes,
            "bytes_out": form.sent_bytes,
        });
        event.insert("traffic".into(), traffic);
        let unmapped = json!({
            "database": form.database, "application_name": form.application_name, "encryption": form.encryption,
            "origin": form.origin, "statements": form.statements, "errors": form.errors, "coverage": form.coverage,
            "class": form.class, "class_detail": form.class_detail, "mediation": form.mediation,
            "principal": form.principal, "principal_unknown": form.principal_unknown,
        });
        event.insert("unmapped".into(), objects::known(unmapped));
    }

    fn process(&self, event: &mut Map<String, Value>) {
        event.insert("actor".into(), self.actor());
        if let Event::Process(form) = &self.entry.event {
            let process = form.process.as_ref().map(|form| objects::process(&form.into()));
            event.insert("process".into(), process.unwrap_or_else(|| json!({"pid": form.pid})));
            if form.change != "exit" {
                event.insert("launch_type_id".into(), if form.change == "exec" { 3 } else { 2 }.into());
            }
        }
    }

    fn event_log(&self, event: &mut Map<String, Value>) {
        event.insert("log_name".into(), "journal".into());
        event.insert("log_provider".into(), "warder".into());
        event.insert("log_type_id".into(), 2.into());
        let unmapped = match &self.entry.event {
            Event::Gap(form) => {
                json!({"from": form.from.to_string(), "to": form.to.to_string(), "reason": form.reason})
            }
            Event::Loss(form) => json!({"kind": form.kind, "stage": form.stage, "count": form.count}),
            Event::SessionGap(form) => json!({"side": form.side, "gap_bytes": form.gap_bytes, "reason": form.reason}),
            Event::Operator(form) => json!({"verb": form.verb, "uid": form.uid}),
            Event::Integrity(form) => json!({
                "figure": form.figure, "proxy": form.proxy, "kernel": form.kernel, "when": form.when,
            }),
            Event::Coverage(form) => json!({
                "database_entry": form.database_entry, "from": form.from.to_string(), "to": form.to.to_string(),
                "observed": form.observed, "classes": form.classes, "lost_events": form.lost_events,
            }),
            Event::Credential(form) => json!({
                "step": form.step, "role": form.role, "group": form.group, "database_entry": form.database_entry,
                "end": form.end, "confirmation": form.confirmation, "latency_us": form.latency_us, "detail": form.detail,
            }),
            Event::AgentStart(form) => json!({"version": form.version, "level": form.level, "kernel": form.kernel}),
            _ => return,
        };
        event.insert("unmapped".into(), objects::known(unmapped));
    }
}

/// The text of a query, cut if it is long.
fn query(event: &mut Map<String, Value>, text: &str, whole: u64, uid: &str) {
    let cut = &text[..text.floor_char_boundary(QUERY_BYTES_MAX)];
    event.insert("query_info".into(), json!({"query_string": cut, "uid": uid, "bytes": whole}));
    if cut.len() as u64 != whole {
        event["metadata"]["is_truncated"] = true.into();
        event["metadata"]["untruncated_size"] = whole.into();
    }
}
