//! Grants at a real server: a live session gets access when a grant becomes active, and loses it when the grant ends.

use std::process::Output;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use warder_tests::governed::Governed;
use warder_tests::process::{self, Running};
use warder_tests::wait;

const POLICIES: &str = r#"
@id("session")
@reason("people may open sessions and read")
permit (principal is Person, action in [Action::"Connect", Action::"Session", Action::"Read"], resource);

@id("granted")
@reason("an active grant covers it")
permit (principal, action, resource) when { context.granted };

@id("ask")
@reason("people may ask")
@approvals("1")
@max_duration("1h")
permit (principal is Person, action == Action::"RequestGrant", resource)
when { !context.asked.actions.contains("Drop") };

@id("glass")
@reason("whoever is on call may break the glass")
permit (principal in Group::"on-call", action == Action::"BreakGlass", resource);

@id("decide")
@reason("approvers decide")
permit (principal in Group::"approvers", action == Action::"ApproveGrant", resource);
"#;

/// A governed server, and what people do about grants there.
struct Desk(Governed);

impl Desk {
    fn start() -> Result<Self> {
        Governed::start(POLICIES, "create table kept as select generate_series(1, 100) as id").map(Self)
    }

    /// `warder grant ... --json` as somebody.
    fn grant(&self, who: &str, groups: &[&str], words: &[&str]) -> Result<Output> {
        let token = self.0.token_file(who, &json!({ "groups": groups }))?;
        let token = token.to_string_lossy();
        let common = ["--json", "--token-file", &*token];
        let words: Vec<&str> = ["grant"].iter().chain(words).chain(&common).copied().collect();
        process::run_any(&mut self.0.stage.agent.command(&words))
    }

    /// The same, which must be done.
    fn done(&self, who: &str, groups: &[&str], words: &[&str]) -> Result<Value> {
        let output = self.grant(who, groups, words)?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "{words:?} as {who}: {said}");
        serde_json::from_slice(&output.stdout).context("no JSON")
    }

    /// The same, which must be refused; why.
    fn refused(&self, who: &str, groups: &[&str], words: &[&str]) -> Result<String> {
        let output = self.grant(who, groups, words)?;
        ensure!(!output.status.success(), "{words:?} as {who} was done");
        Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    }

    fn request(&self, who: &str, time: &str) -> Result<String> {
        let granted = self.done(who, &[], &request(time))?;
        ensure!(granted["state"] == "requested", "{granted}");
        Ok(granted["grant"].as_str().context("no number")?.to_owned())
    }

    fn session(&self, who: &str) -> Result<Session> {
        Ok(Session { psql: self.0.session(who)? })
    }

    /// What became of grants, by the journal: number and change.
    fn changes(&self) -> Result<Vec<(String, String)>> {
        let found = self.0.stage.agent.cli_json(&["timeline", "--json"])?;
        let access = found.iter().filter(|record| record["type"] == "access");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Ok(access.map(|record| (text(&record["grant"]), text(&record["change"]))).collect())
    }
}

fn request(time: &str) -> [&str; 11] {
    [
        "request",
        "--database",
        "test",
        "--action",
        "Delete",
        "--relation",
        "public.kept",
        "--for",
        time,
        "--purpose",
        "cleaning",
    ]
}

/// Somebody's psql, which stays open.
struct Session {
    psql: Running,
}

impl Session {
    /// Whether it may delete now.
    fn deletes(&mut self) -> Result<bool> {
        self.psql.write_line("delete from public.kept where id = 1;")?;
        self.psql.write_line("\\echo refused :ERROR")?;
        let line = self.psql.read_line()?;
        ensure!(["refused true", "refused false"].contains(&&*line), "{line}");
        Ok(line == "refused false")
    }
}

