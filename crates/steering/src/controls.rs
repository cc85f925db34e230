//! What can be changed while connections are steered. All of it is in the kernel's maps; nothing here interrupts anything.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use agent_common::steering::{Counters, Destination, RULES_MAX, Rule, SLOTS_MAX, flag};
use aya::maps::MapError;
use aya::maps::lpm_trie::Key;
use nix::sys::socket::{SockaddrStorage, getsockname};

use crate::exemptions::{Exemptions, is_missing, monotonic};
use crate::kernel;
use crate::listener::{Family, socket_address};
use crate::maps::Maps;
use crate::spec::{FailMode, Slot, Spec, Target};

/// Index of the one set of counters that a steering has.
const COUNTED: u32 = 0;

/// Why steering could not be changed or asked.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// A map refused.
    #[error("the kernel's map of {what} could not be read or written")]
    Map {
        /// Of what.
        what: &'static str,
        /// Why.
        #[source]
        source: MapError,
    },
    /// A socket was refused.
    #[error("the listener could not be given to the kernel")]
    Listener(#[source] io::Error),
    /// Beyond [`Spec::SLOTS_MAX`].
    #[error("there is no listener slot {0}")]
    NoSlot(u32),
    /// More targets and listeners than the map of rules takes.
    #[error("at most {RULES_MAX} targets and listeners are steered for one database")]
    TooManyRules,
    /// No rule names what is steered.
    #[error("nothing is steered: no rule is in the kernel's map")]
    NoRules,
}

fn map(what: &'static str) -> impl Fn(MapError) -> ControlError {
    move |source| ControlError::Map { what, source }
}

/// One listener's place, and whether it takes connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotStatus {
    /// Which.
    pub slot: Slot,
    /// Cookie of the listening socket; `None`: it was closed, or never set.
    pub socket: Option<u64>,
    /// Age of the last heartbeat; `None`: there was none.
    pub heartbeat: Option<Duration>,
    /// The socket is there and its heartbeat is younger than the limit.
    pub live: bool,
}

/// The maps of one steering.
#[derive(Debug)]
pub struct Controls {
    maps: Maps,
}

impl Controls {
    pub(crate) fn open(directory: &Path) -> Result<Self, MapError> {
        Maps::open(directory).map(|maps| Self { maps })
    }

    /// Writes rules and prefixes into new maps. Steering is on.
    pub(crate) fn write(&mut self, spec: &Spec, seed: u32) -> Result<(), ControlError> {
        if spec.targets.is_empty() {
            return Err(ControlError::NoRules);
        }
        if spec.slots == 0 || spec.slots > SLOTS_MAX {
            return Err(ControlError::NoSlot(spec.slots));
        }
        // Each listener has a rule that guards its own address.
        if spec.targets.len() + 2 * spec.slots as usize > RULES_MAX as usize {
            return Err(ControlError::TooManyRules);
        }
        for prefix in &spec.direct {
            let (bits, source) = prefix.key(spec.database);
            self.maps.direct.insert(&Key::new(bits, source), 1, 0).map_err(map("allowed sources"))?;
        }
        let rule = Rule {
            heartbeat_limit: u64::try_from(spec.heartbeat_limit.as_nanos()).unwrap_or(u64::MAX),
            seed,
            first_slot: 0,
            slots: spec.slots,
            counters: COUNTED,
            flags: flag::ON | flags_of(spec.fail_mode),
            database: spec.database.0,
            reserved: 0,
        };
        spec.targets.iter().try_for_each(|target| self.set_rule(target.key(), rule))
    }

    fn set_rule(&mut self, destination: Destination, rule: Rule) -> Result<(), ControlError> {
        self.maps.rules.insert(destination, rule, 0).map_err(map("rules"))
    }

    fn rules(&self) -> Result<Vec<(Destination, Rule)>, ControlError> {
        self.maps.rules.iter().collect::<Result<_, _>>().map_err(map("rules"))
    }

    /// Rules of the database, without those that guard listeners.
    fn steering_rules(&self) -> Result<Vec<(Destination, Rule)>, ControlError> {
        let mut rules = self.rules()?;
        rules.retain(|(_, rule)| rule.flags & flag::GUARD == 0);
        Ok(rules)
    }

    fn any_rule(&self) -> Result<Rule, ControlError> {
        self.steering_rules()?.first().map(|(_, rule)| *rule).ok_or(ControlError::NoRules)
    }

    fn change_flags(&mut self, change: impl Fn(u32) -> u32) -> Result<(), ControlError> {
        for (destination, rule) in self.steering_rules()? {
            self.set_rule(destination, Rule { flags: change(rule.flags), ..rule })?;
        }
        Ok(())
    }

