//! What tests of the configuration have in common.

use std::path::Path;

use agent::config::Config;

/// Checks a text; `expected` are the whole lines of the error, after `warder.toml:`.
#[track_caller]
pub(crate) fn check(text: &str, expected: &[&str]) {
    let error = Config::parse(text, Path::new("warder.toml")).expect_err(text);
    let lines: Vec<&str> = error.lines().iter().map(|line| line.strip_prefix("warder.toml:").expect(line)).collect();
    assert_eq!(lines, expected, "{text}");
}
