//! Tokens that are bound to a process tree (`warder exec`): a table. No clock, no `/proc`.
//!
//! A tree is a control group that was made for it. The kernel keeps all descendants of its first process in there,
//! whatever they execute, whoever they become and however often they fork, and lets nobody else in but root; and it never
//! gives a group's number to another one in the same boot. What has expired stays until its tree has ended (unless the
//! table is full): a tree must not become somebody else by waiting.

use std::collections::HashMap;
use std::sync::Arc;

use model::time::WallTime;

use crate::name;
use crate::verified::VerifiedPrincipal;

/// Most bindings at once. A host runs fewer `warder exec` at a time.
pub const BINDINGS_MAX: usize = 4096;
/// Most of one user, so that nobody takes all of them.
pub const BINDINGS_PER_USER_MAX: usize = 256;

/// A process tree: the number of its control group (`Process::cgroup`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tree(pub u64);

/// What a tree is for, in the words of whoever started it: 1 to 256 bytes on one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Purpose(Arc<str>);

/// Why a token was not bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BindError {
    /// The table is full.
    #[error("{BINDINGS_MAX} process trees of this host have a token already; end some of them")]
    Full,
    /// The table has enough of this user.
    #[error("{BINDINGS_PER_USER_MAX} process trees of this user have a token already; end some of them")]
    UserFull,
    /// It has ended.
    #[error("the token has expired; get a new one, for example with `warder login`")]
    Expired,
    /// There is one.
    #[error("this process tree has a token already; start a new one with `warder exec`")]
    Bound,
    /// The purpose cannot be recorded.
    #[error("the purpose has to be 1 to 256 bytes on one line, without spaces at its ends")]
    Purpose,
}

/// What is known of a tree's binding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Binding<'a> {
    /// It has this principal.
    Bound(&'a VerifiedPrincipal),
    /// Its token has expired. Other proofs must not take its place unnoticed.
    Expired,
    /// It has none.
    None,
}

/// All bindings of a host.
#[derive(Debug, Default)]
pub struct Bindings {
    entries: HashMap<Tree, Entry>,
}

#[derive(Debug)]
struct Entry {
    principal: VerifiedPrincipal,
    uid: u32,
}

impl Purpose {
    /// Checks it.
    ///
    /// # Errors
    /// [`BindError::Purpose`].
    pub fn parse(text: &str) -> Result<Self, BindError> {
        name::checked(text).map(Self).ok_or(BindError::Purpose)
    }
}

impl Bindings {
    /// Whether there is room for one more of this user.
    ///
    /// # Errors
    /// [`BindError::Full`], [`BindError::UserFull`].
    pub fn admit(&mut self, uid: u32, now: WallTime) -> Result<(), BindError> {
        if self.entries.len() >= BINDINGS_MAX {
            self.entries.retain(|_, entry| !entry.has_expired(now));
        }
        if self.entries.len() >= BINDINGS_MAX {
            return Err(BindError::Full);
        }
        if self.entries.values().filter(|entry| entry.uid == uid).count() >= BINDINGS_PER_USER_MAX {
            return Err(BindError::UserFull);
        }
        Ok(())
    }

    /// Binds a principal to a tree, for as long as its proof holds. The caller has seen to it that the tree is of whoever
    /// showed the proof, and that `uid` is theirs. Returns the principal as it acts from now on.
    ///
    /// # Errors
    /// When it is not bound, with what to do.
    pub fn bind(
        &mut self,
        tree: Tree,
        uid: u32,
        principal: VerifiedPrincipal,
        purpose: Option<Purpose>,
        now: WallTime,
    ) -> Result<VerifiedPrincipal, BindError> {
        let entry = Entry { principal: principal.bound(purpose.map(|purpose| purpose.0)), uid };
        if entry.has_expired(now) {
            return Err(BindError::Expired);
        }
        if self.entries.contains_key(&tree) {
            return Err(BindError::Bound);
        }
        self.admit(uid, now)?;
        let principal = entry.principal.clone();
        self.entries.insert(tree, entry);
        Ok(principal)
    }

    /// The binding of a tree.
    #[must_use]
    pub fn lookup(&self, tree: Tree, now: WallTime) -> Binding<'_> {
        match self.entries.get(&tree) {
            None => Binding::None,
            Some(entry) if entry.has_expired(now) => Binding::Expired,
            Some(entry) => Binding::Bound(&entry.principal),
        }
    }

    /// No process is left in the tree.
    pub fn ended(&mut self, tree: Tree) {
        self.entries.remove(&tree);
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
    fn has_expired(&self, now: WallTime) -> bool {
        self.principal.principal().expires.is_some_and(|until| until <= now)
    }
}
