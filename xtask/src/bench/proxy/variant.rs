//! A way that is compared, with what is configured about it.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use warder_tests::relay::Encryption;
use warder_tests::route::Route;
use warder_tests::way::{Kind, PassageOptions};

/// Values of `tls` in `[database.proxy]`.
const TLS: [&str; 3] = ["server-certificate", "own-certificate", "relay"];
/// Values of `record`.
const RECORD: [&str; 3] = ["memory", "written", "durable"];

/// Limits that no measurement reaches: one address opens all sessions here.
const LIMITS: [&str; 2] = ["sessions_max = 12000", "sessions_per_address_max = 12000"];

/// `pgbouncer`, `steered`, `steered:relay:written`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Variant {
    pub(super) kind: Kind,
    tls: Option<&'static str>,
    record: Option<&'static str>,
}

impl Variant {
    /// Whether it needs the agent.
    pub(super) fn is_warder(&self) -> bool {
        self.kind.is_warder()
    }

    /// How it is opened for clients of that route.
    pub(super) fn options(&self, route: Route, binary: Option<&Path>) -> PassageOptions {
        let encrypted = route == Route::Tls;
        PassageOptions {
            encryption: if encrypted { Encryption::Tls } else { Encryption::Plain },
            // The fair comparison with PgBouncer: both ends are encrypted, the content is seen.
            tls: Some(self.tls.unwrap_or("server-certificate")),
            database: self.record.map(|level| format!("record = \"{level}\"")).into_iter().collect(),
            proxy: LIMITS.map(str::to_owned).to_vec(),
            tables: Vec::new(),
            binary: binary.map(Path::to_owned),
        }
    }
}

impl FromStr for Variant {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = text.split(':');
        let name = words.next().unwrap_or_default();
        let kind = Kind::ALL.into_iter().find(|kind| kind.name() == name);
        let mut variant = Self { kind: kind.ok_or_else(|| format!("no way '{name}'"))?, tls: None, record: None };
        for word in words {
            let tls = TLS.into_iter().find(|known| *known == word);
            let record = RECORD.into_iter().find(|known| *known == word);
            if !variant.is_warder() || (tls.is_none() && record.is_none()) {
                return Err(format!("'{word}' says nothing about {name}"));
            }
            variant.tls = tls.or(variant.tls);
            variant.record = record.or(variant.record);
        }
        Ok(variant)
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.name())?;
        [self.tls, self.record].into_iter().flatten().try_for_each(|word| write!(f, ":{word}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_words_are_read_and_written() {
        for good in ["direct", "haproxy", "pgbouncer", "steered", "listener:relay", "steered:relay:written"] {
            assert_eq!(good.parse::<Variant>().map(|variant| variant.to_string()), Ok(good.to_owned()));
        }
        for bad in ["", "other", "steered:sometimes", "direct:relay"] {
            assert!(bad.parse::<Variant>().is_err(), "{bad}");
        }
    }
}
