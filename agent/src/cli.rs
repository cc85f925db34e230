//! The command line: what can be asked, and how it is answered.

mod access;
mod api;
mod classify;
mod evidence;
mod exec;
mod grant;
mod login;
mod mcp;
mod policy;
mod setup;
mod steer;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use search::filter::FilterError;
use search::query::{ResumeError, SearchError};

use crate::config::{Config, ConfigError};
use crate::control::client;
use crate::terminal::{self, Terminal};
use crate::{core_process, coverage, doctor, policy_files, privileges, run, sessions_view, timeline, worker_process};

const EXIT_CODES: &str = "Exit codes: 0 done; 1 it could not be done (for doctor: this host cannot be observed); \
2 wrong usage or configuration.";

/// Watches PostgreSQL sessions from the kernel and records who said what.
#[derive(Debug, Parser)]
#[command(name = "warder", version, after_help = EXIT_CODES, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Observe until stopped (root)
    Run(ConfigArg),
    /// List the live sessions
    #[command(after_help = EXIT_CODES)]
    Sessions(Sessions),
    /// Show what was recorded, also when the agent is not running
    #[command(after_help = EXIT_CODES)]
    Timeline(Timeline),
    /// Show what went through the proxy, what did not, and what was not seen
    #[command(after_help = EXIT_CODES)]
    Coverage(Coverage),
    /// Find records, newest first
    Search(evidence::Search),
    /// Play a session as it went, with its pauses
    #[command(after_help = EXIT_CODES)]
    Replay(evidence::Replay),
    /// Check what a journal proves
    Verify(evidence::Verify),
    /// Print the proof of one record, for somebody who must not see the others
    #[command(after_help = EXIT_CODES)]
    Prove(evidence::Prove),
    /// Check such a proof
    VerifyProof(evidence::VerifyProof),
    /// Find out what this host can observe, and what to do about the rest
    #[command(after_help = EXIT_CODES)]
    Doctor(Doctor),
    /// Get a token from an identity provider and keep it in a file
    #[command(after_help = EXIT_CODES)]
    Login(login::Login),
    /// Run a command as whoever a token is about: what it does with databases is theirs, and that of all it starts
    Exec(exec::Exec),
    /// Send connections through the proxy, or stop that, while the database runs
    #[command(subcommand)]
    Steer(steer::Steer),
    /// Give the host back: take away all steering, whatever state it is in (root; needs no agent)
    #[command(after_help = EXIT_CODES)]
    Unload(steer::Unload),
    /// See and end the access that was minted for sessions
    #[command(subcommand)]
    Access(access::Access),
    /// Ask for access for a time, see who has it, decide
    #[command(subcommand)]
    Grant(grant::Grant),
    /// Serve an AI agent: what can be reached, statements, grants, as tools of the Model Context Protocol (MCP) on
    /// standard input and output
    #[command(after_help = EXIT_CODES)]
    Mcp(mcp::Mcp),
    /// Serve grants over HTTP: ask, look, decide, each with one's own token; not as root
    #[command(after_help = EXIT_CODES)]
    Api(api::Api),
    /// Prepare a server
    #[command(subcommand)]
    Setup(setup::Setup),
    /// Look at a sample of a database, and propose a masking file for review
    #[command(after_help = EXIT_CODES)]
    Classify(classify::Classify),
    /// Work with policies before they take effect
    #[command(subcommand)]
    Policy(policy::Policy),
    /// Look for missed sessions now (operator)
    Scan(Ask),
    /// Work with the journal (operator)
    #[command(subcommand)]
    Journal(JournalCommand),
    /// Work with the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print the version
    Version,
    /// The unprivileged part of `run`, started by it
    #[command(hide = true)]
    Core,
    /// A process of the proxy, started by `run`
    #[command(hide = true)]
    Worker,
    /// Look up a server's functions, started by `run`
    #[command(hide = true)]
    Symbols,
}

#[derive(Debug, Args)]
struct ConfigArg {
    /// Configuration file [default: /etc/warder/warder.toml, if there is one]
    #[arg(short, long = "config", value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Sessions {
    /// Refresh every second until Ctrl-C
    #[arg(long)]
    live: bool,
    /// One JSON object per session and line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArg,
}

