//! `warder api`: grants over HTTPS with real tokens at a real server, and everything that may come from strangers.
#![expect(
    clippy::disallowed_methods,
    reason = "tests live in real time: signatures have one, deadlines need the clock"
)]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;
use warder_tests::governed::Governed;
use warder_tests::hook::{self, Hook};
use warder_tests::https::Said;
use warder_tests::process::{self, Running};
use warder_tests::tokens::Tokens;
use warder_tests::web_api::WebApi;
use warder_tests::{directory, wait};

const POLICIES: &str = r#"
@id("session")
@reason("people may open sessions and read")
permit (principal is Person, action in [Action::"Connect", Action::"Session", Action::"Read"], resource);

@id("granted")
@reason("an active grant covers it")
permit (principal, action, resource) when { context.granted };

@id("unattended")
@reason("nobody has to look")
permit (principal, action == Action::"RunUnattended", resource);

@id("add")
@reason("people may add, and somebody looks at it")
permit (principal is Person, action == Action::"Insert", resource);

@id("adds-wait")
@reason("somebody looks at what is added")
forbid (principal, action == Action::"RunUnattended", resource)
when { context.verb == Verb::"Insert" };

@id("ask")
@reason("people may ask")
@approvals("1")
@max_duration("1h")
permit (principal is Person, action == Action::"RequestGrant", resource);

@id("decide")
@reason("approvers decide")
permit (principal in Group::"approvers", action == Action::"ApproveGrant", resource);
"#;

/// Of the webhook.
const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// A governed server with its API.
struct Scene {
    api: WebApi,
    governed: Governed,
}

impl Scene {
    fn start(lines: &[String]) -> Result<Self> {
        let governed = Governed::start(POLICIES, "create table kept as select generate_series(1, 100) as id")?;
        Ok(Self { api: WebApi::start(&governed, lines)?, governed })
    }

    /// With this token in the header.
    fn call(&self, token: &str, method: &str, path: &str, body: &Value) -> Result<Said> {
        let authorization = format!("Bearer {token}");
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        self.api.client.call(method, path, &[("Authorization", &authorization)], &body)
    }

    fn person(&self, who: &str) -> Result<String> {
        self.governed.token(who, &json!({}))
    }

    fn approver(&self, who: &str) -> Result<String> {
        self.governed.token(who, &json!({ "groups": ["approvers"] }))
    }

    /// What must be done; the grant.
    fn done(&self, token: &str, path: &str, body: &Value) -> Result<Value> {
        let said = self.call(token, "POST", path, body)?;
        ensure!([200, 201].contains(&said.status), "{path}: {said:?}");
        Ok(said.body)
    }

    /// What must be refused: status and word.
    fn refused(&self, token: &str, path: &str, body: &Value, status: u16, code: &str) -> Result<()> {
        let said = self.call(token, "POST", path, body)?;
        ensure!(said.status == status && said.body["error"]["code"] == code, "{path}: {said:?}");
        ensure!(said.body["error"]["message"].as_str().is_some_and(|text| !text.is_empty()), "{said:?}");
        Ok(())
    }

    fn ask(&self, who: &str) -> Result<Value> {
        self.done(&self.person(who)?, "/v1/grants", &wanted())
    }

    fn shown(&self, token: &str, grant: &Value) -> Result<Value> {
        Ok(self.call(token, "GET", &format!("/v1/grants/{}", number(grant)?), &Value::Null)?.body)
    }

    /// What became of a grant, by the journal.
    fn changes(&self, grant: &Value) -> Result<Vec<String>> {
        let found = self.governed.stage.agent.cli_json(&["timeline", "--json"])?;
        let access = found.iter().filter(|record| record["type"] == "access" && record["grant"] == grant["grant"]);
        Ok(access.map(|record| record["change"].as_str().unwrap_or_default().to_owned()).collect())
    }
}

fn wanted() -> Value {
    json!({
        "database": "test", "actions": ["Delete"], "relations": ["public.kept"], "seconds": 600, "purpose": "cleaning",
    })
}

fn number(grant: &Value) -> Result<&str> {
    grant["grant"].as_str().context("no number")
}

fn path(grant: &Value, verb: &str) -> Result<String> {
    Ok(format!("/v1/grants/{}/{verb}", number(grant)?))
}

/// Whether somebody's psql may delete now.
fn deletes(psql: &mut Running) -> Result<bool> {
    psql.write_line("delete from public.kept where id = 1;")?;
    psql.write_line("\\echo refused :ERROR")?;
    let line = psql.read_line()?;
    ensure!(["refused true", "refused false"].contains(&&*line), "{line}");
    Ok(line == "refused false")
}

