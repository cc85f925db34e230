//! The agent's end of the control socket. Runs in the unprivileged core process, on its current-thread runtime.

use std::borrow::Cow;
use std::convert::Infallible;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use nix::unistd::{Gid, Uid, User, getgrouplist};
use serde::Serialize;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::grants::{GrantAsk, GrantVerb, GrantView};
use super::shares::Shares;
use super::{
    AccessView, KeyView, LiveSession, PROTOCOL_VERSION, REQUEST_BYTES_MAX, Refusal, Request, Response, ScanView,
    SessionView, StatusView, SteerVerb, SteeringView,
};

/// Connections served at once; more wait in the socket's backlog.
pub const CONNECTIONS_MAX: usize = 32;
/// Of them those of viewers, all together: the others are the operator's, who has to be heard when it matters.
const VIEWERS_MAX: usize = 24;
/// Of them those of one viewer. `warder api` has 9.
const VIEWER_MAX: usize = 16;
/// How long a client may take to send its request, and to take the answer.
pub const CLIENT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a scan may take.
pub const SCAN_TIMEOUT: Duration = Duration::from_secs(60);
/// How long the kernel process may take to steer.
pub const STEER_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a verb about grants may take: an issuer may have to be asked for its keys.
pub const GRANT_TIMEOUT: Duration = Duration::from_secs(20);
/// Pause after a failed accept (out of descriptors): without it the loop would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the core answers.
pub trait Handler {
    /// Visits every live session.
    fn sessions(&self, visit: &mut dyn FnMut(LiveSession<'_>));
    /// How the agent is.
    fn status(&self) -> StatusView;
    /// Runs the iterators now. The error is shown to the operator.
    fn scan(&self) -> impl Future<Output = Result<ScanView, String>>;
    /// Steers, stops steering, or says how steering is. The error is shown to the operator.
    fn steer(
        &self,
        what: SteerVerb,
        database: Option<String>,
    ) -> impl Future<Output = Result<Vec<SteeringView>, String>>;
    /// Roles that were made for sessions.
    fn accesses(&self) -> Vec<AccessView>;
    /// Ends the access of a role or of a principal; what ends is returned.
    fn end_access(&self, whose: &str, uid: u32) -> impl Future<Output = Vec<AccessView>>;
    /// Exchanges the key that signs the journal. The error is shown to the operator.
    fn rotate_key(&self) -> Result<KeyView, String>;
    /// Does something about grants. The error is a word for programs, and a text for people.
    fn grants(
        &self,
        verb: GrantVerb,
        ask: GrantAsk,
        caller: Caller,
    ) -> impl Future<Output = Result<Vec<GrantView>, (&'static str, String)>>;
    /// Records that an operator used a verb; called before the verb runs.
    fn record_operator(&self, verb: &'static str, uid: u32);
}

/// Who may ask for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// May look.
    Viewer,
    /// May also do.
    Operator,
}

/// Who asks, as far as the socket knows.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    /// Its uid.
    pub uid: u32,
    /// What it may do.
    pub role: Role,
}

impl Caller {
    /// Operators take access back without a token: less access is never the danger.
    #[must_use]
    pub fn may_take_back(self) -> bool {
        self.role == Role::Operator
    }
}

/// What a request can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Sessions,
    Status,
    Scan,
    Accesses,
    EndAccess,
    RotateKey,
    Steer(SteerVerb),
    Grant(GrantVerb),
}

impl Verb {
    fn parse(word: &str) -> Option<Self> {
        match word {
            "sessions" => Some(Self::Sessions),
            "status" => Some(Self::Status),
            "scan" => Some(Self::Scan),
            "accesses" => Some(Self::Accesses),
            "end-access" => Some(Self::EndAccess),
            "rotate-key" => Some(Self::RotateKey),
            "steer-on" => Some(Self::Steer(SteerVerb::On)),
            "steer-off" => Some(Self::Steer(SteerVerb::Off)),
            "steer-status" => Some(Self::Steer(SteerVerb::Status)),
            _ => GrantVerb::ALL.into_iter().find(|verb| verb.word() == word).map(Self::Grant),
        }
    }

