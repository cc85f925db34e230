//! What this process is allowed to do.

use super::{Finding, Host};

const CAP_NET_ADMIN: u32 = 12;
const CAP_SYS_PTRACE: u32 = 19;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;

/// Effective capabilities. `CAP_SYS_ADMIN` stands in for `CAP_BPF` and `CAP_PERFMON`, as in the kernel.
pub(super) fn check_capabilities(host: &Host) -> Finding {
    const CHECK: &str = "capabilities";
    let status = host.read("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let Some(effective) = line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()) else {
        return Finding::fail(CHECK, "the capabilities of this process cannot be read", "mount /proc");
    };
    let has = |capability: u32| effective >> capability & 1 == 1;
    let required = [
        (has(CAP_BPF) || has(CAP_SYS_ADMIN), "CAP_BPF"),
        (has(CAP_PERFMON) || has(CAP_SYS_ADMIN), "CAP_PERFMON"),
        (has(CAP_SYS_PTRACE), "CAP_SYS_PTRACE"),
    ];
    let useful = [(has(CAP_SYS_ADMIN), "CAP_SYS_ADMIN"), (has(CAP_NET_ADMIN), "CAP_NET_ADMIN")];
    let missing = |wanted: &[(bool, &'static str)]| {
        wanted.iter().filter(|(there, _)| !there).map(|(_, name)| *name).collect::<Vec<_>>().join(", ")
    };
    match (missing(&required), missing(&useful)) {
        (required, _) if !required.is_empty() => Finding::fail(
            CHECK,
            format!("{required} missing: kernel programs cannot be loaded, or servers not be found"),
            "run as root, or grant these capabilities to the service",
        ),
        (_, useful) if !useful.is_empty() => Finding::warn(
            CHECK,
            format!("{useful} missing: servers in other network and mount namespaces (containers) are not observed"),
            "run as root, or grant these capabilities to the service",
        ),
        _ => Finding::ok(CHECK, "all that is needed"),
    }
}
