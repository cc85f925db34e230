//! The login of the service account at the server, from its StartupMessage to AuthenticationOk (55.2.1, 55.3).
//!
//! Pure: the server's bytes go in, answers come out. SCRAM is without channel binding; the proxy's TLS to a server
//! believes one certificate only.

use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use zeroize::Zeroizing;

use super::{Credential, LoginCounts, ServiceAccount};

/// The server's words before AuthenticationOk: an error message with all its fields is shorter.
const MESSAGE_BYTES_MAX: usize = 16 << 10;
/// Messages before AuthenticationOk: SCRAM has three, and there may be notices.
const MESSAGES_MAX: u64 = 32;
/// Type byte and length.
const HEADER_BYTES: usize = 5;

/// Whether somebody else could read what goes to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hearing {
    /// TLS, loopback or a Unix socket.
    Nobody,
    /// A network.
    Anybody,
}

/// What comes next.
pub(crate) enum Step {
    /// This goes to the server.
    Answer(Zeroizing<Vec<u8>>),
    /// More of the server's bytes are needed.
    Wait,
    /// The server is content. The bytes are for the client: AuthenticationOk and what came with it.
    Done(Vec<u8>),
}

/// Why the proxy cannot log in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoginError {
    #[error("the connection to the server broke")]
    Broken(#[from] std::io::Error),
    #[error("the server closed the connection")]
    Closed,
    #[error("the server refused it: {message} (SQLSTATE {sqlstate})")]
    Refused { sqlstate: String, message: String },
    #[error("the server asks for a password, and there is none; set password_file in [database.proxy.login]")]
    NoPassword,
    #[error("the server asks for the password in clear text on a network; use scram-sha-256 or TLS")]
    Exposed,
    #[error("the server asks for authentication of kind {0}; use scram-sha-256 for this role in pg_hba.conf")]
    Method(u32),
    #[error("the server did not prove that it knows the password")]
    Unproven,
    #[error("the server does not speak the protocol")]
    Protocol,
}

/// One login.
pub(crate) struct Attempt<'a> {
    account: &'a ServiceAccount,
    hearing: Hearing,
    received: Vec<u8>,
    /// What the client is to see.
    passed: Vec<u8>,
    scram: Scram,
    pub(crate) counts: LoginCounts,
}

enum Scram {
    NotAsked,
    Expects(Box<ScramSha256>),
    Proved,
}

impl<'a> Attempt<'a> {
    pub(crate) const fn new(account: &'a ServiceAccount, hearing: Hearing) -> Self {
        let counts = LoginCounts { to_server: 0, from_server: 0 };
        Self { account, hearing, received: Vec::new(), passed: Vec::new(), scram: Scram::NotAsked, counts }
    }

    /// Takes bytes of the server.
    pub(crate) fn receive(&mut self, bytes: &[u8]) {
        self.received.extend_from_slice(bytes);
    }

    /// Looks at what was received.
    pub(crate) fn step(&mut self) -> Result<Step, LoginError> {
        loop {
            let Some(length) = self.message()? else { return Ok(Step::Wait) };
            let kind = self.received.first().copied().unwrap_or_default();
            let body = self.received.get(HEADER_BYTES..length).unwrap_or_default();
            if kind == b'R' && body == [0; 4] {
                if matches!(self.scram, Scram::Expects(_)) {
                    return Err(LoginError::Unproven);
                }
                self.passed.append(&mut self.received);
                return Ok(Step::Done(std::mem::take(&mut self.passed)));
            }
            let message: Vec<u8> = self.received.drain(..length).collect();
            let body = message.get(HEADER_BYTES..).unwrap_or_default();
            match kind {
                b'R' => {
                    self.counts.from_server += 1;
                    if let Some(answer) = self.asked(body)? {
                        self.counts.to_server += 1;
                        return Ok(Step::Answer(answer));
                    }
                }
                // NegotiateProtocolVersion and notices are about what the client said.
                b'v' | b'N' if self.counts.from_server < MESSAGES_MAX => self.passed.extend_from_slice(&message),
                b'E' => return Err(refused(body)),
                _ => return Err(LoginError::Protocol),
            }
            if self.passed.len() > MESSAGE_BYTES_MAX || self.counts.from_server > MESSAGES_MAX {
                return Err(LoginError::Protocol);
            }
        }
    }