    const fn needs(self) -> Role {
        match self {
            // What somebody may do about grants is decided by their token and the policies.
            Self::Sessions | Self::Status | Self::Accesses | Self::Steer(SteerVerb::Status) | Self::Grant(_) => {
                Role::Viewer
            }
            Self::Scan | Self::EndAccess | Self::RotateKey | Self::Steer(SteerVerb::On | SteerVerb::Off) => {
                Role::Operator
            }
        }
    }
}

/// What those who connect share.
struct Places {
    shares: Shares,
    /// Lists of grants are made one after the other: each may have megabytes.
    lists: Semaphore,
}

/// Serves until it is dropped. `viewers` is the group of the socket: root is the operator, members of that group
/// are viewers, everybody else is refused, whatever the mode of the socket.
pub async fn serve<H: Handler + 'static>(listener: UnixListener, viewers: Gid, handler: Rc<H>) -> Infallible {
    let places = Rc::new(Places { shares: Shares::new(VIEWER_MAX, VIEWERS_MAX), lists: Semaphore::new(1) });
    let serve = move |stream| {
        let (handler, places) = (Rc::clone(&handler), Rc::clone(&places));
        async move { connection(stream, viewers, &*handler, &places).await }
    };
    accept_each(listener, CONNECTIONS_MAX, serve).await
}

/// Serves each connection by itself, and at most so many at once, until it is dropped.
pub(crate) async fn accept_each<F: Future<Output = ()> + 'static>(
    listener: UnixListener,
    connections_max: usize,
    serve: impl Fn(UnixStream) -> F,
) -> Infallible {
    // A set of its own, so that connections need not be Send and end together with this future.
    LocalSet::new()
        .run_until(async move {
            let mut connections = JoinSet::new();
            loop {
                while connections.try_join_next().is_some() {}
                if connections.len() >= connections_max {
                    connections.join_next().await;
                }
                match listener.accept().await {
                    Ok((stream, _)) => {
                        connections.spawn_local(serve(stream));
                    }
                    Err(_out_of_descriptors) => tokio::time::sleep(ACCEPT_PAUSE).await,
                }
            }
        })
        .await
}

/// One request, one answer. Errors of the connection concern only its client, who sees them.
async fn connection<H: Handler>(mut stream: UnixStream, viewers: Gid, handler: &H, places: &Places) {
    let Ok(credentials) = stream.peer_cred() else { return };
    let (uid, gid) = (Uid::from_raw(credentials.uid()), Gid::from_raw(credentials.gid()));
    let share = (!uid.is_root()).then(|| places.shares.admit(uid.as_raw()));
    if let Some(None) = share {
        let busy = refusal("busy", "this account has, or all have, as many connections here as they may; try again");
        let _gone = timeout(CLIENT_TIMEOUT, stream.write_all(&busy)).await;
        return;
    }
    let answer = match role(uid, gid, viewers).await {
        Some(role) => match timeout(CLIENT_TIMEOUT, read_line(&mut stream)).await {
            // There may be a token in it.
            Ok(Ok(line)) => answer(&Zeroizing::new(line), (role, uid), handler, &places.lists).await,
            Ok(Err(_)) | Err(_) => return,
        },
        None => {
            refusal("not_allowed", "only root and members of the socket's group may ask; join the group, or use sudo")
        }
    };
    // A client that went away, or does not read its answer, is not waited for.
    let _gone = timeout(CLIENT_TIMEOUT, stream.write_all(&answer)).await;
}

/// The role of a peer. Groups are looked up on another thread: the host's database may be slow.
async fn role(uid: Uid, gid: Gid, viewers: Gid) -> Option<Role> {
    if uid.is_root() {
        return Some(Role::Operator);
    }
    let member = gid == viewers || tokio::task::spawn_blocking(move || is_member(uid, gid, viewers)).await.ok()?;
    member.then_some(Role::Viewer)
}

fn is_member(uid: Uid, gid: Gid, group: Gid) -> bool {
    let Ok(Some(user)) = User::from_uid(uid) else { return false };
    let Ok(name) = std::ffi::CString::new(user.name) else { return false };
    getgrouplist(&name, gid).is_ok_and(|groups| groups.contains(&group))
}

async fn read_line(stream: &mut UnixStream) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    // One byte more than allowed tells a line that is too long from one that just fits.
    BufReader::new(stream).take(REQUEST_BYTES_MAX as u64 + 1).read_until(b'\n', &mut line).await?;
    Ok(line)
}

