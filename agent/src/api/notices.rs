//! What is new, told to the webhooks: each has a queue of its own, and is told until it has heard.

use std::cell::Cell;
use std::rc::Rc;

use anyhow::{Context as _, Result, ensure};
use export::webhook::Webhook;
use identity::secret::Secret;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::{Duration, sleep};

use super::core::Core;
use super::news::{News, Seen};
use super::signature;
use crate::config::api;
use crate::control::grants::{GrantAsk, GrantVerb, GrantView};
use crate::token_file::TokenFile;
use crate::{clock, words};

/// How often the core is asked.
const INTERVAL: Duration = Duration::from_secs(1);
/// Notices that wait for one webhook.
const WAITING_MAX: usize = 1024;
/// A shorter secret could be guessed from a signature.
const SECRET_BYTES_MIN: usize = 16;

/// A notice as it is sent.
type Body = Rc<[u8]>;

/// The queue of one webhook.
pub(super) struct Queue {
    sender: mpsc::Sender<Body>,
    dropped: Cell<u64>,
}

/// What empties it.
pub(super) struct Carrier {
    webhook: Webhook,
    secret: Rc<Secret>,
    receiver: mpsc::Receiver<Body>,
}

/// A webhook's secret; also what its callbacks are signed with.
pub(super) fn secret(config: &api::Webhook) -> Result<Rc<Secret>> {
    let path = config.secret_file.clone();
    let secret = TokenFile::new(Some(path.clone()))?.token().context("the secret of a webhook")?;
    let enough = secret.expose().len() >= SECRET_BYTES_MIN;
    ensure!(enough, "the secret in {} is short: {SECRET_BYTES_MIN} bytes, better 32, of random", path.display());
    Ok(Rc::new(secret))
}

/// Both ends of a queue.
pub(super) fn queue(config: &api::Webhook, secret: Rc<Secret>) -> Result<(Queue, Carrier)> {
    let webhook = Webhook::new(&config.url, config.ca_file.clone(), env!("CARGO_PKG_VERSION"))?;
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    Ok((Queue { sender, dropped: Cell::default() }, Carrier { webhook, secret, receiver }))
}

impl Queue {
    fn put(&self, body: Body) {
        if self.sender.try_send(body).is_ok() {
            return;
        }
        let count = self.dropped.get().saturating_add(1);
        self.dropped.set(count);
        if count.is_power_of_two() {
            tracing::error!(count, "{WAITING_MAX} notices wait for a webhook, and further ones are dropped");
        }
    }
}

impl Carrier {
    /// One after the other, for ever.
    pub(super) async fn carry(mut self) {
        while let Some(body) = self.receiver.recv().await {
            let headers = |body: &[u8]| signature::headers(&self.secret, clock::wall().0 / 1_000_000_000, body);
            if let Err(error) = self.webhook.deliver(&body, headers).await {
                tracing::error!("a notice is dropped: {error}");
            }
        }
    }
}

/// Looks every second. What waits at the first look is told (again); what is active then is not.
pub(super) async fn watch(core: Core, queues: Vec<Queue>) {
    let mut seen = None;
    loop {
        if let Some(news) = look(&core, &mut seen).await {
            for body in news.iter().map(body) {
                queues.iter().for_each(|queue| queue.put(Rc::clone(&body)));
            }
        }
        sleep(INTERVAL).await;
    }
}

/// `None`: the core does not answer; the next look brings everything.
async fn look(core: &Core, seen: &mut Option<Seen>) -> Option<Vec<News>> {
    let open = core.ask(GrantVerb::List, GrantAsk { open: true, ..GrantAsk::default() }).await.ok()?;
    let seen = seen.get_or_insert_with(|| Seen::before(&open));
    let mut ended = Vec::new();
    for grant in seen.missing(&open) {
        let ask = GrantAsk { grant: Some(grant), ..GrantAsk::default() };
        match core.ask(GrantVerb::Show, ask).await {
            Ok(grants) => ended.extend(grants),
            // The core has forgotten it already; the journal has it.
            Err(failure) if failure.is_not_found() => {}
            Err(_silent) => return None,
        }
    }
    Some(seen.news(open, ended))
}

/// `text` is what both Slack and Teams show of what comes to their incoming webhooks.
fn body(news: &News) -> Body {
    let News { event, grant } = news;
    let id = format!("{}/{event}", grant.grant);
    json!({ "text": text(news), "id": id, "event": event, "grant": grant }).to_string().into_bytes().into()
}

/// One line for people.
fn text(News { event, grant }: &News) -> String {
    let GrantView { grant: id, scope, purpose, seconds, .. } = grant;
    let who = words::holder(&grant.holder);
    let what = format!("{} on {} in {}", scope.actions.join(", "), scope.relations.join(", "), scope.database_entry,);
    let line = match *event {
        "requested" => {
            let time = words::duration(seconds.saturating_mul(1_000_000));
            format!("{who} asks for {what} for {time}: {purpose}. Decide: warder grant show {id}")
        }
        "held" => format!("{who} waits to run one statement, {what}: {purpose}. Decide: warder grant show {id}"),
        "escalated" => {
            format!("nobody has decided yet: {who} asks for {what}: {purpose}. Decide: warder grant show {id}")
        }
        "review_overdue" => format!("nobody has looked yet at the broken glass of {who}, {what}: {purpose} ({id})"),
        other => format!("{other}: {who}, {what}: {purpose} ({id})"),
    };
    harmless(&line)
}

/// Whoever asks must not write to everybody in a channel, hide a link, or turn a line around: as Slack wants text escaped,
/// and without what Markdown makes links of.
fn harmless(line: &str) -> String {
    let turns = |letter: char| matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let line = line.replace(|letter: char| letter.is_control() || turns(letter), " ");
    let line = line.replace('[', "(").replace(']', ")").replace('`', "'");
    line.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
