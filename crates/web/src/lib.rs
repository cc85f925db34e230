//! HTTP for other hosts: a [`door`] with TLS, and a house behind it ([`serve()`](serve::serve)) with a bound on everything
//! that a stranger may bring. Answers are JSON ([`answer`]).
//!
//! Not here: who the stranger is, and what is answered. Nothing of a request is logged.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod answer;
pub mod door;
mod guests;
pub mod serve;