async fn answer<H: Handler>(line: &[u8], (role, uid): (Role, Uid), handler: &H, lists: &Semaphore) -> Vec<u8> {
    let Asked { verb, database, whose, grant } = match parse(line) {
        Ok(asked) => asked,
        Err(refusal) => return refusal,
    };
    if verb.needs() == Role::Operator && role != Role::Operator {
        return refusal("not_allowed", "this verb is for operators; run it as root");
    }
    let response = Response { v: PROTOCOL_VERSION, ..Response::default() };
    match verb {
        Verb::Sessions => sessions(handler),
        Verb::Status => encode(&Response { status: Some(handler.status()), ..response }),
        Verb::Scan => {
            handler.record_operator("scan", uid.as_raw());
            match timeout(SCAN_TIMEOUT, handler.scan()).await {
                Ok(Ok(scan)) => encode(&Response { scan: Some(scan), ..response }),
                Ok(Err(why)) => refusal("failed", &why),
                Err(_elapsed) => refusal("failed", "the scan did not end in time; see the agent's log"),
            }
        }
        Verb::Steer(what) => {
            match what {
                SteerVerb::On => handler.record_operator("steer-on", uid.as_raw()),
                SteerVerb::Off => handler.record_operator("steer-off", uid.as_raw()),
                SteerVerb::Status => {}
            }
            match handler.steer(what, database).await {
                Ok(steering) => encode(&Response { steering: Some(steering), ..response }),
                Err(why) => refusal("failed", &why),
            }
        }
        Verb::Grant(verb) => {
            let caller = Caller { uid: uid.as_raw(), role };
            let answered = async {
                let _turn = if verb == GrantVerb::List { lists.acquire().await.ok() } else { None };
                match handler.grants(verb, grant, caller).await {
                    Ok(grants) => encode_aside(Response { grants: Some(grants), ..response }).await,
                    Err((code, why)) => refusal(code, &why),
                }
            };
            let late = "the issuer of the token does not answer, or many want lists; try again";
            timeout(GRANT_TIMEOUT, answered).await.unwrap_or_else(|_elapsed| refusal("failed", late))
        }
        Verb::Accesses => encode(&Response { accesses: Some(handler.accesses()), ..response }),
        Verb::EndAccess => {
            handler.record_operator("end-access", uid.as_raw());
            let ended = handler.end_access(&whose.unwrap_or_default(), uid.as_raw()).await;
            encode(&Response { accesses: Some(ended), ..response })
        }
        Verb::RotateKey => {
            handler.record_operator("rotate-key", uid.as_raw());
            match handler.rotate_key() {
                Ok(key) => encode(&Response { key: Some(key), ..response }),
                Err(why) => refusal("failed", &why),
            }
        }
    }
}

/// A request that is understood.
struct Asked {
    verb: Verb,
    database: Option<String>,
    whose: Option<String>,
    grant: GrantAsk,
}

fn parse(line: &[u8]) -> Result<Asked, Vec<u8>> {
    if line.len() > REQUEST_BYTES_MAX {
        return Err(refusal("request_too_long", "a request is at most 64 KiB"));
    }
    let request: Request<'_> = serde_json::from_slice(line).map_err(|error| {
        refusal("not_a_request", &format!("send one line such as {{\"v\":1,\"verb\":\"status\"}} ({error})"))
    })?;
    if request.v != PROTOCOL_VERSION {
        return Err(refusal("unsupported_version", "this agent speaks version 1; use a command line of its version"));
    }
    let verb = Verb::parse(&request.verb).ok_or_else(|| {
        refusal(
            "unknown_verb",
            "known verbs: sessions, status, scan, accesses, end-access, rotate-key, steer-on, steer-off, steer-status, \
             grant-...; perhaps the agent is older than the command line",
        )
    })?;
    let (database, whose) = (request.database.map(Cow::into_owned), request.whose.map(Cow::into_owned));
    Ok(Asked { verb, database, whose, grant: request.grant.unwrap_or_default() })
}

/// The same line as a [`Response`] with `sessions`, but every session is written as it is visited: ten thousand of
/// them are never held as objects.
fn sessions<H: Handler>(handler: &H) -> Vec<u8> {
    let mut out = format!("{{\"v\":{PROTOCOL_VERSION},\"sessions\":[").into_bytes();
    let mut separator: &[u8] = b"";
    handler.sessions(&mut |live| {
        out.extend_from_slice(separator);
        serde_json::to_writer(&mut out, &SessionView::from(live))
            .expect("views have text keys, and memory does not fail");
        separator = b",";
    });
    out.extend_from_slice(b"]}\n");
    out
}

pub(crate) fn refusal(code: &str, message: &str) -> Vec<u8> {
    let error = Some(Refusal { code: code.into(), message: message.into() });
    encode(&Response { v: PROTOCOL_VERSION, error, ..Response::default() })
}

/// The same on another thread: it may be long, and nothing else waits for it.
async fn encode_aside(response: Response<'static>) -> Vec<u8> {
    let encoded = tokio::task::spawn_blocking(move || encode(&response)).await;
    encoded.unwrap_or_else(|_stopped| refusal("failed", "the agent stops; try again"))
}

pub(crate) fn encode(response: &impl Serialize) -> Vec<u8> {
    let mut out = serde_json::to_vec(response).expect("responses have text keys, and memory does not fail");
    out.push(b'\n');
    out
}
