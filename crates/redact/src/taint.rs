//! Does a statement's text speak of a secret?
//!
//! The words are looked for everywhere (identifiers, literals, comments) and in any case: a word too much
//! costs literals, a word too little costs a password. `token` alone is not among them: it is an ordinary
//! word in too many schemas; `…_token` at the end of a name is.

use crate::blank::{self, continues_identifier, is_space};
use crate::mark::{self, Mark, has};
use crate::uri::{End, Passwords};
use crate::{argv, issued};

/// Objects whose definition may carry a password.
const SECRET_HOLDERS: [&str; 5] = ["role", "user", "group", "subscription", "server"];

/// Whether the text speaks of a secret.
pub(crate) fn is_tainted(text: &str) -> bool {
    let mut judge = Judge::new(text.as_bytes());
    mark::any(text.as_bytes(), |mark, at| {
        if mark == Mark::Uri { judge.first_uri() && has_password(text) } else { judge.confirms(mark, at) }
    })
}

/// Whether the text defines or alters something that has a `PASSWORD '...'` clause or `OPTIONS (...)`: there a
/// word without quotes behind PASSWORD is a password whose quotes were forgotten.
pub(crate) fn defines_secret(text: &str) -> bool {
    let mut judge = Judge::new(text.as_bytes());
    mark::any(text.as_bytes(), |mark, at| matches!(mark, Mark::Cre | Mark::Alt | Mark::Opt) && judge.confirms(mark, at))
}

/// Whether a bound value is a secret by its own form, whatever the statement.
pub(crate) fn is_secret_value(value: &str) -> bool {
    let mut judge = Judge::new(value.as_bytes());
    let mut assigns = None;
    mark::any(value.as_bytes(), |mark, at| match mark {
        Mark::Uri => judge.first_uri() && Passwords::new(value, End::Whole).next().is_some(),
        Mark::Pas | Mark::Pwd | Mark::Sec | Mark::Api | Mark::Tok | Mark::Key => {
            *assigns.get_or_insert_with(|| crate::assignment::Secrets::new(value).next().is_some())
        }
        Mark::Scr | Mark::Md5 | Mark::Eyj | Mark::Bea => judge.confirms(mark, at),
        _ => false,
    })
}

fn has_password(text: &str) -> bool {
    Passwords::new(text, End::Cut).next().is_some()
}

/// Looks at marks more closely, and remembers what spans several of them.
struct Judge<'a> {
    text: &'a [u8],
    /// CREATE or ALTER was seen.
    defines: bool,
    /// A `U&` literal or identifier was seen: names may be spelled in escapes.
    escapes: bool,
    uri_seen: bool,
    command_seen: bool,
    /// How many more bytes of blanks and comments may be skipped before the text counts as obfuscated. Comments
    /// within comments behind many a CREATE would otherwise make the work quadratic.
    blanks_left: usize,
}

impl<'a> Judge<'a> {
    fn new(text: &'a [u8]) -> Self {
        let blanks_left = text.len().saturating_mul(4);
        Self { text, defines: false, escapes: false, uri_seen: false, command_seen: false, blanks_left }
    }

    /// True for the first URI only: its check covers the whole text.
    fn first_uri(&mut self) -> bool {
        !std::mem::replace(&mut self.uri_seen, true)
    }

