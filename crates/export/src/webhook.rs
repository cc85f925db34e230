//! One body after the other to one address, each until it is taken (`docs/api.md`).
//!
//! Not here: what is in a body, and how many wait.

use std::path::PathBuf;
use std::time::Duration;

use hyper::HeaderMap;
use tokio::time::{sleep, timeout};

use crate::backoff::Backoff;
use crate::config::{ExportConfig, Identity, Kind};
use crate::failure::{Blame, Failure, chain};
use crate::plan::{ConfigError, HttpPlace, http_place, is_loopback};
use crate::transport::request::{Client, Post};

/// One attempt may take this long.
const ATTEMPT: Duration = Duration::from_secs(10);
/// Longest pause between attempts.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// Attempts until a body that the receiver refuses for its content is given up.
const REFUSALS_MAX: u32 = 10;

/// A receiver. Its address may be a secret, and is never logged.
#[derive(Debug)]
pub struct Webhook {
    client: Client,
}

/// The receiver refuses the content of a body, every time.
#[derive(Debug, thiserror::Error)]
#[error("the receiver refuses this, every time")]
pub struct GivenUp;

/// Whether such a receiver can be used.
///
/// # Errors
/// What is wrong, with what to do.
pub fn check(url: &str, ca_file: Option<PathBuf>) -> Result<(), ConfigError> {
    place(url, ca_file).map(drop)
}

fn place(url: &str, ca_file: Option<PathBuf>) -> Result<HttpPlace, ConfigError> {
    let config = ExportConfig { url: Some(url.to_owned()), ca_file, ..ExportConfig::new("webhook", Kind::Webhook) };
    let place = http_place(url, &config)?;
    if place.tls.is_none() && !is_loopback(place.uri.host().unwrap_or_default()) {
        return Err(ConfigError::new(
            "url",
            "who has access to what is not sent to another host in the clear; use https://",
        ));
    }
    Ok(place)
}

impl Webhook {
    /// A receiver at `url`, whose certificate `ca_file` has signed, or an authority that the system trusts.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn new(url: &str, ca_file: Option<PathBuf>, version: &str) -> Result<Self, ConfigError> {
        let identity = Identity { version: version.to_owned(), host: String::new(), host_name: None };
        Ok(Self { client: Client::new(&place(url, ca_file)?, "", &identity)? })
    }

    /// Tries until the receiver has it, with growing pauses. `headers` is asked anew for each attempt.
    ///
    /// # Errors
    /// The receiver refuses the content.
    pub async fn deliver(&mut self, body: &[u8], headers: impl Fn(&[u8]) -> HeaderMap) -> Result<(), GivenUp> {
        let (mut backoff, mut refusals, mut silent) = (Backoff::new(PAUSE_MAX), 0, false);
        loop {
            let post = Post { content_type: "application/json", headers: headers(body), body: body.to_vec() };
            let attempt = timeout(ATTEMPT, self.client.post(post)).await;
            let failure = match attempt.unwrap_or(Err(Failure::Timeout(ATTEMPT))) {
                Ok(_answer) => return Ok(()),
                Err(failure) => failure,
            };
            if !std::mem::replace(&mut silent, true) {
                tracing::warn!("a notification is tried again: {}", chain(&failure));
            }
            if failure.blame() == Blame::Content {
                refusals += 1;
                if refusals >= REFUSALS_MAX {
                    return Err(GivenUp);
                }
            }
            sleep(backoff.next(failure.retry_after())).await;
        }
    }
}
