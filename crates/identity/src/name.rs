//! Names that go into principals, records and policies: not empty, bounded, on one line.

use std::sync::Arc;

/// Longest name of a principal or group.
const BYTES_MAX: usize = 256;
/// Most groups of a rule in the configuration.
const GROUPS_MAX: usize = 64;
/// What is wrong with groups of the configuration.
pub(crate) const MISTAKE: &str = "at most 64 names of at most 256 bytes, without control characters";

/// The name, if it can be one.
pub(crate) fn checked(text: &str) -> Option<Arc<str>> {
    let usable = !text.is_empty() && text.len() <= BYTES_MAX && !text.chars().any(char::is_control);
    (usable && text.trim() == text).then(|| text.into())
}

/// Groups of a rule in the configuration: sorted, each once.
pub(crate) fn groups(names: &[String]) -> Option<Arc<[Arc<str>]>> {
    let mut groups = names.iter().map(|name| checked(name)).collect::<Option<Vec<_>>>()?;
    groups.sort_unstable();
    groups.dedup();
    (groups.len() <= GROUPS_MAX).then(|| groups.into())
}
