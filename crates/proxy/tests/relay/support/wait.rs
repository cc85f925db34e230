//! Waiting for a condition: the only place where these tests let time pass.

use std::thread;
use std::time::{Duration, Instant};

#[expect(clippy::disallowed_methods, reason = "the home of the tests' clock")]
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < Duration::from_secs(30), "waited in vain for {what}");
        thread::sleep(Duration::from_millis(10));
    }
}
