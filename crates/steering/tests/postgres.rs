//! A real server behind the smallest proxy: steered over TCP, and with its Unix socket taken over.

mod support;

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use steering::heartbeat::Heartbeat;
use steering::listener::{Family, listen};
use steering::prepared::Prepared;
use steering::spec::{FailMode, Slot};
use steering::steward::Steward;
use steering::takeover::{Restored, State, take};
use support::network::{Bpffs, Network};
use support::postgres::{Postgres, printed};
use support::relay::{HOP_ADDRESS, Relay, Upstream};
use support::scene::spec;

const ACCESS: &str = "local all all peer\nhost all all 127.0.0.1/32 trust\nhost all all ::1/128 trust\nhost all all 127.86.0.1/32 trust\n";

fn steward() -> Result<Arc<Steward>> {
    Ok(Arc::new(Steward::start()?))
}

#[test]
fn psql_is_steered_and_sees_no_difference() -> Result<()> {
    let network = Network::create()?;
    let bpffs = Bpffs::create()?;
    let server = Postgres::start(&network.inside, ACCESS)?;
    let namespace: Arc<OwnedFd> = Arc::new(network.inside.file().try_clone()?.into());
    let steward = steward()?;
    let mut prepared = Prepared::new(&bpffs.root(), &spec(FailMode::Closed))?;
    let mut relays = Vec::new();
    for family in [Family::V4, Family::V6] {
        let slot = Slot { number: 0, family };
        let listening = listen(namespace.as_fd(), family)?.context("the family is there")?;
        prepared.controls.set_listener(slot, listening.socket.as_fd())?;
        let beats = (Heartbeat::map(prepared.controls.heartbeats()?.as_fd())?, slot);
        let exemptions = Arc::new(Mutex::new(prepared.controls.exemptions()?));
        let upstream = Upstream::Tcp { namespace: Arc::clone(&namespace), exemptions, beats };
        relays.push(Relay::start(listening.socket, Arc::clone(&steward), upstream));
    }
    let steering = prepared.attach(namespace.as_fd())?;
    for host in ["127.0.0.1", "::1"] {
        let sql = "select inet_client_addr() || ' ' || inet_server_addr() || ' ' || inet_server_port()";
        let output = server.psql("nobody", &["-h", host, "-U", "postgres"], sql)?;
        assert_eq!(printed(&output)?, format!("{host}/{0} {host}/{0} 5432", if host == "::1" { 128 } else { 32 }));
    }
    // A remote client: the server knows it by the reserved address, which its pg_hba.conf can name.
    let address = network.inside.v4.to_string();
    let sql = "select host(inet_client_addr()) || ' ' || host(inet_server_addr())";
    let output = server.psql_from(&network.outside, &["-h", &address, "-U", "postgres"], sql)?;
    assert_eq!(printed(&output)?, format!("{HOP_ADDRESS} {address}"));
    let counters = steering.controls.counters()?;
    assert_eq!((counters.steered, counters.exempt), (3, 3));
    steering.remove()?;
    assert_eq!(printed(&server.psql("nobody", &["-h", "127.0.0.1", "-U", "postgres"], "select 1")?)?, "1");
    Ok(())
}

#[test]
fn peer_authentication_sees_the_client_through_restarts() -> Result<()> {
    let network = Network::create()?;
    let mut server = Postgres::start(&network.inside, ACCESS)?;
    let steward = steward()?;
    let folder = server.folder().to_string_lossy().into_owned();
    let direct = server.psql("postgres", &["-h", &folder], "create role nobody login; select 'made'")?;
    assert_eq!(printed(&direct)?, "made");
    let (mut taken, listener) = take(&server.socket())?;
    let mut relay = Relay::start(listener, Arc::clone(&steward), Upstream::Unix { server: taken.server() });
    let check = |server: &Postgres, what: &str| -> Result<()> {
        for user in ["postgres", "nobody"] {
            let output = server.psql(user, &["-h", &folder], "select session_user")?;
            assert_eq!(printed(&output).context(what.to_owned())?, user, "{what}");
        }
        let wrong = server.psql("nobody", &["-h", &folder, "-U", "postgres"], "select 1")?;
        let said = String::from_utf8_lossy(&wrong.stderr).into_owned();
        assert!(said.contains("Peer authentication failed for user \"postgres\""), "{what}: {said}");
        let required = ["-h", &folder, "-d", "dbname=postgres requirepeer=postgres"];
        printed(&server.psql("nobody", &required, "select 1")?).context("requirepeer")?;
        Ok(())
    };
    check(&server, "taken")?;
    for signal in [Signal::SIGINT, Signal::SIGKILL] {
        server.stop(signal)?;
        let expected = if signal == Signal::SIGINT { State::Stopped } else { State::ServerGone };
        assert_eq!(taken.check()?, expected, "{signal}");
        if signal == Signal::SIGKILL {
            // Its children notice, and its shared memory has to go, before another one starts.
            support::until("the end of the server's children", || Ok(server.start_again().ok()))?;
        } else {
            server.start_again()?;
        }
        assert_eq!(taken.check()?, State::Replaced, "{signal}");
        check(&server, "directly")?;
        let (again, listener) = take(&server.socket())?;
        taken = again;
        relay = Relay::start(listener, Arc::clone(&steward), Upstream::Unix { server: taken.server() });
        check(&server, "taken again")?;
    }
    assert_eq!(taken.give_back()?, Restored::GivenBack);
    check(&server, "given back")?;
    drop(relay);
    server.stop(Signal::SIGINT)?;
    assert!(!server.socket().exists(), "the server removes its own socket");
    Ok(())
}
