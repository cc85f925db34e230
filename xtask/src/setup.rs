//! Installs what the tasks need on a Debian or Ubuntu machine with Rust and root. Quick when everything is there.
//!
//! Never touches a database cluster of the host: the server's package is told not to make one, and every cluster of
//! the tasks is private (see `warder_tests::cluster`).

mod suites;

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use nix::unistd::Uid;
use warder_tests::account::Account;
use warder_tests::tooling;

use crate::ebpf;
use crate::progress::{note, step};
use crate::shell::{foreground, has_program};

/// Where `postgresql-common` is told not to make a cluster when a server is installed.
const CREATE_CLUSTER: &str = "/etc/postgresql-common/createcluster.conf";

/// Programs and the packages that bring them.
const PROGRAMS: &[(&str, &str)] = &[
    ("cc", "build-essential"),
    ("openssl", "openssl"),
    ("ip", "iproute2"),
    ("setpriv", "util-linux"),
    ("nsenter", "util-linux"),
    ("zstd", "zstd"),
];

/// Programs for the drivers of other languages, needed by the tests only.
const DRIVER_PROGRAMS: &[(&str, &str)] = &[("python3", "python3"), ("node", "nodejs"), ("npm", "npm")];

/// Installs everything that any task needs.
///
/// # Errors
/// When a package manager fails.
pub(crate) fn everything() -> Result<()> {
    for_demo()?;
    for_tests()
}

/// What `build` needs.
pub(crate) fn for_build() -> Result<()> {
    for_units()?;
    step("tools: BPF toolchain", ebpf::install_toolchain)
}

/// What `demo` needs: PostgreSQL, small tools, the BPF toolchain.
pub(crate) fn for_demo() -> Result<()> {
    ensure!(
        Uid::effective().is_root(),
        "this task needs root: it loads eBPF programs and starts servers as other users"
    );
    step("tools: system packages", || {
        install_programs(PROGRAMS)?;
        install_programs(&[(tooling::SYSTEM_PYTHON, "python3")])?;
        install_postgres()
    })?;
    for_build()
}

/// What `fuzz` needs: libFuzzer is written in C++.
pub(crate) fn for_fuzz() -> Result<()> {
    install_programs(&[("c++", "build-essential")])?;
    for_units()
}

/// What compiling needs beyond Rust: the bindings to libpg_query are made by libclang, with the headers that come with it.
pub(crate) fn for_units() -> Result<()> {
    if has_package("libclang-dev") { Ok(()) } else { install_packages(&["libclang-dev"]) }
}

fn has_package(name: &str) -> bool {
    let mut command = Command::new("dpkg-query");
    let output = command.args(["--show", "--showformat=${Status}", name]).output();
    output.is_ok_and(|output| output.stdout.ends_with(b" installed"))
}

/// What `test` and `bench` need beyond [`for_demo`].
pub(crate) fn for_tests() -> Result<()> {
    step("tools: drivers", || {
        install_programs(DRIVER_PROGRAMS)?;
        install_pgaudit()?;
        install_python_packages()?;
        install_node_packages()?;
        install_syslog()?;
        unpack_prometheus()
    })?;
    step("tools: suites of the proxy", suites::install)
}

fn install_programs(programs: &[(&str, &str)]) -> Result<()> {
    let missing = programs.iter().filter(|(program, _)| !has_program(program));
    let mut packages: Vec<&str> = missing.map(|(_, package)| *package).collect();
    packages.dedup();
    install_packages(&packages)
}

fn install_packages(packages: &[&str]) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    note(&format!("apt-get install {}", packages.join(" ")));
    with_current_lists(|| apt_install(packages))
}

/// Does `work`, and once more with fresh package lists: new machines have none, or old ones.
fn with_current_lists(work: impl Fn() -> Result<()>) -> Result<()> {
    if work().is_ok() {
        return Ok(());
    }
    foreground(Command::new("apt-get").args(["update", "-qq"]))?;
    work()
}

fn apt_install(packages: &[&str]) -> Result<()> {
    let mut command = Command::new("apt-get");
    command.args(["install", "-y", "-qq", "--no-install-recommends"]).args(packages);
    foreground(command.env("DEBIAN_FRONTEND", "noninteractive"))
}

