//! The dashboard and the alert rules of `monitoring/`, and Prometheus itself: it scrapes an agent, understands what it
//! says, and answers every question of the dashboard.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;
use warder_tests::agent::Agent;
use warder_tests::cluster::{Cluster, ClusterOptions};
use warder_tests::process::Running;
use warder_tests::{directory, process, tooling, wait};

/// The range that Grafana would choose; here it must hold a few scrapes that are a second apart.
const RANGE: &str = "1m";

/// Panels that have something to show as soon as an agent has seen one session.
const NEVER_EMPTY: &[&str] = &[
    "Agents",
    "Coverage, worst database",
    "Events lost",
    "Live sessions",
    "Sessions opened and closed",
    "Bytes of sessions",
    "Statements by database",
    "Statement duration",
    "Quantiles",
    "Errors by class of SQLSTATE",
    "Share of statements that fail",
    "Ring buffer, largest filling",
    "Tables, filling",
    "Records written",
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join("monitoring")
}

fn promtool(words: &[&str]) -> Result<Command> {
    let mut command = Command::new(tooling::prometheus_programs()?.join("promtool"));
    command.args(words).current_dir(folder());
    Ok(command)
}

#[test]
fn every_alert_fires_when_it_should_and_only_then() -> Result<()> {
    process::run(&mut promtool(&["check", "rules", "--lint-fatal", "alerts.yml"])?)?;
    process::run(&mut promtool(&["test", "rules", "alerts_test.yml"])?)?;
    let rules = std::fs::read_to_string(folder().join("alerts.yml"))?;
    let tests = std::fs::read_to_string(folder().join("alerts_test.yml"))?;
    for name in rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        ensure!(tests.contains(&format!("alertname=\"{name}\"")), "{name} fires in no test");
    }
    Ok(())
}

#[test]
fn the_metrics_of_an_agent_are_as_documented() -> Result<()> {
    let (agent, _cluster) = observed()?;
    let said = agent.metrics()?;
    let mut check = promtool(&["check", "metrics"])?;
    let directory = directory::private("metrics")?;
    let input = directory.path().join("metrics.txt");
    std::fs::write(&input, &said)?;
    let checked = process::run(check.stdin(Stdio::from(std::fs::File::open(&input)?)))?;
    ensure!(checked.stderr.is_empty(), "promtool says: {}", String::from_utf8_lossy(&checked.stderr));
    let document = std::fs::read_to_string(folder().join("../docs/metrics.md"))?;
    for line in said.lines().filter(|line| !line.starts_with('#')) {
        let (series, _) = line.rsplit_once(' ').context("a value")?;
        let name = series.split('{').next().unwrap_or(series);
        let row = row(&document, name).with_context(|| format!("{name} is not documented"))?;
        ensure!(labels(series) == documented(row), "{series}: other labels than docs/metrics.md names: {row}");
    }
    Ok(())
}

/// The row of the family that a series belongs to.
fn row<'a>(document: &'a str, series: &str) -> Option<&'a str> {
    let parts = ["", "_bucket", "_sum", "_count"].into_iter().filter_map(|part| series.strip_suffix(part));
    parts.into_iter().find_map(|name| document.lines().find(|line| line.starts_with(&format!("| `{name}` |"))))
}

/// Label names of a series, without the bound of a bucket.
fn labels(series: &str) -> BTreeSet<&str> {
    let inner = series.split_once('{').map_or("", |(_, inner)| inner.trim_end_matches('}'));
    let names = inner.split("\",").filter_map(|label| label.split_once("=\"")).map(|(name, _)| name);
    names.filter(|name| *name != "le").collect()
}

fn documented(row: &str) -> BTreeSet<&str> {
    let cell = row.split('|').nth(3).unwrap_or_default();
    cell.split(',').map(|label| label.trim().trim_matches('`')).filter(|label| !label.is_empty()).collect()
}

#[test]
fn prometheus_answers_every_question_of_the_dashboard() -> Result<()> {
    let (agent, _cluster) = observed()?;
    let (_prometheus, url) = prometheus(&agent)?;
    wait::until("three scrapes of the agent", wait::PATIENCE, || {
        // It refuses connections in its first moments.
        let counted = ask(&url, &format!("count_over_time(warder_build_info{{job=\"warder\"}}[{RANGE}]) >= 3"));
        Ok(counted.ok().filter(|answer| !answer.is_empty()))
    })?;
    let text = std::fs::read_to_string(folder().join("grafana-dashboard.json"))?;
    let dashboard: Value = serde_json::from_str(&text)?;
    let mut with_data = BTreeSet::new();
    for panel in dashboard["panels"].as_array().context("panels")? {
        let title = panel["title"].as_str().context("a title")?;
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expression = target["expr"].as_str().context("an expression")?;
            let expression = expression.replace("$__rate_interval", RANGE);
            let expression = expression.replace("$instance", ".*").replace("$database", ".*");
            ensure!(!expression.contains('$'), "{title}: {expression}");
            let answer = ask(&url, &expression).with_context(|| title.to_owned())?;
            if !answer.is_empty() {
                with_data.insert(title);
            }
        }
    }
    for title in NEVER_EMPTY {
        ensure!(with_data.contains(title), "{title} is empty; panels with data: {with_data:?}");
    }
    Ok(())
}

/// An agent that has seen sessions, statements and an error.
fn observed() -> Result<(Agent, Cluster)> {
    let cluster = Cluster::start(&ClusterOptions::default())?;
    let agent = Agent::observing(&tooling::agent_binary()?, &cluster)?;
    cluster.sql("select 1")?;
    ensure!(cluster.sql("select nothing").is_err(), "there is no such column");
    wait::until("an error in the metrics", wait::PATIENCE, || {
        let metrics = agent.metrics()?;
        Ok(warder_tests::http::metric(&metrics, "warder_statement_errors_total", &[]).map(drop))
    })?;
    Ok((agent, cluster))
}

/// A Prometheus of our own, on loopback, that scrapes the agent every second and evaluates the alert rules.
fn prometheus(agent: &Agent) -> Result<(Server, String)> {
    let home = directory::private("prometheus")?;
    let target = agent.metrics_url();
    let target = target.trim_start_matches("http://").trim_end_matches("/metrics");
    let rules = folder().join("alerts.yml").canonicalize()?;
    let configuration = format!(
        "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\n\
         rule_files: [{rules:?}]\n\
         scrape_configs:\n  - job_name: warder\n    static_configs: [{{ targets: [\"{target}\"] }}]\n"
    );
    let file = home.path().join("prometheus.yml");
    std::fs::write(&file, configuration)?;
    let address = format!("127.0.0.1:{}", directory::free_port()?);
    let mut command = process::command_dependent("TERM", tooling::prometheus_programs()?.join("prometheus"));
    command.arg(format!("--config.file={}", file.display()));
    command.arg(format!("--storage.tsdb.path={}", home.path().join("data").display()));
    command.arg(format!("--web.listen-address={address}")).arg("--log.level=warn");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let running = Running::start("prometheus", Signal::SIGTERM, &mut command)?;
    Ok((Server { _running: running, _home: home }, format!("http://{address}")))
}

/// It ends before its folder is removed.
struct Server {
    _running: Running,
    _home: TempDir,
}

/// The samples that an expression gives now.
fn ask(url: &str, expression: &str) -> Result<Vec<Value>> {
    let output = process::run(&mut promtool(&["query", "instant", "--format=json", url, expression])?)?;
    let answer: Value = serde_json::from_slice(&output.stdout)?;
    Ok(answer.as_array().context("a list of samples")?.clone())
}