#[test]
fn a_live_session_has_access_from_approval_to_the_end() -> Result<()> {
    let desk = Desk::start()?;
    let mut alice = desk.session("alice")?;
    let mut carol = desk.session("carol")?;
    ensure!(!alice.deletes()?, "without a grant");

    let grant = desk.request("alice", "30m")?;
    ensure!(!alice.deletes()?, "asked for only");
    let own = desk.refused("alice", &["approvers"], &["approve", &grant])?;
    ensure!(own.contains("of their own"), "{own}");
    let stranger = desk.refused("bob", &[], &["approve", &grant])?;
    ensure!(stranger.contains("default"), "{stranger}");
    ensure!(!alice.deletes()?);

    let active = desk.done("bob", &["approvers"], &["approve", &grant, "--reason", "agreed"])?;
    ensure!(active["state"] == "active" && active["approvals"][0]["by"]["id"] == "bob", "{active}");
    wait::until("access", wait::PATIENCE, || Ok(alice.deletes()?.then_some(())))?;
    ensure!(!carol.deletes()?, "it is nobody else's");

    // By root, without a token.
    let nowhere = desk.0.stage.agent.events_directory().join("none");
    let nowhere = nowhere.to_string_lossy();
    let mut revoke = desk.0.stage.agent.command(&["grant", "revoke", &grant, "--reason", "enough"]);
    process::run(revoke.env("XDG_STATE_HOME", &*nowhere))?;
    alice.psql.wait_cut()?;
    ensure!(!desk.session("alice")?.deletes()?, "it was revoked");
    ensure!(!carol.deletes()?, "her session goes on");
    let late = desk.refused("bob", &["approvers"], &["approve", &grant])?;
    ensure!(late.contains("revoked"), "{late}");

    wait::until("the records", wait::PATIENCE, || Ok((desk.changes()?.len() == 4).then_some(())))?;
    let changes = desk.changes()?;
    ensure!(changes.iter().all(|(number, _)| *number == grant), "{changes:?}");
    let words: Vec<&str> = changes.iter().map(|(_, change)| change.as_str()).collect();
    ensure!(words == ["requested", "approved", "activated", "revoked"], "{words:?}");
    Ok(())
}

#[test]
fn to_revoke_a_grant_revokes_what_prolongs_it() -> Result<()> {
    let desk = Desk::start()?;
    let mut alice = desk.session("alice")?;
    let first = desk.request("alice", "30m")?;
    desk.done("bob", &["approvers"], &["approve", &first])?;
    let renewed = desk.done("alice", &[], &["renew", &first])?;
    let second = renewed["grant"].as_str().context("no number")?;
    let active = desk.done("bob", &["approvers"], &["approve", second])?;
    ensure!(active["state"] == "active" && active["renews"] == *first, "{active}");
    wait::until("access", wait::PATIENCE, || Ok(alice.deletes()?.then_some(())))?;

    desk.grant("bob", &["approvers"], &["revoke", &first, "--reason", "enough"])?;
    alice.psql.wait_cut()?;
    ensure!(!desk.session("alice")?.deletes()?, "it was revoked");
    let shown = desk.0.stage.agent.cli_json(&["grant", "show", second, "--json"])?;
    ensure!(shown.first().is_some_and(|grant| grant["state"] == "revoked"), "{shown:?}");
    Ok(())
}

