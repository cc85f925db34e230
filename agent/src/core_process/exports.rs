//! The running exports and witnesses. Each has a thread of its own and reads the records behind the writer: none of them can hold up
//! what the core does.

use std::path::Path;

use export::config::Identity;
use export::export::{Export, Handle, stop_all};
use export::metrics::Metrics;
use export::plan::{ConfigError, Plan};
use tracing::{error, info};

use crate::link::Hello;

/// Running exports.
pub(super) struct Exports(Vec<Handle>);

impl Exports {
    /// Starts what is configured. What cannot start is said, and keeps nothing else from running.
    pub(super) fn start(hello: &Hello, journal: &Path, metrics: &Metrics) -> Self {
        let host_name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok().map(|name| name.trim().to_owned());
        let identity =
            Identity { version: env!("CARGO_PKG_VERSION").to_owned(), host: format!("{:032x}", hello.host), host_name };
        let witnesses = hello.journal.witnesses.iter().map(|witness| (&witness.name, export::witness::plan(witness)));
        let exports = hello.exports.iter().map(|export| (&export.name, Plan::check(export)));
        let start = |(name, plan): (&String, Result<Plan, ConfigError>)| match plan {
            Ok(plan) => started(name, Export::start(&plan, journal, &identity, metrics)),
            Err(error) => started(name, Err(error)),
        };
        Self(witnesses.chain(exports).filter_map(start).collect())
    }

    /// Lets them deliver what is recorded, within the bounds that they state.
    pub(super) fn stop(self) {
        stop_all(self.0);
    }
}

fn started<E: std::error::Error + Send + Sync + 'static>(name: &str, result: Result<Handle, E>) -> Option<Handle> {
    match result {
        Ok(handle) => {
            info!(export = name, "exporting");
            Some(handle)
        }
        Err(error) => {
            error!(export = name, "not exported: {:#}", anyhow::Error::new(error));
            None
        }
    }
}
