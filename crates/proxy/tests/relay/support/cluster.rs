//! A private PostgreSQL cluster with TLS. As `warder-tests` has one, which a crate of the layers must not use.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, Weak};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User};
use tempfile::TempDir;

use super::wait;

pub struct Cluster {
    server: Child,
    pub directory: TempDir,
    pub port: u16,
    _template: Arc<TempDir>,
}

fn programs() -> PathBuf {
    let mut majors: Vec<_> = fs::read_dir("/usr/lib/postgresql").unwrap().map(|entry| entry.unwrap().path()).collect();
    majors.sort();
    majors.pop().expect("PostgreSQL is installed").join("bin")
}

fn as_postgres(program: &Path) -> Command {
    let user = User::from_name("postgres").unwrap().expect("there is a user postgres");
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "INT", "--reuid", &user.uid.to_string(), "--regid", &user.gid.to_string()]);
    command.args(["--clear-groups", "--"]).arg(program);
    command
}

fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn own(path: &Path, mode: u32) {
    let user = User::from_name("postgres").unwrap().unwrap();
    chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw())).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A certificate for `localhost` of an authority of its own.
fn certificate(directory: &Path, name: &str) {
    let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    // With the same name as the server's certificate it would be taken for that one's own.
    authority.distinguished_name.push(rcgen::DnType::CommonName, format!("authority of {name}"));
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let authority_certificate = authority.self_signed(&authority_key).unwrap();
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let server = rcgen::CertificateParams::new(vec!["localhost".into(), "127.0.0.1".into()]).unwrap();
    let server = server.signed_by(&key, &issuer).unwrap();
    for (suffix, text) in
        [("authority", authority_certificate.pem()), ("crt", server.pem()), ("key", key.serialize_pem())]
    {
        let path = directory.join(format!("{name}.{suffix}"));
        fs::write(&path, text).unwrap();
        own(&path, if suffix == "key" { 0o600 } else { 0o644 });
    }
}

/// An empty cluster, which all that run at the same time are copied from. It goes with the last of them.
fn template() -> Arc<TempDir> {
    static TEMPLATE: Mutex<Weak<TempDir>> = Mutex::new(Weak::new());
    let mut template = TEMPLATE.lock().unwrap();
    if let Some(directory) = template.upgrade() {
        return directory;
    }
    let directory = tempfile::tempdir().unwrap();
    own(directory.path(), 0o755);
    let mut initdb = as_postgres(&programs().join("initdb"));
    initdb.args(["--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C", "-U", "postgres", "-D"]);
    run(initdb.arg(directory.path().join("data")));
    let directory = Arc::new(directory);
    *template = Arc::downgrade(&directory);
    directory
}

impl Cluster {
    /// `access`: lines of pg_hba.conf in front of trust for everybody.
    pub fn start(access: &str, settings: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        own(directory.path(), 0o755);
        certificate(directory.path(), "server");
        certificate(directory.path(), "other");
        let data = directory.path().join("data");
        let template = template();
        run(Command::new("cp").arg("-a").arg(template.path().join("data")).arg(&data));
        let port = free_port();
        let hba = data.join("pg_hba.conf");
        fs::write(
            &hba,
            format!("{access}\nlocal all all trust\nhost all all all trust\nhost replication all all trust\n"),
        )
        .unwrap();
        let path = directory.path().display();
        let text = format!(
            "port = {port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = '{path}'\nfsync = off\n\
             shared_buffers = 64MB\nmax_connections = 100\nautovacuum = off\nssl = on\n\
             ssl_cert_file = '{path}/server.crt'\nssl_key_file = '{path}/server.key'\n\
             password_encryption = scram-sha-256\nwal_level = logical\n{settings}\n"
        );
        fs::write(data.join("postgresql.auto.conf"), text).unwrap();
        let log = fs::File::create(directory.path().join("log")).unwrap();
        let mut server = as_postgres(&programs().join("postgres"));
        let server = server.arg("-D").arg(&data).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let cluster = Self { server: server.spawn().unwrap(), directory, port, _template: template };
        wait::until("the server", || cluster.direct("select 1").status.success());
        cluster
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.file(name)).unwrap()
    }

    pub fn program(name: &str) -> Command {
        let mut command = Command::new(programs().join(name));
        command.env("PSQLRC", "/dev/null").env("PGCONNECT_TIMEOUT", "20");
        command
    }

    /// psql over the Unix socket, not through any proxy.
    pub fn direct(&self, sql: &str) -> std::process::Output {
        let mut psql = Self::program("psql");
        let host = format!("host={} port={} user=postgres dbname=postgres", self.directory.path().display(), self.port);
        psql.args(["-XqAt", "-v", "ON_ERROR_STOP=1", "-c", sql, &host]).output().unwrap()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let pid = Pid::from_raw(i32::try_from(self.server.id()).unwrap());
        let _gone = kill(pid, Signal::SIGQUIT);
        let _gone = self.server.wait();
    }
}
