//! Reads structure members out of BTF, the kernel's description of its own types.
//!
//! Format: Documentation/bpf/btf.rst of the kernel. Only what offsets need: structs, unions, and the types between
//! a member and the struct that it is. Bytes are taken through checked slices: a malformed file finds nothing.

use std::collections::HashMap;

/// `BTF_KIND_*`
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_TYPEDEF: u32 = 8;
const KIND_VOLATILE: u32 = 9;
const KIND_CONST: u32 = 10;
const KIND_RESTRICT: u32 = 11;
const KIND_TYPE_TAG: u32 = 18;
/// `BTF_MAGIC`
const MAGIC: u16 = 0xeb9f;
/// Qualifiers and typedefs between a member and its struct, at most.
const CHAIN_MAX: usize = 16;
/// Anonymous structs within each other, at most.
const DEPTH_MAX: usize = 8;

/// A parsed table of types.
pub(crate) struct Btf<'a> {
    types: &'a [u8],
    strings: &'a [u8],
    /// Position of each type in `types`; type 0 is void.
    positions: Vec<usize>,
    /// Ids of named structs.
    structs: HashMap<&'a [u8], u32>,
}

/// The fixed part of a type.
struct Type {
    name: u32,
    kind: u32,
    members: usize,
    /// Kind flag: member offsets carry a bitfield size in their upper 8 bits.
    bitfields: bool,
    /// Size, or the id of the type it refers to.
    other: u32,
    /// Where its members begin.
    after: usize,
}

impl<'a> Btf<'a> {
    /// Finds all types; `None` if the bytes are not BTF of this machine's byte order.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let header_bytes = word(bytes, 4)? as usize;
        if u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?) != MAGIC {
            return None;
        }
        let section = |at: usize| {
            let start = header_bytes.checked_add(word(bytes, at)? as usize)?;
            bytes.get(start..start.checked_add(word(bytes, at + 4)? as usize)?)
        };
        let mut btf = Self { types: section(8)?, strings: section(16)?, positions: vec![0], structs: HashMap::new() };
        let mut position = 0;
        while position < btf.types.len() {
            let found = btf.type_at(position)?;
            let id = u32::try_from(btf.positions.len()).ok()?;
            btf.positions.push(position);
            if found.kind == KIND_STRUCT && found.name != 0 {
                let name = btf.name(found.name);
                btf.structs.entry(name).or_insert(id);
            }
            position = found.after.checked_add(trailing_bytes(found.kind, found.members)?)?;
        }
        Some(btf)
    }

    /// Byte offset of a dotted member path in a named struct; anonymous structs and unions are looked into.
    pub(crate) fn offset(&self, structure: &str, path: &str) -> Option<u32> {
        self.member_offset(*self.structs.get(structure.as_bytes())?, path, DEPTH_MAX)
    }

    fn member_offset(&self, structure: u32, path: &str, depth: usize) -> Option<u32> {
        let depth = depth.checked_sub(1)?;
        let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
        let outer = self.type_of(structure)?;
        for index in 0..outer.members {
            let at = outer.after + index * 12;
            let (name, kind, bits) = (word(self.types, at)?, word(self.types, at + 4)?, word(self.types, at + 8)?);
            let offset = if outer.bitfields { bits & 0xff_ffff } else { bits } / 8;
            if name == 0 {
                let inner = self.structure_of(kind).and_then(|inner| self.member_offset(inner, path, depth));
                if let Some(inner) = inner {
                    return Some(offset + inner);
                }
            } else if self.name(name) == first.as_bytes() {
                return match rest {
                    None => Some(offset),
                    Some(rest) => Some(offset + self.member_offset(self.structure_of(kind)?, rest, depth)?),
                };
            }
        }
        None
    }

    /// The struct or union behind typedefs and qualifiers.
    fn structure_of(&self, mut id: u32) -> Option<u32> {
        for _ in 0..CHAIN_MAX {
            let found = self.type_of(id)?;
            match found.kind {
                KIND_STRUCT | KIND_UNION => return Some(id),
                KIND_TYPEDEF | KIND_VOLATILE | KIND_CONST | KIND_RESTRICT | KIND_TYPE_TAG => id = found.other,
                _ => return None,
            }
        }
        None
    }

    fn type_of(&self, id: u32) -> Option<Type> {
        if id == 0 {
            return None;
        }
        self.type_at(*self.positions.get(id as usize)?)
    }

    fn type_at(&self, position: usize) -> Option<Type> {
        let info = word(self.types, position + 4)?;
        Some(Type {
            name: word(self.types, position)?,
            kind: (info >> 24) & 0x1f,
            members: (info & 0xffff) as usize,
            bitfields: info >> 31 == 1,
            other: word(self.types, position + 8)?,
            after: position + 12,
        })
    }

    fn name(&self, offset: u32) -> &'a [u8] {
        let rest = self.strings.get(offset as usize..).unwrap_or_default();
        rest.split(|byte| *byte == 0).next().unwrap_or_default()
    }
}

/// Bytes that follow the fixed part of a type; `None` for a kind that this version does not know, whose length
/// is not known either.
fn trailing_bytes(kind: u32, members: usize) -> Option<usize> {
    Some(match kind {
        // PTR, FWD, TYPEDEF, VOLATILE, CONST, RESTRICT, FUNC, FLOAT, TYPE_TAG
        2 | 7..=12 | 16 | 18 => 0,
        // INT, VAR, DECL_TAG
        1 | 14 | 17 => 4,
        // ARRAY
        3 => 12,
        // ENUM, FUNC_PROTO
        6 | 13 => members * 8,
        // STRUCT, UNION, DATASEC, ENUM64
        4 | 5 | 15 | 19 => members * 12,
        _ => return None,
    })
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::Btf;

    #[test]
    fn finds_members_of_the_running_kernel() {
        let Ok(bytes) = std::fs::read("/sys/kernel/btf/vmlinux") else {
            println!("no BTF here: nothing to compare");
            return;
        };
        let btf = Btf::parse(&bytes).expect("the kernel's BTF is well-formed");
        assert_eq!(btf.offset("list_head", "next"), Some(0));
        assert_eq!(btf.offset("list_head", "prev"), Some(8));
        assert!(btf.offset("sock", "__sk_common.skc_family").is_some());
        assert_eq!(btf.offset("list_head", "no_such_member"), None);
        assert_eq!(btf.offset("no_such_struct", "next"), None);
    }

    #[test]
    fn a_torn_file_finds_nothing_and_does_not_panic() {
        let Ok(bytes) = std::fs::read("/sys/kernel/btf/vmlinux") else { return };
        for length in [0, 1, 7, 23, 24, 100, 4099, bytes.len() / 2] {
            assert!(Btf::parse(&bytes[..length]).is_none(), "{length} bytes");
        }
    }
}
