//! The forms in which a secret could slip into an output.

/// The secret itself, its hex digits in both cases, and what every Base64 text that contains it contains.
#[must_use]
pub fn all(secret: &str) -> Vec<(&'static str, String)> {
    let lower: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    let mut forms =
        vec![("as it is", secret.to_owned()), ("in upper-case hex", lower.to_uppercase()), ("in hex", lower)];
    // Where the secret begins within a group of three bytes decides its digits; the outermost depend on neighbours.
    for before in 0..3_usize {
        let padded = [vec![0; before], secret.as_bytes().to_vec()].concat();
        let whole = padded.len() / 3 * 3;
        let mut digits = base64(padded.get(..whole).unwrap_or_default());
        let own = if before == 0 { 0 } else { 4 };
        forms.push(("in Base64", digits.split_off(own)));
    }
    forms
}

/// Base64 of a multiple of three bytes (RFC 4648, 4).
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = bytes.chunks_exact(3).flat_map(|group| {
        let bits = group.iter().fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte));
        [18, 12, 6, 0].map(|shift| DIGITS.get(bits >> shift & 63).copied().unwrap_or(b'='))
    });
    digits.map(char::from).collect()
}

/// In which form `secret` occurs in `output`, if it does.
#[must_use]
pub fn found(secret: &str, output: &str) -> Option<&'static str> {
    all(secret).into_iter().find(|(_, form)| output.contains(form)).map(|(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_found_in_every_form() {
        let check = |output: &str, form| assert_eq!(found("s3cret-word", output), form, "{output}");
        check("password s3cret-word!", Some("as it is"));
        check("7333637265742d776f7264", Some("in hex"));
        check("7333637265742D776F7264", Some("in upper-case hex"));
        // The Base64 of: s3cret-word, xs3cret-word, xxs3cret-word
        check("czNjcmV0LXdvcmQ=", Some("in Base64"));
        check("eHMzY3JldC13b3Jk", Some("in Base64"));
        check("eHhzM2NyZXQtd29yZA==", Some("in Base64"));
        check("s3cret word", None);
    }
}
