//! SASL OAUTHBEARER (RFC 7628), as libpq 18 speaks it. Bytes in, bytes out; the token is checked by
//! [`Issuers`](crate::issuers::Issuers).

use serde_json::json;

use crate::secret::Secret;
use crate::unverified;

/// Separates the parts (RFC 7628, section 3.1).
const SEPARATOR: u8 = 0x01;
/// A client that was told an error answers with this, and is then refused (RFC 7628, section 3.2.3).
pub const ABORT: &[u8] = &[SEPARATOR];
/// Largest initial response: a token and what stands around it.
const BYTES_MAX: usize = unverified::BYTES_MAX + 1024;

/// What a client says first.
pub enum InitialResponse {
    /// It brings a token.
    Token(Secret),
    /// It asks where to get one: answer with [`error`], expect [`ABORT`], refuse.
    Discovery,
}

/// Why an initial response is none. The client erred.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OauthBearerError {
    /// Longer than a token may be.
    #[error("the OAUTHBEARER message is too long")]
    TooLong,
    /// Not of the form `n,,^A...^A^A`.
    #[error("the OAUTHBEARER message is malformed")]
    Malformed,
    /// The client wants channel binding, which this mechanism has not.
    #[error("OAUTHBEARER has no channel binding")]
    ChannelBinding,
    /// The client wants to be somebody else than its token says.
    #[error("an authorization identity is not accepted: the token says who it is")]
    AuthorizationIdentity,
    /// No `auth`, or two.
    #[error("the OAUTHBEARER message must have one `auth`")]
    Auth,
    /// Another scheme than `Bearer`, or bytes that no token has.
    #[error("`auth` must be `Bearer` and a token")]
    Scheme,
}

/// Reads an initial response.
///
/// # Errors
/// What the client did wrong. Nothing of the message is in it.
pub fn parse(message: &[u8]) -> Result<InitialResponse, OauthBearerError> {
    if message.len() > BYTES_MAX {
        return Err(OauthBearerError::TooLong);
    }
    let rest = after_gs2_header(message)?;
    let pairs = rest.strip_suffix(&[SEPARATOR, SEPARATOR]).ok_or(OauthBearerError::Malformed)?;
    let mut found = None;
    for pair in pairs.split(|byte| *byte == SEPARATOR) {
        let at = pair.iter().position(|byte| *byte == b'=').ok_or(OauthBearerError::Malformed)?;
        let (key, value) = pair.split_at_checked(at).ok_or(OauthBearerError::Malformed)?;
        if key.is_empty() || !key.iter().all(u8::is_ascii_alphabetic) {
            return Err(OauthBearerError::Malformed);
        }
        if key == b"auth" && found.replace(value.strip_prefix(b"=").unwrap_or_default()).is_some() {
            return Err(OauthBearerError::Auth);
        }
    }
    match found.ok_or(OauthBearerError::Auth)? {
        [] => Ok(InitialResponse::Discovery),
        value => Ok(InitialResponse::Token(bearer(value)?)),
    }
}

/// The initial response that brings a token.
#[must_use]
pub fn initial_response(token: &Secret) -> Secret {
    Secret::new([b"n,,\x01auth=Bearer ", token.expose(), &[SEPARATOR, SEPARATOR]].concat())
}

/// What a server answers when a token is missing or not good (RFC 7628, section 3.2.2): where to get one.
#[must_use]
pub fn error(discovery_url: &str, scope: &str) -> Vec<u8> {
    let answer = json!({ "status": "invalid_token", "openid-configuration": discovery_url, "scope": scope });
    answer.to_string().into_bytes()
}

/// RFC 5801, section 4: `n` or `y`, no channel binding, no other identity.
fn after_gs2_header(message: &[u8]) -> Result<&[u8], OauthBearerError> {
    let rest = match message {
        [b'n' | b'y', b',', rest @ ..] => rest,
        [b'p', ..] => return Err(OauthBearerError::ChannelBinding),
        _ => return Err(OauthBearerError::Malformed),
    };
    match rest {
        [b',', SEPARATOR, rest @ ..] => Ok(rest),
        [b'a', b'=', ..] => Err(OauthBearerError::AuthorizationIdentity),
        _ => Err(OauthBearerError::Malformed),
    }
}

