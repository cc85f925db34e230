//! `warder exec`: a token belongs to a process tree, to all of it and to nobody else.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::json;
use warder_tests::account::Account;
use warder_tests::events::{self, Session};
use warder_tests::process::{self, Running};
use warder_tests::route::Route;
use warder_tests::stage::{Stage, StageOptions};
use warder_tests::tokens::Tokens;
use warder_tests::{directory, tooling, wait};

/// Persons may do all but one thing; agents may look; nobody else gets in.
const POLICIES: &str = r#"
@id("persons")
@reason("persons may do everything")
permit (principal is Person, action, resource);

@id("agents")
@reason("agents may look")
permit (principal is Agent, action in [Action::"Connect", Action::"Read", Action::"Session"], resource);

@id("no-drop")
@reason("nobody drops anything")
forbid (principal, action == Action::"Drop", resource);

@id("no-strangers")
@reason("strangers have no business here")
forbid (principal is Unknown, action == Action::"Connect", resource);
"#;

/// Longer than a test takes.
const LONG: Duration = Duration::from_secs(3000);
const PERSON: &str = "alice@example.com";
const PURPOSE: &str = "INC-4711: orders of November";

/// A server whose clients need to be somebody, at a port that leads through the proxy.
struct Scene {
    stage: Stage,
    tokens: Tokens,
    port: String,
    _policies: tempfile::TempDir,
}

impl Scene {
    fn start() -> Result<Self> {
        let port = directory::free_port()?;
        let scene = Self::with(&[format!("listen = [\"127.0.0.1:{port}\"]")], port)?;
        scene.stage.wait_listening(port)?;
        Ok(scene)
    }

    fn with(lines: &[String], port: u16) -> Result<Self> {
        let (tokens, policies) = (Tokens::new()?, tempfile::tempdir()?);
        fs::write(policies.path().join("test.cedar"), POLICIES)?;
        let mut guard =
            vec!["mode = \"enforce\"".to_owned(), format!("policies = [{:?}]", policies.path().to_string_lossy())];
        guard.extend(lines.iter().cloned());
        let mut proxy = vec!["workers = 2".to_owned()];
        proxy.extend(tokens.tables());
        let sql = vec!["create table done (what text)".into(), "grant all on done to public".into()];
        let options = StageOptions { guard, proxy, sql, tls: Some("server-certificate"), ..StageOptions::default() };
        Ok(Self { stage: Stage::start(&options)?, tokens, port: port.to_string(), _policies: policies })
    }

    /// A file with a token of alice that ends so much later.
    fn token(&self, life: Duration, owner: &Account) -> Result<PathBuf> {
        let token = self.tokens.token(PERSON, &json!({ "groups": ["analysts"] }), life)?;
        self.tokens.file(&format!("token-{}-{}", owner.uid, life.as_secs()), &token, owner)
    }

    /// `warder exec` with this token in front of a command whose environment leads to the proxy.
    fn exec(&self, token: &Path) -> Command {
        self.place(Command::new(self.stage.agent.binary()), token)
    }

    fn exec_as(&self, account: &Account, token: &Path) -> Command {
        self.place(process::command_as(account, self.stage.agent.binary()), token)
    }

    fn place(&self, mut command: Command, token: &Path) -> Command {
        command.arg("exec").arg("--socket").arg(self.stage.agent.exec_socket());
        command.arg("--token-file").arg(token).args(["--purpose", PURPOSE, "--"]);
        self.towards(&mut command);
        command
    }

    fn towards(&self, command: &mut Command) {
        command.envs(self.stage.cluster.environment(Route::Tcp)).env("PGPORT", &self.port).env("PSQLRC", "/dev/null");
    }

    /// psql without a token.
    fn stranger(&self, words: &[&str]) -> Result<Output> {
        let mut command = Command::new(words.first().context("a program")?);
        self.towards(&mut command);
        process::run_any(command.args(words.get(1..).unwrap_or_default()))
    }

    /// What the server has done.
    fn done(&self) -> Result<Vec<String>> {
        let text = self.stage.cluster.sql("select what from done order by what")?;
        Ok(text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect())
    }

    /// The session with this statement, as the journal has it when it has that.
    fn session_of(&self, statement: &str) -> Result<Session> {
        let found = self.stage.agent.events().wait_for_text(statement)?;
        let all = self.stage.agent.events().all()?;
        let session = events::sessions(&all).get(found.session.as_str()).map(|session| (*session).clone());
        session.with_context(|| format!("no session of {statement}"))
    }

