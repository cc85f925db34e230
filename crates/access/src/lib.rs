//! The desk: grants are asked for, decided, active for a time, and over. What is not active permits nothing.
//!
//! Every verb is two steps. The first looks and answers with a [`Proposal`]: what would become of a grant, or why not.
//! The second, [`Desk::commit`], takes the proposal to whoever writes it down, and only then lets it take effect: no
//! change is true that is not on record.
//!
//! Time is an argument, and two clocks at once: the time of day says when access ends, the time since boot sees to it
//! that a clock that is set back does not prolong it ([`moment`]).
//!
//! Not here: who somebody is (`identity`), who may ask and approve (`policy`, whose answer is [`Terms`]), whether a
//! grant covers a statement (`policy`), files, sockets, random numbers.

#![forbid(unsafe_code)]
#![warn(missing_docs)]
#![warn(clippy::indexing_slicing)]

pub mod ask;
pub mod case;
pub mod desk;
pub mod moment;
mod people;
pub mod refusal;

pub use ask::{Ask, Terms, can_be_named};
pub use case::{Approval, Case, Review};
pub use desk::{Desk, Held, Limits, Proposal};
pub use moment::{Deadline, Moment};
pub use refusal::Refusal;
