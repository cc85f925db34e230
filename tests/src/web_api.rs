//! `warder api` beside a governed server, under an account of its own.

use std::fs::File;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::Result;
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::account::Account;
use crate::certificate::Certificate;
use crate::governed::Governed;
use crate::https::Client;
use crate::process::{self, Running};
use crate::{directory, wait};

/// The program, and a client for it.
pub struct WebApi {
    /// By TLS.
    pub client: Client,
    running: Running,
    folder: TempDir,
}

impl WebApi {
    /// Starts it with the configuration of the agent and further lines of `[api]`.
    ///
    /// # Errors
    /// When it does not listen.
    pub fn start(governed: &Governed, lines: &[String]) -> Result<Self> {
        let (folder, account, port) = (directory::private("api")?, Account::nobody()?, directory::free_port()?);
        let files = directory::owned(folder.path(), "tls", &account, 0o700)?;
        let Certificate { authority, certificate, key } = Certificate::create(&files, &account)?;
        let mut text = std::fs::read_to_string(governed.stage.agent.configuration())?;
        text.push_str(&format!("[api]\nlisten = \"127.0.0.1:{port}\"\ncertificate = {certificate:?}\nkey = {key:?}\n"));
        lines.iter().for_each(|line| text.push_str(&format!("{line}\n")));
        let configuration = folder.path().join("warder.toml");
        std::fs::write(&configuration, text)?;
        let log = File::create(folder.path().join("log"))?;
        let mut command = process::command_as(&account, governed.stage.agent.binary());
        command.arg("api").arg("-c").arg(&configuration).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let running = Running::start("warder api", Signal::SIGTERM, &mut command)?;
        let api = Self { client: Client::trusting(port, &authority)?, running, folder };
        wait::until("the API", wait::PATIENCE, || Ok(api.client.connect().is_ok().then_some(())))?;
        Ok(api)
    }

    /// What it has logged.
    ///
    /// # Errors
    /// When that cannot be read.
    pub fn log(&self) -> Result<String> {
        Ok(std::fs::read_to_string(self.folder.path().join("log"))?)
    }

    /// Whether it still runs.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn alive(&mut self) -> Result<bool> {
        self.running.alive()
    }

    /// A file of its account that nobody else can read.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn secret_file(folder: &TempDir, name: &str, secret: &str) -> Result<PathBuf> {
        let path = folder.path().join(name);
        directory::write_owned(&path, &format!("{secret}\n"), &Account::nobody()?, 0o600)?;
        Ok(path)
    }
}
