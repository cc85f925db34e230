//! Unix sockets that are taken over: a server of our own, every state between the steps, and who sees whom.

mod support;

use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;

use anyhow::{Context, Result, ensure};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use steering::identity::Peer;
use steering::steward::{Hop, HopError, Mark, Steward, UnixHop};
use steering::takeover::{Restored, State, Taken, TakeoverError, recover, take};
use tempfile::TempDir;

/// `nobody` of Debian.
const NOBODY: u32 = 65534;

struct Scene {
    server: Option<UnixListener>,
    path: PathBuf,
    _folder: TempDir,
}

impl Scene {
    fn create() -> Result<Self> {
        let folder = TempDir::new()?;
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755))?;
        let path = folder.path().join(".s.PGSQL.5432");
        let mut scene = Self { server: None, path, _folder: folder };
        scene.start()?;
        Ok(scene)
    }

    /// As PostgreSQL does: removes what is there, then binds.
    fn start(&mut self) -> Result<()> {
        let _ = std::fs::remove_file(&self.path);
        self.server = Some(UnixListener::bind(&self.path)?);
        std::fs::set_permissions(&self.path, PermissionsExt::from_mode(0o751))?;
        std::os::unix::fs::chown(&self.path, Some(NOBODY), Some(12))?;
        Ok(())
    }

    fn own_folder(&self) -> PathBuf {
        self.path.with_file_name(".s.PGSQL.5432.warder")
    }

    fn server(&self) -> &UnixListener {
        self.server.as_ref().expect("it runs")
    }

    /// Whether a client of the public path reaches this listener.
    fn reaches(&self, listener: &UnixListener) -> Result<bool> {
        let mut client = UnixStream::connect(&self.path)?;
        listener.set_nonblocking(true)?;
        let accepted = listener.accept();
        client.write_all(b"x").or_else(|error| if accepted.is_err() { Ok(()) } else { Err(error) })?;
        Ok(accepted.is_ok())
    }

    fn check_untouched(&self) -> Result<()> {
        ensure!(self.reaches(self.server())?, "clients do not reach the server");
        ensure!(!self.own_folder().exists(), "a folder of ours is left");
        Ok(())
    }
}

fn hop(steward: &Steward, taken: &Taken, peer: Peer, mark: Mark) -> Result<Result<Hop, HopError>> {
    let (answer, answers) = channel();
    let hop = UnixHop { server: taken.server(), peer, mark };
    steward.open_unix(hop, Box::new(move |result| answer.send(result).expect("the test waits")));
    answers.recv().context("the steward answers")
}

fn credentials(stream: &UnixStream) -> Result<(u32, u32)> {
    let found = getsockopt(stream, PeerCredentials)?;
    Ok((found.uid(), found.gid()))
}

#[test]
fn a_socket_is_taken_and_given_back() -> Result<()> {
    let scene = Scene::create()?;
    let before = std::fs::metadata(&scene.path)?;
    let (taken, listener) = take(&scene.path)?;
    let listener = UnixListener::from(listener);
    assert!(scene.reaches(&listener)?);
    assert_eq!(taken.check()?, State::Standing);
    let after = std::fs::metadata(&scene.path)?;
    assert_eq!((after.uid(), after.gid(), after.mode()), (before.uid(), before.gid(), before.mode()));
    assert_ne!(after.ino(), before.ino());
    assert_eq!(std::fs::metadata(scene.own_folder())?.mode() & 0o777, 0o700);
    // A client that insists on the server's owner (`requirepeer`) finds it.
    assert_eq!(credentials(&UnixStream::connect(&scene.path)?)?, (NOBODY, 12));
    assert_eq!(taken.give_back()?, Restored::GivenBack);
    assert_eq!(std::fs::metadata(&scene.path)?.ino(), before.ino());
    scene.check_untouched()
}

#[test]
fn there_is_no_moment_without_a_listener() -> Result<()> {
    let scene = Scene::create()?;
    let drain = |listener: UnixListener| {
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                drop(stream);
            }
        })
    };
    drain(scene.server().try_clone()?);
    let path = scene.path.clone();
    let (stop, stopped) = channel::<()>();
    let clients = std::thread::spawn(move || {
        let mut connected = 0u32;
        while stopped.try_recv().is_err() {
            UnixStream::connect(&path).expect("a listener at every moment");
            connected += 1;
        }
        connected
    });
    for _ in 0..200 {
        let (mut taken, listener) = take(&scene.path)?;
        let (first, second) = (UnixListener::from(listener), taken.renew()?);
        first.set_nonblocking(false)?;
        let second = UnixListener::from(second);
        second.set_nonblocking(false)?;
        drain(first);
        drain(second);
        assert_eq!(taken.give_back()?, Restored::GivenBack);
    }
    stop.send(())?;
    assert!(clients.join().expect("no client was refused") > 200);
    Ok(())
}

