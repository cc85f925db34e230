//! `warder mcp`: what an AI agent can do with databases, as tools of the Model Context Protocol.
//!
//! It has no power of its own. Statements go through the proxy under the agent's own token, as those of any client, and
//! grants over the control socket; policies and issuers are read from the configuration, to say beforehand what would be
//! decided. Who calls the tools is who has the token: standard input and output belong to the one that started it.

mod answer;
mod databases;
mod foresight;
mod grants;
mod server;
mod statement;

use anyhow::{Context as _, Result};
use rmcp::ServiceExt as _;

use crate::config::Config;
use crate::token_file::TokenFile;

/// Serves one client on standard input and output, until it is gone.
pub(crate) fn serve(config: Config, token: TokenFile) -> Result<()> {
    let server = server::Server::new(config, token)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    runtime.block_on(async {
        let running = server.serve(rmcp::transport::stdio()).await.context("the client did not begin as MCP has it")?;
        running.waiting().await.context("the tools ended")?;
        anyhow::Ok(())
    })?;
    // A read of standard input cannot be given up: nobody waits for it.
    runtime.shutdown_background();
    Ok(())
}