    /// An interactive shell in a tree of its own.
    fn shell(&self, token: &Path) -> Result<Running> {
        let mut command = self.exec(token);
        command.arg("sh").stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        let mut shell = Running::start("the shell", Signal::SIGTERM, &mut command)?;
        // Before it answers it is `warder exec`, perhaps outside of the tree.
        shell.write_line("echo here")?;
        ensure!(shell.read_line()? == "here");
        Ok(shell)
    }
}

fn root() -> Result<Account> {
    Account::named("root")
}

fn psql() -> Result<String> {
    Ok(tooling::postgres_programs()?.join("psql").to_string_lossy().into_owned())
}

fn done(what: &str) -> String {
    format!("insert into done values ('{what}')")
}

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}: {}{}", output.status, text(&output.stdout), text(&output.stderr))
}

/// Asks a shell to run something and tells what it printed, which is one line.
fn in_shell(shell: &mut Running, command: &str) -> Result<String> {
    shell.write_line(&format!("{command} 2>&1 | tr '\\n' ' '; echo"))?;
    shell.read_line()
}

/// The control group of a process in the unified hierarchy, from the root of that.
fn group(pid: u32) -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let mut places = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let place = places.find(|fields| fields.get(2) == Some(&"cgroup2")).context("no unified hierarchy")?;
    let memberships = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    let path = memberships.lines().find_map(|line| line.strip_prefix("0::/")).context("in no group")?;
    Ok(Path::new(place.get(1).context("no mount point")?).join(path))
}

#[test]
fn an_unchanged_program_is_whoever_its_token_is_about() -> Result<()> {
    let scene = Scene::start()?;
    let stranger = scene.stranger(&[&psql()?, "-Xqc", &done("a stranger")])?;
    ensure!(said(&stranger).contains("no-strangers"), "{}", said(&stranger));
    let token = scene.token(LONG, &root()?)?;
    let mut command = scene.exec(&token);
    command.arg(psql()?).args(["-Xq", "-c", &done("alice"), "-c", "drop table done", "-c", &done("goes on")]);
    let output = process::run_any(&mut command)?;
    ensure!(said(&output).contains("(rule no-drop)"), "{}", said(&output));
    ensure!(scene.done()? == ["alice", "goes on"], "{:?}", scene.done()?);
    let session = scene.session_of(&done("alice"))?;
    let principal = session.principal.with_context(|| format!("nobody: {:?}", session.principal_unknown))?;
    ensure!((principal.kind.as_str(), principal.id.as_str()) == ("person", PERSON), "{principal:?}");
    ensure!((principal.proof.as_str(), principal.purpose.as_deref()) == ("bound_process", Some(PURPOSE)));
    let timeline = String::from_utf8(scene.stage.agent.cli(&["timeline"])?.stdout)?;
    ensure!(timeline.contains(&format!("person {PERSON} (\"{PURPOSE}\")")), "{timeline}");
    Ok(())
}

#[test]
fn an_agent_that_acts_for_somebody_has_its_own_rules() -> Result<()> {
    let scene = Scene::start()?;
    let token = scene.tokens.token(PERSON, &json!({ "act": { "sub": "report-agent" } }), LONG)?;
    let token = scene.tokens.file("agent", &token, &root()?)?;
    let sql = ["-c", "select 'looks'", "-c", &done("the agent")];
    let output = process::run_any(scene.exec(&token).arg(psql()?).arg("-XqAt").args(sql))?;
    ensure!(said(&output).contains("looks") && said(&output).contains("ERROR"), "{}", said(&output));
    ensure!(scene.done()?.is_empty(), "{:?}", scene.done()?);
    Ok(())
}

