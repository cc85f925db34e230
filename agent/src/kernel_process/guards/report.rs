//! How a guarded database is, for the core, for people and for metrics.

use crate::config::proxy::Fail;
use crate::link::{Guarding, SteeringCounts, SteeringState};

use super::Guarded;
use super::refusal::Refusing;

impl Guarded {
    /// What the core shall know, where it is news.
    pub(in crate::kernel_process) fn news(&mut self) -> Option<(u16, Option<Guarding>)> {
        let now = self.guarding();
        if self.told == now {
            return None;
        }
        self.told.clone_from(&now);
        Some((self.database.id, now))
    }

    /// The same for a core that knows nothing yet.
    pub(in crate::kernel_process) fn forget_told(&mut self) {
        self.told = None;
    }

    pub(super) fn guarding(&self) -> Option<Guarding> {
        let is_guarded = self.steering.is_some() || self.taken.is_some() || !self.guard().listen.is_empty();
        if !is_guarded {
            return None;
        }
        let direct = self.guard().direct.iter().map(|rule| (rule.name.clone(), rule.source.0, rule.source.1));
        let namespace = self.steering.as_ref().and_then(|steered| u32::try_from(steered.steering.namespace()).ok());
        Some(Guarding {
            since: self.since.0,
            socket_since: self.socket_since.0,
            steered: namespace.zip(self.database.port).into_iter().collect(),
            failed_open: self.passing.spans.iter().map(|(from, to)| (from.0, to.map(|to| to.0))).collect(),
            direct: direct.collect(),
        })
    }

    /// How it is, for people and metrics.
    pub(in crate::kernel_process) fn state(&self) -> SteeringState {
        let mut state = SteeringState {
            database: self.database.name.clone(),
            socket_taken: self.taken.is_some(),
            fail_closed: self.guard().fail == Fail::Closed,
            refusal: self.refusing.as_ref().map(Refusing::state),
            remarks: self.remarks.clone(),
            ..SteeringState::default()
        };
        state.remarks.extend(self.refusing.as_ref().and_then(Refusing::problem));
        let Some(steered) = &self.steering else { return state };
        let Ok(status) = steered.steering.status() else { return state };
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        state.steered = status.attached && status.on;
        state.remarks.extend(self.replication.clone());
        let live = |listener: &&steering::controls::SlotStatus| listener.live;
        let workers: std::collections::HashSet<u32> =
            status.listeners.iter().filter(live).map(|listener| listener.slot.number).collect();
        state.workers_live = count(workers.len());
        state.listeners_live = count(status.listeners.iter().filter(|listener| listener.live).count());
        state.listeners = count(status.listeners.len());
        let oldest = status.listeners.iter().filter_map(|listener| listener.heartbeat).max();
        state.heartbeat_age = oldest.map(|age| u64::try_from(age.as_nanos()).unwrap_or(u64::MAX));
        for listener in &status.listeners {
            let Some(age) = listener.heartbeat else { continue };
            let age = u64::try_from(age.as_nanos()).unwrap_or(u64::MAX);
            match state.heartbeats.iter_mut().find(|(worker, _)| *worker == listener.slot.number) {
                Some((_, oldest)) => *oldest = age.max(*oldest),
                None => state.heartbeats.push((listener.slot.number, age)),
            }
        }
        let counters = status.counters;
        state.connections = SteeringCounts {
            steered: counters.steered,
            hop: counters.exempt,
            direct: counters.direct,
            passed_open: counters.passed_open,
            dropped_closed: counters.dropped_closed,
        };
        state
    }
}
