//! `warder api`: what `warder grant` does, over HTTP, and what is new, to webhooks (`docs/api.md`).
//!
//! A program of its own with no power of its own: it runs under an account that may use the control socket, and passes the
//! token of whoever asks on to the core, which verifies it and decides. What floods or breaks it touches neither core nor
//! proxy.

mod callback;
mod core;
mod failure;
mod news;
mod notices;
mod routes;
mod signature;

use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use identity::secret::Secret;
use tokio::task::LocalSet;
use web::door::Door;
use web::serve::Limits;

use self::core::Core;
use crate::config::Config;
use crate::privileges;

/// An answer of the core takes at most 25 s, behind others.
const LIMITS: Limits =
    Limits { body_bytes_max: 64 << 10, answer_within: Duration::from_secs(40), keep_alive: Duration::from_secs(30) };

/// Serves until it is stopped.
pub(crate) fn serve(config: &Config) -> Result<()> {
    privileges::refuse_root("warder api")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    match runtime.block_on(run(config))? {}
}

/// What requests are answered with.
struct House {
    core: Core,
    /// Those of the webhooks: callbacks are signed with them.
    secrets: Vec<Rc<Secret>>,
}

async fn run(config: &Config) -> Result<Infallible> {
    let core = || Core::new(config.agent.control_socket.clone());
    let hooks = &config.api.webhooks;
    let secrets = hooks.iter().map(notices::secret).collect::<Result<Vec<_>>>()?;
    let door = Door::open(config.api.listen, config.api.tls.as_ref()).await?;
    let tls = if config.api.tls.is_some() { "with TLS" } else { "in the clear, for this host" };
    tracing::info!(address = %config.api.listen, webhooks = hooks.len(), "the API is served {tls}");

    let tasks = LocalSet::new();
    let mut queues = Vec::new();
    for (hook, secret) in hooks.iter().zip(&secrets) {
        let (queue, carrier) = notices::queue(hook, Rc::clone(secret))?;
        tasks.spawn_local(carrier.carry());
        queues.push(queue);
    }
    if !queues.is_empty() {
        // With a pace of its own: a flood of requests delays no notice.
        tasks.spawn_local(notices::watch(core(), queues));
    }
    let house = Rc::new(House { core: core(), secrets });
    let handle = move |request| {
        let house = Rc::clone(&house);
        async move { routes::answer(&house, request).await }
    };
    Ok(tasks.run_until(web::serve::serve(door, LIMITS, handle)).await)
}
