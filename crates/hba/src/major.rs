//! The server's major version: the same bytes mean different things to 13, 15 and 16.

/// A major version of PostgreSQL, 13 or later (`PG_VERSION` in the data directory).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Major(u16);

impl Major {
    /// The newest version whose rules are known here. Later ones are read as this one.
    pub const NEWEST: Self = Self(18);

    /// A version; `None` before 13.
    #[must_use]
    pub const fn new(major: u16) -> Option<Self> {
        if major < 13 { None } else { Some(Self(major)) }
    }

    /// The number.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0
    }

    /// A backslash at the end of a line continues it.
    pub(crate) const fn continues_lines(self) -> bool {
        self.0 >= 14
    }

    /// `include`, `include_if_exists` and `include_dir` are records, and `/` begins a regular expression.
    pub(crate) const fn has_includes_and_patterns(self) -> bool {
        self.0 >= 16
    }

    /// A token has a length limit.
    pub(crate) const fn limits_tokens(self) -> bool {
        self.0 < 16
    }

    pub(crate) const fn has_clientname(self) -> bool {
        self.0 >= 14
    }

    /// `clientcert` may be `0`, `1` and `no-verify`.
    pub(crate) const fn has_numeric_clientcert(self) -> bool {
        self.0 < 14
    }

    pub(crate) const fn has_oauth(self) -> bool {
        self.0 >= 18
    }

    /// Refusals say `SSL on` and `SSL off`, and name every kind of replication as such.
    pub(crate) const fn refuses_in_old_words(self) -> bool {
        self.0 < 14
    }
}
