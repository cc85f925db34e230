//! Who a process of this host is: what the kernel process can say of it, the hash of its executable, and the rules of
//! the configuration.

use std::cell::{Cell, RefCell};
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use identity::hashes::{self, FileHash, Hashes, Unresolved};
use identity::place;
use identity::process_rules::{Attested, ProcessRules};
use model::Known;
use model::principal::{Principal, UnknownPrincipal};
use model::process::{Executable, Process, ProcessKey};
use policy::ProcessContext;
use tokio::io::unix::AsyncFd;
use tokio::sync::Semaphore;
use tokio::task::{spawn_blocking, spawn_local};
use tokio::time::timeout;

use super::questions::Questions;
use crate::link::{Link, ToKernel};

/// How long the kernel process may take: it may be in the middle of a scan.
const DESCRIPTION_PATIENCE: Duration = Duration::from_millis(400);
/// How long a connection waits for a hash. A larger file is read to its end all the same, for the next one.
const HASH_PATIENCE: Duration = Duration::from_millis(400);
/// Files that are read or wait for it; each is open meanwhile.
const HASHING_MAX: usize = 64;

/// Finds out who processes are.
pub(super) struct Attestation {
    rules: ProcessRules,
    mount_namespace: u32,
    kernel: Rc<AsyncFd<Link>>,
    asked: Questions<Described>,
    hashes: RefCell<Hashes>,
    /// One file is read at a time: more would take the processors from the database.
    turn: Arc<Semaphore>,
    hashing: Cell<usize>,
}

/// What the kernel process says of a process.
pub(super) struct Described {
    pub(super) cgroup: Option<String>,
    pub(super) executable: Option<OwnedFd>,
}

impl Attestation {
    pub(super) fn new(rules: ProcessRules, kernel: Rc<AsyncFd<Link>>) -> Result<Self> {
        let namespace = fs::metadata("/proc/self/ns/mnt").context("the mount namespace is not known")?.ino();
        Ok(Self {
            rules,
            mount_namespace: u32::try_from(namespace).context("the mount namespace has an impossible number")?,
            kernel,
            asked: Questions::new(),
            hashes: RefCell::default(),
            turn: Arc::new(Semaphore::new(1)),
            hashing: Cell::new(0),
        })
    }

    /// The kernel process has answered.
    pub(super) fn described(&self, request: u64, described: Described) {
        self.asked.answered(request, described);
    }

    /// Who a process is, and what policies may know of it.
    pub(super) async fn attest(
        self: &Rc<Self>,
        process: &Process,
    ) -> (Known<Principal, UnknownPrincipal>, ProcessContext) {
        let Described { cgroup, executable } = self.describe(process.key).await;
        let sha256 = self.hash(&process.executable, executable).await;
        let attested = Attested {
            process,
            sha256,
            cgroup: cgroup.as_deref().map_or(Known::Unknown(Unresolved::Gone), Known::Known),
            agent_mount_namespace: self.mount_namespace,
        };
        let principal = match self.rules.find(&attested) {
            Some(verified) => Known::Known(verified.principal().clone()),
            None => Known::Unknown(UnknownPrincipal::NoProof),
        };
        let sha256 = attested.sha256.known().map(|hash| hash.0);
        (principal, context(process, sha256, cgroup.as_deref()))
    }

    async fn describe(&self, process: ProcessKey) -> Described {
        let ask = |request| ToKernel::Describe { request, pid: process.pid, start: process.start.0 };
        let described = self.asked.ask(&self.kernel, ask, &[], DESCRIPTION_PATIENCE).await;
        described.unwrap_or(Described { cgroup: None, executable: None })
    }

    async fn hash(self: &Rc<Self>, executable: &Arc<Executable>, file: Option<OwnedFd>) -> Known<FileHash, Unresolved> {
        if let Some(hash) = self.hashes.borrow().known(executable) {
            return Known::Known(hash);
        }
        let Some(file) = file else { return Known::Unknown(Unresolved::Gone) };
        if self.hashing.get() >= HASHING_MAX {
            return Known::Unknown(Unresolved::Unreadable);
        }
        self.hashing.set(self.hashing.get() + 1);
        let learning = spawn_local(Rc::clone(self).learn(Arc::clone(executable), file.into()));
        match timeout(HASH_PATIENCE, learning).await {
            Ok(Ok(Ok(hash))) => Known::Known(hash),
            Ok(Ok(Err(reason))) => Known::Unknown(reason),
            Ok(Err(_)) | Err(_) => Known::Unknown(Unresolved::Unreadable),
        }
    }

    /// Reads a file to its end, also when nobody waits any more.
    async fn learn(self: Rc<Self>, executable: Arc<Executable>, file: File) -> Result<FileHash, Unresolved> {
        let turn = Arc::clone(&self.turn).acquire_owned().await;
        let known = self.hashes.borrow().known(&executable);
        let found = match known {
            Some(hash) => Ok(hash),
            None => {
                let read = Arc::clone(&executable);
                let hashed = spawn_blocking(move || hashes::hash(&read, file)).await;
                hashed.unwrap_or(Err(Unresolved::Unreadable))
            }
        };
        drop(turn);
        self.hashing.set(self.hashing.get().saturating_sub(1));
        if let Ok(hash) = found {
            self.hashes.borrow_mut().keep(&executable, hash);
        }
        found
    }
}

/// A process as policies see it.
fn context(process: &Process, exe_sha256: Option<[u8; 32]>, cgroup: Option<&str>) -> ProcessContext {
    let executable = &process.executable;
    let path = if executable.memory || executable.deleted || executable.truncated {
        // A path that leads to another file, or to none, is no identity.
        format!("?{}", executable.path)
    } else {
        executable.path.clone()
    };
    ProcessContext {
        exe: path.into(),
        exe_sha256,
        uid: process.uid,
        login_uid: process.login_uid,
        cgroup: cgroup.map(Arc::from),
        unit: cgroup.and_then(place::unit).map(Arc::from),
        ancestors: process.ancestors.iter().map(|ancestor| Arc::from(ancestor.name.as_str())).collect(),
        tty: process.tty.is_some(),
    }
}
