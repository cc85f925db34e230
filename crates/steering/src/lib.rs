//! Connections to a database go through the proxy, and back to the server when nothing is left of the agent.
//!
//! For the kernel process only: it loads the program ([`prepared`], [`steering`]), makes listeners ([`listener`]), opens
//! hops ([`steward`]) and takes over Unix sockets ([`takeover`]). Workers get descriptors and write a [`heartbeat`].
//! Nothing here reads a byte that a client sent, decides, or logs.
#![expect(unsafe_code, reason = "bpf(2), shared memory, credentials of one thread; SAFETY at each place")]
#![warn(missing_docs)]

pub mod bpffs;
pub mod controls;
pub mod exemptions;
pub mod heartbeat;
pub mod identity;
mod kernel;
pub mod listener;
mod maps;
pub mod namespace;
pub mod object;
mod pins;
pub mod prepared;
pub mod spec;
pub mod steering;
pub mod steward;
pub mod takeover;
pub mod unload;
