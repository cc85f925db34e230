//! Process trees of which it is proved whose they are (`warder exec`): what their processes do around the proxy is theirs
//! as well.
//!
//! Not here: the proof, and its bounds (`identity::bindings`).

use std::sync::Arc;

use model::Known;
use model::principal::{Principal, UnknownPrincipal};
use model::process::Process;
use model::time::BootTime;

use crate::Sessions;

impl Sessions {
    /// Processes of this control group act as this principal from now on. The caller bounds how many there are.
    pub fn set_tree(&mut self, cgroup: u64, principal: Arc<Principal>) {
        self.trees.insert(cgroup, principal);
    }

    /// No process is left in the group, and all that they did is told.
    pub fn forget_tree(&mut self, cgroup: u64) {
        self.trees.remove(&cgroup);
    }

    /// Whose a process is; `None`: it is in no such tree.
    pub(crate) fn owner(&self, process: &Process, at: BootTime) -> Option<Known<Arc<Principal>, UnknownPrincipal>> {
        let principal = self.trees.get(&process.cgroup)?;
        let has_expired = principal.expires.is_some_and(|until| until <= self.clock.wall(at));
        Some(if has_expired { Known::Unknown(UnknownPrincipal::Expired) } else { Known::Known(Arc::clone(principal)) })
    }
}
