//! What somebody sees who is to decide about a statement: itself, who wants it, and what it may come to.

use std::cell::RefCell;

use model::Known;
use model::principal::{Actor, Principal};
use model::process::Process;
use model::session::Session;
use redact::Judgement;
use serde_json::{Value, json};

use crate::core_process::hold_look::Look;
use crate::core_process::own_hops::OwnLogin;
use crate::hold_link::{HoldAsk, ShownEffect, ShownStatement, ShownValue};

/// One statement that waits, for people and programs. Secrets are taken out of it.
pub(crate) struct HeldView {
    digest: String,
    rule: String,
    what: String,
    reason: String,
    in_transaction: bool,
    sql_database: String,
    server_pid: Option<u32>,
    shown: ShownStatement,
    redacted: bool,
    principal: Value,
    process: Value,
    /// What the server says about it; `None`: it is being asked.
    pub(crate) look: RefCell<Option<Look>>,
}

impl HeldView {
    pub(super) fn new(ask: &HoldAsk, mut shown: ShownStatement, session: &Session) -> Self {
        let redacted = withhold(&mut shown);
        Self {
            digest: ask.digest.iter().map(|byte| format!("{byte:02x}")).collect(),
            rule: ask.rule.clone(),
            what: ask.what.clone(),
            reason: ask.reason.clone(),
            in_transaction: ask.in_transaction,
            sql_database: ask.sql_database.clone(),
            server_pid: ask.server_pid,
            shown,
            redacted,
            principal: session.principal.known().map_or(Value::Null, |principal| who(principal)),
            process: match &session.client {
                Known::Known(client) => process(client),
                Known::Unknown(why) => json!({ "unknown": format!("{why:?}") }),
            },
            look: RefCell::new(None),
        }
    }

    /// Asks the server about it. What may be a secret is not there to be asked about.
    pub(super) async fn ask(&self, login: OwnLogin) -> Look {
        Look::take(login, &self.sql_database, &self.shown, self.server_pid).await
    }

    /// All of it.
    pub(crate) fn json(&self) -> Value {
        let ShownStatement { text, parameters, effects, effects_more, opaque, .. } = &self.shown;
        let look = self.look.borrow();
        json!({
            "statement": text,
            "parameters": parameters.iter().map(value).collect::<Vec<_>>(),
            "redacted": self.redacted,
            "sha256": self.digest,
            "rule": self.rule,
            "what": self.what,
            "reason": self.reason,
            "principal": self.principal,
            "process": self.process,
            "effects": effects.iter().map(effect).collect::<Vec<_>>(),
            "effects_more": effects_more,
            "not_understood": opaque,
            "in_transaction": self.in_transaction,
            "estimate": look.as_ref().map_or_else(|| json!({ "unknown": "the server is being asked" }), Look::estimate_json),
            "locks": look.as_ref().map_or_else(|| json!({ "unknown": "the server is being asked" }), Look::locks_json),
        })
    }
}

/// Takes out what may be a secret; whether anything was.
fn withhold(shown: &mut ShownStatement) -> bool {
    let Judgement::Tainted(text) = redact::sql(&shown.text) else { return false };
    shown.text = text;
    shown.parameters.iter_mut().for_each(|value| *value = ShownValue::Withheld);
    true
}

fn who(principal: &Principal) -> Value {
    json!({
        "actor": actor(&principal.actor),
        "acting_for": principal.acting_for.iter().map(actor).collect::<Vec<_>>(),
        "groups": principal.groups.iter().map(|group| &**group).collect::<Vec<_>>(),
        "proof": principal.proof.word(),
        "purpose": principal.purpose.as_deref(),
    })
}

fn actor(actor: &Actor) -> Value {
    json!({ "kind": actor.kind.word(), "id": &*actor.id, "issuer": &*actor.issuer })
}

fn process(process: &Process) -> Value {
    json!({
        "pid": process.key.pid,
        "executable": process.executable.path,
        "arguments": process.arguments.values,
        "uid": process.uid,
        "login_uid": process.login_uid,
        "ancestors": process.ancestors.iter().map(|one| json!({ "pid": one.key.pid, "name": one.name })).collect::<Vec<_>>(),
    })
}

fn value(value: &ShownValue) -> Value {
    match value {
        ShownValue::Null => Value::Null,
        ShownValue::Text(text) => json!(text),
        ShownValue::Unreadable { bytes, binary } => json!({ "unreadable_bytes": bytes, "binary": binary }),
        ShownValue::Withheld => json!({ "redacted": true }),
    }
}

fn effect(effect: &ShownEffect) -> Value {
    let ShownEffect { action, kind, name, every_row } = effect;
    json!({ "action": action, "object": kind, "name": name, "every_row": every_row })
}
