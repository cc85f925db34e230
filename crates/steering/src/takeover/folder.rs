//! The folder of a server's socket, and our own in it.
//!
//! The folder belongs to the server's user, who may rename and replace what is in it while we work as root. So every step
//! is relative to a descriptor, follows no symbolic link, and changes owners and modes only in the folder of our own, which
//! nobody else can open.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::NixPath;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, RenameFlags, openat, renameat2};
use nix::sys::socket::UnixAddr;
use nix::sys::stat::{FileStat, Mode, fstat, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, geteuid, linkat, unlinkat};

use super::{TakeoverError, identity, is_live, is_socket, system};

/// Ends the name of our folder. Clients build the name of a socket from a port number and never ask for it.
const SUFFIX: &str = ".warder";

/// A link on its way to the public path.
pub(super) const LINKED: &str = "linked";

/// Where the server's socket is.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    descriptor: OwnedFd,
}

/// Our folder in it, mode 0700, root's.
#[derive(Debug)]
pub(super) struct Private {
    descriptor: OwnedFd,
}

/// Why two names were not exchanged.
#[derive(Debug)]
pub(super) enum RenameError {
    /// One of them is gone.
    Missing,
    /// Something else.
    System(io::Error),
}

impl Folder {
    /// The folder and the name of a path.
    pub(super) fn of(path: &Path) -> Result<(Self, OsString), TakeoverError> {
        let parts = path.parent().zip(path.file_name());
        let (parent, name) = parts.ok_or_else(|| TakeoverError::Path(path.to_owned()))?;
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let descriptor = nix::fcntl::open(parent, flags, Mode::empty())
            .map_err(system("the folder of the socket cannot be opened"))?;
        Ok((Self { path: parent.to_owned(), descriptor }, name.to_owned()))
    }

    /// The file of a socket, opened as a place (`O_PATH`). `None`: nothing there, or not a socket.
    pub(super) fn socket(&self, name: &OsStr) -> io::Result<Option<OwnedFd>> {
        let opened = match open_place(self.descriptor.as_fd(), name, OFlag::empty()) {
            Err(Errno::ENOENT) => return Ok(None),
            other => other?,
        };
        Ok(is_socket(&fstat(&opened)?).then_some(opened))
    }

    /// Device and inode of what is there now.
    pub(super) fn inode(&self, name: &OsStr) -> io::Result<Option<(u64, u64)>> {
        inode(self.descriptor.as_fd(), name)
    }

    /// Our folder, if there is one.
    pub(super) fn private(&self, name: &OsStr) -> Result<Option<Private>, TakeoverError> {
        let own = own_name(name);
        let descriptor = match open_place(self.descriptor.as_fd(), own.as_os_str(), OFlag::O_DIRECTORY) {
            Err(Errno::ENOENT) => return Ok(None),
            Err(Errno::ENOTDIR | Errno::ELOOP) => return Err(TakeoverError::Foreign(self.path.join(own))),
            other => other.map_err(system("our own folder cannot be opened"))?,
        };
        let stat = fstat(&descriptor).map_err(system("our own folder cannot be examined"))?;
        if stat.st_uid != geteuid().as_raw() || stat.st_mode & 0o077 != 0 {
            return Err(TakeoverError::Foreign(self.path.join(own)));
        }
        Ok(Some(Private { descriptor }))
    }

    /// Makes our folder.
    pub(super) fn make_private(&self, name: &OsStr) -> Result<Private, TakeoverError> {
        let own = own_name(name);
        match mkdirat(self.descriptor.as_fd(), own.as_os_str(), Mode::S_IRWXU) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(system("our own folder cannot be made")(errno)),
        }
        self.private(name)?.ok_or_else(|| TakeoverError::Foreign(self.path.join(own)))
    }

    /// Removes our folder, which is empty.
    pub(super) fn remove_private(&self, name: &OsStr) -> io::Result<()> {
        Ok(unlinkat(self.descriptor.as_fd(), own_name(name).as_os_str(), UnlinkatFlags::RemoveDir)?)
    }
}

impl Private {
    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }

    /// An address in this folder that is short enough for every path.
    pub(super) fn address(&self, name: &str) -> io::Result<UnixAddr> {
        let path = format!("/proc/self/fd/{}/{name}", self.descriptor.as_raw_fd());
        UnixAddr::new(path.as_str()).map_err(Into::into)
    }

    pub(super) fn open(&self, name: &str) -> io::Result<OwnedFd> {
        Ok(open_place(self.as_fd(), name, OFlag::empty())?)
    }

    pub(super) fn inode(&self, name: &str) -> io::Result<Option<(u64, u64)>> {
        inode(self.as_fd(), name)
    }

    /// Whether a name is this file.
    pub(super) fn is(&self, name: &str, file: &OwnedFd) -> io::Result<bool> {
        Ok(self.inode(name)? == Some(identity(&fstat(file)?)))
    }

    pub(super) fn is_live(&self, name: &str) -> io::Result<bool> {
        is_live(&self.open(name)?)
    }

    pub(super) fn link(&self, from: &str, to: &str) -> io::Result<()> {
        self.remove(to)?;
        Ok(linkat(self.as_fd(), from, self.as_fd(), to, AtFlags::empty())?)
    }

    /// Removes a name; that there is none is no error.
    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        match unlinkat(self.as_fd(), name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Exchanges two names in one step (`RENAME_EXCHANGE`: ext4 and tmpfs since 3.15, xfs since 4.0, overlayfs, btrfs).
    pub(super) fn exchange(&self, own: &str, folder: &Folder, public: &OsStr) -> Result<(), RenameError> {
        let flags = RenameFlags::RENAME_EXCHANGE;
        match renameat2(self.as_fd(), own, folder.descriptor.as_fd(), public, flags) {
            Ok(()) => Ok(()),
            Err(Errno::ENOENT) => Err(RenameError::Missing),
            Err(errno) => Err(RenameError::System(errno.into())),
        }
    }

    /// Moves a file to the public path, where nothing is.
    pub(super) fn move_to(&self, own: &str, folder: &Folder, public: &OsStr) -> io::Result<()> {
        let flags = RenameFlags::RENAME_NOREPLACE;
        Ok(renameat2(self.as_fd(), own, folder.descriptor.as_fd(), public, flags)?)
    }

    /// Puts a second link of `own` at the public path, replacing what is there, and then `own` in the place of `known`.
    pub(super) fn publish(&self, own: &str, known: &str, folder: &Folder, public: &OsStr) -> io::Result<()> {
        self.link(own, LINKED)?;
        renameat2(self.as_fd(), LINKED, folder.descriptor.as_fd(), public, RenameFlags::empty())?;
        Ok(renameat2(self.as_fd(), own, self.as_fd(), known, RenameFlags::empty())?)
    }
}

fn own_name(name: &OsStr) -> OsString {
    let mut own = name.to_owned();
    own.push(SUFFIX);
    own
}

/// Opens a place without following a symbolic link.
fn open_place<P: ?Sized + NixPath>(folder: BorrowedFd<'_>, name: &P, more: OFlag) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(folder, name, flags | more, Mode::empty())
}

fn inode<P: ?Sized + NixPath>(folder: BorrowedFd<'_>, name: &P) -> io::Result<Option<(u64, u64)>> {
    let stat: FileStat = match fstatat(folder, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Err(Errno::ENOENT) => return Ok(None),
        other => other?,
    };
    Ok(Some(identity(&stat)))
}
