//! What of a session decides what a text means.

use std::collections::BTreeSet;
use std::sync::Arc;

use model::Known;
use model::facts::{StateChange, UnknownSchema};

use crate::changed::Changed;

/// Names of temporary objects that are followed; with more of them each name may be hidden by one. A table has at least two:
/// its own, and that of the type of its arrays.
pub const TEMPORARY_NAMES_MAX: usize = 1024;

/// The encoding of what the client sends (`client_encoding`), or in which the server keeps names (`server_encoding`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// `UTF8`.
    Utf8,
    /// `LATIN1`.
    Latin1,
    /// `SQL_ASCII`: bytes above 127 mean nothing certain.
    SqlAscii,
    /// Any other: texts beyond ASCII are not read.
    Other,
}

impl Encoding {
    /// The encoding with this name, as PostgreSQL compares them: letters and digits only.
    #[must_use]
    pub fn named(name: &str) -> Self {
        let name: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
        match name.to_ascii_lowercase().as_str() {
            "utf8" | "unicode" => Self::Utf8,
            "latin1" | "iso88591" => Self::Latin1,
            "sqlascii" => Self::SqlAscii,
            _ => Self::Other,
        }
    }
}

/// Temporary objects of the session: they hide others of their name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Temporary {
    /// There are none.
    #[default]
    None,
    /// These, sorted by name.
    Names(Arc<[TemporaryName]>),
    /// There may be any.
    Unknown,
}

/// The name of a temporary object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TemporaryName {
    /// It.
    pub name: Arc<str>,
    /// Only statements of this session that were followed have made it and written to it.
    pub is_followed: bool,
}

impl Temporary {
    /// These, of which some were followed all the time.
    #[must_use]
    pub fn listed(names: impl IntoIterator<Item = Arc<str>>, is_followed: impl Fn(&str) -> bool) -> Self {
        let names: BTreeSet<Arc<str>> = names.into_iter().collect();
        match names.len() {
            0 => Self::None,
            1..=TEMPORARY_NAMES_MAX => Self::Names(
                names.into_iter().map(|name| TemporaryName { is_followed: is_followed(&name), name }).collect(),
            ),
            _ => Self::Unknown,
        }
    }

    /// Whether a name may stand for one of them.
    #[must_use]
    pub fn may_hide(&self, name: &str) -> bool {
        matches!(self, Self::Unknown) || self.find(name).is_some()
    }

    /// Whether a name stands for one that was followed all the time.
    #[must_use]
    pub fn is_followed(&self, name: &str) -> bool {
        self.find(name).is_some_and(|known| known.is_followed)
    }

    /// Whether all of them were followed all the time.
    #[must_use]
    pub fn are_followed(&self) -> bool {
        match self {
            Self::None => true,
            Self::Names(names) => names.iter().all(|name| name.is_followed),
            Self::Unknown => false,
        }
    }

    fn find(&self, name: &str) -> Option<&TemporaryName> {
        let Self::Names(names) = self else { return None };
        names.get(names.binary_search_by(|known| (*known.name).cmp(name)).ok()?)
    }

    /// One that a statement has made. It may have found another one there.
    fn add(&mut self, name: Option<&Arc<str>>) {
        let (Some(name), Self::None | Self::Names(_)) = (name, &*self) else {
            *self = Self::Unknown;
            return;
        };
        if self.find(name).is_some() {
            return;
        }
        let before = std::mem::take(self);
        let known: &[TemporaryName] = if let Self::Names(names) = &before { names } else { &[] };
        let names = known.iter().map(|known| &known.name).chain([name]).cloned();
        *self = Self::listed(names, |listed| *listed == **name || before.is_followed(listed));
    }
}

/// What of a session decides what a text means.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// Schemas that unqualified names are looked up in, as the parameter has them: `$user` stands for the user.
    pub search_path: Known<Arc<[Arc<str>]>, UnknownSchema>,
    /// The path is as somebody has written it. The server leaves out schemas that the role has no right to use, so a name
    /// that several of them have may be any of these.
    pub path_is_written: bool,
    /// The role that `$user` stands for.
    pub user: Arc<str>,
    /// Whether a backslash in a plain string is only a backslash.
    pub standard_conforming_strings: bool,
    /// How texts are encoded.
    pub encoding: Encoding,
    /// How the server cuts and folds names.
    pub server_encoding: Encoding,
    /// Major version of the server, where it is known.
    pub server_major: Option<u16>,
    /// Names that temporary objects hide.
    pub temporary: Temporary,
    /// The open transaction has not set where names are looked up: its end leaves that as it is.
    pub settled: bool,
    /// What the session has changed in the catalogue since the snapshot.
    pub changed: Changed,
    /// The session made functions or operators since the snapshot: a name of the server may not mean the server's own.
    pub functions_changed: bool,
    /// A setting that decides how a text is read is not known: every text is opaque (`session_state`).
    pub undetermined: bool,
}

impl State {
    /// The state of a session that has changed nothing: the server's defaults.
    #[must_use]
    pub fn new(user: Arc<str>) -> Self {
        Self {
            search_path: Known::Known(Arc::from([Arc::from("$user"), Arc::from("public")])),
            path_is_written: false,
            user,
            standard_conforming_strings: true,
            encoding: Encoding::Utf8,
            server_encoding: Encoding::Utf8,
            server_major: None,
            temporary: Temporary::None,
            settled: true,
            changed: Changed::Nothing,
            functions_changed: false,
            undetermined: false,
        }
    }

