//! Steering that is attached and pinned: it goes on without this process, in its fail mode.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use agent_common::steering::Counters;
use aya::maps::MapError;

use crate::controls::{ControlError, Controls, SlotStatus};
use crate::kernel;
use crate::pins::{self, LINK, program_name};
use crate::prepared::is_name;
use crate::spec::FailMode;

/// One database's steering.
#[derive(Debug)]
pub struct Steering {
    /// Listeners, fail mode, switch, counters.
    pub controls: Controls,
    place: PathBuf,
    link: OwnedFd,
    program: OwnedFd,
    namespace: u64,
}

/// Why an earlier steering cannot be taken over as it is; [`crate::prepared::Prepared`] replaces it.
#[derive(Debug, thiserror::Error)]
pub enum AdoptError {
    /// There is none of this name.
    #[error("nothing is steered under this name")]
    Nothing,
    /// It is of another version, incomplete, or its program is not the one that is attached.
    #[error("the steering under this name cannot be used: {0}")]
    Unusable(&'static str),
    /// The pins could not be opened.
    #[error("the pins of steering could not be opened")]
    Pins(#[source] io::Error),
    /// Its maps could not be opened.
    #[error("the maps of steering could not be opened")]
    Maps(#[from] MapError),
    /// Its maps could not be written.
    #[error(transparent)]
    Control(#[from] ControlError),
}

/// Why a steering could not be removed completely.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// Connections are still steered.
    #[error("the steering program could not be detached")]
    Detach(#[source] io::Error),
    /// Nothing is steered, but pins are left.
    #[error("the pins could not be removed")]
    Pins(#[source] io::Error),
}

/// How a steering is.
#[derive(Clone, Debug)]
pub struct Status {
    /// The kernel runs our program in the database's network namespace. `false`: somebody removed it, or the namespace
    /// has gone.
    pub attached: bool,
    /// The pins are in their place and lead to it: it would survive this process.
    pub pinned: bool,
    /// Inode of the network namespace.
    pub namespace: u64,
    /// Whether it is switched on.
    pub on: bool,
    /// Without a live listener.
    pub fail_mode: FailMode,
    /// Listeners that there are or were.
    pub listeners: Vec<SlotStatus>,
    /// What became of connection attempts.
    pub counters: Counters,
}

impl Steering {
    pub(crate) fn new(controls: Controls, place: PathBuf, link: OwnedFd, program: OwnedFd, namespace: u64) -> Self {
        Self { controls, place, link, program, namespace }
    }

    /// Takes over what an earlier agent left, rules and fail mode included; its listeners and hops are forgotten.
    ///
    /// Until a listener is set and has a heartbeat, the fail mode holds. To change without such a moment, prepare a new
    /// one and attach it.
    ///
    /// # Errors
    /// See [`AdoptError`].
    pub fn adopt(root: &Path, name: &str) -> Result<Self, AdoptError> {
        let mut found = Self::open(root, name)?;
        found.controls.forget_listeners()?;
        Ok(found)
    }

    /// Opens what an agent, perhaps one that runs, has in place: to look at it, or to switch it.
    ///
    /// # Errors
    /// See [`AdoptError`].
    pub fn open(root: &Path, name: &str) -> Result<Self, AdoptError> {
        let place = root.join(name);
        if !is_name(name) || !place.exists() {
            return Err(AdoptError::Nothing);
        }
        let link = pins::link(&place).map_err(AdoptError::Pins)?.ok_or(AdoptError::Unusable("it has no link"))?;
        let program = match kernel::pinned(&place.join(program_name())) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(AdoptError::Unusable("it is of another version"));
            }
            other => other.map_err(AdoptError::Pins)?,
        };
        let info = kernel::link_info(link.as_fd()).map_err(AdoptError::Pins)?;
        let info = info.ok_or(AdoptError::Unusable("its link is of another kind"))?;
        if info.namespace == 0 {
            return Err(AdoptError::Unusable("it is attached to nothing"));
        }
        if info.program != kernel::program_id(program.as_fd()).map_err(AdoptError::Pins)? {
            return Err(AdoptError::Unusable("another program is attached than the one that is pinned"));
        }
        let controls = Controls::open(&place)?;
        Ok(Self::new(controls, place, link, program, u64::from(info.namespace)))
    }

    /// Inode of the network namespace that it is attached to.
    #[must_use]
    pub const fn namespace(&self) -> u64 {
        self.namespace
    }

    /// When it was put into place.
    ///
    /// # Errors
    /// When its pins have gone.
    pub fn made(&self) -> io::Result<SystemTime> {
        std::fs::metadata(self.place.join(LINK))?.modified()
    }

    /// How it is.
    ///
    /// # Errors
    /// When the maps cannot be read.
    pub fn status(&self) -> Result<Status, ControlError> {
        let pinned = pins::link(&self.place).ok().flatten();
        Ok(Status {
            attached: self.is_attached(self.link.as_fd()),
            pinned: pinned.is_some_and(|link| self.is_attached(link.as_fd())) && self.place.join(LINK).exists(),
            namespace: self.namespace,
            on: self.controls.is_on()?,
            fail_mode: self.controls.fail_mode()?,
            listeners: self.controls.listeners()?,
            counters: self.controls.counters()?,
        })
    }

    fn is_attached(&self, link: BorrowedFd<'_>) -> bool {
        let Ok(Some(info)) = kernel::link_info(link) else { return false };
        let ours = kernel::program_id(self.program.as_fd()).is_ok_and(|program| program == info.program);
        ours && u64::from(info.namespace) == self.namespace
    }

    /// Gives the host back: every new connection reaches the server itself. Connections that are steered go on.
    ///
    /// # Errors
    /// See [`RemoveError`].
    pub fn remove(self) -> Result<(), RemoveError> {
        kernel::detach(self.link.as_fd()).map_err(RemoveError::Detach)?;
        pins::remove(&self.place).map_err(RemoveError::Pins)
    }
}

/// Names of the steerings that are in place, of whatever agent; for [`Steering::open`].
///
/// # Errors
/// When the folder cannot be read; that there is none is no error.
pub fn names(root: &Path) -> io::Result<Vec<String>> {
    let entries = match std::fs::read_dir(root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut names: Vec<String> = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.retain(|name| is_name(name));
    names.sort();
    Ok(names)
}

/// How many programs of this kind a network namespace has. More than ours: what they choose wins over our refusal, and what
/// runs before us over our choice.
///
/// # Errors
/// When the kernel refuses.
pub fn programs_attached(namespace: BorrowedFd<'_>) -> io::Result<u32> {
    kernel::programs_attached(namespace)
}