#[test]
fn the_command_has_its_user_and_status_and_a_wrong_token_starts_none() -> Result<()> {
    let scene = Scene::start()?;
    let nobody = Account::nobody()?;
    let token = scene.token(LONG, &nobody)?;
    let mut command = scene.exec_as(&nobody, &token);
    let script = format!("id -u; {} -Xqc \"{}\"; exit 7", psql()?, done("an ordinary user"));
    let output = process::run_any(command.args(["sh", "-c", &script]).current_dir("/"))?;
    ensure!(output.status.code() == Some(7), "{}", said(&output));
    ensure!(output.stdout.starts_with(nobody.uid.to_string().as_bytes()), "{}", said(&output));
    ensure!(scene.done()? == ["an ordinary user"], "{}", said(&output));
    let missing = process::run_any(scene.exec_as(&nobody, &token).arg("/no/such/program"))?;
    ensure!(missing.status.code() == Some(127), "{}", said(&missing));

    let mark = scene.tokens.folder().join("started");
    let foreign = Tokens::new()?;
    let claims = json!({});
    let wrong = [
        ("signature", foreign.token(PERSON, &claims, LONG)?),
        ("audience", scene.tokens.token(PERSON, &json!({ "aud": "somebody else" }), LONG)?),
        ("expired", scene.tokens.token(PERSON, &json!({ "iat": 1000, "exp": 2000 }), LONG)?),
        ("token", "no.token.at-all".to_owned()),
    ];
    for (why, token) in wrong {
        let file = scene.tokens.file("wrong", &token, &root()?)?;
        let output = process::run_any(scene.exec(&file).arg("touch").arg(&mark))?;
        ensure!(output.status.code() == Some(1) && said(&output).contains(why), "{why}: {}", said(&output));
        ensure!(!said(&output).contains(&token), "the token is in the message");
    }
    let open = scene.token(LONG, &root()?)?;
    process::run(Command::new("chmod").arg("644").arg(&open))?;
    let output = process::run_any(scene.exec(&open).arg("touch").arg(&mark))?;
    ensure!(output.status.code() == Some(1) && said(&output).contains("chmod 600"), "{}", said(&output));
    ensure!(!mark.exists(), "a command was started without its token");
    Ok(())
}

#[test]
fn all_descendants_inherit_it() -> Result<()> {
    let scene = Scene::start()?;
    let token = scene.token(LONG, &root()?)?;
    let ways: [(&str, &[&str]); 7] = [
        ("exec", &[]),
        ("a child", &["sh", "-c", "\"$@\"; true", "sh"]),
        ("a daemon", &["setsid", "--fork", "setsid", "--fork"]),
        ("another user", &["setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups"]),
        ("namespaces", &["unshare", "--mount", "--uts", "--ipc", "--pid", "--fork", "--cgroup"]),
        ("a user namespace", &["unshare", "--user", "--map-root-user"]),
        ("without an environment", &["env", "-i"]),
    ];
    for (way, words) in ways {
        let mut command = scene.exec(&token);
        command.args(words).arg(psql()?).current_dir("/");
        command.arg(format!("host=127.0.0.1 port={} user=postgres dbname=postgres sslmode=disable", scene.port));
        let output = process::run_any(command.args(["-Xqc", &done(way)]))?;
        wait::until(way, wait::PATIENCE, || Ok(scene.done()?.iter().any(|done| done == way).then_some(())))
            .with_context(|| said(&output))?;
    }
    Ok(())
}

#[test]
fn a_daemon_outlives_the_command_and_its_group_goes_with_it() -> Result<()> {
    let scene = Scene::start()?;
    let token = scene.token(LONG, &root()?)?;
    let mut shell = scene.shell(&token)?;
    let group = group(shell.pid())?;
    // The command ends, what it has started does not: it waits for a line that comes when the command is gone.
    let pipe = scene.tokens.folder().join("pipe");
    process::run(Command::new("mkfifo").arg(&pipe))?;
    let wait_then = format!("read line < {}; {} -Xqc \"{}\"", pipe.display(), psql()?, done("the daemon"));
    shell.write_line(&format!("setsid --fork sh -c '{}'; exit", wait_then.replace('\'', "'\\''")))?;
    shell.wait(wait::PATIENCE)?;
    ensure!(group.exists(), "the group is gone before the daemon");
    fs::write(&pipe, "go on\n")?;
    wait::until("the daemon", wait::PATIENCE, || Ok((scene.done()? == ["the daemon"]).then_some(())))?;
    wait::until("the end of the group", wait::PATIENCE, || Ok((!group.exists()).then_some(())))
}

