//! An issuer over HTTPS that answers as it is told, and counts.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls_pki_types::PrivateKeyDer;
use serde_json::json;
use tempfile::TempDir;
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned, crypto};

const KEYS: &str = "/keys";
const METADATA: &str = "/.well-known/openid-configuration";

/// A running issuer.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    folder: TempDir,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    answers: HashMap<String, String>,
    /// Requests by path.
    asked: HashMap<String, usize>,
    down: bool,
}

impl Server {
    /// Begins to serve `keys`, with right metadata.
    pub(crate) fn start(keys: &serde_json::Value) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (config, authority) = tls();
        std::fs::write(folder.path().join("ca.pem"), authority).unwrap();
        let state: Arc<Mutex<State>> = Arc::default();
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (config, state) = (Arc::clone(&config), Arc::clone(&shared));
                std::thread::spawn(move || serve(stream.unwrap(), config, &state));
            }
        });
        let server = Self { address, folder, state };
        server.answer_keys(keys);
        server.answer(METADATA, 200, &server.metadata().to_string());
        server
    }

    /// Its `iss`.
    pub(crate) fn issuer(&self) -> String {
        format!("https://127.0.0.1:{}", self.address.port())
    }

    pub(crate) fn metadata(&self) -> serde_json::Value {
        json!({ "issuer": self.issuer(), "jwks_uri": format!("{}{KEYS}", self.issuer()) })
    }

    pub(crate) fn ca_file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    pub(crate) fn answer_keys(&self, keys: &serde_json::Value) {
        self.answer(KEYS, 200, &keys.to_string());
    }

    pub(crate) fn answer_metadata(&self, text: &str) {
        self.answer(METADATA, 200, text);
    }

    /// From now on, to requests for `path`.
    pub(crate) fn answer(&self, path: &str, status: u16, body: &str) {
        let head = format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\nlocation: {KEYS}\r\n\r\n", body.len());
        self.state.lock().unwrap().answers.insert(path.to_owned(), head + body);
    }

    /// Connections are closed unanswered from now on, or no longer.
    pub(crate) fn set_down(&self, down: bool) {
        self.state.lock().unwrap().down = down;
    }

    /// Questions for keys so far.
    pub(crate) fn asked(&self) -> usize {
        self.state.lock().unwrap().asked.get(KEYS).copied().unwrap_or_default()
    }
}

/// A server's configuration with a new certificate for 127.0.0.1, and the authority to trust.
fn tls() -> (Arc<ServerConfig>, String) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let own = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
        .unwrap();
    (Arc::new(config), authority.pem())
}

/// Serves one connection; a client may go away at any time.
fn serve(stream: TcpStream, config: Arc<ServerConfig>, state: &Mutex<State>) -> Option<()> {
    if state.lock().unwrap().down {
        return None;
    }
    let mut stream = BufReader::new(StreamOwned::new(ServerConnection::new(config).unwrap(), stream));
    let mut line = String::new();
    stream.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    while line.trim() != "" {
        line.clear();
        stream.read_line(&mut line).ok()?;
    }
    let answer = {
        let mut state = state.lock().unwrap();
        *state.asked.entry(path.clone()).or_default() += 1;
        state.answers.get(&path).cloned()
    };
    let answer = answer.unwrap_or_else(|| "HTTP/1.1 404 x\r\ncontent-length: 0\r\n\r\n".to_owned());
    stream.get_mut().write_all(answer.as_bytes()).ok()?;
    stream.get_mut().conn.send_close_notify();
    stream.get_mut().flush().ok()
}
