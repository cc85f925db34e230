//! The shared memory: one page of positions, then the bytes of the ring.

use std::ffi::CStr;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use nix::unistd::ftruncate;

/// Smallest ring.
pub const RING_BYTES_MIN: usize = 64 * 1024;
/// Largest ring.
pub const RING_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Room for [`Positions`]: the ring begins on a page of its own.
const HEAD_BYTES: usize = 4096;
/// Says that the memory is a ring of this layout.
const MAGIC: u64 = u64::from_le_bytes(*b"WRDRING3");

/// Why a ring cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Memory or descriptors.
    #[error("the ring between worker and core could not be made or mapped")]
    System(#[from] io::Error),
    /// Not a power of two, or beyond the bounds.
    #[error("a ring has {0} bytes: it must be a power of two from {RING_BYTES_MIN} to {RING_BYTES_MAX}")]
    Size(usize),
    /// It may be made shorter under our feet, or is no ring.
    #[error("the memory that was passed is not a ring of this version")]
    Foreign,
}

impl From<nix::errno::Errno> for OpenError {
    fn from(errno: nix::errno::Errno) -> Self {
        Self::System(errno.into())
    }
}

/// The descriptors of a ring, to be passed to both ends.
#[derive(Debug)]
pub struct Channel {
    memory: OwnedFd,
    /// Worker to core: look now.
    wake: OwnedFd,
    /// Core to worker: more is written.
    answer: OwnedFd,
}

impl Channel {
    /// A new, empty ring.
    ///
    /// # Errors
    /// When the size is out of bounds or there is no memory.
    pub fn create(bytes: usize) -> Result<Self, OpenError> {
        check(bytes)?;
        let memory = sealed(c"warder-recorder", HEAD_BYTES + bytes)?;
        let event = || EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK).map(OwnedFd::from);
        let channel = Self { memory, wake: event()?, answer: event()? };
        Map::new(&channel.memory, HEAD_BYTES + bytes)?.positions().magic.store(MAGIC, Ordering::Relaxed);
        Ok(channel)
    }

    /// From descriptors that were passed, in the order of [`Channel::descriptors`].
    #[must_use]
    pub fn from_descriptors([memory, wake, answer]: [OwnedFd; 3]) -> Self {
        Self { memory, wake, answer }
    }

    /// What to pass to the other end.
    #[must_use]
    pub fn descriptors(&self) -> [BorrowedFd<'_>; 3] {
        [self.memory.as_fd(), self.wake.as_fd(), self.answer.as_fd()]
    }

    /// The same ring once more.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub fn try_clone(&self) -> io::Result<Self> {
        let Self { memory, wake, answer } = self;
        Ok(Self { memory: memory.try_clone()?, wake: wake.try_clone()?, answer: answer.try_clone()? })
    }

    /// Maps it.
    pub(crate) fn map(self) -> Result<Ring, OpenError> {
        let length = sealed_length(&self.memory)?;
        let bytes = length.checked_sub(HEAD_BYTES).ok_or(OpenError::Foreign)?;
        check(bytes)?;
        let map = Map::new(&self.memory, length)?;
        if map.positions().magic.load(Ordering::Relaxed) != MAGIC {
            return Err(OpenError::Foreign);
        }
        Ok(Ring { map, bytes, wake: self.wake, answer: self.answer })
    }
}

