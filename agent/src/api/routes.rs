//! What can be asked: paths, methods, bodies. Each is one verb of the control socket, with the token of whoever asks.

use http::{HeaderMap, Method, StatusCode};
use http_body_util::BodyExt as _;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use web::answer::{self, Answer, bearer};
use web::serve::Whole;

use super::core::Core;
use super::failure::Failure;
use super::{House, callback};
use crate::control::grants::{GrantAsk, GrantVerb, GrantView};

/// Body of `POST /v1/grants`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    database: String,
    sql_database: Option<String>,
    actions: Vec<String>,
    relations: Vec<String>,
    seconds: u64,
    purpose: String,
    ticket: Option<String>,
    #[serde(default)]
    break_glass: bool,
}

/// Body of a decision; all of it may be left out.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Decision {
    reason: String,
    digest: Option<String>,
}

/// Body of `renew`; what is left out is as before.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Renewal {
    seconds: Option<u64>,
    purpose: String,
}

/// Answers whatever comes.
pub(super) async fn answer(House { core, secrets }: &House, request: Whole) -> Answer {
    let (head, body) = request.into_parts();
    let body = match body.collect().await {
        Ok(body) => body.to_bytes(),
        Err(never) => match never {},
    };
    let path: Vec<&str> = head.uri.path().split('/').skip(1).collect();
    let outcome = match (&head.method, path.as_slice()) {
        (&Method::GET, ["v1", "grants"]) => list(core, &head.headers, head.uri.query()).await,
        (&Method::POST, ["v1", "grants"]) => request_one(core, &head.headers, &body).await,
        (&Method::GET, ["v1", "grants", grant]) => show(core, &head.headers, grant).await,
        (&Method::POST, ["v1", "grants", grant, verb]) => decide(core, &head.headers, grant, verb, &body).await,
        (&Method::POST, ["v1", "callback"]) => callback::answer(core, secrets, &head.headers, &body).await,
        (_, ["v1", "callback"] | ["v1", "grants", ..]) => Err(method_not_allowed()),
        _ => Err(not_found()),
    };
    outcome.unwrap_or_else(|failure| failure.answer())
}

async fn list(core: &Core, headers: &HeaderMap, query: Option<&str>) -> Result<Answer, Failure> {
    let token = token(headers)?;
    let open = match query {
        None => true,
        Some("all=1") => false,
        Some(_) => return Err(Failure::bad("the only thing to ask for here is ?all=1")),
    };
    let mut grants = core.ask(GrantVerb::List, GrantAsk { token, open, ..GrantAsk::default() }).await?;
    grants.sort_by_key(|grant| grant.requested.0);
    Ok(answer::json(StatusCode::OK, &json!({ "grants": grants })))
}

async fn show(core: &Core, headers: &HeaderMap, grant: &str) -> Result<Answer, Failure> {
    let ask = GrantAsk { token: token(headers)?, grant: Some(grant.to_owned()), ..GrantAsk::default() };
    one(StatusCode::OK, core.ask(GrantVerb::Show, ask).await?)
}

async fn request_one(core: &Core, headers: &HeaderMap, body: &[u8]) -> Result<Answer, Failure> {
    let token = token(headers)?;
    let Wanted { database, sql_database, actions, relations, seconds, purpose, ticket, break_glass } = parse(body)?;
    let ask = GrantAsk {
        token,
        database_entry: Some(database),
        database: sql_database,
        actions,
        relations,
        seconds: Some(seconds),
        purpose,
        ticket,
        break_glass,
        ..GrantAsk::default()
    };
    one(StatusCode::CREATED, core.ask(GrantVerb::Request, ask).await?)
}

async fn decide(core: &Core, headers: &HeaderMap, grant: &str, verb: &str, body: &[u8]) -> Result<Answer, Failure> {
    let (token, grant) = (token(headers)?, Some(grant.to_owned()));
    if verb == "renew" {
        let Renewal { seconds, purpose } = or_nothing(body)?;
        let ask = GrantAsk { token, grant, seconds, purpose, ..GrantAsk::default() };
        return one(StatusCode::CREATED, core.ask(GrantVerb::Renew, ask).await?);
    }
    let verb = decision(verb).ok_or_else(not_found)?;
    let Decision { reason, digest } = or_nothing(body)?;
    let ask = GrantAsk { token, grant, reason, digest, ..GrantAsk::default() };
    one(StatusCode::OK, core.ask(verb, ask).await?)
}

/// Decisions about a grant. Each can be made once: the state that it needs is gone then.
pub(super) fn decision(word: &str) -> Option<GrantVerb> {
    match word {
        "approve" => Some(GrantVerb::Approve),
        "deny" => Some(GrantVerb::Deny),
        "revoke" => Some(GrantVerb::Revoke),
        "withdraw" => Some(GrantVerb::Withdraw),
        "review" => Some(GrantVerb::Review),
        _ => None,
    }
}

/// Always there: without one the core would believe the account of this process.
fn token(headers: &HeaderMap) -> Result<Option<String>, Failure> {
    let missing = || {
        let text = "say who you are: Authorization: Bearer TOKEN, with a token of an issuer of the configuration";
        Failure::new(StatusCode::UNAUTHORIZED, "no_token", text)
    };
    bearer(headers).map(|token| Some(token.to_owned())).ok_or_else(missing)
}

pub(super) fn one(status: StatusCode, grants: Vec<GrantView>) -> Result<Answer, Failure> {
    grants.first().map(|grant| answer::json(status, grant)).ok_or_else(Failure::silent)
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    if !is_object(body) {
        return Err(Failure::bad("the body is not what is expected here: an object"));
    }
    serde_json::from_slice(body)
        .map_err(|error| Failure::bad(format!("the body is not what is expected here: {error}")))
}

/// An array would be taken for the fields in their order, and for as many of them as it has: a digest in the first place would
/// be a reason.
pub(super) fn is_object(body: &[u8]) -> bool {
    body.trim_ascii_start().first() == Some(&b'{')
}

fn or_nothing<T: DeserializeOwned + Default>(body: &[u8]) -> Result<T, Failure> {
    if body.is_empty() { Ok(T::default()) } else { parse(body) }
}

fn method_not_allowed() -> Failure {
    Failure::new(StatusCode::METHOD_NOT_ALLOWED, "not_found", "look with GET, act with POST; see docs/api.md")
}

fn not_found() -> Failure {
    Failure::new(StatusCode::NOT_FOUND, "not_found", "there is no such path; see docs/api.md")
}
