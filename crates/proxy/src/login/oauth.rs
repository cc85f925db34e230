//! The server's side of SASL OAUTHBEARER: the messages around the mechanism (55.3.1, 55.7), which is RFC 7628.

use identity::oauthbearer::{ABORT, InitialResponse, OauthBearerError, error, parse};
use model::mediation::Refusal;

use super::Discovery;
use super::response::too_long;
use crate::stop::Stop;

/// AuthenticationSASL, whole: its length, 10, the only mechanism, and the end of the list.
pub(crate) const REQUEST: [u8; 22] = *b"R\x00\x00\x00\x15\x00\x00\x00\x0aOAUTHBEARER\x00\x00";
const MECHANISM: &[u8] = b"OAUTHBEARER\0";
/// AuthenticationSASLContinue.
const CONTINUE: u32 = 11;

/// What a SASLInitialResponse brings.
pub(crate) fn initial(body: &[u8]) -> Result<InitialResponse, Stop> {
    let malformed = |text: &'static str| Stop::refused(Refusal::Protocol, "08P01", text);
    let rest = body.strip_prefix(MECHANISM);
    let rest = rest.ok_or_else(|| malformed("the client chose another SASL mechanism than OAUTHBEARER"))?;
    let (length, message) = rest.split_first_chunk().ok_or_else(|| malformed("malformed SASL message"))?;
    match i32::from_be_bytes(*length) {
        // It begins with nothing, and would wait for an empty challenge: no client of OAUTHBEARER does.
        -1 => Err(malformed("OAUTHBEARER begins with the client's message")),
        length if usize::try_from(length) == Ok(message.len()) => parse(message).map_err(|error| match error {
            OauthBearerError::TooLong => too_long(),
            error => Stop::refused(Refusal::Protocol, "08P01", error.to_string()),
        }),
        _ => Err(malformed("malformed SASL message")),
    }
}

/// AuthenticationSASLContinue that says where to get a token (RFC 7628, section 3.2.2).
pub(crate) fn challenge(discovery: &Discovery) -> Vec<u8> {
    let answer = error(&discovery.configuration_url, &discovery.scope);
    let length = u32::try_from(answer.len().saturating_add(8)).unwrap_or(u32::MAX);
    [&b"R"[..], &length.to_be_bytes(), &CONTINUE.to_be_bytes(), &answer].concat()
}

/// A client answers the challenge with one byte (section 3.2.3).
pub(crate) fn aborted(body: &[u8]) -> Result<(), Stop> {
    if body == ABORT {
        return Ok(());
    }
    let text = "expected the one byte with which OAUTHBEARER ends after an error";
    Err(Stop::refused(Refusal::Protocol, "08P01", text))
}

#[cfg(test)]
mod tests {
    use identity::oauthbearer::initial_response;
    use identity::secret::Secret;

    use super::*;

    fn body(mechanism: &[u8], length: i32, message: &[u8]) -> Vec<u8> {
        [mechanism, &length.to_be_bytes(), message].concat()
    }

    /// The token; `None`: a question where to get one.
    fn read(body: &[u8]) -> Result<Option<Vec<u8>>, Option<Refusal>> {
        match initial(body) {
            Ok(InitialResponse::Token(token)) => Ok(Some(token.expose().to_vec())),
            Ok(InitialResponse::Discovery) => Ok(None),
            Err(stop) => Err(stop.refusal),
        }
    }

    #[test]
    fn the_request_names_one_mechanism() {
        let [kind, length @ ..]: [u8; 5] = REQUEST[..5].try_into().unwrap();
        assert_eq!((kind, u32::from_be_bytes(length) as usize), (b'R', REQUEST.len() - 1));
        assert_eq!(REQUEST[5..], *b"\0\0\0\x0aOAUTHBEARER\0\0");
    }

    #[test]
    fn a_token_or_a_question() {
        let token = initial_response(&Secret::new(b"a.b.c".to_vec()));
        let length = i32::try_from(token.expose().len()).unwrap();
        assert_eq!(read(&body(MECHANISM, length, token.expose())), Ok(Some(b"a.b.c".to_vec())));
        assert_eq!(read(&body(MECHANISM, 11, b"n,,\x01auth=\x01\x01")), Ok(None));
    }

    #[test]
    fn others_are_refused() {
        let question = b"n,,\x01auth=\x01\x01";
        let length = i32::try_from(question.len()).unwrap();
        let cases = [
            vec![],
            MECHANISM.to_vec(),
            body(MECHANISM, -1, b""),
            body(MECHANISM, -2, question),
            body(MECHANISM, length - 1, question),
            body(MECHANISM, length + 1, question),
            body(MECHANISM, i32::MAX, question),
            body(b"SCRAM-SHA-256\0", length, question),
            body(b"OAUTHBEARER", length, question),
            body(MECHANISM, 1, b"\x01"),
        ];
        for case in cases {
            assert_eq!(read(&case), Err(Some(Refusal::Protocol)), "{}", case.escape_ascii());
        }
        let long = vec![b'n'; 18 << 10];
        assert_eq!(read(&body(MECHANISM, 18 << 10, &long)), Err(Some(Refusal::Oversized)));
        assert!(aborted(b"\x01").is_ok() && aborted(b"").is_err() && aborted(b"\x01\x01").is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>, length: i32) {
            let _either = read(&bytes);
            let _either = read(&body(MECHANISM, length, &bytes));
            let _either = read(&body(MECHANISM, i32::try_from(bytes.len()).unwrap(), &bytes));
        }
    }
}
