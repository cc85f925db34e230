//! The control socket with real sockets and real peers.
#![allow(clippy::unwrap_used, clippy::panic, clippy::allow_attributes, reason = "helpers of tests")]
#![expect(clippy::disallowed_methods, reason = "tests live in real time: deadlines need the clock")]

use std::cell::{Cell, RefCell};
use std::fs::Permissions;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use agent::control::client::{self, ClientError};
use agent::control::grants::{GrantAsk, GrantVerb, GrantView};
use agent::control::server::{Caller, Handler, serve};
use agent::control::{AccessView, KeyView, LiveSession, ScanView, StatusView, SteerVerb, SteeringView};
use model::Known;
use model::id::{BootId, DatabaseId, HostId, SessionId, SocketCookie};
use model::principal::UnknownPrincipal;
use model::process::UnknownProcess;
use model::session::{Encryption, Ledger, Login, Origin, Session, Transport};
use model::time::{BootTime, WallTime};
use nix::unistd::Gid;

/// A group that nobody on the test machine is a member of.
const VIEWERS: u32 = 54_321;
const NOBODY: u32 = 65_534;

struct Core {
    sessions: Vec<Session>,
    /// Lists that are being made, and the most that were at once.
    lists: Cell<(usize, usize)>,
    recorded: Rc<RefCell<Vec<(&'static str, u32)>>>,
}

impl Handler for Core {
    fn sessions(&self, visit: &mut dyn FnMut(LiveSession<'_>)) {
        for session in &self.sessions {
            visit(LiveSession {
                session,
                since: WallTime(1_000_000_000),
                current: Some(("select 1", WallTime(2_000_000_000))),
            });
        }
    }

    fn status(&self) -> StatusView {
        StatusView { version: "9.9".into(), sessions: self.sessions.len() as u64, ..StatusView::default() }
    }

    async fn scan(&self) -> Result<ScanView, String> {
        if self.sessions.is_empty() {
            Err("nothing to scan".into())
        } else {
            Ok(ScanView { sessions: 3, ..ScanView::default() })
        }
    }

    async fn steer(&self, what: SteerVerb, database: Option<String>) -> Result<Vec<SteeringView>, String> {
        match database {
            Some(database) => Ok(vec![SteeringView { database, steered: what == SteerVerb::On, ..Default::default() }]),
            None => Err("no database has a proxy".into()),
        }
    }

    fn accesses(&self) -> Vec<AccessView> {
        vec![AccessView { role: Some("warder_s_0".into()), ..AccessView::default() }]
    }

    async fn end_access(&self, whose: &str, _: u32) -> Vec<AccessView> {
        self.accesses().into_iter().filter(|access| access.role.as_deref() == Some(whose)).collect()
    }

    fn rotate_key(&self) -> Result<KeyView, String> {
        if self.sessions.is_empty() {
            Err("the disk is full".into())
        } else {
            Ok(KeyView { key: "0123456789abcdef".into() })
        }
    }

    async fn grants(&self, verb: GrantVerb, _: GrantAsk, _: Caller) -> Result<Vec<GrantView>, (&'static str, String)> {
        if verb != GrantVerb::List {
            return Err(("refused", "nobody asks here".into()));
        }
        let (now, most) = self.lists.get();
        self.lists.set((now + 1, most.max(now + 1)));
        tokio::time::sleep(Duration::from_millis(50)).await;
        let (now, most) = self.lists.get();
        self.lists.set((now - 1, most));
        Ok(vec![GrantView { seconds: most as u64, ..GrantView::default() }])
    }

    fn record_operator(&self, verb: &'static str, uid: u32) {
        self.recorded.borrow_mut().push((verb, uid));
    }
}

fn session(cookie: u64) -> Session {
    Session {
        id: SessionId { host: HostId(0), boot: BootId(0), cookie: SocketCookie(cookie) },
        database: DatabaseId(0),
        database_name: "main".into(),
        transport: Transport::Unix { path: "/run/s".into() },
        origin: Origin::Opened,
        opened: BootTime(0),
        client_cookie: None,
        client: Known::Unknown(UnknownProcess::Gone),
        principal: Known::Unknown(UnknownPrincipal::NotAsked),
        peer_credentials: None,
        server: Known::Unknown(UnknownProcess::NotSeen),
        encryption: Encryption::Plaintext,
        login: Login { user: Some("al\x1bice".into()), ..Login::default() },
        ledger: Ledger::default(),
        statements: 0,
        errors: 0,
        gaps: 0,
        mediation: None,
        class: None,
    }
}

/// Serves a core with `count` sessions while `test` runs in another thread; returns what operators did.
fn with_core(count: u64, test: impl FnOnce(&Path) + Send + 'static) -> Vec<(&'static str, u32)> {
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    let path: PathBuf = directory.path().join("control.sock");
    let recorded = Rc::new(RefCell::new(Vec::new()));
    let (sessions, lists) = ((1..=count).map(session).collect(), Cell::default());
    let core = Rc::new(Core { sessions, lists, recorded: Rc::clone(&recorded) });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        // Everybody may connect: the credentials alone decide.
        std::fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
        let test = tokio::task::spawn_blocking(move || test(&path));
        tokio::select! {
            never = serve(listener, Gid::from_raw(VIEWERS), core) => match never {},
            done = test => done.unwrap(),
        }
    });
    recorded.take()
}

