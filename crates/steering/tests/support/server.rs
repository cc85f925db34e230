//! Servers that say who they are: one byte at the beginning, then they echo.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use anyhow::{Result, ensure};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use steering::heartbeat::Heartbeat;
use steering::listener::listen_plain;
use steering::spec::Slot;

use super::network::Place;

/// The database server's word.
pub(crate) const DATABASE: u8 = b'D';
/// The proxy's word.
pub(crate) const PROXY: u8 = b'P';

/// Accepts until it is dropped.
pub(crate) struct Server {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// The database.
    pub(crate) fn database(place: &Place, address: SocketAddr) -> Result<Self> {
        let listening = listen_plain(place.file().as_fd(), address)?;
        Ok(Self::serve(listening.socket, DATABASE, None))
    }

    /// A worker of the proxy, with its heartbeat.
    pub(crate) fn proxy(socket: OwnedFd, heartbeat: Heartbeat, slot: Slot) -> Self {
        Self::serve(socket, PROXY, Some((heartbeat, slot)))
    }

    fn serve(socket: OwnedFd, word: u8, heartbeat: Option<(Heartbeat, Slot)>) -> Self {
        let listener = TcpListener::from(socket);
        let address = listener.local_addr().expect("it listens");
        let stop = Arc::new(AtomicBool::new(false));
        let (begun, begins) = std::sync::mpsc::channel();
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let turn = || {
                let mut waiting = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
                if poll(&mut waiting, PollTimeout::from(10u16)).unwrap_or(0) == 0 {
                    return false;
                }
                while let Ok((stream, _)) = listener.accept() {
                    std::thread::spawn(move || answer(stream, word));
                }
                true
            };
            while !stopped.load(Ordering::Relaxed) {
                if let Some((heartbeat, slot)) = &heartbeat {
                    heartbeat.beat(*slot).expect("the clock");
                }
                let _ = begun.send(());
                turn();
            }
            // A drain: what is in the queue, and what was on its way into it.
            while turn() {}
        });
        begins.recv().expect("the server's first turn");
        Self { stop, thread: Some(thread), address }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn answer(mut stream: TcpStream, word: u8) {
    let _ = stream.set_nonblocking(false);
    if stream.write_all(&[word]).is_err() {
        return;
    }
    let mut buffer = [0; 512];
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..read]).is_err() {
            return;
        }
    }
}

/// Who answers on a new connection.
pub(crate) fn who(stream: &mut TcpStream) -> Result<u8> {
    let mut word = [0];
    stream.read_exact(&mut word)?;
    Ok(word[0])
}

/// Whether the connection carries bytes both ways.
pub(crate) fn check_echo(stream: &mut TcpStream) -> Result<()> {
    stream.write_all(b"still here")?;
    let mut back = [0; 10];
    stream.read_exact(&mut back)?;
    ensure!(&back == b"still here", "another answer");
    Ok(())
}

/// Cookie of a socket.
pub(crate) fn cookie(socket: &impl AsRawFd) -> u64 {
    let (mut value, mut length) = (0u64, 8u32);
    // SAFETY: the kernel writes at most `length` bytes.
    #[expect(unsafe_code, reason = "SO_COOKIE has no wrapper")]
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_COOKIE,
            (&raw mut value).cast(),
            &raw mut length,
        )
    };
    assert_eq!(result, 0, "SO_COOKIE");
    value
}
