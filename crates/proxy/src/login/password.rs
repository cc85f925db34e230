//! The client's PasswordMessage (55.7): `p`, its length, the token, NUL.

use identity::secret::Secret;
use model::mediation::Refusal;
use zeroize::Zeroizing;

use crate::stop::Stop;

/// Longest token that is taken; `identity` refuses longer ones as well.
const TOKEN_BYTES_MAX: usize = 16 << 10;
/// Type byte and length.
const HEADER_BYTES: usize = 5;
/// The longest message.
pub(crate) const MESSAGE_BYTES_MAX: usize = HEADER_BYTES + TOKEN_BYTES_MAX + 1;
/// AuthenticationCleartextPassword, whole: what asks for it.
pub(crate) const REQUEST: [u8; 9] = [b'R', 0, 0, 0, 8, 0, 0, 0, 3];

/// The message while it comes. Its bytes are in one place that does not grow, and is overwritten in the end.
pub(crate) struct PasswordMessage {
    bytes: Zeroizing<Vec<u8>>,
    length: usize,
}

impl PasswordMessage {
    pub(crate) fn new() -> Self {
        // One byte more than it may have: what follows it is noticed.
        Self { bytes: Zeroizing::new(vec![0; MESSAGE_BYTES_MAX + 1]), length: 0 }
    }

    /// Room for more bytes; [`PasswordMessage::received`] says how many came.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.length..).unwrap_or_default()
    }

    pub(crate) fn received(&mut self, count: usize) {
        self.length = self.length.saturating_add(count).min(self.bytes.len());
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// What has come.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// The token, once the message is there; `None`: more bytes are needed.
    pub(crate) fn token(&self) -> Result<Option<Secret>, Stop> {
        let bytes = self.bytes();
        if bytes.first().is_some_and(|kind| *kind != b'p') {
            return Err(Stop::refused(Refusal::Protocol, "08P01", "expected a password message with a token"));
        }
        let Some(size) = bytes.get(1..HEADER_BYTES).and_then(|size| <[u8; 4]>::try_from(size).ok()) else {
            return Ok(None);
        };
        let length = (u32::from_be_bytes(size) as usize).saturating_add(1);
        if length > MESSAGE_BYTES_MAX {
            let text = "the token was not accepted: it has more than 16 KiB; ask the issuer for fewer claims";
            return Err(Stop::refused(Refusal::Oversized, "28P01", text));
        }
        if bytes.len() < length {
            return Ok(None);
        }
        match bytes.get(HEADER_BYTES..) {
            Some([token @ .., 0]) if bytes.len() == length && !token.contains(&0) => {
                if token.is_empty() {
                    let text =
                        "this database asks for a token as the password: get one, for example with `warder login`";
                    return Err(Stop::refused(Refusal::Identity, "28P01", text));
                }
                Ok(Some(Secret::new(token.to_vec())))
            }
            // A client waits for the answer before it says more.
            _ => Err(Stop::refused(Refusal::Protocol, "08P01", "invalid password packet size")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(bytes: &[u8]) -> Result<Option<Vec<u8>>, Option<Refusal>> {
        let mut message = PasswordMessage::new();
        let length = bytes.len().min(message.room().len());
        message.room()[..length].copy_from_slice(&bytes[..length]);
        message.received(length);
        let token = message.token().map_err(|stop| stop.refusal)?;
        Ok(token.map(|token| token.expose().to_vec()))
    }

    fn password(text: &[u8]) -> Vec<u8> {
        let length = u32::try_from(text.len() + 5).unwrap().to_be_bytes();
        [&b"p"[..], &length, text, &[0]].concat()
    }

    #[test]
    fn a_token_is_taken_when_it_is_whole() {
        let whole = password(b"a.b.c");
        assert_eq!(taken(&whole), Ok(Some(b"a.b.c".to_vec())));
        for end in 0..whole.len() {
            assert_eq!(taken(&whole[..end]), Ok(None), "{end}");
        }
        let longest = vec![b'a'; TOKEN_BYTES_MAX];
        assert_eq!(taken(&password(&longest)), Ok(Some(longest)));
    }

    #[test]
    fn what_is_no_token_is_refused() {
        assert_eq!(taken(b"Q"), Err(Some(Refusal::Protocol)));
        assert_eq!(taken(&password(b"")), Err(Some(Refusal::Identity)));
        assert_eq!(taken(&password(b"a\0b")), Err(Some(Refusal::Protocol)));
        assert_eq!(taken(&[password(b"a"), b"Q".to_vec()].concat()), Err(Some(Refusal::Protocol)));
        assert_eq!(taken(&password(&vec![b'a'; TOKEN_BYTES_MAX + 1])), Err(Some(Refusal::Oversized)));
        assert_eq!(taken(&[b'p', 0, 0, 0, 4]), Err(Some(Refusal::Protocol)));
    }
}
