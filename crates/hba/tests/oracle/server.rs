//! A private server on loopback, its log, and a client that says how it answers.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

const PROGRAMS: &str = "/usr/lib/postgresql/15/bin";
const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) struct Server {
    process: Child,
    client: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
    directory: TempDir,
    generation: u32,
    port: u16,
}

/// What the server made of an attempt.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Let in, or refused for a reason that comes after authentication.
    Admitted,
    /// It asked for something that the client does not answer.
    Asked(u32),
    /// It refused before it asked.
    Refused { sqlstate: String, message: Vec<u8> },
    /// It refused the answer, and its log names the line.
    Failed { line: u32, message: String },
}

fn as_postgres(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "INT", "--reuid", "postgres", "--regid", "postgres", "--clear-groups", "--"]);
    command.arg(program);
    command
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&output.stderr));
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Server {
    pub(crate) fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_owned();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let data = path.join("data");
        fs::create_dir(&data).unwrap();
        run(Command::new("chown").arg("postgres:postgres").arg(&data));
        run(as_postgres(Path::new(PROGRAMS).join("initdb"))
            .args(["--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C", "--username=postgres", "-D"])
            .arg(&data)
            .current_dir(&path));
        let (key, certificate) = (data.join("server.key"), data.join("server.crt"));
        run(as_postgres("openssl")
            .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-keyout"])
            .arg(&key)
            .arg("-out")
            .arg(&certificate));
        run(Command::new("chmod").arg("600").arg(&key));
        let port = free_port();
        let settings = format!(
            "port = {port}\nlisten_addresses = '127.0.0.1,::1'\nunix_socket_directories = '{}'\nssl = on\nfsync = off\n\
             log_line_prefix = ''\nlc_messages = 'C'\nautovacuum = off\nshared_buffers = '16MB'\n\
             authentication_timeout = 20\n",
            data.display()
        );
        fs::write(data.join("postgresql.auto.conf"), settings).unwrap();
        let log = File::create(path.join("log")).unwrap();
        let mut start = as_postgres(Path::new(PROGRAMS).join("postgres"));
        start.arg("-D").arg(&data).current_dir(&data).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let process = start.spawn().unwrap();
        let mut client = as_postgres("/usr/bin/python3");
        let driver = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/oracle/client.py");
        // The account may not be able to enter the folders above the driver.
        client.arg("-c").arg(fs::read_to_string(driver).unwrap()).arg(port.to_string());
        client.arg(data.join(format!(".s.PGSQL.{port}"))).current_dir("/");
        let mut client = client.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let requests = client.stdin.take().unwrap();
        let answers = BufReader::new(client.stdout.take().unwrap());
        let mut server = Self { process, client, requests, answers, directory, generation: 0, port };
        server.until("start", |server| server.say("local\t\tnone\t706f737467726573\t\tno") == "ok");
        server
    }

    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.directory.path().join("log")).unwrap()).into_owned()
    }

    /// Runs SQL as the superuser over the Unix socket.
    pub(crate) fn sql(&self, sql: &str) {
        let mut command = Command::new(Path::new(PROGRAMS).join("psql"));
        command.args([
            "-XqAt",
            "-v",
            "ON_ERROR_STOP=1",
            "-U",
            "postgres",
            "-d",
            "postgres",
            "-p",
            &self.port.to_string(),
        ]);
        run(command.arg("-h").arg(self.directory.path().join("data")).args(["-c", sql]));
    }

    /// Asks the server until it answers as it should: each condition is a connection, which paces the loop.
    fn until(&mut self, what: &str, mut condition: impl FnMut(&mut Self) -> bool) {
        let start = Instant::now();
        while !condition(self) {
            assert!(start.elapsed() < DEADLINE, "{what}:\n{}", self.log());
        }
    }

    fn say(&mut self, request: &str) -> String {
        writeln!(self.requests, "{request}").unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        answer.trim_end().to_owned()
    }

    /// Writes rules and has them loaded; the text in front of them, or nothing where the server does not take them.
    pub(crate) fn load(&mut self, rules: &[u8]) -> Option<Vec<u8>> {
        self.generation += 1;
        let mark = format!("mark{}", self.generation);
        let mut text = format!("local all {mark} password\n").into_bytes();
        text.extend_from_slice(rules);
        fs::write(self.directory.path().join("data/pg_hba.conf"), &text).unwrap();
        let before = self.log().len();
        run(Command::new("kill").args(["-HUP", &self.process.id().to_string()]));
        let probe = format!("local\t\tnone\t{}\t706f737467726573\tno", hex(mark.as_bytes()));
        let mut taken = false;
        self.until("reload", |server| {
            let log = server.log();
            let refused = log.get(before..).unwrap_or_default().contains("pg_hba.conf was not reloaded");
            let _ = server.say(&probe);
            taken = server.log().contains(&format!("line 1: \"local all {mark} password"));
            refused || taken
        });
        taken.then_some(text)
    }

    pub(crate) fn attempt(&mut self, request: &str) -> Outcome {
        let before = self.log().len();
        let answer = self.say(request);
        let words: Vec<&str> = answer.split(' ').collect();
        let log = self.log().get(before..).unwrap_or_default().to_owned();
        match words.as_slice() {
            ["ok"] => Outcome::Admitted,
            ["asked", code] => Outcome::Asked(code.parse().unwrap()),
            ["error", sqlstate, message] => {
                let message = unhex(message);
                match log.split_once("Connection matched pg_hba.conf line ") {
                    Some((_, rest)) => Outcome::Failed {
                        line: rest.split(':').next().unwrap().parse().unwrap(),
                        message: String::from_utf8_lossy(&message).into_owned(),
                    },
                    None => Outcome::Refused { sqlstate: (*sqlstate).to_owned(), message },
                }
            }
            _ => panic!("{request}: {answer}"),
        }
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).filter_map(|at| u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()).collect()
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.client.kill();
        let _ = self.client.wait();
        let _ = Command::new("kill").args(["-INT", &self.process.id().to_string()]).status();
        let _ = self.process.wait();
    }
}
