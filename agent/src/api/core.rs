//! The core, asked over the control socket: by few at once and not too often, so that a flood here is none there.

use std::cell::Cell;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::{Duration, sleep, timeout};

use super::failure::Failure;
use crate::clock;
use crate::control::client::{self, ClientError};
use crate::control::grants::{GrantAsk, GrantVerb, GrantView};

/// Connections to the control socket; it serves 32 at once, and operators need some.
const LINES_MAX: usize = 8;
/// Nanoseconds between two questions: a hundred in a second, of which each may cost a signature.
const PAUSE: u64 = 10_000_000;
/// How long whoever wants a list waits for those before.
const LIST_PATIENCE: Duration = Duration::from_secs(2);
/// Nanoseconds that a question waits for its turn at most.
const QUEUE_MAX: u64 = 2_000_000_000;

/// The core.
pub(super) struct Core {
    socket: PathBuf,
    lines: Arc<Semaphore>,
    /// Whoever wants lists has one of the lines.
    lists: Arc<Semaphore>,
    /// When the next question may be asked, by the clock since boot.
    next: Cell<u64>,
    /// It did not answer, and that was said.
    silent: Cell<bool>,
}

impl Core {
    pub(super) fn new(socket: PathBuf) -> Self {
        let [lines, lists] = [LINES_MAX, 1].map(|places| Arc::new(Semaphore::new(places)));
        Self { socket, lines, lists, next: Cell::default(), silent: Cell::default() }
    }

    /// Asks, when it is its turn.
    pub(super) async fn ask(&self, verb: GrantVerb, ask: GrantAsk) -> Result<Vec<GrantView>, Failure> {
        let wait = self.turn(clock::boot().0).ok_or_else(Failure::busy)?;
        sleep(wait).await;
        let turn = match verb {
            GrantVerb::List => {
                let turn = timeout(LIST_PATIENCE, Arc::clone(&self.lists).acquire_owned()).await;
                Some(turn.map_err(|_late| Failure::busy())?)
            }
            _ => None,
        };
        // It is never closed. Whoever asked may go away before there is an answer: the connection is there until then.
        let line = Arc::clone(&self.lines).acquire_owned().await.map_err(|_closed| Failure::busy())?;
        let socket = self.socket.clone();
        let answer = spawn_blocking(move || {
            let _places = (line, turn);
            client::grants(&socket, verb, ask)
        })
        .await;
        let answer = answer.map_err(|_stopped| Failure::silent())?;
        self.note(answer.as_ref().err());
        answer.map_err(Failure::from)
    }

    /// How long to wait; `None`: too many wait already.
    fn turn(&self, now: u64) -> Option<Duration> {
        let at = self.next.get().max(now);
        let wait = at - now;
        if wait > QUEUE_MAX {
            return None;
        }
        self.next.set(at + PAUSE);
        Some(Duration::from_nanos(wait))
    }

    /// That it does not answer is said once.
    fn note(&self, error: Option<&ClientError>) {
        let silent = error.is_some_and(|error| !matches!(error, ClientError::Refused { .. }));
        match (self.silent.replace(silent), error) {
            (false, Some(error)) if silent => tracing::warn!("{error}"),
            (true, _) if !silent => tracing::info!("the agent answers again"),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_have_their_pace_and_a_flood_is_told_so() {
        let core = Core::new(PathBuf::new());
        let now = 1_000_000_000;
        let waits: Vec<Option<Duration>> = (0..300).map(|_| core.turn(now)).collect();
        assert_eq!(waits[0], Some(Duration::ZERO));
        assert_eq!(waits[1], Some(Duration::from_millis(10)));
        assert_eq!(waits.iter().flatten().count(), 201, "two seconds of them");
        assert_eq!(core.turn(now + 1_000_000_000), Some(Duration::from_millis(1010)), "what waited has had its turn");
        assert_eq!(core.turn(now + 60_000_000_000), Some(Duration::ZERO));
    }

    #[tokio::test]
    async fn who_wants_lists_keeps_nobody_from_deciding() {
        let core = Core::new(PathBuf::new());
        let _list = Arc::clone(&core.lists).acquire_owned().await.unwrap();
        let ask = |verb| core.ask(verb, GrantAsk::default());
        assert_eq!(ask(GrantVerb::List).await, Err(Failure::busy()), "another one is made");
        assert_eq!(ask(GrantVerb::Revoke).await, Err(Failure::silent()), "it was asked, and no core is there");
    }
}
