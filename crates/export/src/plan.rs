//! A checked configuration: behind it there are no strings that still need checking.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper::Uri;

use crate::config::{Body, Compression, ExportConfig, Kind, Start};
use crate::format::syslog::Facility;

/// Records of one batch, unless configured.
const BATCH_RECORDS: usize = 1_000;
/// Largest configurable number of records of one batch.
const BATCH_RECORDS_MAX: usize = 100_000;
/// Bytes of one batch, unless configured.
const BATCH_BYTES: usize = 1 << 20;
/// Bounds of the configurable bytes of one batch.
const BATCH_BYTES_RANGE: std::ops::RangeInclusive<usize> = 16 << 10..=16 << 20;
/// Longest configurable time of one attempt.
const TIMEOUT_SECONDS_MAX: u64 = 300;
/// Longest configurable pause between attempts.
const RETRY_SECONDS_MAX: u64 = 3600;
/// Exports and witnesses together: each has a thread and a batch in memory.
pub const EXPORTS_MAX: usize = 16;
/// Longest name.
const NAME_BYTES_MAX: usize = 32;

/// What is wrong with a configuration: the key, what is wrong, what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {text}")]
pub struct ConfigError {
    /// The key of `[[export]]`.
    pub key: &'static str,
    /// What is wrong with it, and what to do.
    pub text: String,
}

impl ConfigError {
    pub(crate) fn new(key: &'static str, text: impl Into<String>) -> Self {
        Self { key, text: text.into() }
    }
}

/// A checked export.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(crate) name: String,
    pub(crate) format: Format,
    pub(crate) place: Place,
    pub(crate) types: Option<Vec<String>>,
    pub(crate) start: Start,
    pub(crate) limits: Limits,
}

/// What becomes of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// The line as it stands in the journal.
    Line,
    /// An OCSF event.
    Ocsf,
    /// An OpenTelemetry log record.
    Otlp,
}

/// Where it goes.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    StandardOutput,
    File { path: PathBuf, file_bytes_max: u64, files_max: u32 },
    Http(HttpPlace),
    Syslog(SyslogPlace),
}

#[derive(Clone, Debug)]
pub(crate) struct HttpPlace {
    pub(crate) uri: Uri,
    /// `None`: plain HTTP.
    pub(crate) tls: Option<TlsFiles>,
    pub(crate) bearer_token_file: Option<PathBuf>,
    pub(crate) compression: Compression,
    pub(crate) body: Body,
    /// How often OpenTelemetry metrics are sent; `None`: never.
    pub(crate) metrics_interval: Option<Duration>,
}

#[derive(Clone, Debug)]
pub(crate) struct SyslogPlace {
    pub(crate) address: SyslogAddress,
    pub(crate) facility: Facility,
}

#[derive(Clone, Debug)]
pub(crate) enum SyslogAddress {
    Tcp { host: String, port: u16 },
    Tls { host: String, port: u16, files: TlsFiles },
    Udp { host: String, port: u16 },
    Unix { path: PathBuf },
}

#[derive(Clone, Debug, Default)]
pub(crate) struct TlsFiles {
    pub(crate) ca: Option<PathBuf>,
    /// Certificate and key.
    pub(crate) own: Option<(PathBuf, PathBuf)>,
}

/// The bounds of an export.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) batch_records_max: usize,
    pub(crate) batch_bytes_max: usize,
    pub(crate) timeout: Duration,
    pub(crate) retry_max: Duration,
    pub(crate) refusals_max: u32,
}

