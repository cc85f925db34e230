//! Secrets that pass the agent are in none of its outputs: journal, index, exports, log, metrics, command line, control
//! socket, HTTP API.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;
use warder_tests::account::Account;
use warder_tests::agent::{Agent, AgentOptions, CORE_ACCOUNT, DatabaseEntry};
use warder_tests::cluster::{Cluster, ClusterOptions};
use warder_tests::collector::Collector;
use warder_tests::events::{self, Events};
use warder_tests::governed::Governed;
use warder_tests::route::Route;
use warder_tests::web_api::WebApi;
use warder_tests::{directory, encodings, process, tooling, wait};

/// One secret for each way in; the words are found nowhere else.
const MD5: &str = "Sentinel-md5-Qx71vZ";
const SCRAM: &str = "Sentinel-scram-Hu28wK";
const CLEARTEXT: &str = "Sentinel-clear-Lm39yP";
const ALTERED: &str = "Sentinel-alter-Bn46tR";
const MAPPED: &str = "Sentinel-mapped-Cd57sJ";
const BOUND: &str = "Sentinel-bound-Fg68dW";
const SECRETS: &[&str] = &[MD5, SCRAM, CLEARTEXT, ALTERED, MAPPED, BOUND];

/// Roles, and how each of them logs in.
const LOGINS: &[(&str, &str)] = &[("by_md5", MD5), ("by_scram", SCRAM), ("by_cleartext", CLEARTEXT)];

/// Statements that carry secrets, as a superuser sends them.
const STATEMENTS: &[&str] = &[
    "alter role by_scram password 'Sentinel-alter-Bn46tR'",
    "ALTER ROLE by_scram WITH ENCRYPTED PASSWORD $q$Sentinel-alter-Bn46tR$q$",
    "select 1; alter user by_scram password E'Sentinel-alter-Bn46tR'; select 2",
    "create user mapping for by_md5 server far options (user 'far', password 'Sentinel-mapped-Cd57sJ')",
    "alter role by_scram password 'Sentinel-alter-Bn46tR' and a syntax error",
    "select dblink_connect('host=far password=Sentinel-mapped-Cd57sJ')",
    "alter role by_scram password 'Sentinel-scram-Hu28wK'",
];

/// No secret: it must be wherever statements are, or the search for secrets there would prove nothing.
const MARKER: &str = "select 'the end'";

/// Still running when the outputs are looked at.
const RUNNING: &str = "select pg_sleep(600), dblink_connect('host=far password=Sentinel-mapped-Cd57sJ')";

fn cluster() -> Result<Cluster> {
    let options = ClusterOptions::default()
        .access("local all by_md5 md5\nhost all by_md5 all md5")
        .access("local all by_scram scram-sha-256\nhost all by_scram all scram-sha-256")
        .access("local all by_cleartext password\nhost all by_cleartext all password");
    let cluster = Cluster::start(&options)?;
    // Before the agent: how the roles came to be is not what is tested.
    for (role, secret) in LOGINS {
        let method = if *role == "by_md5" { "md5" } else { "scram-sha-256" };
        cluster.sql(&format!("set password_encryption = '{method}'; create role {role} login password '{secret}'"))?;
    }
    cluster.sql("create foreign data wrapper nothing; create server far foreign data wrapper nothing")?;
    cluster.sql("create function dblink_connect(text) returns text language sql as 'select ''OK'''")?;
    Ok(cluster)
}

/// psql with the secret in the environment, in a URI and in a keyword DSN; the last two are its command line.
fn logins(cluster: &Cluster, route: Route, role: &str, secret: &str) -> Vec<Command> {
    let text = format!("select 'login of {role}'");
    let client = |words: &[&str]| {
        let mut command = cluster.client("psql", route);
        command.args(["-XqAt", "-c", &text]).args(words);
        command
    };
    let mut by_environment = client(&[]);
    by_environment.env("PGUSER", role).env("PGPASSWORD", secret);
    let uri = cluster.uri(route, &format!("{role}:{secret}"), "postgres");
    let keywords = format!("user={role} password='{secret}' dbname=postgres");
    vec![by_environment, client(&[&uri]), client(&[&keywords])]
}

