//! A client's answer to an authentication request (55.7): `p`, its length, a body. PasswordMessage, SASLInitialResponse
//! and SASLResponse look alike.

use model::mediation::Refusal;
use zeroize::Zeroizing;

use crate::stop::Stop;

/// Longest body: the longest token (16 KiB, as `identity` takes it) and what stands around it.
const BODY_BYTES_MAX: usize = (16 << 10) + 2048;
/// Type byte and length.
const HEADER_BYTES: usize = 5;
const BYTES_MAX: usize = HEADER_BYTES + BODY_BYTES_MAX;

/// The message while it comes. Its bytes are in one place that does not grow, and is overwritten in the end.
pub(crate) struct Response {
    bytes: Zeroizing<Vec<u8>>,
    length: usize,
}

impl Response {
    pub(crate) fn new() -> Self {
        // One byte more than it may have: what follows it is noticed.
        Self { bytes: Zeroizing::new(vec![0; BYTES_MAX + 1]), length: 0 }
    }

    /// Room for more bytes; [`Response::received`] says how many came.
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

    /// The body, once the message is there whole.
    pub(crate) fn body(&self) -> &[u8] {
        self.bytes().get(HEADER_BYTES..).unwrap_or_default()
    }

    /// Whether the message is there whole; else more bytes are needed.
    pub(crate) fn is_whole(&self) -> Result<bool, Stop> {
        let bytes = self.bytes();
        if bytes.first().is_some_and(|kind| *kind != b'p') {
            return Err(Stop::refused(Refusal::Protocol, "08P01", "expected an answer to the request for a token"));
        }
        let Some(size) = bytes.get(1..HEADER_BYTES).and_then(|size| <[u8; 4]>::try_from(size).ok()) else {
            return Ok(false);
        };
        let length = (u32::from_be_bytes(size) as usize).saturating_add(1);
        if length > BYTES_MAX {
            return Err(too_long());
        }
        // A client waits for the answer before it says more.
        if length < HEADER_BYTES || bytes.len() > length {
            return Err(Stop::refused(Refusal::Protocol, "08P01", "invalid authentication packet size"));
        }
        Ok(bytes.len() == length)
    }
}

/// A token that is longer than tokens may be.
pub(crate) fn too_long() -> Stop {
    let text = "the token was not accepted: it has more than 16 KiB; ask the issuer for fewer claims";
    Stop::refused(Refusal::Oversized, "28P01", text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(bytes: &[u8]) -> Result<bool, Option<Refusal>> {
        let mut response = Response::new();
        let length = bytes.len().min(response.room().len());
        response.room()[..length].copy_from_slice(&bytes[..length]);
        response.received(length);
        response.is_whole().map_err(|stop| stop.refusal)
    }

    fn message(body: &[u8]) -> Vec<u8> {
        [&b"p"[..], &u32::try_from(body.len() + 4).unwrap().to_be_bytes(), body].concat()
    }

    #[test]
    fn it_is_whole_at_its_last_byte() {
        for body in [&b""[..], b"a\0", &[b'a'; BODY_BYTES_MAX]] {
            let message = message(body);
            assert_eq!(whole(&message), Ok(true), "{}", body.len());
            for end in 0..message.len().min(64) {
                assert_eq!(whole(&message[..end]), Ok(false), "{end}");
            }
        }
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        assert_eq!(whole(b"Q"), Err(Some(Refusal::Protocol)));
        assert_eq!(whole(&[b'p', 0, 0, 0, 3]), Err(Some(Refusal::Protocol)));
        assert_eq!(whole(&[message(b"a\0"), b"Q".to_vec()].concat()), Err(Some(Refusal::Protocol)));
        assert_eq!(whole(&message(&[b'a'; BODY_BYTES_MAX + 1])), Err(Some(Refusal::Oversized)));
        assert_eq!(whole(&[b'p', 0xff, 0xff, 0xff, 0xff]), Err(Some(Refusal::Oversized)));
    }
}
