//! Where the server's functions are in its executable. Runs in a short-lived unprivileged child: the file is foreign.

use std::fs::File;

use object::read::elf::{ElfFile64, ProgramHeader as _};
use object::{Object as _, ObjectSymbol as _, ReadCache};

/// Functions that read and write the plaintext of encrypted sessions.
pub const FUNCTIONS: [&str; 4] = ["be_tls_read", "be_tls_write", "be_gssapi_read", "be_gssapi_write"];

/// A function in an executable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symbol {
    /// One of [`FUNCTIONS`].
    pub name: &'static str,
    /// Offset of its first instruction in the file.
    pub file_offset: u64,
}

/// Finds the [`FUNCTIONS`] that `executable` exports. An empty list: a server without encryption, or not an ELF file.
#[must_use]
pub fn find(executable: &File) -> Vec<Symbol> {
    let cache = ReadCache::new(executable);
    let Ok(elf) = ElfFile64::<object::Endianness, _>::parse(&cache) else { return Vec::new() };
    elf.dynamic_symbols()
        .chain(elf.symbols())
        .filter_map(|symbol| {
            let found = symbol.name().ok()?;
            let name = FUNCTIONS.into_iter().find(|name| *name == found)?;
            Some(Symbol { name, file_offset: file_offset(&elf, symbol.address())? })
        })
        .fold(Vec::new(), |mut found: Vec<Symbol>, symbol| {
            if !found.iter().any(|known| known.name == symbol.name) {
                found.push(symbol);
            }
            found
        })
}

/// The segment that holds the address says where in the file it is.
fn file_offset<'data, R: object::ReadRef<'data>>(
    elf: &ElfFile64<'data, object::Endianness, R>,
    address: u64,
) -> Option<u64> {
    let endian = elf.endian();
    elf.elf_program_headers().iter().find_map(|segment| {
        let start = segment.p_vaddr(endian);
        let within = address.checked_sub(start)?;
        (segment.p_type(endian) == object::elf::PT_LOAD && within < segment.p_filesz(endian))
            .then(|| segment.p_offset(endian) + within)
    })
}
