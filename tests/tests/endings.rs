//! The end of access at a server whose sessions share one login: what runs stops, whatever it does about that.

#![expect(clippy::disallowed_methods, reason = "tests live in real time: how long an end takes is measured")]

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::json;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_postgres::NoTls;
use tokio_postgres::error::SqlState;
use warder_tests::events::{Credential, What};
use warder_tests::governed::{Governed, Login};
use warder_tests::minting::POLICIES;
use warder_tests::{process, wait};

/// From the decision, or from the answer of whoever decided, to the end of the server's process.
const AT_ONCE: Duration = Duration::from_secs(1);

/// How long a statement may go on whose session's access is over.
const GRACE: Duration = Duration::from_secs(30);

/// How long a token is good that ends soon.
const LIFE: Duration = Duration::from_secs(5);

/// A statement that takes a cancel for an error like others. So that its rows are seen, it says something first.
const STUBBORN: &str = "
create function stubborn() returns void language plpgsql as $$
begin
    raise notice 'it begins';
    loop
        begin
            perform pg_sleep(1);
        exception when query_canceled then null;
        end;
    end loop;
end $$";

/// A governed server, and people with tokens.
struct Scene {
    governed: Governed,
    runtime: Runtime,
}

/// Somebody's statement, with its outcome.
type Statement = JoinHandle<Result<(), tokio_postgres::Error>>;

impl Scene {
    fn start() -> Result<Self> {
        let governed = Governed::start_as(POLICIES, STUBBORN, Login::Service)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { governed, runtime })
    }

    /// Somebody's statement runs at the server when this returns.
    fn run(&self, who: &str, sql: &'static str) -> Result<Statement> {
        self.run_with(who, &self.governed.token(who, &json!({}))?, sql)
    }

    /// The same with this token.
    fn run_with(&self, who: &str, token: &str, sql: &'static str) -> Result<Statement> {
        let before = self.running()?;
        let mut config = tokio_postgres::Config::new();
        config.host("127.0.0.1").port(self.governed.port).user(who).dbname("postgres").password(token);
        let statement = self.runtime.spawn(async move {
            let (client, connection) = config.connect(NoTls).await?;
            tokio::spawn(connection);
            client.batch_execute(sql).await
        });
        wait::until("a statement that runs", wait::PATIENCE, || {
            self.runtime.block_on(async { tokio::time::sleep(Duration::from_millis(20)).await });
            ensure!(!statement.is_finished(), "it has ended: {}", self.governed.stage.agent.log()?);
            Ok((self.running()? > before).then_some(()))
        })?;
        Ok(statement)
    }

    /// How many processes of the server do something for the service account.
    fn running(&self) -> Result<usize> {
        let count = "select count(*) from pg_stat_activity where usename = 'service' and state = 'active'";
        Ok(self.governed.stage.cluster.sql(count)?.parse()?)
    }

    /// Until so many are left.
    fn wait_running(&self, left: usize) -> Result<()> {
        wait::until("the end of a statement", wait::PATIENCE, || Ok((self.running()? == left).then_some(())))
            .with_context(|| self.governed.stage.agent.log().unwrap_or_default())
    }

    /// What a statement was told that must have been cut.
    fn told(&self, statement: Statement) -> Result<String> {
        let Err(error) = self.runtime.block_on(statement)? else { bail!("the statement has ended well") };
        let told = error.as_db_error().with_context(|| format!("not told why: {error:?}"))?;
        ensure!(*told.code() == SqlState::ADMIN_SHUTDOWN, "{told:?}");
        Ok(told.message().to_owned())
    }

    fn break_glass(&self, who: &str) -> Result<String> {
        let token = self.governed.token_file(who, &json!({}))?;
        let mut ask = self.governed.stage.agent.command(&["grant", "request", "--break-glass", "--json"]);
        ask.arg("--token-file").arg(token).args(["--database", "test", "--action", "Delete", "--relation", "*"]);
        let output = process::run(ask.args(["--for", "30m", "--purpose", "cleaning"]))?;
        let granted: serde_json::Value = serde_json::from_slice(&output.stdout)?;
        Ok(granted["grant"].as_str().with_context(|| granted.to_string())?.to_owned())
    }

    /// As root, without a token.
    fn revoke(&self, grant: &str) -> Result<()> {
        let mut revoke = self.governed.stage.agent.command(&["grant", "revoke", grant, "--reason", "enough"]);
        process::run(revoke.env("XDG_STATE_HOME", "/nonexistent")).map(drop)
    }

    fn end_access(&self, who: &str) -> Result<()> {
        let ended = self.governed.stage.agent.cli_json(&["access", "end", who, "--json"])?;
        ensure!(ended.len() == 1 && ended[0]["principal"] == who && ended[0]["role"].is_null(), "{ended:?}");
        Ok(())
    }

    /// The next step that was recorded of an access that has no role of its own.
    fn step(&self, step: &str, detail: Option<&str>) -> Result<Credential> {
        self.governed.stage.agent.events().wait_for(step, wait::PATIENCE, |events| {
            events.iter().rev().find_map(|event| match &event.what {
                What::Credential(found) if found.step == step && found.role.is_empty() => {
                    let is_it = detail.is_none_or(|detail| found.detail.as_deref() == Some(detail));
                    is_it.then(|| (**found).clone())
                }
                _ => None,
            })
        })
    }
}

