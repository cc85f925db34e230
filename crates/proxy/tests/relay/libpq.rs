//! The real client of OAUTHBEARER: libpq 18, from the package of that server (`WARDER_LIBPQ`: the folder of `libpq.so.5`).

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::oauth;
use crate::support::cluster::Cluster;
use crate::support::proxy::Proxy;
use crate::support::tokens::Issuer;

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/relay/libpq/client.c");

struct Client {
    folder: TempDir,
    libraries: PathBuf,
}

impl Client {
    fn build() -> Self {
        let libraries = PathBuf::from(std::env::var_os("WARDER_LIBPQ").expect("WARDER_LIBPQ names a folder"));
        let folder = tempfile::tempdir().unwrap();
        let mut compiler = Command::new("cc");
        compiler.arg(SOURCE).arg(libraries.join("libpq.so.5")).arg("-o").arg(folder.path().join("client"));
        // What libpq itself needs lies beside it.
        let output = compiler.arg("-Wl,--allow-shlib-undefined").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Self { folder, libraries }
    }

    fn run(&self, proxy: &Proxy, token: &str, issuer: &str) -> Output {
        let target = format!(
            "host=127.0.0.1 port={} user=alice dbname=postgres sslmode=disable gssencmode=disable \
             oauth_issuer={issuer} oauth_client_id=warder",
            proxy.port
        );
        let libraries: &Path = &self.libraries;
        let mut client = Command::new(self.folder.path().join("client"));
        client.arg(target).env("TOKEN", token).env("LD_LIBRARY_PATH", libraries).output().unwrap()
    }
}

#[test]
fn libpq_18_finds_out_where_to_get_a_token_and_logs_in() {
    let (client, issuer, cluster) = (Client::build(), Issuer::new(), Cluster::start("", ""));
    let proxy = oauth::start(&cluster, &issuer);
    let output = client.run(&proxy, &issuer.good(), "https://issuer.example.com");
    let told = format!("{} openid warder\npostgres\n", oauth::METADATA);
    assert_eq!(String::from_utf8_lossy(&output.stdout), told, "{}", String::from_utf8_lossy(&output.stderr));
    for (token, of, expected) in [
        (issuer.token("another", 300), "https://issuer.example.com", "meant for somebody else"),
        (issuer.good(), "https://other.example.com", "incompatible with oauth_issuer"),
    ] {
        let output = client.run(&proxy, &token, of);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && error.contains(expected), "{error}");
    }
}
