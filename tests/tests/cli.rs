//! The command line and the control socket of a running agent, and of one that must not start.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use warder_tests::account::Account;
use warder_tests::agent::Agent;
use warder_tests::cluster::{Cluster, ClusterOptions};
use warder_tests::{directory, process, tooling};

/// Wrong configurations, and a word that the message must contain.
const WRONG: &[(&str, &str)] = &[
    ("[agent]\nusr = \"warder\"\n", "usr"),
    ("[capture]\nring_bytes = 5000\n", "ring_bytes"),
    ("[capture]\nring_bytes = \"large\"\n", "ring_bytes"),
    ("[[database]]\nname = \"no name\"\nport = 5432\n", "name"),
    ("[[database]]\nname = \"nothing\"\n", "port"),
    ("[metrics]\nlisten = \"everywhere\"\n", "listen"),
    ("[agent\n", "TOML"),
];

#[test]
fn a_wrong_configuration_is_one_line_and_status_2() -> Result<()> {
    let folder = directory::private("config")?;
    let file = folder.path().join("warder.toml");
    let binary = tooling::agent_binary()?;
    for (text, word) in WRONG {
        std::fs::write(&file, text)?;
        for words in [&["run", "-c"][..], &["config", "check", "-c"]] {
            let output = process::run_any(Command::new(&binary).args(words).arg(&file))?;
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            ensure!(output.status.code() == Some(2), "{words:?} on {text:?} ended with {}: {said}", output.status);
            ensure!(said.trim_end().lines().count() == 1, "not one line for {text:?}: {said}");
            ensure!(said.contains("warder.toml") && said.contains(word), "unclear for {text:?}: {said}");
        }
    }
    Ok(())
}

#[test]
fn policies_that_the_agent_would_not_start_with_are_mistakes_of_the_configuration() -> Result<()> {
    let folder = directory::private("config")?;
    let (file, policies) = (folder.path().join("warder.toml"), folder.path().join("own.cedar"));
    let text = format!(
        "[[database]]\nname = \"orders\"\nport = 5432\nproxy.tls = \"server-certificate\"\n\
         proxy.certificate = \"/a.crt\"\nproxy.private_key = \"/a.key\"\nproxy.policies = [{policies:?}]\n"
    );
    let check = || process::run_any(Command::new(tooling::agent_binary()?).args(["config", "check", "-c"]).arg(&file));
    let cases = [
        (None, Some("own.cedar")),
        (
            Some("@id(\"all\")\npermit (principal, action, resource);\n"),
            Some("own.cedar:1:1: the policy has no @reason"),
        ),
        (Some("@id(\"all\")\n@reason(\"all\")\npermit (principal, action, resource);\n"), None),
    ];
    for (policy, mistake) in cases {
        std::fs::write(&file, &text)?;
        if let Some(policy) = policy {
            std::fs::write(&policies, policy)?;
        }
        let output = check()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(
            output.status.code() == Some(if mistake.is_some() { 2 } else { 0 }),
            "{policy:?}: {} {said}",
            output.status
        );
        ensure!(said.lines().count() == usize::from(mistake.is_some()), "{policy:?}: {said}");
        ensure!(mistake.is_none_or(|mistake| said.contains(mistake) && said.contains("policies of orders")), "{said}");
    }
    Ok(())
}

#[test]
fn a_missing_capability_is_named_with_its_remedy() -> Result<()> {
    let folder = directory::private("config")?;
    let file = folder.path().join("warder.toml");
    std::fs::write(&file, format!("[agent]\ncontrol_socket = {:?}\n", folder.path().join("control.sock")))?;
    let mut run = Command::new("setpriv");
    run.args(["--bounding-set", "-bpf,-perfmon,-sys_admin", "--"]).arg(tooling::agent_binary()?);
    let output = process::run_any(run.args(["run", "-c"]).arg(&file))?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.code() == Some(1), "it ended with {}: {said}", output.status);
    let line = "capabilities: CAP_BPF, CAP_PERFMON missing: kernel programs cannot be loaded, or servers not be found \
                -> run as root, or grant these capabilities to the service";
    ensure!(said.lines().any(|said| said.ends_with(line)), "unclear: {said}");
    ensure!(said.contains("this host cannot be observed (capabilities"), "unclear: {said}");
    Ok(())
}

#[test]
fn the_doctor_is_content_where_the_agent_runs() -> Result<()> {
    let cluster = Cluster::start(&ClusterOptions::default())?;
    let agent = Agent::observing(&tooling::agent_binary()?, &cluster)?;
    let output = agent.cli(&["doctor"])?;
    ensure!(!output.stdout.is_empty(), "the doctor says nothing");
    ensure!(!output.stdout.contains(&0x1b), "colours in a pipe");
    agent.cli_json(&["doctor", "--json"]).map(drop)
}

#[test]
fn what_the_commands_print_can_be_read_by_programs() -> Result<()> {
    let cluster = Cluster::start(&ClusterOptions::default())?;
    let mut agent = Agent::observing(&tooling::agent_binary()?, &cluster)?;
    let mut session = cluster.interactive(warder_tests::route::Route::Tls, "cli test")?;
    session.write_line("select 'for the timeline';")?;
    session.read_line()?;
    let statement = agent.events().wait_for_text("select 'for the timeline';")?;
    let sessions = agent.cli_json(&["sessions", "--json"])?;
    let ids = sessions.iter().filter_map(|session| session.get("session").and_then(|id| id.as_str()));
    ensure!(ids.into_iter().any(|id| id == statement.session), "the session is not listed: {sessions:?}");
    let timeline = agent.cli_json(&["timeline", &statement.session, "--json"])?;
    let texts = timeline.iter().filter_map(|record| record.get("text").and_then(|text| text.as_str()));
    ensure!(texts.into_iter().any(|text| text == "select 'for the timeline';"), "not in the timeline: {timeline:?}");
    let plain = agent.cli(&["timeline"])?.stdout;
    ensure!(String::from_utf8(plain)?.contains("for the timeline"), "not in the plain timeline");
    agent.stop()?;
    agent.cli(&["timeline"]).context("the timeline without a running agent").map(drop)
}

#[test]
fn a_foreign_user_may_not_ask() -> Result<()> {
    let cluster = Cluster::start(&ClusterOptions::default())?;
    let agent = Agent::observing(&tooling::agent_binary()?, &cluster)?;
    let socket = std::fs::metadata(agent.control_socket())?;
    ensure!(socket.permissions().mode() & 0o777 == 0o660, "the socket's mode is {:o}", socket.permissions().mode());
    ensure!(socket.uid() == 0, "the socket belongs to {}", socket.uid());
    let events = std::fs::metadata(agent.events_directory())?;
    ensure!(events.permissions().mode() & 0o007 == 0, "everybody may look at the events");
    // The binary may be where the other user can not reach it.
    let copy = cluster.directory().join("warder");
    std::fs::copy(tooling::agent_binary()?, &copy)?;
    std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o755))?;
    let mut foreign = process::command_as(&Account::postgres()?, &copy);
    foreign.args(["sessions", "--json", "-c"]).arg(agent.configuration()).current_dir("/");
    let output = process::run_any(&mut foreign)?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(1), "a foreign user got {}: {said}", output.status);
    ensure!(said.contains("may not use"), "unclear: {said}");
    Ok(())
}