fn play_logins(cluster: &Cluster) -> Result<()> {
    for route in Route::ALL {
        for (role, secret) in LOGINS {
            for mut command in logins(cluster, route, role, secret) {
                process::run(&mut command)?;
            }
        }
    }
    // A wrong password is a secret, too: often it is the right one for somewhere else.
    let mut wrong = cluster.client("psql", Route::Tcp);
    process::run_any(wrong.args(["-XqAt", "-c", "select 1"]).env("PGUSER", "by_cleartext").env("PGPASSWORD", BOUND))?;
    Ok(())
}

fn play_statements(cluster: &Cluster) -> Result<()> {
    for statement in STATEMENTS {
        process::run_any(cluster.client("psql", Route::Tcp).args(["-XqAt", "-c", statement]))?;
    }
    let bound = "import os, psycopg\n\
        with psycopg.connect('', autocommit=True) as connection:\n\
        \x20   connection.execute('select dblink_connect(%s)', ('host=far password=' + os.environ['SENTINEL'],))\n";
    let mut python = Command::new(tooling::python_environment()?.join("bin/python"));
    python.args(["-c", bound]).envs(cluster.environment(Route::Tcp)).env("SENTINEL", BOUND);
    process::run(&mut python)?;
    Ok(())
}

/// An agent with an export of every kind, a witness, and segments that are soon sealed and indexed.
struct Scene {
    agent: Agent,
    /// Receivers of exports, by what they are sent.
    collectors: Vec<(&'static str, Collector)>,
    /// Where exports to files and the witness write.
    outside: PathBuf,
    _temporary: TempDir,
}

impl Scene {
    fn observing(cluster: &Cluster, capture: Vec<String>) -> Result<Self> {
        let temporary = directory::private("outside")?;
        let outside = directory::owned(temporary.path(), "core", &Account::named(CORE_ACCOUNT)?, 0o755)?;
        let (webhook, syslog, otlp) = (Collector::http()?, Collector::stream()?, Collector::http()?);
        let export = |kind: &str, place: String| format!("[[export]]\nname = \"{kind}\"\nkind = \"{kind}\"\n{place}");
        let file = |name: &str| format!("file = {:?}", outside.join(name));
        let tables = vec![
            format!("[[journal.witness]]\nname = \"vault\"\n{}", file("checkpoints.jsonl")),
            export("jsonl", file("records.jsonl")),
            export("ocsf", file("ocsf.jsonl")),
            export("webhook", format!("url = \"http://127.0.0.1:{}/in\"", webhook.port)),
            export("syslog", format!("syslog = \"tcp://127.0.0.1:{}\"", syslog.port)),
            export("otlp", format!("url = \"http://127.0.0.1:{}\"\nmetrics_interval_seconds = 1", otlp.port)),
        ];
        let options = AgentOptions {
            databases: vec![DatabaseEntry::of("test", cluster)],
            capture,
            journal: vec!["segment_bytes_max = 65536".into(), "checkpoint_seconds = 1".into()],
            tables,
            ..AgentOptions::default()
        };
        let agent = Agent::start(&tooling::agent_binary()?, &options)?;
        let collectors = vec![("webhook", webhook), ("syslog", syslog), ("OpenTelemetry", otlp)];
        Ok(Self { agent, collectors, outside, _temporary: temporary })
    }

    /// Waits until all receivers and the index have what was recorded before.
    fn wait_settled(&self) -> Result<()> {
        let last = || -> Result<u64> { Ok(self.agent.events().all()?.last().context("no record")?.seq) };
        let wanted = last()?;
        wait::until("the index and the exports", wait::PATIENCE, || {
            let metrics = self.agent.metrics()?;
            let behind = |name: &str| warder_tests::http::metric(&metrics, name, &[]).unwrap_or(f64::MAX);
            // The index covers whole blocks; checkpoints go on being made, and exported, unless the last one covers everything.
            let lag = behind("warder_export_lag_records");
            let is_done = lag < 1.0 || (lag < 50.0 && last()? > wanted);
            Ok((is_done && self.is_indexed()?).then_some(()))
        })
    }

    /// Whether the logins are in the index, by their role.
    fn is_indexed(&self) -> Result<bool> {
        let mut files = Vec::new();
        add_files(&self.agent.events_directory().join("index"), &mut files)?;
        Ok(files.iter().any(|(_, _, bytes)| String::from_utf8_lossy(bytes).contains("by_scram")))
    }
}

/// What is in an output beside what it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Carries {
    Statements,
    NoStatements,
}

type Output = (String, Carries, Vec<u8>);

