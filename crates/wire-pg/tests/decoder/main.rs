//! The decoder's behaviour, as conversations and the events that they must give.

mod copy;
mod drivers;
mod extended;
mod loss;
mod names;
mod opening;
mod simple;
mod split;
mod support;
