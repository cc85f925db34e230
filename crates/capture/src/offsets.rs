//! Offsets of kernel structure members, from the BTF of the running kernel.

use std::path::Path;

use agent_common::offsets::Offsets;
use btf_rs::{Backend, Btf, BtfType, Struct, Type};

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
        source: btf_rs::Error,
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
    let btf = Btf::from_file_with_backend(path, Backend::Mmap)
        .map_err(|source| OffsetsError::NoBtf { path: path.display().to_string(), source })?;
    let mut offsets = Offsets::POISONED;
    let mut missing = Vec::new();
    let mut cache: Option<(String, Struct)> = None;
    offsets.fill(
        |name, paths| {
            if cache.as_ref().is_none_or(|(cached, _)| cached != name) {
                cache = named_struct(&btf, name).map(|found| (name.to_owned(), found));
            }
            let (_, structure) = cache.as_ref()?;
            paths.iter().find_map(|path| member_offset(&btf, structure, path))
        },
        |field| missing.push(field),
    );
    if missing.is_empty() { Ok(offsets) } else { Err(OffsetsError::Missing(missing.join(", "))) }
}

fn named_struct(btf: &Btf, name: &str) -> Option<Struct> {
    btf.resolve_types_by_name(name).ok()?.into_iter().find_map(|found| match found {
        Type::Struct(structure) => Some(structure),
        _ => None,
    })
}

/// Byte offset of a dotted member path; anonymous structs and unions on the way are looked into.
fn member_offset(btf: &Btf, structure: &Struct, path: &str) -> Option<u32> {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    for member in &structure.members {
        let name = btf.resolve_name(member).unwrap_or_default();
        let offset = member.bit_offset() / 8;
        if name == first {
            return match rest {
                None => Some(offset),
                Some(rest) => Some(offset + member_offset(btf, &structure_of(btf, member)?, rest)?),
            };
        }
        if name.is_empty()
            && let Some(inner) = structure_of(btf, member)
            && let Some(found) = member_offset(btf, &inner, path)
        {
            return Some(offset + found);
        }
    }
    None
}

/// The struct or union that a member is, through typedefs and qualifiers.
fn structure_of(btf: &Btf, member: &dyn BtfType) -> Option<Struct> {
    let mut found = btf.resolve_type_by_id(member.get_type_id()?).ok()?;
    loop {
        found = match found {
            Type::Struct(structure) | Type::Union(structure) => return Some(structure),
            Type::Typedef(inner) => btf.resolve_type_by_id(inner.get_type_id()?).ok()?,
            Type::Const(inner) | Type::Volatile(inner) => btf.resolve_type_by_id(inner.get_type_id()?).ok()?,
            _ => return None,
        };
    }
}
