//! What the agent shows to monitoring: Prometheus metrics (`docs/metrics.md`) and the endpoint that serves them.
//!
//! Not here: records of what was observed (`store`), and when numbers are sampled (`agent`).

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod database;
mod families;
pub mod http;
pub mod metrics;
mod sqlstate;
