//! Proofs that need no token: certificates and processes.
#![allow(clippy::allow_attributes, clippy::panic, clippy::unwrap_used, reason = "helpers of tests")]

mod certificates;
mod documentation;
mod processes;
mod workload;
