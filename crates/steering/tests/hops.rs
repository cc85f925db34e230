//! Hops over TCP: they reach the server through steering, and nobody else does.

mod support;

use std::io::Read;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, connect, listen, setsockopt, socket, sockopt,
};
use steering::exemptions::Exemptions;
use steering::namespace;
use steering::spec::FailMode;
use steering::steering::Steering;
use steering::steward::{Hop, HopError, IN_FLIGHT_MAX, Mark, Source, Steward, TcpHop};
use support::network::Place;
use support::scene::{Scene, spec};
use support::server::{DATABASE, PROXY, Server, cookie, who};

struct Steered {
    scene: Scene,
    steering: Steering,
    _workers: Vec<Server>,
    exemptions: Arc<Mutex<Exemptions>>,
    namespace: Arc<OwnedFd>,
}

impl Steered {
    fn create(mode: FailMode) -> Result<Self> {
        let scene = Scene::create()?;
        let mut prepared = scene.prepared(&spec(mode))?;
        let workers = scene.workers(&mut prepared.controls, 1)?;
        let steering = scene.attach(prepared)?;
        let exemptions = Arc::new(Mutex::new(steering.controls.exemptions()?));
        let namespace = Arc::new(scene.network.inside.file().try_clone()?.into());
        Ok(Self { scene, steering, _workers: workers, exemptions, namespace })
    }

    fn hop(&self, source: Option<IpAddr>, destination: SocketAddr) -> TcpHop {
        let source = source.map_or(Source::Route, Source::Address);
        let (namespace, exemptions) = (Arc::clone(&self.namespace), Some(Arc::clone(&self.exemptions)));
        TcpHop { namespace, source, destination, exemptions, mark: Box::new(|_| ()) }
    }
}

fn opened(steward: &Steward, hop: TcpHop) -> Result<Result<Hop, HopError>> {
    ask(steward, hop).recv().context("the steward answers")
}

fn ask(steward: &Steward, hop: TcpHop) -> Receiver<Result<Hop, HopError>> {
    let (answer, answers) = channel();
    steward.open_tcp(hop, Box::new(move |result| drop(answer.send(result))));
    answers
}

fn quiet() -> Result<Steward> {
    Ok(Steward::start()?)
}

#[test]
fn a_hop_reaches_the_server_and_others_do_not() -> Result<()> {
    let steered = Steered::create(FailMode::Closed)?;
    let (marked, marks) = channel();
    let steward = Steward::start()?;
    let home = namespace::own()?;
    for (number, (place, destination)) in steered.scene.ways().into_iter().enumerate() {
        let source = destination.ip().is_loopback().then_some(destination.ip());
        let marked = marked.clone();
        let mark: Mark = Box::new(move |cookie| marked.send(cookie).expect("the test waits"));
        let hop = opened(&steward, TcpHop { mark, ..steered.hop(source, destination) })??;
        assert_eq!(marks.recv()?, hop.cookie);
        assert_eq!(hop.cookie.0, cookie(&hop.socket));
        let mut stream = TcpStream::from(hop.socket);
        stream.set_nonblocking(false)?;
        assert!(stream.nodelay()?);
        assert_eq!(stream.peer_addr()?, destination);
        assert_eq!(stream.local_addr()?.ip(), source.unwrap_or(destination.ip()));
        assert_eq!(who(&mut stream)?, DATABASE, "{destination}");
        assert_eq!(who(&mut place.connect(destination)?)?, PROXY, "{destination}");
        assert_eq!(steered.steering.controls.counters()?.exempt, number as u64 + 1);
    }
    assert_eq!(namespace::own()?, home);
    assert_eq!(steward.in_flight(), 0);
    Ok(())
}

/// The exemption is for one address and port, and only as long as it lasts.
#[test]
fn an_exemption_is_exact() -> Result<()> {
    let steered = Steered::create(FailMode::Closed)?;
    let inside = &steered.scene.network.inside;
    for (place, destination) in steered.scene.ways() {
        let own = |port| match (destination.ip(), std::ptr::eq(place, inside)) {
            (address, true) => SocketAddr::new(address, port),
            (IpAddr::V4(_), false) => SocketAddr::new(place.v4, port),
            (IpAddr::V6(_), false) => SocketAddr::new(place.v6, port),
        };
        let ask = |port| who(&mut connect_from(place, own(port), destination)?);
        let lock = || steered.exemptions.lock().expect("no panic");
        lock().exempt(own(20001), destination, Duration::from_secs(60))?;
        assert_eq!([ask(20000)?, ask(20001)?, ask(20002)?], [PROXY, DATABASE, PROXY], "{destination}");
        assert!(lock().exempt(own(20001), destination, Duration::from_secs(60)).is_err(), "twice");
        lock().clear(own(20001), destination)?;
        lock().clear(own(20001), destination)?;
        assert_eq!(ask(20001)?, PROXY, "cleared");
        lock().exempt(own(20003), destination, Duration::ZERO)?;
        assert_eq!(ask(20003)?, PROXY, "over");
        lock().exempt(own(20003), destination, Duration::from_secs(60))?;
        assert_eq!(ask(20003)?, DATABASE, "what is over can be given again");
        lock().clear_all()?;
    }
    Ok(())
}

