//! `warder api`.

use clap::Args;

use super::ConfigArg;
use crate::{api, run};

#[derive(Debug, Args)]
pub(super) struct Api {
    #[command(flatten)]
    config: ConfigArg,
}

impl Api {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let config = self.config.load()?;
        run::start_log();
        api::serve(&config)
    }
}
