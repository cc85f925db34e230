//! Grants, asked for and looked at over the control socket.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::answer::{Answer, Failure};
use crate::control::client;
use crate::control::grants::{GrantAsk, GrantVerb, GrantView};

/// Asks the agent; it answers when it has written down what changed.
pub(super) async fn ask(socket: PathBuf, verb: GrantVerb, ask: GrantAsk) -> Result<Vec<GrantView>, Failure> {
    let asked = tokio::task::spawn_blocking(move || client::grants(&socket, verb, ask)).await;
    Ok(asked.map_err(|error| Failure::of("agent", &error.into()))??)
}

/// Grants as the model sees them: as everybody, and what comes next.
pub(super) fn answer(grants: &[GrantView]) -> Answer {
    let shown = |grant: &GrantView| {
        let mut value = serde_json::to_value(grant)?;
        if let Value::Object(fields) = &mut value {
            fields.insert("how_to_proceed".into(), next(grant).into());
        }
        Ok(value)
    };
    let grants: Result<Vec<Value>, serde_json::Error> = grants.iter().map(shown).collect();
    Ok(json!({ "grants": grants.map_err(|error| Failure::of("agent", &error.into()))? }))
}

fn next(grant: &GrantView) -> String {
    match &*grant.state {
        "requested" => format!(
            "somebody else has to approve it: warder grant approve {0}; grant_status says when it is active",
            grant.grant
        ),
        "active" => "what it covers can be run with run_statement until not_after".to_owned(),
        state => format!("it is {state} and permits nothing; request_grant asks for a new one"),
    }
}