    #[cold]
    fn confirms(&mut self, mark: Mark, at: usize) -> bool {
        let text = self.text;
        match mark {
            Mark::Pas => {
                ["password", "passwd", "passphrase"].iter().any(|word| has(text, at, word))
                    || has(text, at, "pass") && self.is_part(at, 4)
            }
            Mark::Pwd => self.is_part(at, 3),
            Mark::Pri => has(text, at, "private key"),
            // A header, not a clause: behind the word of a clause is a blank.
            Mark::Aut => has(text, at, "authorization") && matches!(text.get(at + 13), Some(b'\'' | b'"' | b':')),
            Mark::Pro => has(text, at, "program") && self.is_part(at, 7) && self.first_command_has_secret(at + 7),
            Mark::Com => has(text, at, "_command") && self.first_command_has_secret(at + 8),
            Mark::Sec => has(text, at, "secret"),
            Mark::Bea => has(text, at, "bearer") && self.is_end_or(at + 6, is_space),
            Mark::Api => ["api_key", "apikey", "api-key"].iter().any(|word| has(text, at, word)),
            Mark::Dbl => has(text, at, "dblink"),
            Mark::Cre if has(text, at, "credential") => true,
            Mark::Cre => has(text, at, "create") && self.defines_holder(at + 6),
            Mark::Alt => has(text, at, "alter") && self.defines_holder(at + 5),
            Mark::Opt => self.is_options_clause(at),
            Mark::UnicodeLiteral | Mark::UnicodeIdentifier => {
                self.escapes = true;
                self.defines
            }
            Mark::Uri => false,
            Mark::Scr => has(text, at, "scram-sha-256$"),
            Mark::Md5 => self.is_followed_by(at + 3, 32, u8::is_ascii_hexdigit),
            Mark::Con => has(text, at, "conninfo"),
            Mark::Cry => has(text, at, "crypt") && self.is_call(at + 5),
            Mark::Hma => has(text, at, "hmac") && self.is_call(at + 4),
            // Every JSON object that begins with a name begins so in base64: `{"`.
            Mark::Eyj => text[at..].starts_with(b"eyJ") && self.is_followed_by(at + 3, 16, is_base64),
            Mark::Issued => issued::begins(text, at),
            Mark::Tok => has(text, at, "_token") && self.is_end_or(at + 6, |byte| !continues_identifier(byte)),
            Mark::Key => has(text, at, "_key") && self.is_key_of_secret(at),
        }
    }

    /// A word, or a part of a name: `user_pass`.
    fn is_part(&self, at: usize, length: usize) -> bool {
        !self.is_letter(at.checked_sub(1)) && !self.is_letter(Some(at + length))
    }

    /// Whether a command line that the server is to run has a secret. Only the first is looked at, and everything behind
    /// it is part of it.
    fn first_command_has_secret(&mut self, at: usize) -> bool {
        let is_first = !std::mem::replace(&mut self.command_seen, true);
        is_first && argv::has_secret(&String::from_utf8_lossy(&self.text[at..]))
    }

    fn is_letter(&self, at: Option<usize>) -> bool {
        at.and_then(|at| self.text.get(at)).is_some_and(u8::is_ascii_alphabetic)
    }

    fn is_end_or(&self, at: usize, accepts: impl Fn(u8) -> bool) -> bool {
        self.text.get(at).is_none_or(|&byte| accepts(byte))
    }

    /// `count` accepted bytes follow, or fewer where the text ends (it may have been cut).
    fn is_followed_by(&self, at: usize, count: usize, accepts: impl Fn(&u8) -> bool) -> bool {
        let end = self.text.len().min(at + count);
        self.text.get(at..end).is_some_and(|bytes| !bytes.is_empty() && bytes.iter().all(accepts))
    }

    /// Where the next word begins; `None`: beyond what is sensible to skip.
    fn skip_blanks(&mut self, at: usize) -> Option<usize> {
        let end = blank::skip(self.text, at).ok()?;
        self.blanks_left = self.blanks_left.checked_sub(end - at)?;
        Some(end)
    }

    fn defines_holder(&mut self, verb_end: usize) -> bool {
        let Some(object) = self.skip_blanks(verb_end) else {
            return true;
        };
        if object == verb_end {
            return false;
        }
        self.defines = true;
        self.escapes
            || SECRET_HOLDERS.iter().any(|word| {
                let end = object + word.len();
                has(self.text, object, word) && self.is_end_or(end, |byte| !continues_identifier(byte))
            })
    }

    fn is_options_clause(&mut self, at: usize) -> bool {
        let starts = at.checked_sub(1).is_none_or(|before| !continues_identifier(self.text[before]));
        if !starts || !has(self.text, at, "options") {
            return false;
        }
        self.skip_blanks(at + 7).is_none_or(|next| self.text.get(next) == Some(&b'('))
    }

    /// The name that goes on at `at` is called: `crypt(`, `encrypt_iv (`.
    fn is_call(&mut self, at: usize) -> bool {
        let rest = &self.text[at..];
        // PostgreSQL cuts names at 63 bytes; a longer one is no function of pgcrypto.
        let name = rest.iter().take(64).take_while(|&&byte| continues_identifier(byte)).count();
        self.skip_blanks(at + name).is_none_or(|next| self.text.get(next) == Some(&b'('))
    }

    fn is_key_of_secret(&self, at: usize) -> bool {
        ["access", "private", "encryption", "signing"]
            .iter()
            .any(|kind| at.checked_sub(kind.len()).is_some_and(|start| has(self.text, start, kind)))
    }
}

fn is_base64(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'+' | b'/')
}
