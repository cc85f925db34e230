//! The Unix socket of a guarded database: taken over, watched, given back.

use anyhow::{Context as _, Result};
use steering::takeover::{self, State};
use tracing::{info, warn};

use super::{Guarded, Surroundings};
use crate::clock;
use crate::config::proxy::Fail;
use crate::link::ProxyEvent;

impl Guarded {
    pub(super) fn take_now(&mut self, around: &mut Surroundings<'_>) -> Result<()> {
        let path = self.socket.clone().context("the database has no socket in the configuration")?;
        let (taken, listener) = takeover::take(&path)?;
        self.taken = Some(taken);
        self.tell_way(around);
        let shared = self.share_socket(around, listener);
        if let Err(problem) = shared {
            // Better the server's own socket than one that nobody serves.
            if let Some(taken) = self.taken.take() {
                taken.give_back()?;
            }
            return Err(problem);
        }
        info!(database = %self.database.name, socket = %path.display(), "the Unix socket is taken over");
        if self.socket_missed.take().is_none() {
            self.socket_since = clock::boot();
        }
        Ok(())
    }

    pub(super) fn watch_socket(&mut self, around: &mut Surroundings<'_>, events: &mut Vec<ProxyEvent>) {
        let Some(taken) = &self.taken else { return };
        match taken.check() {
            Ok(State::Standing | State::ServerGone) | Err(_) => {}
            Ok(State::Stopped) => {
                (self.taken, self.socket_missed) = (None, Some(clock::boot()));
                self.tell_way(around);
            }
            Ok(State::Replaced) => {
                let now = clock::boot();
                (self.taken, self.socket_missed) = (None, Some(now));
                self.take_again(around, now, events);
            }
            Ok(State::GivenBack) => {
                let why = "somebody has given the Unix socket back to the server".to_owned();
                warn!(database = %self.database.name, "the Unix socket is not taken over any more: {why}");
                self.remarks
                    .push(format!("the Unix socket is not taken over: {why}; `warder steer on` takes it again"));
                events.push(ProxyEvent::SteeringLost { database: self.database.id, why });
                (self.taken, self.take) = (None, false);
                self.tell_way(around);
            }
        }
    }

    /// No worker is left to serve the taken-over socket: the server gets it back, unless that would open a closed door.
    pub(in crate::kernel_process) fn abandoned(&mut self, around: &mut Surroundings<'_>) {
        if self.guard().fail == Fail::Closed {
            return;
        }
        if let Some(taken) = self.taken.take() {
            match taken.give_back() {
                Ok(_) => {
                    warn!(database = %self.database.name, "no worker is left: the Unix socket is the server's again")
                }
                Err(problem) => warn!(database = %self.database.name, "the Unix socket is not served: {problem}"),
            }
            self.tell_way(around);
        }
    }
}
