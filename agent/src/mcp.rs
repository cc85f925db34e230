//! `warder mcp`: what an AI agent can do with databases, as tools of the Model Context Protocol.
//!
//! It has no power of its own. Statements go through the proxy under the agent's own token, as those of any client, and
//! grants over the control socket; policies and issuers are read from the configuration, to say beforehand what would be
//! decided. Who calls the tools is who has the token: on standard input and output the one who started it, over HTTP whoever
//! brings one.

mod answer;
mod databases;
mod foresight;
mod grants;
mod http;
mod server;
mod statement;

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use rmcp::ServiceExt as _;

use self::server::{Server, Token, Tools};
use crate::config::Config;
use crate::privileges;
use crate::token_file::TokenFile;

/// Serves one client on standard input and output, until it is gone.
pub(crate) fn serve(config: Config, token: TokenFile) -> Result<()> {
    token.token()?;
    let server = Server::new(Tools::new(config)?, Token::File(token));
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

/// Serves whoever brings a token, until it is stopped.
pub(crate) fn listen(config: Config, address: SocketAddr) -> Result<()> {
    privileges::refuse_root("warder mcp --listen")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    match runtime.block_on(http::serve(config, address))? {}
}
