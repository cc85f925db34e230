//! The service account of one database: its password is read from a file that only root can read, watched, and told to
//! the workers.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use tracing::{info, warn};
use zeroize::Zeroizing;

use super::access::State;
use super::workers::Workers;
use crate::config::login::{Account, Login};
use crate::worker_link::{GuardedDatabase, ToWorker};

/// Longest password; the server takes no longer one.
const PASSWORD_BYTES_MAX: usize = 1000;

/// A service account with its password.
pub(super) struct ServiceLogin {
    database: u16,
    path: Option<PathBuf>,
    password: Zeroizing<Vec<u8>>,
    seen: Option<State>,
}

impl ServiceLogin {
    /// Reads the password for the first time: without it nobody could log in. `None`: clients log in themselves.
    pub(super) fn load(database: &GuardedDatabase) -> Result<Option<Self>> {
        let Login::Token(Account { password_file, .. }) = &database.guard.login else { return Ok(None) };
        let (seen, password) = match password_file {
            Some(path) => (State::of(path), read(path)?),
            None => (None, Zeroizing::default()),
        };
        Ok(Some(Self { database: database.id, path: password_file.clone(), password, seen }))
    }

    /// Looks whether the file has changed.
    pub(super) fn turn(&mut self, workers: &Workers) {
        let Some(path) = &self.path else { return };
        let seen = State::of(path);
        if seen == self.seen {
            return;
        }
        self.seen = seen;
        match read(path) {
            Ok(password) => {
                self.password = password;
                workers.ready().into_iter().for_each(|number| self.tell(workers, number));
                info!("the password of a service account has changed and was read again");
            }
            Err(problem) => warn!("a changed password cannot be used, the one before it goes on: {problem:#}"),
        }
    }

    /// Tells one worker.
    pub(super) fn tell(&self, workers: &Workers, number: u32) {
        workers.tell(number, &ToWorker::ServiceAccount { database: self.database }, &self.password, &[]);
    }
}

/// The password in a file: its first line, which is all of it.
fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>> {
    let about = || format!("the password file {} cannot be used", path.display());
    let file = fs::File::open(path).with_context(about)?;
    let mode = file.metadata().with_context(about)?.permissions().mode() & 0o777;
    ensure!(mode & 0o077 == 0, "{}: others can read it (mode {mode:o}); chmod 600 it", about());
    // Its whole room at once: a vector that grows leaves copies behind.
    let mut password = Zeroizing::new(Vec::with_capacity(PASSWORD_BYTES_MAX + 64));
    file.take(PASSWORD_BYTES_MAX as u64 + 2).read_to_end(&mut password).with_context(about)?;
    if password.last() == Some(&b'\n') {
        password.pop();
    }
    let is_one = !password.is_empty() && password.len() <= PASSWORD_BYTES_MAX && !password.contains(&b'\n');
    ensure!(is_one && !password.contains(&0), "{}: write one line of 1 to {PASSWORD_BYTES_MAX} bytes", about());
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
        read(&path).map(|password| password.to_vec()).map_err(|error| format!("{error:#}"))
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