/// Connects from an exact port, and leaves no connection behind that holds it.
fn connect_from(place: &Place, source: SocketAddr, destination: SocketAddr) -> Result<TcpStream> {
    let family = if source.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let stream = namespace::inside(place.file().as_fd(), || {
        let opened = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
        setsockopt(&opened, sockopt::ReuseAddr, &true)?;
        setsockopt(&opened, sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 })?;
        bind(opened.as_raw_fd(), &SockaddrStorage::from(source))?;
        connect(opened.as_raw_fd(), &SockaddrStorage::from(destination))?;
        Ok(TcpStream::from(opened))
    })?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    Ok(stream)
}

#[test]
fn errors_are_those_of_the_system() -> Result<()> {
    let steered = Steered::create(FailMode::Open)?;
    let steward = quiet()?;
    let inside = &steered.scene.network.inside;
    let error = |source: Option<IpAddr>, destination: &str| -> Result<(&'static str, Option<i32>)> {
        let result = opened(&steward, steered.hop(source, destination.parse()?))?;
        Ok(match result.expect_err("no hop") {
            HopError::Connect(source) => ("connect", source.raw_os_error()),
            HopError::Begin { source, .. } => ("begin", source.raw_os_error()),
            _ => ("other", None),
        })
    };
    assert_eq!(error(None, "127.0.0.1:1")?, ("connect", Some(libc::ECONNREFUSED)));
    assert_eq!(error(None, "[::1]:1")?, ("connect", Some(libc::ECONNREFUSED)));
    assert_eq!(error(None, "192.0.2.1:5432")?, ("connect", Some(libc::ENETUNREACH)));
    let foreign = Some("192.0.2.7".parse()?);
    assert_eq!(error(foreign, "127.0.0.1:5432")?, ("begin", Some(libc::EADDRNOTAVAIL)));
    assert_eq!(error(Some(inside.v6), "127.0.0.1:5432")?, ("begin", Some(libc::EAFNOSUPPORT)));
    // The source of a remote client is a reserved address of loopback.
    let hop = opened(&steward, steered.hop(Some("127.86.0.1".parse()?), SocketAddr::new(inside.v4, 5432)))??;
    assert_eq!(TcpStream::from(hop.socket).local_addr()?.ip(), "127.86.0.1".parse::<IpAddr>()?);
    Ok(())
}

/// The server sees a client of its own host as it is, and others by the reserved address.
#[test]
fn the_source_is_the_clients_where_it_can_be() -> Result<()> {
    let steered = Steered::create(FailMode::Open)?;
    let steward = quiet()?;
    let (inside, outside) = (&steered.scene.network.inside, &steered.scene.network.outside);
    let (v4, v6) = (SocketAddr::new(inside.v4, 5432), SocketAddr::new(inside.v6, 5432));
    let reserved: IpAddr = "127.86.0.1".parse()?;
    let far_loopback: IpAddr = "127.3.4.5".parse()?;
    // Client, reserved address, destination, source.
    let cases = [
        (inside.v4, Some(reserved), v4, inside.v4),
        (far_loopback, Some(reserved), "127.0.0.1:5432".parse()?, far_loopback),
        (outside.v4, Some(reserved), v4, reserved),
        (outside.v4, None, v4, inside.v4),
        (inside.v6, None, v6, inside.v6),
        (outside.v6, None, v6, inside.v6),
        ("192.0.2.9".parse()?, Some(reserved), v4, reserved),
    ];
    // A host where every address can be bound is no host that has every address.
    let nonlocal = "/proc/sys/net/ipv4/ip_nonlocal_bind";
    namespace::inside(inside.file().as_fd(), || std::fs::write(nonlocal, "1"))?;
    for (address, otherwise, destination, expected) in cases {
        let source = Source::Client { address, otherwise };
        let hop = opened(&steward, TcpHop { source, ..steered.hop(None, destination) })??;
        assert_eq!(TcpStream::from(hop.socket).local_addr()?.ip(), expected, "{address}");
    }
    Ok(())
}

