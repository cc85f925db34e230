//! Every check on trees of files, each with one defect.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::host::Bpf;
use super::proxy::Surveyed;
use super::*;
use crate::config::{Account, Database};

const FULL_CAPABILITIES: &str = "Name:\twarder\nCapEff:\t000001ffffffffff\n";
const BTF_OF_6_18: &[u8] = b"\x9f\xeb\x01\0btf_trace_sock_send_length\0btf_trace_sock_recv_length\0";
const MOUNTS: &str = "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\nnone /sys/kernel/security securityfs rw 0 0\n";
const TCP_HEADER: &str =
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";
const UNIX_HEADER: &str = "Num       RefCount Protocol Flags    Type St Inode Path\n";

/// A host on which everything is as it should be, in a folder.
struct Tree {
    folder: tempfile::TempDir,
    host: Host,
    config: Config,
}

impl Tree {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let host = Host {
            root: folder.path().to_owned(),
            bpf: || Bpf::Usable,
            functions: |file| Ok(capture::symbols::find(file)),
            user: |_| Some(990),
            group: |_| Some(991),
            survey: |_, _| Ok(Surveyed { differences: None, replication: None, minting: None }),
        };
        let socket = folder.path().join("no-agent.sock");
        let mut config = Config::default();
        config.agent.control_socket = socket;
        config.metrics_listen = None;
        let tree = Self { folder, host, config };
        tree.write("/proc/self/status", FULL_CAPABILITIES);
        tree.write("/proc/self/mounts", MOUNTS);
        tree.write("/proc/sys/kernel/osrelease", "6.18.1\n");
        tree.write("/proc/sys/kernel/unprivileged_bpf_disabled", "2\n");
        tree.write("/sys/kernel/btf/vmlinux", BTF_OF_6_18);
        tree.write("/sys/kernel/security/lockdown", "none [integrity] confidentiality\n");
        tree.write("/sys/bus/event_source/devices/uprobe/type", "8\n");
        fs::create_dir_all(tree.host.path("/var/lib/warder")).unwrap();
        tree
    }

    fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.host.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn remove(&self, path: &str) {
        fs::remove_file(self.host.path(path)).unwrap();
    }

    /// A server process: this test's own binary under the name `postgres`, which exports nothing.
    fn server(&self, pid: u32) {
        let binary = self.folder.path().join("postgres");
        if !binary.exists() {
            symlink(std::env::current_exe().unwrap(), &binary).unwrap();
        }
        let process = self.host.path(&format!("/proc/{pid}"));
        fs::create_dir_all(process.join("fd")).unwrap();
        symlink(&binary, process.join("exe")).unwrap();
        symlink("socket:[111]", process.join("fd/3")).unwrap();
        symlink("socket:[112]", process.join("fd/4")).unwrap();
        symlink("/dev/null", process.join("fd/5")).unwrap();
        let listening =
            "   0: 0100007F:1538 00000000:0000 0A 00000000:00000000 00:00000000 00000000   100        0 111 1 x\n";
        let foreign =
            "   1: 0100007F:1539 00000000:0000 0A 00000000:00000000 00:00000000 00000000   100        0 999 1 x\n";
        let connected =
            "   2: 0100007F:1540 00000000:0000 01 00000000:00000000 00:00000000 00000000   100        0 112 1 x\n";
        self.write(&format!("/proc/{pid}/net/tcp"), format!("{TCP_HEADER}{listening}{foreign}{connected}"));
        let path = "/run/postgresql/.s.PGSQL.5432";
        self.write(
            &format!("/proc/{pid}/net/unix"),
            format!("{UNIX_HEADER}x: 00000002 00000000 00010000 0001 01 112 {path}\n"),
        );
    }

    #[track_caller]
    fn check(&self, check: &str, status: Status, words: &str) {
        let findings = examine(&self.host, &self.config);
        let finding = findings.iter().find(|finding| finding.check == check).expect(check);
        assert_eq!(finding.status, status, "{finding:?}");
        let said = format!("{} -> {}", finding.meaning, finding.remedy.as_deref().unwrap_or_default());
        assert!(said.contains(words), "{said:?} does not say {words:?}");
        assert_eq!(finding.status != Status::Ok, finding.remedy.is_some(), "a remedy exactly where one is needed");
        let failed = findings.iter().any(|finding| finding.status == Status::Fail);
        assert_eq!(can_observe(&findings), !failed);
    }
}

#[test]
fn a_good_host_can_be_observed() {
    let tree = Tree::new();
    let findings = examine(&tree.host, &tree.config);
    let bad: Vec<_> = findings.iter().filter(|finding| finding.status != Status::Ok).collect();
    assert_eq!(bad.len(), 1, "only that no server runs: {bad:?}");
    tree.check("servers", Status::Warn, "no PostgreSQL server listens");
    assert!(can_observe(&findings));
}