#[test]
fn the_server_sees_the_client() -> Result<()> {
    let scene = Scene::create()?;
    let (taken, _listener) = take(&scene.path)?;
    let (marked, marks) = channel();
    let mark = || -> Mark {
        let marked = marked.clone();
        Box::new(move |cookie| marked.send(cookie).expect("the test waits"))
    };
    let steward = Steward::start()?;
    for peer in [Peer { uid: NOBODY, gid: NOBODY }, Peer { uid: 12345, gid: 54321 }, Peer { uid: 0, gid: 0 }] {
        let hop = hop(&steward, &taken, peer, mark())??;
        assert_eq!(marks.recv()?, hop.cookie);
        let (accepted, _) = scene.server().accept()?;
        assert_eq!(credentials(&accepted)?, (peer.uid, peer.gid), "{peer:?}");
        assert_eq!(peer_groups(&accepted)?, 0, "no group of root's");
    }
    // The thread is what it was: it can be another client, and root.
    let refused = hop(&steward, &taken, Peer { uid: u32::MAX, gid: 0 }, mark())?;
    assert!(matches!(refused, Err(HopError::Begin { .. })), "{refused:?}");
    assert_eq!(credentials(&UnixStream::connect(&scene.path)?)?, (NOBODY, 12));
    Ok(())
}

/// Number of supplementary groups of the one who connected.
#[expect(unsafe_code, reason = "SO_PEERGROUPS has no wrapper")]
fn peer_groups(stream: &UnixStream) -> Result<u32> {
    let (mut groups, mut length) = ([0u32; 64], 256u32);
    // SAFETY: the kernel writes at most `length` bytes.
    let result = unsafe {
        let (at, length) = (groups.as_mut_ptr().cast(), &raw mut length);
        libc::getsockopt(stream.as_raw_fd(), libc::SOL_SOCKET, libc::SO_PEERGROUPS, at, length)
    };
    ensure!(result == 0, "{}", std::io::Error::last_os_error());
    Ok(length / 4)
}

