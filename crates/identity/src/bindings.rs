//! Tokens that are bound to a process tree (`warder exec`): a table. No clock, no `/proc`.
//!
//! A binding belongs to its root, by process key: children inherit it through their ancestors, and nobody else can
//! claim it, because pids are re-used but (pid, start) is not. What has expired stays until its root ends (unless the
//! table is full): a tree must not become somebody else by waiting. A descendant that is orphaned (double fork) loses its
//! ancestors and with them the binding; where the kernel marks the tree itself, its mark ([`Key::Mark`]) has not that gap.

use std::collections::HashMap;
use std::sync::Arc;

use model::process::{Process, ProcessKey};
use model::time::WallTime;

use crate::name;
use crate::verified::VerifiedPrincipal;

/// Most bindings at once. A host runs fewer `warder exec` at a time.
pub const BINDINGS_MAX: usize = 4096;

/// What a binding belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// The first process of a tree.
    Root(ProcessKey),
    /// A number that the kernel keeps for each process of the tree. Never re-used in a boot.
    Mark(u64),
}

/// Why a token was not bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BindError {
    /// The table is full.
    #[error("{BINDINGS_MAX} process trees have a token already; end some, or let their tokens expire")]
    Full,
    /// It has ended.
    #[error("the token has expired; get a new one, for example with `warder login`")]
    Expired,
    /// There is one.
    #[error("this process tree has a token already; start a new one with `warder exec`")]
    Bound,
    /// The purpose cannot be recorded.
    #[error("the purpose has to be 1 to 256 bytes on one line")]
    Purpose,
}

/// What is known of a process's binding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Binding<'a> {
    /// It belongs to a tree with this principal.
    Bound(&'a VerifiedPrincipal),
    /// It belongs to a tree whose token has expired. Other proofs must not take its place unnoticed.
    Expired,
    /// It belongs to no tree.
    None,
}

/// All bindings of a host.
#[derive(Debug, Default)]
pub struct Bindings {
    entries: HashMap<Key, Entry>,
}

#[derive(Debug)]
struct Entry {
    principal: VerifiedPrincipal,
    until: WallTime,
}

impl Bindings {
    /// Binds a principal to a tree, until `until` or until its proof ends, whichever is first. The caller has checked
    /// that whoever asks is the root of the tree.
    ///
    /// # Errors
    /// When it is not bound, with what to do.
    pub fn bind(
        &mut self,
        key: Key,
        principal: VerifiedPrincipal,
        purpose: Option<&str>,
        until: WallTime,
        now: WallTime,
    ) -> Result<(), BindError> {
        let purpose: Option<Arc<str>> = match purpose {
            None => None,
            Some(text) => Some(name::checked(text).ok_or(BindError::Purpose)?),
        };
        let until = principal.principal().expires.map_or(until, |expires| expires.min(until));
        if until <= now {
            return Err(BindError::Expired);
        }
        if self.entries.contains_key(&key) {
            return Err(BindError::Bound);
        }
        if self.entries.len() >= BINDINGS_MAX {
            self.entries.retain(|_, entry| entry.until > now);
        }
        if self.entries.len() >= BINDINGS_MAX {
            return Err(BindError::Full);
        }
        self.entries.insert(key, Entry { principal: principal.bound(purpose, until), until });
        Ok(())
    }

    /// The binding of a process: its own, or that of its nearest ancestor that has one.
    #[must_use]
    pub fn lookup(&self, process: &Process, now: WallTime) -> Binding<'_> {
        let tree = std::iter::once(process.key).chain(process.ancestors.iter().map(|ancestor| ancestor.key));
        let found = tree.map(Key::Root).find_map(|key| self.entries.get(&key));
        found.map_or(Binding::None, |entry| entry.at(now))
    }

    /// The binding of the tree that the kernel gave this mark.
    #[must_use]
    pub fn lookup_mark(&self, mark: u64, now: WallTime) -> Binding<'_> {
        self.entries.get(&Key::Mark(mark)).map_or(Binding::None, |entry| entry.at(now))
    }

    /// Ends a binding: its root has exited, or its mark is of no process any more.
    pub fn ended(&mut self, key: Key) {
        self.entries.remove(&key);
    }

    /// How many there are, expired ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl Entry {
    fn at(&self, now: WallTime) -> Binding<'_> {
        if self.until > now { Binding::Bound(&self.principal) } else { Binding::Expired }
    }
}
