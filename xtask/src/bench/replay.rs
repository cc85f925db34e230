//! Memory of many idle sessions: one real session is recorded from the ring and replayed (`agent/benches`).

use anyhow::{Context, Result, bail};
use warder_tests::cluster::Cluster;
use warder_tests::process;
use warder_tests::route::Route;

use crate::build;
use crate::shell::cargo;

/// What replayed sessions hold in the core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Replayed {
    /// How many.
    pub(super) sessions: u32,
    /// Growth of resident memory if each has a client process of its own.
    pub(super) own_client_bytes: u64,
    /// The same if one client process holds all of them.
    pub(super) one_client_bytes: u64,
}

/// Records a session of `psql` with this server, and replays it.
pub(super) fn measure(cluster: &Cluster) -> Result<Replayed> {
    let client = cluster.client("psql", Route::Unix);
    let mut bench = cargo();
    bench.args(["bench", "--quiet", "--package", "agent", "--bench", "session-memory", "--"]);
    bench.arg(cluster.port().to_string()).arg(cluster.socket()).arg(client.get_program()).arg("-XqAt");
    bench.envs(build::programs()?.environment());
    bench.envs(client.get_envs().filter_map(|(name, value)| Some((name, value?))));
    parse(&String::from_utf8(process::run(&mut bench)?.stdout)?)
}

/// Reads lines `CLIENTS SESSIONS BYTES`.
fn parse(text: &str) -> Result<Replayed> {
    let figures = |clients: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(clients)?.strip_prefix(' '));
        let (sessions, bytes) = line.and_then(|line| line.split_once(' ')).with_context(|| format!("no {clients}"))?;
        Ok::<(u32, u64), anyhow::Error>((sessions.parse()?, bytes.parse()?))
    };
    let ((sessions, own_client_bytes), (again, one_client_bytes)) = (figures("own-client")?, figures("one-client")?);
    if sessions != again {
        bail!("two different numbers of sessions: {text}");
    }
    Ok(Replayed { sessions, own_client_bytes, one_client_bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_figures_are_needed() {
        let replayed = Replayed { sessions: 10, own_client_bytes: 30, one_client_bytes: 20 };
        assert_eq!(parse("one-client 10 20\nown-client 10 30\n").unwrap(), replayed);
        for bad in ["", "own-client 10 30", "one-client 10 20\nown-client 11 30", "one-client 10 x\nown-client 10 30"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
