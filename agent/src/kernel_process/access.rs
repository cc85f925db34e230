//! The server's access rules: found by its postmaster, read with its eyes, watched for changes.
//!
//! The files are the administrator's; nothing of them was chosen by a client.

use std::collections::HashMap;
use std::fs;
use std::io::Read as _;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use hba::Rules;
use hba::address::Network;
use hba::facts::{Facts, Interfaces};
use hba::include::{FILE_BYTES_MAX, File, Include, Kind};
use hba::major::Major;
use nix::sys::socket::SockaddrStorage;

/// Processes that are looked at in the search for a postmaster.
const PROCESSES_MAX: usize = 1 << 22;
/// Whose syntax a file has of which nobody knows the server.
const NEWEST_MAJOR: u16 = 18;

/// A running postmaster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Postmaster {
    pub(crate) pid: u32,
    data: PathBuf,
}

/// The rules with all files that they came from.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    pub(crate) rules: Rules,
    /// Name and text, the main file first, in the order of their reading.
    pub(super) files: Vec<(String, Vec<u8>)>,
    pub(super) major: u16,
    state: Vec<(PathBuf, Option<State>)>,
}

/// What changes when a file does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct State {
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

impl Postmaster {
    /// The postmaster that listens on this port, in this network namespace if one is given.
    pub(crate) fn find(port: u16, namespace: Option<u64>) -> Result<Self> {
        let entries = fs::read_dir("/proc").context("/proc cannot be read")?;
        for entry in entries.flatten().take(PROCESSES_MAX) {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
            let Ok(executable) = fs::read_link(entry.path().join("exe")) else { continue };
            let name = executable.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            // An upgrade removes the file of a server that runs.
            if name.trim_end_matches(" (deleted)") != "postgres" {
                continue;
            }
            if namespace.is_some_and(|wanted| namespace_of(pid) != Some(wanted)) {
                continue;
            }
            if let Some(found) = Self::of(pid, port) {
                return Ok(found);
            }
        }
        bail!("no postmaster with port {port} was found: is the server running? set access_file otherwise");
    }

    /// A postmaster's working directory is its data directory, and its lock file says its port.
    fn of(pid: u32, port: u16) -> Option<Self> {
        let lock = read(Path::new(&format!("/proc/{pid}/cwd/postmaster.pid"))).ok()?;
        let lock = String::from_utf8_lossy(&lock).into_owned();
        let mut lines = lock.lines();
        let owner = lines.next()?.trim().to_owned();
        if lines.nth(2)?.trim().parse() != Ok(port) || own_pid(pid)? != owner {
            return None;
        }
        Some(Self { pid, data: fs::read_link(format!("/proc/{pid}/cwd")).ok()? })
    }

    /// Whether it still runs.
    pub(super) fn is_alive(&self) -> bool {
        fs::read_link(format!("/proc/{}/cwd", self.pid)).is_ok_and(|data| data == self.data)
    }

    /// A path as this process sees it. `/proc/PID/root` ends at its mount namespace.
    fn seen(&self, path: &Path) -> PathBuf {
        let relative = path.strip_prefix("/").unwrap_or(path);
        PathBuf::from(format!("/proc/{}/root", self.pid)).join(relative)
    }

    fn major(&self) -> Result<u16> {
        let text = read(&self.seen(&self.data.join("PG_VERSION")))?;
        let text = String::from_utf8_lossy(&text).trim().to_owned();
        text.parse().with_context(|| format!("PG_VERSION of the server says {text:?}"))
    }

    /// Where its `pg_hba.conf` is: by its command line, else by its configuration file, else beside that.
    fn access_file(&self) -> Result<PathBuf> {
        let words = read(Path::new(&format!("/proc/{}/cmdline", self.pid)))?;
        let words: Vec<String> =
            words.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect();
        if let Some(path) = setting(&words, "hba_file") {
            return Ok(self.data.join(path));
        }
        let config = setting(&words, "config_file").map(PathBuf::from);
        let config =
            self.data.join(config.unwrap_or_else(|| self.configured_directory(&words).join("postgresql.conf")));
        let text = read(&self.seen(&config)).unwrap_or_default();
        let configured = String::from_utf8_lossy(&text).lines().rev().find_map(hba_file);
        let directory = config.parent().unwrap_or(&self.data).to_owned();
        Ok(directory.join(configured.map_or_else(|| PathBuf::from("pg_hba.conf"), PathBuf::from)))
    }

