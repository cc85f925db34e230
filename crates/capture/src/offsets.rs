//! Offsets of kernel structure members, from the BTF of the running kernel.

use std::path::Path;

use agent_common::offsets::Offsets;

use crate::btf::Btf;

/// Why the offsets could not be found.
#[derive(Debug, thiserror::Error)]
pub enum OffsetsError {
    /// No readable BTF.
    #[error("{path} cannot be read: the kernel must be built with CONFIG_DEBUG_INFO_BTF")]
    NoBtf {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is not BTF, or uses a kind of type that this version does not know.
    #[error("{path} is not BTF that this version understands")]
    Malformed {
        /// The file.
        path: String,
    },
    /// This kernel does not have these members under any name that this version knows.
    #[error("this kernel's structures are not known to this version: {0} not found in BTF")]
    Missing(String),
}

/// Fills every offset from the BTF at `path` (usually `/sys/kernel/btf/vmlinux`).
///
/// # Errors
/// When the file is missing or a member has none of its known names.
pub fn from_btf(path: &Path) -> Result<Offsets, OffsetsError> {
    let name = || path.display().to_string();
    let bytes = std::fs::read(path).map_err(|source| OffsetsError::NoBtf { path: name(), source })?;
    let btf = Btf::parse(&bytes).ok_or_else(|| OffsetsError::Malformed { path: name() })?;
    let mut offsets = Offsets::POISONED;
    let mut missing = Vec::new();
    offsets.fill(
        |structure, paths| paths.iter().find_map(|path| btf.offset(structure, path)),
        |field| missing.push(field),
    );
    if missing.is_empty() { Ok(offsets) } else { Err(OffsetsError::Missing(missing.join(", "))) }
}
