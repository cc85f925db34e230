//! The smallest proxy: for each client a hop that the steward opens, and bytes both ways.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use steering::exemptions::Exemptions;
use steering::heartbeat::Heartbeat;
use steering::identity::Peer;
use steering::spec::Slot;
use steering::steward::{Answer, Steward, TcpHop, UnixHop};

/// Source of the hops of remote clients.
pub(crate) const HOP_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 86, 0, 1));

/// Where hops go.
pub(crate) enum Upstream {
    /// To the client's original destination.
    Tcp { namespace: Arc<OwnedFd>, exemptions: Arc<Mutex<Exemptions>>, beats: (Heartbeat, Slot) },
    /// To a taken-over socket.
    Unix { server: Arc<OwnedFd> },
}

/// Ends when it is dropped.
pub(crate) struct Relay {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    pub(crate) fn start(listener: OwnedFd, steward: Arc<Steward>, upstream: Upstream) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        if let Upstream::Tcp { beats: (heartbeat, slot), .. } = &upstream {
            heartbeat.beat(*slot).expect("the clock");
        }
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                if let Upstream::Tcp { beats: (heartbeat, slot), .. } = &upstream {
                    heartbeat.beat(*slot).expect("the clock");
                }
                let mut waiting = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
                if poll(&mut waiting, PollTimeout::from(10u16)).unwrap_or(0) > 0 {
                    accept(&listener, &steward, &upstream);
                }
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn accept(listener: &OwnedFd, steward: &Steward, upstream: &Upstream) {
    let listener = listener.try_clone().expect("a descriptor");
    match upstream {
        Upstream::Tcp { namespace, exemptions, .. } => {
            let Ok((client, _)) = TcpListener::from(listener).accept() else { return };
            let (namespace, exemptions) = (Arc::clone(namespace), Some(Arc::clone(exemptions)));
            let hop = TcpHop::for_accepted(client.as_fd(), namespace, exemptions, &[HOP_ADDRESS], Box::new(|_| ()));
            let hop = hop.expect("addresses");
            steward.open_tcp(hop, joined(client.into()));
        }
        Upstream::Unix { server } => {
            let Ok((client, _)) = UnixListener::from(listener).accept() else { return };
            let peer = Peer::of(client.as_fd()).expect("a peer");
            steward
                .open_unix(UnixHop { server: Arc::clone(server), peer, mark: Box::new(|_| ()) }, joined(client.into()));
        }
    }
}

/// Joins a client with its hop when that stands.
fn joined(client: OwnedFd) -> Answer {
    let (answer, answers) = channel();
    std::thread::spawn(move || {
        let Ok(Ok(hop)) = answers.recv() else { return };
        let hop: steering::steward::Hop = hop;
        // The type is of no matter: both are read, written and shut down alike.
        let (client, server) = (TcpStream::from(client), TcpStream::from(hop.socket));
        let ends = [&client, &server].map(|end| end.set_nonblocking(false).and_then(|()| end.try_clone()));
        let [Ok(from_client), Ok(from_server)] = ends else { return };
        std::thread::spawn(move || pump(from_client, server));
        pump(from_server, client);
    });
    Box::new(move |result| {
        if let Err(error) = &result {
            eprintln!("no hop: {error}: {:?}", std::error::Error::source(error));
        }
        let _ = answer.send(result);
    })
}

fn pump(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = [0; 16384];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