/// The distribution's PostgreSQL, without a cluster.
fn install_postgres() -> Result<()> {
    if tooling::postgres_programs().is_err() {
        install_packages(&["postgresql-common"])?;
        let before = fs::read_to_string(CREATE_CLUSTER).unwrap_or_default();
        fs::write(CREATE_CLUSTER, format!("{before}\ncreate_main_cluster = false\n"))?;
        let installed = install_packages(&["postgresql"]);
        fs::write(CREATE_CLUSTER, before).context(CREATE_CLUSTER)?;
        installed?;
    }
    if Account::postgres().is_err() {
        note("useradd postgres");
        foreground(Command::new("useradd").args(["--system", "--no-create-home", "--shell", "/bin/sh", "postgres"]))?;
    }
    Ok(())
}

fn install_pgaudit() -> Result<()> {
    let major = tooling::postgres_major()?;
    let control = format!("/usr/share/postgresql/{major}/extension/pgaudit.control");
    if Path::new(&control).exists() {
        return Ok(());
    }
    install_packages(&[&format!("postgresql-{major}-pgaudit")])
}

/// A syslog server with its TLS module. Tests start their own, on loopback with a configuration of their own.
fn install_syslog() -> Result<()> {
    let module = format!("/usr/lib/{}-linux-gnu/rsyslog/lmnsd_ossl.so", std::env::consts::ARCH);
    if Path::new("/usr/sbin/rsyslogd").exists() && Path::new(&module).exists() {
        return Ok(());
    }
    install_packages(&["rsyslog", "rsyslog-openssl"])
}

/// Unpacks the distribution's Prometheus for its `promtool`. It is not installed: the package would make an account and
/// a service that starts by itself, now or with the next boot.
fn unpack_prometheus() -> Result<()> {
    let programs = tooling::prometheus_programs()?;
    if programs.join("promtool").is_file() {
        return Ok(());
    }
    note("unpacking the package prometheus");
    let target = tooling::cache_directory()?.join("prometheus");
    let folder = tempfile::tempdir()?;
    with_current_lists(|| {
        let mut command = Command::new("apt-get");
        // The folder is ours: the account that apt downloads with by default could not write into it.
        command.args(["download", "-qq", "-o", "APT::Sandbox::User=root", "prometheus"]).current_dir(folder.path());
        foreground(&mut command)
    })?;
    for package in fs::read_dir(folder.path())? {
        fs::create_dir_all(&target)?;
        foreground(Command::new("dpkg-deb").arg("--extract").arg(package?.path()).arg(&target))?;
    }
    ensure!(programs.join("promtool").is_file(), "the package prometheus has no promtool");
    Ok(())
}

fn install_python_packages() -> Result<()> {
    let environment = tooling::python_environment()?;
    keep_current(&environment, tooling::PYTHON_PACKAGES, || {
        let create = || foreground(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&environment));
        if create().is_err() {
            // Debian and Ubuntu package the module by itself.
            install_packages(&["python3-venv"])?;
            create()?;
        }
        let mut pip = Command::new(environment.join("bin/python"));
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary=:all:"]);
        foreground(pip.args(tooling::PYTHON_PACKAGES))
    })
}

fn install_node_packages() -> Result<()> {
    let environment = tooling::node_environment()?;
    keep_current(&environment, tooling::NODE_PACKAGES, || {
        fs::create_dir_all(&environment)?;
        let mut npm = Command::new("npm");
        npm.args(["install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"]).arg(&environment);
        foreground(npm.args(tooling::NODE_PACKAGES))
    })
}

/// Runs `install` unless `directory` says that exactly these packages are in it.
fn keep_current(directory: &Path, packages: &[&str], install: impl FnOnce() -> Result<()>) -> Result<()> {
    let stamp = directory.join("warder-packages");
    let wanted = packages.join("\n");
    if fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
        return Ok(());
    }
    note(&format!("installing {} into {}", packages.join(" "), directory.display()));
    if let Some(parent) = directory.parent() {
        fs::create_dir_all(parent)?;
    }
    install()?;
    Ok(fs::write(stamp, wanted)?)
}
