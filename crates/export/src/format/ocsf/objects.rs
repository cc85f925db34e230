//! The objects of events. An object that its class demands but of which nothing is known says `Unknown`.

use serde::Serialize;
use serde_json::{Map, Value, json};
use store::form::identity::SessionText;
use store::form::judgement::VerdictForm;

use super::Status;
use crate::config::Identity;
use crate::context::{Facts, PrincipalFacts, ProcessFacts};
use crate::format::split_address;

/// OCSF's word for a name that is not known.
const UNKNOWN: &str = "Unknown";

pub(super) fn product(identity: &Identity) -> Value {
    json!({"name": "Warder", "vendor_name": "Warder", "version": identity.version})
}

/// The host: a server.
pub(super) fn device(identity: &Identity) -> Value {
    with(json!({"type_id": 1, "uid": identity.host}), "hostname", identity.host_name.as_deref().map(Value::from))
}

pub(super) fn user(name: Option<&str>) -> Value {
    json!({"name": name.unwrap_or(UNKNOWN)})
}

pub(super) fn session(session: Option<&SessionText>) -> Value {
    json!({"uid": session.map_or(UNKNOWN, SessionText::as_str), "issuer": "Warder"})
}

/// The database user in its session, and the process behind it.
pub(super) fn actor(facts: Option<&Facts>, id: Option<&SessionText>) -> Value {
    let actor = json!({"session": session(id)});
    let Some(facts) = facts else { return actor };
    let actor = with(actor, "user", facts.user.as_deref().map(|name| user(Some(name))));
    let actor = with(actor, "app_name", facts.application.as_deref().map(Value::from));
    let program = facts.principal.as_ref().filter(|principal| principal.kind != "person");
    let actor = with(actor, "app_uid", program.map(|principal| (&*principal.id).into()));
    with(actor, "process", facts.client.as_ref().map(process))
}

/// What has no place in an actor: who acts for whom.
pub(super) fn principal(facts: &PrincipalFacts) -> Value {
    let principal = json!({"kind": facts.kind, "id": facts.id, "issuer": facts.issuer});
    let principal = with(principal, "acting_for", some(&facts.acting_for));
    with(principal, "purpose", facts.purpose.as_deref().map(Value::from))
}

/// What the actor was allowed, and by which policy it was not.
pub(super) fn authorize(event: &mut Map<String, Value>, verdict: Option<&VerdictForm<'_>>) {
    let (Some(verdict), Some(actor)) = (verdict, event.get_mut("actor")) else { return };
    let policy = |name: &str| json!({"name": name, "version": verdict.epoch.to_string()});
    let policies: Vec<Value> = match &verdict.rule {
        Some(rule) => vec![with(policy(rule), "desc", verdict.reason.as_deref().map(Value::from))],
        None => verdict.allowed_by.iter().map(|name| policy(name)).collect(),
    };
    let decision = json!({"decision": verdict.decision});
    let authorizations = match policies.is_empty() {
        true => vec![decision],
        false => policies.into_iter().map(|policy| with(decision.clone(), "policy", Some(policy))).collect(),
    };
    actor["authorizations"] = authorizations.into();
}

/// A list, unless it is empty.
pub(super) fn some<T: Serialize>(list: &[T]) -> Option<Value> {
    (!list.is_empty()).then(|| json!(list))
}

pub(super) fn process(facts: &ProcessFacts) -> Value {
    let process = json!({"pid": facts.pid, "name": facts.name, "user": {"uid": facts.uid.to_string()}});
    let path = facts.path_or_name();
    let name = path.rsplit('/').next().unwrap_or(path);
    let file = facts.executable.is_some().then(|| json!({"name": name, "path": path, "type_id": 1}));
    let process = with(process, "file", file);
    let process = with(process, "auid", facts.login_uid.map(Value::from));
    let command = (!facts.arguments.is_empty()).then(|| facts.arguments.join(" ").into());
    let process = with(process, "cmd_line", command);
    with(process, "parent_process", facts.parent.map(|pid| json!({"pid": pid})))
}

pub(super) fn database(facts: Option<&Facts>) -> Value {
    let name = facts.and_then(|facts| facts.database.as_deref()).unwrap_or(UNKNOWN);
    let entry = facts.map(|facts| &*facts.entry).filter(|entry| !entry.is_empty());
    with(json!({"name": name, "type_id": 1, "type": "Relational"}), "uid", entry.map(Value::from))
}

pub(super) fn client(facts: Option<&Facts>, identity: &Identity) -> Value {
    endpoint(facts.and_then(|facts| facts.client_address.as_deref()), facts, identity)
}

pub(super) fn server(facts: Option<&Facts>, identity: &Identity) -> Value {
    let server = endpoint(facts.and_then(|facts| facts.server_address.as_deref()), facts, identity);
    with(server, "svc_name", Some("postgresql".into()))
}

/// A server's address that nobody reached.
pub(super) fn address(address: &str) -> Value {
    let known = split_address(address).map(|(ip, port)| json!({"ip": ip, "port": port}));
    with(known.unwrap_or_else(|| json!({"name": UNKNOWN})), "svc_name", Some("postgresql".into()))
}

/// An address; this host, where the session does not leave it; or nobody knows.
fn endpoint(address: Option<&str>, facts: Option<&Facts>, identity: &Identity) -> Value {
    if let Some((ip, port)) = address.and_then(split_address) {
        return json!({"ip": ip, "port": port});
    }
    match facts.and_then(|facts| facts.socket_path.as_deref()) {
        Some(path) => json!({"uid": identity.host, "name": path}),
        None => json!({"name": UNKNOWN}),
    }
}

pub(super) fn connection(facts: Option<&Facts>, session: Option<&SessionText>) -> Value {
    // The server's view: a client came in.
    let connection = json!({"direction_id": 1});
    let connection = with(connection, "uid", session.map(|session| session.as_str().into()));
    let protocol = facts.map(|facts| &*facts.transport).filter(|transport| !transport.is_empty());
    with(connection, "protocol_name", protocol.map(Value::from))
}

pub(super) fn status(event: &mut Map<String, Value>, status: Status<'_>) {
    match status {
        Status::Succeeded => {
            event.insert("status_id".into(), 1.into());
        }
        Status::Unknown => {
            event.insert("status_id".into(), 0.into());
        }
        Status::Failed { sqlstate, message } => {
            event.insert("status_id".into(), 2.into());
            event.insert("status_code".into(), sqlstate.into());
            if let Some(message) = message {
                event.insert("status_detail".into(), message.into());
            }
        }
    }
}

fn with(mut object: Value, key: &str, value: Option<Value>) -> Value {
    if let (Some(fields), Some(value)) = (object.as_object_mut(), value) {
        fields.insert(key.to_owned(), value);
    }
    object
}

/// Without the fields that are not known.
pub(super) fn known(mut object: Value) -> Value {
    if let Some(fields) = object.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
    object
}