#[derive(Debug, Args)]
struct Timeline {
    /// Only this session: its id, a unique beginning of it, or its cookie (the last number)
    session: Option<String>,
    /// From when on: 24h, 7d, 2026-11-22 [default: all that the journal has]
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only the newest records, so many (checkpoints and segments are not counted)
    #[arg(long, value_name = "RECORDS", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    last: Option<u32>,
    /// Continue with what happens from now on, until Ctrl-C
    #[arg(short, long)]
    follow: bool,
    /// The records as they are, one JSON object per line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    journal: evidence::JournalArg,
}

#[derive(Debug, Args)]
struct Coverage {
    /// From when on: 24h, 7d, 2026-11-22 [default: all that the journal has]
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// One JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    journal: evidence::JournalArg,
}

#[derive(Debug, Args)]
struct Doctor {
    /// One JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArg,
}

#[derive(Debug, Args)]
struct Ask {
    /// One JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArg,
}

#[derive(Debug, Subcommand)]
enum JournalCommand {
    /// Make another key sign from now on; the old one vouches for it
    #[command(after_help = EXIT_CODES)]
    RotateKey(Ask),
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Check the configuration; every mistake is one line with its remedy
    #[command(after_help = EXIT_CODES)]
    Check(ConfigArg),
}

impl ConfigArg {
    fn load(&self) -> Result<Config, ConfigError> {
        Config::load(self.config.as_deref())
    }
}

/// Parses the command line, does what it says, and tells how it went.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match dispatch(cli.command) {
        Ok(code) => code,
        Err(error) => report(&error),
    }
}

/// One line per error: what happened, then its causes. A closed pipe is the reader's choice, not an error.
fn report(error: &anyhow::Error) -> ExitCode {
    if let Some(config) = error.downcast_ref::<ConfigError>() {
        eprintln!("{config}");
        return ExitCode::from(2);
    }
    let not_recorded = matches!(error.downcast_ref(), Some(SearchError::NotRecorded { .. }));
    let wrong_filter =
        not_recorded || error.downcast_ref::<FilterError>().is_some() || error.downcast_ref::<ResumeError>().is_some();
    let closed_pipe = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<std::io::Error>().is_some_and(|io| io.kind() == std::io::ErrorKind::BrokenPipe)
    };
    if error.chain().any(closed_pipe) && error.downcast_ref::<client::ClientError>().is_none() {
        return ExitCode::SUCCESS;
    }
    eprintln!("warder: {}", terminal::escape(&format!("{error:#}")));
    if wrong_filter { ExitCode::from(2) } else { ExitCode::FAILURE }
}

