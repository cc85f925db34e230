//! How a person gets a token: the device flow (RFC 8628), and a refresh token afterwards (RFC 6749, section 6).
//!
//! The client is public: it has no secret of its own. One call is one question; who waits between them is the caller.

use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::discovery::{self, DiscoveryError, Metadata};
use crate::fetch::{Answer, Client, FetchError};
use crate::json;
use crate::mistake::ConfigError;
use crate::secret::Secret;
use crate::unverified;
use crate::url::HttpsUrl;

const DEVICE_GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";
/// Seconds between questions, unless the issuer says (RFC 8628, section 3.2), and the most it may say.
const INTERVAL_SECONDS: u64 = 5;
const INTERVAL_SECONDS_MAX: u64 = 60;
/// Longest time that a person may take.
const EXPIRY_SECONDS_MAX: u64 = 3600;
/// Longest text that is shown to a person.
const SHOWN_BYTES_MAX: usize = 2048;

/// As whom the program presents itself to an issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginClient {
    /// Client id that the issuer has given to `warder login`.
    pub id: String,
    /// Scopes to ask for, separated by spaces.
    pub scope: String,
    /// What the token is for (RFC 8707), where the issuer wants to be told.
    pub resource: Option<String>,
}

/// An issuer that gives tokens to people.
#[derive(Debug)]
pub struct Provider {
    client: Client,
    metadata: Metadata,
}

/// A login that waits for the person.
pub struct Device {
    code: Secret,
    /// What the person types.
    pub user_code: String,
    /// Where.
    pub address: String,
    /// The same with the code in it, where the issuer has one.
    pub whole_address: Option<String>,
    /// Wait for this long between questions.
    pub interval: Duration,
    /// Give up after this.
    pub expires_in: Duration,
}

/// What an issuer gives.
pub struct Tokens {
    /// The token to use.
    pub access: Secret,
    /// With this another one can be had without the person.
    pub refresh: Option<Secret>,
    /// How long the token lives, if the issuer says so.
    pub expires_in: Option<Duration>,
}

