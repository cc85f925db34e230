//! Statements that wait for an approval, from a client to the desk and back, at a real server.

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use warder_tests::governed::Governed;
use warder_tests::process::{self, Running};
use warder_tests::wait;

const POLICIES: &str = r#"
@id("people")
@reason("people may do everything")
permit (principal is Person, action, resource);

@id("deletes-wait")
@reason("somebody looks at what is deleted")
forbid (principal, action == Action::"RunUnattended", resource)
when { context.verb == Verb::"Delete" };

@id("decide")
@reason("approvers decide")
permit (principal in Group::"approvers", action == Action::"ApproveGrant", resource);
"#;

/// A governed server, and who looks at what waits there.
struct Scene(Governed);

impl Scene {
    fn start() -> Result<Self> {
        Governed::start(POLICIES, "create table kept as select generate_series(1, 100) as id").map(Self)
    }

    /// `warder grant VERB ID` as somebody who may decide; what it said.
    fn decide(&self, verb: &str, grant: &str, who: &str, reason: &str) -> Result<(bool, String)> {
        let path = self.0.token_file(who, &json!({ "groups": ["approvers"] }))?;
        let token = path.to_string_lossy();
        let words = ["grant", verb, grant, "--reason", reason, "--json", "--token-file", &*token];
        let output = process::run_any(&mut self.0.stage.agent.command(&words))?;
        Ok((output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned()))
    }

    fn approve(&self, grant: &str) -> Result<()> {
        let (done, said) = self.decide("approve", grant, "bob", "agreed")?;
        ensure!(done, "{said}");
        Ok(())
    }

    /// Alice's psql, which stays open.
    fn session(&self) -> Result<Running> {
        self.0.session("alice")
    }

    /// The request that waits; in all there were `seen` before.
    fn waiting(&self, seen: usize) -> Result<String> {
        wait::until("a statement that waits", wait::PATIENCE, || {
            let grants = self.0.stage.agent.cli_json(&["grant", "list", "--all", "--json"])?;
            let mut open = grants.iter().filter(|grant| grant["state"] == "requested");
            Ok(open.next().filter(|_| grants.len() > seen).and_then(|grant| grant["grant"].as_str().map(str::to_owned)))
        })
    }

    fn shown(&self, grant: &str) -> Result<Value> {
        let shown = self.0.stage.agent.cli_json(&["grant", "show", grant, "--json"])?;
        shown.into_iter().next().context("nothing is shown")
    }

    fn state(&self, grant: &str, wanted: &str) -> Result<()> {
        wait::until(wanted, wait::PATIENCE, || Ok((self.shown(grant)?["state"] == wanted).then_some(())))
    }

    fn rows(&self) -> Result<String> {
        Ok(self.0.stage.cluster.sql("select count(*) from kept")?.trim().to_owned())
    }

    /// What became of a request, by the journal.
    fn changes(&self, grant: &str) -> Result<Vec<String>> {
        let found = self.0.stage.agent.cli_json(&["timeline", "--json"])?;
        let access = found.iter().filter(|record| record["type"] == "access" && record["grant"] == grant);
        Ok(access.map(|record| record["change"].as_str().unwrap_or_default().to_owned()).collect())
    }
}

/// SQLSTATE of what psql did last.
fn sqlstate(psql: &mut Running) -> Result<String> {
    psql.write_line("\\echo state :SQLSTATE")?;
    loop {
        let line = psql.read_line()?;
        if let Some(state) = line.strip_prefix("state ") {
            return Ok(state.to_owned());
        }
    }
}

