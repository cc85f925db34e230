//! What becomes of a record on its way out.

pub(crate) mod line;
pub(crate) mod ocsf;
pub(crate) mod otlp;
pub(crate) mod otlp_metrics;
mod outcome;
pub(crate) mod syslog;

/// `ip:port`, `[ip]:port`: the two halves.
fn split_address(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    Some((host.trim_start_matches('[').trim_end_matches(']'), port.parse().ok()?))
}
