//! The index: which blocks of the journal can hold what somebody looks for.
//!
//! It consists of parts. A part tells of up to [`PART_BLOCKS_MAX`] consecutive blocks of one segment, and is a file of
//! its own that is only ever replaced as a whole (temporary file, rename). So readers in other processes need no lock,
//! a killed indexer leaves nothing half done, retention removes files, and damage concerns one file. The journal is
//! the truth: every part can be made again from it.
//!
//! A statement is found by the attributes of its session. A part holds, for each session that occurs in it, all
//! attributes that are known by its end, also from earlier parts. What becomes known of a session later is a *late*
//! entry of the later part; readers apply late entries to all earlier parts.

pub(crate) mod block_set;
pub(crate) mod bloom;
pub(crate) mod builder;
pub(crate) mod bytes;
pub(crate) mod history;
pub mod indexer;
pub(crate) mod part;
pub(crate) mod stored;

/// Most blocks of a part: 64 MiB of lines.
pub const PART_BLOCKS_MAX: usize = block_set::BLOCKS;
/// Sessions from which on a part takes no further block; bounds its memory to a few megabytes.
pub const PART_SESSIONS_MAX: usize = 16 * 1024;
/// Terms from which on a part takes no further block.
pub const PART_TERMS_MAX: usize = 64 * 1024;
/// Most attributes of one session; more are counted and not found.
pub const SESSION_ATTRIBUTES_MAX: usize = 256;
