//! `POST /v1/callback`: an integration passes a person's decision on. It proves itself with the secret of its webhook, and
//! the person with a token of theirs: without that it decides nothing.

use std::rc::Rc;

use http::{HeaderMap, StatusCode};
use identity::secret::Secret;
use serde::Deserialize;
use web::answer::Answer;

use super::core::Core;
use super::failure::Failure;
use super::routes::{decision, is_object, one};
use super::signature;
use crate::clock;
use crate::control::grants::GrantAsk;

/// What is passed on. The digest is required: who decides far away decides about what they were shown.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Passed {
    grant: String,
    verb: String,
    digest: String,
    token: String,
    #[serde(default)]
    reason: String,
}

/// Has the decision made, if it is one. Sent again it changes nothing: the state that it needs is gone.
pub(super) async fn answer(
    core: &Core,
    secrets: &[Rc<Secret>],
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Answer, Failure> {
    if !signature::is_signed(secrets, clock::wall().0 / 1_000_000_000, headers, body) {
        let text =
            "the signature is not one of a webhook's secret over this body in the last five minutes; see docs/api.md";
        return Err(Failure::new(StatusCode::UNAUTHORIZED, "signature", text));
    }
    // What is wrong with it is not repeated: there is a token in it.
    let expected = || Failure::bad("grant, verb, digest and token are expected, and reason; see docs/api.md");
    if !is_object(body) {
        return Err(expected());
    }
    let Passed { grant, verb, digest, token, reason } = serde_json::from_slice(body).map_err(|_secret| expected())?;
    let verb = decision(&verb).ok_or_else(|| Failure::bad("verbs are approve, deny, revoke, withdraw and review"))?;
    let (token, grant, digest) = (Some(token), Some(grant), Some(digest));
    let ask = GrantAsk { token, grant, digest, reason, ..GrantAsk::default() };
    one(StatusCode::OK, core.ask(verb, ask).await?)
}