impl Plan {
    /// Checks a configuration. Files that it names are not looked at yet.
    pub fn check(config: &ExportConfig) -> Result<Self, ConfigError> {
        check_name(&config.name)?;
        let format = match config.kind {
            Kind::Jsonl | Kind::Syslog | Kind::Webhook => Format::Line,
            Kind::Ocsf => Format::Ocsf,
            Kind::Otlp => Format::Otlp,
        };
        if config.types.as_ref().is_some_and(Vec::is_empty) {
            return Err(ConfigError::new("types", "no type means no record; leave the key out to export all"));
        }
        let plan = Self {
            name: config.name.clone(),
            format,
            place: place(config)?,
            types: config.types.clone(),
            start: config.start,
            limits: limits(config)?,
        };
        refuse_keys_without_use(config, &plan.place)?;
        Ok(plan)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

fn check_name(name: &str) -> Result<(), ConfigError> {
    let fits = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(fits) {
        let text = format!("{name:?} cannot name a file and a metric; use 1 to {NAME_BYTES_MAX} of a-z, 0-9, - and _");
        return Err(ConfigError::new("name", text));
    }
    Ok(())
}

fn place(config: &ExportConfig) -> Result<Place, ConfigError> {
    let given = (&config.file, &config.url, &config.syslog);
    let allowed: &[&str] = match config.kind {
        Kind::Jsonl => &["file"],
        Kind::Otlp | Kind::Webhook => &["url"],
        Kind::Syslog => &["syslog"],
        Kind::Ocsf => &["file", "url", "syslog"],
    };
    let place = match given {
        (Some(file), None, None) => ("file", file_place(file, config)?),
        (None, Some(url), None) => ("url", Place::Http(http_place(url, config)?)),
        (None, None, Some(syslog)) => ("syslog", Place::Syslog(syslog_place(syslog, config)?)),
        _ => return Err(ConfigError::new("kind", format!("say once where to: {}", allowed.join(" or ")))),
    };
    if !allowed.contains(&place.0) {
        return Err(ConfigError::new(place.0, format!("this kind goes to {}", allowed.join(" or "))));
    }
    Ok(place.1)
}

fn file_place(file: &Path, config: &ExportConfig) -> Result<Place, ConfigError> {
    if file == Path::new("-") {
        return Ok(Place::StandardOutput);
    }
    if !file.is_absolute() || file.file_name().is_none() {
        return Err(ConfigError::new("file", "give an absolute path, or - for standard output"));
    }
    let file_bytes_max = config.file_bytes_max.unwrap_or(256 << 20);
    if file_bytes_max < 1 << 20 {
        return Err(ConfigError::new("file_bytes_max", "at least 1 MiB (1048576)"));
    }
    let files_max = config.files_max.unwrap_or(16);
    if !(1..=10_000).contains(&files_max) {
        return Err(ConfigError::new("files_max", "1 to 10000"));
    }
    Ok(Place::File { path: file.to_owned(), file_bytes_max, files_max })
}

pub(crate) fn http_place(url: &str, config: &ExportConfig) -> Result<HttpPlace, ConfigError> {
    // The text of the mistake does not repeat the URL: it may carry a secret.
    let uri: Uri = url.parse().map_err(|error| ConfigError::new("url", format!("not a URL: {error}")))?;
    let Some(host) = uri.host().filter(|host| !host.is_empty()) else {
        return Err(ConfigError::new("url", "no host; write http://HOST/PATH or https://HOST/PATH"));
    };
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(ConfigError::new("url", "it contains a user or password; use bearer_token_file"));
    }
    let tls = match uri.scheme_str() {
        Some("https") => Some(tls_files(config)?),
        Some("http") => None,
        _ => return Err(ConfigError::new("url", "begin with http:// or https://")),
    };
    if tls.is_none() && config.bearer_token_file.is_some() && !is_loopback(host) {
        let text = "a token is not sent to another host in the clear; use https://";
        return Err(ConfigError::new("bearer_token_file", text));
    }
    let otlp = config.kind == Kind::Otlp;
    let seconds = config.metrics_interval_seconds.unwrap_or(15);
    Ok(HttpPlace {
        tls,
        bearer_token_file: config.bearer_token_file.clone(),
        compression: config.compression.unwrap_or_default(),
        body: config.body.unwrap_or_default(),
        metrics_interval: (otlp && seconds > 0).then(|| Duration::from_secs(seconds)),
        uri,
    })
}

pub(crate) fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn syslog_place(text: &str, config: &ExportConfig) -> Result<SyslogPlace, ConfigError> {
    let mistake =
        || ConfigError::new("syslog", "write tcp://HOST:PORT, tls://HOST:PORT, udp://HOST:PORT or unix:///PATH");
    let (scheme, rest) = text.split_once("://").ok_or_else(mistake)?;
    let host_port = || {
        let (host, port) = rest.rsplit_once(':').ok_or_else(mistake)?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(mistake());
        }
        Ok((host.to_owned(), port.parse::<u16>().map_err(|_not_a_port| mistake())?))
    };
    let address = match scheme {
        "tcp" => host_port().map(|(host, port)| SyslogAddress::Tcp { host, port })?,
        "udp" => host_port().map(|(host, port)| SyslogAddress::Udp { host, port })?,
        "tls" => {
            let (host, port) = host_port()?;
            SyslogAddress::Tls { host, port, files: tls_files(config)? }
        }
        "unix" if rest.starts_with('/') => SyslogAddress::Unix { path: rest.into() },
        _ => return Err(mistake()),
    };
    let facility = config.facility.as_deref().unwrap_or("audit");
    let facility = Facility::from_name(facility)
        .ok_or_else(|| ConfigError::new("facility", "use user, daemon, auth, authpriv, audit or local0 to local7"))?;
    Ok(SyslogPlace { address, facility })
}

