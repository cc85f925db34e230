//! The bench targets of the crates: each prints what its part costs.

use anyhow::Result;

use crate::progress::step;
use crate::shell::{cargo, foreground};

/// Crates that are left out: one needs the BPF toolchain, one a server and root (`bench observe` runs it).
const NOT_PURE: &[&str] = &["agent-ebpf", "agent"];

/// Runs all of them, one after the other.
pub(super) fn run() -> Result<()> {
    step("bench: parts", || {
        let mut bench = cargo();
        // All bench targets, and not the unit tests that could be benches.
        bench.args(["bench", "--quiet", "--workspace", "--bench", "*"]);
        for package in NOT_PURE {
            bench.args(["--exclude", package]);
        }
        foreground(&mut bench)
    })
}
