//! Who acts, and whether the policies let the session begin.

use std::future::poll_fn;
use std::io;
use std::os::fd::AsFd as _;
use std::rc::Rc;
use std::sync::Arc;
use std::task::ready;
use std::time::Duration;

use guard::Cleared;
use identity::proof::ClientProof;
use model::Known;
use model::mediation::{MediationEvent, Refusal};
use model::verdict::Denial;
use tokio::task::spawn_local;
use tokio::time::timeout;

use super::Opening;
use crate::client::stopped;
use crate::clock;
use crate::governed::{Asker, Canceller};
use crate::governor::{Governor, Identification, Identified, Place};
use crate::holds::{Held, Holds, Nobody};
use crate::hop::{HopRequest, Hops};
use crate::permission::{Clearance, Permission};
use crate::socket::Socket;
use crate::stop::Stop;
use crate::upstream::Upstream;

/// How long a cancel request of the guard's own may take.
const CANCEL_PATIENCE: Duration = Duration::from_secs(5);

impl<H: Hops> Opening<H> {
    /// Finds out who acts, and asks the policies, where the database has some.
    pub(super) async fn govern(&mut self, packet: &[u8]) -> Result<Clearance, Stop> {
        let Some(governor) = self.governor() else { return Ok(Clearance::Ungoverned) };
        let identified = self.identify(&governor, packet, self.client_certificate()).await?;
        self.admit(&governor, packet, identified)
    }

    pub(super) fn governor(&self) -> Option<Rc<Governor>> {
        self.common.governors.borrow().get(&self.spec.database).cloned()
    }

    /// The certificate that the client has shown, verified in the handshake.
    pub(super) fn client_certificate(&self) -> Option<ClientProof> {
        Some(ClientProof::Certificate(self.client.transport.peer_certificate()?.to_vec()))
    }

    /// Finds out who acts, and records it.
    pub(super) async fn identify(
        &self,
        governor: &Governor,
        packet: &[u8],
        proof: Option<ClientProof>,
    ) -> Result<Identified, Stop> {
        let (connection, database) = (self.entry.cookie, self.spec.database);
        let startup = self.parsed(packet)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let user = text(startup.parameter(b"user").unwrap_or_default());
        let sql_database = startup.parameter(b"database").filter(|name| !name.is_empty());
        let sql_database = sql_database.map_or_else(|| user.clone(), text);
        let asked = Identification { connection, database, user, sql_database, proof };
        let mut asked = governor.identities.identify(asked);
        let entry = &self.entry;
        let identified = poll_fn(|cx| entry.poll_until(cx, |cx| asked.as_mut().poll(cx))).await.map_err(stopped)?;
        let principal = match &identified.principal {
            Known::Known(principal) => Known::Known(Arc::new(principal.clone())),
            Known::Unknown(reason) => Known::Unknown(*reason),
        };
        self.common.introduce(&self.entry, MediationEvent::Identified { connection, at: clock::now(), principal });
        Ok(identified)
    }

    /// Asks the policies about a session that starts up like this at the server.
    pub(super) fn admit(
        &mut self,
        governor: &Governor,
        packet: &[u8],
        identified: Identified,
    ) -> Result<Clearance, Stop> {
        let encrypted = self.client.transport.is_encrypted();
        let place = Place { database_name: &self.spec.name, route: &self.route, encrypted };
        self.expires = identified.principal.known().and_then(|principal| principal.expires);
        let startup = self.parsed(packet)?;
        let mut guard = governor.guard(&startup, &place, identified);
        let opened = guard.open(clock::now(), clock::wall(), packet, startup.parameters());
        let cleared = opened.map_err(|denial| not_allowed(&denial))?;
        self.guard = Some(guard);
        Ok(Clearance::Cleared(cleared))
    }

    /// Whoever sends cancel requests for the guard.
    pub(super) fn canceller(&self) -> Canceller {
        let (hops, spec, route) = (self.hops.clone(), self.spec.clone(), self.route.clone());
        let (connection, destination) = (self.entry.cookie, self.destination());
        Box::new(move |client, packet, cleared| {
            let (hops, spec, route) = (hops.clone(), spec.clone(), route.clone());
            let destination = destination.as_ref().ok().copied();
            spawn_local(async move {
                let Some(destination) = destination else { return };
                let request = HopRequest {
                    database: spec.database,
                    connection,
                    route,
                    destination,
                    listener: spec.kind,
                    socket: client.as_fd(),
                    unread: false,
                };
                // One that fails or hangs costs the server some work: the client gets nothing more in any case.
                let _late = timeout(CANCEL_PATIENCE, cancel(&*hops, request, &packet, cleared)).await;
            })
        })
    }

    /// Whoever has somebody decide about what must not run unattended.
    pub(super) fn asker(&self) -> Asker {
        let holds =
            self.governor().map_or_else(|| Rc::new(Nobody) as Rc<dyn Holds>, |governor| Rc::clone(&governor.holds));
        let (connection, database) = (self.entry.cookie, self.spec.database);
        let sql_database = self.guard.as_ref().map(|guard| guard.sql_database()).unwrap_or_default();
        Box::new(move |question| {
            let sql_database = Arc::clone(&sql_database);
            holds.hold(Held { connection, database, sql_database, question })
        })
    }
}

/// Sends a cancel request on a hop of its own, and waits until the server has taken it.
async fn cancel<H: Hops>(hops: &H, request: HopRequest<'_>, packet: &[u8], cleared: Cleared) -> io::Result<()> {
    let hop = hops.open(request).await.map_err(io::Error::other)?;
    let mut upstream = Upstream::new(Socket::hop(hop.stream)?);
    let mut proofs = Some((Permission::own(&cleared), Clearance::Cleared(cleared)));
    let mut ignored = [0; 1];
    poll_fn(|cx| {
        if let Some((permission, clearance)) = proofs.take() {
            upstream.forward(cx, packet, permission, clearance)?;
        }
        ready!(upstream.poll_flush(cx))?;
        upstream.poll_read(cx, &mut ignored).map_ok(drop)
    })
    .await
}

/// A session that no policy allows, or one forbids.
fn not_allowed(denial: &Denial) -> Stop {
    let Denial { rule, what, reason, remedy, .. } = denial;
    let remedy = if remedy.is_empty() { String::new() } else { format!("; {remedy}") };
    Stop::refused(Refusal::Policy, "28000", format!("{what} is not allowed (rule {rule}): {reason}{remedy}"))
}
