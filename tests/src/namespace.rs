//! A network namespace of the test's own, joined to this one by a veth pair.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};

use crate::process;

/// A named network namespace; removed with its veth pair when the value is dropped.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    /// This host's end of the pair.
    near: String,
    /// This host's address on the pair.
    pub outside: String,
    /// The namespace's address on the pair.
    pub inside: String,
}

impl Namespace {
    /// Makes a namespace and a pair of addresses, a /30 of `10.211.0.0/16`: another one for each of this process.
    ///
    /// # Errors
    /// When `ip` refuses; needs root.
    pub fn create() -> Result<Self> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let (process, number) = (std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let block = process.wrapping_mul(61).wrapping_add(number) % (1 << 14);
        let address = |host: u32| format!("10.211.{}.{}", block / 64, block % 64 * 4 + host);
        let (near, far) = (format!("wdo{process}-{number}"), format!("wdi{process}-{number}"));
        let name = format!("warder-{process}-{number}");
        let made = Self { name, near, outside: address(1), inside: address(2) };
        let near = &made.near;
        ip(&["netns", "add", &made.name])?;
        ip(&["link", "add", near, "type", "veth", "peer", "name", &far, "netns", &made.name])?;
        ip(&["address", "add", &format!("{}/30", made.outside), "dev", near])?;
        ip(&["link", "set", near, "up"])?;
        ip(&["-n", &made.name, "address", "add", &format!("{}/30", made.inside), "dev", &far])?;
        ip(&["-n", &made.name, "link", "set", &far, "up"])?;
        ip(&["-n", &made.name, "link", "set", "lo", "up"])?;
        Ok(made)
    }

    /// Words in front of a command that run it inside (`ip netns exec` would mount another /sys).
    #[must_use]
    pub fn enter(&self) -> Vec<String> {
        vec!["nsenter".into(), format!("--net={}", self.file().display())]
    }

    /// The namespace's file.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        PathBuf::from("/var/run/netns").join(&self.name)
    }

    /// Its inode, the number in the agent's records.
    ///
    /// # Errors
    /// When it has gone.
    pub fn inode(&self) -> Result<u64> {
        use std::os::unix::fs::MetadataExt;
        Ok(fs::metadata(self.file()).context("the namespace has gone")?.ino())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // The pair would go with the namespace, but later.
        if let Err(error) = ip(&["link", "delete", &self.near]) {
            eprintln!("warning: {error:#}");
        }
        if let Err(error) = ip(&["netns", "delete", &self.name]) {
            eprintln!("warning: {error:#}");
        }
    }
}

fn ip(words: &[&str]) -> Result<()> {
    process::run(Command::new("ip").args(words)).map(drop)
}
