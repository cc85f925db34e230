//! The sockets of a network namespace, from the iterators.

use std::fs::File;
use std::io::Read as _;

use agent_common::scan::{SCANNED_PATH_BYTES, ScannedSocket};
use aya::Ebpf;
use aya::programs::Iter;
use aya::programs::iter::IterLink;

use crate::decode::{read, text_until_nul};
use crate::object::{LoadError, named};

/// `TCP_ESTABLISHED`, `TCP_CLOSE_WAIT`, `TCP_LISTEN` of the kernel's socket states.
pub(crate) const ESTABLISHED: u16 = 1;
pub(crate) const CLOSE_WAIT: u16 = 8;
pub(crate) const LISTEN: u16 = 10;

/// More than the kernel's own buffer for iterators (8 pages).
const ITERATOR_READ_BYTES: usize = 256 * 1024;

/// One socket with its path.
#[derive(Clone, Debug)]
pub(crate) struct Socket {
    pub(crate) scanned: ScannedSocket,
    pub(crate) path: String,
}

/// Why a namespace could not be scanned.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// The iterator programs.
    #[error("the socket iterators cannot be opened")]
    Iterator(#[from] LoadError),
    /// Reading.
    #[error("a socket iterator could not be read")]
    Read(#[from] std::io::Error),
}

/// Every TCP and Unix stream socket of the network namespace `namespace_of` (a process), or of the own one.
pub(crate) fn scan(ebpf: &mut Ebpf, namespace_of: Option<u32>) -> Result<Vec<Socket>, ScanError> {
    let mut sockets = Vec::new();
    for program in ["scan_tcp", "scan_unix"] {
        let link = link(ebpf, program)?;
        // A thread of its own: its network namespace is changed, and it ends with the scan.
        let bytes = std::thread::scope(|scope| {
            scope
                .spawn(move || read_in_namespace(link, namespace_of))
                .join()
                .unwrap_or_else(|_| Err(std::io::Error::other("the scanning thread ended abnormally")))
        })?;
        let record_bytes = size_of::<ScannedSocket>() + SCANNED_PATH_BYTES;
        sockets.extend(bytes.chunks_exact(record_bytes).filter_map(|record| {
            let (head, path) = record.split_at(size_of::<ScannedSocket>());
            Some(Socket { scanned: read(head)?, path: text_until_nul(path) })
        }));
    }
    Ok(sockets)
}

fn link(ebpf: &mut Ebpf, program: &'static str) -> Result<IterLink, LoadError> {
    let iterator: &mut Iter = named(ebpf, program)?;
    let id = iterator.attach().map_err(|source| LoadError::Program { program, source })?;
    iterator.take_link(id).map_err(|source| LoadError::Program { program, source })
}

fn read_in_namespace(link: IterLink, namespace_of: Option<u32>) -> std::io::Result<Vec<u8>> {
    if let Some(pid) = namespace_of {
        let namespace = File::open(format!("/proc/{pid}/ns/net"))?;
        nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET)?;
    }
    let mut file = link.into_file().map_err(std::io::Error::other)?;
    // Large reads: an iterator that has to stop in the middle of a hash bucket can miss sockets when it resumes
    // (measured on 6.18 with the small first read of `read_to_end`).
    let mut bytes = Vec::new();
    let mut buffer = vec![0; ITERATOR_READ_BYTES];
    loop {
        let length = file.read(&mut buffer)?;
        if length == 0 {
            return Ok(bytes);
        }
        bytes.extend_from_slice(buffer.get(..length).unwrap_or_default());
    }
}
