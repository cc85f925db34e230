//! Local processes that connect past the proxy are refused: those of one control group, while the proxy serves, no longer.

use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use warder_tests::cgroup::Cgroup;
use warder_tests::events::{self, Process, What};
use warder_tests::stage::{Place, Stage, StageOptions};
use warder_tests::{directory, process, wait};

/// A database with a plain listener and a refusal, and the group whose processes are refused.
struct Scene {
    stage: Stage,
    /// Port of the listener.
    port: u16,
    group: Cgroup,
}

impl Scene {
    fn start(lines: &[&str]) -> Result<Self> {
        let scene = Self::start_with(Cgroup::create()?, StageOptions::guarded(lines))?;
        scene.wait_refusing(true)?;
        Ok(scene)
    }

    fn start_with(group: Cgroup, mut options: StageOptions) -> Result<Self> {
        let port = directory::free_port()?;
        options.guard.extend([format!("listen = [\"127.0.0.1:{port}\"]"), refuse(&group)]);
        let stage = Stage::start(&options)?;
        stage.wait_listening(port)?;
        Ok(Self { stage, port, group })
    }

    fn wait_refusing(&self, refusing: bool) -> Result<()> {
        self.stage.wait_state("what is refused", |state| state["refusing"] == refusing)
    }

    /// A client of the server itself.
    fn direct(&self, place: Place, host: &str) -> Command {
        let mut command = self.stage.client(place, "psql");
        command.env("PGHOST", host);
        command
    }

    /// The same, in the group.
    fn within(&self, place: Place, host: &str) -> Result<Output> {
        self.run_within(&self.direct(place, host))
    }

    fn run_within(&self, command: &Command) -> Result<Output> {
        run(&mut self.group.enter(command)?)
    }

    fn is_served_within(&self) -> Result<bool> {
        Ok(self.within(Place::Inside, "127.0.0.1")?.status.success())
    }

    fn wait_served_within(&self) -> Result<()> {
        wait::until("a direct connection", wait::PATIENCE, || Ok(self.is_served_within()?.then_some(())))
    }

    fn wait_refused_within(&self) -> Result<()> {
        wait::until("a refusal", wait::PATIENCE, || Ok((!self.is_served_within()?).then_some(())))
    }

    /// Every refusal that is on record: where to, and by whom.
    fn refused(&self, number: usize) -> Result<Vec<(String, Process)>> {
        self.stage.agent.events().wait_for("the records of refusals", wait::PATIENCE, |all| {
            let refused = all.iter().filter_map(|event| match &event.what {
                What::BypassRefused { database_entry, server_address, client } if database_entry == "test" => {
                    Some((server_address.clone(), (**client).clone()))
                }
                _ => None,
            });
            let refused: Vec<_> = refused.collect();
            (refused.len() >= number).then_some(refused)
        })
    }
}

fn refuse(group: &Cgroup) -> String {
    format!("refuse_direct = {:?}", group.folder().to_string_lossy())
}

fn run(command: &mut Command) -> Result<Output> {
    process::run_any(command.args(["-XqAt", "-v", "ON_ERROR_STOP=1", "-c", "select 'served'"]))
}

fn check_refused(output: &Output) -> Result<()> {
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(!output.status.success() && said.contains("Operation not permitted"), "it was not refused: {said}");
    Ok(())
}

fn check_served(output: &Output) -> Result<()> {
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "it was not served: {said}");
    Ok(())
}

#[test]
fn a_process_of_the_group_is_refused_on_every_address_and_on_record() -> Result<()> {
    let mut scene = Scene::start(&[])?;
    let inside = scene.stage.namespace.inside.clone();
    let ways = [
        (Place::Inside, "127.0.0.1"),
        (Place::Inside, "0.0.0.0"),
        (Place::Inside, "::1"),
        (Place::Inside, "::ffff:127.0.0.1"),
        (Place::Inside, &inside),
        (Place::Outside, &inside),
    ];
    for (place, host) in ways {
        check_refused(&scene.within(place, host)?).with_context(|| format!("{host}, {place:?}"))?;
    }
    let port = scene.stage.cluster.port();
    for ((server, client), (_, host)) in scene.refused(ways.len())?.into_iter().zip(ways) {
        let host = host.strip_prefix("::ffff:").unwrap_or(host);
        let expected = if host == "::1" { format!("[::1]:{port}") } else { format!("{host}:{port}") };
        ensure!(server == expected, "{server} in place of {expected}");
        ensure!(client.name.as_deref() == Some("psql"), "{client:?}");
        ensure!(client.exe.as_deref().is_some_and(|path| path.ends_with("/psql")), "{client:?}");
        let ancestors = client.ancestors.context("no ancestors")?;
        ensure!(ancestors.iter().any(|one| one.pid == std::process::id()), "{ancestors:?}");
    }
    // The listener of the proxy, from the same group; another program; and somebody else, past the proxy.
    let mut through = scene.direct(Place::Outside, "127.0.0.1");
    through.env("PGPORT", scene.port.to_string());
    check_served(&scene.run_within(&through)?)?;
    for (place, host) in ways {
        check_served(&run(&mut scene.direct(place, host))?).with_context(|| format!("{host}, {place:?}, another"))?;
    }
    scene.stage.agent.events().wait_for("the end of the sessions", wait::PATIENCE, |all| {
        (events::closed(all).count() > ways.len()).then_some(())
    })?;
    let metrics = scene.stage.agent.metrics()?;
    let counted = format!("warder_bypass_refused_total{{database=\"test\"}} {}", ways.len());
    ensure!(metrics.lines().any(|line| line == counted), "{counted} is missing in\n{metrics}");
    let ledger = scene.stage.ledger_after_stop()?;
    let expected = [("bypass/tcp_direct", ways.len() as u64), ("mediated", 1)];
    ensure!(ledger == expected.map(|(class, count)| (class.to_owned(), count)).into(), "{ledger:?}");
    ensure!(scene.refused(0)?.len() == ways.len(), "a connection was refused that was served");
    Ok(())
}

