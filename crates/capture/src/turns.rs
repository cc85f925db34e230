//! The workers' listeners at one address take turns.

use std::os::fd::{AsFd, BorrowedFd};

use agent_common::turns::Turns;
use aya::maps::{Array, MapError};
use aya::programs::{ProgramError, ReusePortSocketFilter};

use crate::object::{LoadError, named};
use crate::witness::Witness;

const PROGRAM: &str = "take_turn";

/// Why connections do not go to the listeners by turns.
#[derive(Debug, thiserror::Error)]
pub enum TurnsError {
    /// The object lacks something, or the program was refused.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The map refuses.
    #[error("the map of turns could not be written")]
    Map(#[from] MapError),
    /// The socket refuses.
    #[error("the program could not be attached to the listener")]
    Attach(#[from] ProgramError),
}

impl Witness {
    /// From now on connections to the address of this listener, which has `SO_REUSEPORT`, go by turns to the `workers` that
    /// listen there. Holds for all of them, those that come later included.
    ///
    /// # Errors
    /// See [`TurnsError`]; then a hash of the client's address and port chooses, as before.
    pub fn take_turns(&mut self, listener: BorrowedFd<'_>, workers: u32) -> Result<(), TurnsError> {
        let mut turns: Array<_, Turns> = self.ebpf.map_mut("TURNS").ok_or(LoadError::Missing("TURNS"))?.try_into()?;
        if turns.get(&0, 0)?.workers != workers {
            turns.set(0, Turns { workers, ..Turns::default() }, 0)?;
        }
        let program: &mut ReusePortSocketFilter = named(&mut self.ebpf, PROGRAM)?;
        if program.fd().is_err() {
            program.load().map_err(|source| LoadError::Program { program: PROGRAM, source })?;
        }
        Ok(program.attach(listener.as_fd())?)
    }
}
