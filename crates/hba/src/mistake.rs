//! What is wrong with a file. The server does not load a file with a single mistake.

use std::fmt;
use std::sync::Arc;

/// Where something stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Name of the file as it was given.
    pub file: Arc<str>,
    /// Line, from 1; of a continued line its first.
    pub line: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.file, self.line)
    }
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {wrong}")]
pub struct Mistake {
    /// Where.
    pub place: Place,
    /// What.
    pub wrong: Wrong,
}

/// Kinds of mistakes: first those of the server, then limits of this crate, which are wider than any real file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// The first word of a line.
    #[error("\"{0}\" is no connection type")]
    ConnectionType(String),
    /// A field that must be one value is a list.
    #[error("{0} must be one value")]
    Several(&'static str),
    /// The line is too short.
    #[error("the line ends before {0}")]
    Missing(&'static str),
    /// A host name has no network.
    #[error("\"{0}\" is no address and cannot have a mask")]
    NameWithMask(String),
    /// The number behind `/`.
    #[error("\"{0}\" has no valid number of bits")]
    MaskBits(String),
    /// The mask column.
    #[error("\"{0}\" is no mask for this address")]
    Mask(String),
    /// Unknown, or unknown to this version.
    #[error("\"{0}\" is no authentication method")]
    Method(String),
    /// `peer` with TCP, `gss` with Unix sockets, `cert` without TLS.
    #[error("{method} cannot be used with {connection}")]
    MethodHere {
        /// Method as written.
        method: &'static str,
        /// Connection type as written.
        connection: &'static str,
    },
    /// An option without `=`.
    #[error("\"{0}\" is not of the form name=value")]
    OptionForm(String),
    /// Unknown, or unknown to this version.
    #[error("\"{0}\" is no option")]
    OptionName(String),
    /// The option belongs to other methods or connection types.
    #[error("option {0} cannot be used on this line")]
    OptionHere(String),
    /// The value does not fit.
    #[error("option {0} cannot have this value")]
    OptionValue(String),
    /// The method needs an option.
    #[error("{method} needs the option {option}")]
    OptionMissing {
        /// Method as written.
        method: &'static str,
        /// The option.
        option: &'static str,
    },
    /// Options that exclude each other.
    #[error("options {0} cannot be used together")]
    OptionsTogether(&'static str),
    /// Another file is not there or cannot be read.
    #[error("\"{path}\" cannot be included: {why}")]
    Include {
        /// Path as written.
        path: String,
        /// What the caller said.
        why: String,
    },
    /// No rule at all.
    #[error("there is no rule")]
    Empty,
    /// A NUL byte.
    #[error("the line has a NUL byte")]
    Nul,
    /// More than this crate reads.
    #[error("more than {max} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The limit.
        max: usize,
    },
}

/// A text of the file for a message. It is the administrator's, but may be anything.
pub(crate) fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
