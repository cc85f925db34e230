//! The tools over HTTP: `POST /mcp`, each request under the token that it brings. No session outlives a request, so there is
//! none that somebody else could go on with.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use http::StatusCode;
use http::header::AUTHORIZATION;
use identity::secret::Secret;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use web::answer::{self, Answer, bearer};
use web::door::Door;
use web::serve::{Limits, Whole};

use super::server::{Server, Token, Tools};
use crate::clock;
use crate::config::Config;

const PATH: &str = "/mcp";
/// A text of 1 MiB, as JSON.
const BODY_BYTES_MAX: usize = 4 << 20;
/// Longer than a statement may take.
const LIMITS: Limits = Limits {
    body_bytes_max: BODY_BYTES_MAX,
    answer_within: Duration::from_secs(660),
    keep_alive: Duration::from_secs(30),
};

/// Serves whoever has a token.
pub(super) async fn serve(config: Config, address: SocketAddr) -> Result<Infallible> {
    let door = Door::open(address, config.api.tls.as_ref()).await?;
    let tools = Rc::new(Tools::new(config)?);
    tracing::info!(%address, "tools are served on {PATH}");
    let handle = move |request| {
        let tools = Rc::clone(&tools);
        async move { respond(&tools, request).await }
    };
    Ok(web::serve::serve(door, LIMITS, handle).await)
}

async fn respond(tools: &Tools, mut request: Whole) -> Answer {
    if request.uri().path() != PATH {
        return answer::error(StatusCode::NOT_FOUND, "not_found", "tools are at /mcp; see docs/mcp.md");
    }
    let Some(token) = bearer(request.headers()) else {
        let text = "say who you are: Authorization: Bearer TOKEN, with the agent's token";
        return answer::error(StatusCode::UNAUTHORIZED, "no_token", text);
    };
    let token = Arc::new(Secret::new(token.as_bytes().to_vec()));
    if let Err(error) = tools.proofs.verify_token(&token, clock::wall()).await {
        let text = format!("the token proves nothing: {error}");
        return answer::error(StatusCode::UNAUTHORIZED, "token", &text);
    }
    // Nobody further on has a use for it, a log least of all.
    request.headers_mut().remove(AUTHORIZATION);
    let tools = tools.clone();
    let server = move || Ok(Server::new(tools.clone(), Token::Given(Arc::clone(&token))));
    let service = StreamableHttpService::new(server, Arc::new(NeverSessionManager::default()), settings());
    service.handle(request).await
}

/// Names of hosts are not looked at: whoever has lured a browser here still has no token.
fn settings() -> StreamableHttpServerConfig {
    StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .disable_allowed_hosts()
        .with_max_request_body_bytes(BODY_BYTES_MAX)
}
