//! The service account of one database: what proves it is read from files that only root can read, watched, and told to
//! the workers.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use proxy::OwnCertificate;
use tracing::{info, warn};
use zeroize::Zeroizing;

use super::access::State;
use super::workers::Workers;
use crate::config::login::{Credential, Login};
use crate::worker_link::{CredentialKind, GuardedDatabase, ToWorker};

/// Longest password; the server takes no longer one.
const PASSWORD_BYTES_MAX: usize = 1000;
/// Longest certificate or key.
const PEM_BYTES_MAX: usize = 16 << 10;

/// A service account with what proves it.
pub(super) struct ServiceLogin {
    database: u16,
    credential: Credential,
    kind: CredentialKind,
    record: Zeroizing<Vec<u8>>,
    seen: [Option<State>; 2],
}

impl ServiceLogin {
    /// Reads the files for the first time: without them nobody could log in. `None`: clients log in themselves.
    pub(super) fn load(database: &GuardedDatabase) -> Result<Option<Self>> {
        let Login::Service(service) = &database.guard.login else { return Ok(None) };
        let credential = service.credential.clone();
        let (seen, (kind, record)) = (state(&credential), read(&credential)?);
        Ok(Some(Self { database: database.id, credential, kind, record, seen }))
    }

    /// Looks whether the files have changed.
    pub(super) fn turn(&mut self, workers: &Workers) {
        let seen = state(&self.credential);
        if seen == self.seen {
            return;
        }
        self.seen = seen;
        match read(&self.credential) {
            Ok((kind, record)) => {
                (self.kind, self.record) = (kind, record);
                workers.ready().into_iter().for_each(|number| self.tell(workers, number));
                info!("the credential of a service account has changed and was read again");
            }
            Err(problem) => warn!("a changed credential cannot be used, the one before it goes on: {problem:#}"),
        }
    }

    /// Tells one worker.
    pub(super) fn tell(&self, workers: &Workers, number: u32) {
        let message = ToWorker::ServiceAccount { database: self.database, credential: self.kind };
        workers.tell(number, &message, &self.record, &[]);
    }
}

fn state(credential: &Credential) -> [Option<State>; 2] {
    match credential {
        Credential::Nothing => [None, None],
        Credential::Password(path) => [State::of(path), None],
        Credential::Certificate(files) => [State::of(&files.certificate), State::of(&files.private_key)],
    }
}

fn read(credential: &Credential) -> Result<(CredentialKind, Zeroizing<Vec<u8>>)> {
    match credential {
        Credential::Nothing => Ok((CredentialKind::Nothing, Zeroizing::default())),
        Credential::Password(path) => Ok((CredentialKind::Password, password(path)?)),
        Credential::Certificate(files) => {
            let about = || format!("{} cannot be used", files.certificate.display());
            let chain = fs::read(&files.certificate).with_context(about)?;
            ensure!(chain.len() <= PEM_BYTES_MAX, "{}: it has more than {PEM_BYTES_MAX} bytes", about());
            let key = secret(&files.private_key, "private key", PEM_BYTES_MAX)?;
            // Of a pair that is half written nothing is told.
            OwnCertificate::from_pem(&chain, &key).with_context(about)?;
            let kind = CredentialKind::Certificate { chain_bytes: chain.len() };
            Ok((kind, Zeroizing::new([chain.as_slice(), &key].concat())))
        }
    }
}

/// The content of a file that nobody but root reads; longer than `bytes_max`, the beginning of it.
fn secret(path: &Path, what: &str, bytes_max: usize) -> Result<Zeroizing<Vec<u8>>> {
    let about = || format!("the {what} file {} cannot be used", path.display());
    let file = fs::File::open(path).with_context(about)?;
    let mode = file.metadata().with_context(about)?.permissions().mode() & 0o777;
    ensure!(mode & 0o077 == 0, "{}: others can read it (mode {mode:o}); chmod 600 it", about());
    // Its whole room at once: a vector that grows leaves copies behind.
    let mut content = Zeroizing::new(Vec::with_capacity(bytes_max + 64));
    file.take(bytes_max as u64 + 2).read_to_end(&mut content).with_context(about)?;
    Ok(content)
}

/// The password in a file: its first line, which is all of it.
fn password(path: &Path) -> Result<Zeroizing<Vec<u8>>> {
    let mut password = secret(path, "password", PASSWORD_BYTES_MAX)?;
    if password.last() == Some(&b'\n') {
        password.pop();
    }
    let is_one = !password.is_empty() && password.len() <= PASSWORD_BYTES_MAX && !password.contains(&b'\n');
    let about = format!("the password file {} cannot be used", path.display());
    ensure!(is_one && !password.contains(&0), "{about}: write one line of 1 to {PASSWORD_BYTES_MAX} bytes");
    Ok(password)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(content: &str, mode: u32) -> Result<Vec<u8>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        password(&path).map(|password| password.to_vec()).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn a_password_is_one_line_that_only_root_reads() {
        assert_eq!(file("open sesame\n", 0o600), Ok(b"open sesame".to_vec()));
        assert_eq!(file("open sesame", 0o400), Ok(b"open sesame".to_vec()));
        assert!(file("open sesame\n", 0o640).is_err_and(|error| error.contains("chmod 600")));
        for wrong in ["", "\n", "a\nb\n", &"a".repeat(PASSWORD_BYTES_MAX + 1)] {
            assert!(file(wrong, 0o600).is_err_and(|error| error.contains("one line")), "{wrong:?}");
        }
    }
}
