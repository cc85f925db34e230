//! Clients with tokens: an issuer of the test, and the verification that the agent's core does.

use std::fs;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use guard::Judge;
use identity::config::{CertificateConfig, CertificateName, IssuerConfig, Kind};
use identity::proof::Proofs;
use identity::secret::Secret;
use model::Known;
use model::id::DatabaseId;
use model::principal::UnknownPrincipal;
use model::time::WallTime;
use model::verdict::{Mode, PolicyEpoch};
use policy::{PolicyFile, PolicySet, UtcOffset};
use proxy::{
    Credential, Governor, Hops, Identification, Identified, Identities, Nobody, OwnCertificate, ServiceAccount,
    UpstreamLogin, Worker,
};
use serde_json::json;
use tempfile::TempDir;

use crate::issuer::{SigningKey, key_set};

const ISSUER: &str = "https://issuer.example.com/";
const AUDIENCE: &str = "warder";
/// Everything is allowed to whoever is known.
const POLICIES: &str = r#"
@id("persons")
@reason("persons may do everything")
permit (principal is Person, action, resource);

@id("services")
@reason("services may do everything")
permit (principal is Service, action, resource);
"#;

/// The issuer.
pub struct Issuer {
    key: SigningKey,
    folder: TempDir,
}

impl Issuer {
    pub fn new() -> Self {
        let (key, folder) = (SigningKey::p256("first").unwrap(), tempfile::tempdir().unwrap());
        fs::write(folder.path().join("jwks.json"), key_set(&[key.jwk()]).to_string()).unwrap();
        Self { key, folder }
    }

    /// A token of alice that ends so many seconds from now.
    pub fn token(&self, audience: &str, seconds: i64) -> String {
        let now = i64::try_from(now().0 / 1_000_000_000).unwrap();
        let claims = json!({
            "iss": ISSUER, "sub": "alice@example.com", "aud": audience,
            "iat": now.min(now + seconds) - 60, "exp": now + seconds,
        });
        self.key.token("ES256", &claims).unwrap()
    }

    pub fn good(&self) -> String {
        self.token(AUDIENCE, 300)
    }

    /// What a listener needs where the service account has this password.
    pub fn login(&self, user: &str, password: Option<&str>) -> TokenLogin {
        TokenLogin {
            keys: self.folder.path().join("jwks.json"),
            user: user.to_owned(),
            credential: password.map_or(Credential::Nothing, |password| {
                Credential::Password(Secret::new(password.as_bytes().to_vec()))
            }),
        }
    }
}

/// Logins by token, for the thread of the worker.
pub struct TokenLogin {
    keys: PathBuf,
    user: String,
    credential: Credential,
}

impl TokenLogin {
    /// The same, of a service account with a certificate.
    pub fn with_certificate(self, own: OwnCertificate) -> Self {
        Self { credential: Credential::Certificate(own), ..self }
    }

    pub fn set(self, worker: &Worker<impl Hops>) {
        let mut config = IssuerConfig::new("test", ISSUER, AUDIENCE);
        config.jwks_file = Some(self.keys);
        // The test's clock is the issuer's.
        config.skew_seconds = Some(0);
        let file = PolicyFile { name: "test.cedar".into(), text: POLICIES.into() };
        let policies = PolicySet::compile(&[file], PolicyEpoch(1)).unwrap();
        let governor = Governor {
            judge: Rc::new(Judge::new(policies, Rc::default())),
            mode: Mode::Enforce,
            environment: "test".into(),
            utc_offset: UtcOffset::default(),
            identities: Rc::new(Core(Rc::new(Proofs::new(&[config], &certificates()).unwrap()))),
            holds: Rc::new(Nobody),
        };
        worker.set_governor(DatabaseId(0), governor);
        let account = ServiceAccount { user: self.user, credential: self.credential };
        worker.set_upstream_login(DatabaseId(0), UpstreamLogin::Account(Rc::new(account)));
    }
}

/// SPIFFE ids of one trust domain, and common names.
fn certificates() -> [CertificateConfig; 2] {
    let rule = |name| CertificateConfig {
        name,
        kind: Kind::Service,
        trust_domain: None,
        path_prefix: None,
        domain: None,
        authority: None,
        groups: vec![],
    };
    let (spiffe, common) = (rule(CertificateName::Spiffe), rule(CertificateName::CommonName));
    [
        CertificateConfig { trust_domain: Some("example.org".into()), ..spiffe },
        CertificateConfig { authority: Some("test".into()), ..common },
    ]
}

/// What the agent's core does with a proof.
struct Core(Rc<Proofs>);

impl Identities for Core {
    fn identify(&self, asked: Identification) -> Pin<Box<dyn Future<Output = Identified>>> {
        let proofs = Rc::clone(&self.0);
        Box::pin(async move {
            let verified = match &asked.proof {
                Some(proof) => proofs.verify(proof, now()).await,
                None => {
                    let principal = Known::Unknown(UnknownPrincipal::NoProof);
                    return Identified { principal, process: None, refusal: None, role: None };
                }
            };
            let refusal = verified.as_ref().err().copied();
            let principal = match verified {
                Ok(verified) => Known::Known(verified.principal().clone()),
                Err(error) => Known::Unknown(error.unknown()),
            };
            Identified { principal, process: None, refusal, role: None }
        })
    }
}

#[expect(clippy::disallowed_methods, reason = "the home of the tests' clock of tokens")]
pub fn now() -> WallTime {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    WallTime(since.as_nanos().try_into().unwrap())
}
