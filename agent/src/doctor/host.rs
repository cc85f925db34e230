//! The host as the checks see it: roots of `/proc` and `/sys`, and the few questions that files cannot answer.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use aya::maps::MapType;
use capture::symbols::Symbol;
use nix::unistd::{Group, User};

use super::proxy::{self, Surveyed};
use crate::config::proxy::Guard;
use crate::config::{Account, Database};
use crate::privileges;

/// What the host says about bpf(2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bpf {
    /// Works, ring buffers included.
    Usable,
    /// Works without ring buffers (kernel < 5.8).
    NoRingBuffer,
    /// Refused.
    Refused(String),
}

/// A host to examine. Tests point it at a tree of their own.
#[derive(Clone, Debug)]
pub struct Host {
    /// `/`
    pub root: PathBuf,
    /// Asks the kernel for a ring buffer map.
    pub bpf: fn() -> Bpf,
    /// Finds the functions of encrypted sessions in a server's executable.
    pub functions: fn(&fs::File) -> io::Result<Vec<Symbol>>,
    /// Number of a user account.
    pub user: fn(&Account) -> Option<u32>,
    /// Number of a group.
    pub group: fn(&Account) -> Option<u32>,
    /// What the access rules of a database's server say about the proxy's hop, or why that is not known.
    pub survey: fn(&Database, &Guard) -> Result<Surveyed, String>,
}

impl Host {
    /// The host that this process runs on.
    #[must_use]
    pub fn this() -> Self {
        Self {
            root: "/".into(),
            bpf: probe_bpf,
            functions: functions_in_child,
            user: user_number,
            group: group_number,
            survey: proxy::survey,
        }
    }

    /// An absolute path on this host.
    #[must_use]
    pub fn path(&self, absolute: &str) -> PathBuf {
        self.root.join(absolute.trim_start_matches('/'))
    }

    /// A small text file on this host (`/proc`, `/sys`), trimmed.
    pub fn read(&self, absolute: &str) -> io::Result<String> {
        fs::read(self.path(absolute)).map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned())
    }

    /// Mount points of a file system type in this process's namespace.
    #[must_use]
    pub fn mounts(&self, file_system: &str) -> Vec<String> {
        let mounts = self.read("/proc/self/mounts").unwrap_or_default();
        let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        fields
            .filter(|fields| fields.get(2) == Some(&file_system))
            .filter_map(|fields| fields.get(1).map(|at| (*at).to_owned()))
            .collect()
    }

    /// The path of this host below its root, as people know it.
    #[must_use]
    pub fn shown(&self, path: &Path) -> String {
        let below = path.strip_prefix(&self.root).unwrap_or(path);
        Path::new("/").join(below).display().to_string()
    }
}

/// The executable is foreign: a child without privileges parses it. Without root there are none to drop.
fn functions_in_child(executable: &fs::File) -> io::Result<Vec<Symbol>> {
    if !nix::unistd::Uid::effective().is_root() {
        return Ok(capture::symbols::find(executable));
    }
    privileges::look_up_symbols(privileges::Identity::NOBODY, executable)
}

fn probe_bpf() -> Bpf {
    match aya::sys::is_map_supported(MapType::RingBuf) {
        Ok(true) => Bpf::Usable,
        Ok(false) => Bpf::NoRingBuffer,
        Err(error) => Bpf::Refused(error.io_error.to_string()),
    }
}

fn user_number(account: &Account) -> Option<u32> {
    match account {
        Account::Number(number) => Some(*number),
        Account::Name(name) => User::from_name(name).ok().flatten().map(|user| user.uid.as_raw()),
    }
}

fn group_number(account: &Account) -> Option<u32> {
    match account {
        Account::Number(number) => Some(*number),
        Account::Name(name) => Group::from_name(name).ok().flatten().map(|group| group.gid.as_raw()),
    }
}
