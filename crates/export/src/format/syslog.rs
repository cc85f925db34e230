//! The frame of a syslog message (RFC 5424, 6): priority, header, structured data, then the record as JSON.

use std::io::Write as _;

use store::time::Timestamp;

use crate::config::Identity;
use crate::item::Item;

/// `sequenceId` starts again at 1 behind this (RFC 5424, 7.3.1).
const SEQUENCE_ID_MAX: u64 = 2_147_483_647;
/// Longest HOSTNAME (RFC 5424, 6.2.4).
const HOSTNAME_BYTES_MAX: usize = 255;
/// Longest MSGID (RFC 5424, 6.2.7).
const MSGID_BYTES_MAX: usize = 32;

/// Which part of a system speaks (RFC 5424, table 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Facility(u8);

impl Facility {
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        let local =
            || name.strip_prefix("local")?.parse().ok().filter(|number| *number < 8).map(|number: u8| 16 + number);
        let number = match name {
            "user" => Some(1),
            "daemon" => Some(3),
            "auth" => Some(4),
            "authpriv" => Some(10),
            "audit" => Some(13),
            _ => local(),
        };
        number.map(Self)
    }
}

/// The parts that are the same in all messages of an export.
#[derive(Debug)]
pub(crate) struct Frame {
    facility: Facility,
    host: String,
    version: String,
    process: u32,
}

impl Frame {
    pub(crate) fn new(facility: Facility, identity: &Identity) -> Self {
        let host = identity.host_name.as_deref().unwrap_or(&identity.host);
        let host: String = printable(host).take(HOSTNAME_BYTES_MAX).collect();
        Self { facility, host: or_nil(host), version: identity.version.clone(), process: std::process::id() }
    }

    /// `<PRI>1 TIMESTAMP HOSTNAME APP-NAME PROCID MSGID STRUCTURED-DATA MSG`
    pub(crate) fn message(&self, item: &Item) -> Vec<u8> {
        let priority = self.facility.0 * 8 + item.severity.syslog();
        let time = Timestamp(item.time);
        let id = or_nil(printable(&item.type_word).take(MSGID_BYTES_MAX).collect());
        let mut message = Vec::with_capacity(item.json().len() + 256);
        let (host, process, version) = (&self.host, self.process, escaped(&self.version));
        let head = write!(
            message,
            r#"<{priority}>1 {time} {host} warder {process} {id} [origin software="warder" swVersion="{version}"]"#
        );
        head.expect("memory does not fail");
        if let Some(seq) = item.seq {
            let number = (seq.saturating_sub(1)) % SEQUENCE_ID_MAX + 1;
            write!(message, r#"[meta sequenceId="{number}"]"#).expect("memory does not fail");
        }
        message.push(b' ');
        message.extend_from_slice(item.json());
        message
    }
}

/// PRINTUSASCII, as header fields need it.
fn printable(text: &str) -> impl Iterator<Item = char> {
    text.chars().filter(char::is_ascii_graphic)
}

fn or_nil(text: String) -> String {
    if text.is_empty() { "-".into() } else { text }
}

/// PARAM-VALUE (RFC 5424, 6.3.3).
fn escaped(text: &str) -> String {
    text.chars().flat_map(|c| matches!(c, '"' | '\\' | ']').then_some('\\').into_iter().chain([c])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::Content;
    use crate::severity::Severity;
    use model::time::WallTime;

    #[test]
    fn a_message_is_what_the_rfc_says() {
        let identity =
            Identity { version: "1.\"0]".into(), host: "00ff".into(), host_name: Some("db 1.example".into()) };
        let mut frame = Frame::new(Facility::from_name("audit").unwrap(), &identity);
        frame.process = 42;
        let item = |seq, severity| Item {
            seq,
            time: WallTime(1_795_339_800_000_250_999),
            type_word: "statement".into(),
            severity,
            content: Content::Json(br#"{"seq":7}"#.to_vec()),
        };
        let origin = r#"[origin software="warder" swVersion="1.\"0\]"]"#;
        let head = "1 2026-11-22T09:30:00.000250Z db1.example warder 42 statement";
        for (seq, severity, expected) in [
            (Some(7), Severity::Information, format!(r#"<110>{head} {origin}[meta sequenceId="7"] {{"seq":7}}"#)),
            (None, Severity::Error, format!(r#"<107>{head} {origin} {{"seq":7}}"#)),
            (
                Some(SEQUENCE_ID_MAX + 1),
                Severity::Warning,
                format!(r#"<108>{head} {origin}[meta sequenceId="1"] {{"seq":7}}"#),
            ),
        ] {
            assert_eq!(String::from_utf8(frame.message(&item(seq, severity))).unwrap(), expected);
        }
    }

    #[test]
    fn facilities_have_names() {
        for (name, number) in
            [("user", Some(1)), ("local0", Some(16)), ("local7", Some(23)), ("local8", None), ("", None)]
        {
            assert_eq!(Facility::from_name(name).map(|facility| facility.0), number, "{name}");
        }
    }
}
