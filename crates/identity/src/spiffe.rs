//! SPIFFE ids: `spiffe://TRUST-DOMAIN/PATH` (SPIFFE-ID standard, section 2). Strict: what is not allowed is no id.

/// Longest id.
const BYTES_MAX: usize = 2048;
/// Longest trust domain.
const TRUST_DOMAIN_BYTES_MAX: usize = 255;

/// A workload's id in parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SpiffeId<'a> {
    pub(crate) trust_domain: &'a str,
    /// With its first `/`; never empty.
    pub(crate) path: &'a str,
}

impl<'a> SpiffeId<'a> {
    /// Reads a workload's id. A trust domain's own id, which has no path, is none.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let rest = text.strip_prefix("spiffe://").filter(|_| text.len() <= BYTES_MAX)?;
        let (trust_domain, path) = rest.split_at_checked(rest.find('/')?)?;
        let good = is_trust_domain(trust_domain) && path.split('/').skip(1).all(is_segment);
        good.then_some(Self { trust_domain, path })
    }
}

pub(crate) fn is_trust_domain(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte);
    !text.is_empty() && text.len() <= TRUST_DOMAIN_BYTES_MAX && text.bytes().all(allowed)
}

fn is_segment(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    !text.is_empty() && text != "." && text != ".." && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids() {
        let id = SpiffeId::parse("spiffe://example.org/ns/prod/sa/billing").unwrap();
        assert_eq!((id.trust_domain, id.path), ("example.org", "/ns/prod/sa/billing"));
        for text in [
            "",
            "spiffe://",
            "spiffe://example.org",
            "spiffe://example.org/",
            "spiffe:///billing",
            "SPIFFE://example.org/billing",
            "spiffe://Example.org/billing",
            "spiffe://example.org:80/billing",
            "spiffe://user@example.org/billing",
            "spiffe://example.org/billing/",
            "spiffe://example.org//billing",
            "spiffe://example.org/./billing",
            "spiffe://example.org/../billing",
            "spiffe://example.org/bil%6cing",
            "spiffe://example.org/billing?x",
            "spiffe://example.org/billing#x",
            "spiffe://example.org/bílling",
            "https://example.org/billing",
        ] {
            assert_eq!(SpiffeId::parse(text), None, "{text}");
        }
        assert_eq!(SpiffeId::parse(&format!("spiffe://example.org/{}", "x".repeat(2048))), None);
    }
}