#[test]
fn what_is_asked_and_decided_over_https_holds_in_a_live_session() -> Result<()> {
    let scene = Scene::start(&[])?;
    let (alice, bob) = (scene.person("alice")?, scene.approver("bob")?);
    let mut psql = scene.governed.session("alice")?;
    ensure!(!deletes(&mut psql)?, "without a grant");

    let grant = scene.done(&alice, "/v1/grants", &wanted())?;
    ensure!(grant["state"] == "requested" && grant["holder"]["id"] == "alice", "{grant}");
    let approve = path(&grant, "approve")?;
    scene.refused(&scene.approver("alice")?, &approve, &Value::Null, 403, "person")?;
    scene.refused(&scene.person("carol")?, &approve, &Value::Null, 403, "policy")?;
    scene.refused(&bob, &approve, &json!({ "digest": "0".repeat(64) }), 409, "digest")?;
    ensure!(scene.shown(&bob, &grant)?["state"] == "requested" && !deletes(&mut psql)?, "nobody has approved it");

    let seen = scene.shown(&bob, &grant)?["digest"].clone();
    let active = scene.done(&bob, &approve, &json!({ "reason": "agreed", "digest": seen }))?;
    ensure!(active["state"] == "active" && active["approvals"][0]["reason"] == "agreed", "{active}");
    wait::until("access", wait::PATIENCE, || Ok(deletes(&mut psql)?.then_some(())))?;
    scene.refused(&bob, &approve, &Value::Null, 409, "state")?;
    let shown = scene.governed.stage.agent.cli_json(&["grant", "show", number(&grant)?, "--json"])?;
    ensure!(shown.first() == Some(&scene.shown(&alice, &grant)?), "the same as on the command line");

    let renewed = scene.done(&alice, &path(&grant, "renew")?, &json!({ "seconds": 60 }))?;
    ensure!(renewed["renews"] == grant["grant"] && renewed["seconds"] == 60, "{renewed}");
    scene.refused(&bob, &path(&renewed, "withdraw")?, &Value::Null, 403, "person")?;
    ensure!(scene.done(&alice, &path(&renewed, "withdraw")?, &Value::Null)?["state"] == "withdrawn");
    scene.done(&bob, &path(&grant, "revoke")?, &json!({ "reason": "enough" }))?;
    psql.wait_cut()?;
    ensure!(!deletes(&mut scene.governed.session("alice")?)?, "it was revoked");

    let open = scene.call(&alice, "GET", "/v1/grants", &Value::Null)?;
    ensure!(open.body == json!({ "grants": [] }), "{open:?}");
    let all = scene.call(&alice, "GET", "/v1/grants?all=1", &Value::Null)?;
    ensure!(all.body["grants"].as_array().is_some_and(|all| all.len() == 2), "{all:?}");
    ensure!(scene.changes(&grant)? == ["requested", "approved", "activated", "revoked"]);
    let log = scene.api.log()?;
    ensure!(!log.contains(&alice) && !log.contains(&bob), "a token is in the log");
    Ok(())
}

#[test]
fn nobody_looks_or_acts_without_a_proof_and_nonsense_is_told_so() -> Result<()> {
    let scene = Scene::start(&[])?;
    let (alice, grant) = (scene.person("alice")?, scene.ask("alice")?);
    let strange = Tokens::new()?.token("bob", &json!({ "groups": ["approvers"] }), Duration::from_secs(600))?;
    let approve = path(&grant, "approve")?;
    for token in [&*strange, "nonsense", &alice[..alice.len() - 4]] {
        for (method, path) in [("GET", "/v1/grants"), ("GET", "/v1/grants?all=1"), ("POST", &*approve)] {
            let said = scene.call(token, method, path, &Value::Null)?;
            ensure!(said.status == 401 && said.body["error"]["code"] == "token", "{method} {path}: {said:?}");
        }
    }
    let none = scene.api.client.call("GET", "/v1/grants", &[], b"")?;
    ensure!(none.status == 401 && none.body["error"]["code"] == "no_token", "{none:?}");
    let revoke = scene.api.client.call("POST", &path(&grant, "revoke")?, &[], b"")?;
    ensure!(revoke.status == 401, "the account of the API counts for nothing: {revoke:?}");

    let unknown = json!({ "grant": "g-00000000" });
    scene.refused(&alice, &path(&unknown, "approve")?, &Value::Null, 404, "unknown_grant")?;
    scene.refused(&alice, &path(&json!({ "grant": "x" }), "approve")?, &Value::Null, 404, "no_grant")?;
    scene.refused(&alice, &path(&grant, "explode")?, &Value::Null, 404, "not_found")?;
    scene.refused(&alice, "/v1/other", &Value::Null, 404, "not_found")?;
    scene.refused(&alice, "/v1/grants", &json!({ "database": "test" }), 400, "not_a_request")?;
    let positions = json!(["agreed", "0".repeat(64)]);
    for list in [json!([]), positions] {
        scene.refused(&alice, &approve, &list, 400, "not_a_request")?;
    }
    let mut wrong = wanted();
    wrong["actions"] = json!(["Delte"]);
    scene.refused(&alice, "/v1/grants", &wrong, 400, "scope")?;
    let mut long = wanted();
    long["seconds"] = json!(7200);
    scene.refused(&alice, "/v1/grants", &long, 400, "too_much")?;
    ensure!(scene.call(&alice, "PUT", "/v1/grants", &wanted())?.status == 405);
    ensure!(scene.changes(&grant)? == ["requested"], "nothing has changed");
    Ok(())
}

