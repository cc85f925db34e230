//! Tokens that their issuers mark by a beginning, so that scanners find them: those of code hosts, chats, payment, language models.

/// Beginnings; each begins with the three bytes of a [`mark`](crate::mark).
const BEGINNINGS: [&str; 14] = [
    "ghp_",
    "gho_",
    "ghs_",
    "github_pat_",
    "glpat-",
    "xoxa-",
    "xoxb-",
    "xoxp-",
    "xoxr-",
    "xoxs-",
    "sk_live_",
    "sk_test_",
    "sk-ant-",
    "sk-proj-",
];
/// What follows has at least so many bytes, except where the text was cut.
const BYTES_MIN: usize = 16;

/// Whether such a token begins at `at`.
pub(crate) fn begins(text: &[u8], at: usize) -> bool {
    let rest = text.get(at..).unwrap_or_default();
    let Some(secret) = BEGINNINGS.iter().find_map(|beginning| rest.strip_prefix(beginning.as_bytes())) else {
        return false;
    };
    let secret = &secret[..secret.len().min(BYTES_MIN)];
    !secret.is_empty() && secret.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}
