//! A server that runs, and where.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use capture::witness::Witness;

use crate::kernel_process::access::{self, Access, Postmaster};

/// The server of a guarded database.
pub(super) struct Server {
    /// `None`: what listens there is no PostgreSQL server (a pooler).
    pub(super) postmaster: Option<Postmaster>,
    pub(super) namespace: Arc<OwnedFd>,
}

impl Server {
    pub(super) fn find(port: Option<u16>, witness: &Witness, database: u16) -> Result<Self> {
        let port = port.context("the database has no port in the configuration")?;
        let namespaces = witness.listeners_of(database);
        let namespace = namespaces.iter().find(|listener| listener.port == port).map(|found| found.network_namespace);
        let postmaster = Postmaster::find(port, namespace.map(u64::from)).ok();
        let namespace = match (&postmaster, namespace) {
            (Some(postmaster), _) => File::open(format!("/proc/{}/ns/net", postmaster.pid)).ok(),
            (None, Some(inode)) => access::network_namespace(u64::from(inode)),
            (None, None) => File::open("/proc/self/ns/net").ok(),
        };
        let namespace = namespace.context("the server's network namespace cannot be opened")?;
        Ok(Self { postmaster, namespace: Arc::new(namespace.into()) })
    }

    /// Whether what was found still runs, as far as that can be said.
    pub(super) fn is_alive(&self) -> bool {
        self.postmaster.as_ref().is_none_or(Postmaster::is_alive)
    }

    /// The access rules that hold for it.
    pub(super) fn access(&self, file: Option<&Path>) -> Result<Access> {
        match (&self.postmaster, file) {
            (Some(postmaster), file) => postmaster.access(file),
            (None, Some(file)) => Access::of_file(file),
            (None, None) => {
                bail!("no postmaster with this port was found: is the server running? set access_file otherwise")
            }
        }
    }
}
