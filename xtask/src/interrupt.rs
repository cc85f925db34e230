//! Ctrl-C and SIGTERM as a flag: a task that owns servers leaves through its guards, not through the signal.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, bail};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// Whether the task was asked to end.
#[derive(Clone, Debug)]
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Takes over the signals that ask a task to end.
    pub(crate) fn install() -> Result<Self> {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&flag))?;
        }
        Ok(Self(flag))
    }

    /// Whether a signal arrived.
    pub(crate) fn arrived(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// Ends the task between two steps if a signal arrived.
    pub(crate) fn check(&self) -> Result<()> {
        if self.arrived() {
            bail!("interrupted");
        }
        Ok(())
    }
}
