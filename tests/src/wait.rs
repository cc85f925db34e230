//! Waiting for a condition with a deadline: the only place where the tests let time pass.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How long the tests wait for something that takes milliseconds on an idle machine; machines here are busy.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Pause between two looks at a condition.
const PAUSE: Duration = Duration::from_millis(20);

/// Looks at `condition` until it yields a value.
///
/// # Errors
/// An error of the condition at once; or after `limit`, naming `what` was waited for.
pub fn until<T>(what: &str, limit: Duration, mut condition: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let begin = Instant::now();
    loop {
        if let Some(value) = condition()? {
            return Ok(value);
        }
        if begin.elapsed() > limit {
            bail!("waited {} s in vain for {what}", limit.as_secs());
        }
        thread::sleep(PAUSE);
    }
}
