//! Constants that user space writes into the object before it is loaded.

/// Settings of one load, in the read-only global `SETTINGS`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Bytes of one client message that are copied; the rest is counted only.
    pub message_bytes_max: u32,
    /// Ring fill (bytes) from which content is refused, so that lifecycle events still find room.
    pub content_fill_max: u32,
    /// Ring fill (bytes) from which a record wakes the reader; below it, the reader's timer does.
    pub wake_fill: u32,
    /// Content bytes that one processor writes between two looks at the ring's fill. All processors together stay
    /// within what is left above `content_fill_max`.
    pub fill_check_bytes: u32,
    /// 1: command lines are captured; 0: they are left out already in the kernel.
    pub capture_arguments: u32,
}
const _: () = assert!(size_of::<Settings>() == 20);

impl Settings {
    /// What the object contains before user space writes it.
    pub const DEFAULT: Self = Self {
        message_bytes_max: 1 << 20,
        content_fill_max: 7 << 20,
        wake_fill: 1 << 20,
        fill_check_bytes: 0,
        capture_arguments: 1,
    };
}

/// Entries of the map `PORT_SET`: one bit for every TCP port.
pub const PORT_SET_WORDS: u32 = 65536 / 64;

/// Index of per-CPU counters that are neither loss nor probe hits (map `COUNTERS`).
pub mod counter {
    /// Sessions that were not observed because the session map is full.
    pub const SESSIONS_REFUSED: u32 = 0;
    /// Content whose user memory could not be read, in calls.
    pub const CONTENT_FAULTS: u32 = 1;
    /// Calls whose bytes were not understood as the protocol.
    pub const DESYNCHRONISED: u32 = 2;
    /// A socket call of an observed session that is neither send nor receive with one buffer, in calls.
    pub const UNREAD_CALLS: u32 = 3;
    /// Length of the map.
    pub const COUNT: u32 = 4;
}

/// Hits and duplicates of one probe attachment (per-CPU map `PROBES`, index = attach cookie).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct ProbeCounts {
    /// Calls seen.
    pub hits: u64,
    /// Calls that another attachment of the same inode had already reported.
    pub duplicates: u64,
}
const _: () = assert!(size_of::<ProbeCounts>() == 16);