/// A server whose queue is full answers nobody. Others are served meanwhile, a bound holds, and the end is an answer.
#[test]
fn a_server_that_does_not_answer_blocks_nobody() -> Result<()> {
    let steered = Steered::create(FailMode::Open)?;
    let steward = quiet()?;
    let deaf: SocketAddr = "127.0.0.1:7777".parse()?;
    let _deaf = namespace::inside(steered.scene.network.inside.file().as_fd(), || {
        let opened = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
        bind(opened.as_raw_fd(), &SockaddrStorage::from(deaf))?;
        listen(&opened, Backlog::new(0)?)?;
        Ok(TcpListener::from(opened))
    })?;
    let mut waiting: Vec<_> = (0..IN_FLIGHT_MAX).map(|_| ask(&steward, steered.hop(None, deaf))).collect();
    support::until("the first connections of the deaf server", || {
        Ok((steward.in_flight() < IN_FLIGHT_MAX).then_some(()))
    })?;
    let mut hop = TcpStream::from(opened(&steward, steered.hop(None, "127.0.0.1:5432".parse()?))??.socket);
    hop.set_nonblocking(false)?;
    hop.read_exact(&mut [0])?;
    while steward.in_flight() < IN_FLIGHT_MAX {
        waiting.push(ask(&steward, steered.hop(None, deaf)));
    }
    let beyond = ask(&steward, steered.hop(None, deaf)).recv()?;
    assert!(matches!(beyond, Err(HopError::Busy)), "{beyond:?}");
    drop(steward);
    let count = |answers: &Receiver<_>| matches!(answers.recv(), Ok(Err(HopError::Stopped)));
    assert_eq!(waiting.iter().filter(|answers| count(answers)).count(), IN_FLIGHT_MAX);
    Ok(())
}

#[test]
fn a_server_that_does_not_answer_is_given_up() -> Result<()> {
    let steered = Steered::create(FailMode::Open)?;
    let steward = quiet()?;
    let inside = &steered.scene.network.inside;
    // Packets to this address vanish: the other end of the pair has no such address, and ours believes to know it.
    inside.ip(&["neigh", "add", "10.212.0.77", "lladdr", "02:00:00:00:00:77", "dev", "near", "nud", "permanent"])?;
    let result = opened(&steward, steered.hop(None, "10.212.0.77:5432".parse()?))?;
    assert!(matches!(result, Err(HopError::TimedOut)), "{result:?}");
    Ok(())
}

/// As many hops as a small machine opens; printed, not asserted.
#[test]
#[expect(clippy::disallowed_methods, reason = "a measurement")]
fn many_hops() -> Result<()> {
    let steered = Steered::create(FailMode::Closed)?;
    let steward = quiet()?;
    let begin = std::time::Instant::now();
    for _ in 0..1000 {
        let hop = opened(&steward, steered.hop(None, "127.0.0.1:5432".parse()?))??;
        setsockopt(&hop.socket, sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 })?;
    }
    eprintln!("1000 hops one after the other: {:?}", begin.elapsed());
    assert_eq!(steered.steering.controls.counters()?.exempt, 1000);
    Ok(())
}

/// A port that is exempt is nobody else's, so hops do not share ports with connections in TIME_WAIT. Where the server closes
/// first (it does after Terminate), that state is on its side and uses up no port of the hops.
#[test]
fn ports_are_used_up_only_by_who_closes_first() -> Result<()> {
    let steered = Steered::create(FailMode::Closed)?;
    let steward = quiet()?;
    let place = steered.scene.network.inside.file();
    namespace::inside(place.as_fd(), || std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "40000 40019"))?;
    let server = namespace::inside(place.as_fd(), || TcpListener::bind("127.0.0.1:7777"))?;
    let hop = || opened(&steward, steered.hop(None, "127.0.0.1:7777".parse()?));
    for _ in 0..100 {
        let mut stream = TcpStream::from(hop()??.socket);
        stream.set_nonblocking(false)?;
        drop(server.accept()?);
        assert_eq!(stream.read(&mut [0])?, 0);
    }
    let mut outcomes = (0..100).map(|_| -> Result<Option<HopError>> {
        let opened = hop()?;
        let (accepted, failed) = (opened.is_ok().then(|| server.accept()).transpose()?, opened.err());
        drop(accepted);
        Ok(failed)
    });
    let failed = outcomes.find_map(|outcome| outcome.transpose()).context("the ports are used up")??;
    assert!(matches!(&failed, HopError::Begin { source, .. } if source.raw_os_error() == Some(libc::EADDRINUSE)));
    Ok(())
}
