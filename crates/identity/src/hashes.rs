//! Hashes of executables, read from open files and kept by inode.
//!
//! A path can show another file a moment later; (device, inode, change time) cannot, without root setting the clock.

use std::collections::{HashMap, VecDeque};
use std::fs::{File, Metadata};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;

use model::process::Executable;
use ring::digest::{Context, SHA256};

/// Hashes that are kept; the oldest goes first. A host runs fewer different clients.
const KEPT_MAX: usize = 1024;
/// Largest file that is hashed.
const FILE_BYTES_MAX: u64 = 512 << 20;

/// SHA-256 of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileHash(pub [u8; 32]);

/// Why something about a process is not known. What is not known matches no rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unresolved {
    /// The process or file was gone.
    Gone,
    /// It is another file than the process executes, or it changes.
    Changed,
    /// It cannot be read.
    Unreadable,
    /// It is larger than 512 MiB.
    TooLarge,
    /// No rule asks for it.
    NotAsked,
}

/// Hashes by inode.
#[derive(Debug, Default)]
pub struct Hashes {
    known: HashMap<FileKey, FileHash>,
    order: VecDeque<FileKey>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct FileKey {
    device: u32,
    inode: u64,
    changed: u64,
}

impl Hashes {
    /// The hash of a file that was read before.
    #[must_use]
    pub fn known(&self, executable: &Executable) -> Option<FileHash> {
        self.known.get(&FileKey::of(executable)).copied()
    }

    /// Keeps what [`hash`] found.
    pub fn keep(&mut self, executable: &Executable, hash: FileHash) {
        let key = FileKey::of(executable);
        if self.known.insert(key, hash).is_none() {
            self.order.push_back(key);
        }
        if self.order.len() > KEPT_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}

/// Reads a file that the caller has opened, if it is the executable. Takes about a second for 512 MiB, so it is for a
/// thread that may wait.
///
/// # Errors
/// Why its hash stays unknown.
pub fn hash(executable: &Executable, mut file: File) -> Result<FileHash, Unresolved> {
    let key = FileKey::of(executable);
    let is_it = |file: &File| match file.metadata() {
        Ok(found) if FileKey::of_file(&found) == Some(key) => Ok(found.len()),
        Ok(_other) => Err(Unresolved::Changed),
        Err(_unreadable) => Err(Unresolved::Unreadable),
    };
    if is_it(&file)? > FILE_BYTES_MAX {
        return Err(Unresolved::TooLarge);
    }
    let hash = digest(&mut file)?;
    is_it(&file)?;
    Ok(hash)
}

impl FileKey {
    const fn of(executable: &Executable) -> Self {
        Self { device: executable.device, inode: executable.inode, changed: executable.changed }
    }

    /// The same from `stat(2)`, which writes device numbers in another way than the kernel keeps them.
    fn of_file(file: &Metadata) -> Option<Self> {
        let device = file.dev();
        let major = (device >> 8 & 0xfff) | (device >> 32 & 0xffff_f000);
        let minor = (device & 0xff) | (device >> 12 & 0xffff_ff00);
        let device = u32::try_from(major << 20 | minor).ok()?;
        let seconds = u64::try_from(file.ctime()).ok()?;
        let nanos = u64::try_from(file.ctime_nsec()).ok()?;
        Some(Self { device, inode: file.ino(), changed: seconds.checked_mul(1_000_000_000)?.checked_add(nanos)? })
    }
}

fn digest(file: &mut File) -> Result<FileHash, Unresolved> {
    let mut context = Context::new(&SHA256);
    let mut buffer = vec![0; 64 << 10];
    let mut left = FILE_BYTES_MAX;
    loop {
        let count = file.read(&mut buffer).map_err(|_error| Unresolved::Unreadable)?;
        left = left.checked_sub(count as u64).ok_or(Unresolved::TooLarge)?;
        match buffer.get(..count) {
            None | Some([]) => break,
            Some(read) => context.update(read),
        }
    }
    context.finish().as_ref().try_into().map(FileHash).map_err(|_length| Unresolved::Unreadable)
}