#[test]
fn others_cannot_claim_it() -> Result<()> {
    let scene = Scene::start()?;
    let token = scene.token(LONG, &root()?)?;
    let nobody = Account::nobody()?;
    let mut shell = scene.shell(&token)?;
    let (pid, group) = (shell.pid().to_string(), group(shell.pid())?);
    let psql = psql()?;
    let connect = format!("host=127.0.0.1 port={} user=postgres dbname=postgres sslmode=disable", scene.port);
    let claim = done("a claim");
    let is_refused = |what: &str, output: &Output| -> Result<()> {
        ensure!(said(output).contains("no-strangers") && scene.done()?.is_empty(), "{what}: {}", said(output));
        Ok(())
    };
    // Everything that the environment can carry over.
    let mut command = Command::new(&psql);
    let environment = fs::read(format!("/proc/{pid}/environ"))?;
    for variable in environment.split(|byte| *byte == 0) {
        if let Some((name, value)) = String::from_utf8_lossy(variable).split_once('=') {
            command.env(name, value);
        }
    }
    is_refused("environment", &process::run_any(command.args([&connect, "-Xqc", &claim]))?)?;
    // All namespaces, by somebody who may do that.
    let mut words = vec!["nsenter", "--target", &pid, "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup"];
    words.extend([psql.as_str(), &connect, "-Xqc", &claim]);
    is_refused("nsenter", &scene.stranger(&words)?)?;
    // Another user is let into neither the group nor the process.
    let join = format!("echo $$ > {}/cgroup.procs; exec {psql} '{connect}' -Xqc \"{claim}\"", group.display());
    let output = process::run_any(process::command_as(&nobody, "sh").args(["-c", &join]).current_dir("/"))?;
    ensure!(said(&output).contains("Permission denied"), "{}", said(&output));
    is_refused("cgroup.procs", &output)?;
    let trace = format!(
        "import ctypes, os; libc = ctypes.CDLL(None, use_errno=True); \
         print(libc.ptrace(16, {pid}, None, None), os.strerror(ctypes.get_errno()))"
    );
    let mut command = process::command_as(&nobody, tooling::SYSTEM_PYTHON);
    let output = process::run_any(command.args(["-c", &trace]).current_dir("/"))?;
    ensure!(said(&output).contains("-1 Operation not permitted"), "{}", said(&output));
    // Not even root makes another group below it, in which a process would be nobody's.
    ensure!(fs::create_dir(group.join("below")).is_err(), "a group below the tree's");
    // The tree itself has it still.
    let own = in_shell(&mut shell, &format!("{psql} '{connect}' -Xqc \"{}\"", done("the tree")))?;
    ensure!(scene.done()? == ["the tree"], "{own}");
    Ok(())
}

#[test]
fn a_pid_that_is_used_again_is_nobody() -> Result<()> {
    let scene = Scene::start()?;
    let token = scene.token(LONG, &root()?)?;
    let mut shell = scene.shell(&token)?;
    let pid = shell.pid();
    shell.close_input();
    shell.wait(wait::PATIENCE)?;
    drop(shell);
    let statement = "select 'with its pid'";
    let output = wait::until("the pid", wait::PATIENCE, || {
        // Whoever forks next gets the number behind this one, unless somebody else is faster.
        fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string())?;
        let mut command = Command::new(psql()?);
        scene.towards(&mut command);
        let child = command.args(["-XqAtc", statement]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let is_it = child.id() == pid;
        let output = child.wait_with_output()?;
        Ok(is_it.then_some(output))
    })?;
    ensure!(said(&output).contains("no-strangers"), "{}", said(&output));
    Ok(())
}

