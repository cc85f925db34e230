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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mark::{Mark, any};

    #[test]
    fn each_beginning_has_its_mark() {
        for beginning in BEGINNINGS {
            let text = format!("{beginning}0123456789abcdef");
            assert!(
                any(text.as_bytes(), |mark, at| mark == Mark::Issued && begins(text.as_bytes(), at)),
                "{beginning}"
            );
        }
    }

    #[test]
    fn what_follows_is_long_enough_or_cut() {
        assert!(begins(b"ghp_0123456789abcdef", 0) && begins(b"ghp_0", 0));
        assert!(!begins(b"ghp_0123 is no token", 0) && !begins(b"ghp_", 0) && !begins(b"GHP_0123456789abcdef", 0));
    }
}