    /// Follows a change that has succeeded. [`Session`](crate::session::Session) knows more: scopes, and what the defaults are.
    pub fn apply(&mut self, change: &StateChange) {
        match change {
            StateChange::Parameter { name, value, local: _ } => {
                self.settled &= !matches!(&**name, "search_path" | "role" | "session_authorization");
                self.set(name, value.as_deref());
            }
            // What the defaults are is not known here.
            StateChange::ResetAll => self.forget_parameters(),
            StateChange::DiscardAll => {
                self.forget_parameters();
                self.temporary = Temporary::None;
            }
            StateChange::Catalogue | StateChange::Relation { .. } => self.changed.note(change),
            StateChange::Functions => self.functions_changed = true,
            StateChange::Temporary { name } => self.temporary.add(name.as_ref()),
            StateChange::RolledBackTo => {
                self.changed.forget_made();
                self.forget_parameters();
            }
            StateChange::Prepared { .. }
            | StateChange::Executes { .. }
            | StateChange::Deallocated { .. }
            // The parameter `role` says which one.
            | StateChange::Role
            | StateChange::Begin => {}
            // A path that was local, or is rolled back: which one was there before is not kept here.
            StateChange::End => {
                self.changed.forget_made();
                if !self.settled {
                    self.search_path = Known::Unknown(UnknownSchema::SearchPath);
                }
            }
        }
    }

    fn set(&mut self, name: &str, value: Option<&str>) {
        match (name, value) {
            ("search_path", value) => {
                self.path_is_written = true;
                self.search_path =
                    value.and_then(names).map_or(Known::Unknown(UnknownSchema::SearchPath), Known::Known);
            }
            ("standard_conforming_strings", value) => match value.and_then(switch) {
                Some(on) => self.standard_conforming_strings = on,
                None => self.undetermined = true,
            },
            ("role" | "session_authorization", role) => self.become_role(role),
            ("client_encoding", Some(value)) => self.encoding = Encoding::named(value),
            ("client_encoding", None) => self.undetermined = true,
            _ => {}
        }
    }

    /// A path without `$user` may be one in which the server has put the role's own schema in its place.
    fn become_role(&mut self, role: Option<&str>) {
        let follows = self.search_path.known().is_some_and(|path| path.iter().any(|schema| **schema == *"$user"));
        match role {
            Some(role) if follows => (self.user, self.path_is_written) = (Arc::from(role), true),
            _ => self.search_path = Known::Unknown(UnknownSchema::SearchPath),
        }
    }

    fn forget_parameters(&mut self) {
        self.search_path = Known::Unknown(UnknownSchema::SearchPath);
        self.undetermined = true;
    }
}

/// A Boolean as the server reads one: unique prefixes are enough.
pub(crate) fn switch(text: &str) -> Option<bool> {
    let text = text.to_ascii_lowercase();
    let is = |word: &str, shortest: usize| text.len() >= shortest && word.starts_with(&text);
    if is("true", 1) || is("yes", 1) || is("on", 2) || text == "1" {
        Some(true)
    } else if is("false", 1) || is("no", 1) || is("off", 2) || text == "0" {
        Some(false)
    } else {
        None
    }
}

/// The names of a comma-separated list, unquoted and folded, as `SplitIdentifierString` of the server takes them.
fn names(list: &str) -> Option<Arc<[Arc<str>]>> {
    let mut names = Vec::new();
    let mut rest = list.trim_start();
    if rest.is_empty() {
        return Some(Arc::from([]));
    }
    loop {
        let (name, after) =
            if let Some(quoted) = rest.strip_prefix('"') { quoted_name(quoted)? } else { plain_name(rest)? };
        names.push(Arc::from(name));
        rest = after.trim_start();
        if rest.is_empty() {
            return Some(names.into());
        }
        rest = rest.strip_prefix(',')?.trim_start();
    }
}

fn quoted_name(mut rest: &str) -> Option<(String, &str)> {
    let mut name = String::new();
    loop {
        let (piece, after) = rest.split_once('"')?;
        name.push_str(piece);
        let Some(more) = after.strip_prefix('"') else { return Some((name, after)) };
        name.push('"');
        rest = more;
    }
}

fn plain_name(rest: &str) -> Option<(String, &str)> {
    let end = rest.find([',', ' ', '\t', '\n', '\r']).unwrap_or(rest.len());
    let (name, after) = rest.split_at(end);
    (!name.is_empty()).then(|| (name.to_ascii_lowercase(), after))
}

/// The parts of a name that is written as text, as in `nextval('app.orders_id_seq')`.
pub(crate) fn split_name(written: &str) -> Option<Vec<String>> {
    let mut parts = Vec::new();
    let mut rest = written.trim();
    loop {
        let (part, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_name(quoted)?,
            None => {
                let (part, after) = rest.split_at(rest.find('.').unwrap_or(rest.len()));
                (part.trim().to_ascii_lowercase(), after)
            }
        };
        if part.is_empty() {
            return None;
        }
        parts.push(part);
        let after = after.trim_start();
        if after.is_empty() {
            return Some(parts);
        }
        rest = after.strip_prefix('.')?.trim_start();
    }
}