#[test]
fn what_expires_in_mid_session_opens_nothing_any_more() -> Result<()> {
    let scene = Scene::start()?;
    let token = scene.token(Duration::from_secs(6), &root()?)?;
    let mut shell = scene.shell(&token)?;
    let mut session = scene.exec(&token);
    session.arg(psql()?).args(["-XqAt"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut session = Running::start("psql", Signal::SIGTERM, &mut session)?;
    session.write_line("select 'in time';")?;
    ensure!(session.read_line()? == "in time");
    session.wait_cut()?;
    let again = in_shell(&mut shell, &format!("{} -Xqc \"{}\"", psql()?, done("too late")))?;
    ensure!(again.contains("no-strangers") && scene.done()?.is_empty(), "{again}");
    Ok(())
}

#[test]
fn after_a_restart_a_tree_is_nobody_and_its_group_is_still_cleaned_up() -> Result<()> {
    let mut scene = Scene::start()?;
    let token = scene.token(LONG, &root()?)?;
    let mut shell = scene.shell(&token)?;
    let group = group(shell.pid())?;
    let insert = |what: &str| Ok::<_, anyhow::Error>(format!("{} -Xqc \"{}\"", psql()?, done(what)));
    in_shell(&mut shell, &insert("before")?)?;
    scene.stage.agent.kill()?;
    scene.stage.agent.run()?;
    scene.stage.wait_listening(scene.port.parse()?)?;
    let after = in_shell(&mut shell, &insert("after")?)?;
    ensure!(after.contains("no-strangers"), "{after}");
    process::run(scene.exec(&token).args(["sh", "-c", &insert("again")?]))?;
    ensure!(scene.done()? == ["again", "before"], "{:?}", scene.done()?);
    shell.close_input();
    shell.wait(wait::PATIENCE)?;
    wait::until("the end of the group", wait::PATIENCE, || Ok((!group.exists()).then_some(())))
}

#[test]
fn steered_clients_and_those_of_the_unix_socket_have_it_too() -> Result<()> {
    let scene = Scene::with(&["steer = true".into(), "take_over_socket = true".into()], 0)?;
    scene.stage.wait_steered()?;
    scene.stage.wait_taken()?;
    let token = scene.token(LONG, &root()?)?;
    let enter = scene.stage.namespace.enter();
    let place = |route| scene.stage.cluster.environment(route);
    for (what, route, words) in [("steered", Route::Tcp, enter.as_slice()), ("unix", Route::Unix, &[])] {
        let (first, rest) = words.split_first().map_or((psql()?, [].as_slice()), |(first, rest)| (first.clone(), rest));
        let mut stranger = Command::new(&first);
        stranger.args(rest).args((!words.is_empty()).then(psql).transpose()?);
        let refused = process::run_any(stranger.envs(place(route)).args(["-Xqc", &done("a stranger")]))?;
        ensure!(said(&refused).contains("no-strangers"), "{what}: {}", said(&refused));
        let mut command = scene.exec(&token);
        command.args(words).arg(psql()?).envs(place(route));
        process::run(command.args(["-Xqc", &done(what)]))?;
    }
    let mut command = scene.exec(&token);
    command.arg(psql()?).envs(place(Route::Unix)).args(["-XqAtc", "select what from done order by what"]);
    let found = process::run(&mut command)?.stdout;
    ensure!(found == b"steered\nunix\n", "{}", String::from_utf8_lossy(&found));
    Ok(())
}

#[test]
fn a_session_around_the_proxy_is_told_with_it() -> Result<()> {
    let scene = Scene::start()?;
    let token = scene.token(LONG, &root()?)?;
    for route in [Route::Tcp, Route::Unix] {
        let statement = format!("select 'around, {route}'");
        let mut command = scene.exec(&token);
        command.args(scene.stage.namespace.enter()).arg(psql()?).envs(scene.stage.cluster.environment(route));
        process::run(command.args(["-Xqc", &statement]))?;
        let session = scene.session_of(&statement)?;
        ensure!(session.mediation.is_none(), "it went through the proxy: {session:?}");
        let principal = session.principal.with_context(|| format!("{route}: nobody"))?;
        ensure!(principal.id == PERSON && principal.purpose.as_deref() == Some(PURPOSE), "{principal:?}");
    }
    Ok(())
}

#[test]
fn where_clients_log_in_by_token_a_tree_is_not_asked_for_one() -> Result<()> {
    let port = directory::free_port()?;
    let login = "login = { mode = \"token\", user = \"warder_service\" }".to_owned();
    let scene = Scene::with(&[format!("listen = [\"127.0.0.1:{port}\"]"), login], port)?;
    scene.stage.cluster.sql("create role warder_service login superuser")?;
    scene.stage.wait_listening(port)?;
    let stranger = scene.stranger(&[&psql()?, "-Xqw", "-c", &done("a stranger")])?;
    ensure!(said(&stranger).contains("password"), "{}", said(&stranger));
    let token = scene.token(LONG, &root()?)?;
    let sql = "insert into done select 'as ' || current_user";
    process::run(scene.exec(&token).arg(psql()?).args(["-Xqw", "-c", sql]))?;
    ensure!(scene.done()? == ["as warder_service"], "{:?}", scene.done()?);
    let principal = scene.session_of(sql)?.principal.context("nobody")?;
    ensure!(principal.proof == "bound_process", "{principal:?}");
    Ok(())
}
