//! `warder mcp`.

use std::path::PathBuf;

use clap::Args;

use super::ConfigArg;
use crate::mcp;
use crate::token_file::TokenFile;

#[derive(Debug, Args)]
pub(super) struct Mcp {
    /// File with the agent's token, as `warder login` keeps it [default: warder/token below $XDG_STATE_HOME or
    /// ~/.local/state]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArg,
}

impl Mcp {
    pub(super) fn run(self) -> anyhow::Result<()> {
        mcp::serve(self.config.load()?, TokenFile::new(self.token_file)?)
    }
}