#[test]
fn to_revoke_a_grant_leaves_nothing_behind_what_is_over_and_nothing_to_approve() -> Result<()> {
    let desk = Desk::start()?;
    let state = |id: &str| -> Result<Value> {
        let shown = desk.0.stage.agent.cli_json(&["grant", "show", id, "--json"])?;
        Ok(shown.first().context("nothing is shown")?["state"].clone())
    };
    let renew = |id: &str, time: &str| -> Result<String> {
        let asked = desk.done("alice", &[], &["renew", id, "--for", time])?;
        Ok(asked["grant"].as_str().context("no number")?.to_owned())
    };
    let approve = |id: &str| desk.done("bob", &["approvers"], &["approve", id]);
    let first = desk.request("alice", "30m")?;
    approve(&first)?;
    let between = renew(&first, "4s")?;
    approve(&between)?;
    let last = renew(&between, "30m")?;
    approve(&last)?;
    let asked = renew(&last, "30m")?;
    wait::until("its end", wait::PATIENCE, || Ok((state(&between)? == "expired").then_some(())))?;

    let output = desk.grant("bob", &["approvers"], &["revoke", &first, "--reason", "enough"])?;
    ensure!(output.status.success(), "{output:?}");
    ensure!(state(&first)? == "revoked" && state(&last)? == "revoked", "what prolongs it goes on");
    ensure!(state(&asked)? == "denied", "somebody could approve it again");
    ensure!(!desk.session("alice")?.deletes()?, "it was revoked");
    Ok(())
}

#[test]
fn access_ends_by_itself_and_survives_a_restart_until_then() -> Result<()> {
    let mut desk = Desk::start()?;
    let long = desk.request("alice", "30m")?;
    desk.done("bob", &["approvers"], &["approve", &long])?;
    let short = desk.request("carol", "3s")?;
    let waiting = desk.request("dave", "30m")?;
    desk.done("bob", &["approvers"], &["approve", &short])?;
    let mut carol = desk.session("carol")?;
    wait::until("carol's access", Duration::from_secs(3), || Ok(carol.deletes()?.then_some(())))?;
    carol.psql.wait_cut()?;

    desk.0.stage.agent.kill()?;
    desk.0.stage.agent.run()?;
    desk.0.wait_listening()?;
    let mut alice = desk.session("alice")?;
    wait::until("alice's access", wait::PATIENCE, || Ok(alice.deletes()?.then_some(())))?;
    ensure!(!desk.session("carol")?.deletes()?, "it is over");
    ensure!(!desk.session("dave")?.deletes()?, "nobody has approved it");
    let listed = desk.0.stage.agent.cli_json(&["grant", "list", "--all", "--json"])?;
    let state = |id: &str| listed.iter().find(|grant| grant["grant"] == id).map(|grant| grant["state"].clone());
    ensure!(state(&long) == Some("active".into()) && state(&short) == Some("expired".into()), "{listed:?}");
    ensure!(state(&waiting) == Some("requested".into()), "{listed:?}");
    Ok(())
}

#[test]
fn what_policies_do_not_let_is_not_asked_for_and_a_broken_glass_is_reviewed() -> Result<()> {
    let desk = Desk::start()?;
    let too_long = desk.refused("alice", &[], &request("2h"))?;
    ensure!(too_long.contains("3600 seconds"), "{too_long}");
    let mut drop = request("30m");
    drop[4] = "Ddl";
    let drop = desk.refused("alice", &[], &drop)?;
    ensure!(drop.contains("no policy allows it"), "{drop}");
    let mut unknown = request("30m");
    unknown[4] = "Delte";
    let unknown = desk.refused("alice", &[], &unknown)?;
    ensure!(unknown.contains("Delte is no action"), "{unknown}");

    let words: Vec<&str> = request("30m").into_iter().chain(["--break-glass"]).collect();
    ensure!(desk.refused("alice", &[], &words)?.contains("breaking the glass"));
    let glass = desk.done("alice", &["on-call"], &words)?;
    ensure!(glass["state"] == "active" && glass["review"] == "due", "{glass}");
    let mut alice = desk.session("alice")?;
    wait::until("access", wait::PATIENCE, || Ok(alice.deletes()?.then_some(())))?;
    let id = glass["grant"].as_str().context("no number")?;
    ensure!(desk.refused("alice", &["approvers"], &["review", id])?.contains("of their own"));
    let reviewed = desk.done("bob", &["approvers"], &["review", id, "--reason", "was needed"])?;
    ensure!(reviewed["review"] == "done" && reviewed["state"] == "active", "{reviewed}");
    Ok(())
}
