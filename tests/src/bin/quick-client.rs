//! A client that lives for a few milliseconds: connects, runs one statement under `trust`, leaves.
//!
//! usage: `quick-client HOST PORT STATEMENT`; a HOST that begins with `/` is the folder of a Unix socket.

use std::path::Path;
use std::process::ExitCode;

use warder_tests::wire::{RawClient, terminate};

fn main() -> ExitCode {
    match play() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("quick-client: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn play() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [host, port, statement] = words.as_slice() else {
        anyhow::bail!("usage: quick-client HOST PORT STATEMENT");
    };
    let mut client = if host.starts_with('/') {
        RawClient::unix(&Path::new(host).join(format!(".s.PGSQL.{port}")))?
    } else {
        RawClient::tcp(port.parse()?)?
    };
    client.login()?;
    client.query(statement)?;
    client.send(&terminate())
}
