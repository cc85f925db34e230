//! The comment of a role: for whom it is, until when, and whose it is to take away.

use journal::time::Timestamp;
use model::id::{BootId, HostId, SocketCookie};
use model::time::WallTime;
use serde::{Deserialize, Serialize};

/// Longest name of a principal in a comment, in bytes; what is longer is cut. The journal has all of it.
pub const PRINCIPAL_BYTES_MAX: usize = 256;
/// Longest comment that is looked at.
const NOTE_BYTES_MAX: usize = 4096;
/// Form of the comment. Fields are only ever added.
const VERSION: u32 = 1;

/// What a comment says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Host of the agent that made the role.
    pub host: HostId,
    /// Its boot: sockets have their numbers within it.
    pub boot: BootId,
    /// The client's connection.
    pub connection: SocketCookie,
    /// When the access ends at the latest; written without what is below a microsecond.
    pub until: WallTime,
    /// The role whose rights it has, and to whom what it owns goes.
    pub group: String,
    /// For whom: the principal's name, and behind it those for whom he acts. For people.
    pub principal: String,
}

/// As it is written: readable in `\du+`.
#[derive(Serialize, Deserialize)]
struct Form {
    warder: u32,
    principal: String,
    until: Timestamp,
    group: String,
    host: String,
    boot: String,
    connection: String,
}

impl Note {
    /// The comment.
    #[must_use]
    pub fn text(&self) -> String {
        let form = Form {
            warder: VERSION,
            principal: cut(&self.principal).to_owned(),
            until: Timestamp(self.until),
            group: self.group.clone(),
            host: format!("{:032x}", self.host.0),
            boot: format!("{:032x}", self.boot.0),
            connection: self.connection.0.to_string(),
        };
        // Texts and a number: there is nothing that JSON cannot say.
        serde_json::to_string(&form).unwrap_or_default()
    }

    /// Reads a comment; `None`: somebody else wrote it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > NOTE_BYTES_MAX {
            return None;
        }
        let form: Form = serde_json::from_str(text).ok().filter(|form: &Form| form.warder == VERSION)?;
        Some(Self {
            host: HostId(u128::from_str_radix(&form.host, 16).ok()?),
            boot: BootId(u128::from_str_radix(&form.boot, 16).ok()?),
            connection: SocketCookie(form.connection.parse().ok()?),
            until: form.until.0,
            group: form.group,
            principal: form.principal,
        })
    }
}

/// As much of the names of a principal as a comment has room for.
#[must_use]
pub fn cut(text: &str) -> &str {
    let end = (0..=PRINCIPAL_BYTES_MAX.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text.get(..end.unwrap_or_default()).unwrap_or_default()
}
