//! A real OpenID Connect issuer on loopback (`drivers/issuer.mjs`), for as long as the value lives.
//!
//! This file uses no other of this crate, so that `identity`'s own tests share it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

/// How long one may live: a test takes some seconds.
const ISSUER_SECONDS_MAX: &str = "300";

/// A running issuer. Dropped, it ends: its standard input is closed.
pub struct Provider {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    folder: TempDir,
    /// Its `iss`.
    pub issuer: String,
}

impl Provider {
    /// Starts it. `node_environment` has the package `oidc-provider` in its `node_modules`.
    ///
    /// # Errors
    /// When openssl or node refuse.
    pub fn start(node_environment: &Path) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let (certificate, key) = certificate(folder.path())?;
        let script =
            Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|folder| folder.join("tests/drivers/issuer.mjs"));
        let script = script.into_iter().find(|path| path.is_file()).context("tests/drivers/issuer.mjs")?;
        // An issuer that hangs fails its test, and does not keep it for ever.
        let mut command = Command::new("timeout");
        command.args(["--signal=KILL", ISSUER_SECONDS_MAX, "node"]);
        command.arg(script).args([certificate, key]).env("NODE_PATH", node_environment.join("node_modules"));
        // Its notices would fill a pipe that nobody reads.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().context("node")?;
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().context("standard output")?);
        let mut provider = Self { child, input, output, folder, issuer: String::new() };
        provider.issuer = provider.line()?;
        ensure!(provider.issuer.starts_with("https://"), "the issuer did not start: is oidc-provider installed?");
        Ok(provider)
    }

    /// The certificate to trust.
    #[must_use]
    pub fn ca_file(&self) -> PathBuf {
        self.folder.path().join("authority.pem")
    }

    /// What a person does in a browser: confirms the code, as `account`.
    ///
    /// # Errors
    /// When no login has that code.
    pub fn approve(&mut self, user_code: &str, account: &str) -> Result<String> {
        self.say(&format!("approve {user_code} {account}"))
    }

    /// The person says no.
    ///
    /// # Errors
    /// When no login has that code.
    pub fn decline(&mut self, user_code: &str) -> Result<String> {
        self.say(&format!("decline {user_code}"))
    }

    /// A token of the service `nightly-report`, by the client credentials grant.
    ///
    /// # Errors
    /// When there is none.
    pub fn service_token(&mut self) -> Result<String> {
        self.say("service")
    }

    /// Other keys from now on.
    ///
    /// # Errors
    /// When it has ended.
    pub fn rotate(&mut self) -> Result<String> {
        self.say("rotate")
    }

    fn say(&mut self, line: &str) -> Result<String> {
        writeln!(self.input.as_mut().context("standard input")?, "{line}")?;
        let answer = self.line()?;
        ensure!(!answer.starts_with("error: "), "{line}: {answer}");
        Ok(answer)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        ensure!(line.ends_with('\n'), "the issuer has ended: is oidc-provider installed, or did it hang?");
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ended = self.child.wait();
    }
}

/// An authority in `authority.pem`, and certificate and key of a server at 127.0.0.1.
fn certificate(folder: &Path) -> Result<(PathBuf, PathBuf)> {
    let path = |name: &str| folder.join(name);
    let request = |subject: &str, name: &str, extra: &[&str]| -> Result<()> {
        let mut command = Command::new("openssl");
        command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]);
        command.args(["-subj", subject, "-keyout"]).arg(path(&format!("{name}.key")));
        command.arg("-out").arg(path(&format!("{name}.pem"))).args(extra).current_dir(folder);
        let output = command.output().context("openssl")?;
        ensure!(output.status.success(), "openssl req: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    };
    request("/CN=Warder test authority", "authority", &[])?;
    let signed = ["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"];
    let by = ["-CA", "authority.pem", "-CAkey", "authority.key"];
    request("/CN=127.0.0.1", "server", &[signed, by].concat())?;
    Ok((path("server.pem"), path("server.key")))
}
