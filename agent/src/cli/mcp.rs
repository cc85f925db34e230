//! `warder mcp`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use super::ConfigArg;
use crate::token_file::TokenFile;
use crate::{mcp, run};

#[derive(Debug, Args)]
pub(super) struct Mcp {
    /// File with the agent's token, as `warder login` keeps it [default: warder/token below $XDG_STATE_HOME or
    /// ~/.local/state]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Serve agents over HTTP on this address instead, each under the token that it brings; with the certificate of [api], and
    /// without one only on loopback
    #[arg(long, value_name = "ADDRESS", conflicts_with = "token_file")]
    listen: Option<SocketAddr>,
    #[command(flatten)]
    config: ConfigArg,
}

impl Mcp {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let config = self.config.load()?;
        match self.listen {
            None => mcp::serve(config, TokenFile::new(self.token_file)?),
            Some(address) => {
                run::start_log();
                mcp::listen(config, address)
            }
        }
    }
}