fn is_root() -> bool {
    let root = nix::unistd::Uid::effective().is_root();
    if !root {
        println!("SKIPPED: needs root to take other accounts");
    }
    root
}

fn raw(path: &Path, request: &[u8]) -> String {
    let mut stream = UnixStream::connect(path).unwrap();
    // A request that is refused early may not be taken to its end.
    let _sent = stream.write_all(request);
    let mut answer = String::new();
    let _reset = stream.read_to_string(&mut answer);
    answer
}

/// Asks as another account, with the real binary (copied to where that account can reach it).
fn ask_as(path: &Path, uid: u32, gid: u32, verb: &str) -> Output {
    let folder = path.parent().unwrap();
    let (binary, config) = (folder.join("warder"), folder.join("warder.toml"));
    if !binary.exists() {
        // By another process: a child that a test beside this one forks would inherit our descriptor, and a file that is
        // open for writing cannot be executed.
        let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_warder")).arg(&binary).status().unwrap();
        assert!(copied.success());
        std::fs::write(&config, format!("agent.control_socket = {path:?}\n")).unwrap();
    }
    Command::new(binary).args([verb, "--json", "-c"]).arg(config).uid(uid).gid(gid).output().unwrap()
}

#[test]
fn root_may_look_and_do() {
    if !is_root() {
        return;
    }
    let recorded = with_core(2, |path| {
        let sessions = client::sessions(path).unwrap();
        assert_eq!(sessions.len(), 2);
        assert_eq!(sessions[1].session.session.as_str(), "00000000-00000000-2");
        assert_eq!((sessions[0].current.as_deref(), sessions[0].since.0), (Some("select 1"), WallTime(1_000_000_000)));
        assert_eq!(client::status(path).unwrap().version, "9.9");
        assert_eq!(client::scan(path).unwrap().sessions, 3);
        assert_eq!(client::rotate_key(path).unwrap().key, "0123456789abcdef");
    });
    assert_eq!(recorded, [("scan", 0), ("rotate-key", 0)]);
}

#[test]
fn no_sessions_is_an_answer_and_a_failed_scan_is_told() {
    if !is_root() {
        return;
    }
    with_core(0, |path| {
        assert!(client::sessions(path).unwrap().is_empty());
        let Err(ClientError::Refused { code, message }) = client::scan(path) else { panic!("refused") };
        assert_eq!((&*code, &*message), ("failed", "nothing to scan"));
        let Err(ClientError::Refused { message, .. }) = client::rotate_key(path) else { panic!("refused") };
        assert_eq!(message, "the disk is full");
    });
}

#[test]
fn a_member_of_the_group_may_look_but_not_do() {
    if !is_root() {
        return;
    }
    let recorded = with_core(1, |path| {
        let output = ask_as(path, NOBODY, VIEWERS, "sessions");
        assert!(output.status.success(), "{output:?}");
        let line = String::from_utf8(output.stdout).unwrap();
        assert!(line.contains("\"user\":\"al\\u001bice\""), "{line}");
        let output = ask_as(path, NOBODY, VIEWERS, "scan");
        assert_eq!(output.status.code(), Some(1));
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(error, "warder: the agent refused: this verb is for operators; run it as root (not_allowed)\n");
    });
    assert_eq!(recorded, []);
}

