//! Where an issuer's keys come from.

use std::sync::Arc;
use std::time::Duration;

use model::time::WallTime;

use crate::cache::{Ages, Counts};
use crate::config::IssuerConfig;
use crate::discovery;
use crate::fetch::Client;
use crate::file_keys::FileKeys;
use crate::key_set::KeySet;
use crate::mistake::Mistake;
use crate::remote_keys::{Place, RemoteKeys};
use crate::token_error::TokenError;
use crate::url::HttpsUrl;

/// Keys are fresh for this long, unless configured.
const FRESH_SECONDS: u64 = 3600;
/// Keys are used for this long when the issuer cannot be asked, unless configured.
const STALE_SECONDS: u64 = 24 * 3600;
/// Longest configurable age of keys: a key that was stolen and withdrawn signs for this long.
const STALE_SECONDS_MAX: u64 = 7 * 24 * 3600;
/// Shortest configurable age at which keys are asked for again.
const FRESH_SECONDS_MIN: u64 = 60;

/// A place of keys.
#[derive(Debug)]
pub(crate) enum Source {
    File(FileKeys),
    Remote(Arc<RemoteKeys>),
}

impl Source {
    pub(crate) fn check(config: &IssuerConfig) -> Result<Self, Mistake> {
        let url = |key, text: &str| HttpsUrl::parse(text).map_err(|wrong| Mistake::new(key, wrong));
        let place = match (&config.jwks_file, &config.jwks_url, &config.discovery_url) {
            (Some(path), None, None) => return Ok(Self::File(FileKeys::new(path)?)),
            (None, Some(text), None) => Place::Keys(url("jwks_url", text)?),
            (None, None, Some(text)) => Place::Metadata(url("discovery_url", text)?),
            (None, None, None) => Place::Metadata(url("issuer", &discovery::default_url(&config.issuer))?),
            _ => return Err(Mistake::new("jwks_file", "keys have one place: a file, `jwks_url` or `discovery_url`")),
        };
        let client = Client::new(config.ca_file.as_deref())?;
        let keys = RemoteKeys::new(&config.name, &config.issuer, place, client, ages(config)?);
        Ok(Self::Remote(Arc::new(keys)))
    }

    /// Keys with one of that id.
    pub(crate) async fn keys(&self, id: &str, now: WallTime) -> Result<Arc<KeySet>, TokenError> {
        match self {
            Self::File(file) => {
                let keys = file.current();
                if keys.knows(id) { Ok(keys) } else { Err(TokenError::UnknownKey) }
            }
            Self::Remote(remote) => remote.keys(id, now).await,
        }
    }

    pub(crate) fn counts(&self) -> Counts {
        match self {
            Self::File(_) => Counts::default(),
            Self::Remote(remote) => remote.counts(),
        }
    }
}

fn ages(config: &IssuerConfig) -> Result<Ages, Mistake> {
    let fresh = config.keys_fresh_seconds.unwrap_or(FRESH_SECONDS);
    let stale_max = config.keys_stale_seconds_max.unwrap_or(STALE_SECONDS);
    if !(FRESH_SECONDS_MIN..=stale_max).contains(&fresh) {
        return Err(Mistake::new("keys_fresh_seconds", "from 60 to `keys_stale_seconds_max`"));
    }
    if stale_max > STALE_SECONDS_MAX {
        return Err(Mistake::new(
            "keys_stale_seconds_max",
            "at most 604800, a week: a withdrawn key is believed for so long",
        ));
    }
    Ok(Ages { fresh: Duration::from_secs(fresh), stale_max: Duration::from_secs(stale_max) })
}
