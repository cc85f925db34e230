//! The steering program: embedded at build time, loaded at run time.

use std::path::Path;

use aya::programs::{ProgramError, SkLookup};
use aya::{Ebpf, EbpfLoader};

/// Aligned for the ELF parser; empty in a build without the BPF toolchain.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/steer.bpf.o"));

/// Name of the program in the object.
const PROGRAM: &str = "steer";

/// Why the program could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Built without the object.
    #[error("this binary was built without its steering program: build it with `cargo xtask build`")]
    NoObject,
    /// The object was refused.
    #[error("the kernel refused the steering object (root with CAP_BPF and CAP_NET_ADMIN is needed)")]
    Object(#[from] aya::EbpfError),
    /// The program was refused.
    #[error("the kernel refused the steering program")]
    Program(#[from] ProgramError),
    /// The object lacks something.
    #[error("the steering object has no {0}")]
    Missing(&'static str),
    /// Something could not be pinned.
    #[error("the steering program and its maps could not be pinned")]
    Pin(#[from] aya::pin::PinError),
}

/// Loads the program and pins it and its maps in a directory. Nothing is attached.
pub(crate) fn load_into(directory: &Path, program_name: &str, maps: &[&'static str]) -> Result<(), LoadError> {
    if OBJECT.is_empty() {
        return Err(LoadError::NoObject);
    }
    let mut ebpf: Ebpf = EbpfLoader::new().load(OBJECT)?;
    for name in maps {
        ebpf.map(name).ok_or(LoadError::Missing(name))?.pin(directory.join(name))?;
    }
    let program = ebpf.program_mut(PROGRAM).ok_or(LoadError::Missing(PROGRAM))?;
    let program: &mut SkLookup = program.try_into()?;
    program.load()?;
    program.pin(directory.join(program_name))?;
    Ok(())
}
