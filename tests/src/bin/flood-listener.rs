//! Listens on so many TCP sockets of loopback as the first argument says, says so in one line, and waits to be ended.

use std::net::{Ipv4Addr, TcpListener};

fn main() -> anyhow::Result<()> {
    let count: u32 = std::env::args().nth(1).unwrap_or_default().parse()?;
    let limit = u64::from(count) + 64;
    nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE, limit, limit)?;
    let listeners: Result<Vec<_>, _> = (0..count).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect();
    let listeners = listeners?;
    println!("{} listeners", listeners.len());
    loop {
        std::thread::park();
    }
}
