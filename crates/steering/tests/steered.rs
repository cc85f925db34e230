//! Connections that the kernel steers: from everywhere, in every state of the proxy, and back.

mod support;

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use steering::bpffs;
use steering::controls::ControlError;
use steering::heartbeat::Heartbeat;
use steering::listener::Family;
use steering::namespace;
use steering::prepared::{InstallError, Prepared};
use steering::spec::{FailMode, Prefix, Slot, Spec, Target};
use steering::steering::{AdoptError, Steering};
use steering::unload::unload;
use support::scene::{PORT, Scene, spec};
use support::server::{DATABASE, PROXY, Server, check_echo, who};

#[test]
fn every_way_leads_to_the_proxy_and_back() -> Result<()> {
    let scene = Scene::create()?;
    assert_eq!(scene.answers()?, [DATABASE; 5], "before");
    let mut prepared = scene.prepared(&spec(FailMode::Open))?;
    let _workers = scene.workers(&mut prepared.controls, 2)?;
    assert_eq!(scene.answers()?, [DATABASE; 5], "prepared is not attached");
    let steering = scene.attach(prepared)?;
    assert_eq!(scene.answers()?, [PROXY; 5], "attached");
    let status = steering.status()?;
    assert!(status.attached && status.pinned && status.on, "{status:?}");
    assert_eq!(steering::steering::names(&scene.bpffs.root())?, ["orders"]);
    assert_eq!(status.listeners.iter().filter(|listener| listener.live).count(), 4, "{status:?}");
    assert_eq!(status.counters.steered, 5, "{status:?}");
    steering.remove()?;
    assert_eq!(scene.answers()?, [DATABASE; 5], "removed");
    Ok(())
}

#[test]
fn connections_that_stand_are_left_alone() -> Result<()> {
    let scene = Scene::create()?;
    let (place, address) = scene.ways()[3];
    let mut direct = place.connect(address)?;
    assert_eq!(who(&mut direct)?, DATABASE);
    let mut prepared = scene.prepared(&spec(FailMode::Closed))?;
    let _workers = scene.workers(&mut prepared.controls, 1)?;
    let steering = scene.attach(prepared)?;
    let mut steered = place.connect(address)?;
    assert_eq!(who(&mut steered)?, PROXY);
    check_echo(&mut direct)?;
    assert_eq!(steered.peer_addr()?, address);
    steering.remove()?;
    check_echo(&mut direct)?;
    check_echo(&mut steered)
}

/// A process that holds a listener as its only descriptor of it, and does nothing.
struct Holder(Child);

impl Holder {
    fn start(socket: OwnedFd) -> Result<Self> {
        Ok(Self(Command::new("sleep").arg("600").stdin(Stdio::from(socket)).stdout(Stdio::null()).spawn()?))
    }