#[test]
fn a_statement_that_runs_ends_with_the_grant_that_is_revoked() -> Result<()> {
    let scene = Scene::start()?;
    let alice = scene.run("alice", "select pg_sleep(30)")?;
    let bob = scene.run("bob", "select pg_sleep(30)")?;
    let grant = scene.break_glass("alice")?;
    scene.revoke(&grant)?;
    let begin = Instant::now();
    scene.wait_running(1)?;
    println!("revoked -> nothing runs: {:?}", begin.elapsed());
    ensure!(begin.elapsed() < AT_ONCE, "{:?}", begin.elapsed());
    let told = scene.told(alice)?;
    ensure!(told.contains("its access has ended (revoked)"), "{told}");

    let ending = scene.step("ending", Some(&format!("with grant {grant}")))?;
    ensure!(ending.end.as_deref() == Some("revoked"), "{ending:?}");
    let ended = scene.step("ended", None)?;
    ensure!(ended.end.as_deref() == Some("revoked") && ended.confirmation.as_deref() == Some("kernel"), "{ended:?}");
    ensure!(ended.session.is_some() && ended.group.is_empty(), "{ended:?}");
    let micros = ended.latency_us.context("no latency")?;
    println!("revoked -> the kernel saw the socket closed: {micros} us");
    ensure!(Duration::from_micros(micros) < AT_ONCE, "{micros} us");
    let metrics = scene.governed.stage.agent.metrics()?;
    let family = "warder_access_end_duration_seconds_count{database=\"test\",end=\"revoked\"} 1";
    ensure!(metrics.contains(family), "{metrics}");
    ensure!(!bob.is_finished() && scene.running()? == 1, "nobody has ended bob's");
    scene.end_access("bob")?;
    scene.told(bob).map(drop)
}

#[test]
fn a_statement_ends_that_takes_no_cancel_for_an_answer() -> Result<()> {
    let scene = Scene::start()?;
    let alice = scene.run("alice", "select stubborn()")?;
    scene.end_access("alice")?;
    ensure!(scene.running()? == 0, "it runs: {}", scene.governed.stage.agent.log()?);
    scene.told(alice)?;
    let ended = scene.step("ended", None)?;
    ensure!(ended.latency_us.is_some_and(|micros| Duration::from_micros(micros) < AT_ONCE), "{ended:?}");

    // Whoever goes leaves it behind: nobody tells the server that nobody is there any more.
    let mut carol = scene.governed.session("carol")?;
    carol.write_line("select stubborn();")?;
    scene.wait_running(1)?;
    process::send(carol.pid(), nix::sys::signal::Signal::SIGKILL)?;
    carol.wait(wait::PATIENCE)?;
    ensure!(scene.running()? == 1, "there is nothing to end");
    scene.end_access("carol")?;
    ensure!(scene.running()? == 0, "it runs: {}", scene.governed.stage.agent.log()?);
    Ok(())
}

#[test]
fn a_session_ends_with_its_token_and_what_runs_not_much_later() -> Result<()> {
    let scene = Scene::start()?;
    let soon = scene.governed.token_until("carol", LIFE)?;
    let mut idle = scene.governed.session_with("carol", &soon)?;
    idle.write_line("begin; select 'there';")?;
    ensure!(idle.read_line()? == "there");
    let long = scene.run_with("alice", &scene.governed.token_until("alice", LIFE)?, "select stubborn()")?;
    let short = scene.run_with("bob", &scene.governed.token_until("bob", LIFE)?, "select pg_sleep(6)")?;
    // It is nobody's from here on; what it has asked for before goes on, for a while.
    let mut asking = scene.governed.session_with("dora", &scene.governed.token_until("dora", LIFE)?)?;
    asking.write_line("select 'there';")?;
    ensure!(asking.read_line()? == "there");
    wait::until("the end of the token", wait::PATIENCE, || {
        asking.write_line("select 'there';\n\\echo asked")?;
        if asking.read_line()? == "asked" {
            return Ok(Some(()));
        }
        asking.read_line().map(|_asked| None)
    })?;
    let begin = Instant::now();
    asking.wait_cut()?;
    idle.wait_cut()?;
    println!("expired -> nobody is there: {:?}", begin.elapsed());
    ensure!(scene.running()? == 2, "what runs was cut at once");

    scene.runtime.block_on(short)??;
    scene.wait_running(1)?;
    let told = scene.told(long)?;
    ensure!(told.contains("its access has ended (token_expired)"), "{told}");
    scene.wait_running(0)?;
    println!("expired -> nothing runs: {:?}", begin.elapsed());
    ensure!(begin.elapsed() > GRACE - AT_ONCE && begin.elapsed() < GRACE + 5 * AT_ONCE, "{:?}", begin.elapsed());
    let ended = scene.step("ended", None)?;
    ensure!(
        ended.end.as_deref() == Some("token_expired") && ended.confirmation.as_deref() == Some("kernel"),
        "{ended:?}"
    );
    Ok(())
}
