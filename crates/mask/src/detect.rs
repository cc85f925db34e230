//! Detectors: values that are protected wherever they stand. They may only add masks: what they miss stays as the plan
//! says.

/// Bytes of one value that are looked at: a longer one is looked at by its beginning.
const LOOKED_AT_BYTES_MAX: usize = 4096;

/// What to look for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Detector {
    /// 13 to 19 digits with Luhn's check digit, in groups or not.
    Card,
    /// An IBAN with its check digits (ISO 13616).
    Iban,
    /// `123-45-6789`
    Ssn,
    /// An e-mail address.
    Email,
    /// A signed token: three parts, the first a JSON object in base64.
    Jwt,
    /// Private keys, and keys with the prefixes that providers give them.
    Secret,
}

impl Detector {
    /// All of them.
    pub const ALL: &'static [Self] = &[Self::Card, Self::Iban, Self::Ssn, Self::Email, Self::Jwt, Self::Secret];

    /// Its name in files.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Card => "card",
            Self::Iban => "iban",
            Self::Ssn => "ssn",
            Self::Email => "email",
            Self::Jwt => "jwt",
            Self::Secret => "secret",
        }
    }

    /// Whether there is one in a value.
    #[must_use]
    pub fn finds(self, value: &[u8]) -> bool {
        let value = value.get(..LOOKED_AT_BYTES_MAX).unwrap_or(value);
        match self {
            Self::Card => has_card(value),
            Self::Iban => words(value, |byte| byte.is_ascii_alphanumeric() || byte == b' ').any(is_iban),
            Self::Ssn => words(value, |byte| byte.is_ascii_digit() || byte == b'-').any(is_ssn),
            Self::Email => words(value, |byte| byte.is_ascii_alphanumeric() || b"._%+-@".contains(&byte)).any(is_email),
            Self::Jwt => words(value, |byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)).any(is_jwt),
            Self::Secret => has_secret(value),
        }
    }
}

/// Runs of bytes of one kind.
fn words(value: &[u8], is_part: impl Fn(u8) -> bool) -> impl Iterator<Item = &[u8]> {
    value.split(move |byte| !is_part(*byte)).filter(|word| !word.is_empty())
}

fn has_card(value: &[u8]) -> bool {
    words(value, |byte| byte.is_ascii_digit() || byte == b' ' || byte == b'-').any(|word| {
        let digits: Vec<u8> =
            word.iter().filter(|byte| byte.is_ascii_digit()).map(|byte| byte.saturating_sub(b'0')).collect();
        (13..=19).contains(&digits.len()) && is_luhn(&digits)
    })
}

fn is_luhn(digits: &[u8]) -> bool {
    let weigh = |(place, digit): (usize, &u8)| {
        let doubled = digit.saturating_mul(2);
        if place % 2 == 0 {
            *digit
        } else if doubled > 9 {
            doubled.saturating_sub(9)
        } else {
            doubled
        }
    };
    digits.iter().rev().enumerate().map(weigh).map(u32::from).sum::<u32>() % 10 == 0
}

/// ISO 7064, mod 97-10.
fn is_iban(word: &[u8]) -> bool {
    let letters: Vec<u8> = word.iter().copied().filter(|byte| *byte != b' ').collect();
    let Some((head, body)) = letters.split_first_chunk::<4>() else { return false };
    let [a, b, c, d] = head;
    if !(15..=34).contains(&letters.len())
        || ![a, b].iter().all(|byte| byte.is_ascii_uppercase())
        || ![c, d].iter().all(|byte| byte.is_ascii_digit())
    {
        return false;
    }
    let digit = |remainder: u32, byte: &u8| {
        let value = (*byte as char).to_digit(36).unwrap_or_default();
        let shift = if value > 9 { 100 } else { 10 };
        remainder.saturating_mul(shift).saturating_add(value) % 97
    };
    body.iter().chain(head).fold(0, digit) == 1
}

fn is_ssn(word: &[u8]) -> bool {
    let mut parts = word.split(|byte| *byte == b'-').map(<[u8]>::len);
    (parts.next(), parts.next(), parts.next(), parts.next()) == (Some(3), Some(2), Some(4), None)
}

fn is_email(word: &[u8]) -> bool {
    let Some(place) = word.iter().position(|byte| *byte == b'@') else { return false };
    let Some((name, domain)) = word.split_at_checked(place) else { return false };
    let domain = domain.get(1..).unwrap_or_default();
    let dot = domain.iter().rposition(|byte| *byte == b'.');
    !name.is_empty() && dot.is_some_and(|dot| dot > 0 && domain.len().saturating_sub(dot) > 2)
}

fn is_jwt(word: &[u8]) -> bool {
    let parts: Vec<&[u8]> = word.split(|byte| *byte == b'.').collect();
    matches!(parts[..], [head, body, signature] if head.starts_with(b"eyJ") && body.starts_with(b"eyJ") && signature.len() > 16)
}

fn has_secret(value: &[u8]) -> bool {
    const MARKS: &[&[u8]] =
        &[b"-----BEGIN", b"AKIA", b"ASIA", b"ghp_", b"github_pat_", b"xoxb-", b"xoxp-", b"sk_live_", b"AIza"];
    MARKS.iter().any(|mark| value.windows(mark.len()).any(|window| window == *mark))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_one_is_found() {
        for (detector, value) in [
            (Detector::Card, "paid with 4111 1111 1111 1111 today"),
            (Detector::Card, "5500005555555559"),
            (Detector::Iban, "DE89 3704 0044 0532 0130 00"),
            (Detector::Iban, "GB82WEST12345698765432"),
            (Detector::Ssn, "his number: 078-05-1120."),
            (Detector::Email, "write to a.b@mail.example.org!"),
            (Detector::Jwt, "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.c2lnbmF0dXJlLXNpZ25hdHVyZQ"),
            (Detector::Secret, "-----BEGIN PRIVATE KEY-----"),
        ] {
            assert!(detector.finds(value.as_bytes()), "{value}");
        }
    }

    #[test]
    fn what_only_resembles_one_is_not() {
        for (detector, value) in [
            (Detector::Card, "4111 1111 1111 1112"),
            (Detector::Card, "123456789012"),
            (Detector::Iban, "DE00370400440532013000"),
            (Detector::Ssn, "2024-05-11"),
            (Detector::Email, "a@b"),
            (Detector::Jwt, "www.example.com"),
            (Detector::Secret, "nothing"),
        ] {
            assert!(!detector.finds(value.as_bytes()), "{value}");
        }
    }
}
