//! A client that connects through io_uring, where no `connect` system call is made.
//!
//! usage: `uring-client PORT STATEMENT`; TCP on loopback, `trust`.

#![expect(unsafe_code, reason = "submitting an io_uring entry is unsafe by nature")]

use std::net::TcpStream;
use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Result, ensure};
use io_uring::{IoUring, opcode, types};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, SockaddrLike, socket};
use warder_tests::wire::{RawClient, terminate};

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [port, statement] = words.as_slice() else {
        anyhow::bail!("usage: uring-client PORT STATEMENT");
    };
    let connected = connect(port.parse()?).context("io_uring connect")?;
    let mut client = RawClient::connected(TcpStream::from(connected))?;
    client.login()?;
    client.query(statement)?;
    client.send(&terminate())
}

fn connect(port: u16) -> Result<OwnedFd> {
    let mut ring = IoUring::new(2)?;
    let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    let address = SockaddrIn::new(127, 0, 0, 1, port);
    let entry = opcode::Connect::new(types::Fd(socket.as_raw_fd()), address.as_ptr().cast(), address.len()).build();
    // SAFETY: `socket` and `address` live until the completion below has been taken.
    unsafe { ring.submission().push(&entry)? };
    ring.submit_and_wait(1)?;
    let completion = ring.completion().next().context("no completion")?;
    ensure!(completion.result() == 0, "connect ended with {}", completion.result());
    Ok(socket)
}
