//! What a database behind the proxy needs of the host, what its server will see otherwise, and what its rules make of it.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd as _;

use anyhow::{Context as _, Result};
use capture::refusal::cgroup_number;
use steering::bpffs::MOUNT_POINT;
use store::keys::read_secret;

use super::{Finding, Host, minting};
use crate::config::proxy::{Fail, Guard, Tls};
use crate::config::{Account, Config, Database};
use crate::kernel_process::access::{self, Postmaster};
use crate::kernel_process::survey;

/// Where [`DIFFERENCES`] are told in full.
const MANUAL: &str = "docs/transparency.md";
/// What every server sees otherwise.
const DIFFERENCES: &str = "the server's log (%h, %r), pg_stat_activity.client_addr and client_port, inet_client_addr() and \
                           what decides by them show the hop; its port is another one also for clients of this host";

/// What `pg_hba.conf` says about the clients of a server that is steered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surveyed {
    /// What would be decided otherwise about the hop, with the lines to add.
    pub differences: Option<String>,
    /// Who replicates.
    pub replication: Option<String>,
    /// Lines that minted roles need and that are not there; `None`: none are minted.
    pub minting: Option<Vec<String>>,
}

/// All checks, where a database has a proxy.
pub(super) fn check_proxy(host: &Host, config: &Config) -> Vec<Finding> {
    let guarded: Vec<(&Database, &Guard)> =
        config.databases.iter().filter_map(|database| Some((database, database.guard.as_ref()?))).collect();
    if guarded.is_empty() {
        return Vec::new();
    }
    let mut findings = vec![check_account(host, config)];
    if guarded.iter().any(|(database, _)| database.port.is_some()) {
        findings.push(check_pins(host, config));
    }
    for (database, guard) in guarded {
        findings.push(describe(database, guard));
        findings.push(check_tls(database, guard));
        findings.extend(check_access(host, database, guard));
        findings.extend(check_catalogue(database, guard));
        findings.extend(check_refusal(database, guard));
        findings.push(Finding::ok("proxy-differences", differences(database, guard)));
    }
    findings
}

/// The account of the workers.
fn check_account(host: &Host, config: &Config) -> Finding {
    const CHECK: &str = "proxy-account";
    let user = &config.proxy.user;
    let name = match user {
        Account::Name(name) => name.clone(),
        Account::Number(number) => number.to_string(),
    };
    let another = "name another account in [proxy] user";
    match (host.user)(user) {
        Some(0) => {
            Finding::fail(CHECK, format!("{name} is root: whoever breaks a worker would have full power"), another)
        }
        Some(uid) if (host.user)(&config.agent.user) == Some(uid) => Finding::fail(
            CHECK,
            format!("{name} is the core's account: whoever breaks a worker could forge records"),
            another,
        ),
        Some(uid) => Finding::ok(CHECK, format!("{name} is uid {uid}")),
        None => Finding::fail(
            CHECK,
            format!("there is no account {name} for the proxy's workers"),
            format!("useradd --system --user-group --no-create-home --shell /usr/sbin/nologin {name}, or {another}"),
        ),
    }
}

/// Where steering is pinned.
fn check_pins(host: &Host, config: &Config) -> Finding {
    const CHECK: &str = "proxy-pins";
    let directory = &config.proxy.pin_directory;
    let mounts = host.mounts("bpf");
    if mounts.iter().any(|mount| directory.starts_with(mount)) {
        return Finding::ok(CHECK, format!("{} is on a BPF file system", directory.display()));
    }
    if directory.starts_with(MOUNT_POINT) {
        return Finding::ok(
            CHECK,
            format!("{} will be on a BPF file system that the agent mounts", directory.display()),
        );
    }
    let meaning = format!("{} is on no BPF file system: nothing can be steered", directory.display());
    Finding::warn(CHECK, meaning, format!("mount one there (mount -t bpf), or choose a folder below {MOUNT_POINT}"))
}