#[test]
fn capabilities() {
    for (mask, status, words) in [
        ("0000000000000000", Status::Fail, "CAP_BPF, CAP_PERFMON, CAP_SYS_PTRACE missing"),
        ("000001ffffefffff", Status::Ok, "all that is needed"),
        ("0000000000281000", Status::Ok, "all that is needed"),
        ("000000c000080000", Status::Warn, "CAP_SYS_ADMIN, CAP_NET_ADMIN missing"),
        ("0000008000080000", Status::Fail, "CAP_PERFMON missing"),
        ("000001fffff7ffff", Status::Fail, "CAP_SYS_PTRACE missing"),
    ] {
        let tree = Tree::new();
        tree.write("/proc/self/status", format!("CapPrm:\t000001ffffffffff\nCapEff:\t{mask}\n"));
        tree.check("capabilities", status, words);
    }
    let tree = Tree::new();
    tree.remove("/proc/self/status");
    tree.check("capabilities", Status::Fail, "cannot be read");
}

#[test]
fn kernel_releases() {
    for (release, status) in [
        ("6.18.1", Status::Ok),
        ("6.3.0-1-amd64", Status::Ok),
        ("6.2.16", Status::Warn),
        ("6.1.0-27-amd64", Status::Warn),
        ("5.8.0", Status::Warn),
        ("5.7.19", Status::Fail),
        ("4.19-x", Status::Fail),
        ("nonsense", Status::Fail),
    ] {
        let tree = Tree::new();
        tree.write("/proc/sys/kernel/osrelease", release);
        let said = if status == Status::Ok { String::new() } else { " -> use Linux 6.3 or later".to_owned() };
        tree.check("kernel", status, release);
        tree.check("kernel", status, &said);
    }
}

#[test]
fn type_information() {
    let tree = Tree::new();
    tree.remove("/sys/kernel/btf/vmlinux");
    tree.check("btf", Status::Fail, "CONFIG_DEBUG_INFO_BTF");
    tree.check("byte-ledger", Status::Fail, "cannot be observed");
    tree.write("/sys/kernel/btf/vmlinux", "something else");
    tree.check("btf", Status::Fail, "not type information");
    tree.write("/sys/kernel/btf/vmlinux", b"\x9f\xeb\x01\0btf_trace_sock_send_length_x\0btf_trace_sock_recv_length\0");
    tree.check("btf", Status::Ok, "vmlinux");
    tree.check("byte-ledger", Status::Fail, "Linux 6.3");
    Tree::new().check("byte-ledger", Status::Ok, "full");
}

#[test]
fn nothing_is_loaded_where_the_kernel_lacks_what_is_needed() {
    let tree = Tree::new();
    assert!(ensure_kernel(&tree.host).is_ok());
    // What is only missed does not stop the agent.
    tree.write("/proc/self/mounts", "");
    assert!(ensure_kernel(&tree.host).is_ok());
    tree.remove("/sys/kernel/btf/vmlinux");
    tree.write("/sys/kernel/security/lockdown", "none integrity [confidentiality]\n");
    let told = ensure_kernel(&tree.host).unwrap_err().to_string();
    assert!(told.starts_with("this host cannot be observed (btf, byte-ledger, lockdown)"), "{told}");
}

#[test]
fn lockdown() {
    let tree = Tree::new();
    tree.check("lockdown", Status::Ok, "integrity");
    tree.write("/sys/kernel/security/lockdown", "none integrity [confidentiality]\n");
    tree.check("lockdown", Status::Fail, "may not read kernel memory");
    tree.remove("/sys/kernel/security/lockdown");
    tree.check("lockdown", Status::Ok, "not built into this kernel");
    tree.write("/proc/self/mounts", "");
    tree.check("lockdown", Status::Warn, "mount -t securityfs");
    tree.write("/proc/cmdline", "root=/dev/vda lockdown=confidentiality quiet\n");
    tree.check("lockdown", Status::Fail, "lockdown=integrity");
}

#[test]
fn kernel_interfaces() {
    let mut tree = Tree::new();
    tree.write("/proc/self/mounts", "cgroup /sys/fs/cgroup/cpu cgroup rw 0 0\n");
    tree.check("cgroup2", Status::Warn, "mount -t cgroup2");
    tree.write("/proc/self/mounts", "none /sys/fs/cgroup/unified cgroup2 rw 0 0\nbpf /sys/fs/bpf bpf rw 0 0\n");
    tree.check("cgroup2", Status::Ok, "/sys/fs/cgroup/unified");
    tree.check("file-systems", Status::Ok, "tracefs not mounted, bpf at /sys/fs/bpf, securityfs not mounted");
    tree.write("/proc/sys/kernel/unprivileged_bpf_disabled", "0\n");
    tree.check("unprivileged-bpf", Status::Warn, "sysctl kernel.unprivileged_bpf_disabled=2");
    tree.remove("/sys/bus/event_source/devices/uprobe/type");
    tree.check("uprobes", Status::Fail, "CONFIG_UPROBE_EVENTS");
    tree.host.bpf = || Bpf::Refused("Operation not permitted".into());
    tree.check("bpf", Status::Fail, "Operation not permitted");
    tree.host.bpf = || Bpf::NoRingBuffer;
    tree.check("bpf", Status::Fail, "use Linux 6.3 or later");
}

