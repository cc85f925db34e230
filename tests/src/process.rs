//! Programs that are started, waited for and stopped: by pid, never by name.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::account::Account;
use crate::wait;

/// How long a program may take to follow its stop signal before it is killed: an agent without optimisation, under load.
/// systemd waits 90 s.
const STOP_LIMIT: Duration = Duration::from_secs(45);

/// A command that runs `program` as `account` and that dies with the thread that starts it.
#[must_use]
pub fn command_as(account: &Account, program: impl AsRef<OsStr>) -> Command {
    let mut command = dependent_command("TERM");
    command.args(["--reuid", &account.uid.to_string(), "--regid", &account.gid.to_string(), "--clear-groups", "--"]);
    command.arg(program);
    command
}

/// A command that runs `program` as the caller and gets `signal` when the thread that starts it ends.
#[must_use]
pub fn command_dependent(signal: &str, program: impl AsRef<OsStr>) -> Command {
    let mut command = dependent_command(signal);
    command.arg("--").arg(program);
    command
}

/// `setpriv` sets the parent-death signal and then becomes the program: same pid, same arguments.
fn dependent_command(signal: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", signal]);
    command
}

/// A running program, stopped when the value is dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    output: Option<BufReader<ChildStdout>>,
    name: String,
    stop: Signal,
}

impl Running {
    /// Starts `command`; `stop` is the signal that asks it to end.
    ///
    /// # Errors
    /// When it can not be started.
    pub fn start(name: &str, stop: Signal, command: &mut Command) -> Result<Self> {
        let mut child = command.spawn().with_context(|| format!("{name} could not be started"))?;
        let output = child.stdout.take().map(BufReader::new);
        Ok(Self { child, output, name: name.to_owned(), stop })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it has gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        send(self.pid(), signal)
    }

    /// Writes to its standard input, which must be piped.
    ///
    /// # Errors
    /// When it does not read any more.
    pub fn write_line(&mut self, line: &str) -> Result<()> {
        let input = self.child.stdin.as_mut().with_context(|| format!("{} has no piped input", self.name))?;
        writeln!(input, "{line}").with_context(|| format!("{} reads no more", self.name))
    }

    /// Closes its standard input.
    pub fn close_input(&mut self) {
        drop(self.child.stdin.take());
    }

    fn output(&mut self) -> Result<&mut BufReader<ChildStdout>> {
        self.output.as_mut().with_context(|| format!("{} has no piped output", self.name))
    }

    /// Reads one line of its standard output, which must be piped; without the line end.
    ///
    /// # Errors
    /// When it ended first.
    pub fn read_line(&mut self) -> Result<String> {
        let mut line = String::new();
        let length = self.output()?.read_line(&mut line)?;
        ensure!(length > 0, "{} prints no more", self.name);
        Ok(line.trim_end().to_owned())
    }

    /// Whether it still runs.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn alive(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// When that takes longer than `limit`.
    pub fn wait(&mut self, limit: Duration) -> Result<std::process::ExitStatus> {
        let (child, name) = (&mut self.child, &self.name);
        wait::until(&format!("the end of {name}"), limit, || Ok(child.try_wait()?))
    }

    /// Waits until the session of a `psql` is cut. It looks at its connection when it is told to do something.
    ///
    /// # Errors
    /// When the session goes on.
    pub fn wait_cut(&mut self) -> Result<()> {
        wait::until("the end of a session", wait::PATIENCE, || {
            let _has_ended = self.write_line("select 1 where false;");
            Ok((!self.alive()?).then_some(()))
        })
    }

    /// Asks it to stop and waits; kills it when it does not follow.
    ///
    /// # Errors
    /// When it had to be killed.
    pub fn stop(&mut self) -> Result<()> {
        if !self.alive()? {
            return Ok(());
        }
        self.signal(self.stop)?;
        if self.wait(STOP_LIMIT).is_ok() {
            return Ok(());
        }
        self.child.kill()?;
        self.child.wait()?;
        bail!("{} did not follow {} within {} s and was killed", self.name, self.stop, STOP_LIMIT.as_secs())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("warning: {error:#}");
        }
    }
}

/// Sends a signal to one process.
///
/// # Errors
/// When it has gone.
pub fn send(pid: u32, signal: Signal) -> Result<()> {
    kill(Pid::from_raw(i32::try_from(pid)?), signal).with_context(|| format!("process {pid} could not get {signal}"))
}

/// Runs a command to its end and returns what it printed.
///
/// # Errors
/// When it fails: with its command line, status and messages.
pub fn run(command: &mut Command) -> Result<Output> {
    let output = run_any(command)?;
    ensure!(
        output.status.success(),
        "{} ended with {}\n{}{}",
        line(command),
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(output)
}

/// Runs a command to its end, whatever its status is.
///
/// # Errors
/// When it can not be started.
pub fn run_any(command: &mut Command) -> Result<Output> {
    command.stdin(Stdio::null()).output().with_context(|| format!("{} could not be started", line(command)))
}

/// The command line of a command, for messages.
#[must_use]
pub fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

/// Direct children of a process, from `/proc`.
///
/// # Errors
/// When the process has gone.
pub fn children(pid: u32) -> Result<Vec<u32>> {
    let mut found = Vec::new();
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let list = std::fs::read_to_string(task?.path().join("children")).unwrap_or_default();
        found.extend(list.split_whitespace().filter_map(|word| word.parse::<u32>().ok()));
    }
    Ok(found)
}

/// What a process is called.
///
/// # Errors
/// When the process has gone.
pub fn name(pid: u32) -> Result<String> {
    Ok(std::fs::read_to_string(format!("/proc/{pid}/comm"))?.trim_end().to_owned())
}

/// Whether a process has ended: it is gone, or waits for somebody to ask for its status.
#[must_use]
pub fn ended(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.lines().find_map(|line| line.strip_prefix("State:")).is_none_or(|state| state.trim().starts_with(['Z', 'X']))
}

/// A process and everything that it started, as far as it is still related.
///
/// # Errors
/// When the process has gone.
pub fn family(pid: u32) -> Result<Vec<u32>> {
    let mut members = vec![pid];
    let mut next = 0;
    while let Some(&member) = members.get(next) {
        members.extend(children(member).unwrap_or_default());
        next += 1;
    }
    Ok(members)
}

/// Resident memory of a process in bytes: `Rss` of all mappings in `/proc/PID/smaps` but those of BPF maps, which
/// are charged to the maps themselves.
///
/// # Errors
/// When the process has gone.
pub fn resident_bytes(pid: u32) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps"))?;
    let (mut kibibytes, mut is_map) = (0, false);
    for line in text.lines() {
        if let Some(rss) = line.strip_prefix("Rss:").filter(|_| !is_map) {
            kibibytes += rss.trim().trim_end_matches("kB").trim().parse::<u64>()?;
        } else if !line.split(' ').next().is_some_and(|word| word.ends_with(':')) {
            // The first line of a mapping: its addresses, and what is mapped.
            is_map = line.ends_with("anon_inode:bpf-map");
        }
    }
    ensure!(kibibytes > 0, "process {pid} has ended");
    Ok(kibibytes * 1024)
}
