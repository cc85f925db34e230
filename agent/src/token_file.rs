//! Where `warder login` keeps a token: a file with the token alone, as `PGPASSWORD` and `warder exec` want it, and one
//! beside it with what a new one is got with. Only their owner can read them.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use identity::secret::Secret;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

const PRIVATE: u32 = 0o600;
const PRIVATE_FOLDER: u32 = 0o700;
/// Largest file with a refresh token.
const BYTES_MAX: u64 = 64 << 10;

/// The two files.
#[derive(Debug)]
pub(crate) struct TokenFile {
    path: PathBuf,
}

/// Whom to ask for a new token, and as whom.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct Renewal {
    pub(crate) issuer: String,
    pub(crate) client_id: String,
    pub(crate) scope: String,
    pub(crate) resource: Option<String>,
    pub(crate) ca_file: Option<PathBuf>,
}

/// Content of the second file.
#[derive(Deserialize, Serialize)]
struct Kept<'a> {
    renewal: Renewal,
    /// Borrowed, so that no copy is left in memory.
    #[serde(borrow)]
    refresh_token: &'a str,
}

impl TokenFile {
    /// The file at `path`, or at its usual place.
    pub(crate) fn new(path: Option<PathBuf>) -> Result<Self> {
        let path = match path {
            Some(path) => path,
            None => state_directory()?.join("token"),
        };
        Ok(Self { path })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes both, or removes the second where there is nothing to keep in it.
    pub(crate) fn keep(&self, token: &Secret, renewal: Option<(&Renewal, &Secret)>) -> Result<()> {
        if let Some(folder) = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            let made = DirBuilder::new().recursive(true).mode(PRIVATE_FOLDER).create(folder);
            made.with_context(|| folder.display().to_string())?;
        }
        match renewal {
            None => remove(&self.renewal_path())?,
            Some((renewal, refresh)) => {
                let refresh_token = str::from_utf8(refresh.expose()).context("the refresh token is no text")?;
                let kept = Kept { renewal: renewal.clone(), refresh_token };
                write(&self.renewal_path(), &Zeroizing::new(serde_json::to_vec(&kept)?))?;
            }
        }
        write(&self.path, &Zeroizing::new([token.expose(), b"\n"].concat()))
    }

    /// The token.
    pub(crate) fn token(&self) -> Result<Secret> {
        let text = read(&self.path).with_context(|| {
            format!(
                "{} cannot be read; name a file with --token-file, or get a token with `warder login`",
                self.path.display()
            )
        })?;
        let token = text.trim().as_bytes();
        let usable = !token.is_empty() && token.iter().all(u8::is_ascii_graphic);
        ensure!(usable, "{} is no token: one line is expected, without spaces", self.path.display());
        Ok(Secret::new(token.to_vec()))
    }

    /// What the last login left.
    pub(crate) fn renewal(&self) -> Result<(Renewal, Secret)> {
        let path = self.renewal_path();
        let text = read(&path).with_context(|| {
            format!("{} cannot be read; log in with --issuer, asking for the scope offline_access", path.display())
        })?;
        let Kept { renewal, refresh_token } = serde_json::from_str(&text)
            .with_context(|| format!("{} is damaged; log in with --issuer", path.display()))?;
        Ok((renewal, Secret::new(refresh_token.as_bytes().to_vec())))
    }

    fn renewal_path(&self) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(".refresh");
        path.into()
    }
}

/// Files of programs of a user that outlive them (XDG Base Directory Specification).
fn state_directory() -> Result<PathBuf> {
    let set = |name| std::env::var_os(name).map(PathBuf::from).filter(|path: &PathBuf| path.is_absolute());
    let home = || set("HOME").map(|home| home.join(".local").join("state"));
    let base = set("XDG_STATE_HOME").or_else(home);
    Ok(base.context("neither XDG_STATE_HOME nor HOME is set; name a file with --token-file")?.join("warder"))
}

/// Readers find the old content or the new one. A file that others could read is replaced, not written into.
fn write(path: &Path, content: &[u8]) -> Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}", std::process::id()));
    let temporary = PathBuf::from(name);
    let written = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(PRIVATE).open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    };
    written().inspect_err(|_| drop(std::fs::remove_file(&temporary))).with_context(|| path.display().to_string())
}

fn read(path: &Path) -> Result<Zeroizing<String>> {
    let file = std::fs::File::open(path)?;
    let mode = file.metadata()?.permissions().mode() & 0o777;
    ensure!(mode & 0o077 == 0, "others can read it (mode {mode:o}): chmod 600 it");
    let mut text = Zeroizing::new(String::new());
    file.take(BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).context(path.display().to_string()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn renewal() -> Renewal {
        Renewal {
            issuer: "https://issuer.example.com".into(),
            client_id: "warder".into(),
            scope: "openid".into(),
            resource: None,
            ca_file: None,
        }
    }

    fn secret(text: &str) -> Secret {
        Secret::new(text.as_bytes().to_vec())
    }

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn only_the_owner_can_read_what_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let file = TokenFile::new(Some(folder.path().join("state/warder/token"))).unwrap();
        file.keep(&secret("first"), None).unwrap();
        assert_eq!(mode(file.path().parent().unwrap()), 0o700);
        // A file that was open to all does not stay so.
        std::fs::set_permissions(file.path(), PermissionsExt::from_mode(0o644)).unwrap();
        file.keep(&secret("second"), Some((&renewal(), &secret("again")))).unwrap();
        assert_eq!((mode(file.path()), mode(&file.renewal_path())), (0o600, 0o600));
        assert_eq!(std::fs::read_to_string(file.path()).unwrap(), "second\n");
        assert_eq!(std::fs::read_dir(file.path().parent().unwrap()).unwrap().count(), 2, "nothing else is left");
    }

    #[test]
    fn what_a_login_leaves_is_found_and_forgotten_with_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let file = TokenFile::new(Some(folder.path().join("token"))).unwrap();
        assert!(file.renewal().is_err());
        file.keep(&secret("a"), Some((&renewal(), &secret("again")))).unwrap();
        let (found, refresh) = file.renewal().unwrap();
        assert_eq!((found, refresh.expose()), (renewal(), &b"again"[..]));
        std::fs::set_permissions(file.renewal_path(), PermissionsExt::from_mode(0o640)).unwrap();
        assert!(format!("{:#}", file.renewal().err().unwrap()).contains("chmod 600"));
        file.keep(&secret("b"), None).unwrap();
        assert!(!file.renewal_path().exists());
    }
}
