//! Privileges: which process has what, in one place.
//!
//! | process | user | has |
//! |---|---|---|
//! | kernel process (`warder run`) | root | eBPF programs, links and maps; iterators; `/proc`; creates the folders and the sockets; makes control groups for `warder exec`, and moves a process in. Decodes nothing that a client sent; of clients it reads what `/proc` shows (command lines, process titles) |
//! | core (`warder core`) | `[agent] user` | ring buffer (read, consumer position), four maps (read only), control socket, socket of `warder exec`, journal folder; no capability, no new privileges |
//! | proxy worker (`warder worker`) | `[proxy] user` | its listeners, its connections, its ring to the core, heartbeats; no capability, no new privileges |
//! | `warder api`, `warder mcp --listen` | an account of the control socket's group; never root | what members of that group have |
//! | symbol lookup (`warder symbols`) | `[agent] user` | one open executable; 5 s of CPU, 512 MiB of address space; ends when it has answered |

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use capture::symbols::{FUNCTIONS, Symbol};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{Gid, Group, Uid, User};

use crate::config::{Account, Agent};

/// The unprivileged account, resolved.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity {
    pub(crate) user: Uid,
    pub(crate) group: Gid,
}

impl Identity {
    /// The account that owns nothing (`nobody` of every distribution's base system).
    pub(crate) const NOBODY: Self = Self { user: Uid::from_raw(65_534), group: Gid::from_raw(65_534) };
}

/// Whoever serves other hosts is not root, whose word counts on the control socket without a token.
pub(crate) fn refuse_root(program: &str) -> Result<()> {
    ensure!(
        !Uid::effective().is_root(),
        "{program} does not run as root, whose word counts without a token: give it an account of its own, in the group of \
         the control socket"
    );
    Ok(())
}

/// Resolves the configured account.
pub(crate) fn account(agent: &Agent) -> Result<Identity> {
    let identity = Identity { user: user(&agent.user, "core process", "[agent] user")?, group: group(agent)? };
    ensure!(!identity.user.is_root(), "the core process must not be root: set [agent] user to an account of its own");
    Ok(identity)
}

/// Resolves the workers' account. They own nothing: not the journal, not its key.
pub(crate) fn worker_account(account: &Account) -> Result<Identity> {
    let user = user(account, "proxy workers", "[proxy] user")?;
    ensure!(!user.is_root(), "the proxy workers must not be root: set [proxy] user to an account of their own");
    let entry = User::from_uid(user).context("the user database cannot be read")?;
    // Without an entry it gets a group that nobody else has, either: `nogroup` may be that of the journal.
    Ok(Identity { user, group: entry.map_or(Gid::from_raw(user.as_raw()), |entry| entry.gid) })
}

fn user(account: &Account, who: &str, key: &str) -> Result<Uid> {
    Ok(match account {
        Account::Number(number) => Uid::from_raw(*number),
        Account::Name(name) => {
            let found = User::from_name(name).context("the user database cannot be read")?;
            let Some(found) = found else {
                bail!(
                    "the account {name} of the {who} does not exist: create it \
                     (useradd --system --user-group --no-create-home --shell /usr/sbin/nologin {name}) \
                     or set {key}"
                );
            };
            found.uid
        }
    })
}

fn group(agent: &Agent) -> Result<Gid> {
    Ok(match &agent.group {
        Account::Number(number) => Gid::from_raw(*number),
        Account::Name(name) => {
            let found = Group::from_name(name).context("the group database cannot be read")?;
            found.with_context(|| format!("the group {name} does not exist: create it or set [agent] group"))?.gid
        }
    })
}

/// Raises the number of files that this process and those that it starts may open as far as it may: a service manager's usual
/// 1024, meant for programs that use `select`, would end at five hundred sessions of a worker. Returns what holds.
pub(crate) fn raise_descriptor_limit() -> Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("the limit of open files cannot be read")?;
    // The kernel refuses a hard limit above `fs.nr_open`, also one that stands.
    let raised = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    Ok(if raised.is_ok() { hard } else { soft })
}

/// Starts the core with `link` as its standard input.
pub(crate) fn start_core(account: Identity, link: OwnedFd) -> Result<Child> {
    own_binary(account, "core")
        .stdin(Stdio::from(link))
        .stdout(Stdio::null())
        .spawn()
        .context("the core process could not be started")
}

/// Starts a proxy worker with `link` as its standard input.
pub(crate) fn start_worker(account: Identity, link: OwnedFd) -> Result<Child> {
    own_binary(account, "worker")
        .stdin(Stdio::from(link))
        .stdout(Stdio::null())
        .spawn()
        .context("its process could not be started")
}

/// This binary under the unprivileged account; the standard library drops the supplementary groups too.
fn own_binary(account: Identity, verb: &str) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("warder").arg(verb).uid(account.user.as_raw()).gid(account.group.as_raw()).current_dir("/");
    command
}

/// First act of an unprivileged process: no way back.
pub(crate) fn renounce(name: &std::ffi::CStr) -> Result<()> {
    nix::sys::prctl::set_name(name).context("the process could not be named")?;
    close_leaked_descriptors()?;
    nix::sys::prctl::set_no_new_privs().context("new privileges could not be renounced")?;
    nix::sys::prctl::set_dumpable(false).context("memory could not be protected from other processes")?;
    ensure!(!Uid::effective().is_root(), "this command is started by `warder run` without privileges");
    Ok(())
}

/// Whatever was open in the process that started the agent stays out of here; 0 to 2 are ours.
#[expect(unsafe_code, reason = "close_range(2) has no safe wrapper")]
fn close_leaked_descriptors() -> Result<()> {
    // SAFETY: called first in a process that has opened nothing itself yet; no descriptor above 2 is owned here.
    let result = unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) };
    ensure!(result == 0, "leaked descriptors could not be closed: {}", std::io::Error::last_os_error());
    Ok(())
}

/// Looks up the server's functions in a child without privileges: the executable is foreign.
pub(crate) fn look_up_symbols(account: Identity, executable: &File) -> std::io::Result<Vec<Symbol>> {
    let output =
        own_binary(account, "symbols").stdin(Stdio::from(executable.try_clone()?)).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(std::io::Error::other(format!("the lookup ended with {}", output.status)));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text
        .lines()
        .filter_map(|line| {
            let (name, offset) = line.split_once(' ')?;
            let name = FUNCTIONS.into_iter().find(|known| *known == name)?;
            Some(Symbol { name, file_offset: offset.parse().ok()? })
        })
        .collect())
}

/// `warder symbols`: reads the executable on standard input.
pub(crate) fn symbols() -> Result<()> {
    use std::os::fd::AsFd as _;
    const ADDRESS_SPACE_MAX: u64 = 512 << 20;
    const CPU_SECONDS_MAX: u64 = 5;
    renounce(c"warder-symbols")?;
    setrlimit(Resource::RLIMIT_AS, ADDRESS_SPACE_MAX, ADDRESS_SPACE_MAX).context("no limit for memory")?;
    setrlimit(Resource::RLIMIT_CPU, CPU_SECONDS_MAX, CPU_SECONDS_MAX).context("no limit for time")?;
    let executable = File::from(std::io::stdin().as_fd().try_clone_to_owned().context("no executable")?);
    let mut answer = String::new();
    for symbol in capture::symbols::find(&executable) {
        answer.push_str(&format!("{} {}\n", symbol.name, symbol.file_offset));
    }
    crate::terminal::print(&answer)?;
    Ok(())
}
