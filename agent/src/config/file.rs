//! What a configuration file may say: names and types of its keys, each with its place in the text.

use export::config::KINDS;
use identity::config::{CertificateConfig, IssuerConfig, ProcessConfig};
use serde::Deserialize;
use toml::Spanned;

use super::Mistake;

pub(super) type Text = Option<Spanned<String>>;
type Number = Option<Spanned<i64>>;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct File {
    pub(super) agent: Agent,
    pub(super) journal: Journal,
    pub(super) metrics: Metrics,
    pub(super) api: Api,
    pub(super) capture: Capture,
    pub(super) redaction: Redaction,
    pub(super) identity: Identity,
    pub(super) proxy: Proxy,
    pub(super) database: Vec<Spanned<Database>>,
    pub(super) export: Vec<Spanned<export::config::ExportConfig>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Agent {
    pub(super) user: Option<Spanned<Account>>,
    pub(super) group: Option<Spanned<Account>>,
    pub(super) control_socket: Text,
    pub(super) argv: Text,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected an account name (text) or number")]
pub(super) enum Account {
    Number(i64),
    Name(String),
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Journal {
    pub(super) directory: Text,
    pub(super) key_file: Text,
    pub(super) segment_bytes_max: Number,
    pub(super) segment_hours_max: Number,
    pub(super) bytes_max: Number,
    pub(super) days_max: Number,
    pub(super) checkpoint_records: Number,
    pub(super) checkpoint_seconds: Number,
    pub(super) sync_interval_milliseconds: Number,
    pub(super) witness: Vec<Spanned<export::witness::WitnessConfig>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Metrics {
    pub(super) listen: Text,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Api {
    pub(super) listen: Text,
    pub(super) certificate: Text,
    pub(super) key: Text,
    pub(super) webhook: Vec<Spanned<Webhook>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Webhook {
    pub(super) url: Text,
    pub(super) secret_file: Text,
    pub(super) ca_file: Text,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Capture {
    pub(super) ring_bytes: Number,
    pub(super) sessions_max: Number,
    pub(super) statement_bytes_max: Number,
    pub(super) scan_interval_seconds: Number,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Database {
    pub(super) name: Text,
    pub(super) engine: Text,
    pub(super) port: Number,
    pub(super) socket: Text,
    pub(super) executable: Text,
    pub(super) redaction: Text,
    pub(super) proxy: Option<Spanned<Guard>>,
    pub(super) catalogue: Option<Spanned<Catalogue>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Catalogue {
    pub(super) user: Text,
    pub(super) password_file: Text,
    pub(super) refresh_seconds: Number,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Proxy {
    pub(super) user: Option<Spanned<Account>>,
    pub(super) workers: Number,
    pub(super) sessions_max: Number,
    pub(super) sessions_per_address_max: Number,
    pub(super) startup_seconds: Number,
    pub(super) idle_seconds: Number,
    pub(super) drain_seconds: Number,
    pub(super) pin_directory: Text,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Guard {
    pub(super) steer: Option<bool>,
    pub(super) take_over_socket: Option<Spanned<bool>>,
    pub(super) listen: Vec<Spanned<String>>,
    pub(super) upstream: Text,
    pub(super) tls: Text,
    pub(super) certificate: Text,
    pub(super) private_key: Text,
    pub(super) client_ca_file: Text,
    pub(super) client_crl_file: Text,
    pub(super) hop_address: Vec<Spanned<String>>,
    pub(super) access_file: Text,
    pub(super) mode: Text,
    pub(super) policies: Vec<Spanned<String>>,
    pub(super) environment: Text,
    pub(super) utc_offset: Text,
    pub(super) danger_fail_open: Option<Spanned<bool>>,
    pub(super) content: Text,
    pub(super) record: Text,
    pub(super) direct: Vec<Spanned<Direct>>,
    pub(super) refuse_direct: Text,
    pub(super) login: Option<Spanned<Login>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Login {
    pub(super) mode: Text,
    pub(super) discovery_url: Text,
    pub(super) scope: Text,
    pub(super) user: Text,
    pub(super) password_file: Text,
    pub(super) certificate: Text,
    pub(super) private_key: Text,
    pub(super) sql_database: Text,
    pub(super) lifetime_minutes: Number,
    pub(super) role: Vec<Spanned<MintedRole>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct MintedRole {
    pub(super) role: Text,
    pub(super) groups: Vec<Spanned<String>>,
    pub(super) read_only: bool,
    pub(super) statement_timeout_seconds: Number,
    pub(super) search_path: Vec<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Direct {
    pub(super) name: Text,
    pub(super) source: Text,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Identity {
    pub(super) issuer: Vec<Spanned<IssuerConfig>>,
    pub(super) certificate: Vec<Spanned<CertificateConfig>>,
    pub(super) process: Vec<Spanned<ProcessConfig>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Redaction {
    pub(super) statements: Text,
    pub(super) key_file: Text,
    pub(super) role: Vec<Spanned<RedactedRole>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RedactedRole {
    pub(super) name: Text,
    pub(super) database: Text,
    pub(super) statements: Text,
}

impl File {
    /// Reads the text. The first mistake in syntax, names or types ends it.
    pub(super) fn parse(text: &str) -> Result<Self, Mistake> {
        toml::from_str(text).map_err(|error| mistake(text, &error))
    }
}

/// Turns the parser's error into a mistake with the key in question.
fn mistake(text: &str, error: &toml::de::Error) -> Mistake {
    let offset = error.span().map(|span| span.start);
    let message = error.message().replace('\n', " ");
    let mut key = offset.map_or_else(String::new, |offset| key_at(text, offset));
    if let Some(missing) = quoted(&message, "missing field ") {
        key = format!("{key}.{missing}").trim_start_matches('.').to_owned();
        return Mistake { offset, remedy: addition(&key, missing), key, what: "this key is missing".into() };
    }
    let (what, remedy) = if let Some(value) = quoted(&message, "unknown variant ") {
        let (_, expected) = message.split_once(", expected ").unwrap_or_default();
        let allowed = expected.trim_start_matches("one of ").replace('`', "\"");
        (format!("\"{value}\" is not one of its values"), format!("use one of {allowed}"))
    } else if let Some(rest) = message.strip_prefix("unknown field ") {
        let (name, expected) = rest.split_once(", ").unwrap_or((rest, ""));
        (format!("unknown key {name}"), format!("remove it, or use a known key ({})", expected.replace('`', "")))
    } else if message.starts_with("invalid type") || message.starts_with("expected an account") {
        (message, "write a value of that type".into())
    } else if message.starts_with("duplicate key") {
        (message, "keep one of them".into())
    } else {
        (message, "correct the TOML syntax".into())
    };
    Mistake { offset, key: if key.is_empty() { "syntax".into() } else { key }, what, remedy }
}

/// The first word in quotes of a message that begins so.
fn quoted<'a>(message: &'a str, beginning: &str) -> Option<&'a str> {
    message.strip_prefix(beginning)?.split('`').nth(1)
}

/// What to write where a key is missing.
fn addition(key: &str, name: &str) -> String {
    match key {
        "export.kind" => format!("add kind = \"...\" with one of \"{}\"", KINDS.join("\", \"")),
        _ => format!("add {name} = ..."),
    }
}

/// Where the table whose header is at `offset` says the last part of `key`, by its text; `offset` itself where it does
/// not, or where that is no header.
pub(super) fn place_of(text: &str, offset: usize, key: &str) -> usize {
    let (before, table) = text.split_at_checked(offset).unwrap_or((text, ""));
    let indented = before.trim_end_matches([' ', '\t']);
    let is_header = table.starts_with('[') && (indented.is_empty() || indented.ends_with('\n'));
    let name = key.rsplit('.').next().unwrap_or(key);
    let mut at = offset;
    for (number, line) in table.split_inclusive('\n').enumerate() {
        if !is_header || number > 0 && line.trim_start().starts_with('[') {
            break;
        }
        if line.split_once('=').is_some_and(|(left, _)| left.trim() == name) {
            return at;
        }
        at += line.len();
    }
    offset
}

/// `table.key` of the line at `offset`, by its text: the parser's error does not carry it.
fn key_at(text: &str, offset: usize) -> String {
    let before = text.get(..offset).unwrap_or(text);
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = text.get(start..).and_then(|rest| rest.lines().next()).unwrap_or_default().trim();
    let header = |line: &str| {
        let name = line.trim().strip_prefix('[')?.trim_start_matches('[').split(']').next()?;
        Some(name.trim().to_owned())
    };
    if let Some(name) = header(line) {
        return name;
    }
    let key = line.split('=').next().unwrap_or_default().trim();
    if key == line || key.is_empty() {
        return String::new();
    }
    match before.lines().rev().find_map(header) {
        Some(table) => format!("{table}.{key}"),
        None => key.to_owned(),
    }
}