/// Ways in, and what happens without the proxy.
fn describe(database: &Database, guard: &Guard) -> Finding {
    let mut ways: Vec<String> = Vec::new();
    if guard.steer {
        ways.push("TCP is steered".to_owned());
    } else if database.port.is_some() {
        ways.push("TCP is steered after `warder steer on`".to_owned());
    }
    if guard.take_over_socket {
        ways.push("the Unix socket is taken over".to_owned());
    }
    ways.extend(guard.listen.iter().map(|address| format!("it listens on {address}")));
    let fail = match guard.fail {
        Fail::Open => "let through to the server",
        Fail::Closed => "refused",
    };
    let meaning = format!("{}: {}; without a live worker connections are {fail}", database.name, ways.join(", "));
    Finding::ok("proxy", meaning)
}

/// What is done about TLS, and what that hides, from whom.
fn check_tls(database: &Database, guard: &Guard) -> Finding {
    const CHECK: &str = "proxy-tls";
    let name = &database.name;
    let files = match &guard.tls {
        Tls::Relay => {
            let meaning =
                "TLS is relayed unread: requests in it are seen by the kernel programs only, after they were sent";
            return Finding::ok(CHECK, format!("{name}: {meaning}"));
        }
        Tls::ServerCertificate(files) | Tls::OwnCertificate(files) => files,
    };
    let clients = guard.clients.iter().flat_map(|clients| std::iter::once(&clients.ca_file).chain(&clients.crl_file));
    for path in [&files.certificate, &files.private_key].into_iter().chain(clients) {
        if let Err(error) = File::open(path) {
            let meaning = format!("{name}: {} cannot be read ({error}): clients with TLS are refused", path.display());
            return Finding::warn(CHECK, meaning, "run as root, or correct the path");
        }
    }
    let meaning = match &guard.tls {
        Tls::OwnCertificate(_) => {
            "TLS ends at the proxy, and the hop has none: pg_stat_ssl, hostssl lines and SCRAM with channel binding see none"
        }
        _ => "TLS ends at the proxy and begins anew: a client's certificate does not reach the server",
    };
    Finding::ok(CHECK, format!("{name}: {meaning}"))
}

/// The lines of `pg_hba.conf` that the hop needs.
fn check_access(host: &Host, database: &Database, guard: &Guard) -> Vec<Finding> {
    const CHECK: &str = "proxy-access";
    let name = &database.name;
    let surveyed = match (host.survey)(database, guard) {
        Ok(surveyed) => surveyed,
        Err(why) => {
            let meaning = format!("{name}: what pg_hba.conf says about the hop is not known ({why})");
            return vec![Finding::warn(CHECK, meaning, "start the server, run as root, or set access_file")];
        }
    };
    let mut findings = vec![match surveyed.differences {
        None => Finding::ok(CHECK, format!("{name}: pg_hba.conf decides about the hop as about its clients")),
        Some(differences) => Finding::warn(
            CHECK,
            format!(
                "{name}: pg_hba.conf would decide otherwise about the hop, so such clients are refused: {differences}"
            ),
            "add the lines that are named, reload the server, and look again",
        ),
    }];
    findings.extend(surveyed.minting.map(|missing| minting::finding(name, &missing)));
    findings.extend(surveyed.replication.map(|who| Finding::ok("proxy-replication", format!("{name}: {who}"))));
    findings
}

/// Whether policies can know what names without a schema mean.
fn check_catalogue(database: &Database, guard: &Guard) -> Option<Finding> {
    const CHECK: &str = "proxy-catalogue";
    let name = &database.name;
    let Some(login) = &database.catalogue else {
        let meaning = format!(
            "{name}: a name without a schema may be in any schema, so policies that forbid one refuse it; what is behind \
             views is not known"
        );
        let remedy = "add [database.catalogue] and run `warder setup postgres --plan`";
        return (!guard.policies.is_empty()).then(|| Finding::warn(CHECK, meaning, remedy));
    };
    let (user, path) = (&login.user, login.password_file.display());
    Some(match read_secret(&login.password_file) {
        Ok(Some(_)) => Finding::ok(CHECK, format!("{name}: {user} reads what the database has")),
        Ok(None) => {
            let meaning = format!("{name}: there is no {path}: what the database has is not known");
            Finding::warn(CHECK, meaning, "run `warder setup postgres --apply`, which makes it")
        }
        Err(error) => {
            let meaning = format!("{name}: the password of {user} cannot be used ({error})");
            Finding::warn(CHECK, meaning, "run as root; the file must be readable to its owner only")
        }
    })
}