#[test]
fn a_statement_is_shown_to_those_whom_it_concerns() -> Result<()> {
    let scene = Scene::start(&[])?;
    let mut psql = scene.governed.session("alice")?;
    psql.write_line("insert into kept values (4711);")?;
    let alice = scene.person("alice")?;
    let grant = wait::until("a statement that waits", wait::PATIENCE, || {
        let open = scene.call(&alice, "GET", "/v1/grants", &Value::Null)?;
        Ok(open.body["grants"].get(0).cloned())
    })?;
    let bob = scene.approver("bob")?;
    for token in [&alice, &bob] {
        let shown = scene.shown(token, &grant)?;
        ensure!(shown["statement"]["statement"] == "insert into kept values (4711);", "{shown}");
    }
    let other = scene.shown(&scene.person("carol")?, &grant)?;
    ensure!(other["statement"]["unknown"].is_string() && !other.to_string().contains("4711"), "{other}");
    scene.done(&bob, &path(&grant, "approve")?, &json!({ "digest": grant["digest"] }))?;
    let cluster = &scene.governed.stage.cluster;
    wait::until("the row", wait::PATIENCE, || {
        Ok((cluster.sql("select count(*) from kept")?.trim() == "101").then_some(()))
    })
}

#[test]
fn strangers_with_too_much_disturb_neither_core_nor_sessions() -> Result<()> {
    let mut scene = Scene::start(&[])?;
    let (core, alice) = (scene.governed.stage.agent.core()?, scene.person("alice")?);
    let mut psql = scene.governed.session("alice")?;

    let huge = scene.call(&alice, "POST", "/v1/grants", &json!("x".repeat(10 << 20)));
    // An answer before all was sent may be lost with the connection.
    ensure!(huge.is_err() || huge.is_ok_and(|said| said.status == 413), "10 MiB");
    let garbage = b"\x16\x03\x01\xff\xff this is neither TLS nor HTTP \x00\xff".repeat(1000);
    let _closed = scene.api.client.connect()?.write_all(&garbage);

    // 200 connections of which nobody says anything, while the command line asks the core.
    let mut silent = (0..200).map(|_| scene.api.client.connect()).collect::<Result<Vec<TcpStream>>>()?;
    let begun = Instant::now();
    scene.governed.stage.agent.cli_json(&["grant", "list", "--json"])?;
    ensure!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    psql.write_line("select 6 * 7;")?;
    ensure!(psql.read_line()? == "42");
    for stream in &mut silent {
        let _reset = stream.read_to_end(&mut Vec::new());
    }
    ensure!(begun.elapsed() < Duration::from_secs(30), "they were closed: {:?}", begun.elapsed());

    ensure!(scene.ask("alice")?["state"] == "requested", "it serves as before");
    ensure!(scene.api.alive()? && scene.governed.stage.agent.core()? == core, "nothing has crashed");
    Ok(())
}

#[test]
fn root_is_not_what_it_runs_as() -> Result<()> {
    let governed = Governed::start(POLICIES, "select 1")?;
    let output = process::run_any(&mut governed.stage.agent.command(&["api"]))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(!output.status.success() && said.contains("does not run as root"), "{said}");
    Ok(())
}

/// A secret for webhooks, its file, and lines of the configuration.
fn webhook(folder: &TempDir, hook: &Hook) -> Result<Vec<String>> {
    let file = WebApi::secret_file(folder, "secret", SECRET)?;
    let url = format!("http://127.0.0.1:{}/hook", hook.port);
    Ok(vec!["[[api.webhook]]".into(), format!("url = {url:?}"), format!("secret_file = {file:?}")])
}

