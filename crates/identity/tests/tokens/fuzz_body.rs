//! The body of the fuzz target `token`: nothing that comes from a client proves anything without a key, or panics.

use std::future::Future;
use std::pin::pin;
use std::sync::LazyLock;
use std::task::{Context, Poll, Waker};

use base64ct::{Base64UrlUnpadded, Encoding as _};
use identity::certificate::CertificateRules;
use identity::config::{CertificateConfig, CertificateName, IssuerConfig, Kind};
use identity::issuers::Issuers;
use identity::oauthbearer;
use identity::secret::Secret;
use model::time::WallTime;

/// The public half of RFC 8037's example, appendix A.2.
const KEYS: &str =
    r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"k","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
const NOW: WallTime = WallTime(1_767_225_600_000_000_000);

static ISSUERS: LazyLock<Issuers> = LazyLock::new(|| {
    let file = std::env::temp_dir().join(format!("warder-fuzz-{}.json", std::process::id()));
    std::fs::write(&file, KEYS).unwrap();
    let config = IssuerConfig {
        algorithms: Some(vec!["EdDSA".into()]),
        jwks_file: Some(file.clone()),
        ..IssuerConfig::new("fuzz", "i", "a")
    };
    let issuers = Issuers::new(&[config]).unwrap();
    std::fs::remove_file(file).unwrap();
    issuers
});

static CERTIFICATES: LazyLock<CertificateRules> = LazyLock::new(|| {
    let rule = CertificateConfig {
        name: CertificateName::CommonName,
        kind: Kind::Service,
        trust_domain: None,
        path_prefix: None,
        domain: None,
        authority: Some("fuzz".into()),
        groups: vec![],
    };
    CertificateRules::new(&[rule]).unwrap()
});

pub fn run(data: &[u8]) {
    refused(data);
    // The same where a parser behind base64 reads it: as a header, as claims, as a signature.
    let header = r#"{"alg":"EdDSA","kid":"k"}"#.as_bytes();
    let claims = r#"{"iss":"i","aud":"a","sub":"s","iat":1767225600,"exp":1767225700}"#.as_bytes();
    for parts in [[data, claims, &[0; 64]], [header, data, &[0; 64]], [header, claims, data]] {
        refused(parts.map(Base64UrlUnpadded::encode_string).join(".").as_bytes());
    }
    let _either = oauthbearer::parse(data);
    let _either = oauthbearer::parse(&[b"n,,\x01", data, b"\x01\x01"].concat());
    let _either = CERTIFICATES.verify(&[data.into()]);
}

fn refused(token: &[u8]) {
    assert!(ready(ISSUERS.verify(&Secret::new(token.to_vec()), NOW)).is_err(), "nobody has signed this");
}

/// With keys of a file nothing waits.
fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("a file is not waited for"),
    }
}