    /// Length of the next message, if it is there.
    fn message(&self) -> Result<Option<usize>, LoginError> {
        let Some(size) = self.received.get(1..HEADER_BYTES).and_then(|size| <[u8; 4]>::try_from(size).ok()) else {
            return Ok(None);
        };
        let length = (u32::from_be_bytes(size) as usize).saturating_add(1);
        if !(HEADER_BYTES..=MESSAGE_BYTES_MAX).contains(&length) {
            return Err(LoginError::Protocol);
        }
        Ok((self.received.len() >= length).then_some(length))
    }

    /// The answer to an authentication request, if it wants one.
    fn asked(&mut self, body: &[u8]) -> Result<Option<Zeroizing<Vec<u8>>>, LoginError> {
        let (kind, data) = body.split_at_checked(4).ok_or(LoginError::Protocol)?;
        let kind = u32::from_be_bytes(kind.try_into().map_err(|_length| LoginError::Protocol)?);
        match kind {
            3 if self.hearing == Hearing::Anybody => Err(LoginError::Exposed),
            3 => Ok(Some(text(self.password()?))),
            5 => {
                let salt = data.try_into().map_err(|_length| LoginError::Protocol)?;
                let hash = Zeroizing::new(md5_hash(self.account.user.as_bytes(), self.password()?, salt));
                Ok(Some(text(hash.as_bytes())))
            }
            10 => self.begin_scram(data).map(Some),
            11 | 12 => self.go_on_with_scram(kind, data),
            kind => Err(LoginError::Method(kind)),
        }
    }

    fn begin_scram(&mut self, mechanisms: &[u8]) -> Result<Zeroizing<Vec<u8>>, LoginError> {
        if !mechanisms.split(|byte| *byte == 0).any(|name| name == SCRAM_SHA_256.as_bytes()) {
            return Err(LoginError::Method(10));
        }
        let scram = ScramSha256::new(self.password()?, ChannelBinding::unsupported());
        let length = u32::try_from(scram.message().len()).map_err(|_too_long| LoginError::Protocol)?;
        let name = [SCRAM_SHA_256.as_bytes(), &[0]].concat();
        let answer = message(&[&name, &length.to_be_bytes(), scram.message()]);
        self.scram = Scram::Expects(Box::new(scram));
        Ok(answer)
    }

    fn go_on_with_scram(&mut self, kind: u32, data: &[u8]) -> Result<Option<Zeroizing<Vec<u8>>>, LoginError> {
        let Scram::Expects(scram) = &mut self.scram else { return Err(LoginError::Protocol) };
        if kind == 11 {
            scram.update(data).map_err(|_not_scram| LoginError::Protocol)?;
            return Ok(Some(message(&[scram.message()])));
        }
        scram.finish(data).map_err(|_wrong| LoginError::Unproven)?;
        self.scram = Scram::Proved;
        Ok(None)
    }

    fn password(&self) -> Result<&'a [u8], LoginError> {
        match &self.account.credential {
            Credential::Password(password) => Ok(password.expose()),
            Credential::Nothing | Credential::Certificate(_) => Err(LoginError::NoPassword),
        }
    }
}

/// PasswordMessage with a text.
fn text(text: &[u8]) -> Zeroizing<Vec<u8>> {
    message(&[text, &[0]])
}

/// PasswordMessage, SASLInitialResponse or SASLResponse.
fn message(parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    // Its whole room at once: a vector that grows leaves copies behind.
    let mut message = Zeroizing::new(Vec::with_capacity(HEADER_BYTES.saturating_add(length)));
    message.push(b'p');
    message.extend_from_slice(&u32::try_from(length.saturating_add(4)).unwrap_or(u32::MAX).to_be_bytes());
    parts.iter().for_each(|part| message.extend_from_slice(part));
    message
}

