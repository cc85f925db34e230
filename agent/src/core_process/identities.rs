//! Answers the workers' question who acts on a connection: by the proof that came with it, else by its process as the
//! kernel witness saw it, and there by the token of its tree before any rule.

use std::cell::RefCell;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use identity::proof::{ClientProof, ProofError, Proofs};
use model::Known;
use model::id::SocketCookie;
use model::principal::{Principal, Proof, UnknownPrincipal};
use model::process::Process;
use model::session::Transport;
use policy::ProcessContext;
use tokio::io::unix::AsyncFd;
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep};
use tracing::warn;

use super::attestation::Attestation;
use super::catalogues::Catalogues;
use super::desk::Desk;
use super::holds::Holds;
use super::minting::Minting;
use super::pipeline::Pipeline;
use super::readable;
use super::rings::Rings;
use super::trees::Trees;
use crate::clock;
use crate::identity_link::{FromCore, IdentityAnswer, IdentityAsk, WorkerSays};
use crate::link::{Link, is_full};

/// How long the kernel witness's words about a connection may take: they come through a ring that is read 50 times a
/// second.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a worker may take to read an answer. It waits for one about a proof as long.
const TELL_PATIENCE: Duration = Duration::from_secs(15);
/// How often it is looked whether they have come.
const LOOK: Duration = Duration::from_millis(2);

/// Whoever answers.
pub(super) struct Identities {
    pub(super) pipeline: Rc<RefCell<Pipeline>>,
    /// Wakes whoever reads the rings.
    pub(super) rings: Rc<Rings>,
    pub(super) attestation: Rc<Attestation>,
    pub(super) trees: Rc<Trees>,
    pub(super) proofs: Rc<Proofs>,
    pub(super) catalogues: Rc<Catalogues>,
    pub(super) desk: Rc<Desk>,
    pub(super) holds: Rc<Holds>,
    pub(super) minting: Rc<Minting>,
}

impl Identities {
    /// Answers one worker, for as long as it asks. Must run inside of a `LocalSet`.
    pub(super) fn serve(self: &Rc<Self>, line: OwnedFd) -> Result<()> {
        let line = Rc::new(readable(Link::passed(line)).context("a worker's line cannot be polled")?);
        if let Err(problem) = line.get_ref().try_send(&FromCore::Started, &[], &[]) {
            warn!("a worker does not know that the core was started, what it holds waits to its end: {problem:#}");
        }
        self.catalogues.add(&line);
        self.desk.add(&line);
        self.minting.add(&line);
        let this = Rc::clone(self);
        spawn_local(async move {
            while let Ok(mut guard) = line.readable().await {
                if !line.get_ref().is_readable() {
                    guard.clear_ready();
                    continue;
                }
                let Ok(Some(packet)) = line.get_ref().receive::<WorkerSays>() else { break };
                match packet.message {
                    WorkerSays::Identity(ask) => {
                        let proof = ask.proof.map(|kind| kind.proof(packet.record));
                        spawn_local(answer(Rc::clone(&this), Rc::clone(&line), ask, proof));
                    }
                    WorkerSays::Mint { connection } => {
                        spawn_local(mint(Rc::clone(&this), Rc::clone(&line), connection));
                    }
                    WorkerSays::Hold(ask) => this.holds.hold(&line, *ask, packet.record),
                    WorkerSays::HoldOver(hold) => this.holds.over(&line, hold),
                    WorkerSays::Cancel(name) => this.holds.cancel(name),
                }
            }
            this.holds.lose(&line);
            this.minting.lose(&line);
        });
        Ok(())
    }

    /// What the kernel witness knows of a connection's client; `None`: nothing yet.
    fn client(&self, connection: SocketCookie) -> Option<Client> {
        let pipeline = self.pipeline.borrow();
        let session = pipeline.sessions.get_mediated(connection)?;
        match &session.client {
            Known::Known(process) => Some(Client::Local(Arc::clone(process))),
            Known::Unknown(_) if is_remote(&session.transport) => Some(Client::Remote),
            Known::Unknown(_) => None,
        }
    }

    /// Who the process of a connection is, and what is known of it.
    async fn attest(&self, connection: SocketCookie) -> (Known<Principal, UnknownPrincipal>, Option<ProcessContext>) {
        match self.find(connection).await {
            Some(Client::Local(process)) => {
                let (principal, context) = self.attestation.attest(&process).await;
                let owner = self.trees.owner(&process, context.cgroup.as_deref());
                (owner.unwrap_or(principal), Some(context))
            }
            Some(Client::Remote) | None => (Known::Unknown(UnknownPrincipal::NoProcess), None),
        }
    }

    async fn find(&self, connection: SocketCookie) -> Option<Client> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(client) = self.client(connection) {
                return Some(client);
            }
            if Instant::now() >= deadline {
                return None;
            }
            self.rings.wake();
            sleep(LOOK).await;
        }
    }
}

/// The other end of a connection.
enum Client {
    Local(Arc<Process>),
    Remote,
}

async fn answer(identities: Rc<Identities>, line: Rc<AsyncFd<Link>>, ask: IdentityAsk, proof: Option<ClientProof>) {
    let verified = async {
        match &proof {
            Some(proof) => Some(identities.proofs.verify(proof, clock::wall()).await),
            None => None,
        }
    };
    let (verified, (attested, process), ()) = tokio::join!(
        verified,
        identities.attest(SocketCookie(ask.connection)),
        identities.catalogues.ready(ask.database, &ask.sql_database),
    );
    let (principal, refusal) = match verified {
        Some(Ok(verified)) => (Known::Known(verified.principal().clone()), None),
        // Whoever shows a certificate that is about nobody is as well known as without it.
        Some(Err(error @ ProofError::Certificate(_))) => (attested, Some(error)),
        Some(Err(error)) => (Known::Unknown(error.unknown()), Some(error)),
        None => (attested, None),
    };
    // Whoever is only known by where they come from gets no role.
    let role = principal
        .known()
        .filter(|principal| refusal.is_none() && principal.proof != Proof::Process)
        .and_then(|principal| identities.minting.reserve(SocketCookie(ask.connection), ask.database, principal, &line));
    let answer = IdentityAnswer::new(ask.question, &principal, process.as_ref())
        .refusing(refusal)
        .with_role(role.map(|role| role.to_string()));
    tell(&line, &FromCore::Identity(Box::new(answer)), &[]).await;
}

/// Makes the role that is reserved for a connection of this worker.
async fn mint(identities: Rc<Identities>, line: Rc<AsyncFd<Link>>, connection: u64) {
    let password = identities.minting.mint(SocketCookie(connection), &line).await;
    let message = FromCore::Minted { connection, is_made: password.is_some() };
    let password = password.as_ref().map_or(&[][..], |password| password.expose().as_bytes());
    tell(&line, &message, password).await;
}

/// A worker that has gone needs no answer; the clients of one that does not read are refused.
async fn tell(line: &AsyncFd<Link>, answer: &FromCore, record: &[u8]) {
    let told = line.get_ref().send_within(TELL_PATIENCE, answer, record).await;
    if let Err(problem) = told
        && is_full(&problem)
    {
        warn!("a worker did not take an answer, its client is refused: {problem:#}");
    }
}

/// Whether a connection comes from another host: then no process is going to be known.
fn is_remote(transport: &Transport) -> bool {
    matches!(transport, Transport::Tcp { client, .. } if !client.ip().to_canonical().is_loopback())
}
