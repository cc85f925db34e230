//! A steering that is loaded and pinned but attached to nothing: its listeners can be made ready before the first
//! connection comes.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use aya::maps::MapError;

use crate::bpffs::{self, BpffsError};
use crate::controls::{ControlError, Controls};
use crate::maps::NAMES;
use crate::object::{LoadError, load_into};
use crate::pins::{self, Building, LINK, program_name};
use crate::spec::Spec;
use crate::steering::Steering;
use crate::{kernel, namespace};

/// Why a database cannot be steered.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The name would not be one word of a path.
    #[error("{0:?} is not a name for pins: letters, digits, `-` and `_`, at most 64")]
    Name(String),
    /// There is no place for pins.
    #[error(transparent)]
    Bpffs(#[from] BpffsError),
    /// The program was not loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The maps could not be opened again.
    #[error("the maps of steering could not be opened")]
    Maps(#[from] MapError),
    /// The maps could not be written.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The pins could not be made or put into place.
    #[error("the pins of steering could not be written")]
    Pins(#[source] io::Error),
    /// The network namespace refused.
    #[error("steering could not be attached to the database's network namespace")]
    Attach(#[source] io::Error),
}

/// Loaded, with rules, without connections. Vanishes when it is dropped.
#[derive(Debug)]
pub struct Prepared {
    /// Listeners are set here before [`Prepared::attach`].
    pub controls: Controls,
    building: Building,
    program: OwnedFd,
    root: PathBuf,
    name: String,
}

impl Prepared {
    /// Loads the program and writes the rules. `root` is a folder on bpffs, [`bpffs::ROOT`] in the agent.
    ///
    /// # Errors
    /// See [`InstallError`].
    pub fn new(root: &Path, spec: &Spec) -> Result<Self, InstallError> {
        if !is_name(&spec.name) {
            return Err(InstallError::Name(spec.name.clone()));
        }
        bpffs::ensure(root)?;
        let building = Building::create(root, &spec.name).map_err(InstallError::Pins)?;
        load_into(building.path(), &program_name(), &NAMES)?;
        let program = kernel::pinned(&building.path().join(program_name())).map_err(InstallError::Pins)?;
        let mut controls = Controls::open(building.path())?;
        controls.write(spec, seed().map_err(InstallError::Pins)?)?;
        Ok(Self { controls, building, program, root: root.to_owned(), name: spec.name.clone() })
    }

    /// Steers from here on, in this network namespace (an open `/proc/PID/ns/net`).
    ///
    /// Where an earlier steering of this name is attached there, its program is replaced in one step. Elsewhere it is
    /// detached after this one is attached. Connections that stand are not touched either way.
    ///
    /// # Errors
    /// When the namespace or the file system refuses; an earlier steering is then still in place.
    pub fn attach(self, target: BorrowedFd<'_>) -> Result<Steering, InstallError> {
        let place = self.root.join(&self.name);
        let inode = namespace::inode(target).map_err(InstallError::Attach)?;
        let before = pins::link(&place).map_err(InstallError::Pins)?;
        let same = before.as_ref().filter(|link| is_attached_to(link.as_fd(), inode));
        let link = match same {
            Some(link) => link.try_clone(),
            None => kernel::attach(self.program.as_fd(), target),
        }
        .map_err(InstallError::Attach)?;
        kernel::pin(link.as_fd(), &self.building.path().join(LINK)).map_err(InstallError::Pins)?;
        if same.is_some() {
            kernel::replace(link.as_fd(), self.program.as_fd()).map_err(InstallError::Attach)?;
        }
        let built_at = self.building.path().to_owned();
        self.building.finish(&place).map_err(InstallError::Pins)?;
        if let (None, Some(old)) = (same, &before) {
            kernel::detach(old.as_fd()).map_err(InstallError::Attach)?;
        }
        for path in pins::leftovers(&self.root, &self.name, &built_at) {
            pins::discard(&path, Some(link.as_fd())).map_err(InstallError::Pins)?;
        }
        Ok(Steering::new(self.controls, place, link, self.program, inode))
    }
}

fn is_attached_to(link: BorrowedFd<'_>, namespace: u64) -> bool {
    kernel::link_info(link).is_ok_and(|info| info.is_some_and(|info| u64::from(info.namespace) == namespace))
}

/// A word that is one part of a path and not hidden.
pub(crate) fn is_name(name: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    !name.is_empty() && name.len() <= 64 && name.bytes().all(good)
}

/// Not a secret, only unknown to who connects.
fn seed() -> io::Result<u32> {
    let mut bytes = [0; 4];
    io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut bytes)?;
    Ok(u32::from_ne_bytes(bytes))
}