#[test]
fn a_full_queue_is_waited_for() -> Result<()> {
    let mut scene = Scene::create()?;
    scene.server = None;
    let _ = std::fs::remove_file(&scene.path);
    let short = nix::sys::socket::Backlog::new(1)?;
    let small = nix::sys::socket::socket(
        nix::sys::socket::AddressFamily::Unix,
        nix::sys::socket::SockType::Stream,
        nix::sys::socket::SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    nix::sys::socket::bind(small.as_raw_fd(), &nix::sys::socket::UnixAddr::new(&scene.path)?)?;
    nix::sys::socket::listen(&small, short)?;
    let server = UnixListener::from(small);
    let (taken, _listener) = take(&scene.path)?;
    let steward = Steward::start()?;
    let (answer, answers) = channel();
    for _ in 0..20 {
        let answer = answer.clone();
        let hop = UnixHop { server: taken.server(), peer: Peer { uid: NOBODY, gid: NOBODY }, mark: Box::new(|_| ()) };
        steward.open_unix(hop, Box::new(move |result| answer.send(result).expect("the test waits")));
    }
    for _ in 0..20 {
        let (mut accepted, _) = server.accept()?;
        assert_eq!(credentials(&accepted)?.0, NOBODY);
        let mut hop = UnixStream::from(answers.recv()??.socket);
        // Sockets are accepted in the order in which they connected, and answers come in it.
        hop.write_all(b"!")?;
        let mut byte = [0];
        accepted.read_exact(&mut byte)?;
    }
    assert_eq!(steward.in_flight(), 0);
    Ok(())
}

#[test]
fn a_server_that_stops_and_starts_is_noticed() -> Result<()> {
    let mut scene = Scene::create()?;
    let (taken, listener) = take(&scene.path)?;
    scene.server = None;
    assert_eq!(taken.check()?, State::ServerGone);
    std::fs::remove_file(&scene.path)?;
    assert_eq!(taken.check()?, State::Stopped);
    scene.start()?;
    assert_eq!(taken.check()?, State::Replaced);
    scene.reaches(scene.server())?;
    let (again, second) = take(&scene.path)?;
    drop(listener);
    assert_eq!(again.check()?, State::Standing);
    assert_eq!(taken.check()?, State::Replaced, "the old one is not ours any more");
    assert!(scene.reaches(&UnixListener::from(second))?);
    assert_eq!(again.give_back()?, Restored::GivenBack);
    scene.check_untouched()
}

#[test]
fn a_worker_that_died_is_replaced() -> Result<()> {
    let scene = Scene::create()?;
    let (mut taken, listener) = take(&scene.path)?;
    drop(listener);
    assert!(UnixStream::connect(&scene.path).is_err());
    let renewed = UnixListener::from(taken.renew()?);
    assert!(scene.reaches(&renewed)?);
    assert_eq!(taken.check()?, State::Standing);
    assert_eq!(taken.give_back()?, Restored::GivenBack);
    scene.check_untouched()
}

/// Every state in which an agent may have been killed, made by hand; then what recovery makes of it.
#[test]
fn every_half_done_takeover_is_undone() -> Result<()> {
    // Name, what was done, what recovery says.
    type Case = (&'static str, fn(&Path, &Path) -> Result<()>, Restored);
    let cases: &[Case] = &[
        ("nothing", |_, _| Ok(()), Restored::Nothing),
        ("an empty folder", |_, own| Ok(folder(own)?), Restored::Nothing),
        (
            "a socket of ours, not exchanged",
            |_, own| {
                folder(own)?;
                drop(UnixListener::bind(own.join("server"))?);
                Ok(std::fs::hard_link(own.join("server"), own.join("warder"))?)
            },
            Restored::Nothing,
        ),
        ("exchanged", |public, own| Ok(exchanged(public, own)?), Restored::GivenBack),
        (
            "renewed by half",
            |public, own| {
                exchanged(public, own)?;
                drop(UnixListener::bind(own.join("next"))?);
                std::fs::hard_link(own.join("next"), own.join("linked"))?;
                Ok(std::fs::rename(own.join("linked"), public)?)
            },
            Restored::GivenBack,
        ),
        (
            "the public path was removed while the server runs",
            |public, own| {
                exchanged(public, own)?;
                Ok(std::fs::remove_file(public)?)
            },
            Restored::GivenBack,
        ),
    ];
    for (name, make, expected) in cases {
        let scene = Scene::create()?;
        make(&scene.path, &scene.own_folder()).with_context(|| (*name).to_owned())?;
        assert_eq!(recover(&scene.path)?, *expected, "{name}");
        scene.check_untouched().with_context(|| (*name).to_owned())?;
        // And take works on the same state.
        make(&scene.path, &scene.own_folder())?;
        let (taken, listener) = take(&scene.path).with_context(|| (*name).to_owned())?;
        assert!(scene.reaches(&UnixListener::from(listener))?, "{name}");
        taken.give_back()?;
        scene.check_untouched()?;
    }
    Ok(())
}

fn folder(own: &Path) -> std::io::Result<()> {
    std::fs::create_dir(own)?;
    std::fs::set_permissions(own, PermissionsExt::from_mode(0o700))
}

fn exchanged(public: &Path, own: &Path) -> std::io::Result<()> {
    folder(own)?;
    std::fs::rename(public, own.join("server"))?;
    drop(UnixListener::bind(public)?);
    std::fs::hard_link(public, own.join("warder"))
}

#[test]
fn a_server_that_was_restarted_keeps_its_new_socket() -> Result<()> {
    let mut scene = Scene::create()?;
    let (_taken, listener) = take(&scene.path)?;
    drop(listener);
    scene.start()?;
    assert_eq!(recover(&scene.path)?, Restored::ServerHadIt);
    scene.check_untouched()
}

#[test]
fn what_is_not_ours_is_not_touched() -> Result<()> {
    let scene = Scene::create()?;
    std::fs::create_dir(scene.own_folder())?;
    std::os::unix::fs::chown(scene.own_folder(), Some(NOBODY), None)?;
    assert!(matches!(take(&scene.path), Err(TakeoverError::Foreign(_))));
    std::fs::remove_dir(scene.own_folder())?;
    std::os::unix::fs::symlink("/etc", scene.own_folder())?;
    assert!(matches!(take(&scene.path), Err(TakeoverError::Foreign(_))));
    std::fs::remove_file(scene.own_folder())?;
    scene.check_untouched()?;

    let link = scene.path.with_file_name("link");
    std::os::unix::fs::symlink(&scene.path, &link)?;
    assert!(matches!(take(&link), Err(TakeoverError::NotASocket(_))));
    let dead = scene.path.with_file_name("dead");
    drop(UnixListener::bind(&dead)?);
    assert!(matches!(take(&dead), Err(TakeoverError::NoServer(_))));
    assert!(matches!(take(&scene.path.with_file_name("none")), Err(TakeoverError::NotASocket(_))));
    Ok(())
}

/// The agent is killed: its listener goes, and the next agent takes the socket again.
#[test]
fn a_killed_agent_leaves_nothing_that_the_next_one_cannot_take() -> Result<()> {
    let scene = Scene::create()?;
    let (taken, listener) = take(&scene.path)?;
    drop(taken);
    let mut worker = Command::new("sleep").arg("600").stdin(Stdio::from(listener)).spawn()?;
    assert!(UnixStream::connect(&scene.path).is_ok());
    worker.kill()?;
    worker.wait()?;
    assert!(UnixStream::connect(&scene.path).is_err());
    let (taken, listener): (Taken, OwnedFd) = take(&scene.path)?;
    assert!(listener.as_fd().as_raw_fd() >= 0);
    assert!(scene.reaches(&UnixListener::from(listener))?);
    taken.give_back()?;
    scene.check_untouched()
}
