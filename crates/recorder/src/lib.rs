//! The way from a proxy worker to the core: a ring in memory that both share and neither can take from the other.
//!
//! A worker copies what a client asks, and what was decided about it, into the ring *before* it forwards it, and gets
//! [`Recorded`] for that. The ring
//! belongs to a descriptor that the core holds too, so what is in it outlives the worker. The core reads it as it
//! reads the kernel's ring, says how far it has written and synced, and believes nothing that it finds: a worker may
//! be under somebody else's control.
//!
//! Beside that, each worker has a bulletin that all workers read: in a log (`changes`) its sessions tell those of all workers
//! what they are about to change in a catalogue, in a table (`counts`) stands what its principals have used of their rates.
//!
//! What is not here: what the bytes mean (`wire-pg`), which bytes matter (`proxy`), files (`store`).

#![warn(missing_docs)]

mod bulletin;
mod changes;
mod codec;
mod counts;
mod encoding;
mod facts;
mod intake;
mod judgement;
mod memory;
mod note;
mod principal;
mod record;

pub use bulletin::Bulletin;
pub use changes::{Change, ChangeReader, ChangeWriter, Missed, Notice};
pub use counts::Counts;
pub use intake::{Intake, Item};
pub use judgement::{EncodedJudgement, JUDGEMENT_BYTES_MAX};
pub use memory::{Channel, OpenError, RING_BYTES_MAX, RING_BYTES_MIN};
pub use record::{Level, NotRecorded, Pending, REPORT_BYTES_MAX, Recorded, Recorder, Unproven};

/// Both ends of a new ring in one process, for tests.
///
/// # Errors
/// When there is no memory.
pub fn pair(bytes: usize) -> Result<(Recorder, Intake), OpenError> {
    let channel = Channel::create(bytes)?;
    let other = channel.try_clone()?;
    Ok((Recorder::open(channel)?, Intake::open(other)?))
}
