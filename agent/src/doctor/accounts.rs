//! What the configuration needs from the host: accounts, folders, addresses, and perhaps a running agent.

use std::io;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use nix::sys::statvfs::statvfs;
use nix::unistd::{AccessFlags, access};

use super::{Finding, Host};
use crate::config::{Account, Config};
use crate::control::client::{self, ClientError};
use crate::words;

/// The account of the core process.
pub(super) fn check_user(host: &Host, config: &Config) -> Finding {
    let name = shown(&config.agent.user);
    match (host.user)(&config.agent.user) {
        Some(0) => Finding::fail(
            "user",
            format!("{name} is root: the process that reads what clients send would have full power"),
            "name another account in [agent] user",
        ),
        Some(uid) => Finding::ok("user", format!("{name} is uid {uid}")),
        None => Finding::fail(
            "user",
            format!("there is no account {name} for the core process"),
            format!(
                "useradd --system --user-group --no-create-home --shell /usr/sbin/nologin {name}, or name another in [agent] user"
            ),
        ),
    }
}

/// The group of the core process, the control socket and the files.
pub(super) fn check_group(host: &Host, config: &Config) -> Finding {
    let name = shown(&config.agent.group);
    match (host.group)(&config.agent.group) {
        Some(gid) => Finding::ok("group", format!("{name} is gid {gid}; its members may look")),
        None => Finding::fail(
            "group",
            format!("there is no group {name} for the core process and the control socket"),
            format!("groupadd --system {name}, or name another in [agent] group"),
        ),
    }
}

fn shown(account: &Account) -> String {
    match account {
        Account::Name(name) => name.clone(),
        Account::Number(number) => number.to_string(),
    }
}

/// The folder of the journal.
pub(super) fn check_journal_directory(host: &Host, config: &Config) -> Finding {
    check_directory("journal-directory", host, &config.journal.directory)
}

/// Room for the journal: a segment is written, and the one before it is sealed into another file.
pub(super) fn check_journal_space(host: &Host, config: &Config) -> Finding {
    const CHECK: &str = "journal-space";
    let (directory, needed) = (&config.journal.directory, config.journal.limits.segment_bytes_max.saturating_mul(2));
    let path = host.path(&directory.to_string_lossy());
    let existing = path.ancestors().find(|ancestor| ancestor.symlink_metadata().is_ok()).unwrap_or(&path);
    let room = match statvfs(existing) {
        // Its types differ between platforms.
        #[allow(clippy::useless_conversion, clippy::allow_attributes, reason = "not on every platform")]
        Ok(disk) => u64::from(disk.blocks_available()).saturating_mul(u64::from(disk.fragment_size())),
        Err(errno) => {
            let meaning = format!("the room at {} cannot be told ({})", directory.display(), errno.desc());
            return Finding::warn(CHECK, meaning, "run as root");
        }
    };
    let left = format!("{} bytes are free at {}", words::bytes(room), directory.display());
    if room >= needed {
        return Finding::ok(CHECK, left);
    }
    Finding::warn(
        CHECK,
        format!("{left}, less than two segments ({}): records are lost when it is full", words::bytes(needed)),
        "make room, or lower [journal] bytes_max and segment_bytes_max",
    )
}

/// The folder of the control socket.
pub(super) fn check_control_directory(host: &Host, config: &Config) -> Finding {
    let socket = &config.agent.control_socket;
    check_directory("control-directory", host, socket.parent().unwrap_or(socket))
}

fn check_directory(check: &'static str, host: &Host, directory: &Path) -> Finding {
    let shown = directory.display();
    let path = host.path(&directory.to_string_lossy());
    let Some(existing) = path.ancestors().find(|ancestor| ancestor.symlink_metadata().is_ok()) else {
        return Finding::fail(check, format!("{shown} cannot be looked at"), "run as root");
    };
    let mode = match existing.metadata() {
        Ok(metadata) if metadata.is_dir() => metadata.permissions().mode(),
        Ok(_) => {
            return Finding::fail(
                check,
                format!("{} is not a folder", host.shown(existing)),
                "remove it, or configure another path",
            );
        }
        Err(error) => {
            return Finding::fail(
                check,
                format!("{} cannot be looked at ({error})", host.shown(existing)),
                "run as root",
            );
        }
    };
    if let Err(errno) = access(existing, AccessFlags::W_OK | AccessFlags::X_OK) {
        let meaning = format!("{} cannot be written ({})", host.shown(existing), errno.desc());
        return Finding::fail(check, meaning, "run as root, mount it writable, or configure another path");
    }
    if existing != path {
        return Finding::ok(check, format!("{shown} will be created"));
    }
    if mode & 0o002 != 0 {
        return Finding::warn(
            check,
            format!("{shown} can be written by everybody: records can be removed or forged"),
            format!("chmod 0750 {shown}"),
        );
    }
    Finding::ok(check, format!("{shown} can be written"))
}

/// Whether an agent answers.
pub(super) fn check_agent(config: &Config) -> Finding {
    const CHECK: &str = "agent";
    match client::status(&config.agent.control_socket) {
        Ok(status) if status.write_failing => Finding::warn(
            CHECK,
            format!(
                "version {} runs and cannot write the journal: records wait in memory, and are dropped when that is full \
                 ({} so far)",
                status.version, status.events_dropped
            ),
            "its log has the reason; make room or repair the disk, writing goes on by itself",
        ),
        Ok(status) => Finding::ok(
            CHECK,
            format!(
                "version {} runs since {}, {} sessions, {} events lost",
                status.version, status.since, status.sessions, status.lost
            ),
        ),
        Err(ClientError::NotRunning { .. }) => Finding::ok(CHECK, "not running"),
        Err(error) => Finding::warn(CHECK, error.to_string(), "look into the agent's log, or restart it"),
    }
}

/// The address of the metrics endpoint.
pub(super) fn check_metrics_port(config: &Config) -> Finding {
    const CHECK: &str = "metrics-port";
    let Some(address) = config.metrics_listen else {
        return Finding::ok(CHECK, "turned off");
    };
    match TcpListener::bind(address) {
        Ok(_) => Finding::ok(CHECK, format!("{address} is free")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            if client::status(&config.agent.control_socket).is_ok() {
                return Finding::ok(CHECK, format!("{address} is in use while the agent runs"));
            }
            let meaning = format!("{address} is in use by another program: the agent will run without metrics");
            Finding::warn(CHECK, meaning, "stop that program, or choose another [metrics] listen")
        }
        Err(error) => Finding::warn(
            CHECK,
            format!("{address} cannot be used ({error}): the agent will run without metrics"),
            "choose an address of this host in [metrics] listen",
        ),
    }
}
