//! Process trees with a token (`warder exec`): the token is verified here, the kernel process gives the tree a control
//! group, and what the kernel witness sees of that group's processes is the token's from then on.
//!
//! The table is in memory. Whoever is in a group that is not in it has had a token that is forgotten: the agent was
//! restarted. Such a process is nobody, not whoever else it could be.

use std::cell::RefCell;
use std::os::fd::AsFd as _;
use std::rc::Rc;
use std::time::Duration;

use identity::bindings::{Binding, Bindings, Purpose, Tree};
use identity::proof::Proofs;
use identity::secret::Secret;
use model::Known;
use model::principal::{Principal, UnknownPrincipal};
use model::process::Process;
use model::record::{Record, What};
use tokio::io::unix::AsyncFd;
use tokio::task::spawn_local;
use tokio::time::sleep;

use super::pipeline::Pipeline;
use super::questions::Questions;
use crate::exec_socket::server::{Binder, Peer};
use crate::link::{Link, ToKernel};
use crate::{clock, tree_group};

/// How long the kernel process may take: it may be in the middle of a scan.
const PATIENCE: Duration = Duration::from_secs(5);
/// What the last processes of a tree have done may still be on its way through the rings.
const LINGER: Duration = Duration::from_secs(2);

/// All trees of this host.
pub(super) struct Trees {
    bindings: RefCell<Bindings>,
    proofs: Rc<Proofs>,
    pipeline: Rc<RefCell<Pipeline>>,
    kernel: Rc<AsyncFd<Link>>,
    asked: Questions<Result<u64, String>>,
}

impl Trees {
    pub(super) fn new(proofs: Rc<Proofs>, pipeline: Rc<RefCell<Pipeline>>, kernel: Rc<AsyncFd<Link>>) -> Self {
        Self { bindings: RefCell::default(), proofs, pipeline, kernel, asked: Questions::new() }
    }

    /// Whose a process is that was in this control group when it was looked at; `None`: it is in no such tree.
    pub(super) fn owner(&self, process: &Process, cgroup: Option<&str>) -> Option<Known<Principal, UnknownPrincipal>> {
        match self.bindings.borrow().lookup(Tree(process.cgroup), clock::wall()) {
            Binding::Bound(verified) => Some(Known::Known(verified.principal().clone())),
            Binding::Expired => Some(Known::Unknown(UnknownPrincipal::Expired)),
            Binding::None => cgroup.and_then(tree_group::above).map(|_above| Known::Unknown(UnknownPrincipal::Expired)),
        }
    }

    /// The kernel process has answered.
    pub(super) fn enclosed(&self, request: u64, outcome: Result<u64, String>) {
        self.asked.answered(request, outcome);
    }

    /// No process is left in these groups.
    pub(super) fn emptied(self: &Rc<Self>, groups: Vec<u64>) {
        let this = Rc::clone(self);
        spawn_local(async move {
            sleep(LINGER).await;
            for group in groups {
                this.bindings.borrow_mut().ended(Tree(group));
                this.pipeline.borrow_mut().sessions.forget_tree(group);
            }
        });
    }

    async fn enclose(&self, peer: &Peer) -> Result<u64, String> {
        let ask = |request| ToKernel::Enclose { request };
        let answer = self.asked.ask(&self.kernel, ask, &[peer.process.as_fd()], PATIENCE).await;
        answer.unwrap_or_else(|| Err("the agent is busy; try again".to_owned()))
    }
}

impl Binder for Trees {
    async fn bind(&self, peer: Peer, token: Secret, purpose: Option<Purpose>) -> Result<(), String> {
        let verified = self.proofs.verify_token(&token, clock::wall()).await;
        let verified = verified.map_err(|error| format!("the token was not accepted: {error}"))?;
        // Before a group is made: whoever has enough of them makes no more.
        self.bindings.borrow_mut().admit(peer.uid, clock::wall()).map_err(|error| error.to_string())?;
        let group = self.enclose(&peer).await?;
        let bound = self.bindings.borrow_mut().bind(Tree(group), peer.uid, verified, purpose, clock::wall());
        let bound = bound.map_err(|error| error.to_string())?;
        let mut pipeline = self.pipeline.borrow_mut();
        pipeline.sessions.set_tree(group, bound.shared());
        let what = What::OperatorCommand { verb: "exec".to_owned(), uid: peer.uid };
        pipeline.record(Record { time: clock::wall(), what });
        Ok(())
    }
}
