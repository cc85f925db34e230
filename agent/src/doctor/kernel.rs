//! What the kernel offers.

use std::fs;

use super::host::Bpf;
use super::{Finding, Host};

/// Magic number of BTF (`include/uapi/linux/btf.h`).
const BTF_MAGIC: [u8; 2] = 0xeb9f_u16.to_ne_bytes();
const BTF: &str = "/sys/kernel/btf/vmlinux";
/// Ring buffers, CAP_BPF: without them nothing loads.
const RELEASE_MIN: (u32, u32) = (5, 8);
/// The programs load. Older kernels of distributions may have what is needed, taken from newer ones.
const RELEASE_FULL: (u32, u32) = (6, 3);
const UPGRADE: &str = "use Linux 6.3 or later";

/// Kernel release.
pub(super) fn check_release(host: &Host) -> Finding {
    const CHECK: &str = "kernel";
    let Ok(release) = host.read("/proc/sys/kernel/osrelease") else {
        return Finding::warn(CHECK, "the kernel release cannot be read", "mount /proc");
    };
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version < RELEASE_MIN {
        return Finding::fail(CHECK, format!("Linux {release} is too old: it has no BPF ring buffer"), UPGRADE);
    }
    if version < RELEASE_FULL {
        return Finding::warn(
            CHECK,
            format!("Linux {release} is older than 6.3: it cannot be observed unless byte-ledger is ok below"),
            UPGRADE,
        );
    }
    Finding::ok(CHECK, format!("Linux {release}"))
}

/// Type information of the kernel: offsets of its structures are read from it, never guessed.
pub(super) fn check_btf(host: &Host) -> Finding {
    const CHECK: &str = "btf";
    match fs::read(host.path(BTF)) {
        Ok(bytes) if bytes.starts_with(&BTF_MAGIC) => Finding::ok(CHECK, format!("{BTF}, {} KiB", bytes.len() / 1024)),
        Ok(_) => Finding::fail(CHECK, format!("{BTF} is not type information"), "use the distribution's kernel"),
        Err(error) => Finding::fail(
            CHECK,
            format!("{BTF} cannot be read ({error}): offsets of kernel structures are unknown"),
            "use a kernel with CONFIG_DEBUG_INFO_BTF=y (all current distributions), and mount /sys",
        ),
    }
}

/// The tracepoints that count every byte of a socket, whatever system call moved it.
pub(super) fn check_byte_ledger(host: &Host) -> Finding {
    const CHECK: &str = "byte-ledger";
    let btf = fs::read(host.path(BTF)).unwrap_or_default();
    let has = |name: &str| {
        let entry = format!("\0{name}\0");
        btf.windows(entry.len()).any(|window| window == entry.as_bytes())
    };
    if has("btf_trace_sock_send_length") && has("btf_trace_sock_recv_length") {
        return Finding::ok(CHECK, "full: every byte on a socket is counted, so what was not observed is known");
    }
    Finding::fail(
        CHECK,
        "this kernel has no sock_send_length and sock_recv_length: sessions cannot be observed",
        UPGRADE,
    )
}

/// Lockdown mode.
pub(super) fn check_lockdown(host: &Host) -> Finding {
    const CHECK: &str = "lockdown";
    const REMEDY: &str = "boot with lockdown=integrity or without lockdown";
    let forbidden = "confidentiality: kernel programs may not read kernel memory";
    if let Ok(modes) = host.read("/sys/kernel/security/lockdown") {
        return match modes.split(['[', ']']).nth(1) {
            Some("confidentiality") => Finding::fail(CHECK, forbidden, REMEDY),
            Some(mode) => Finding::ok(CHECK, mode),
            None => Finding::ok(CHECK, "not active"),
        };
    }
    let command_line = host.read("/proc/cmdline").unwrap_or_default();
    if command_line.split_whitespace().any(|word| word == "lockdown=confidentiality") {
        return Finding::fail(CHECK, forbidden, REMEDY);
    }
    if host.mounts("securityfs").is_empty() {
        let meaning =
            "the mode is not known, because securityfs is not mounted; confidentiality would forbid observation";
        return Finding::warn(CHECK, meaning, "mount -t securityfs none /sys/kernel/security");
    }
    Finding::ok(CHECK, "not built into this kernel")
}

/// The bpf(2) system call.
pub(super) fn check_bpf(host: &Host) -> Finding {
    const CHECK: &str = "bpf";
    match (host.bpf)() {
        Bpf::Usable => Finding::ok(CHECK, "bpf(2) works, with ring buffers"),
        Bpf::NoRingBuffer => Finding::fail(CHECK, "bpf(2) has no ring buffers", UPGRADE),
        Bpf::Refused(why) => Finding::fail(
            CHECK,
            format!("bpf(2) is refused ({why})"),
            "run as root; in a container also allow the bpf system call (seccomp) and the capabilities above",
        ),
    }
}

/// Whether every user may load BPF programs.
pub(super) fn check_unprivileged_bpf(host: &Host) -> Finding {
    const CHECK: &str = "unprivileged-bpf";
    match host.read("/proc/sys/kernel/unprivileged_bpf_disabled").as_deref() {
        Ok("0") => Finding::warn(
            CHECK,
            "0: every user may load BPF programs; Warder does not need that",
            "sysctl kernel.unprivileged_bpf_disabled=2",
        ),
        Ok(value) => Finding::ok(CHECK, format!("{value}: only privileged processes load programs, which is enough")),
        Err(_) => Finding::ok(CHECK, "not known: this kernel does not say"),
    }
}

/// The perf device through which probes in executables are attached.
pub(super) fn check_uprobes(host: &Host) -> Finding {
    const CHECK: &str = "uprobes";
    match host.read("/sys/bus/event_source/devices/uprobe/type") {
        Ok(_) => Finding::ok(CHECK, "available: statements can be read in the server, also under TLS"),
        Err(error) => Finding::fail(
            CHECK,
            format!("no uprobe device ({error}): sessions could be counted, but no statement be read"),
            "use a kernel with CONFIG_UPROBE_EVENTS=y, and mount /sys",
        ),
    }
}

/// The unified hierarchy: ids of cgroups come from the kernel, their names from here.
pub(super) fn check_cgroup2(host: &Host) -> Finding {
    const CHECK: &str = "cgroup2";
    match host.mounts("cgroup2").first() {
        Some(at) => Finding::ok(CHECK, format!("mounted at {at}")),
        None => Finding::warn(
            CHECK,
            "not mounted: cgroups of processes are recorded as numbers without names",
            "mount -t cgroup2 none /sys/fs/cgroup (or .../unified beside version 1)",
        ),
    }
}

/// File systems that tools like this one use. None is required.
pub(super) fn check_filesystems(host: &Host) -> Finding {
    let state = |name: &str| {
        let mounts = host.mounts(name);
        mounts.first().map_or_else(|| format!("{name} not mounted"), |at| format!("{name} at {at}"))
    };
    let all = ["tracefs", "bpf", "securityfs"].map(state).join(", ");
    Finding::ok("file-systems", format!("{all} (none is required)"))
}