#[test]
fn a_webhook_that_is_unwell_hears_of_everything() -> Result<()> {
    let (folder, hook) = (directory::private("hook")?, Hook::unwell()?);
    let scene = Scene::start(&webhook(&folder, &hook)?)?;
    let bob = scene.approver("bob")?;
    let grants = (0..5).map(|_| scene.ask("alice")).collect::<Result<Vec<_>>>()?;
    let mut psql = scene.governed.session("alice")?;
    psql.write_line("insert into kept values (4711);")?;
    let heard = |grant: &Value, events: &[&str]| {
        wait::until("a notice", wait::PATIENCE, || Ok((hook.events(grant) == events).then_some(())))
            .with_context(|| format!("{:?}", hook.events(grant)))
    };
    for grant in &grants {
        heard(grant, &["requested"])?;
    }
    let held = wait::until("the held one", wait::PATIENCE, || {
        Ok(hook.notices().into_iter().find(|notice| notice.value["event"] == "held"))
    })?;
    ensure!(!String::from_utf8_lossy(&held.body).contains("4711"), "a statement is for those whom it concerns");
    scene.done(&bob, &path(&grants[0], "approve")?, &Value::Null)?;
    heard(&grants[0], &["requested", "active"])?;
    scene.done(&bob, &path(&grants[0], "revoke")?, &Value::Null)?;
    heard(&grants[0], &["requested", "active", "revoked"])?;
    scene.done(&bob, &path(&grants[1], "deny")?, &Value::Null)?;
    heard(&grants[1], &["requested", "denied"])?;
    for notice in hook.notices() {
        let expected = hook::signature(SECRET, &notice.timestamp, &notice.body);
        ensure!(notice.signature == expected, "{notice:?}");
        ensure!(notice.value["text"].as_str().is_some_and(|text| text.contains("alice")), "{notice:?}");
    }
    Ok(())
}

/// Seconds since 1970, so many ago.
fn ago(seconds: u64) -> Result<String> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
    Ok((now - seconds).to_string())
}

/// A callback with this body, signed with a secret at a time.
fn call_back(scene: &Scene, secret: &str, time: &str, body: &Value) -> Result<Said> {
    let body = body.to_string().into_bytes();
    let signature = hook::signature(secret, time, &body);
    let headers = [("X-Warder-Timestamp", time), ("X-Warder-Signature", &*signature)];
    scene.api.client.call("POST", "/v1/callback", &headers, &body)
}

#[test]
fn a_callback_passes_a_decision_on_and_never_makes_one() -> Result<()> {
    let (folder, hook) = (directory::private("hook")?, Hook::unwell()?);
    let scene = Scene::start(&webhook(&folder, &hook)?)?;
    let (grant, now) = (scene.ask("alice")?, ago(0)?);
    let bob = scene.approver("bob")?;
    let body = |token: &str| json!({ "grant": grant["grant"], "verb": "approve", "digest": grant["digest"], "token": token, "reason": "agreed" });
    let check = |said: Said, status: u16, code: &str| {
        ensure!(said.status == status && said.body["error"]["code"] == code, "{said:?}");
        Ok(())
    };
    check(call_back(&scene, "not the secret of it", &now, &body(&bob))?, 401, "signature")?;
    check(call_back(&scene, SECRET, &ago(400)?, &body(&bob))?, 401, "signature")?;
    check(scene.api.client.call("POST", "/v1/callback", &[], body(&bob).to_string().as_bytes())?, 401, "signature")?;
    // The integration alone decides nothing, and neither does whoever has asked.
    check(call_back(&scene, SECRET, &now, &body("nonsense"))?, 401, "token")?;
    check(call_back(&scene, SECRET, &now, &body(&scene.approver("alice")?))?, 403, "person")?;
    check(call_back(&scene, SECRET, &now, &body(&scene.person("carol")?))?, 403, "policy")?;
    let mut other = body(&bob);
    other["digest"] = json!("0".repeat(64));
    check(call_back(&scene, SECRET, &now, &other)?, 409, "digest")?;
    for missing in ["digest", "token"] {
        let mut less = body(&bob);
        less.as_object_mut().context("an object")?.remove(missing);
        check(call_back(&scene, SECRET, &now, &less)?, 400, "not_a_request")?;
    }
    let mut renew = body(&bob);
    renew["verb"] = json!("renew");
    check(call_back(&scene, SECRET, &now, &renew)?, 400, "not_a_request")?;
    ensure!(scene.changes(&grant)? == ["requested"], "nothing has changed");

    let done = call_back(&scene, SECRET, &now, &body(&bob))?;
    ensure!(done.status == 200 && done.body["state"] == "active", "{done:?}");
    for _ in 0..3 {
        check(call_back(&scene, SECRET, &now, &body(&bob))?, 409, "state")?;
    }
    ensure!(scene.changes(&grant)? == ["requested", "approved", "activated"], "what is sent again changes nothing");
    ensure!(!scene.api.log()?.contains(&bob), "a token is in the log");
    Ok(())
}