    fn kill(&mut self) -> Result<()> {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const FIRST: Slot = Slot { number: 0, family: Family::V4 };
const FIRST_V6: Slot = Slot { number: 0, family: Family::V6 };
const SECOND: Slot = Slot { number: 1, family: Family::V4 };

/// Steered to one process for each family that never accepts; its heartbeat is written here.
fn held(scene: &Scene, mode: FailMode) -> Result<(Steering, Holder, Holder, Heartbeat)> {
    let mut prepared = scene.prepared(&spec(mode))?;
    let heartbeat = Heartbeat::map(prepared.controls.heartbeats()?.as_fd())?;
    let v4 = Holder::start(scene.listener(&mut prepared.controls, FIRST)?)?;
    let v6 = Holder::start(scene.listener(&mut prepared.controls, FIRST_V6)?)?;
    heartbeat.beat(FIRST)?;
    heartbeat.beat(FIRST_V6)?;
    Ok((scene.attach(prepared)?, v4, v6, heartbeat))
}

#[test]
fn a_killed_listener_fails_open() -> Result<()> {
    let scene = Scene::create()?;
    let (steering, mut v4, mut v6, _heartbeat) = held(&scene, FailMode::Open)?;
    let waiting = scene.network.inside.connect(scene.ways()[0].1)?;
    assert_eq!(steering.controls.counters()?.steered, 1);
    v4.kill()?;
    v6.kill()?;
    assert_eq!(scene.answers()?, [DATABASE; 5]);
    let counters = steering.controls.counters()?;
    assert_eq!((counters.passed_open, counters.steered), (5, 1));
    assert_eq!(steering.status()?.listeners.iter().filter(|listener| listener.socket.is_some()).count(), 0);
    // The one in the dead listener's queue is told.
    assert!(matches!(who(&mut { waiting }), Err(error) if error.is::<std::io::Error>()));
    Ok(())
}

#[test]
fn a_killed_listener_fails_closed() -> Result<()> {
    let scene = Scene::create()?;
    let (mut steering, mut v4, mut v6, _heartbeat) = held(&scene, FailMode::Closed)?;
    v4.kill()?;
    v6.kill()?;
    for (place, address) in scene.ways() {
        let refused = place.connect(address).map(drop).map_err(|error| error.kind());
        assert_eq!(refused, Err(ErrorKind::ConnectionRefused), "{address}");
    }
    assert_eq!(steering.controls.counters()?.dropped_closed, 5);
    assert_eq!(steering.controls.fail_mode()?, FailMode::Closed);
    steering.controls.set_fail_mode(FailMode::Open)?;
    assert_eq!(scene.answers()?, [DATABASE; 5]);
    steering.controls.set_fail_mode(FailMode::Closed)?;
    assert!(scene.answers().is_err());
    steering.controls.switch_off()?;
    assert_eq!(scene.answers()?, [DATABASE; 5], "switched off is open in every mode");
    steering.controls.switch_on()?;
    assert!(scene.answers().is_err());
    Ok(())
}

/// The fail mode holds when nothing is left of the agent: no process has a descriptor, only the pins are there.
#[test]
fn the_fail_mode_outlives_the_agent() -> Result<()> {
    let scene = Scene::create()?;
    let (steering, mut v4, mut v6, heartbeat) = held(&scene, FailMode::Closed)?;
    drop((steering, heartbeat));
    v4.kill()?;
    v6.kill()?;
    assert!(scene.answers().is_err());
    // Another agent takes it over as it is, and has listeners of its own.
    let mut adopted = Steering::adopt(&scene.bpffs.root(), "orders")?;
    assert!(scene.answers().is_err());
    let _workers = scene.workers(&mut adopted.controls, 1)?;
    assert_eq!(scene.answers()?, [PROXY; 5]);
    assert!(adopted.status()?.attached);
    Ok(())
}

#[test]
fn a_stale_heartbeat_is_a_dead_listener() -> Result<()> {
    let scene = Scene::create()?;
    let limit = Duration::from_millis(300);
    let mut prepared = scene.prepared(&Spec { heartbeat_limit: limit, ..spec(FailMode::Open) })?;
    let heartbeat = Heartbeat::map(prepared.controls.heartbeats()?.as_fd())?;
    let _first = Holder::start(scene.listener(&mut prepared.controls, FIRST)?)?;
    let steering = scene.attach(prepared)?;
    let (place, address) = scene.ways()[0];
    assert_eq!(who(&mut place.connect(address)?)?, DATABASE, "a listener without a heartbeat takes nothing");
    heartbeat.beat(FIRST)?;
    let before = steering.controls.counters()?;
    place.connect(address)?;
    assert_eq!(steering.controls.counters()?.steered, before.steered + 1);
    assert!(steering.controls.listeners()?[0].live);
    // Nobody writes it any more: as when its worker is stopped, or hangs.
    support::until("the heartbeat's age", || Ok((!steering.controls.listeners()?[0].live).then_some(())))?;
    assert_eq!(who(&mut place.connect(address)?)?, DATABASE);
    let counters = steering.controls.counters()?;
    assert_eq!((counters.steered, counters.stale), (before.steered + 1, 1));
    heartbeat.beat(FIRST)?;
    heartbeat.stop(FIRST);
    assert_eq!(who(&mut place.connect(address)?)?, DATABASE, "a drain");
    Ok(())
}

/// A worker has no right at all; a descriptor of the heartbeats is enough.
#[test]
fn an_unprivileged_process_writes_its_heartbeat() -> Result<()> {
    const WORKER: &str = "
import mmap, os, struct, time
assert os.geteuid() == 65534
memory = mmap.mmap(0, 4096, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
memory[0:8] = struct.pack('=Q', time.clock_gettime_ns(time.CLOCK_MONOTONIC))
";
    let scene = Scene::create()?;
    let mut prepared = scene.prepared(&spec(FailMode::Closed))?;
    let _first = Holder::start(scene.listener(&mut prepared.controls, FIRST)?)?;
    assert!(!prepared.controls.listeners()?[0].live);
    let mut worker = Command::new("setpriv");
    worker.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--no-new-privs", "--inh-caps=-all", "--"]);
    let output =
        worker.args(["/usr/bin/python3", "-c", WORKER]).stdin(Stdio::from(prepared.controls.heartbeats()?)).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(prepared.controls.listeners()?[0].live);
    Ok(())
}

/// A dead worker with a living sibling: in no mode does a connection reach the server itself.
#[test]
fn the_next_live_listener_takes_over() -> Result<()> {
    let scene = Scene::create()?;
    let mut prepared = scene.prepared(&spec(FailMode::Open))?;
    let heartbeat = Heartbeat::map(prepared.controls.heartbeats()?.as_fd())?;
    let mut first = Holder::start(scene.listener(&mut prepared.controls, FIRST)?)?;
    let second = scene.listener(&mut prepared.controls, SECOND)?;
    heartbeat.beat(FIRST)?;
    let steering = scene.attach(prepared)?;
    let second = Server::proxy(second, heartbeat, SECOND);
    first.kill()?;
    let (place, address) = scene.ways()[3];
    for _ in 0..50 {
        assert_eq!(who(&mut place.connect(address)?)?, PROXY);
    }
    drop(second);
    assert_eq!(who(&mut place.connect(address)?)?, DATABASE);
    assert_eq!(steering.controls.counters()?.passed_open, 1);
    Ok(())
}

/// Live listeners get connections by turns.
#[test]
fn connections_spread() -> Result<()> {
    let scene = Scene::create()?;
    let mut prepared = scene.prepared(&spec(FailMode::Open))?;
    let heartbeat = Heartbeat::map(prepared.controls.heartbeats()?.as_fd())?;
    let sockets = [FIRST, SECOND].map(|slot| {
        let socket = scene.listener(&mut prepared.controls, slot)?;
        heartbeat.beat(slot)?;
        Ok::<_, anyhow::Error>(TcpListener::from(socket))
    });
    let _steering = scene.attach(prepared)?;
    let (place, address) = scene.ways()[3];
    // They stay open until they are counted.
    let clients: Vec<_> = (0..200).map(|_| place.connect(address)).collect::<Result<_, _>>()?;
    let sockets = sockets.into_iter().collect::<Result<Vec<_>>>()?;
    let mut counts = [0; 2];
    support::until("all connections", || {
        for (socket, count) in sockets.iter().zip(&mut counts) {
            *count += std::iter::from_fn(|| socket.accept().ok()).count();
        }
        Ok((counts.iter().sum::<usize>() == clients.len()).then_some(()))
    })?;
    assert!(counts[0].abs_diff(counts[1]) <= 2, "{counts:?}");
    Ok(())
}

/// With SYN cookies nothing but the choice itself remembers which listener has sent one.
#[test]
fn a_handshake_with_a_cookie_ends_where_it_began() -> Result<()> {
    let scene = Scene::create()?;
    namespace::inside(scene.network.inside.file().as_fd(), || {
        std::fs::write("/proc/sys/net/ipv4/tcp_syncookies", "2")
    })?;
    let mut prepared = scene.prepared(&spec(FailMode::Closed))?;
    let _workers = scene.workers(&mut prepared.controls, 2)?;
    let _steering = scene.attach(prepared)?;
    for (place, address) in scene.ways().into_iter().cycle().take(40) {
        assert_eq!(who(&mut place.connect(address)?)?, PROXY);
    }
    Ok(())
}

/// The original destination is the accepted socket's own address, the client is its peer.
#[test]
fn addresses_are_the_clients() -> Result<()> {
    let scene = Scene::create()?;
    let mut prepared = scene.prepared(&spec(FailMode::Closed))?;
    let heartbeat = Heartbeat::map(prepared.controls.heartbeats()?.as_fd())?;
    let mut listeners = Vec::new();
    for slot in [FIRST, FIRST_V6] {
        let socket = TcpListener::from(scene.listener(&mut prepared.controls, slot)?);
        socket.set_nonblocking(false)?;
        heartbeat.beat(slot)?;
        listeners.push((slot.family, socket));
    }
    let _steering = scene.attach(prepared)?;
    for (place, address) in scene.ways() {
        let client = place.connect(address)?;
        let (_, socket) = listeners.iter().find(|(family, _)| *family == Family::of(&address)).context("a listener")?;
        let (accepted, peer) = socket.accept()?;
        assert_eq!(accepted.local_addr()?, address);
        assert_eq!(peer, client.local_addr()?);
    }
    Ok(())
}

#[test]
fn only_the_named_port_and_address_are_steered() -> Result<()> {
    let scene = Scene::create()?;
    let inside = &scene.network.inside;
    let other = Server::database(inside, SocketAddr::new(inside.v4, PORT + 1))?;
    let targets = vec![Target::Address(SocketAddr::new(inside.v4, PORT))];
    let mut prepared = scene.prepared(&Spec { targets, ..spec(FailMode::Closed) })?;
    let _workers = scene.workers(&mut prepared.controls, 1)?;
    let _steering = scene.attach(prepared)?;
    let (d, p) = (DATABASE, PROXY);
    assert_eq!(scene.answers()?, [d, d, p, p, d]);
    assert_eq!(who(&mut scene.network.outside.connect(other.address)?)?, DATABASE);
    let closed = SocketAddr::new(inside.v4, PORT + 2);
    assert!(inside.connect(closed).is_err(), "nothing is opened that was closed");
    Ok(())
}

#[test]
fn an_address_that_stands_for_all_of_its_family() -> Result<()> {
    let scene = Scene::create()?;
    let targets = vec![Target::Address("0.0.0.0:5432".parse()?)];
    let mut prepared = scene.prepared(&Spec { targets, ..spec(FailMode::Closed) })?;
    let _workers = scene.workers(&mut prepared.controls, 1)?;
    let _steering = scene.attach(prepared)?;
    let (d, p) = (DATABASE, PROXY);
    assert_eq!(scene.answers()?, [p, d, p, p, d]);
    Ok(())
}

#[test]
fn allowed_sources_connect_directly() -> Result<()> {
    let scene = Scene::create()?;
    let outside = &scene.network.outside;
    let direct = ["10.212.0.0/24", "fd12::1/128"].map(prefix).into_iter().collect::<Result<Vec<_>>>()?;
    let mut prepared = scene.prepared(&Spec { direct, ..spec(FailMode::Open) })?;
    let _workers = scene.workers(&mut prepared.controls, 1)?;
    let steering = scene.attach(prepared)?;
    let (d, p) = (DATABASE, PROXY);
    assert_eq!(scene.answers()?, [p, p, d, d, d]);
    assert_eq!(steering.controls.counters()?.direct, 3);
    outside.ip(&["address", "add", "fd12::7/64", "dev", "far", "nodad", "preferred_lft", "forever"])?;
    outside.ip(&["address", "del", "fd12::1/64", "dev", "far"])?;
    assert_eq!(who(&mut outside.connect(scene.ways()[4].1)?)?, PROXY, "a neighbour of the allowed source");
    Ok(())
}

fn prefix(text: &str) -> Result<Prefix> {
    let (address, bits) = text.split_once('/').context("a prefix")?;
    Prefix::new(address.parse()?, bits.parse()?).context("a prefix")
}

/// The proxy's own listener cannot be asked for by its own address.
#[test]
fn the_listeners_address_is_guarded() -> Result<()> {
    let scene = Scene::create()?;
    let mut prepared = scene.prepared(&spec(FailMode::Open))?;
    let workers = scene.workers(&mut prepared.controls, 1)?;
    let mut steering = scene.attach(prepared)?;
    for worker in &workers {
        let refused = scene.network.inside.connect(worker.address).map(drop).map_err(|error| error.kind());
        assert_eq!(refused, Err(ErrorKind::ConnectionRefused), "{}", worker.address);
    }
    assert_eq!(steering.controls.counters()?.guarded, 2);
    let address = workers[0].address;
    steering.controls.remove_listener(FIRST)?;
    assert!(scene.network.inside.connect(address).is_ok(), "what is no listener of ours is not guarded");
    Ok(())
}

/// Clients connect without a pause while the steering is replaced again and again: each reaches a proxy.
#[test]
fn it_is_replaced_without_a_gap() -> Result<()> {
    let scene = Scene::create()?;
    let mut prepared = scene.prepared(&spec(FailMode::Closed))?;
    let mut workers = scene.workers(&mut prepared.controls, 2)?;
    let mut steering = scene.attach(prepared)?;
    let stop = AtomicBool::new(false);
    let (answered, replaced) = std::thread::scope(|scope| -> Result<(u32, u32)> {
        let client = |way: usize| {
            let (place, address) = scene.ways()[way];
            let mut answered = 0;
            while !stop.load(Ordering::Relaxed) {
                let word = place.connect(address).map_err(anyhow::Error::from).and_then(|mut stream| who(&mut stream));
                ensure!(word? == PROXY, "a client reached the server itself");
                answered += 1;
            }
            Ok::<u32, anyhow::Error>(answered)
        };
        let clients = [0, 3, 4].map(|way| scope.spawn(move || client(way)));
        let mut replace = || {
            for _ in 0..30 {
                let mut next = scene.prepared(&spec(FailMode::Closed))?;
                let successors = scene.workers(&mut next.controls, 2)?;
                steering = scene.attach(next)?;
                // The old workers finish what is in their queues.
                drop(std::mem::replace(&mut workers, successors));
            }
            Ok::<(), anyhow::Error>(())
        };
        let outcome = replace();
        stop.store(true, Ordering::Relaxed);
        let mut answered = 0;
        for client in clients {
            answered += client.join().expect("no panic")?;
        }
        outcome?;
        Ok((answered, 30))
    })?;
    eprintln!("{answered} connections during {replaced} replacements");
    assert!(answered > 0);
    let status = steering.status()?;
    assert!(status.attached && status.pinned);
    assert_eq!(steering::steering::programs_attached(scene.network.inside.file().as_fd())?, 1);
    assert_eq!(std::fs::read_dir(scene.bpffs.root())?.count(), 1, "one complete directory");
    Ok(())
}

#[test]
fn somebody_elses_choice_is_left_alone() -> Result<()> {
    let scene = Scene::create()?;
    // Another product's program is, for this test, another steering: it runs first, and chooses.
    let mut first = scene.prepared(&Spec { name: "first".into(), ..spec(FailMode::Open) })?;
    let _workers = scene.workers(&mut first.controls, 1)?;
    let first = scene.attach(first)?;
    let second = scene.attach(scene.prepared(&Spec { name: "second".into(), ..spec(FailMode::Closed) })?)?;
    assert_eq!(scene.answers()?, [PROXY; 5]);
    let (one, two) = (first.controls.counters()?, second.controls.counters()?);
    assert_eq!((one.steered, two.other_program, two.dropped_closed), (5, 5, 0));
    assert_eq!(steering::steering::programs_attached(scene.network.inside.file().as_fd())?, 2);
    Ok(())
}

#[test]
fn removal_by_somebody_else_is_noticed() -> Result<()> {
    let scene = Scene::create()?;
    let steering = scene.attach(scene.prepared(&spec(FailMode::Closed))?)?;
    assert!(scene.answers().is_err());
    let report = unload(&scene.bpffs.root());
    assert_eq!((report.detached.len(), report.removed, report.failed.len()), (1, 8, 0), "{report:?}");
    assert_eq!(scene.answers()?, [DATABASE; 5]);
    let status = steering.status()?;
    assert!(!status.attached && !status.pinned, "{status:?}");
    assert!(!scene.bpffs.root().exists());
    assert!(matches!(Steering::adopt(&scene.bpffs.root(), "orders"), Err(AdoptError::Nothing)));
    Ok(())
}

/// Every state that a killed agent may leave behind.
#[test]
fn unload_clears_half_built_states() -> Result<()> {
    let scene = Scene::create()?;
    let root = scene.bpffs.root();
    let half = root.join("~orders~4711-0");
    // The place of the complete directory, before and after the kill.
    type State<'a> = &'a dyn Fn(&Path) -> Result<()>;
    let states: [State<'_>; 4] = [
        &|place| Ok(std::fs::rename(place, &half)?),
        &|place| Ok(std::fs::remove_file(place.join("RULES"))?),
        &|place| Ok(std::fs::remove_file(place.join("program-1"))?),
        &|place| {
            std::fs::rename(place, &half)?;
            Ok(std::fs::create_dir(place)?)
        },
    ];
    for (number, state) in states.iter().enumerate() {
        let steering = scene.attach(scene.prepared(&spec(FailMode::Closed))?)?;
        drop(steering);
        state(&root.join("orders"))?;
        assert!(scene.answers().is_err(), "state {number} steers");
        assert!(Steering::adopt(&root, "orders").is_err(), "state {number}");
        let report = unload(&root);
        assert_eq!((report.detached.len(), report.failed.len()), (1, 0), "state {number}: {report:?}");
        assert_eq!(scene.answers()?, [DATABASE; 5], "state {number}");
        assert!(!root.exists());
    }
    assert_eq!(unload(&root).removed, 0, "twice");
    Ok(())
}

/// The same states, met by the next agent's install.
#[test]
fn install_sweeps_half_built_states() -> Result<()> {
    let scene = Scene::create()?;
    let root = scene.bpffs.root();
    for leftover in ["~orders~4711-0", "~orders~4712-3~old"] {
        drop(scene.attach(scene.prepared(&spec(FailMode::Closed))?)?);
        std::fs::rename(root.join("orders"), root.join(leftover))?;
        let mut prepared = scene.prepared(&spec(FailMode::Closed))?;
        let _workers = scene.workers(&mut prepared.controls, 1)?;
        let steering = scene.attach(prepared)?;
        assert_eq!(scene.answers()?, [PROXY; 5]);
        assert_eq!(steering::steering::programs_attached(scene.network.inside.file().as_fd())?, 1);
        assert_eq!(std::fs::read_dir(&root)?.count(), 1);
        steering.remove()?;
    }
    Ok(())
}

/// The database moved to another namespace (its container was started again): the old one gets nothing more from us.
#[test]
fn a_new_namespace_of_the_same_name() -> Result<()> {
    let scene = Scene::create()?;
    let first = scene.attach(scene.prepared(&spec(FailMode::Closed))?)?;
    let prepared = scene.prepared(&spec(FailMode::Closed))?;
    let second = prepared.attach(scene.network.outside.file().as_fd())?;
    assert!(!first.status()?.attached);
    assert!(second.status()?.attached && second.status()?.pinned);
    assert_eq!(scene.answers()?, [DATABASE; 5]);
    Ok(())
}

#[test]
fn a_namespace_that_ends_is_noticed() -> Result<()> {
    let mut scene = Scene::create()?;
    let steering = scene.attach(scene.prepared(&spec(FailMode::Closed))?)?;
    assert!(steering.status()?.attached);
    scene.servers.clear();
    let Scene { network, bpffs, .. } = scene;
    drop(network);
    support::until("the namespace's end", || Ok((!steering.status()?.attached).then_some(())))?;
    assert!(matches!(Steering::adopt(&bpffs.root(), "orders"), Err(AdoptError::Unusable(_))));
    steering.remove()?;
    Ok(())
}

#[test]
fn nonsense_is_refused() -> Result<()> {
    let scene = Scene::create()?;
    for name in ["", "..", "a/b", "~a", "a.b", &"a".repeat(65)] {
        let refused = Prepared::new(&scene.bpffs.root(), &Spec { name: name.into(), ..spec(FailMode::Open) });
        assert!(matches!(refused, Err(InstallError::Name(_))), "{name:?}");
    }
    let none = Prepared::new(&scene.bpffs.root(), &Spec { targets: vec![], ..spec(FailMode::Open) });
    assert!(matches!(none, Err(InstallError::Control(ControlError::NoRules))));
    let many = Prepared::new(&scene.bpffs.root(), &Spec { slots: 65, ..spec(FailMode::Open) });
    assert!(matches!(many, Err(InstallError::Control(ControlError::NoSlot(65)))));
    let folder = tempfile::TempDir::new()?;
    let elsewhere = Prepared::new(&folder.path().join("warder"), &spec(FailMode::Open));
    assert!(matches!(elsewhere, Err(InstallError::Bpffs(_))));
    let mut prepared = scene.prepared(&spec(FailMode::Open))?;
    let beyond = Slot { number: 2, family: Family::V4 };
    let socket = TcpListener::bind("127.0.0.1:0")?;
    assert!(matches!(prepared.controls.set_listener(beyond, socket.as_fd()), Err(ControlError::NoSlot(2))));
    drop(prepared);
    assert_eq!(std::fs::read_dir(scene.bpffs.root())?.count(), 0, "what was not attached has gone");
    Ok(())
}

/// What a connection costs on each way, interleaved; printed, not asserted.
#[test]
#[expect(clippy::disallowed_methods, reason = "a measurement")]
fn what_a_connection_costs() -> Result<()> {
    const ROUNDS: usize = 9;
    const CONNECTIONS: u32 = 200;
    let scene = Scene::create()?;
    let unnamed = Server::database(&scene.network.inside, "127.0.0.1:9000".parse()?)?;
    let named = scene.ways()[0].1;
    let mut steering: Option<Steering> = None;
    let mut workers = Vec::new();
    let mut medians = [const { Vec::new() }; 3];
    for round in 0..2 * ROUNDS {
        if round % 2 == 0 {
            let mut prepared = scene.prepared(&spec(FailMode::Closed))?;
            workers = scene.workers(&mut prepared.controls, 2)?;
            steering = Some(scene.attach(prepared)?);
        } else if let Some(steering) = steering.take() {
            steering.remove()?;
        }
        let one = |address| -> Result<Duration> {
            let begin = std::time::Instant::now();
            namespace::inside(scene.network.inside.file().as_fd(), || {
                for _ in 0..CONNECTIONS {
                    drop(TcpStream::connect(address)?);
                }
                Ok(())
            })?;
            Ok(begin.elapsed() / CONNECTIONS)
        };
        if round % 2 == 0 {
            medians[1].push(one(unnamed.address)?);
            medians[2].push(one(named)?);
        } else {
            medians[0].push(one(unnamed.address)?);
        }
    }
    drop(workers);
    let [without, unsteered, steered] = medians.map(|mut times| {
        times.sort();
        times[times.len() / 2]
    });
    eprintln!("a connection: {without:?} without the program, {unsteered:?} beside it, {steered:?} steered");
    Ok(())
}

/// In a mount namespace of one thread: the machine's own file systems stay as they are.
#[test]
fn the_usual_place_is_mounted_where_it_is_missing() -> Result<()> {
    let there = || -> Result<()> {
        unshare(CloneFlags::CLONE_NEWNS)?;
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
        while bpffs::is_bpf(Path::new(bpffs::MOUNT_POINT)) {
            umount2(bpffs::MOUNT_POINT, MntFlags::MNT_DETACH)?;
        }
        for _ in 0..2 {
            bpffs::ensure(Path::new(bpffs::ROOT))?;
            assert!(bpffs::is_bpf(Path::new(bpffs::ROOT)));
            assert_eq!(std::fs::metadata(bpffs::ROOT)?.mode() & 0o777, 0o700);
        }
        assert_eq!(unload(Path::new(bpffs::ROOT)).failed.len(), 0);
        assert!(!Path::new(bpffs::ROOT).exists());
        Ok(())
    };
    std::thread::spawn(there).join().expect("no panic")
}
