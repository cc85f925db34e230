//! Who has sent a body, and when: HMAC-SHA256 over `v1:TIMESTAMP:BODY` with a secret that both sides know, as Slack signs
//! requests ("Verifying requests from Slack"). The time is in it, so that what was heard cannot be sent again for ever.

use std::rc::Rc;

use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{HeaderMap, HeaderValue};
use identity::secret::Secret;
use journal::hash::{from_hex, to_hex};
use sha2::Sha256;

/// Seconds since 1970.
pub(super) const TIMESTAMP: &str = "x-warder-timestamp";
/// `v1=HEX`
pub(super) const SIGNATURE: &str = "x-warder-signature";
/// Seconds that a signature is good for, before and after its time: clocks differ.
const WINDOW: u64 = 300;

/// Both headers for a body that is sent now.
pub(super) fn headers(secret: &Secret, now: u64, body: &[u8]) -> HeaderMap {
    let signature = to_hex(&mac(secret, now, body).finalize().into_bytes());
    let value = |text: String| HeaderValue::try_from(text).expect("digits are a value");
    let mut headers = HeaderMap::new();
    headers.insert(TIMESTAMP, now.into());
    headers.insert(SIGNATURE, value(format!("v1={signature}")));
    headers
}

/// Whether whoever has one of the secrets has sent this body, not long ago.
pub(super) fn is_signed(secrets: &[Rc<Secret>], now: u64, headers: &HeaderMap, body: &[u8]) -> bool {
    let time = only(headers, TIMESTAMP).and_then(|text| text.parse::<u64>().ok());
    let signature = only(headers, SIGNATURE).and_then(|text| from_hex::<32>(text.strip_prefix("v1=")?));
    let (Some(time), Some(signature)) = (time, signature) else { return false };
    // Comparing takes as long for every wrong one.
    let fits = |secret: &Rc<Secret>| mac(secret, time, body).verify_slice(&signature).is_ok();
    now.abs_diff(time) <= WINDOW && secrets.iter().any(fits)
}

/// Of two, others on the way may have looked at the other one.
fn only<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    value.to_str().ok()
}

fn mac(secret: &Secret, time: u64, body: &[u8]) -> Hmac<Sha256> {
    let mac = Hmac::<Sha256>::new_from_slice(secret.expose()).expect("HMAC takes keys of any length");
    mac.chain_update(format!("v1:{time}:")).chain_update(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Rc<Secret> {
        Rc::new(Secret::new(text.as_bytes().to_vec()))
    }

    #[test]
    fn a_signature_is_the_one_that_others_make() {
        // printf 'v1:1700000000:{}' | openssl dgst -sha256 -hmac 0123456789abcdef
        let headers = headers(&secret("0123456789abcdef"), 1_700_000_000, b"{}");
        assert_eq!(headers[TIMESTAMP], "1700000000");
        assert_eq!(headers[SIGNATURE], "v1=31ab1a5f612982cbb606c3c6f69fbba87fb23b3157b28a815b8e95ee6561e8c5");
    }

    #[test]
    fn only_the_same_body_by_the_same_secret_in_time_is_signed() {
        let (now, body) = (1_700_000_000, b"{\"a\":1}");
        let secrets = [secret("another one, 16 by"), secret("the right secret")];
        let made = headers(&secrets[1], now, body);
        assert!(is_signed(&secrets, now, &made, body));
        assert!(is_signed(&secrets, now + WINDOW, &made, body) && is_signed(&secrets, now - WINDOW, &made, body));
        assert!(!is_signed(&secrets, now + WINDOW + 1, &made, body), "too old");
        assert!(!is_signed(&secrets, now - WINDOW - 1, &made, body), "of the future");
        assert!(!is_signed(&secrets[..1], now, &made, body), "another secret");
        assert!(!is_signed(&secrets, now, &made, b"{\"a\":2}"), "another body");
        assert!(!is_signed(&[], now, &made, body) && !is_signed(&secrets, now, &HeaderMap::new(), body));
        let mut moved = made.clone();
        moved.insert(TIMESTAMP, (now + 1).into());
        assert!(!is_signed(&secrets, now, &moved, body), "the time is signed, too");
        for name in [TIMESTAMP, SIGNATURE] {
            let mut twice = made.clone();
            twice.append(name, HeaderValue::from_static("1"));
            assert!(!is_signed(&secrets, now, &twice, body), "which of two counts?");
        }
        let mut cut = made;
        cut.insert(SIGNATURE, HeaderValue::from_static("v1="));
        assert!(!is_signed(&secrets, now, &cut, body));
    }
}
