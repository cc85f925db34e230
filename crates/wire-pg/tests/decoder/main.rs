//! The decoder's behaviour, as conversations and the events that they must give.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cloned_ref_to_slice_refs,
    clippy::type_complexity,
    clippy::unwrap_used,
    reason = "tests choose their numbers, and data is written as it reads best"
)]

mod ahead;
mod copy;
mod drivers;
mod extended;
mod fuzz;
mod fuzz_body;
mod loss;
mod memory;
mod names;
mod opening;
mod recordings;
mod simple;
mod split;
mod support;
mod values;
