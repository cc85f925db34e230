//! Processes as `/proc` shows them: for servers that listen, and for sessions older than the agent.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use agent_common::process::{
    ANCESTORS_MAX, ARGUMENTS_BYTES_MAX, ARGUMENTS_TRUNCATED, Ancestor, EXECUTABLE_DELETED, EXECUTABLE_TRUNCATED,
    Identified, PATH_BYTES_MAX,
};
use agent_common::{ABI_VERSION, Header};

/// What the kernel writes behind the path of a file that was unlinked.
const DELETED: &str = " (deleted)";

/// A process with what decides whether it is a database server.
#[derive(Clone, Debug)]
pub struct ProcessEntry {
    /// Process id in the agent's (initial) pid namespace.
    pub pid: u32,
    /// Target of `/proc/PID/exe`; `None` for kernel threads. Of a file that is not there any more (an upgrade has replaced
    /// it under a server that runs on), the path that it had.
    pub executable: Option<PathBuf>,
    /// Inode number of its network namespace.
    pub network_namespace: u32,
}

/// Every process that can be looked at. A process that ends meanwhile is left out.
#[must_use]
pub fn all() -> Vec<ProcessEntry> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid: u32| {
            Some(ProcessEntry {
                pid,
                executable: fs::read_link(format!("/proc/{pid}/exe")).ok().map(as_it_was),
                network_namespace: namespace(pid, "net")?,
            })
        })
        .collect()
}

/// The path of an executable, without what the kernel adds where the file is not there any more.
fn as_it_was(shown: PathBuf) -> PathBuf {
    match shown.as_os_str().as_bytes().strip_suffix(DELETED.as_bytes()) {
        Some(path) => PathBuf::from(OsStr::from_bytes(path)),
        None => shown,
    }
}

/// Inode number of a namespace of a process.
#[must_use]
pub fn namespace(pid: u32, kind: &str) -> Option<u32> {
    let metadata = fs::metadata(format!("/proc/{pid}/ns/{kind}")).ok()?;
    u32::try_from(metadata.ino()).ok()
}

/// Which of the processes hold the sockets with these inode numbers; the first holder of each.
#[must_use]
pub fn holders(pids: impl Iterator<Item = u32>, inodes: &HashSet<u64>) -> HashMap<u64, u32> {
    let mut found = HashMap::new();
    for pid in pids {
        if found.len() == inodes.len() {
            break;
        }
        let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { continue };
        for target in descriptors.flatten().filter_map(|descriptor| fs::read_link(descriptor.path()).ok()) {
            if let Some(inode) = socket_inode(&target)
                && inodes.contains(&inode)
            {
                found.entry(inode).or_insert(pid);
            }
        }
    }
    found
}

fn socket_inode(target: &Path) -> Option<u64> {
    target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// Whether command lines are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandLines {
    /// They are passed on.
    Read,
    /// They stay where they are: nobody wants them, and they may hold secrets.
    Leave,
}

/// Reads a process into the same record that the kernel programs write; `None` if it is gone.
#[must_use]
pub fn identify(
    pid: u32,
    record_kind: u32,
    cookie: u64,
    other_cookie: u64,
    at: u64,
    command_lines: CommandLines,
) -> Option<Box<Identified>> {
    let stat = Stat::read(pid)?;
    let status = Status::read(pid)?;
    let executable = fs::metadata(format!("/proc/{pid}/exe")).ok()?;
    let mut record = Box::new(Identified {
        header: Header { kind: record_kind, abi: ABI_VERSION, at },
        cookie,
        other_cookie,
        start: stat.start,
        cgroup: cgroup(pid).unwrap_or_default(),
        executable_inode: executable.ino(),
        executable_changed_seconds: u64::try_from(executable.ctime()).unwrap_or_default(),
        executable_changed_nanos: u32::try_from(executable.ctime_nsec()).unwrap_or_default(),
        executable_device: kernel_device(executable.dev()),
        pid,
        uid: status.uid,
        gid: status.gid,
        login_uid: login_uid(pid),
        tty: stat.tty,
        mount_namespace: namespace(pid, "mnt").unwrap_or_default(),
        flags: 0,
        path_bytes: 0,
        arguments_bytes: 0,
        ancestors_used: 0,
        name: status.name,
        ancestors: [Ancestor::default(); ANCESTORS_MAX],
        path: [0; PATH_BYTES_MAX],
        arguments: [0; ARGUMENTS_BYTES_MAX],
    });
    fill_path(&mut record, &fs::read_link(format!("/proc/{pid}/exe")).ok()?);
    if command_lines == CommandLines::Read {
        fill_arguments(&mut record, &fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default());
    }
    fill_ancestors(&mut record, stat.parent);
    Some(record)
}

