//! `[database.catalogue]`: the login with which the agent reads what a database has.

use std::path::PathBuf;
use std::time::Duration;

use toml::Spanned;

use super::check::{Checker, ROLE_BYTES_MAX};
use super::{Database, file};

/// How often the catalogue is read unless the configuration says otherwise.
const REFRESH: Duration = Duration::from_secs(60);

/// A role that may log in and has no other right (`warder setup postgres` makes one).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogueLogin {
    /// Its name, 1 to 63 bytes.
    pub user: String,
    /// File with its password, read anew for each connection; absolute.
    pub password_file: PathBuf,
    /// How often the catalogue is read, besides after each change that the proxy sees.
    pub refresh: Duration,
}

impl Checker {
    pub(super) fn catalogue(
        &mut self,
        entry: &Spanned<file::Catalogue>,
        database: &Database,
    ) -> Option<CatalogueLogin> {
        let fields = entry.get_ref();
        if database.guard.as_ref().is_none_or(|guard| guard.policies.is_empty()) {
            let what = "only policies need to know what the database has";
            self.mistake_at(entry, "database.catalogue", what, "add policies to [database.proxy], or remove it");
        }
        let (Some(user), Some(path)) = (&fields.user, &fields.password_file) else {
            let what = "a login needs a role and its password";
            let remedy = "add user = \"...\" and password_file = \"...\"; `warder setup postgres` makes the role";
            self.mistake_at(entry, "database.catalogue", what, remedy);
            return None;
        };
        if !(1..=ROLE_BYTES_MAX).contains(&user.get_ref().len()) {
            let what = format!("\"{}\" is not the name of a role", user.get_ref());
            self.mistake_at(user, "database.catalogue.user", &what, &format!("use 1 to {ROLE_BYTES_MAX} bytes"));
        }
        let mut password_file = PathBuf::new();
        self.absolute("database.catalogue.password_file", path, &mut password_file);
        let mut seconds = REFRESH.as_secs();
        self.number("database.catalogue.refresh_seconds", &fields.refresh_seconds, 1..=86_400, &mut seconds);
        Some(CatalogueLogin { user: user.get_ref().clone(), password_file, refresh: Duration::from_secs(seconds) })
    }
}