/// RFC 6750, section 2.1; the scheme is not case-sensitive (RFC 9110, section 11.1).
fn bearer(value: &[u8]) -> Result<Secret, OauthBearerError> {
    let (scheme, token) = value.split_at_checked(6).ok_or(OauthBearerError::Scheme)?;
    let spaces = token.iter().take_while(|byte| **byte == b' ').count();
    let token = token.get(spaces..).unwrap_or_default();
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(byte);
    if !scheme.eq_ignore_ascii_case(b"bearer") || spaces == 0 || token.is_empty() || !token.iter().all(allowed) {
        return Err(OauthBearerError::Scheme);
    }
    Ok(Secret::new(token.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The token, `None` for a question.
    fn read(message: &[u8]) -> Result<Option<Vec<u8>>, OauthBearerError> {
        parse(message).map(|response| match response {
            InitialResponse::Token(token) => Some(token.expose().to_vec()),
            InitialResponse::Discovery => None,
        })
    }

    #[test]
    fn what_is_written_is_read() {
        let token = Secret::new(b"ab.c-d_e".to_vec());
        assert_eq!(read(initial_response(&token).expose()), Ok(Some(b"ab.c-d_e".to_vec())));
    }

    #[test]
    fn forms_that_clients_send() {
        let token = Ok(Some(b"t".to_vec()));
        assert_eq!(read(b"n,,\x01auth=Bearer t\x01\x01"), token);
        assert_eq!(read(b"y,,\x01auth=bearer  t\x01\x01"), token);
        // RFC 7628, section 4.1: host and port stand beside it.
        assert_eq!(read(b"n,,\x01host=db.example.com\x01port=5432\x01auth=Bearer t\x01\x01"), token);
        assert_eq!(read(b"n,,\x01auth=\x01\x01"), Ok(None));
    }

    #[test]
    fn others_are_refused() {
        use OauthBearerError::*;
        let cases: &[(&[u8], OauthBearerError)] = &[
            (b"", Malformed),
            (b"\x01", Malformed),
            (b"n,,", Malformed),
            (b"n,,\x01\x01", Malformed),
            (b"n,,\x01auth=Bearer t\x01", Malformed),
            (b"n,,\x01auth=Bearer t\x01\x01x", Malformed),
            (b"n,,\x01auth=Bearer t\x01\x01\x01", Malformed),
            (b"n,,auth=Bearer t\x01\x01", Malformed),
            (b"n,,\x01=x\x01auth=Bearer t\x01\x01", Malformed),
            (b"n,,\x01auth\x01\x01", Malformed),
            (b"p=tls-exporter,,\x01auth=Bearer t\x01\x01", ChannelBinding),
            (b"n,a=root,\x01auth=Bearer t\x01\x01", AuthorizationIdentity),
            (b"n,,\x01host=x\x01\x01", Auth),
            (b"n,,\x01auth=Bearer t\x01auth=Bearer u\x01\x01", Auth),
            (b"n,,\x01auth=\x01auth=Bearer u\x01\x01", Auth),
            (b"n,,\x01auth=Basic t\x01\x01", Scheme),
            (b"n,,\x01auth=Bearert\x01\x01", Scheme),
            (b"n,,\x01auth=Bearer \x01\x01", Scheme),
            (b"n,,\x01auth=Bearer a b\x01\x01", Scheme),
            (b"n,,\x01auth=Bearer a\0b\x01\x01", Scheme),
            (b"n,,\x01auth=t\x01\x01", Scheme),
        ];
        for (message, expected) in cases {
            assert_eq!(read(message), Err(*expected), "{}", message.escape_ascii());
        }
        assert_eq!(read(&[b'n'; BYTES_MAX + 1]), Err(TooLong));
    }

    #[test]
    fn an_error_says_where_to_get_a_token() {
        let address = "https://a.example.com/.well-known/openid-configuration";
        let answer: serde_json::Value = serde_json::from_slice(&error(address, "openid \"x\"")).unwrap();
        let expected = json!({ "status": "invalid_token", "openid-configuration": address, "scope": "openid \"x\"" });
        assert_eq!(answer, expected);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(message: Vec<u8>) {
            let _either = parse(&message);
            let framed = [b"n,,\x01".as_slice(), &message, b"\x01\x01"].concat();
            let _either = parse(&framed);
        }
    }
}