/// `st_dev` as the kernel keeps it in `s_dev`: `major << 20 | minor`.
fn kernel_device(device: u64) -> u32 {
    let (major, minor) = (nix::sys::stat::major(device), nix::sys::stat::minor(device));
    u32::try_from((major << 20) | minor).unwrap_or_default()
}

/// The path in the form of the kernel's walk: names from leaf to root.
fn fill_path(record: &mut Identified, path: &Path) {
    let text = path.to_string_lossy();
    let live = text.strip_suffix(DELETED);
    if live.is_some() {
        record.flags |= EXECUTABLE_DELETED;
    }
    let mut used = 0;
    for name in live.unwrap_or(&text).rsplit('/').filter(|name| !name.is_empty()) {
        let Some(target) = record.path.get_mut(used..=used + name.len()) else {
            record.flags |= EXECUTABLE_TRUNCATED;
            break;
        };
        let (body, _nul) = target.split_at_mut(name.len());
        body.copy_from_slice(name.as_bytes());
        used += name.len() + 1;
    }
    record.path_bytes = u32::try_from(used).unwrap_or_default();
}

fn fill_arguments(record: &mut Identified, arguments: &[u8]) {
    let length = arguments.len().min(ARGUMENTS_BYTES_MAX);
    if length < arguments.len() {
        record.flags |= ARGUMENTS_TRUNCATED;
    }
    if let (Some(target), Some(source)) = (record.arguments.get_mut(..length), arguments.get(..length)) {
        target.copy_from_slice(source);
    }
    record.arguments_bytes = u32::try_from(length).unwrap_or_default();
}

fn fill_ancestors(record: &mut Identified, first: u32) {
    let mut pid = first;
    for entry in &mut record.ancestors {
        let (Some(stat), Some(status)) = (Stat::read(pid), Status::read(pid)) else { break };
        *entry = Ancestor { start: stat.start, pid, uid: status.uid, name: status.name };
        record.ancestors_used += 1;
        if stat.parent == 0 {
            break;
        }
        pid = stat.parent;
    }
}

/// Start time of a process, boot clock, nanoseconds (to the clock tick of `/proc/PID/stat`).
#[must_use]
pub fn start(pid: u32) -> Option<u64> {
    Some(Stat::read(pid)?.start)
}

/// The fields of `/proc/PID/stat` that are needed (proc(5)).
struct Stat {
    parent: u32,
    tty: u32,
    start: u64,
}

impl Stat {
    fn read(pid: u32) -> Option<Self> {
        /// `USER_HZ`, part of the kernel's ABI on every supported architecture.
        const NANOS_PER_TICK: u64 = 10_000_000;
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in parentheses may itself contain anything; the last parenthesis ends it.
        let fields: Vec<&str> = text.get(text.rfind(')')? + 2..)?.split(' ').collect();
        let tty: u32 = fields.get(4)?.parse::<i32>().ok()?.cast_unsigned();
        Some(Self {
            parent: fields.get(1)?.parse().ok()?,
            tty: if tty == 0 { u32::MAX } else { terminal(tty) },
            start: fields.get(19)?.parse::<u64>().ok()?.saturating_mul(NANOS_PER_TICK),
        })
    }
}

/// `new_encode_dev` of the kernel, undone: bits 8 to 19 are the major, the others the minor.
fn terminal(encoded: u32) -> u32 {
    let major = (encoded >> 8) & 0xfff;
    let minor = (encoded & 0xff) | ((encoded >> 12) & 0xf_ff00);
    (major << 20) | minor
}

/// The fields of `/proc/PID/status` that are needed.
struct Status {
    name: [u8; 16],
    uid: u32,
    gid: u32,
}

impl Status {
    fn read(pid: u32) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let field = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
        let real = |key: &str| field(key)?.split_whitespace().next()?.parse().ok();
        let mut name = [0; 16];
        for (target, source) in name.iter_mut().zip(field("Name:")?.bytes().take(15)) {
            *target = source;
        }
        Some(Self { name, uid: real("Uid:")?, gid: real("Gid:")? })
    }
}

/// Real user of a process.
#[must_use]
pub fn user(pid: u32) -> Option<u32> {
    Some(Status::read(pid)?.uid)
}

fn login_uid(pid: u32) -> u32 {
    let text = fs::read_to_string(format!("/proc/{pid}/loginuid")).unwrap_or_default();
    text.trim().parse().unwrap_or(u32::MAX)
}