#[test]
fn accounts_and_folders() {
    let mut tree = Tree::new();
    tree.check("journal-directory", Status::Ok, "will be created");
    fs::create_dir_all(tree.host.path("/var/lib/warder/journal")).unwrap();
    tree.check("journal-directory", Status::Ok, "can be written");
    tree.config.journal.limits.segment_bytes_max = 4096;
    tree.check("journal-space", Status::Ok, "bytes are free at /var/lib/warder/journal");
    tree.config.journal.limits.segment_bytes_max = u64::MAX;
    tree.check("journal-space", Status::Warn, "make room");
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(tree.host.path("/var/lib/warder/journal"), fs::Permissions::from_mode(0o777)).unwrap();
    tree.check("journal-directory", Status::Warn, "chmod 0750");
    fs::remove_dir(tree.host.path("/var/lib/warder/journal")).unwrap();
    tree.write("/var/lib/warder/journal", "a file");
    tree.check("journal-directory", Status::Fail, "is not a folder");
    tree.config.agent.user = Account::Name("nobody-here".into());
    tree.host.user = |_| None;
    tree.check("user", Status::Fail, "useradd --system");
    tree.host.user = |_| Some(0);
    tree.check("user", Status::Fail, "full power");
    tree.host.group = |_| None;
    tree.check("group", Status::Fail, "groupadd --system");
}

#[test]
fn the_metrics_port() {
    let mut tree = Tree::new();
    tree.check("metrics-port", Status::Ok, "turned off");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    tree.config.metrics_listen = taken.local_addr().ok();
    tree.check("metrics-port", Status::Warn, "another program");
    drop(taken);
    tree.check("metrics-port", Status::Ok, "is free");
    tree.config.metrics_listen = "192.0.2.1:9464".parse().ok();
    tree.check("metrics-port", Status::Warn, "choose an address of this host");
}

#[test]
fn servers_are_found_by_their_own_listeners() {
    let mut tree = Tree::new();
    tree.server(77);
    tree.write("/proc/78/net/tcp", TCP_HEADER);
    tree.check("servers", Status::Ok, "(pid 77) listens on port 5432, /run/postgresql/.s.PGSQL.5432");
    tree.check("server-functions", Status::Warn, "does not export be_tls_read, be_tls_write");
    let database = |name: &str, port| Database { name: name.into(), port: Some(port), ..Database::default() };
    tree.config.databases = vec![database("there", 5432), database("absent", 5433)];
    let findings = examine(&tree.host, &tree.config);
    let absent = findings.iter().filter(|finding| finding.meaning.contains("belongs to [[database]]"));
    let absent: Vec<_> = absent.map(|finding| &*finding.meaning).collect();
    assert_eq!(absent, ["no running server belongs to [[database]] \"absent\""]);
}

#[test]
fn a_real_server_exports_its_functions() {
    let Some(binary) = (13..=20)
        .map(|major| format!("/usr/lib/postgresql/{major}/bin/postgres"))
        .find(|path| Path::new(path).exists())
    else {
        println!("SKIPPED: no PostgreSQL of the distribution is installed");
        return;
    };
    let tree = Tree::new();
    tree.server(77);
    fs::remove_file(tree.folder.path().join("postgres")).unwrap();
    symlink(binary, tree.folder.path().join("postgres")).unwrap();
    tree.check("server-functions", Status::Ok, "also under TLS");
}

/// A database behind the proxy, as the configuration's text says it.
fn guarded(tree: &mut Tree, lines: &str) {
    let text = format!("[[database]]\nname = \"orders\"\nport = 5432\n[database.proxy]\n{lines}\n");
    tree.write("/warder.toml", text);
    let config = Config::load(Some(&tree.host.path("/warder.toml"))).unwrap();
    (tree.config.proxy, tree.config.databases) = (config.proxy, config.databases);
    tree.host.user = |account| Some(if *account == Account::Name("warder-proxy".into()) { 980 } else { 990 });
}

#[test]
fn nothing_is_said_of_a_proxy_that_is_not_there() {
    let tree = Tree::new();
    let findings = examine(&tree.host, &tree.config);
    assert!(!findings.iter().any(|finding| finding.check.starts_with("proxy")), "{findings:?}");
}

