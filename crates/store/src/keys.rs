//! The journal's key on disk: made at the first start, exchanged without a moment in which none is there.
//!
//! `KEY` is the private key (0600), `KEY.pub` the public one (0644), for whoever verifies. During an exchange the new
//! one waits as `KEY.next` until the journal has recorded that it follows.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use journal::hash::JournalId;
use journal::key::{KEY_FILE_BYTES_MAX, KeyError, KeyId, PublicKey, Secret, SigningKey};
use nix::fcntl::OFlag;
use zeroize::Zeroizing;

const PRIVATE_MODE: u32 = 0o600;
const PUBLIC_MODE: u32 = 0o644;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// A file cannot be read or written.
    #[error("cannot use the key file {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is there and is no key.
    #[error("{} is not the journal's key", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
        /// Why.
        source: KeyError,
    },
    /// Others may read it.
    #[error("{} may be read by others (mode {mode:03o}): whoever read it has the key; make a new one, or chmod 600 if nobody did", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
}

/// The private key files of one journal.
#[derive(Debug)]
pub struct KeyFiles {
    path: PathBuf,
    current: SigningKey,
    next: Option<SigningKey>,
}

impl KeyFiles {
    /// Reads the key, or makes one where there is none.
    pub fn load_or_create(path: &Path) -> Result<Self, KeyFileError> {
        let current = match read_private(path)? {
            Some(key) => key,
            None => {
                let key = new_key(path)?;
                write_private(path, &key)?;
                key
            }
        };
        let files = Self { path: path.to_owned(), current, next: read_private(&next_path(path))? };
        files.publish()?;
        Ok(files)
    }

    /// The key to sign with: the one that the journal says is in force, if one of the files is that one. An exchange
    /// that was interrupted is finished, or forgotten if the journal does not know of it.
    pub(crate) fn settle(self, in_force: Option<KeyId>) -> Result<(SigningKey, KeyPlace), KeyFileError> {
        let place = KeyPlace(self.path);
        match self.next {
            Some(next) if in_force == Some(next.public().id()) => {
                place.finish()?;
                return Ok((next, place));
            }
            Some(_) => fs::remove_file(next_path(&place.0)).map_err(error(&place.0))?,
            None => {}
        }
        Ok((self.current, place))
    }

    fn publish(&self) -> Result<(), KeyFileError> {
        let path = public_path(&self.path);
        let text = self.current.public().to_pem();
        match fs::read(&path) {
            Ok(found) if found == text.as_bytes() => Ok(()),
            _ => write(&path, text.as_bytes(), PUBLIC_MODE),
        }
    }
}

/// Where the key is.
#[derive(Debug)]
pub(crate) struct KeyPlace(PathBuf);

impl KeyPlace {
    /// Makes the next key and writes it down.
    pub(crate) fn prepare(&self) -> Result<SigningKey, KeyFileError> {
        let next = new_key(&self.0)?;
        write_private(&next_path(&self.0), &next)?;
        Ok(next)
    }

    /// The next key is in force: from now on it is the only one.
    pub(crate) fn finish(&self) -> Result<(), KeyFileError> {
        fs::rename(next_path(&self.0), &self.0).map_err(error(&self.0))?;
        KeyFiles::load_or_create(&self.0).map(|_| ())
    }
}

/// Reads a public key file.
pub fn read_public(path: &Path) -> Result<PublicKey, KeyFileError> {
    let file = File::open(path).map_err(error(path))?;
    let mut text = String::new();
    file.take(KEY_FILE_BYTES_MAX as u64).read_to_string(&mut text).map_err(error(path))?;
    PublicKey::from_pem(&text).map_err(|source| KeyFileError::NoKey { path: path.to_owned(), source })
}

/// A number that no other journal has.
pub(crate) fn random_journal_id() -> io::Result<JournalId> {
    let mut bytes = [0; 16];
    entropy(&mut bytes)?;
    Ok(JournalId(bytes))
}

fn read_private(path: &Path) -> Result<Option<SigningKey>, KeyFileError> {
    let Some(text) = read_secret(path)? else { return Ok(None) };
    let key = SigningKey::from_pem(&text).map_err(|source| KeyFileError::NoKey { path: path.to_owned(), source })?;
    Ok(Some(key))
}

/// Reads a file that holds a secret; `None` if there is none. One that others may read is refused.
pub fn read_secret(path: &Path) -> Result<Option<Zeroizing<String>>, KeyFileError> {
    // A pipe in its place must not make the agent wait for a writer.
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = match OpenOptions::new().read(true).custom_flags(flags.bits()).open(path) {
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(error(path))?,
    };
    let mode = file.metadata().map_err(error(path))?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyFileError::Exposed { path: path.to_owned(), mode });
    }
    let mut text = Zeroizing::new(String::with_capacity(KEY_FILE_BYTES_MAX));
    file.take(KEY_FILE_BYTES_MAX as u64).read_to_string(&mut text).map_err(error(path))?;
    Ok(Some(text))
}

/// Writes a file that holds a secret: readable to its owner only, whole or not at all.
pub fn write_secret(path: &Path, text: &str) -> Result<(), KeyFileError> {
    write(path, text.as_bytes(), PRIVATE_MODE)
}

/// 32 of the kernel's random bytes, for a key in this file.
pub fn random_secret(path: &Path) -> Result<Zeroizing<[u8; 32]>, KeyFileError> {
    let mut bytes = Zeroizing::new([0; 32]);
    entropy(&mut *bytes).map_err(error(path))?;
    Ok(bytes)
}

fn new_key(path: &Path) -> Result<SigningKey, KeyFileError> {
    Ok(SigningKey::new(&Secret::take(&mut *random_secret(path)?)))
}

/// The kernel's random numbers.
fn entropy(bytes: &mut [u8]) -> io::Result<()> {
    File::open("/dev/urandom")?.read_exact(bytes)
}

fn write_private(path: &Path, key: &SigningKey) -> Result<(), KeyFileError> {
    write_secret(path, &key.to_pem())
}

/// Whole or not at all, also after a power failure.
fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), KeyFileError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    let temporary = PathBuf::from(name);
    let written = (|| {
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
    })();
    written.map_err(error(path))
}

fn next_path(path: &Path) -> PathBuf {
    with_ending(path, ".next")
}

fn public_path(path: &Path) -> PathBuf {
    with_ending(path, ".pub")
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

fn error(path: &Path) -> impl FnOnce(io::Error) -> KeyFileError {
    let path = path.to_owned();
    move |source| KeyFileError::File { path, source }
}
