//! Chains: PgBouncer in front of the way, and the way in front of PgBouncer. Drivers must get their answers.

use anyhow::{Context, Result};
use warder_tests::cluster::{Cluster, ClusterOptions};
use warder_tests::drivers::{Amount, DRIVERS};
use warder_tests::relay::{Encryption, Relay, Upstream};
use warder_tests::route::Route;
use warder_tests::way::{self, Passage, WayIn};

const AMOUNT: Amount = Amount { rounds: 2 };

fn play_all(way: &WayIn) -> Result<()> {
    for route in [Route::Tcp, Route::Tls] {
        for driver in DRIVERS {
            driver.play_along(way, route, AMOUNT)?;
            eprintln!("{} through {way} over {route}", driver.name);
        }
    }
    Ok(())
}

fn cluster() -> Result<Cluster> {
    let cluster = Cluster::start(&ClusterOptions::default())?;
    cluster.prepare_pgbench(1)?;
    Ok(cluster)
}

#[test]
fn pgbouncer_stands_in_front_of_the_way() -> Result<()> {
    for kind in way::under_test_over(Route::Tcp)? {
        for encryption in [Encryption::Plain, Encryption::Tls] {
            let cluster = cluster()?;
            let passage = Passage::open(kind, &cluster)?;
            let pooler = Relay::pgbouncer(&Upstream::way(&passage.way, &cluster, encryption))?;
            play_all(pooler.way()).with_context(|| format!("pgbouncer -> {} ({encryption:?})", kind.name()))?;
        }
    }
    Ok(())
}

/// The way leads to PgBouncer's listener. Steering is about a server's own port, so steered ways have no such chain:
/// for them PgBouncer is the server, and its clients are steered.
#[test]
fn the_way_stands_in_front_of_pgbouncer() -> Result<()> {
    for kind in way::under_test_over(Route::Tcp)? {
        let cluster = cluster()?;
        let pooler = Relay::pgbouncer(&Upstream::server(&cluster, Encryption::Plain))?;
        let passage = Passage::open_before(kind, &cluster, pooler.way())?;
        play_all(&passage.way).with_context(|| format!("{} -> pgbouncer", kind.name()))?;
    }
    Ok(())
}
