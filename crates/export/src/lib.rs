//! What leaves the agent: Prometheus metrics (`docs/metrics.md`) and the endpoint that serves them; records, to files
//! and receivers (`docs/exports.md`).
//!
//! [`config`] is what may be configured, [`plan`] what it means, [`export`] runs it. Inside, an `engine` drives: a
//! `source` reads the journal behind its writer, a `format` makes items of records, a `transport` carries them, and a
//! `cursor` remembers where that stands.
//!
//! [`webhook`] carries notices of others by the same ways.
//!
//! Not here: records themselves and their files (`store`), and when numbers are sampled (`agent`).

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod backoff;
mod clock;
pub mod config;
mod context;
mod cursor;
mod database;
mod engine;
pub mod export;
mod failure;
mod families;
mod format;
mod gather;
pub mod http;
mod item;
pub mod metrics;
pub mod plan;
pub mod proxy;
mod series;
mod severity;
mod source;
mod sqlstate;
mod transport;
pub mod verdicts;
pub mod webhook;
pub mod witness;
