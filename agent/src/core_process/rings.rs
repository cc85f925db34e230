//! When the rings are read: at a leisurely pace, unless somebody wants to know what is in them.

use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

/// Between whoever reads the rings and those who want them read.
#[derive(Default)]
pub(super) struct Rings {
    wanted: Notify,
    emptied: Notify,
}

impl Rings {
    /// Has them read as soon as can be.
    pub(super) fn wake(&self) {
        self.wanted.notify_one();
    }

    /// Until somebody wants them read.
    pub(super) async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// Nothing is left in them.
    pub(super) fn are_empty(&self) {
        self.emptied.notify_waiters();
    }

    /// Has them read, and waits until they are, but not longer than this.
    pub(super) async fn catch_up(&self, patience: Duration) {
        // It hears of what happens from here on, polled or not.
        let emptied = self.emptied.notified();
        self.wake();
        let _flooded = timeout(patience, emptied).await;
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use tokio::task::{LocalSet, spawn_local, yield_now};

    use super::*;

    #[tokio::test]
    async fn whoever_catches_up_waits_for_the_reader_and_not_for_ever() {
        let local = LocalSet::new();
        local
            .run_until(async {
                let rings = Rc::new(Rings::default());
                let waiting = spawn_local({
                    let rings = Rc::clone(&rings);
                    async move { rings.catch_up(Duration::from_mins(1)).await }
                });
                rings.wanted().await;
                yield_now().await;
                assert!(!waiting.is_finished(), "nobody has read them");
                rings.are_empty();
                yield_now().await;
                assert!(waiting.is_finished());
                // Nobody reads them any more.
                rings.catch_up(Duration::from_millis(10)).await;
            })
            .await;
    }
}
