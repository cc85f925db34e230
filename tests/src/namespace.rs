//! A network namespace of the test's own, joined to this one by a veth pair.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::process;

/// A named network namespace; removed with its veth pair when the value is dropped.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    /// This host's address on the pair.
    pub outside: String,
    /// The namespace's address on the pair.
    pub inside: String,
}

impl Namespace {
    /// Makes a namespace and a pair of addresses in `10.211.NUMBER.0/30`, NUMBER taken from this process's id.
    ///
    /// # Errors
    /// When `ip` refuses; needs root.
    pub fn create() -> Result<Self> {
        let number = std::process::id() % 250;
        let name = format!("warder-{}", std::process::id());
        let made = Self { outside: format!("10.211.{number}.1"), inside: format!("10.211.{number}.2"), name };
        let (near, far) = (format!("wdo{}", std::process::id()), format!("wdi{}", std::process::id()));
        ip(&["netns", "add", &made.name])?;
        ip(&["link", "add", &near, "type", "veth", "peer", "name", &far, "netns", &made.name])?;
        ip(&["address", "add", &format!("{}/30", made.outside), "dev", &near])?;
        ip(&["link", "set", &near, "up"])?;
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
        // The pair would go with the namespace, but later: the next test makes one of the same name.
        let near = format!("wdo{}", std::process::id());
        if let Err(error) = ip(&["link", "delete", &near]) {
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
