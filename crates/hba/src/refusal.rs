//! What the server says when no line admits a connection.

use std::net::{IpAddr, Ipv6Addr};

use crate::attempt::{Attempt, Encryption, How, Replication, cut};
use crate::major::Major;

/// SQLSTATE of every refusal: `invalid_authorization_specification`.
pub const SQLSTATE: &str = "28000";

/// Why the server refuses before it authenticates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// No line matches.
    NoEntry,
    /// A line with `reject` does.
    Rejected,
}

/// A refusal in the server's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub reason: Reason,
    /// The message of its ErrorResponse (`FATAL`, [`SQLSTATE`]). Names are in it as the client sent them, so it is not
    /// always UTF-8.
    pub message: Vec<u8>,
}

impl Refusal {
    /// What a server of this version (with `lc_messages` in English) says to this attempt.
    #[must_use]
    pub fn new(reason: Reason, attempt: &Attempt<'_>, major: Major) -> Self {
        let replication = match attempt.replication {
            Replication::No => false,
            Replication::Logical => major.refuses_in_old_words(),
            Replication::Physical => true,
        };
        let begin = match (reason, replication) {
            (Reason::NoEntry, false) => "no pg_hba.conf entry for host",
            (Reason::NoEntry, true) => "no pg_hba.conf entry for replication connection from host",
            (Reason::Rejected, false) => "pg_hba.conf rejects connection for host",
            (Reason::Rejected, true) => "pg_hba.conf rejects replication connection for host",
        };
        let mut message = format!("{begin} \"{}\", user \"", host(attempt.how)).into_bytes();
        message.extend_from_slice(cut(attempt.user));
        if !replication {
            message.extend_from_slice(b"\", database \"");
            message.extend_from_slice(cut(attempt.database));
        }
        message.extend_from_slice(b"\", ");
        message.extend_from_slice(encryption(attempt.how, major).as_bytes());
        Self { reason, message }
    }
}

/// The address as the C library writes it. Unlike Rust it writes `::10.0.0.1` for IPv4 in the last 32 bits.
fn host(how: How) -> String {
    match how.canonical() {
        How::Local => "[local]".into(),
        How::Host { address: IpAddr::V6(address), .. } => match compatible(address) {
            Some(address) => format!("::{address}"),
            None => address.to_string(),
        },
        How::Host { address, .. } => address.to_string(),
    }
}

fn compatible(address: Ipv6Addr) -> Option<std::net::Ipv4Addr> {
    let bits = address.to_bits();
    let low = u32::try_from(bits).ok()?;
    (low > 0xffff).then(|| std::net::Ipv4Addr::from_bits(low))
}

const fn encryption(how: How, major: Major) -> &'static str {
    let encryption = match how {
        How::Local => Encryption::None,
        How::Host { encryption, .. } => encryption,
    };
    match (encryption, major.refuses_in_old_words()) {
        (Encryption::Gss, _) => "GSS encryption",
        (Encryption::Tls, false) => "SSL encryption",
        (Encryption::None, false) => "no encryption",
        (Encryption::Tls, true) => "SSL on",
        (Encryption::None, true) => "SSL off",
    }
}
