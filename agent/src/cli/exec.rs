//! `warder exec`.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use clap::Args;

use crate::exec_socket::{self, DEFAULT_PATH};
use crate::terminal;
use crate::token_file::TokenFile;

/// Statuses of the shells and of env(1).
const NOT_FOUND: u8 = 127;
const NOT_STARTED: u8 = 126;

#[derive(Debug, Args)]
#[command(after_help = "Exit codes: that of the command; 1 the token was not bound, and the command was not started; \
2 wrong usage; 126 the command cannot be started; 127 there is no such command.")]
pub(super) struct Exec {
    /// File with the token, as `warder login` keeps it [default: warder/token below $XDG_STATE_HOME or ~/.local/state]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// What it is for: recorded with everything that the command does
    #[arg(long, value_name = "TEXT")]
    purpose: Option<String>,
    /// The agent's socket for this; it is beside its control_socket
    #[arg(long, value_name = "SOCKET", default_value = DEFAULT_PATH)]
    socket: PathBuf,
    /// Command and arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

impl Exec {
    /// This process becomes the command: its terminal, signals, user and exit status are nobody else's. It returns only
    /// where that fails.
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let token = TokenFile::new(self.token_file)?.token()?;
        exec_socket::client::bind(&self.socket, &token, self.purpose.as_deref())?;
        drop(token);
        let mut words = self.command.into_iter();
        let program = words.next().unwrap_or_default();
        let error = Command::new(&program).args(words).exec();
        eprintln!("warder: {}: {error}", terminal::escape(&program.to_string_lossy()));
        let status = if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { NOT_STARTED };
        Ok(ExitCode::from(status))
    }
}
