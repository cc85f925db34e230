//! The sockets of a network namespace, from the iterators.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::AsRawFd;

use agent_common::listener::UnixListener;
use agent_common::scan::{SCANNED_PATH_BYTES, ScannedSocket};
use agent_common::session::UNIX_PATH_MAX;
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
    /// The path byte by byte.
    pub(crate) name: [u8; UNIX_PATH_MAX],
}

impl Socket {
    /// What the kernel programs are to know of this Unix listener.
    pub(crate) const fn unix_listener(&self, database: u32) -> UnixListener {
        UnixListener { path: self.name, database }
    }
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
            Some(Socket { scanned: read(head)?, path: text_until_nul(path), name: *path.first_chunk()? })
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

/// `SO_COOKIE`: the kernel's identity of a socket.
pub(crate) fn socket_cookie(socket: &impl AsRawFd) -> Result<u64, std::io::Error> {
    let mut cookie: u64 = 0;
    let mut length = libc::socklen_t::try_from(size_of::<u64>()).expect("eight fits");
    // SAFETY: the kernel writes at most `length` bytes to `cookie`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    if result == 0 { Ok(cookie) } else { Err(std::io::Error::last_os_error()) }
}

/// The port that a TCP socket is bound to.
pub(crate) fn own_port(socket: &impl AsRawFd) -> Result<u16, std::io::Error> {
    let address: nix::sys::socket::SockaddrStorage = nix::sys::socket::getsockname(socket.as_raw_fd())?;
    let v4 = address.as_sockaddr_in().map(nix::sys::socket::SockaddrIn::port);
    let port = v4.or_else(|| address.as_sockaddr_in6().map(nix::sys::socket::SockaddrIn6::port));
    port.ok_or_else(|| std::io::Error::other("this is no TCP socket"))
}