    /// `-D`: the directory of the configuration, which may not be that of the data.
    fn configured_directory(&self, words: &[String]) -> PathBuf {
        let given =
            words.iter().zip(words.iter().skip(1)).find(|(word, _)| *word == "-D").map(|(_, value)| value.clone());
        let joined = words.iter().find_map(|word| word.strip_prefix("-D")).filter(|value| !value.is_empty());
        given.or_else(|| joined.map(str::to_owned)).map_or_else(|| self.data.clone(), PathBuf::from)
    }

    /// Reads its rules.
    pub(crate) fn access(&self, named: Option<&Path>) -> Result<Access> {
        let main = match named {
            Some(path) => path.to_owned(),
            None => self.access_file()?,
        };
        Access::read(Some(self), &main, self.major()?)
    }
}

impl Access {
    /// A file that the configuration names, for a server that is not on this host or no PostgreSQL.
    pub(super) fn of_file(file: &Path) -> Result<Self> {
        Self::read(None, file, NEWEST_MAJOR)
    }

    fn read(postmaster: Option<&Postmaster>, main: &Path, number: u16) -> Result<Self> {
        let major = Major::new(number).with_context(|| format!("PostgreSQL {number} is not supported"))?;
        let mut reader = Reader { postmaster, files: Vec::new(), state: Vec::new() };
        let first = reader.file(main)?;
        let parsed = Rules::parse(&first, major, &mut |include| reader.include(include));
        let rules = parsed.map_err(|mistakes| {
            let shown: Vec<String> = mistakes.iter().take(3).map(ToString::to_string).collect();
            anyhow::anyhow!("the access rules have mistakes: {}", shown.join("; "))
        })?;
        Ok(Self { rules, files: reader.files, major: number, state: reader.state })
    }

    /// Whether one of its files is another than when it was read.
    pub(super) fn has_changed(&self) -> bool {
        self.state.iter().any(|(path, state)| State::of(path) != *state)
    }
}

impl State {
    pub(super) fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        let changed = (metadata.ctime(), metadata.ctime_nsec());
        Some(Self { inode: metadata.ino(), size: metadata.size(), changed })
    }
}

/// Reads the files that rules name.
struct Reader<'a> {
    /// Whose eyes see the paths; `None`: our own.
    postmaster: Option<&'a Postmaster>,
    files: Vec<(String, Vec<u8>)>,
    state: Vec<(PathBuf, Option<State>)>,
}

impl Reader<'_> {
    fn seen(&self, path: &Path) -> PathBuf {
        self.postmaster.map_or_else(|| path.to_owned(), |postmaster| postmaster.seen(path))
    }

    fn file(&mut self, path: &Path) -> Result<File> {
        let seen = self.seen(path);
        self.state.push((seen.clone(), State::of(&seen)));
        let text = read(&seen).with_context(|| format!("{} cannot be read", path.display()))?;
        let name = path.to_string_lossy().into_owned();
        self.files.push((name.clone(), text.clone()));
        Ok(File { name, text })
    }

    fn include(&mut self, include: &Include) -> Result<Vec<File>, String> {
        let written = PathBuf::from(std::ffi::OsString::from_vec(include.path.clone()));
        let from = PathBuf::from(&*include.from.file);
        let path = from.parent().unwrap_or(Path::new("/")).join(written);
        let said = |error: anyhow::Error| format!("{error:#}");
        match include.kind {
            Kind::Field | Kind::Always => Ok(vec![self.file(&path).map_err(said)?]),
            Kind::IfExists if !self.seen(&path).exists() => {
                self.state.push((self.seen(&path), None));
                Ok(Vec::new())
            }
            Kind::IfExists => Ok(vec![self.file(&path).map_err(said)?]),
            Kind::Directory => self.directory(&path).map_err(said),
        }
    }

    fn directory(&mut self, path: &Path) -> Result<Vec<File>> {
        let seen = self.seen(path);
        self.state.push((seen.clone(), State::of(&seen)));
        let entries = fs::read_dir(&seen).with_context(|| format!("{} cannot be read", path.display()))?;
        let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
        names.retain(|name| {
            let name = name.as_encoded_bytes();
            name.ends_with(b".conf") && !name.starts_with(b".")
        });
        names.sort();
        names.iter().map(|name| self.file(&path.join(name))).collect()
    }
}

