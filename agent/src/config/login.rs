//! `[database.proxy.login]`: how clients log in.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::check::Checker;
use super::file;

/// `NAMEDATALEN - 1` of PostgreSQL.
const ROLE_BYTES_MAX: usize = 63;

/// How clients of a database log in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Login {
    /// As without the proxy.
    #[default]
    PassThrough,
    /// With a token as the password; the proxy logs in as a service account.
    Token(Account),
}

/// The service account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// The role.
    pub user: String,
    /// File with its password; `None`: the server asks for none.
    pub password_file: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    PassThrough,
    Token,
}

const MODES: [(&str, Word); 2] = [("pass-through", Word::PassThrough), ("token", Word::Token)];

impl Checker {
    pub(super) fn login(&mut self, guard: &file::Guard) -> Login {
        let Some(entry) = &guard.login else { return Login::PassThrough };
        let fields = entry.get_ref();
        let mode = self.word(&fields.mode, "database.proxy.login.mode", &MODES).unwrap_or(Word::PassThrough);
        if mode == Word::PassThrough {
            if let Some(named) = fields.user.as_ref().or(fields.password_file.as_ref()) {
                let what = "clients log in themselves: no service account is used";
                self.mistake_at(named, "database.proxy.login.user", what, "remove it, or set mode = \"token\"");
            }
            return Login::PassThrough;
        }
        if guard.policies.is_empty() {
            let what = "without policies nobody asks who acts, and tokens would go unused";
            self.mistake_at(entry, "database.proxy.login.mode", what, "set policies = [...] in [database.proxy]");
        }
        let Some(user) = &fields.user else {
            let what = "the proxy needs a role to log in as";
            self.mistake_at(entry, "database.proxy.login.user", what, "add user = \"...\", a role with few rights");
            return Login::PassThrough;
        };
        let length = user.get_ref().len();
        if !(1..=ROLE_BYTES_MAX).contains(&length) || user.get_ref().contains('\0') {
            let what = format!("no role has a name of {length} bytes");
            self.mistake_at(user, "database.proxy.login.user", &what, &format!("use 1 to {ROLE_BYTES_MAX}"));
        }
        let password_file = fields.password_file.as_ref().map(|path| {
            let mut checked = PathBuf::new();
            self.absolute("database.proxy.login.password_file", path, &mut checked);
            checked
        });
        Login::Token(Account { user: user.get_ref().clone(), password_file })
    }
}
