//! Proof before use: the programs observe two connections of our own, and what they read through BTF offsets is
//! compared with `/proc`, `getsockname` and `SO_COOKIE`. Wrong offsets fail silently; this is where they are caught.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdTcpListener, TcpStream};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixListener, UnixStream};

use agent_common::content::Content;
use agent_common::listener::{TcpListener, UnixListener as UnixKernelListener};
use agent_common::process::{ARGUMENTS_TRUNCATED, Identified};
use agent_common::session::{LEG_FRONT, LEG_HOP, Opened, UNIX_PATH_MAX};
use agent_common::{ABI_VERSION, Header, kind};
use aya::maps::RingBuf;
use model::id::SocketCookie;

use crate::decode::{address, read, text_until_nul};
use crate::marks::HopContent;
use crate::object::LoadError;
use crate::processes::{self, CommandLines};
use crate::sockets::{ScanError, scan, socket_cookie};
use crate::witness::{Witness, WitnessError};

/// Why the programs are not trusted.
#[derive(Debug, thiserror::Error)]
pub enum SelfTestError {
    /// Maps or iterators.
    #[error(transparent)]
    Witness(#[from] WitnessError),
    /// Our own sockets.
    #[error("the self-test could not open its own sockets")]
    Io(#[from] std::io::Error),
    /// What the kernel programs said differs from the truth.
    #[error("the eBPF programs do not read this kernel correctly, so Warder will not report: {0}")]
    Mismatch(String),
}

/// Database id of the self-test's listeners; no configured database has it.
const DATABASE: u32 = u16::MAX as u32;
/// A start-up packet of protocol 3.0 with no parameters: content that the programs copy.
const GREETING: [u8; 9] = [0, 0, 0, 9, 0, 3, 0, 0, 0];

/// What the ring held after one connection.
#[derive(Default)]
struct Seen {
    opened: Vec<Opened>,
    connected: Vec<Identified>,
    owned: Vec<Identified>,
    /// Of each session by the cookie of its socket: databases that are observed already are in use meanwhile.
    content: HashMap<u64, Vec<u8>>,
}

impl Seen {
    fn content_of(&self, cookie: u64) -> &[u8] {
        self.content.get(&cookie).map_or(&[], Vec::as_slice)
    }
}

/// Differences between what was seen and what is true.
#[derive(Default)]
struct Differences(Vec<String>);

impl Differences {
    fn compare<T: PartialEq + std::fmt::Debug>(&mut self, what: &str, kernel: T, truth: T) {
        if kernel != truth {
            self.0.push(format!("{what}: kernel programs read {kernel:?}, it is {truth:?}"));
        }
    }
}

/// Runs the self-test. Must come before the ring is handed to the core: it empties it.
///
/// # Errors
/// [`SelfTestError::Mismatch`] names every field that was read wrongly.
pub fn run(witness: &mut Witness, capture_arguments: bool) -> Result<(), SelfTestError> {
    let mut differences = Differences::default();
    over_tcp(witness, &mut differences, capture_arguments)?;
    over_unix(witness, &mut differences)?;
    through_proxy(witness, &mut differences)?;
    through_taken_over_socket(witness, &mut differences)?;
    if differences.0.is_empty() { Ok(()) } else { Err(SelfTestError::Mismatch(differences.0.join("; "))) }
}

fn over_tcp(
    witness: &mut Witness,
    differences: &mut Differences,
    capture_arguments: bool,
) -> Result<(), SelfTestError> {
    let listener = StdTcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    let network_namespace = processes::namespace(std::process::id(), "net").unwrap_or_default();
    let address_bytes = Ipv4Addr::LOCALHOST.to_ipv6_mapped().octets();
    let key = TcpListener { address: address_bytes, network_namespace, port, reserved: 0 };
    witness.watch_port(port, u32::MAX)?;
    witness.map::<TcpListener, u32>("TCP_LISTENERS")?.insert(key, DATABASE, 0).map_err(WitnessError::from)?;
    let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    let client_address = client.local_addr()?;
    let mut server = accept_from(&listener, client_address)?;
    client.write_all(&GREETING)?;
    server.read_exact(&mut [0; GREETING.len()])?;
    witness.map::<u16, u32>("PORTS")?.remove(&port).map_err(WitnessError::from)?;
    witness.map::<TcpListener, u32>("TCP_LISTENERS")?.remove(&key).map_err(WitnessError::from)?;
    let (client_cookie, server_cookie) = (socket_cookie(&client)?, socket_cookie(&server)?);
    let server_address = server.local_addr()?;
    drop((client, server));
    let seen = drain(witness)?;

    let Some(opened) = seen.opened.iter().find(|opened| opened.cookie == server_cookie) else {
        differences.0.push("a TCP connection was not seen".into());
        return Ok(());
    };
    differences.compare("version of the records", opened.header.abi, ABI_VERSION);
    let ends = opened.endpoints;
    differences.compare("server address", address(ends.own, ends.own_port), server_address);
    differences.compare("client address", address(ends.peer, ends.peer_port), client_address);
    differences.compare("network namespace", ends.network_namespace, network_namespace);
    differences.compare("client of a TCP session", opened.client_cookie, client_cookie);
    differences.compare("content", seen.content_of(server_cookie), &GREETING);
    for (role, identified) in [("client", seen.connected.first()), ("server", seen.owned.first())] {
        match identified {
            Some(identified) => compare_process(role, identified, differences, capture_arguments),
            None => differences.0.push(format!("the {role} process of a TCP connection was not seen")),
        }
    }
    Ok(())
}

fn over_unix(witness: &mut Witness, differences: &mut Differences) -> Result<(), SelfTestError> {
    let name = own_name("server");
    let address = UnixAddress::from_abstract_name(&name)?;
    let listener = UnixListener::bind_addr(&address)?;
    let text = format!("@{name}");
    let sockets = scan(&mut witness.ebpf, None).map_err(|error: ScanError| WitnessError::from(error))?;
    let Some(bound) = sockets.iter().find(|socket| socket.path == text) else {
        differences.0.push("a bound Unix socket was not found by the iterator".into());
        return Ok(());
    };
    // The kernel uses the memory of an address again, for a socket with another name.
    let key = bound.scanned.bound_address;
    let other = UnixKernelListener { path: [0; UNIX_PATH_MAX], database: DATABASE };
    let (_, cookie) = connect_unix(witness, &listener, &address, (key, other))?;
    let is_seen = drain(witness)?.opened.iter().any(|opened| opened.cookie == cookie);
    differences.compare("session of a listener with another name", is_seen, false);
    let known = (key, bound.unix_listener(DATABASE));
    let (client_cookie, server_cookie) = connect_unix(witness, &listener, &address, known)?;
    let seen = drain(witness)?;
    let Some(opened) = seen.opened.iter().find(|opened| opened.cookie == server_cookie) else {
        differences.0.push("a Unix connection was not seen".into());
        return Ok(());
    };
    differences.compare("Unix socket path", text_until_nul(&opened.path), text);
    differences.compare("Unix peer pid", opened.peer_pid, std::process::id());
    differences.compare("Unix peer uid", opened.peer_uid, nix::unistd::geteuid().as_raw());
    differences.compare("client of a Unix session", opened.client_cookie, client_cookie);
    differences.compare("Unix clients identified", seen.connected.len(), 1);
    Ok(())
}

/// The two legs of a connection through the proxy.
fn through_proxy(witness: &mut Witness, differences: &mut Differences) -> Result<(), SelfTestError> {
    let front = StdTcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    witness.mark_front(front.as_fd(), u16::MAX)?;
    let front_address = front.local_addr()?;
    let client = TcpStream::connect(front_address)?;
    let accepted = accept_from(&front, client.local_addr()?)?;
    let server = StdTcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let server_address = server.local_addr()?;
    witness.watch_port(server_address.port(), DATABASE - 1)?;
    let upstream = nix::sys::socket::socket(
        nix::sys::socket::AddressFamily::Inet,
        nix::sys::socket::SockType::Stream,
        nix::sys::socket::SockFlag::SOCK_CLOEXEC,
        None,
    )
    .map_err(std::io::Error::from)?;
    let upstream_cookie = socket_cookie(&upstream)?;
    let marks = witness.marks();
    marks.hop(SocketCookie(upstream_cookie), HopContent::Counted).map_err(WitnessError::from)?;
    let SocketAddr::V4(address) = server_address else { unreachable!("bound to an IPv4 address") };
    let address = nix::sys::socket::SockaddrIn::from(address);
    nix::sys::socket::connect(upstream.as_raw_fd(), &address).map_err(std::io::Error::from)?;
    let mut upstream = TcpStream::from(upstream);
    let mut served = accept_from(&server, upstream.local_addr()?)?;
    upstream.write_all(&GREETING)?;
    served.read_exact(&mut [0; GREETING.len()])?;
    marks.forget_hop(SocketCookie(upstream_cookie));
    for port in [front_address.port(), server_address.port()] {
        witness.map::<u16, u32>("PORTS")?.remove(&port).map_err(WitnessError::from)?;
    }
    let (front_cookie, hop_cookie) = (socket_cookie(&accepted)?, socket_cookie(&served)?);
    drop((client, accepted, upstream, served));
    let seen = drain(witness)?;
    let find = |cookie| seen.opened.iter().find(|opened| opened.cookie == cookie).map(|opened| opened.leg);
    differences.compare("leg of a client's connection to the proxy", find(front_cookie), Some(LEG_FRONT));
    differences.compare("leg of the proxy's connection", find(hop_cookie), Some(LEG_HOP));
    let of_hop = seen.opened.iter().find(|opened| opened.cookie == hop_cookie).map(|opened| opened.client_cookie);
    differences.compare("the proxy's socket", of_hop, Some(upstream_cookie));
    differences.compare("content of the proxy's connection", seen.content_of(hop_cookie), &[]);
    Ok(())
}

/// A client of the Unix socket in a database's place.
fn through_taken_over_socket(witness: &mut Witness, differences: &mut Differences) -> Result<(), SelfTestError> {
    let address = UnixAddress::from_abstract_name(own_name("front"))?;
    let listener = UnixListener::bind_addr(&address)?;
    witness.mark_front_unix(listener.as_fd(), u16::MAX)?;
    let mut client = UnixStream::connect_addr(&address)?;
    let (mut accepted, _) = listener.accept()?;
    client.write_all(&GREETING)?;
    accepted.read_exact(&mut [0; GREETING.len()])?;
    let (client_cookie, cookie) = (socket_cookie(&client)?, socket_cookie(&accepted)?);
    witness.marks().forget_front(SocketCookie(cookie));
    let seen = drain(witness)?;
    let opened = seen.opened.iter().find(|opened| opened.cookie == cookie);
    differences.compare("leg of a Unix client", opened.map(|opened| opened.leg), Some(LEG_FRONT));
    differences.compare("Unix client", opened.map(|opened| opened.client_cookie), Some(client_cookie));
    differences.compare("Unix clients identified at the proxy", seen.connected.len(), 1);
    Ok(())
}

/// An abstract name: no folder that cannot be written, or in which somebody else has made it before.
fn own_name(purpose: &str) -> String {
    let start = processes::start(std::process::id()).unwrap_or(0);
    format!("warder-selftest-{purpose}-{}-{start}", std::process::id())
}

/// Anybody may connect to the port meanwhile.
fn accept_from(listener: &StdTcpListener, client: SocketAddr) -> Result<TcpStream, std::io::Error> {
    loop {
        let (server, from) = listener.accept()?;
        if from == client {
            return Ok(server);
        }
    }
}

fn connect_unix(
    witness: &mut Witness,
    listener: &UnixListener,
    address: &UnixAddress,
    (key, known): (u64, UnixKernelListener),
) -> Result<(u64, u64), SelfTestError> {
    let mut listeners = witness.map::<u64, UnixKernelListener>("UNIX_LISTENERS")?;
    listeners.insert(key, known, 0).map_err(WitnessError::from)?;
    let mut client = UnixStream::connect_addr(address)?;
    let (mut server, _) = listener.accept()?;
    client.write_all(&GREETING)?;
    server.read_exact(&mut [0; GREETING.len()])?;
    witness.map::<u64, UnixKernelListener>("UNIX_LISTENERS")?.remove(&key).map_err(WitnessError::from)?;
    let cookies = (socket_cookie(&client)?, socket_cookie(&server)?);
    let mut sessions = witness.map::<u64, agent_common::session::Session>("SESSIONS")?;
    // It has no entry where it is no session.
    let _ = sessions.remove(&cookies.1);
    Ok(cookies)
}

fn drain(witness: &mut Witness) -> Result<Seen, SelfTestError> {
    let map = witness.ebpf.map_mut("EVENTS").ok_or(WitnessError::Load(LoadError::Missing("EVENTS")))?;
    let mut ring = RingBuf::try_from(map).map_err(WitnessError::from)?;
    let own = std::process::id();
    let mut seen = Seen::default();
    while let Some(record) = ring.next() {
        let Some(header) = read::<Header>(&record) else { continue };
        match header.kind {
            kind::OPENED => seen.opened.extend(read::<Opened>(&record)),
            kind::CONNECTED => seen.connected.extend(read::<Identified>(&record).filter(|seen| seen.pid == own)),
            kind::OWNED => seen.owned.extend(read::<Identified>(&record).filter(|seen| seen.pid == own)),
            kind::CONTENT => {
                if let Some(content) = read::<Content>(&record) {
                    let start = size_of::<Content>();
                    let bytes = record.get(start..start + content.bytes as usize).unwrap_or_default();
                    seen.content.entry(content.cookie).or_default().extend(bytes);
                }
            }
            _ => {}
        }
    }
    Ok(seen)
}

fn compare_process(role: &str, kernel: &Identified, differences: &mut Differences, capture_arguments: bool) {
    /// `OVERLAYFS_SUPER_MAGIC`: inode numbers that stat(2) shows are not those of the kernel's inode.
    const OVERLAY: i64 = 0x794c_7630;
    /// Clock tick of `/proc/PID/stat`.
    const TICK: u64 = 10_000_000;
    let command_lines = if capture_arguments { CommandLines::Read } else { CommandLines::Leave };
    let Some(truth) = processes::identify(std::process::id(), 0, 0, 0, 0, command_lines) else {
        differences.0.push("/proc/self cannot be read".into());
        return;
    };
    let mut compare = |what: &str, kernel: u64, truth: u64| {
        differences.compare(&format!("{what} of the {role} process"), kernel, truth);
    };
    compare("start time", kernel.start / TICK, truth.start / TICK);
    compare("uid", kernel.uid.into(), truth.uid.into());
    compare("gid", kernel.gid.into(), truth.gid.into());
    compare("login uid", kernel.login_uid.into(), truth.login_uid.into());
    compare("terminal", kernel.tty.into(), truth.tty.into());
    compare("mount namespace", kernel.mount_namespace.into(), truth.mount_namespace.into());
    if truth.cgroup != 0 {
        compare("cgroup", kernel.cgroup, truth.cgroup);
    }
    compare("number of ancestors", kernel.ancestors_used.into(), truth.ancestors_used.into());
    for (kernel, truth) in kernel.ancestors.iter().zip(&truth.ancestors).take(truth.ancestors_used as usize) {
        compare("an ancestor's pid", kernel.pid.into(), truth.pid.into());
        compare("an ancestor's uid", kernel.uid.into(), truth.uid.into());
        compare("an ancestor's start", kernel.start / TICK, truth.start / TICK);
    }
    if !own_executable_is_on(OVERLAY) {
        compare("executable inode", kernel.executable_inode, truth.executable_inode);
        compare("executable change time", kernel.executable_changed_seconds, truth.executable_changed_seconds);
        compare("change time", kernel.executable_changed_nanos.into(), truth.executable_changed_nanos.into());
    }
    differences.compare("process name", text_until_nul(&kernel.name), text_until_nul(&truth.name));
    // A walk to the root of the mount namespace sees more than /proc shows inside a chroot.
    let (path, shown) = (names(kernel), names(&truth));
    differences.compare("executable path", path.starts_with(&shown), true);
    if capture_arguments && (kernel.flags | truth.flags) & ARGUMENTS_TRUNCATED == 0 {
        let bytes = |record: &Identified| record.arguments.get(..record.arguments_bytes as usize).map(<[u8]>::to_vec);
        differences.compare("command line", bytes(kernel), bytes(&truth));
    }
}

/// Path components, leaf first.
fn names(record: &Identified) -> Vec<u8> {
    record.path.get(..record.path_bytes as usize).unwrap_or_default().to_vec()
}

fn own_executable_is_on(magic: i64) -> bool {
    let Ok(file) = std::fs::File::open("/proc/self/exe") else { return false };

    nix::sys::statfs::fstatfs(&file).is_ok_and(|found| found.filesystem_type().0 == magic)
}