fn dispatch(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Run(config) => run::run(&config.load()?)?,
        Command::Core => core_process::run()?,
        Command::Worker => worker_process::run()?,
        Command::Symbols => privileges::symbols()?,
        Command::Login(arguments) => arguments.run()?,
        Command::Exec(arguments) => return arguments.run(),
        Command::Steer(arguments) => arguments.run()?,
        Command::Grant(arguments) => arguments.run()?,
        Command::Mcp(arguments) => arguments.run()?,
        Command::Api(arguments) => arguments.run()?,
        Command::Setup(arguments) => arguments.run()?,
        Command::Access(arguments) => arguments.run()?,
        Command::Unload(arguments) => arguments.run()?,
        Command::Sessions(arguments) => sessions(&arguments)?,
        Command::Timeline(arguments) => show_timeline(&arguments)?,
        Command::Coverage(arguments) => show_coverage(arguments)?,
        Command::Search(arguments) => return arguments.run(),
        Command::Replay(arguments) => return arguments.run(),
        Command::Verify(arguments) => return arguments.run(),
        Command::Prove(arguments) => arguments.run()?,
        Command::VerifyProof(arguments) => return arguments.run(),
        Command::Doctor(arguments) => return examine(&arguments),
        Command::Classify(arguments) => arguments.run()?,
        Command::Policy(arguments) => return arguments.run(),
        Command::Scan(arguments) => scan(&arguments)?,
        Command::Journal(JournalCommand::RotateKey(arguments)) => rotate_key(&arguments)?,
        Command::Config(ConfigCommand::Check(config)) => return check_config(&config.load()?),
        Command::Version => terminal::print(&format!("warder {}\n", env!("CARGO_PKG_VERSION")))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn sessions(arguments: &Sessions) -> anyhow::Result<()> {
    let socket = arguments.config.load()?.agent.control_socket;
    let form = if arguments.json { sessions_view::Form::Json } else { sessions_view::Form::Table };
    if arguments.live { sessions_view::watch(&socket, form) } else { sessions_view::show(&socket, form) }
}

fn show_timeline(arguments: &Timeline) -> anyhow::Result<()> {
    timeline::show(&timeline::Question {
        directory: arguments.journal.directory()?,
        session: arguments.session.clone(),
        since: arguments.since.clone(),
        last: arguments.last.map(usize::try_from).transpose()?,
        end: if arguments.follow { timeline::End::Follow } else { timeline::End::Stop },
        form: if arguments.json { timeline::Form::Json } else { timeline::Form::Text },
    })
}

fn show_coverage(arguments: Coverage) -> anyhow::Result<()> {
    let directory = arguments.journal.directory()?;
    coverage::show(&coverage::Question { directory, since: arguments.since, json: arguments.json })
}

fn examine(arguments: &Doctor) -> anyhow::Result<ExitCode> {
    let config = arguments.config.load()?;
    let findings = doctor::examine(&doctor::host::Host::this(), &config);
    let text = if arguments.json { doctor::json(&findings)? } else { doctor::text(&findings, Terminal::stdout()) };
    terminal::print(&text)?;
    Ok(if doctor::can_observe(&findings) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn scan(arguments: &Ask) -> anyhow::Result<()> {
    let found = client::scan(&arguments.config.load()?.agent.control_socket)?;
    let text = if arguments.json {
        serde_json::to_string(&found)? + "\n"
    } else {
        format!(
            "{} sessions; {} had been opened and {} closed unseen ({:.1} ms)\n",
            found.sessions,
            found.missed_open,
            found.missed_close,
            std::time::Duration::from_micros(found.duration_us).as_secs_f64() * 1e3
        )
    };
    Ok(terminal::print(&text)?)
}

fn rotate_key(arguments: &Ask) -> anyhow::Result<()> {
    let config = arguments.config.load()?;
    let view = client::rotate_key(&config.agent.control_socket)?;
    let text = if arguments.json {
        serde_json::to_string(&view)? + "\n"
    } else {
        let file = config.journal.key_file.display().to_string();
        format!(
            "key {} signs from now on; keep its public half, {}.pub, off this host\n",
            view.key,
            terminal::escape(&file)
        )
    };
    Ok(terminal::print(&text)?)
}

/// The file, and the policies that it names: with either of them wrong the agent would not start.
fn check_config(config: &Config) -> anyhow::Result<ExitCode> {
    let source = match &config.path {
        Some(path) => path.display().to_string(),
        None => format!("no file at {}: defaults", Path::new(crate::config::DEFAULT_PATH).display()),
    };
    let databases = match &*config.databases {
        [] => "every server whose executable is called postgres".to_owned(),
        some => some.iter().map(|database| &*database.name).collect::<Vec<_>>().join(", "),
    };
    let source = terminal::escape(&source);
    let mut code = ExitCode::SUCCESS;
    for database in &*config.databases {
        let paths = database.guard.as_ref().map_or(&[][..], |guard| &guard.policies);
        if !paths.is_empty()
            && let Err(problem) = policy_files::load(paths, 0)
        {
            for line in format!("{problem:#}").lines() {
                eprintln!("{source}: policies of {}: {}", database.name, terminal::escape(line));
            }
            code = ExitCode::from(2);
        }
    }
    if code == ExitCode::SUCCESS {
        terminal::print(&format!("{source}: correct; observes {databases}\n"))?;
    }
    Ok(code)
}
