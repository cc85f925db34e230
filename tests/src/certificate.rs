//! A certificate authority of the cluster's own and a certificate for its server, made with openssl.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::account::Account;
use crate::process;

/// Files of a server's TLS identity.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// The authority that clients trust.
    pub authority: PathBuf,
    /// The server's certificate, for `localhost` and 127.0.0.1.
    pub certificate: PathBuf,
    /// The server's private key, readable by the server only.
    pub key: PathBuf,
}

impl Certificate {
    /// Makes both in `directory`, which belongs to `owner`.
    ///
    /// # Errors
    /// When openssl refuses.
    pub fn create(directory: &Path, owner: &Account) -> Result<Self> {
        let made = Self {
            authority: directory.join("authority.crt"),
            certificate: directory.join("server.crt"),
            key: directory.join("server.key"),
        };
        let authority_key = directory.join("authority.key");
        let request = |subject: &str, key: &Path, out: &Path| {
            let mut command = process::command_as(owner, "openssl");
            command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]);
            command.args(["-days", "30", "-subj", subject, "-keyout"]).arg(key).arg("-out").arg(out);
            command
        };
        process::run(&mut request("/CN=Warder test authority", &authority_key, &made.authority))?;
        let mut server: Command = request("/CN=localhost", &made.key, &made.certificate);
        server.args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]);
        server.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
        server.arg("-CA").arg(&made.authority).arg("-CAkey").arg(&authority_key);
        process::run(&mut server)?;
        Ok(made)
    }
}
