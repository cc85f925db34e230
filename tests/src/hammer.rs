//! Clients that connect again and again, in the server's network namespace, while something else happens to the server's
//! proxy.

use std::fs::File;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, setns};

use crate::wire::RawClient;

/// How long a client waits for a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);

/// What became of the connections so far.
#[derive(Debug, Default)]
struct Counts {
    served: AtomicU64,
    failed: AtomicU64,
}

/// Threads that connect, ask something and leave; they end when the value is dropped.
#[derive(Debug)]
pub struct Hammer {
    stop: Arc<AtomicBool>,
    counts: Arc<Counts>,
    threads: Vec<JoinHandle<()>>,
}

impl Hammer {
    /// That many clients of a port on loopback of a network namespace.
    ///
    /// # Errors
    /// When the namespace is not there, or the clients cannot go there.
    pub fn start(namespace: &Path, port: u16, clients: u32) -> Result<Self> {
        let (stop, counts) = (Arc::new(AtomicBool::new(false)), Arc::new(Counts::default()));
        let mut hammer = Self { stop, counts, threads: Vec::new() };
        for _ in 0..clients {
            let file = File::open(namespace).context("no such network namespace")?;
            let (stop, counts) = (Arc::clone(&hammer.stop), Arc::clone(&hammer.counts));
            hammer.threads.push(std::thread::spawn(move || {
                // A thread of its own: it ends in that namespace. One that cannot go there fails at each connection.
                let is_there = setns(file, CloneFlags::CLONE_NEWNET).is_ok();
                while !stop.load(Ordering::Relaxed) {
                    let is_served = is_there && ask(port).is_ok();
                    let count = if is_served { &counts.served } else { &counts.failed };
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }));
        }
        Ok(hammer)
    }

    /// Connections that got their answer.
    #[must_use]
    pub fn served(&self) -> u64 {
        self.counts.served.load(Ordering::Relaxed)
    }

    /// Connections that did not.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.counts.failed.load(Ordering::Relaxed)
    }
}

fn ask(port: u16) -> Result<()> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let mut client = RawClient::connected(TcpStream::connect_timeout(&address, CONNECT_LIMIT)?)?;
    client.login()?;
    client.query("select 1").map(drop)
}

impl Drop for Hammer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                eprintln!("warning: a client has panicked");
            }
        }
    }
}