#[test]
fn a_statement_waits_is_looked_at_approved_and_runs() -> Result<()> {
    let scene = Scene::start()?;
    let mut psql = scene.session()?;
    psql.write_line("delete from kept where id = 1;")?;
    let grant = scene.waiting(0)?;
    ensure!(scene.rows()? == "100");
    let shown = scene.shown(&grant)?;
    let statement = &shown["statement"];
    ensure!(statement["statement"] == "delete from kept where id = 1;", "{shown}");
    ensure!(statement["principal"]["actor"]["id"] == "alice" && shown["rule"] == "deletes-wait", "{shown}");
    ensure!(shown["once"] == statement["sha256"], "{shown}");
    ensure!(statement["process"]["executable"].as_str().is_some_and(|path| path.ends_with("psql")), "{shown}");

    let (own, said) = scene.decide("approve", &grant, "alice", "me")?;
    ensure!(!own && said.contains("of their own"), "{said}");
    scene.approve(&grant)?;
    ensure!(sqlstate(&mut psql)? == "00000");
    ensure!(scene.rows()? == "99");
    scene.state(&grant, "used")?;
    wait::until("the records", wait::PATIENCE, || Ok((scene.changes(&grant)?.len() == 4).then_some(())))?;
    ensure!(scene.changes(&grant)? == ["requested", "approved", "activated", "used"], "{:?}", scene.changes(&grant)?);
    let under = wait::until("the statement's record", wait::PATIENCE, || {
        let found = scene.0.stage.agent.cli_json(&["search", "--json", "verdict:allowed type:statement delete"])?;
        Ok(found.into_iter().find(|record| record["verdict"].is_object()))
    })?;
    ensure!(under["verdict"]["hold"]["grant"] == grant.as_str(), "{under}");
    Ok(())
}

#[test]
fn a_relation_whose_name_is_no_line_waits_like_others() -> Result<()> {
    let scene = Scene::start()?;
    scene.0.stage.cluster.sql("create table U&\"two\\000Alines\" as select 1 as id")?;
    let mut psql = scene.session()?;
    psql.write_line("delete from U&\"two\\000Alines\";")?;
    let grant = scene.waiting(0)?;
    let shown = scene.shown(&grant)?;
    ensure!(shown["relations"] == json!(["*"]), "{shown}");
    scene.approve(&grant)?;
    ensure!(sqlstate(&mut psql)? == "00000");
    Ok(())
}

#[test]
fn a_statement_in_a_transaction_is_denied_and_the_transaction_fails() -> Result<()> {
    let scene = Scene::start()?;
    let mut psql = scene.session()?;
    psql.write_line("begin; insert into kept values (101);")?;
    psql.write_line("delete from kept;")?;
    let grant = scene.waiting(0)?;
    ensure!(scene.shown(&grant)?["statement"]["in_transaction"] == true);
    let (done, said) = scene.decide("deny", &grant, "bob", "not on a Friday")?;
    ensure!(done, "{said}");
    ensure!(sqlstate(&mut psql)? == "42501");
    psql.write_line("select 1;")?;
    ensure!(sqlstate(&mut psql)? == "25P02");
    psql.write_line("rollback; select 6 * 7;")?;
    ensure!(psql.read_line()? == "42");
    ensure!(scene.rows()? == "100");
    scene.state(&grant, "denied")
}

#[test]
fn who_cancels_or_goes_takes_the_request_back() -> Result<()> {
    let scene = Scene::start()?;
    let mut psql = scene.session()?;
    psql.write_line("delete from kept;")?;
    let first = scene.waiting(0)?;
    // psql sends a CancelRequest, which comes to any worker.
    psql.signal(Signal::SIGINT)?;
    scene.state(&first, "withdrawn")?;
    // It reads no more of a script then; that the client is told 57014 is proved with the proxy alone.
    psql.wait(wait::PATIENCE)?;
    let mut psql = scene.session()?;
    psql.write_line("delete from kept;")?;
    let second = scene.waiting(1)?;
    psql.signal(Signal::SIGKILL)?;
    scene.state(&second, "withdrawn")?;
    let (late, said) = scene.decide("approve", &second, "bob", "late")?;
    ensure!(!late && said.contains("withdrawn"), "{said}");
    ensure!(scene.rows()? == "100");
    Ok(())
}

#[test]
fn a_core_that_restarts_releases_nothing() -> Result<()> {
    let scene = Scene::start()?;
    let mut psql = scene.session()?;
    psql.write_line("delete from kept;")?;
    let grant = scene.waiting(0)?;
    scene.0.stage.agent.kill_core()?;
    ensure!(sqlstate(&mut psql)? == "42501");
    psql.write_line("select 6 * 7;")?;
    ensure!(psql.read_line()? == "42", "the session lives");
    // Whoever approves what was kept approves nothing that still waits.
    scene.state(&grant, "withdrawn")?;
    ensure!(scene.rows()? == "100");
    Ok(())
}