/// Whether the control group is there whose processes are to be refused, and whether they have another way.
fn check_refusal(database: &Database, guard: &Guard) -> Option<Finding> {
    const CHECK: &str = "proxy-refusal";
    let (name, folder) = (&database.name, guard.refuse_direct.as_ref()?);
    let path = folder.display();
    let number = File::open(folder).map_err(anyhow::Error::from).and_then(|folder| Ok(cgroup_number(&folder)?));
    if let Err(problem) = number {
        let meaning = format!("{name}: processes that go past the proxy are not refused: {path}: {problem:#}");
        return Some(Finding::warn(CHECK, meaning, "start what runs in that control group, or correct refuse_direct"));
    }
    if !guard.steer && !guard.take_over_socket && guard.listen.is_empty() {
        let meaning = format!("{name}: nothing leads through the proxy yet, so no process in {path} is refused");
        return Some(Finding::warn(CHECK, meaning, "add listen = [...], or steer"));
    }
    Some(Finding::ok(CHECK, format!("{name}: processes in {path} that go past the proxy are refused while it serves")))
}

/// What the server sees otherwise, as far as the configuration tells.
fn differences(database: &Database, guard: &Guard) -> String {
    let hops: Vec<String> = guard.hop_address.iter().map(ToString::to_string).collect();
    let of_others = match hops.as_slice() {
        [] => "an address of this host".to_owned(),
        hops => hops.join(" or "),
    };
    let unix = if guard.take_over_socket { "; on the Unix socket the process id is Warder's" } else { "" };
    format!("{}: {DIFFERENCES}; clients of other hosts are {of_others}{unix}; all of it: {MANUAL}", database.name)
}

/// Asks the server that runs, as `warder steer on` would.
pub(super) fn survey(database: &Database, guard: &Guard) -> Result<Surveyed, String> {
    survey_server(database, guard).map_err(|error| format!("{error:#}"))
}

fn survey_server(database: &Database, guard: &Guard) -> Result<Surveyed> {
    let port = database.port.context("the database has no port in the configuration")?;
    let server = Postmaster::find(port, None)?;
    let rules = server.access(guard.access_file.as_deref())?;
    let namespace =
        File::open(format!("/proc/{}/ns/net", server.pid)).context("the server's network cannot be opened")?;
    let interfaces = access::interfaces(namespace.as_fd())?;
    let survey = survey::survey(&rules, guard, families(server.pid, port), &interfaces);
    let minting = database.minted().map(|minted| minting::missing_lines(&rules.rules, guard, minted));
    Ok(Surveyed { differences: survey::differences(&survey), replication: survey::replication(&survey), minting })
}

/// One address of each family in which somebody listens on that port in the network of a process.
fn families(pid: u32, port: u16) -> Vec<IpAddr> {
    // `sl local_address rem_address st ...`: state 0A is LISTEN, an address ends with its port.
    let is_listener = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields.get(3) == Some(&"0A") && fields.get(1).is_some_and(|address| address.ends_with(&format!(":{port:04X}")))
    };
    let tables = [("tcp", IpAddr::from(Ipv4Addr::UNSPECIFIED)), ("tcp6", IpAddr::from(Ipv6Addr::UNSPECIFIED))];
    let listens = |table: &str| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        text.lines().any(is_listener)
    };
    tables.into_iter().filter(|(table, _)| listens(table)).map(|(_, family)| family).collect()
}
