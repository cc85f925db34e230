//! Takes over the Unix socket of a server that runs, and gives it back.
//!
//! In the folder of the server's socket we make one of our own, for root only: `.s.PGSQL.5432.warder`. Our socket is made
//! in it and exchanged with the server's in one step, so that there is no moment without a listener:
//!
//! | path | before | taken over |
//! |---|---|---|
//! | `.s.PGSQL.5432` | the server's socket | ours |
//! | `.s.PGSQL.5432.warder/server` | ours | the server's socket |
//! | `.s.PGSQL.5432.warder/warder` | ours | ours (a second link: by it we know our own) |
//!
//! The server notices nothing: an address belongs to the inode, not to the name. Only root can still reach it directly. The
//! server itself removes the public path when it stops, and makes a new one when it starts: then clients reach it directly
//! until [`Taken::check`] says so and the path is taken again.
//!
//! A socket has no fail mode in the kernel: while no agent runs, the public path leads nowhere. [`recover`] gives it back.

mod folder;

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, bind, connect, listen, socket};
use nix::sys::stat::{FchmodatFlags, FileStat, Mode, SFlag, fchmodat, fstat};
use nix::unistd::{Gid, Uid, fchownat};

use crate::identity::{Peer, being};
use crate::steward::unix::address_of;
use folder::{Folder, LINKED, Private, RenameError};

/// Connections that wait to be accepted, at most; capped by the kernel at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// The server's socket in our folder. Before the exchange it is ours.
const SERVER: &str = "server";
/// A second link to our socket.
const OURS: &str = "warder";
/// A socket that is being made, to replace ours.
const NEXT: &str = "next";

/// Why a socket could not be taken over or given back.
#[derive(Debug, thiserror::Error)]
pub enum TakeoverError {
    /// Not `FOLDER/NAME`.
    #[error("{0} is not the path of a socket")]
    Path(PathBuf),
    /// Nothing is there, or something else.
    #[error("{0} is not a Unix socket")]
    NotASocket(PathBuf),
    /// Nobody listens.
    #[error("nobody listens at {0}")]
    NoServer(PathBuf),
    /// A folder of our name that is not ours.
    #[error("{0} is not a folder of root's own: it is not used")]
    Foreign(PathBuf),
    /// Somebody replaced it between two steps; nothing was changed.
    #[error("{0} was replaced meanwhile")]
    Changed(PathBuf),
    /// The system refused.
    #[error("{what}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
}

fn system<E: Into<io::Error>>(what: &'static str) -> impl Fn(E) -> TakeoverError {
    move |source| TakeoverError::System { what, source: source.into() }
}

/// How a taken-over socket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Clients reach us, and we reach the server.
    Standing,
    /// Clients reach us; the server has gone without a word (it was killed).
    ServerGone,
    /// The public path is gone: the server stopped, and removed it.
    Stopped,
    /// The public path is another socket: the server was started again, and clients reach it directly.
    Replaced,
    /// The public path is the server's socket again: somebody gave it back.
    GivenBack,
}

/// What giving back found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restored {
    /// Nothing was taken over.
    Nothing,
    /// The public path is the server's socket again.
    GivenBack,
    /// The server had stopped or had made a new socket; only our own files were removed.
    ServerHadIt,
}

/// A socket that is taken over. Dropping it changes nothing: only [`Taken::give_back`] and [`recover`] do.
#[derive(Debug)]
pub struct Taken {
    path: PathBuf,
    name: OsString,
    folder: Folder,
    private: Private,
    /// `O_PATH`: as long as these are open, the inode numbers belong to these sockets.
    server: Arc<OwnedFd>,
    ours: OwnedFd,
}

/// Takes over the socket at `path`, also one that a killed agent had taken over. The second value is the listener: it
/// belongs to the worker, and nobody else may keep it.
///
/// # Errors
/// See [`TakeoverError`]; the server's socket is then where it was.
pub fn take(path: &Path) -> Result<(Taken, OwnedFd), TakeoverError> {
    let (folder, name) = Folder::of(path)?;
    restore(path, &folder, &name)?;
    exchange(path, folder, name).inspect_err(|_error| {
        // The first error is the one that counts; what is left of ours is removed by the next attempt.
        let _ = recover(path);
    })
}

fn exchange(path: &Path, folder: Folder, name: OsString) -> Result<(Taken, OwnedFd), TakeoverError> {
    let before = folder.socket(&name).map_err(system("the socket cannot be opened"))?;
    let Some(before) = before else { return Err(TakeoverError::NotASocket(path.to_owned())) };
    if !is_live(&before).map_err(system("the socket cannot be asked"))? {
        return Err(TakeoverError::NoServer(path.to_owned()));
    }
    let private = folder.make_private(&name)?;
    let listener = make(&private, SERVER, &before).map_err(system("no socket of our own could be made"))?;
    let ours = private.open(SERVER).map_err(system("our own socket cannot be opened"))?;
    private.link(SERVER, OURS).map_err(system("our own socket cannot be linked"))?;
    private.exchange(SERVER, &folder, &name).map_err(|error| match error {
        RenameError::Missing => TakeoverError::Changed(path.to_owned()),
        RenameError::System(source) => TakeoverError::System { what: "the sockets cannot be exchanged", source },
    })?;
    if !private.is(SERVER, &before).map_err(system("the server's socket cannot be found again"))? {
        private.exchange(SERVER, &folder, &name).map_err(|_lost| TakeoverError::Changed(path.to_owned()))?;
        return Err(TakeoverError::Changed(path.to_owned()));
    }
    let taken = Taken { path: path.to_owned(), name, folder, private, server: Arc::new(before), ours };
    Ok((taken, listener))
}

