//! A token as the password: PasswordMessage's body is the token and NUL (55.7).

use identity::secret::Secret;
use model::mediation::Refusal;

use super::response::too_long;
use crate::stop::Stop;

/// Longest token that is taken; `identity` refuses longer ones as well.
const TOKEN_BYTES_MAX: usize = 16 << 10;
/// AuthenticationCleartextPassword, whole: what asks for it.
pub(crate) const REQUEST: [u8; 9] = [b'R', 0, 0, 0, 8, 0, 0, 0, 3];

/// The token in a PasswordMessage.
pub(crate) fn token(body: &[u8]) -> Result<Secret, Stop> {
    match body {
        [token @ .., 0] if token.len() > TOKEN_BYTES_MAX => Err(too_long()),
        [0] => {
            let text = "this database asks for a token as the password: get one, for example with `warder login`";
            Err(Stop::refused(Refusal::Identity, "28P01", text))
        }
        [token @ .., 0] if !token.contains(&0) => Ok(Secret::new(token.to_vec())),
        _ => Err(Stop::refused(Refusal::Protocol, "08P01", "invalid password packet size")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(body: &[u8]) -> Result<Vec<u8>, Option<Refusal>> {
        token(body).map(|token| token.expose().to_vec()).map_err(|stop| stop.refusal)
    }

    #[test]
    fn a_token_ends_with_nul() {
        let longest = vec![b'a'; TOKEN_BYTES_MAX];
        assert_eq!(taken(b"a.b.c\0"), Ok(b"a.b.c".to_vec()));
        assert_eq!(taken(&[longest.as_slice(), &[0]].concat()), Ok(longest.clone()));
        assert_eq!(taken(&[longest.as_slice(), b"a\0"].concat()), Err(Some(Refusal::Oversized)));
        assert_eq!(taken(b"\0"), Err(Some(Refusal::Identity)));
        for wrong in [&b""[..], b"a", b"a\0b\0", b"\0\0"] {
            assert_eq!(taken(wrong), Err(Some(Refusal::Protocol)), "{wrong:?}");
        }
    }
}
