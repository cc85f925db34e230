//! What a worker needs to serve a guarded database: what it is to know, and listeners.

use std::fs::File;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, OwnedFd};

use anyhow::{Context as _, Result};
use steering::listener::{Family, listen, listen_plain};
use steering::spec::Slot;
use tracing::warn;

use super::server::Server;
use super::{Guarded, Surroundings};
use crate::kernel_process::workers::hand_over;
use crate::worker_link::{self, ListenerKind, ToWorker};

impl Guarded {
    /// A worker is ready: it gets what the others have.
    pub(in crate::kernel_process) fn equip(&mut self, around: &mut Surroundings<'_>, number: u32) -> Result<()> {
        self.tell_worker(around, number)?;
        for address in self.guard().listen.clone() {
            self.listen_plain(around, number, address)?;
        }
        if let Some(mut steered) = self.steering.take() {
            let heartbeats = steered.steering.controls.heartbeats().context("the heartbeats cannot be shared")?;
            let message = ToWorker::Heartbeats { database: self.database.id };
            around.workers.tell(number, &message, &[], &[heartbeats.as_fd()]);
            let outcome = self.listeners(around, &steered.server, number, &mut steered.steering.controls);
            self.steering = Some(steered);
            outcome?;
        }
        if let Some(taken) = &mut self.taken {
            let listener = taken.renew().context("the listener on the Unix socket cannot be renewed")?;
            self.share_socket(around, listener)?;
        }
        self.tell_way(around);
        Ok(())
    }

    /// Rules and certificates, before the first listener.
    pub(super) fn tell_worker(&mut self, around: &Surroundings<'_>, number: u32) -> Result<()> {
        if let Some(certificates) = &mut self.certificates {
            certificates.tell(around.workers, number)?;
        }
        if let Some(server) = self.server(around.witness) {
            if self.access.is_none() {
                self.access = server.access(self.guard().access_file.as_deref()).ok();
            }
            return self.tell_access(around, &server, number);
        }
        around.workers.tell(number, &ToWorker::NoAccess { database: self.database.id }, &[], &[]);
        Ok(())
    }

    /// A worker's listeners for steered connections.
    pub(super) fn listeners(
        &self,
        around: &mut Surroundings<'_>,
        server: &Server,
        number: u32,
        controls: &mut steering::controls::Controls,
    ) -> Result<()> {
        for family in [Family::V4, Family::V6] {
            let made = listen(server.namespace.as_fd(), family).context("no listener for the proxy could be made")?;
            let Some(listening) = made else { continue };
            around.witness.mark_front(listening.socket.as_fd(), self.database.id)?;
            controls.set_listener(Slot { number, family }, listening.socket.as_fd())?;
            let slot = worker_link::Slot { number, is_v6: family == Family::V6 };
            let message = self.listen_message(ListenerKind::Steered, Some(slot));
            hand_over(around.workers, number, &message, listening.socket);
        }
        Ok(())
    }

    fn listen_plain(&self, around: &mut Surroundings<'_>, number: u32, address: SocketAddr) -> Result<()> {
        let namespace = File::open("/proc/self/ns/net").context("the network namespace cannot be opened")?;
        let listening = listen_plain(namespace.as_fd(), address)
            .with_context(|| format!("the proxy cannot listen on {address}: is the address taken?"))?;
        if let Err(error) = around.witness.take_turns(listening.socket.as_fd(), around.workers.count()) {
            let error = anyhow::Error::new(error);
            warn!("connections to {address} are spread over the workers by a hash, not evenly: {error:#}");
        }
        around.witness.mark_front(listening.socket.as_fd(), self.database.id)?;
        let message = self.listen_message(ListenerKind::Plain, None);
        hand_over(around.workers, number, &message, listening.socket);
        Ok(())
    }

    pub(super) const fn listen_message(&self, kind: ListenerKind, slot: Option<worker_link::Slot>) -> ToWorker {
        ToWorker::Listen { database: self.database.id, kind, slot }
    }

    /// One socket for all workers: whoever is free accepts.
    pub(super) fn share_socket(&self, around: &mut Surroundings<'_>, listener: OwnedFd) -> Result<()> {
        around.witness.mark_front_unix(listener.as_fd(), self.database.id)?;
        for number in around.workers.ready() {
            let message = self.listen_message(ListenerKind::UnixSocket, None);
            around.workers.tell(number, &message, &[], &[listener.as_fd()]);
        }
        Ok(())
    }
}