/// Id of the process's cgroup in the unified hierarchy: inode of its directory.
fn cgroup(pid: u32) -> Option<u64> {
    let mounts = fs::read_to_string("/proc/mounts").ok()?;
    let root = mounts.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let (path, kind) = (fields.nth(1)?, fields.next()?);
        (kind == "cgroup2").then_some(path)
    })?;
    let membership = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let path = membership.lines().find_map(|line| line.strip_prefix("0::"))?;
    Some(fs::metadata(format!("{root}{path}")).ok()?.ino())
}

/// User and database from a PostgreSQL backend's process title, `postgres: [CLUSTER: ]USER DATABASE CLIENT STATE`.
#[must_use]
pub fn postgresql_title(pid: u32) -> Option<(String, String)> {
    let raw = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    parse_title(&String::from_utf8_lossy(&raw).replace('\0', " "))
}

/// Names may contain anything, and nothing separates them but a space: where more than two words could be the names, or
/// more than one the client, nobody knows which.
fn parse_title(title: &str) -> Option<(String, String)> {
    let words: Vec<&str> = title.strip_prefix("postgres: ")?.split(' ').collect();
    let mut clients = words.iter().enumerate().filter(|(_, word)| is_client(word)).map(|(at, _)| at);
    let (Some(client), None) = (clients.next(), clients.next()) else { return None };
    let names = words.get(..client)?;
    let cluster = names.iter().rposition(|word| word.ends_with(':'));
    match *names.get(cluster.map_or(0, |last| last + 1)..)? {
        // A standby has no database; or somebody is called so.
        ["walsender", _] => None,
        // An empty name, or one with a space at its end.
        ["", _] | [_, ""] => None,
        ["walsender", user, database] | [user, database] => Some((user.to_owned(), database.to_owned())),
        _ => None,
    }
}

/// `[local]`, or `HOST(PORT)`; not `(aborted)`, which is a state.
fn is_client(word: &str) -> bool {
    let parts = word.strip_suffix(')').and_then(|word| word.rsplit_once('('));
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    word == "[local]" || parts.is_some_and(|(host, port)| !host.is_empty() && is_port(port))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::{CommandLines, as_it_was, identify, parse_title, terminal};

    /// With `argv = "none"` the privileged process never holds a command line.
    #[test]
    fn a_command_line_that_nobody_wants_is_not_read() {
        let own = |command_lines| identify(std::process::id(), 1, 2, 3, 4, command_lines).expect("this process lives");
        let (read, left) = (own(CommandLines::Read), own(CommandLines::Leave));
        assert!(read.arguments_bytes > 0 && read.arguments.iter().any(|byte| *byte != 0));
        assert!(left.arguments_bytes == 0 && left.arguments.iter().all(|byte| *byte == 0));
        assert_eq!((read.pid, read.start, read.path), (left.pid, left.start, left.path), "the rest is the same");
    }

    #[test]
    fn titles() {
        let check = |title: &str, expected: Option<(&str, &str)>| {
            assert_eq!(parse_title(title), expected.map(|(user, database)| (user.into(), database.into())), "{title}");
        };
        check("postgres: alice shop [local] idle", Some(("alice", "shop")));
        check("postgres: 15/main: alice shop 10.0.0.7(40112) idle in transaction", Some(("alice", "shop")));
        check("postgres: main: cluster: alice shop ::1(40112) SELECT", Some(("alice", "shop")));
        check("postgres: alice shop 10.0.0.7(40112) idle in transaction (aborted)", Some(("alice", "shop")));
        check("postgres: walsender alice shop [local] START_REPLICATION", Some(("alice", "shop")));
        check("postgres: walsender alice 10.0.0.7(40112) streaming 0/3000060", None);
        check("postgres: walwriter", None);
        // Nobody knows where one name ends and the other begins.
        check("postgres: alice my shop [local] idle", None);
        check("postgres: alice shop [local] idle [local] idle", None);
        check("postgres: 15/main: alice shop(2) [local] idle", None);
        check("postgres: alice  [local] idle", None);
        check("postgres: alice: shop [local] idle", None);
        check("psql -h localhost", None);
    }

    #[test]
    fn an_executable_that_was_replaced_keeps_its_path() {
        for shown in ["/usr/bin/postgres", "/usr/bin/postgres (deleted)"] {
            assert_eq!(as_it_was(shown.into()), PathBuf::from("/usr/bin/postgres"));
        }
    }

    #[test]
    fn terminals() {
        // pts/1 is device 136:1.
        assert_eq!(terminal(136 << 8 | 1), 136 << 20 | 1);
    }
}
