//! The scenes of all drivers, played along ways: what they print is compared.

use anyhow::Result;

use crate::cluster::{Cluster, ClusterOptions};
use crate::drivers::{Amount, Driver};
use crate::relay::Encryption;
use crate::route::Route;
use crate::way::{Kind, Passage, PassageOptions, WayIn};

/// What is played, and on which servers.
pub struct Scene {
    /// Options of the server; each way has a fresh one.
    pub server: ClusterOptions,
    /// How much of each driver.
    pub amount: Amount,
    /// The drivers.
    pub drivers: Vec<&'static Driver>,
}

/// What each driver printed.
pub type Told = Vec<(&'static str, String)>;

impl Scene {
    /// Plays it along a way to a fresh server.
    ///
    /// # Errors
    /// When a driver fails.
    pub fn told(&self, kind: Kind, route: Route) -> Result<Told> {
        let cluster = Cluster::start(&self.server)?;
        cluster.prepare_pgbench(1)?;
        let passage = open(kind, &cluster, route)?;
        self.told_along(&passage.way, route)
    }

    /// Plays it along a way that stands.
    ///
    /// # Errors
    /// When a driver fails.
    pub fn told_along(&self, way: &WayIn, route: Route) -> Result<Told> {
        self.drivers.iter().map(|driver| Ok((driver.name, self.told_by(driver, way, route)?))).collect()
    }

    fn told_by(&self, driver: &Driver, way: &WayIn, route: Route) -> Result<String> {
        let output = driver.play_along(way, route, self.amount)?;
        // What pgbench says are times.
        let words =
            if driver.name.starts_with("pgbench") { Vec::new() } else { [output.stdout, output.stderr].concat() };
        Ok(same_every_time(&String::from_utf8_lossy(&words)))
    }
}

/// A way for clients of that route: a relay that ends TLS encrypts towards the server if the clients do.
///
/// # Errors
/// As [`Passage::open_with`].
pub fn open(kind: Kind, cluster: &Cluster, route: Route) -> Result<Passage> {
    let encryption = if route == Route::Tls { Encryption::Tls } else { Encryption::Plain };
    Passage::open_with(kind, cluster, &PassageOptions { encryption, ..PassageOptions::default() })
}

/// Which drivers were told something else through a way of that kind.
#[must_use]
pub fn differences(direct: &Told, through: &Told, kind: Kind, route: Route) -> Vec<String> {
    let pairs = direct.iter().zip(through).filter(|((_, one), (_, other))| one != other);
    let text = |name: &str, one: &str, other: &str| {
        format!("{name} through {} over {route}: {:?}", kind.name(), first_difference(one, other))
    };
    pairs.map(|((name, one), (_, other))| text(name, one, other)).collect()
}

/// Leaves out what differs between two runs of the same scene: ids of processes and of large objects.
fn same_every_time(text: &str) -> String {
    let mut told = String::new();
    for line in text.lines() {
        let known = ["with PID ", "lo_import ", "lo_unlink "].into_iter().find(|label| line.contains(label));
        match known.and_then(|label| Some((label, line.split_once(label)?))) {
            None => told.push_str(line),
            Some((label, (before, after))) => {
                let rest = after.trim_start_matches(|c: char| c.is_ascii_digit());
                told.push_str(&[before, label, "N", rest].concat());
            }
        }
        told.push('\n');
    }
    told
}

/// The first lines that differ; the shorter text is continued with nothing.
fn first_difference<'a>(one: &'a str, other: &'a str) -> Option<(&'a str, &'a str)> {
    let longest = one.lines().count().max(other.lines().count());
    let line = |text: &'a str, number: usize| text.lines().nth(number).unwrap_or("(end)");
    (0..longest).map(|number| (line(one, number), line(other, number))).find(|(one, other)| one != other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_left_out_and_nothing_else() {
        let check = |line: &str, expected: &str| assert_eq!(same_every_time(line), format!("{expected}\n"));
        check("from server process with PID 4711.", "from server process with PID N.");
        check("lo_import 16400", "lo_import N");
        check("4711 rows", "4711 rows");
    }

    #[test]
    fn a_longer_text_differs() {
        assert_eq!(first_difference("a\nb", "a"), Some(("b", "(end)")));
        assert_eq!(first_difference("a", "a"), None);
    }
}
