//! A database in a namespace, steered.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context, Result};
use model::id::DatabaseId;
use steering::controls::Controls;
use steering::heartbeat::Heartbeat;
use steering::listener::{Family, listen};
use steering::prepared::Prepared;
use steering::spec::{FailMode, Slot, Spec, Target};
use steering::steering::Steering;

use super::network::{Bpffs, Network, Place};
use super::server::{Server, who};

/// The database's port.
pub(crate) const PORT: u16 = 5432;

/// Heartbeats of the test servers come every 10 ms; the machine is busy.
pub(crate) const LIMIT: Duration = Duration::from_secs(2);

/// Both namespaces, the database's servers (IPv4 and IPv6), a place for pins.
pub(crate) struct Scene {
    pub(crate) servers: Vec<Server>,
    pub(crate) bpffs: Bpffs,
    pub(crate) network: Network,
}

impl Scene {
    pub(crate) fn create() -> Result<Self> {
        let network = Network::create()?;
        let any = [IpAddr::from(Ipv4Addr::UNSPECIFIED), IpAddr::from(Ipv6Addr::UNSPECIFIED)];
        let servers = any.map(|address| Server::database(&network.inside, SocketAddr::new(address, PORT)));
        Ok(Self { servers: servers.into_iter().collect::<Result<_>>()?, bpffs: Bpffs::create()?, network })
    }

    /// Every way to the database: from where, and to which address.
    pub(crate) fn ways(&self) -> Vec<(&Place, SocketAddr)> {
        let Network { inside, outside } = &self.network;
        let at = |address: IpAddr| SocketAddr::new(address, PORT);
        vec![
            (inside, at(Ipv4Addr::LOCALHOST.into())),
            (inside, at(Ipv6Addr::LOCALHOST.into())),
            (inside, at(inside.v4)),
            (outside, at(inside.v4)),
            (outside, at(inside.v6)),
        ]
    }

    pub(crate) fn prepared(&self, spec: &Spec) -> Result<Prepared> {
        Ok(Prepared::new(&self.bpffs.root(), spec)?)
    }

    pub(crate) fn attach(&self, prepared: Prepared) -> Result<Steering> {
        Ok(prepared.attach(self.network.inside.file().as_fd())?)
    }

    /// Workers in the first `count` slots of both families.
    pub(crate) fn workers(&self, controls: &mut Controls, count: u32) -> Result<Vec<Server>> {
        let mut workers = Vec::new();
        for number in 0..count {
            for family in [Family::V4, Family::V6] {
                let slot = Slot { number, family };
                let socket = self.listener(controls, slot)?;
                workers.push(Server::proxy(socket, Heartbeat::map(controls.heartbeats()?.as_fd())?, slot));
            }
        }
        Ok(workers)
    }

    pub(crate) fn listener(&self, controls: &mut Controls, slot: Slot) -> Result<OwnedFd> {
        let listening = listen(self.network.inside.file().as_fd(), slot.family)?.context("the family is there")?;
        controls.set_listener(slot, listening.socket.as_fd())?;
        Ok(listening.socket)
    }

    /// Who answers on each way.
    pub(crate) fn answers(&self) -> Result<Vec<u8>> {
        self.ways().into_iter().map(|(place, address)| who(&mut place.connect(address)?)).collect()
    }
}

pub(crate) fn spec(fail_mode: FailMode) -> Spec {
    Spec {
        name: "orders".into(),
        database: DatabaseId(7),
        targets: vec![Target::Port(PORT)],
        direct: Vec::new(),
        fail_mode,
        heartbeat_limit: LIMIT,
        slots: 2,
    }
}
