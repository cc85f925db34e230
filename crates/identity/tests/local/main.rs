//! Proofs that need no token: certificates, processes, and tokens bound to process trees.
#![allow(clippy::allow_attributes, clippy::panic, clippy::unwrap_used, reason = "helpers of tests")]

mod bindings;
mod certificates;
mod documentation;
mod processes;
mod workload;