#[test]
fn a_server_that_listens_everywhere_is_closed_on_all_its_addresses() -> Result<()> {
    let mut options = StageOptions::guarded(&[]);
    options.cluster.listen = "*".into();
    let scene = Scene::start_with(Cgroup::create()?, options)?;
    scene.wait_refusing(true)?;
    let inside = scene.stage.namespace.inside.clone();
    let hosts = [(Place::Inside, "127.0.0.1"), (Place::Inside, "127.9.9.9"), (Place::Inside, "::1")];
    for (place, host) in hosts.into_iter().chain([(Place::Inside, &*inside), (Place::Outside, &inside)]) {
        check_refused(&scene.within(place, host)?).with_context(|| format!("{host}, {place:?}"))?;
    }
    Ok(())
}

#[test]
fn a_port_that_no_database_has_is_open_to_the_group() -> Result<()> {
    let scene = Scene::start(&[])?;
    let other = std::net::TcpListener::bind("127.0.0.1:0")?;
    let words = format!("echo > /dev/tcp/127.0.0.1/{}", other.local_addr()?.port());
    let mut connect = Command::new("bash");
    connect.args(["-c", &words]);
    check_served(&process::run_any(&mut scene.group.enter(&connect)?)?)
}

#[test]
fn without_a_proxy_that_serves_nothing_is_refused() -> Result<()> {
    let mut scene = Scene::start(&[])?;
    check_refused(&scene.within(Place::Inside, "127.0.0.1")?)?;
    // The kernel process hangs: the programs are there, and refuse nothing.
    let kernel_process = scene.stage.agent.pid()?;
    process::send(kernel_process, Signal::SIGSTOP)?;
    let hanging = scene.wait_served_within();
    let attached = scene.group.links()?;
    process::send(kernel_process, Signal::SIGCONT)?;
    hanging?;
    ensure!(attached == 2, "{attached} programs are attached");
    scene.wait_refused_within()?;
    scene.stage.agent.kill()?;
    scene.wait_served_within()?;
    ensure!(scene.group.links()? == 0, "programs are left of an agent that was killed");
    scene.stage.agent.run()?;
    scene.wait_refusing(true)?;
    check_refused(&scene.within(Place::Inside, "127.0.0.1")?)?;
    scene.stage.agent.stop()?;
    ensure!(scene.group.links()? == 0, "programs are left of an agent that was stopped");
    check_served(&scene.within(Place::Inside, "127.0.0.1")?)
}

#[test]
fn an_operator_ends_it_and_begins_it_again() -> Result<()> {
    let scene = Scene::start(&[])?;
    check_refused(&scene.within(Place::Inside, "127.0.0.1")?)?;
    for words in [&["steer", "off"][..], &["unload"]] {
        ensure!(scene.group.links()? == 2, "no programs are attached");
        process::run(&mut scene.stage.agent.command(words))?;
        ensure!(scene.group.links()? == 0, "{words:?} has left programs");
        check_served(&scene.within(Place::Inside, "127.0.0.1")?)?;
        let state = scene.stage.state()?;
        ensure!(state["refusing"] == false, "{state}");
        // It also steers: what would have been refused is taken to the proxy now.
        process::run(&mut scene.stage.agent.command(&["steer", "on"]))?;
        scene.wait_refusing(true)?;
    }
    Ok(())
}

#[test]
fn what_steering_takes_is_not_refused() -> Result<()> {
    let group = Cgroup::create()?;
    let stage = Stage::start_steered(&StageOptions::steered(&[&refuse(&group)]))?;
    stage.wait_state("what is refused", |state| state["refusing"] == true)?;
    let mut scene = Scene { stage, port: 0, group };
    let inside = scene.stage.namespace.inside.clone();
    for (place, host) in [(Place::Inside, "127.0.0.1"), (Place::Inside, "::1"), (Place::Outside, &inside)] {
        check_served(&scene.within(place, host)?).with_context(|| host.to_owned())?;
    }
    let ledger = scene.stage.ledger_after_stop()?;
    ensure!(ledger == [("mediated".to_owned(), 3)].into(), "{ledger:?}");
    Ok(())
}

#[test]
fn an_allowed_source_is_not_refused() -> Result<()> {
    let rule = "[[database.proxy.direct]]\nname = \"local\"\nsource = \"127.0.0.1/32\"";
    let scene = Scene::start(&[rule])?;
    check_served(&scene.within(Place::Inside, "127.0.0.1")?)?;
    let inside = scene.stage.namespace.inside.clone();
    for host in ["::1", &inside] {
        check_refused(&scene.within(Place::Inside, host)?).with_context(|| host.to_owned())?;
    }
    // Which address it will have is not known before it has a route: it passes, and is told as a bypass.
    check_served(&scene.within(Place::Outside, &inside)?)
}

#[test]
fn a_group_that_comes_later_and_comes_again_is_found() -> Result<()> {
    let scene = Scene::start_with(Cgroup::place()?, StageOptions::guarded(&[]))?;
    scene.stage.wait_state("a remark", |state| {
        let remarks = state["remarks"].as_array().map(Vec::as_slice).unwrap_or_default();
        state["refusing"] == false && remarks.iter().any(|one| one.to_string().contains("cannot be opened"))
    })?;
    for _ in 0..2 {
        scene.group.make()?;
        scene.wait_refused_within()?;
        std::fs::remove_dir(scene.group.folder().join("below"))?;
        scene.group.remove()?;
        scene.wait_refusing(false)?;
    }
    Ok(())
}