/// A file in memory of this length for ever: otherwise one end could shorten it and kill the other with SIGBUS.
pub(crate) fn sealed(name: &CStr, length: usize) -> Result<OwnedFd, OpenError> {
    let memory = memfd_create(name, MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?;
    ftruncate(&memory, libc::off_t::try_from(length).map_err(io::Error::other)?)?;
    let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
    fcntl(memory.as_fd(), FcntlArg::F_ADD_SEALS(seals))?;
    Ok(memory)
}

/// The length of such a file.
pub(crate) fn sealed_length(memory: &OwnedFd) -> Result<usize, OpenError> {
    let seals = fcntl(memory.as_fd(), FcntlArg::F_GET_SEALS)?;
    if !SealFlag::from_bits_truncate(seals).contains(SealFlag::F_SEAL_SHRINK) {
        return Err(OpenError::Foreign);
    }
    let length = nix::sys::stat::fstat(memory)?.st_size;
    Ok(usize::try_from(length).map_err(io::Error::other)?)
}

fn check(bytes: usize) -> Result<(), OpenError> {
    let fits = bytes.is_power_of_two() && (RING_BYTES_MIN..=RING_BYTES_MAX).contains(&bytes);
    if fits { Ok(()) } else { Err(OpenError::Size(bytes)) }
}

/// Values of [`Positions::waits`].
pub(crate) const WAITS_WRITTEN: u32 = 1;
pub(crate) const WAITS_DURABLE: u32 = 2;

/// How far each end is, in bytes since the beginning. Each on a cache line of its own.
#[repr(C)]
pub(crate) struct Positions {
    magic: AtomicU64,
    _magic: [u8; 56],
    /// Worker: up to here records are complete.
    pub(crate) head: AtomicU64,
    /// Worker: records that found no room.
    pub(crate) lost: AtomicU64,
    /// Worker: waits for the core to write, or to sync.
    pub(crate) waits: AtomicU32,
    _head: [u8; 44],
    /// Core: up to here records are taken.
    pub(crate) tail: AtomicU64,
    /// Core: up to here records are in the journal's file.
    pub(crate) written: AtomicU64,
    /// Core: up to here they are on the disk.
    pub(crate) synced: AtomicU64,
    /// Core: of what is before this, nothing more is promised: some of it may be recorded nowhere.
    pub(crate) missed: AtomicU64,
    /// Core: not 0 where it has taken the place of another and does not know what that one was told. The worker resets it.
    pub(crate) ignorant: AtomicU32,
    _tail: [u8; 28],
}
const _: () = assert!(size_of::<Positions>() == 192 && size_of::<Positions>() <= HEAD_BYTES);

/// A file in memory, mapped.
#[derive(Debug)]
pub(crate) struct Map {
    start: NonNull<libc::c_void>,
    length: usize,
}

// SAFETY: the mapping belongs to this value alone; what is shared in it is atomic or raw bytes.
#[expect(unsafe_code, reason = "a mapping may be used by any thread")]
unsafe impl Send for Map {}

impl Map {
    fn new(memory: &OwnedFd, length: usize) -> Result<Self, OpenError> {
        Self::with(memory, length, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE)
    }

    /// To read or write what another process writes or reads.
    pub(crate) fn with(memory: &OwnedFd, length: usize, access: ProtFlags) -> Result<Self, OpenError> {
        let size = NonZeroUsize::new(length).ok_or(OpenError::Foreign)?;
        #[expect(unsafe_code, reason = "mmap(2)")]
        // SAFETY: a new mapping at an address of the kernel's choice touches no other memory.
        let start = unsafe { mmap(None, size, access, MapFlags::MAP_SHARED, memory, 0)? };
        Ok(Self { start, length })
    }

    fn positions(&self) -> &Positions {
        #[expect(unsafe_code, reason = "shared memory has no other type")]
        // SAFETY: the mapping is page-aligned and longer than `Positions`, whose fields are atomics, for which every
        // bit pattern is valid; it lives as long as `self`.
        unsafe {
            self.start.cast::<Positions>().as_ref()
        }
    }

    /// All of it. Where it was mapped to be read only, nothing may be stored.
    pub(crate) fn words(&self) -> &[AtomicU64] {
        #[expect(unsafe_code, reason = "shared memory has no other type")]
        // SAFETY: the mapping is page-aligned, as long as this slice at least, and lives as long as `self`; every bit
        // pattern is valid for atomics.
        unsafe {
            std::slice::from_raw_parts(self.start.cast::<AtomicU64>().as_ptr(), self.length / size_of::<AtomicU64>())
        }
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        #[expect(unsafe_code, reason = "munmap(2)")]
        // SAFETY: the mapping was made in `new` with this length; no reference into it outlives `self`.
        // An error would mean that it is not mapped, which is what was wanted.
        let _gone = unsafe { munmap(self.start, self.length) };
    }
}

/// A mapped ring.
#[derive(Debug)]
pub(crate) struct Ring {
    map: Map,
    bytes: usize,
    wake: OwnedFd,
    answer: OwnedFd,
}

impl Ring {
    pub(crate) fn positions(&self) -> &Positions {
        self.map.positions()
    }

    /// Size of the ring.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes as u64
    }

    /// Bytes from `position` to the end of the ring's memory.
    pub(crate) fn until_end(&self, position: u64) -> u64 {
        self.bytes() - (position & (self.bytes() - 1))
    }

    /// Where `length` bytes at `position` are. They must not cross the end of the ring's memory.
    fn place(&self, position: u64, length: usize) -> *mut u8 {
        assert!(length as u64 <= self.until_end(position), "a record does not cross the end of the ring");
        let offset = usize::try_from(position & (self.bytes() - 1)).unwrap_or_default();
        #[expect(unsafe_code, reason = "pointer arithmetic in the mapping")]
        // SAFETY: the offset is less than `bytes`, and the mapping has HEAD_BYTES + bytes.
        unsafe {
            self.map.start.cast::<u8>().as_ptr().add(HEAD_BYTES + offset)
        }
    }

    /// Copies `source` to `position`.
    pub(crate) fn write(&self, position: u64, source: &[u8]) {
        let target = self.place(position, source.len());
        #[expect(unsafe_code, reason = "shared memory is reached by pointers only")]
        // SAFETY: `place` has checked the bounds; a private slice does not overlap the mapping. The other end reads
        // this place only after `head` was moved behind it, or is broken, and then copies whatever is there.
        unsafe {
            std::ptr::copy_nonoverlapping(source.as_ptr(), target, source.len());
        }
    }

    /// Copies from `position` to `target`.
    pub(crate) fn read(&self, position: u64, target: &mut [u8]) {
        let source = self.place(position, target.len());
        #[expect(unsafe_code, reason = "shared memory is reached by pointers only")]
        // SAFETY: `place` has checked the bounds; a private slice does not overlap the mapping. The bytes may be
        // anything: they are judged after the copy.
        unsafe {
            std::ptr::copy_nonoverlapping(source, target.as_mut_ptr(), target.len());
        }
    }

    /// Makes the core look now.
    pub(crate) fn wake_core(&self) {
        signal(&self.wake);
    }

    /// Makes the worker look at what is written.
    pub(crate) fn wake_worker(&self) {
        signal(&self.answer);
    }

    pub(crate) fn wake_descriptor(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    pub(crate) fn answer_descriptor(&self) -> BorrowedFd<'_> {
        self.answer.as_fd()
    }
}

/// Takes what was signalled, so that the descriptor is not readable any more.
pub(crate) fn settle(event: BorrowedFd<'_>) {
    let mut count = [0; 8];
    // Nothing to take is as good.
    let _nothing = nix::unistd::read(event, &mut count);
}

fn signal(event: &OwnedFd) {
    // A full counter is signalled already.
    let _full = nix::unistd::write(event, &1_u64.to_ne_bytes());
}
