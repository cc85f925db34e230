//! The opening of a connection: encryption, start-up, authentication (55.2.1, 55.2.10 to 55.2.12).

use model::session::Encryption;
use model::wire::WireEvent;

use crate::frame::{Broken, Message, Phase};
use crate::limits::Start;
use crate::queue::Request;
use crate::reader::Reader;
use crate::session::{Session, Sink};
use crate::text;

/// CancelRequest: 1234 in the high 16 bits, 5678 in the low ones.
pub(crate) const CANCEL_REQUEST: u32 = 0x04d2_162e;
/// SSLRequest: 1234, 5679.
const SSL_REQUEST: u32 = 0x04d2_162f;
/// GSSENCRequest: 1234, 5680.
const GSSENC_REQUEST: u32 = 0x04d2_1630;

/// How far the opening has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// No StartupMessage yet.
    First,
    /// The same, but an observer that joined late may have missed it.
    Joined,
    /// StartupMessage seen; ReadyForQuery not.
    Login,
    /// ReadyForQuery seen.
    Open,
}

/// What the client asked for, until the server's one-byte answer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    Nothing,
    Tls,
    Gss,
}

pub(crate) struct Opening {
    stage: Stage,
    asked: Asked,
    agreed: bool,
}

impl Opening {
    pub(crate) const fn new(start: Start) -> Self {
        let stage = match start {
            Start::FirstByte => Stage::First,
            Start::MidStream => Stage::Joined,
        };
        Self { stage, asked: Asked::Nothing, agreed: false }
    }

    pub(crate) const fn phase(&self) -> Phase {
        match self.stage {
            Stage::First => Phase::First,
            Stage::Joined | Stage::Login => Phase::Opening,
            Stage::Open => Phase::Open,
        }
    }

    /// The server's next byte answers an encryption request.
    pub(crate) fn awaits_answer(&self) -> bool {
        self.asked != Asked::Nothing
    }

    /// ReadyForQuery.
    pub(crate) const fn open(&mut self) {
        self.stage = Stage::Open;
    }

    /// Part of the opening was lost.
    pub(crate) fn lose(&mut self) {
        if self.stage == Stage::First {
            self.stage = Stage::Joined;
        }
    }
}

impl Session {
    /// SSLRequest, GSSENCRequest, CancelRequest, StartupMessage.
    pub(crate) fn opening_packet(&mut self, message: &Message<'_>, sink: Sink<'_>) -> Result<(), Broken> {
        if self.opening.stage == Stage::Login {
            return Err("a second start-up packet");
        }
        match message.code {
            SSL_REQUEST => self.opening.asked = Asked::Tls,
            GSSENC_REQUEST => self.opening.asked = Asked::Gss,
            CANCEL_REQUEST => {
                if let Some(pid) = Reader::new(&message.body).u32() {
                    sink(WireEvent::CancelRequested { pid });
                }
            }
            code => {
                let [major_high, major, minor_high, minor] = code.to_be_bytes();
                let protocol = (u16::from_be_bytes([major_high, major]), u16::from_be_bytes([minor_high, minor]));
                if protocol.0 != 3 {
                    return Err("unknown protocol version");
                }
                self.startup(protocol, &message.body, sink);
            }
        }
        Ok(())
    }

    /// Whether the connection is encrypted is not said here if the server's answer to an encryption request was not
    /// seen: servers up to 16 send it outside of what a content probe sees.
    fn startup(&mut self, protocol: (u16, u16), body: &[u8], sink: Sink<'_>) {
        if !self.opening.agreed && !self.opening.awaits_answer() {
            sink(WireEvent::Encryption(Encryption::Plaintext));
        }
        self.opening.stage = Stage::Login;
        let mut body = Reader::new(body);
        let mut parameters = Vec::new();
        while (parameters.len() as u64) < u64::from(self.limits.startup_parameters_max)
            && let Some(name) = body.cstr().filter(|name| !name.is_empty())
            && let Some(value) = body.cstr()
        {
            parameters.push((text::owned(name, usize::MAX), text::owned(value, usize::MAX)));
        }
        sink(WireEvent::Startup { protocol, parameters });
        self.ask(Request::Startup, sink);
    }

    /// The first byte of the server after an encryption request. `true`: it was the answer. A client that did not wait
    /// for it can only have been told no: the answer that comes behind its StartupMessage is no notice.
    pub(crate) fn encryption_answer(&mut self, byte: u8, sink: Sink<'_>) -> bool {
        let is_late = self.opening.stage == Stage::Login;
        let encryption = match (self.opening.asked, byte) {
            (Asked::Tls, b'S') if !is_late => Some(Encryption::Tls),
            (Asked::Gss, b'G') if !is_late => Some(Encryption::Gss),
            (Asked::Tls | Asked::Gss, b'N') => is_late.then_some(Encryption::Plaintext),
            _ => {
                self.opening.asked = Asked::Nothing;
                return false;
            }
        };
        self.opening.asked = Asked::Nothing;
        if let Some(encryption) = encryption {
            self.opening.agreed = encryption != Encryption::Plaintext;
            sink(WireEvent::Encryption(encryption));
        }
        true
    }

    /// Ciphertext: direct TLS, unless TLS was agreed on before.
    pub(crate) fn tls_record(&mut self, sink: Sink<'_>) {
        if !self.opening.agreed {
            self.opening.agreed = true;
            sink(WireEvent::Encryption(Encryption::Tls));
        }
    }

    /// Authentication request: its code only.
    pub(crate) fn authentication(&mut self, message: &Message<'_>, sink: Sink<'_>) {
        let method = match Reader::new(&message.body).u32() {
            Some(0) => return self.say(WireEvent::Authenticated, sink),
            Some(2) => "kerberos_v5",
            Some(3) => "cleartext_password",
            Some(5) => "md5_password",
            Some(6) => "scm_credential",
            Some(7) => "gss",
            Some(9) => "sspi",
            Some(10) => "sasl",
            _ => return,
        };
        self.say(WireEvent::AuthenticationRequested(method), sink);
    }

    /// BackendKeyData: the process id only.
    pub(crate) fn backend_key_data(&mut self, message: &Message<'_>, sink: Sink<'_>) {
        if let Some(pid) = Reader::new(&message.body).u32() {
            self.say(WireEvent::BackendPid(pid), sink);
        }
    }

    pub(crate) fn parameter_status(&mut self, message: &Message<'_>, sink: Sink<'_>) {
        let mut body = Reader::new(&message.body);
        if let (Some(name), Some(value)) = (body.cstr(), body.cstr()) {
            let (name, value) = (text::owned(name, usize::MAX), text::owned(value, usize::MAX));
            self.say(WireEvent::ParameterStatus { name, value }, sink);
        }
    }

    pub(crate) fn notification(&mut self, message: &Message<'_>, sink: Sink<'_>) {
        let mut body = Reader::new(&message.body);
        if let (Some(_pid), Some(channel)) = (body.u32(), body.cstr()) {
            self.say(WireEvent::Notification { channel: text::owned(channel, usize::MAX) }, sink);
        }
    }
}
