//! Questions of the core to the kernel process that wait for their answers, by number.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::link::{Link, ToKernel};

/// Answers awaited at once.
const WAITING_MAX: usize = 4096;

/// Those of one kind.
pub(super) struct Questions<T> {
    waiting: RefCell<HashMap<u64, oneshot::Sender<T>>>,
    last: Cell<u64>,
}

impl<T> Questions<T> {
    pub(super) fn new() -> Self {
        Self { waiting: RefCell::default(), last: Cell::default() }
    }

    /// Asks, and waits. `None`: the kernel process does not answer in time, or cannot be asked.
    pub(super) async fn ask(
        &self,
        kernel: &AsyncFd<Link>,
        question: impl FnOnce(u64) -> ToKernel,
        descriptors: &[BorrowedFd<'_>],
        patience: Duration,
    ) -> Option<T> {
        if self.waiting.borrow().len() >= WAITING_MAX {
            return None;
        }
        let request = self.last.get().wrapping_add(1);
        self.last.set(request);
        let (sender, receiver) = oneshot::channel();
        self.waiting.borrow_mut().insert(request, sender);
        let answer = match kernel.get_ref().try_send(&question(request), &[], descriptors) {
            Ok(()) => timeout(patience, receiver).await.ok().and_then(Result::ok),
            Err(_full) => None,
        };
        self.waiting.borrow_mut().remove(&request);
        answer
    }

    /// The kernel process has answered.
    pub(super) fn answered(&self, request: u64, answer: T) {
        if let Some(asker) = self.waiting.borrow_mut().remove(&request) {
            // One that waits no more needs no answer.
            let _gone = asker.send(answer);
        }
    }
}