#[test]
fn what_the_proxy_needs_of_the_host() {
    let mut tree = Tree::new();
    guarded(&mut tree, "hop_address = [\"127.86.0.1\"]");
    tree.check("proxy-account", Status::Ok, "uid 980");
    tree.check("proxy-pins", Status::Ok, "that the agent mounts");
    tree.write("/proc/self/mounts", "bpf /sys/fs/bpf bpf rw 0 0\n");
    tree.check("proxy-pins", Status::Ok, "/sys/fs/bpf/warder is on a BPF");
    tree.config.proxy.pin_directory = "/elsewhere/warder".into();
    tree.check("proxy-pins", Status::Warn, "mount -t bpf");
    tree.host.user = |_| Some(990);
    tree.check("proxy-account", Status::Fail, "the core's account");
    tree.host.user = |account| (*account != Account::Name("warder-proxy".into())).then_some(990);
    tree.check("proxy-account", Status::Fail, "useradd --system");
    tree.host.user = |_| Some(0);
    tree.check("proxy-account", Status::Fail, "full power");
}

#[test]
fn what_the_proxy_will_do_and_hide() {
    let mut tree = Tree::new();
    guarded(&mut tree, "hop_address = [\"127.86.0.1\"]\nlisten = [\"127.0.0.1:6432\"]");
    tree.check(
        "proxy",
        Status::Ok,
        "steered after `warder steer on`, it listens on 127.0.0.1:6432; without a live worker",
    );
    tree.check("proxy", Status::Ok, "let through to the server");
    tree.check("proxy-tls", Status::Ok, "relayed unread");
    tree.check(
        "proxy-differences",
        Status::Ok,
        "clients of other hosts are 127.86.0.1; all of it: docs/transparency.md",
    );
    guarded(&mut tree, "steer = true\nmode = \"enforce\"");
    tree.check("proxy", Status::Ok, "orders: TCP is steered; without a live worker connections are refused");
    tree.check("proxy-differences", Status::Ok, "clients of other hosts are an address of this host");
    let files = "certificate = \"/nowhere/c.pem\"\nprivate_key = \"/nowhere/k.pem\"";
    guarded(&mut tree, &format!("steer = true\ntls = \"own-certificate\"\n{files}"));
    tree.check("proxy-tls", Status::Warn, "/nowhere/c.pem cannot be read");
}

#[test]
fn whose_processes_are_refused_past_the_proxy() {
    let mut tree = Tree::new();
    let listen = "listen = [\"127.0.0.1:6432\"]";
    guarded(&mut tree, &format!("{listen}\nrefuse_direct = \"/nowhere/app.slice\""));
    tree.check("proxy-refusal", Status::Warn, "are not refused: /nowhere/app.slice: No such file");
    guarded(&mut tree, &format!("{listen}\nrefuse_direct = \"/proc\""));
    tree.check("proxy-refusal", Status::Warn, "/proc: it is no control group of the unified hierarchy");
}

#[test]
fn what_the_rules_make_of_the_hop() {
    let mut tree = Tree::new();
    guarded(&mut tree, "steer = true");
    tree.check("proxy-access", Status::Ok, "as about its clients");
    tree.host.survey = |_, _| {
        Ok(Surveyed {
            differences: Some("pg_hba.conf:3: add: host all".into()),
            replication: Some("standbys".into()),
            minting: Some(vec!["host all +readers".into()]),
        })
    };
    tree.check("proxy-minting", Status::Warn, "or let in anybody: host all +readers -> add the lines");
    tree.check("proxy-access", Status::Warn, "pg_hba.conf:3: add: host all -> add the lines");
    tree.check("proxy-replication", Status::Ok, "orders: standbys");
    tree.host.survey = |_, _| Err("no server".into());
    tree.check("proxy-access", Status::Warn, "not known (no server)");
}

#[test]
fn findings_as_text_and_json() {
    let findings = [
        Finding::ok("kernel", "Linux 6.18"),
        Finding::warn("cgroup2", "not\x1b[31m mounted", "mount it"),
        Finding::fail("btf", "missing", "use another kernel"),
    ];
    let expected = "\
ok    kernel             Linux 6.18
warn  cgroup2            not\\u{1b}[31m mounted
                         -> mount it
FAIL  btf                missing
                         -> use another kernel
this host cannot be observed; see FAIL above
";
    assert_eq!(text(&findings, Terminal::PIPE), expected);
    let parsed: serde_json::Value = serde_json::from_str(&json(&findings).unwrap()).unwrap();
    assert_eq!(parsed["can_observe"], false);
    assert_eq!(parsed["findings"][1]["remedy"], "mount it");
    assert_eq!(parsed["findings"][0]["status"], "ok");
    assert!(
        text(&findings[..2], Terminal::PIPE)
            .ends_with("this host can be observed; see 1 x warn above for what will be missing\n")
    );
}
