//! A process of a host, with everything that rules may ask for.

use std::sync::Arc;

use identity::hashes::{FileHash, Unresolved};
use identity::process_rules::Attested;
use model::Known;
use model::process::{Ancestor, Arguments, Executable, Process, ProcessKey, ProcessSource};
use model::time::BootTime;

pub(crate) const AGENT_MOUNTS: u32 = 4_026_531_841;
pub(crate) const HASH: FileHash = FileHash([0xab; 32]);

pub(crate) fn key(pid: u32) -> ProcessKey {
    ProcessKey { pid, start: BootTime(u64::from(pid) * 1000) }
}

pub(crate) fn ancestor(pid: u32, uid: u32, name: &str) -> Ancestor {
    Ancestor { key: key(pid), uid, name: name.to_owned() }
}

/// `/usr/bin/env` of user 1001, child of a shell of the same user, child of root's cron.
pub(crate) fn process() -> Process {
    Process {
        key: key(300),
        name: "report".into(),
        executable: Arc::new(Executable {
            path: "/usr/bin/env".into(),
            device: 8 << 20 | 1,
            inode: 77,
            changed: 1,
            truncated: false,
            deleted: false,
            memory: false,
        }),
        arguments: Arc::new(Arguments { values: vec![], truncated: false }),
        uid: 1001,
        gid: 1001,
        login_uid: None,
        tty: None,
        cgroup: 1,
        mount_namespace: AGENT_MOUNTS,
        ancestors: Arc::new([ancestor(200, 1001, "sh"), ancestor(100, 0, "cron")]),
        source: ProcessSource::Kernel,
    }
}

pub(crate) fn with_executable(change: impl FnOnce(&mut Executable)) -> Process {
    let mut process = process();
    change(Arc::make_mut(&mut process.executable));
    process
}

pub(crate) fn attested(process: &Process) -> Attested<'_> {
    Attested {
        process,
        sha256: Known::Known(HASH),
        cgroup: Known::Known("/system.slice/report.service"),
        agent_mount_namespace: AGENT_MOUNTS,
    }
}

pub(crate) const GONE: Unresolved = Unresolved::Gone;
