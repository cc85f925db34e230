//! Authentication methods.

use std::fmt;

use crate::major::Major;

/// A method of the last column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each is the method of that name in the manual")]
pub enum Method {
    Trust,
    Reject,
    ScramSha256,
    Md5,
    Password,
    Gss,
    Sspi,
    Ident,
    Peer,
    Ldap,
    Radius,
    Cert,
    Pam,
    Bsd,
    /// From 18 on.
    Oauth,
}

/// Methods with their names.
const NAMES: [(Method, &str); 15] = [
    (Method::Trust, "trust"),
    (Method::Reject, "reject"),
    (Method::ScramSha256, "scram-sha-256"),
    (Method::Md5, "md5"),
    (Method::Password, "password"),
    (Method::Gss, "gss"),
    (Method::Sspi, "sspi"),
    (Method::Ident, "ident"),
    (Method::Peer, "peer"),
    (Method::Ldap, "ldap"),
    (Method::Radius, "radius"),
    (Method::Cert, "cert"),
    (Method::Pam, "pam"),
    (Method::Bsd, "bsd"),
    (Method::Oauth, "oauth"),
];

impl Method {
    /// Its name in the file.
    #[must_use]
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(method, _)| *method == self).map_or("", |(_, name)| name)
    }

    pub(crate) fn parse(text: &[u8], major: Major) -> Option<Self> {
        let (method, _) = NAMES.iter().find(|(_, name)| name.as_bytes() == text)?;
        (*method != Self::Oauth || major.has_oauth()).then_some(*method)
    }
}

impl fmt::Display for Method {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}
