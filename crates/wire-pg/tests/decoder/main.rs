//! The decoder's behaviour, as conversations and the events that they must give.

mod copy;
mod drivers;
mod extended;
mod fuzz;
mod fuzz_body;
mod loss;
mod memory;
mod names;
mod opening;
mod simple;
mod split;
mod support;