/// ErrorResponse: SQLSTATE and text (55.8).
fn refused(body: &[u8]) -> LoginError {
    let field = |wanted: u8| {
        let found = body.split(|byte| *byte == 0).find_map(|field| field.strip_prefix(&[wanted]));
        String::from_utf8_lossy(found.unwrap_or_default()).into_owned()
    };
    LoginError::Refused { sqlstate: field(b'C'), message: field(b'M') }
}

#[cfg(test)]
mod tests {
    use identity::secret::Secret;

    use super::*;

    fn account(given: Option<&str>) -> ServiceAccount {
        let password = |password: &str| Credential::Password(Secret::new(password.as_bytes().to_vec()));
        ServiceAccount { user: "service".into(), credential: given.map_or(Credential::Nothing, password) }
    }

    fn request(kind: u32, data: &[u8]) -> Vec<u8> {
        let length = u32::try_from(data.len() + 8).unwrap().to_be_bytes();
        [&b"R"[..], &length, &kind.to_be_bytes(), data].concat()
    }

    /// The last step after these bytes; answers are forgotten.
    fn after(account: &ServiceAccount, hearing: Hearing, bytes: &[u8]) -> Result<Step, LoginError> {
        let mut attempt = Attempt::new(account, hearing);
        bytes.iter().for_each(|byte| attempt.receive(&[*byte]));
        loop {
            match attempt.step()? {
                Step::Answer(_) => {}
                step => return Ok(step),
            }
        }
    }

    #[test]
    fn trust_is_passed_on_with_what_follows() {
        let bytes = [request(0, &[]), b"S\0\0\0\x08a\0b\0".to_vec()].concat();
        let Ok(Step::Done(passed)) = after(&account(None), Hearing::Anybody, &bytes) else { panic!() };
        assert_eq!(passed, bytes);
    }

    #[test]
    fn a_password_goes_where_nobody_else_reads_it() {
        let with = account(Some("open sesame"));
        let mut attempt = Attempt::new(&with, Hearing::Nobody);
        attempt.receive(&request(3, &[]));
        let Ok(Step::Answer(answer)) = attempt.step() else { panic!() };
        assert_eq!(&answer[..], b"p\0\0\0\x10open sesame\0");
        assert_eq!(attempt.counts, LoginCounts { to_server: 1, from_server: 1 });
        assert!(matches!(after(&with, Hearing::Anybody, &request(3, &[])), Err(LoginError::Exposed)));
        assert!(matches!(after(&account(None), Hearing::Nobody, &request(3, &[])), Err(LoginError::NoPassword)));
    }

    #[test]
    fn md5_is_of_password_role_and_salt() {
        let with = account(Some("password"));
        let mut attempt = Attempt::new(&with, Hearing::Anybody);
        attempt.receive(&request(5, &[1, 2, 3, 4]));
        let Ok(Step::Answer(answer)) = attempt.step() else { panic!() };
        assert_eq!(answer.len(), 5 + 35 + 1);
        assert!(answer[5..].starts_with(b"md5"));
    }

    #[test]
    fn a_server_that_skips_its_part_of_scram_is_not_believed() {
        let bytes = [request(10, b"SCRAM-SHA-256\0\0"), request(0, &[])].concat();
        assert!(matches!(after(&account(Some("x")), Hearing::Nobody, &bytes), Err(LoginError::Unproven)));
    }

    #[test]
    fn what_the_server_says_else_ends_the_login() {
        let with = account(Some("x"));
        let error = b"E\0\0\0\x1bSFATAL\0C28P01\0Mno way\0\0";
        let Err(LoginError::Refused { sqlstate, message }) = after(&with, Hearing::Nobody, error) else { panic!() };
        assert_eq!((sqlstate.as_str(), message.as_str()), ("28P01", "no way"));
        assert!(matches!(after(&with, Hearing::Nobody, &request(7, &[])), Err(LoginError::Method(7))));
        assert!(matches!(after(&with, Hearing::Nobody, b"Z\0\0\0\x05I"), Err(LoginError::Protocol)));
        assert!(matches!(after(&with, Hearing::Nobody, b"R\xff\0\0\0"), Err(LoginError::Protocol)));
        assert!(matches!(after(&with, Hearing::Nobody, &request(12, b"v=x")), Err(LoginError::Protocol)));
    }
}