#[test]
fn everybody_else_is_refused_even_if_the_socket_lets_them_in() {
    if !is_root() {
        return;
    }
    with_core(1, |path| {
        let output = ask_as(path, NOBODY, NOBODY, "sessions");
        assert_eq!(output.status.code(), Some(1));
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains("only root and members of the socket's group may ask"), "{error}");
        assert!(output.stdout.is_empty());
    });
}

#[test]
fn requests_that_are_none_are_refused_with_a_reason() {
    if !is_root() {
        return;
    }
    with_core(1, |path| {
        for (request, code) in [
            (&b"{\"v\":1,\"verb\":\"drop\"}\n"[..], "unknown_verb"),
            (b"{\"v\":2,\"verb\":\"status\"}\n", "unsupported_version"),
            (b"{\"verb\":\"status\"}\n", "not_a_request"),
            (b"\xff\xfe\n", "not_a_request"),
            (b"\n", "not_a_request"),
            (&[b'x'; 70_000], "request_too_long"),
        ] {
            let answer = raw(path, request);
            assert!(answer.contains(&format!("\"code\":\"{code}\"")), "{answer}");
        }
        // A newer client's additional fields are no reason to refuse.
        assert!(raw(path, b"{\"v\":1,\"verb\":\"status\",\"more\":1}\n").contains("\"version\":\"9.9\""));
    });
}

#[test]
fn silent_clients_cannot_lock_others_out() {
    if !is_root() {
        return;
    }
    with_core(1, |path| {
        let silent: Vec<UnixStream> = (0..40).map(|_| UnixStream::connect(path).unwrap()).collect();
        // Waits in the backlog until the silent ones are given up, then is answered.
        let waiting =
            std::thread::scope(|scope| scope.spawn(|| raw(path, b"{\"v\":1,\"verb\":\"status\"}\n")).join().unwrap());
        assert!(waiting.contains("9.9"), "{waiting}");
        drop(silent);
    });
}

/// Connects again and again without a word, as whoever it is started as.
const SILENT: &str = "
import socket, sys
silent = []
for _ in range(300):
    one = socket.socket(socket.AF_UNIX)
    one.settimeout(5)
    one.connect(sys.argv[1])
    silent.append(one)
print('connected', flush=True)
sys.stdin.read()
";

#[test]
fn silent_viewers_lock_neither_the_operator_nor_each_other_out() {
    if !is_root() {
        return;
    }
    with_core(1, |path| {
        let mut silent = Command::new("python3")
            .args(["-c", SILENT])
            .arg(path)
            .uid(NOBODY)
            .gid(VIEWERS)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = [0; 9];
        silent.stdout.as_mut().unwrap().read_exact(&mut said).unwrap();
        // Each is given five seconds: these answers come while they are silent.
        let begun = Instant::now();
        assert_eq!(client::status(path).unwrap().version, "9.9");
        let other = ask_as(path, NOBODY - 1, VIEWERS, "sessions");
        assert!(other.status.success(), "{}", String::from_utf8_lossy(&other.stderr));
        let same = ask_as(path, NOBODY, VIEWERS, "sessions");
        assert!(String::from_utf8_lossy(&same.stderr).contains("(busy)"), "{same:?}");
        assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
        drop(silent.stdin.take());
        silent.wait().unwrap();
    });
}

#[test]
fn lists_of_grants_are_made_one_after_the_other() {
    if !is_root() {
        return;
    }
    with_core(1, |path| {
        let list = || client::grants(path, GrantVerb::List, GrantAsk::default()).unwrap();
        let most = std::thread::scope(|scope| {
            let lists: Vec<_> = (0..8).map(|_| scope.spawn(list)).collect();
            lists.into_iter().map(|list| list.join().unwrap()[0].seconds).max()
        });
        assert_eq!(most, Some(1), "at once");
    });
}

#[test]
fn ten_thousand_sessions_are_an_answer() {
    if !is_root() {
        return;
    }
    with_core(10_000, |path| assert_eq!(client::sessions(path).unwrap().len(), 10_000));
}

#[test]
fn no_agent_is_said_with_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("control.sock");
    assert!(matches!(client::status(&path), Err(ClientError::NotRunning { .. })));
    // A socket that a killed agent left.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let error = client::status(&path).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "no agent answers on {}: it is not running, or has another configuration; \
             start it (warder run), or name its configuration with -c",
            path.display()
        )
    );
}
