//! The examples of `docs/identity.md` are right.

use identity::certificate::CertificateRules;
use identity::config::IdentityConfig;
use identity::issuers::Issuers;
use identity::process_rules::ProcessRules;
use rcgen::{CertificateParams, KeyPair};
use serde::Deserialize;

#[derive(Deserialize)]
struct File {
    identity: IdentityConfig,
}

#[test]
fn every_example_can_be_configured() {
    let folder = tempfile::tempdir().unwrap();
    // The machine that tests need not trust anybody.
    let ca_file = folder.path().join("ca.pem");
    let authority = CertificateParams::new(vec![]).unwrap().self_signed(&KeyPair::generate().unwrap()).unwrap();
    std::fs::write(&ca_file, authority.pem()).unwrap();
    let text = include_str!("../../../../docs/identity.md");
    let examples: Vec<&str> = text.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert_eq!(examples.len(), 4);
    for example in examples {
        let mut identity = toml::from_str::<File>(example).unwrap().identity;
        for issuer in &mut identity.issuer {
            issuer.ca_file = Some(ca_file.clone());
        }
        Issuers::new(&identity.issuer).unwrap();
        CertificateRules::new(&identity.certificate).unwrap();
        ProcessRules::new(&identity.process).unwrap();
    }
}
