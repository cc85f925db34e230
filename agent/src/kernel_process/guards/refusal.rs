//! Local processes that must not go past the proxy: the kernel refuses them, as long as the proxy serves and this process
//! says so.

use std::collections::BTreeSet;
use std::fs::File;
use std::net::{Ipv6Addr, SocketAddr};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use capture::refusal::destination::Destination;
use capture::refusal::{Refusal, cgroup_number};
use model::time::BootTime;
use steering::spec::Target;
use tracing::{info, warn};

use super::{Guarded, Surroundings};
use crate::config::proxy::Guard;
use crate::kernel_process::access;
use crate::link::RefusalState;

/// How long the kernel refuses without hearing from this process: as for a worker's heartbeat.
const LEASE: Duration = Duration::from_secs(1);
/// How often addresses and control groups are looked at.
const LOOK_NANOS: u64 = 2_000_000_000;

/// What is refused for one database.
pub(super) struct Refusing {
    folder: PathBuf,
    /// An operator may have switched it off.
    is_wanted: bool,
    refusal: Option<Refusal>,
    /// The kernel refuses now.
    is_held: bool,
    next_look: BootTime,
    /// Steering at the last look: what it takes need not be refused.
    was_steered: bool,
    problem: Option<String>,
}

impl Refusing {
    /// `None`: the configuration asks for no refusal.
    pub(super) fn of(guard: &Guard) -> Option<Self> {
        Some(Self {
            folder: guard.refuse_direct.clone()?,
            is_wanted: true,
            refusal: None,
            is_held: false,
            next_look: BootTime(0),
            was_steered: false,
            problem: None,
        })
    }

    /// An operator wants it, or not any more: then nothing of it is left in the kernel.
    pub(super) fn switch(&mut self, is_wanted: bool) {
        (self.is_wanted, self.next_look) = (is_wanted, BootTime(0));
        if !is_wanted {
            (self.refusal, self.is_held, self.problem) = (None, false, None);
        }
    }

    /// How it is, for people.
    pub(super) fn state(&self) -> RefusalState {
        RefusalState {
            cgroup: self.folder.display().to_string(),
            attached: self.refusal.is_some(),
            refusing: self.is_held,
        }
    }

    /// Why it is not as it should be.
    pub(super) fn problem(&self) -> Option<String> {
        self.problem.as_ref().map(|problem| format!("local processes are not refused: {problem}"))
    }
}

impl Guarded {
    /// Refuses as long as a way through the proxy is there and served; a few times a second.
    pub(super) fn look_after_refusal(&mut self, around: &mut Surroundings<'_>, now: BootTime) {
        let Some(mut refusing) = self.refusing.take() else { return };
        if refusing.is_wanted {
            self.look(&mut refusing, around, now);
        }
        self.refusing = Some(refusing);
    }

    fn look(&self, refusing: &mut Refusing, around: &mut Surroundings<'_>, now: BootTime) {
        let is_steered = self.steering.is_some();
        if now >= refusing.next_look || refusing.was_steered != is_steered {
            refusing.next_look = BootTime(now.0.saturating_add(LOOK_NANOS));
            refusing.was_steered = is_steered;
            let problem = self.place(refusing, around).err().map(|problem| format!("{problem:#}"));
            if problem.is_some() && problem != refusing.problem {
                warn!(database = %self.database.name, "local processes are not refused: {}", problem.as_deref().unwrap_or_default());
            }
            refusing.problem = problem;
        }
        let Some(refusal) = &mut refusing.refusal else { return refusing.is_held = false };
        refusing.is_held = self.is_served(around) && refusal.renew(LEASE).is_ok();
        if !refusing.is_held {
            refusal.pause();
        }
    }

    /// Clients have a way through the proxy, and somebody serves it.
    fn is_served(&self, around: &Surroundings<'_>) -> bool {
        let has_way = self.steering.is_some() || self.taken.is_some() || !self.guard().listen.is_empty();
        let is_alive = |steered: &super::Steered| {
            steered.steering.controls.listeners().is_ok_and(|listeners| listeners.iter().any(|one| one.live))
        };
        has_way && !around.workers.ready().is_empty() && self.steering.as_ref().is_none_or(is_alive)
    }

    /// The programs are at the control group that has this name now, and know where the server listens.
    fn place(&self, refusing: &mut Refusing, around: &mut Surroundings<'_>) -> Result<()> {
        let folder = &refusing.folder;
        let opened = open_group(folder).inspect_err(|_| refusing.refusal = None)?;
        let number = cgroup_number(&opened).with_context(|| folder.display().to_string())?;
        if refusing.refusal.as_ref().map(Refusal::cgroup) != Some(number) {
            // First the old one: what it takes back must not be the new one's.
            refusing.refusal = None;
            let allowed = self.guard().direct.iter().map(|rule| rule.source).collect();
            let made = around.witness.refuse(self.database.id, &opened, allowed);
            refusing.refusal = Some(made.with_context(|| folder.display().to_string())?);
            info!(database = %self.database.name, cgroup = %folder.display(), "local processes that go past the proxy are refused");
        }
        let destinations = self.destinations(around)?;
        let refusal = refusing.refusal.as_mut().context("the programs are not attached")?;
        refusal.set_destinations(&destinations).context("the kernel's map of addresses is full")
    }

    /// Where the server listens and steering does not take connections anyway.
    fn destinations(&self, around: &Surroundings<'_>) -> Result<BTreeSet<Destination>> {
        let mut listeners: Vec<(u64, SocketAddr)> = around
            .witness
            .listeners_of(self.database.id)
            .into_iter()
            .map(|listener| {
                let address = SocketAddr::new(Ipv6Addr::from(listener.address).to_canonical(), listener.port);
                (u64::from(listener.network_namespace), address)
            })
            .filter(|(namespace, address)| !self.is_steered(*namespace, *address) && !self.is_own(*namespace, *address))
            .collect();
        listeners.sort();
        let mut destinations = BTreeSet::new();
        for listeners in listeners.chunk_by(|(one, _), (next, _)| one == next) {
            // The last process in the namespace may have ended since the scan.
            let namespace = listeners.first().and_then(|(inode, _)| access::network_namespace(*inode));
            let Some(namespace) = namespace else { continue };
            let cookie = steering::namespace::cookie(namespace.as_fd()).context("a network namespace has no cookie")?;
            let own: Vec<_> = access::interfaces(namespace.as_fd())?.into_iter().map(|(address, _)| address).collect();
            destinations.extend(listeners.iter().flat_map(|(_, bound)| Destination::all(*bound, &own, cookie)));
        }
        Ok(destinations)
    }

    fn is_steered(&self, namespace: u64, address: SocketAddr) -> bool {
        self.steering.as_ref().is_some_and(|steered| {
            steered.steering.namespace() == namespace && steered.targets.contains(&Target::Address(address))
        })
    }

    /// The proxy's own listener on the server's port is no way around it.
    fn is_own(&self, namespace: u64, address: SocketAddr) -> bool {
        self.guard().listen.contains(&address) && steering::namespace::own().is_ok_and(|own| own == namespace)
    }
}

fn open_group(folder: &Path) -> Result<File> {
    File::open(folder).with_context(|| format!("the control group {} cannot be opened", folder.display()))
}
