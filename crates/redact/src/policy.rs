//! What configuration says about values in statements: nothing, literals, parameters or both; by database and role.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// Which values of a statement are replaced by fingerprints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mode {
    /// None: only secrets are taken out.
    #[default]
    None,
    /// Literals and comments of the text.
    Literals,
    /// Bound parameters.
    Parameters,
    /// Literals, comments and parameters.
    Both,
}

impl Mode {
    /// Whether the text loses its literals.
    #[must_use]
    pub fn covers_literals(self) -> bool {
        matches!(self, Self::Literals | Self::Both)
    }

    /// Whether parameters lose their values.
    #[must_use]
    pub fn covers_parameters(self) -> bool {
        matches!(self, Self::Parameters | Self::Both)
    }

    /// Everything that one of the two replaces.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        match (self, other) {
            (Self::None, mode) | (mode, Self::None) => mode,
            (Self::Literals, Self::Literals) => Self::Literals,
            (Self::Parameters, Self::Parameters) => Self::Parameters,
            _ => Self::Both,
        }
    }
}

/// Not the name of a mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownMode;

impl fmt::Display for UnknownMode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("not a kind of redaction; use none, literals, parameters or both")
    }
}

impl std::error::Error for UnknownMode {}

impl FromStr for Mode {
    type Err = UnknownMode;

    fn from_str(name: &str) -> Result<Self, UnknownMode> {
        match name {
            "none" => Ok(Self::None),
            "literals" => Ok(Self::Literals),
            "parameters" => Ok(Self::Parameters),
            "both" => Ok(Self::Both),
            _ => Err(UnknownMode),
        }
    }
}

/// Whose statement it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope<'a> {
    /// Name of the database in the configuration.
    pub database: &'a str,
    /// The role that the session logged in as; `None`: not known.
    pub role: Option<&'a str>,
}

/// The modes of databases and roles. The most specific one counts: role in that database, role, database, default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    default: Mode,
    roles: BTreeMap<String, Mode>,
    databases: BTreeMap<String, Database>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Database {
    mode: Option<Mode>,
    roles: BTreeMap<String, Mode>,
}

impl Policy {
    /// The same for everybody.
    #[must_use]
    pub fn new(default: Mode) -> Self {
        Self { default, ..Self::default() }
    }

    /// Another mode for a database (by its name in the configuration).
    pub fn set_database(&mut self, database: &str, mode: Mode) {
        self.databases.entry(database.to_owned()).or_default().mode = Some(mode);
    }

    /// Another mode for a role, in every database.
    pub fn set_role(&mut self, role: &str, mode: Mode) {
        self.roles.insert(role.to_owned(), mode);
    }

    /// Another mode for a role in one database.
    pub fn set_role_in(&mut self, database: &str, role: &str, mode: Mode) {
        self.databases.entry(database.to_owned()).or_default().roles.insert(role.to_owned(), mode);
    }

    /// The mode for a statement. Where the role is not known, everything is replaced that would be for any role.
    #[must_use]
    pub fn mode(&self, scope: &Scope<'_>) -> Mode {
        let database = self.databases.get(scope.database);
        let of_database = database.and_then(|database| database.mode).unwrap_or(self.default);
        let Some(role) = scope.role else {
            let in_database = database.into_iter().flat_map(|database| database.roles.values());
            let elsewhere =
                self.roles.iter().filter(|(role, _)| !database.is_some_and(|d| d.roles.contains_key(*role)));
            return in_database.chain(elsewhere.map(|(_, mode)| mode)).fold(of_database, |all, &mode| all.union(mode));
        };
        let in_database = database.and_then(|database| database.roles.get(role));
        in_database.or_else(|| self.roles.get(role)).copied().unwrap_or(of_database)
    }

    /// Whether no statement of anybody is changed by this policy.
    #[must_use]
    pub fn is_none(&self) -> bool {
        let databases = self.databases.values();
        let modes = databases.flat_map(|database| database.mode.iter().chain(database.roles.values()));
        modes.chain(self.roles.values()).chain([&self.default]).all(|&mode| mode == Mode::None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Policy {
        let mut policy = Policy::new(Mode::Literals);
        policy.set_database("shop", Mode::None);
        policy.set_role("batch", Mode::Parameters);
        policy.set_role_in("shop", "batch", Mode::Both);
        policy.set_role_in("audit", "reader", Mode::None);
        policy
    }

    #[track_caller]
    fn check(database: &str, role: Option<&str>, expected: Mode) {
        assert_eq!(policy().mode(&Scope { database, role }), expected, "{database} {role:?}");
    }

    #[test]
    fn the_most_specific_mode_counts() {
        check("other", Some("alice"), Mode::Literals);
        check("shop", Some("alice"), Mode::None);
        check("other", Some("batch"), Mode::Parameters);
        check("shop", Some("batch"), Mode::Both);
        check("audit", Some("reader"), Mode::None);
        check("audit", Some("alice"), Mode::Literals);
    }

    #[test]
    fn an_unknown_role_may_be_any() {
        check("shop", None, Mode::Both);
        check("audit", None, Mode::Both);
        let mut policy = Policy::new(Mode::None);
        policy.set_role("batch", Mode::Literals);
        policy.set_role_in("shop", "batch", Mode::None);
        assert_eq!(policy.mode(&Scope { database: "other", role: None }), Mode::Literals);
        assert_eq!(policy.mode(&Scope { database: "shop", role: None }), Mode::None);
        assert!(!policy.is_none());
        assert!(Policy::default().is_none());
    }

    #[test]
    fn modes_unite_and_have_names() {
        let modes = ["none", "literals", "parameters", "both"].map(|name| name.parse::<Mode>().unwrap());
        for a in modes {
            for b in modes {
                let both = a.union(b);
                assert_eq!(both.covers_literals(), a.covers_literals() || b.covers_literals());
                assert_eq!(both.covers_parameters(), a.covers_parameters() || b.covers_parameters());
            }
        }
        assert_eq!("None".parse::<Mode>(), Err(UnknownMode));
    }
}
