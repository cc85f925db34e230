//! Databases that a token opens: those of the configuration whose proxy asks clients for one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::answer::Failure;
use crate::config::login::{Demand, Login, Service};
use crate::config::proxy::Guard;
use crate::config::{Config, Database};

/// A database that a token opens, and the way to it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    /// Its name in the configuration.
    pub(super) name: &'a str,
    /// Where its proxy is.
    pub(super) address: SocketAddr,
    /// The role that sessions have at the server; where each has one of its own, what all their names begin with.
    pub(super) role: &'a str,
    /// How it is guarded.
    pub(super) guard: &'a Guard,
}

/// The one of this name.
pub(super) fn find<'a>(config: &'a Config, name: &str) -> Result<Place<'a>, Failure> {
    let listed = "list_databases says which there are";
    let database = config.databases.iter().find(|database| database.name == name);
    let database =
        database.ok_or_else(|| Failure::new("unknown_database", format!("there is no database \"{name}\""), listed))?;
    place(database).map_err(|why| Failure::new("not_reachable", format!("{name}: {why}"), listed))
}

/// The way to a database, or why there is none with a token.
pub(super) fn place(database: &Database) -> Result<Place<'_>, &'static str> {
    let guard = database.guard.as_ref().ok_or("its connections do not go through the proxy")?;
    let role = match &guard.login {
        Login::Service(Service { demand: Demand::Token, user, .. }) => user,
        Login::Minted(_) => mint::name::PREFIX,
        Login::Service(_) => return Err("it takes another proof than a token as the password"),
        Login::PassThrough => return Err("it asks for a password of its own, not for a token"),
    };
    let steered = || database.port.filter(|_| guard.steer).map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let address = guard.listen.first().copied().map(reachable).or_else(steered);
    let address = address.ok_or("its proxy has no address: neither listen nor steer")?;
    Ok(Place { name: &database.name, address, role, guard })
}

/// Whoever listens everywhere is found here.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let here = match listen.ip() {
        IpAddr::V4(address) if address.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(address) if address.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        address => address,
    };
    SocketAddr::new(here, listen.port())
}