/// The rules again, from texts that were read before: by a process that may not read them itself.
pub(crate) fn parse_again(major: u16, files: &[(String, Vec<u8>)]) -> Result<Rules> {
    let major = Major::new(major).context("a version of PostgreSQL that is not supported")?;
    let texts: HashMap<&str, &Vec<u8>> = files.iter().map(|(name, text)| (name.as_str(), text)).collect();
    let (name, text) = files.first().context("there is no access file")?;
    let main = File { name: name.clone(), text: text.clone() };
    let mut resolve = |include: &Include| {
        let written = PathBuf::from(std::ffi::OsString::from_vec(include.path.clone()));
        let from = PathBuf::from(&*include.from.file);
        let path = from.parent().unwrap_or(Path::new("/")).join(written);
        let one = |path: &Path| {
            let name = path.to_string_lossy().into_owned();
            texts.get(name.as_str()).map(|text| File { name: name.clone(), text: (*text).clone() })
        };
        match include.kind {
            Kind::Field | Kind::Always => one(&path).map(|file| vec![file]).ok_or_else(|| "it was not read".to_owned()),
            Kind::IfExists => Ok(one(&path).into_iter().collect()),
            Kind::Directory => {
                let mut names: Vec<&&str> =
                    texts.keys().filter(|name| Path::new(name).parent() == Some(&path)).collect();
                names.sort();
                Ok(names.into_iter().filter_map(|name| one(Path::new(name))).collect())
            }
        }
    };
    Rules::parse(&main, major, &mut resolve).map_err(|mistakes| anyhow::anyhow!("{} mistakes", mistakes.len()))
}

/// Addresses of the server's host with their masks.
pub(crate) fn facts(interfaces: &[(IpAddr, IpAddr)]) -> Facts {
    let networks = interfaces.iter().filter_map(|(address, mask)| Network::new(*address, *mask));
    Facts { interfaces: Interfaces::Known(networks.collect()), ..Facts::default() }
}

/// The interfaces of a network namespace.
pub(crate) fn interfaces(namespace: BorrowedFd<'_>) -> Result<Vec<(IpAddr, IpAddr)>> {
    let list = steering::namespace::inside(namespace, || {
        let address = |storage: Option<&SockaddrStorage>| {
            let storage = storage?;
            let v4 = storage.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
            v4.or_else(|| storage.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
        };
        let all = nix::ifaddrs::getifaddrs()?;
        Ok(all.filter_map(|one| Some((address(one.address.as_ref())?, address(one.netmask.as_ref())?))).collect())
    });
    list.context("the addresses of the server's interfaces cannot be listed")
}

/// `-c name=value` and `--name=value` of a command line; the last one wins.
fn setting(words: &[String], name: &str) -> Option<String> {
    let value = |text: &str| {
        let (key, value) = text.split_once('=')?;
        (key.replace('-', "_") == name).then(|| value.to_owned())
    };
    let after_c =
        words.iter().zip(words.iter().skip(1)).filter(|(word, _)| *word == "-c").map(|(_, next)| next.as_str());
    let joined = words.iter().filter_map(|word| word.strip_prefix("-c").or_else(|| word.strip_prefix("--")));
    after_c.chain(joined).filter_map(value).next_back()
}

/// `hba_file = '...'` of a configuration file.
fn hba_file(line: &str) -> Option<String> {
    let rest = line.trim_start().strip_prefix("hba_file")?.trim_start();
    let value = rest.strip_prefix('=').unwrap_or(rest).trim_start();
    let quoted = value.strip_prefix('\'').and_then(|value| value.split_once('\'')).map(|(value, _)| value);
    let plain = value.split([' ', '\t', '#']).next().unwrap_or_default();
    let value = quoted.unwrap_or(plain);
    (!value.is_empty()).then(|| value.to_owned())
}

/// A process's id as it sees it itself: the last of `NSpid`.
fn own_pid(pid: u32) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    line.split_whitespace().last().map(str::to_owned)
}

/// A network namespace by its inode, as long as a process is in it.
pub(super) fn network_namespace(inode: u64) -> Option<fs::File> {
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let found = pids.take(PROCESSES_MAX).find(|pid| namespace_of(*pid) == Some(inode))?;
    fs::File::open(format!("/proc/{found}/ns/net")).ok()
}

fn namespace_of(pid: u32) -> Option<u64> {
    fs::metadata(format!("/proc/{pid}/ns/net")).ok().map(|metadata| metadata.ino())
}

/// A file of bounded size.
fn read(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = fs::File::open(path)?;
    let count = file.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    if count > FILE_BYTES_MAX {
        bail!("{} is longer than {FILE_BYTES_MAX} bytes", path.display());
    }
    Ok(bytes)
}
