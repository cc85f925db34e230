//! The worker's sign of life, which the kernel reads before it chooses a listener.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use agent_common::steering::SLOTS;

use crate::exemptions::monotonic;
use crate::spec::Slot;

/// The kernel's map of heartbeats, in this process's memory: a heartbeat is one store, no system call beside the clock.
///
/// All workers of a database share the memory. A worker that has been taken over can make another one that hangs look alive;
/// it cannot make connections go anywhere but to the proxy.
#[derive(Debug)]
pub struct Heartbeat {
    slots: NonNull<AtomicU64>,
}

// SAFETY: the mapping belongs to the value alone and is accessed by atomic stores only.
unsafe impl Send for Heartbeat {}

/// Bytes of the mapping; the kernel rounds them up to a page.
const BYTES: usize = SLOTS as usize * size_of::<u64>();

impl Heartbeat {
    /// Maps the descriptor that [`crate::controls::Controls::heartbeats`] gave; it can be closed afterwards.
    ///
    /// # Errors
    /// When it is no such map.
    pub fn map(descriptor: BorrowedFd<'_>) -> io::Result<Self> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at an address that the kernel chooses.
        let memory =
            unsafe { libc::mmap(std::ptr::null_mut(), BYTES, access, libc::MAP_SHARED, descriptor.as_raw_fd(), 0) };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let slots = NonNull::new(memory.cast()).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))?;
        Ok(Self { slots })
    }

    /// Says that the owner of this slot accepts connections. To be called from its accept loop, a few times for each
    /// heartbeat limit: a loop that hangs must not be covered by a timer that does not.
    ///
    /// # Errors
    /// When the clock cannot be read.
    pub fn beat(&self, slot: Slot) -> io::Result<()> {
        self.write(slot, monotonic()?);
        Ok(())
    }

    /// Says that this slot takes no more connections, before its listener is closed: a drain.
    pub fn stop(&self, slot: Slot) {
        self.write(slot, 0);
    }

    fn write(&self, slot: Slot, value: u64) {
        let index = slot.index() as usize;
        if index >= SLOTS as usize {
            return;
        }
        // SAFETY: the index is inside of the mapping, which lives as long as the value; entries are aligned.
        unsafe { self.slots.add(index).as_ref() }.store(value, Ordering::Relaxed);
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        // SAFETY: the mapping was made in `map` with this length, and nothing else refers to it.
        unsafe { libc::munmap(self.slots.as_ptr().cast(), BYTES) };
    }
}
