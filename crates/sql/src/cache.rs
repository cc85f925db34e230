//! Facts of texts that were read before. The key is everything that decides what a text means: its exact bytes, the
//! state of the session, the epoch of the catalogue. Never a fingerprint.
//!
//! Two generations: when the young one is full it becomes the old one, and the old one is dropped. A hit in the old
//! one moves it back. So what is used stays, without a list to keep in order.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::Arc;

use model::facts::Facts;

use crate::state::State;

#[derive(Debug)]
struct Entry {
    text: Box<[u8]>,
    state: State,
    epoch: u64,
    facts: Arc<Facts>,
}

impl Entry {
    fn is_for(&self, text: &[u8], state: &State, epoch: u64) -> bool {
        self.epoch == epoch && *self.text == *text && self.state == *state
    }
}

/// Facts by text, state and epoch.
#[derive(Debug)]
pub(crate) struct Cache {
    /// Keyed, so that nobody outside can choose texts that collide.
    hasher: RandomState,
    young: HashMap<u64, Entry>,
    old: HashMap<u64, Entry>,
    young_bytes: usize,
    /// Limits of one generation.
    texts_max: usize,
    bytes_max: usize,
}

impl Cache {
    /// A cache of so many texts and bytes of text, over both generations.
    pub(crate) fn new(texts_max: usize, bytes_max: usize) -> Self {
        Self {
            hasher: RandomState::new(),
            young: HashMap::new(),
            old: HashMap::new(),
            young_bytes: 0,
            texts_max: texts_max / 2,
            bytes_max: bytes_max / 2,
        }
    }

    pub(crate) fn get(&mut self, text: &[u8], state: &State, epoch: u64) -> Option<Arc<Facts>> {
        let hash = self.hash(text, state, epoch);
        if let Some(entry) = self.young.get(&hash) {
            return entry.is_for(text, state, epoch).then(|| Arc::clone(&entry.facts));
        }
        let entry = self.old.remove(&hash).filter(|entry| entry.is_for(text, state, epoch))?;
        let facts = Arc::clone(&entry.facts);
        self.keep(hash, entry);
        Some(facts)
    }

    /// Remembers facts. Where two keys have one hash the later one stays.
    pub(crate) fn insert(&mut self, text: &[u8], state: &State, epoch: u64, facts: &Arc<Facts>) {
        let hash = self.hash(text, state, epoch);
        self.keep(hash, Entry { text: text.into(), state: state.clone(), epoch, facts: Arc::clone(facts) });
    }

    fn keep(&mut self, hash: u64, entry: Entry) {
        let bytes = entry.text.len();
        if self.young.len() >= self.texts_max || self.young_bytes.saturating_add(bytes) > self.bytes_max {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        if self.texts_max > 0 && bytes <= self.bytes_max {
            self.young_bytes += bytes;
            if let Some(replaced) = self.young.insert(hash, entry) {
                self.young_bytes -= replaced.text.len();
            }
        }
    }

    fn hash(&self, text: &[u8], state: &State, epoch: u64) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        text.hash(&mut hasher);
        state.hash(&mut hasher);
        epoch.hash(&mut hasher);
        hasher.finish()
    }
}
