//! Network namespaces, a bpffs and servers of the tests' own. Everything goes when its value is dropped.
#![allow(dead_code, reason = "each test program uses a part")]

pub(crate) mod network;
pub(crate) mod postgres;
pub(crate) mod relay;
pub(crate) mod scene;
pub(crate) mod server;

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How long the tests wait for something that takes milliseconds on an idle machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Looks at `condition` until it yields a value.
#[expect(clippy::disallowed_methods, reason = "a deadline of a test")]
pub(crate) fn until<T>(what: &str, mut condition: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let begin = Instant::now();
    loop {
        if let Some(value) = condition()? {
            return Ok(value);
        }
        if begin.elapsed() > PATIENCE {
            bail!("waited in vain for {what}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