fn tls_files(config: &ExportConfig) -> Result<TlsFiles, ConfigError> {
    let own = match (&config.certificate_file, &config.key_file) {
        (Some(certificate), Some(key)) => Some((certificate.clone(), key.clone())),
        (None, None) => None,
        (Some(_), None) => return Err(ConfigError::new("key_file", "certificate_file needs its key_file")),
        (None, Some(_)) => return Err(ConfigError::new("certificate_file", "key_file needs its certificate_file")),
    };
    Ok(TlsFiles { ca: config.ca_file.clone(), own })
}

fn limits(config: &ExportConfig) -> Result<Limits, ConfigError> {
    let batch_records_max = config.batch_records_max.unwrap_or(BATCH_RECORDS);
    if !(1..=BATCH_RECORDS_MAX).contains(&batch_records_max) {
        return Err(ConfigError::new("batch_records_max", format!("1 to {BATCH_RECORDS_MAX}")));
    }
    let batch_bytes_max = config.batch_bytes_max.unwrap_or(BATCH_BYTES);
    if !BATCH_BYTES_RANGE.contains(&batch_bytes_max) {
        return Err(ConfigError::new("batch_bytes_max", "16384 to 16777216"));
    }
    let timeout = config.timeout_seconds.unwrap_or(10);
    if !(1..=TIMEOUT_SECONDS_MAX).contains(&timeout) {
        return Err(ConfigError::new("timeout_seconds", format!("1 to {TIMEOUT_SECONDS_MAX}")));
    }
    let retry = config.retry_seconds_max.unwrap_or(60);
    if !(1..=RETRY_SECONDS_MAX).contains(&retry) {
        return Err(ConfigError::new("retry_seconds_max", format!("1 to {RETRY_SECONDS_MAX}")));
    }
    let refusals_max = config.refusals_max.unwrap_or(5);
    if refusals_max == 0 {
        return Err(ConfigError::new("refusals_max", "at least 1: one attempt is made in any case"));
    }
    let (timeout, retry_max) = (Duration::from_secs(timeout), Duration::from_secs(retry));
    Ok(Limits { batch_records_max, batch_bytes_max, timeout, retry_max, refusals_max })
}

/// A key that has no effect is a mistake: somebody believes that it has one.
fn refuse_keys_without_use(config: &ExportConfig, place: &Place) -> Result<(), ConfigError> {
    let file = matches!(place, Place::File { .. });
    let http = matches!(place, Place::Http(_));
    let tls = match place {
        Place::Http(http) => http.tls.is_some(),
        Place::Syslog(syslog) => matches!(syslog.address, SyslogAddress::Tls { .. }),
        Place::StandardOutput | Place::File { .. } => false,
    };
    let otlp = config.kind == Kind::Otlp;
    let syslog = matches!(place, Place::Syslog(_));
    let keys = [
        ("ca_file", config.ca_file.is_some(), tls),
        ("certificate_file", config.certificate_file.is_some(), tls),
        ("key_file", config.key_file.is_some(), tls),
        ("bearer_token_file", config.bearer_token_file.is_some(), http),
        ("compression", config.compression.is_some(), http),
        ("body", config.body.is_some(), http && !otlp),
        ("metrics_interval_seconds", config.metrics_interval_seconds.is_some(), otlp),
        ("facility", config.facility.is_some(), syslog),
        ("file_bytes_max", config.file_bytes_max.is_some(), file),
        ("files_max", config.files_max.is_some(), file),
    ];
    match keys.into_iter().find(|(_, given, useful)| *given && !useful) {
        Some((key, ..)) => Err(ConfigError::new(key, "has no effect for this kind and place; remove it")),
        None => Ok(()),
    }
}
