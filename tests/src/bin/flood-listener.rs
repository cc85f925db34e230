//! Listens on so many TCP sockets of loopback as the first argument says, says so in one line, and waits to be ended.
//! Has the functions by which a server with encryption is known; nobody calls them.

use std::net::{Ipv4Addr, TcpListener};

/// The functions of a server that carry plaintext.
macro_rules! functions_of_a_server {
    ($($name:ident)*) => {
        $(
            #[unsafe(no_mangle)]
            #[expect(unsafe_code, reason = "the name is what it is for, and no library of this program has it")]
            extern "C" fn $name() {}
        )*
        /// Keeps the linker from leaving them out.
        const FUNCTIONS: &[extern "C" fn()] = &[$($name),*];
    };
}

functions_of_a_server!(be_tls_read be_tls_write be_gssapi_read be_gssapi_write);

fn main() -> anyhow::Result<()> {
    std::hint::black_box(FUNCTIONS);
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