/// Whether the person has decided.
pub enum Poll {
    /// Not yet.
    Pending,
    /// Not yet, and the questions come too fast: wait 5 s longer from now on.
    SlowDown,
    /// Here is the token.
    Granted(Tokens),
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// What was given on the command line.
    #[error("{0}")]
    Configuration(ConfigError),
    /// The issuer cannot be found, or cannot do this.
    #[error("the issuer cannot be asked for a token; check its address, and that it allows the device flow")]
    Discovery(#[source] DiscoveryError),
    /// No answer.
    #[error("the issuer does not answer")]
    Fetch(#[source] FetchError),
    /// An answer that is none.
    #[error("the issuer's answer with HTTP status {0} cannot be understood")]
    Answer(u16),
    /// The person said no.
    #[error("the login was declined")]
    Declined,
    /// Nobody decided.
    #[error("the login was not confirmed in time; begin again")]
    Expired,
    /// Another error of the issuer.
    #[error("the issuer refused: {0}")]
    Refused(OauthWord),
}

/// An error code of an issuer (RFC 6749, section 5.2): letters and `_` only, so that it can be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OauthWord(String);

impl std::fmt::Display for OauthWord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl Provider {
    /// Asks an issuer for its metadata. `ca_file`: certificates to trust, PEM; absent: the system's.
    ///
    /// # Errors
    /// When it has none, or the addresses are not HTTPS.
    pub async fn discover(issuer: &str, ca_file: Option<&Path>) -> Result<Self, LoginError> {
        let wrong = |key, text| LoginError::Configuration(ConfigError { place: "login".to_owned(), key, text });
        let client =
            Client::new(ca_file).map_err(|mistake| LoginError::Configuration(mistake.at("login".to_owned())))?;
        let url = HttpsUrl::parse(&discovery::default_url(issuer)).map_err(|text| wrong("issuer", text))?;
        let metadata = Metadata::fetch(&client, &url, issuer).await.map_err(LoginError::Discovery)?;
        Ok(Self { client, metadata })
    }

    /// Begins a login.
    ///
    /// # Errors
    /// When the issuer does not.
    pub async fn begin(&self, client: &LoginClient) -> Result<Device, LoginError> {
        let mut form = vec![("client_id", &*client.id), ("scope", &*client.scope)];
        form.extend(client.resource.as_deref().map(|resource| ("resource", resource)));
        let answer = self.ask("device_authorization_endpoint", &form).await?;
        let object = success(&answer)?;
        device(&object).ok_or(LoginError::Answer(answer.status))
    }

    /// Asks once whether the person has decided.
    ///
    /// # Errors
    /// When the login has ended without a token.
    pub async fn poll(&self, client: &LoginClient, device: &Device) -> Result<Poll, LoginError> {
        let code = str::from_utf8(device.code.expose()).unwrap_or_default();
        let mut form = vec![("grant_type", DEVICE_GRANT), ("device_code", code), ("client_id", &*client.id)];
        form.extend(client.resource.as_deref().map(|resource| ("resource", resource)));
        match self.tokens(&form).await {
            Ok(tokens) => Ok(Poll::Granted(tokens)),
            Err(LoginError::Refused(word)) => match &*word.0 {
                "authorization_pending" => Ok(Poll::Pending),
                "slow_down" => Ok(Poll::SlowDown),
                "access_denied" => Err(LoginError::Declined),
                "expired_token" => Err(LoginError::Expired),
                _ => Err(LoginError::Refused(word)),
            },
            Err(error) => Err(error),
        }
    }

    /// Gets another token without the person. The old refresh token may be of no use afterwards.
    ///
    /// # Errors
    /// When the issuer gives none.
    pub async fn refresh(&self, client: &LoginClient, refresh: &Secret) -> Result<Tokens, LoginError> {
        let token = str::from_utf8(refresh.expose()).unwrap_or_default();
        let mut form = vec![("grant_type", "refresh_token"), ("refresh_token", token), ("client_id", &*client.id)];
        form.extend(client.resource.as_deref().map(|resource| ("resource", resource)));
        self.tokens(&form).await
    }

    async fn tokens(&self, form: &[(&str, &str)]) -> Result<Tokens, LoginError> {
        let answer = self.ask("token_endpoint", form).await?;
        let object = success(&answer)?;
        tokens(&object).ok_or(LoginError::Answer(answer.status))
    }

    async fn ask(&self, endpoint: &'static str, form: &[(&str, &str)]) -> Result<Answer, LoginError> {
        let url = self.metadata.address(endpoint).map_err(LoginError::Discovery)?;
        self.client.post(&url, form).await.map_err(LoginError::Fetch)
    }
}

/// The object of a success; otherwise the issuer's error.
fn success(answer: &Answer) -> Result<Map<String, Value>, LoginError> {
    let object = json::object(&answer.body).ok_or(LoginError::Answer(answer.status))?;
    if answer.status == 200 {
        return Ok(object);
    }
    let word = object.get("error").and_then(Value::as_str).unwrap_or_default();
    let shown =
        !word.is_empty() && word.len() <= 64 && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    Err(if shown { LoginError::Refused(OauthWord(word.to_owned())) } else { LoginError::Answer(answer.status) })
}

fn device(object: &Map<String, Value>) -> Option<Device> {
    let shown = |name: &str| {
        let text = object.get(name).and_then(Value::as_str)?;
        (!text.is_empty() && text.len() <= SHOWN_BYTES_MAX && !text.chars().any(char::is_control))
            .then(|| text.to_owned())
    };
    let seconds = |name: &str| object.get(name).and_then(Value::as_u64);
    Some(Device {
        code: secret(object, "device_code")?,
        user_code: shown("user_code")?,
        address: shown("verification_uri")?,
        whole_address: shown("verification_uri_complete"),
        interval: Duration::from_secs(seconds("interval").unwrap_or(INTERVAL_SECONDS).clamp(1, INTERVAL_SECONDS_MAX)),
        expires_in: Duration::from_secs(seconds("expires_in")?.min(EXPIRY_SECONDS_MAX)),
    })
}

fn tokens(object: &Map<String, Value>) -> Option<Tokens> {
    let bearer =
        object.get("token_type").and_then(Value::as_str).is_some_and(|kind| kind.eq_ignore_ascii_case("bearer"));
    Some(Tokens {
        access: secret(object, "access_token").filter(|_| bearer)?,
        refresh: secret(object, "refresh_token"),
        expires_in: object.get("expires_in").and_then(Value::as_u64).map(Duration::from_secs),
    })
}

/// One line of printable ASCII, as a token is.
fn secret(object: &Map<String, Value>, name: &str) -> Option<Secret> {
    let text = object.get(name).and_then(Value::as_str)?;
    let usable =
        !text.is_empty() && text.len() <= unverified::BYTES_MAX && text.bytes().all(|byte| byte.is_ascii_graphic());
    usable.then(|| Secret::new(text.as_bytes().to_vec()))
}