    /// What happens without a live listener, from the next connection on.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn set_fail_mode(&mut self, mode: FailMode) -> Result<(), ControlError> {
        self.change_flags(|flags| flags & !flag::FAIL_CLOSED | flags_of(mode))
    }

    /// As it is now.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn fail_mode(&self) -> Result<FailMode, ControlError> {
        let closed = self.any_rule()?.flags & flag::FAIL_CLOSED != 0;
        Ok(if closed { FailMode::Closed } else { FailMode::Open })
    }

    /// Steers from the next connection on.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn switch_on(&mut self) -> Result<(), ControlError> {
        self.change_flags(|flags| flags | flag::ON)
    }

    /// From the next connection on every client reaches the server itself. Connections that are steered go on.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn switch_off(&mut self) -> Result<(), ControlError> {
        self.change_flags(|flags| flags & !flag::ON)
    }

    /// Whether it is switched on.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn is_on(&self) -> Result<bool, ControlError> {
        Ok(self.any_rule()?.flags & flag::ON != 0)
    }

    /// Gives a listening socket to the kernel. It takes connections from its first [`crate::heartbeat::Heartbeat::beat`]
    /// on, until it is closed; nobody needs to say so when its worker dies.
    ///
    /// Its own address is guarded: whoever asks for that, instead of the database, is refused.
    ///
    /// # Errors
    /// When there is no such slot, or the socket does not listen.
    pub fn set_listener(&mut self, slot: Slot, socket: BorrowedFd<'_>) -> Result<(), ControlError> {
        let rule = self.any_rule()?;
        if slot.number >= rule.slots {
            return Err(ControlError::NoSlot(slot.number));
        }
        let bound: SockaddrStorage =
            getsockname(socket.as_raw_fd()).map_err(|errno| ControlError::Listener(errno.into()))?;
        self.remove_listener(slot)?;
        kernel::set_socket(self.maps.listeners.as_fd(), slot.index(), socket).map_err(ControlError::Listener)?;
        let Some(own) = socket_address(&bound) else { return Ok(()) };
        let guard = Rule { flags: flag::ON | flag::GUARD, first_slot: slot.index(), ..rule };
        self.set_rule(Target::Address(own).key(), guard)
    }

    /// Takes a listener out: it gets no new connections. Those in its queue are its worker's to accept.
    ///
    /// # Errors
    /// When the maps cannot be written.
    pub fn remove_listener(&mut self, slot: Slot) -> Result<(), ControlError> {
        if slot.number >= SLOTS_MAX {
            return Err(ControlError::NoSlot(slot.number));
        }
        self.maps.heartbeats.set(slot.index(), 0, 0).map_err(map("heartbeats"))?;
        kernel::clear_socket(self.maps.listeners.as_fd(), slot.index()).map_err(ControlError::Listener)?;
        self.forget_guards(|rule| rule.first_slot == slot.index())
    }

    /// Listeners, hops and guards of an earlier agent.
    pub(crate) fn forget_listeners(&mut self) -> Result<(), ControlError> {
        for number in 0..SLOTS_MAX {
            self.remove_listener(Slot { number, family: Family::V4 })?;
            self.remove_listener(Slot { number, family: Family::V6 })?;
        }
        self.maps.exempt.clear_all().map_err(map("hops"))
    }

    fn forget_guards(&mut self, which: impl Fn(&Rule) -> bool) -> Result<(), ControlError> {
        for (destination, rule) in self.rules()? {
            if rule.flags & flag::GUARD == 0 || !which(&rule) {
                continue;
            }
            match self.maps.rules.remove(&destination) {
                Err(error) if is_missing(&error) => {}
                other => other.map_err(map("rules"))?,
            }
        }
        Ok(())
    }

    /// The heartbeats, for a worker: see [`crate::heartbeat::Heartbeat::map`].
    ///
    /// # Errors
    /// When the descriptor cannot be duplicated.
    pub fn heartbeats(&self) -> io::Result<OwnedFd> {
        self.maps.heartbeats_descriptor.try_clone()
    }

    /// The exemptions, for the thread that opens hops.
    ///
    /// # Errors
    /// When the descriptor cannot be duplicated.
    pub fn exemptions(&self) -> Result<Exemptions, ControlError> {
        self.maps.exempt.another().map_err(map("hops"))
    }

    /// What became of connection attempts since the maps were made, all processors together.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn counters(&self) -> Result<Counters, ControlError> {
        let each = self.maps.counters.get(&COUNTED, 0).map_err(map("counters"))?;
        Ok(each.iter().fold(Counters::default(), |sum, one| sum_of(&sum, one)))
    }

    /// Every slot of the rules that has a socket or ever had a heartbeat.
    ///
    /// # Errors
    /// When the maps cannot be read.
    pub fn listeners(&self) -> Result<Vec<SlotStatus>, ControlError> {
        let rule = self.any_rule()?;
        let now = monotonic().map_err(ControlError::Listener)?;
        let limit = Duration::from_nanos(rule.heartbeat_limit);
        let mut found = Vec::new();
        for family in [Family::V4, Family::V6] {
            for number in 0..rule.slots.min(SLOTS_MAX) {
                let slot = Slot { number, family };
                let beat = self.maps.heartbeats.get(&slot.index(), 0).map_err(map("heartbeats"))?;
                let heartbeat = (beat != 0).then(|| Duration::from_nanos(now.saturating_sub(beat)));
                let socket = kernel::socket_cookie(self.maps.listeners.as_fd(), slot.index());
                let socket = socket.map_err(ControlError::Listener)?;
                let live = socket.is_some() && heartbeat.is_some_and(|age| age <= limit);
                if socket.is_some() || heartbeat.is_some() {
                    found.push(SlotStatus { slot, socket, heartbeat, live });
                }
            }
        }
        Ok(found)
    }
}

const fn flags_of(mode: FailMode) -> u32 {
    match mode {
        FailMode::Open => 0,
        FailMode::Closed => flag::FAIL_CLOSED,
    }
}

const fn sum_of(a: &Counters, b: &Counters) -> Counters {
    Counters {
        steered: a.steered.wrapping_add(b.steered),
        exempt: a.exempt.wrapping_add(b.exempt),
        direct: a.direct.wrapping_add(b.direct),
        passed_open: a.passed_open.wrapping_add(b.passed_open),
        dropped_closed: a.dropped_closed.wrapping_add(b.dropped_closed),
        stale: a.stale.wrapping_add(b.stale),
        other_program: a.other_program.wrapping_add(b.other_program),
        guarded: a.guarded.wrapping_add(b.guarded),
    }
}