/// Gives back what an agent that does not run any more had taken over, in whatever state it left it. `path` is the public
/// path.
///
/// # Errors
/// See [`TakeoverError`].
pub fn recover(path: &Path) -> Result<Restored, TakeoverError> {
    let (folder, name) = Folder::of(path)?;
    restore(path, &folder, &name)
}

impl Taken {
    /// The public path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The server's own socket, for [`crate::steward::UnixHop`].
    #[must_use]
    pub fn server(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.server)
    }

    /// Looks how it is. Not a connection: the server notices nothing.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn check(&self) -> io::Result<State> {
        let Some(public) = self.folder.inode(&self.name)? else { return Ok(State::Stopped) };
        if public == identity(&fstat(&self.server)?) {
            return Ok(State::GivenBack);
        }
        if public != identity(&fstat(&self.ours)?) {
            return Ok(State::Replaced);
        }
        Ok(if is_live(&self.server)? { State::Standing } else { State::ServerGone })
    }

    /// Another listener in place of the one whose worker died; in one step.
    ///
    /// # Errors
    /// [`TakeoverError::Changed`] when the public path is no longer ours.
    pub fn renew(&mut self) -> Result<OwnedFd, TakeoverError> {
        let what = "the listener cannot be renewed";
        if !matches!(self.check().map_err(system(what))?, State::Standing | State::ServerGone) {
            return Err(TakeoverError::Changed(self.path.clone()));
        }
        self.private.remove(NEXT).map_err(system(what))?;
        let listener = make(&self.private, NEXT, &self.server).map_err(system(what))?;
        let ours = self.private.open(NEXT).map_err(system(what))?;
        // From here on both are known as ours: first the public path changes, then the link.
        self.private.publish(NEXT, OURS, &self.folder, &self.name).map_err(system(what))?;
        self.ours = ours;
        Ok(listener)
    }

    /// Gives the public path back to the server. Connections in the queue of our listener are still its worker's.
    ///
    /// # Errors
    /// See [`TakeoverError`].
    pub fn give_back(self) -> Result<Restored, TakeoverError> {
        restore(&self.path, &self.folder, &self.name)
    }
}

/// Makes the state of before, from whatever is there.
fn restore(path: &Path, folder: &Folder, name: &OsStr) -> Result<Restored, TakeoverError> {
    let what = "the socket could not be given back";
    let Some(private) = folder.private(name)? else { return Ok(Restored::Nothing) };
    let public = folder.inode(name).map_err(system(what))?;
    let server = private.inode(SERVER).map_err(system(what))?;
    let ours = [private.inode(OURS), private.inode(NEXT)];
    let [ours, next] = ours.map(|inode| inode.map_err(system(what)));
    let ours = [ours?, next?];
    let is_ours = |inode: Option<(u64, u64)>| inode.is_some() && ours.contains(&inode);
    let outcome = match (public, server) {
        // Killed before the exchange.
        (_, server) if server.is_none() || is_ours(server) => Restored::Nothing,
        (Some(_), Some(_)) if is_ours(public) => {
            private.exchange(SERVER, folder, name).map_err(|error| match error {
                RenameError::Missing => TakeoverError::Changed(path.to_owned()),
                RenameError::System(source) => TakeoverError::System { what, source },
            })?;
            Restored::GivenBack
        }
        (None, Some(_)) if private.is_live(SERVER).map_err(system(what))? => {
            private.move_to(SERVER, folder, name).map_err(system(what))?;
            Restored::GivenBack
        }
        _ => Restored::ServerHadIt,
    };
    for file in [SERVER, OURS, NEXT, LINKED] {
        private.remove(file).map_err(system(what))?;
    }
    folder.remove_private(name).map_err(system(what))?;
    Ok(outcome)
}

/// A listening socket in our folder, with owner, group and mode of the server's. Clients that ask who listens
/// (`requirepeer`) read the server's owner.
fn make(private: &Private, name: &str, like: &OwnedFd) -> io::Result<OwnedFd> {
    private.remove(name)?;
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let made = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    bind(made.as_raw_fd(), &private.address(name)?)?;
    let stat = fstat(like)?;
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    fchownat(private.as_fd(), name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)?;
    // Our folder is closed to everybody else: this cannot be a symbolic link by now.
    let mode = Mode::from_bits_truncate(stat.st_mode);
    fchmodat(private.as_fd(), name, mode, FchmodatFlags::FollowSymlink)?;
    let backlog = Backlog::new(BACKLOG)?;
    being(Peer { uid: stat.st_uid, gid: stat.st_gid }, || Ok(listen(&made, backlog)?))?;
    Ok(made)
}

/// Whether somebody holds the socket, without connecting: a datagram socket is refused by a live stream socket for its
/// type, by a dead one because nobody is there.
pub(crate) fn is_live(file: &OwnedFd) -> io::Result<bool> {
    let probe = socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    match connect(probe.as_raw_fd(), &address_of(file)?) {
        Err(Errno::ECONNREFUSED) => Ok(false),
        Ok(()) | Err(Errno::EPROTOTYPE) => Ok(true),
        Err(errno) => Err(errno.into()),
    }
}

/// Device and inode.
fn identity(stat: &FileStat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

fn is_socket(stat: &FileStat) -> bool {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) == SFlag::S_IFSOCK
}