/// Everything that can be read from an agent itself.
fn outputs(agent: &Agent) -> Result<Vec<Output>> {
    let mut found = vec![
        ("the journal".into(), Carries::Statements, agent.events().bytes()?),
        ("the agent's log".into(), Carries::NoStatements, agent.log()?.into_bytes()),
        ("the metrics".into(), Carries::NoStatements, agent.metrics()?.into_bytes()),
    ];
    for words in [
        &["timeline"][..],
        &["timeline", "--json"],
        &["timeline", "--last", "10000"],
        &["search", "--limit", "10000"],
        &["search", "--limit", "10000", "--json"],
    ] {
        found.push((format!("warder {}", words.join(" ")), Carries::Statements, agent.cli(words)?.stdout));
    }
    for words in [&["sessions"][..], &["sessions", "--json"], &["coverage"], &["doctor"], &["doctor", "--json"]] {
        found.push((format!("warder {}", words.join(" ")), Carries::NoStatements, agent.cli(words)?.stdout));
    }
    for verb in ["sessions", "status", "accesses", "steer-status", "scan"] {
        found.push((
            format!("the control socket's {verb}"),
            Carries::NoStatements,
            ask(&agent.control_socket(), verb)?,
        ));
    }
    // Every session as it went, the newest first.
    let opened = agent.cli_json(&["search", "--json", "--limit", "60", "type:session.open"])?;
    for session in opened.iter().filter_map(|record| record["session"].as_str()) {
        for words in [&["replay", "--no-wait", session][..], &["timeline", session, "--json"]] {
            found.push((format!("warder {}", words.join(" ")), Carries::NoStatements, agent.cli(words)?.stdout));
        }
    }
    add_files(&agent.events_directory(), &mut found)?;
    Ok(found)
}

/// All files below a folder, as they are: index, cursors, segments.
fn add_files(folder: &Path, found: &mut Vec<Output>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            add_files(&path, found)?;
        } else if let Ok(bytes) = fs::read(&path) {
            // One that is gone was sealed, or replaced.
            found.push((path.display().to_string(), Carries::NoStatements, bytes));
        }
    }
    Ok(())
}

/// What the control socket answers, as it comes.
fn ask(socket: &Path, verb: &str) -> Result<Vec<u8>> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(wait::PATIENCE))?;
    stream.write_all(format!("{}\n", json!({ "v": 1, "verb": verb })).as_bytes())?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    ensure!(!answer.is_empty(), "no answer to {verb}");
    Ok(answer)
}

/// And what others were sent.
fn outputs_of(scene: &Scene) -> Result<Vec<Output>> {
    let mut found = outputs(&scene.agent)?;
    for (name, collector) in &scene.collectors {
        found.push((format!("the export by {name}"), Carries::Statements, collector.taken()));
    }
    for name in ["records.jsonl", "ocsf.jsonl"] {
        found.push((format!("the export to {name}"), Carries::Statements, fs::read(scene.outside.join(name))?));
    }
    let checkpoints = fs::read(scene.outside.join("checkpoints.jsonl"))?;
    found.push(("the witness's checkpoints".into(), Carries::NoStatements, checkpoints));
    Ok(found)
}

fn check_outputs(outputs: &[Output], secrets: &[&str]) -> Result<()> {
    let mut leaks = Vec::new();
    for (output, _, bytes) in outputs {
        let text = String::from_utf8_lossy(bytes);
        for secret in secrets {
            leaks.extend(encodings::found(secret, &text).map(|form| format!("{secret} is in {output} {form}")));
        }
    }
    ensure!(leaks.is_empty(), "{}", leaks.join("\n"));
    Ok(())
}

#[test]
fn secrets_are_in_no_output() -> Result<()> {
    let cluster = cluster()?;
    let scene = Scene::observing(&cluster, Vec::new())?;
    let agent = &scene.agent;
    play_logins(&cluster)?;
    play_statements(&cluster)?;
    // Only whole segments are in the index, and of one text less is kept than was sent.
    for _ in 0..6 {
        cluster.sql(&"select 'a segment is filled';".repeat(400))?;
    }
    cluster.sql(MARKER)?;
    agent.events().wait_for_text(MARKER)?;
    let mut busy = cluster.interactive(Route::Tcp, "busy")?;
    busy.write_line(&format!("{RUNNING};"))?;
    wait::until("the running statement to be shown", wait::PATIENCE, || {
        let shown = String::from_utf8_lossy(&agent.cli(&["sessions", "--json"])?.stdout).contains("pg_sleep(600)");
        Ok(shown.then_some(()))
    })?;
    // What holds no secret is there: the test would be worthless if nothing was recorded.
    let all = agent.events().all()?;
    for (role, _) in LOGINS {
        let text = format!("select 'login of {role}'");
        let found = events::statements(&all).filter(|statement| statement.text.as_deref() == Some(&text)).count();
        ensure!(found == 9, "{role} logged in 9 times, {found} were recorded");
    }
    let redacted = events::statements(&all).filter(|statement| statement.redacted).count();
    ensure!(redacted >= STATEMENTS.len(), "only {redacted} statements are marked as redacted");
    scene.wait_settled()?;
    let outputs = outputs_of(&scene)?;
    for (output, _, bytes) in outputs.iter().filter(|(_, carries, _)| *carries == Carries::Statements) {
        ensure!(String::from_utf8_lossy(bytes).contains(MARKER), "{output} has no statements");
    }
    check_outputs(&outputs, SECRETS)
}

