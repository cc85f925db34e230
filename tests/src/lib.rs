//! Support of the end-to-end tests and of `cargo xtask demo` and `bench`: private PostgreSQL clusters, an agent under
//! test, its events file, the server's own log as an oracle, and the client programs.
//!
//! One noun per file. Everything that starts a process owns a guard that stops exactly that process, by pid; every
//! file lives in a private temporary directory. Waiting is always for a condition with a deadline ([`wait`]).

#![forbid(unsafe_code)]
#![expect(clippy::disallowed_methods, reason = "tests and tasks live in real time: deadlines need the clock")]

pub mod account;
pub mod agent;
pub mod certificate;
pub mod cgroup;
pub mod cluster;
pub mod collector;
#[cfg(feature = "end-to-end")]
pub mod corpus;
pub mod directory;
pub mod drivers;
#[cfg(feature = "end-to-end")]
pub mod effects;
pub mod encodings;
pub mod entrance;
pub mod events;
pub mod governed;
pub mod hammer;
pub mod hook;
pub mod http;
#[cfg(feature = "end-to-end")]
pub mod https;
pub mod issuer;
pub mod minting;
pub mod namespace;
pub mod oracle;
pub mod process;
pub mod provider;
pub mod relay;
pub mod route;
pub mod server_log;
pub mod stage;
pub mod suite_load;
pub mod suite_major;
pub mod suite_pipeline;
pub mod suite_regress;
pub mod suite_scenes;
pub mod suite_source;
pub mod tokens;
pub mod tooling;
pub mod wait;
pub mod way;
#[cfg(feature = "end-to-end")]
pub mod web_api;
pub mod wire;
