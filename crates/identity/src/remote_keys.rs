//! An issuer's keys behind HTTPS: kept, asked for again when they are old or a token names another one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::time::WallTime;

use crate::cache::{Ages, Cache, Counts, Step};
use crate::discovery::{DiscoveryError, Metadata};
use crate::fetch::{Client, FetchError, chain};
use crate::key_set::{KeySet, KeySetError};
use crate::token_error::TokenError;
use crate::url::HttpsUrl;

/// Where to ask.
#[derive(Debug)]
pub(crate) enum Place {
    /// For the keys.
    Keys(HttpsUrl),
    /// For the metadata, which say where the keys are.
    Metadata(HttpsUrl),
}

/// An issuer that is asked.
#[derive(Debug)]
pub(crate) struct RemoteKeys {
    name: String,
    issuer: String,
    place: Place,
    client: Client,
    cache: Mutex<Cache>,
    /// Held while a question is on its way.
    asking: tokio::sync::Mutex<()>,
}

#[derive(Debug, thiserror::Error)]
enum AskError {
    #[error("the keys cannot be found")]
    Discovery(#[source] DiscoveryError),
    #[error("the keys cannot be fetched")]
    Fetch(#[source] FetchError),
    #[error("what came is no set of keys")]
    Content(#[source] KeySetError),
}

impl RemoteKeys {
    pub(crate) fn new(name: &str, issuer: &str, place: Place, client: Client, ages: Ages) -> Self {
        let (cache, asking) = (Mutex::new(Cache::new(ages)), tokio::sync::Mutex::new(()));
        Self { name: name.to_owned(), issuer: issuer.to_owned(), place, client, cache, asking }
    }

    /// Keys with one of that id.
    pub(crate) async fn keys(self: &Arc<Self>, id: &str, now: WallTime) -> Result<Arc<KeySet>, TokenError> {
        let step = self.cache().step(id, now);
        match step {
            Step::Use(keys) => Ok(keys),
            Step::UseAndAsk(keys) => {
                tokio::spawn(Arc::clone(self).ask(now));
                Ok(keys)
            }
            Step::Ask => {
                // A task of its own: a client that goes away must not take the question with it.
                let _ended = tokio::spawn(Arc::clone(self).ask(now)).await;
                self.cache().answer(id, now)
            }
            Step::Refuse(error) => Err(error),
        }
    }

    pub(crate) fn counts(&self) -> Counts {
        self.cache().counts()
    }

    /// Asks once; whoever comes meanwhile waits, and then finds that it was too early for another question.
    async fn ask(self: Arc<Self>, now: WallTime) {
        let _one = self.asking.lock().await;
        if !self.cache().ask(now) {
            return;
        }
        match self.fetch().await {
            Ok(keys) => {
                tracing::debug!(issuer = self.name, keys = keys.len(), "an issuer's keys were fetched");
                self.cache().learned(keys, now);
            }
            Err(error) => {
                tracing::warn!(issuer = self.name, "an issuer cannot be asked for its keys: {}", chain(&error));
                self.cache().failed();
            }
        }
    }

    async fn fetch(&self) -> Result<KeySet, AskError> {
        let body = match &self.place {
            Place::Keys(url) => self.client.get(url).await,
            Place::Metadata(url) => {
                let metadata = Metadata::fetch(&self.client, url, &self.issuer).await.map_err(AskError::Discovery)?;
                self.client.get(&metadata.address("jwks_uri").map_err(AskError::Discovery)?).await
            }
        };
        KeySet::parse(&body.map_err(AskError::Fetch)?).map_err(AskError::Content)
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        // Nothing inside panics; what a poisoned lock guards is whole.
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