/// Waits until something was lost.
fn wait_for_loss(events: &Events) -> Result<()> {
    events.wait_for("a loss record", wait::PATIENCE, |all| (!events::losses(all).is_empty()).then_some(()))
}

#[test]
fn secrets_are_in_no_output_after_a_loss_during_authentication() -> Result<()> {
    let cluster = cluster()?;
    cluster.prepare_pgbench(1)?;
    let scene = Scene::observing(&cluster, vec!["ring_bytes = 16384".into()])?;
    // The load fills the small ring again and again, so that anything of a login may be lost.
    let mut load = cluster.client("pgbench", Route::Unix);
    load.args(["-S", "-n", "-c", "4", "-T", "8"])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null());
    let mut load = process::Running::start("pgbench", nix::sys::signal::Signal::SIGTERM, &mut load)?;
    while load.alive()? {
        play_logins(&cluster)?;
        play_statements(&cluster)?;
    }
    wait_for_loss(&scene.agent.events())?;
    check_outputs(&outputs_of(&scene)?, SECRETS)
}

const POLICIES: &str = r#"
@id("session")
@reason("people may open sessions and read")
permit (principal is Person, action in [Action::"Connect", Action::"Session", Action::"Read"], resource);

@id("ask")
@reason("people may ask")
@approvals("1")
@max_duration("1h")
permit (principal is Person, action == Action::"RequestGrant", resource);
"#;

#[test]
fn tokens_and_secrets_are_in_no_answer_of_the_api() -> Result<()> {
    let governed = Governed::start(POLICIES, "create table kept (id int)")?;
    let api = WebApi::start(&governed, &[])?;
    let token = governed.token("alice", &json!({}))?;
    let mut psql = governed.session("alice")?;
    psql.write_line(&format!("alter role postgres password '{ALTERED}';"))?;
    psql.write_line("select 'alive';")?;
    ensure!(psql.read_line()? == "alive", "the session is gone");
    let authorization = format!("Bearer {token}");
    let call = |method: &str, path: &str, headers: &[(&str, &str)], body: &Value| -> Result<Output> {
        let said = api.client.call(method, path, headers, body.to_string().as_bytes())?;
        Ok((format!("{method} {path}: {}", said.status), Carries::NoStatements, said.body.to_string().into_bytes()))
    };
    let wanted = json!({ "database": "test", "actions": ["Insert"], "relations": ["public.kept"], "seconds": 600,
        "purpose": "tidy up" });
    let authorized = [("Authorization", &*authorization)];
    let forged = authorization.replace("Bearer ", "Bearer x");
    let mut outputs = outputs(&governed.stage.agent)?;
    outputs.extend([
        call("POST", "/v1/grants", &authorized, &wanted)?,
        call("GET", "/v1/grants", &authorized, &Value::Null)?,
        call("POST", "/v1/grants", &[("Authorization", &forged)], &wanted)?,
        call("POST", "/v1/grants", &authorized, &json!({ "token": token }))?,
        ("the API's log".into(), Carries::NoStatements, api.log()?.into_bytes()),
    ]);
    let granted = outputs
        .iter()
        .any(|(name, _, body)| name.starts_with("POST") && String::from_utf8_lossy(body).contains("tidy up"));
    ensure!(granted, "nothing was asked for: {:?}", outputs.iter().rev().take(5).collect::<Vec<_>>());
    // Its last part is what makes a token one; the others are known to whoever knows the person.
    let signature = token.rsplit('.').next().context("no token")?;
    check_outputs(&outputs, &[ALTERED, &token, signature])
}
