//! PostgreSQL servers that run now: where they listen, and whether their functions can be probed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::{Finding, Host};
use crate::config::{Config, Database};

/// Functions through which a server reads and writes clients under TLS. Plaintext needs none.
const TLS: [&str; 2] = ["be_tls_read", "be_tls_write"];

/// A process that executes a server and listens.
#[derive(Debug)]
struct Server {
    pid: u32,
    executable: PathBuf,
    /// Device and inode: which file it is, whatever its path.
    file: (u64, u64),
    ports: BTreeSet<u16>,
    sockets: BTreeSet<String>,
}

/// Servers, their listeners and their executables.
pub(super) fn check_servers(host: &Host, config: &Config) -> Vec<Finding> {
    const CHECK: &str = "servers";
    let servers = find(host, config);
    let mut findings = Vec::new();
    if servers.is_empty() {
        findings.push(Finding::warn(
            CHECK,
            "no PostgreSQL server listens on this host now; one that starts later is found then",
            "start it, or name its executable or port as a [[database]]",
        ));
    }
    for server in &servers {
        findings.push(Finding::ok(CHECK, describe(server)));
    }
    for database in &config.databases {
        if !servers.iter().any(|server| matches(server, database)) {
            let meaning = format!("no running server belongs to [[database]] \"{}\"", database.name);
            findings.push(Finding::warn(CHECK, meaning, "start it, or correct its port, socket or executable"));
        }
    }
    let executables: BTreeMap<_, _> = servers.iter().map(|server| (server.file, server)).collect();
    findings.extend(executables.values().map(|server| check_functions(host, server)));
    findings
}

fn describe(server: &Server) -> String {
    let ports = server.ports.iter().map(|port| format!("port {port}"));
    let listeners: Vec<String> = ports.chain(server.sockets.iter().cloned()).collect();
    format!("{} (pid {}) listens on {}", server.executable.display(), server.pid, listeners.join(", "))
}

fn matches(server: &Server, database: &Database) -> bool {
    database.port.is_some_and(|port| server.ports.contains(&port))
        || database.socket.as_ref().is_some_and(|socket| server.sockets.iter().any(|path| Path::new(path) == socket))
        || database.executable.as_ref().is_some_and(|executable| *executable == server.executable)
}

/// Listening processes whose executable is called `postgres`, or is configured.
fn find(host: &Host, config: &Config) -> Vec<Server> {
    let Ok(entries) = fs::read_dir(host.path("/proc")) else { return Vec::new() };
    let mut pids: Vec<u32> = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    pids.sort_unstable();
    pids.into_iter().filter_map(|pid| server(host, config, pid)).collect()
}

fn server(host: &Host, config: &Config, pid: u32) -> Option<Server> {
    let link = host.path(&format!("/proc/{pid}/exe"));
    let executable = fs::read_link(&link).ok()?;
    let named = executable.file_name()?.to_str()?.trim_end_matches(" (deleted)") == "postgres";
    let configured = config.databases.iter().any(|database| database.executable.as_ref() == Some(&executable));
    if !named && !configured {
        return None;
    }
    let file = fs::metadata(&link).map_or((0, u64::from(pid)), |metadata| (metadata.dev(), metadata.ino()));
    let inodes = socket_inodes(host, pid);
    let mut server = Server { pid, executable, file, ports: BTreeSet::new(), sockets: BTreeSet::new() };
    for table in ["tcp", "tcp6"] {
        let text = host.read(&format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        server.ports.extend(text.lines().skip(1).filter_map(|line| listening_port(line, &inodes)));
    }
    let text = host.read(&format!("/proc/{pid}/net/unix")).unwrap_or_default();
    server.sockets.extend(text.lines().skip(1).filter_map(|line| listening_path(line, &inodes)));
    (!server.ports.is_empty() || !server.sockets.is_empty()).then_some(server)
}

/// Inodes of the sockets that a process holds.
fn socket_inodes(host: &Host, pid: u32) -> BTreeSet<u64> {
    let Ok(entries) = fs::read_dir(host.path(&format!("/proc/{pid}/fd"))) else { return BTreeSet::new() };
    let links = entries.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
    links.filter_map(|link| link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()).collect()
}

/// A line of `/proc/net/tcp`: `sl local_address rem_address st ... inode` (state 0A is LISTEN).
fn listening_port(line: &str, inodes: &BTreeSet<u64>) -> Option<u16> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let inode = fields.get(9)?.parse().ok()?;
    let listening = *fields.get(3)? == "0A" && inodes.contains(&inode);
    let port = fields.get(1)?.rsplit(':').next()?;
    listening.then(|| u16::from_str_radix(port, 16).ok())?
}

/// A line of `/proc/net/unix`: `num refcount protocol flags type state inode path` (flag 0x10000 is listening).
fn listening_path(line: &str, inodes: &BTreeSet<u64>) -> Option<String> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let inode = fields.get(6)?.parse().ok()?;
    let flags = u32::from_str_radix(fields.get(3)?, 16).ok()?;
    let listening = flags & 0x10000 != 0 && inodes.contains(&inode);
    listening.then(|| fields.get(7).map(|path| (*path).to_owned()))?
}

/// Whether the functions to probe can be found in a server's executable.
fn check_functions(host: &Host, server: &Server) -> Finding {
    let check = "server-functions";
    let shown = server.executable.display();
    // Through the process: it works in containers, and for a file that was replaced by an upgrade.
    let link = host.path(&format!("/proc/{}/exe", server.pid));
    let found = match File::open(link).and_then(|file| (host.functions)(&file)) {
        Ok(found) => found,
        Err(why) => {
            let meaning = format!("{shown} cannot be read ({why}): its encrypted sessions are counted, not understood");
            return Finding::warn(check, meaning, "run as root");
        }
    };
    let has = |name: &&str| found.iter().any(|symbol| symbol.name == *name);
    if TLS.iter().all(has) {
        return Finding::ok(check, format!("{shown} can be observed, also under TLS"));
    }
    Finding::warn(
        check,
        format!(
            "{shown} does not export {}: sessions under TLS are counted, their statements are not seen",
            TLS.join(", ")
        ),
        "use a build that exports its symbols (all distributions do), unless it was built without TLS",
    )
}
