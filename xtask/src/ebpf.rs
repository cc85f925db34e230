//! Builds the eBPF objects: finds or installs a toolchain that can compile `core` for BPF, then compiles `agent-ebpf`.
//!
//! Tried in order; the one that is used is printed:
//! 1. a nightly toolchain with its `rust-src` component;
//! 2. the stable toolchain with `rust-src` and `RUSTC_BOOTSTRAP=1`;
//! 3. Debian's `rustc-web` packages.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

/// The last version whose default features borrow LLVM from rustc instead of needing LLVM's development package.
const BPF_LINKER_VERSION: &str = "0.10.3";

/// A toolchain that compiles `core` for `bpfel-unknown-none`.
enum Toolchain {
    Nightly,
    StableBootstrap,
    DebianWeb { llvm_directory: PathBuf },
}

impl Toolchain {
    fn describe(&self) -> &'static str {
        match self {
            Self::Nightly => "nightly with rust-src",
            Self::StableBootstrap => "stable with rust-src and RUSTC_BOOTSTRAP=1",
            Self::DebianWeb { .. } => "Debian's rustc-web",
        }
    }

    fn cargo(&self) -> Command {
        match self {
            Self::Nightly => rustup_cargo("nightly"),
            Self::StableBootstrap => {
                let mut command = rustup_cargo("stable");
                command.env("RUSTC_BOOTSTRAP", "1");
                command
            }
            Self::DebianWeb { llvm_directory } => {
                let mut command = Command::new("/usr/bin/cargo");
                command
                    .env("RUSTC", "/usr/bin/rustc")
                    .env("RUSTC_BOOTSTRAP", "1")
                    .env("LD_LIBRARY_PATH", llvm_directory);
                command
            }
        }
    }
}

fn rustup_cargo(toolchain: &str) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", toolchain, "cargo"]);
    command
}

/// Makes sure that a BPF toolchain and `bpf-linker` are there; installs what is missing. Quick when nothing is.
///
/// # Errors
/// Names the three toolchains that were tried when none works.
pub(crate) fn install_toolchain() -> Result<()> {
    find_toolchain()?;
    if !linker_is_current() {
        eprintln!("  installing bpf-linker {BPF_LINKER_VERSION} (about a minute)");
        let status = Command::new("cargo")
            .args(["install", "bpf-linker", "--version", BPF_LINKER_VERSION, "--locked", "--force"])
            .env_remove("CARGO_TARGET_DIR")
            .status()
            .context("cargo could not be started")?;
        ensure!(status.success(), "cargo install bpf-linker {BPF_LINKER_VERSION} failed");
    }
    Ok(())
}

/// The compiled objects.
pub(crate) struct Objects {
    /// The observing programs, which end with the agent.
    witness: PathBuf,
    /// The steering program, which outlives it.
    steering: PathBuf,
}

impl Objects {
    /// What the build scripts that embed the objects look for.
    pub(crate) fn environment(&self) -> [(&'static str, &Path); 2] {
        [("WARDER_BPF_OBJECT", &self.witness), ("WARDER_STEER_OBJECT", &self.steering)]
    }
}

/// Compiles `agent-ebpf`.
///
/// # Errors
/// When no toolchain is found or the compilation fails.
pub(crate) fn build(workspace: &Path) -> Result<Objects> {
    let toolchain = find_toolchain()?;
    eprintln!("  BPF toolchain: {}", toolchain.describe());
    let target_directory = workspace.join("target").join("bpf");
    let arch = std::env::consts::ARCH;
    // aya-ebpf chooses register layouts by this cfg; bpf-linker writes BTF, which the maps and tp_btf programs need.
    let flags = [format!("--cfg=bpf_target_arch=\"{arch}\""), "-Cdebuginfo=2".into(), "-Clink-arg=--btf".into()];
    let status = toolchain
        .cargo()
        .args(["build", "--package", "agent-ebpf", "--release", "-Z", "build-std=core"])
        .args(["--target", "bpfel-unknown-none", "--target-dir"])
        .arg(&target_directory)
        .current_dir(workspace)
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        .env_remove("CARGO_TARGET_DIR")
        // How the agent is to be optimised is nothing for these programs: less, and they do not fit the kernel's stack.
        .env_remove("CARGO_PROFILE_RELEASE_LTO")
        .env_remove("CARGO_PROFILE_RELEASE_CODEGEN_UNITS")
        .env_remove("CARGO_PROFILE_RELEASE_OPT_LEVEL")
        .env_remove("RUSTC_WRAPPER")
        .env_remove("RUSTUP_TOOLCHAIN")
        .env("PATH", path_with_cargo_bin()?)
        .status()
        .context("cargo could not be started")?;
    ensure!(status.success(), "the eBPF programs did not compile (see the messages above)");
    let folder = target_directory.join("bpfel-unknown-none").join("release");
    Ok(Objects { witness: folder.join("warder"), steering: folder.join("steer") })
}

fn find_toolchain() -> Result<Toolchain> {
    if has_rust_src("nightly") {
        return Ok(Toolchain::Nightly);
    }
    if has_rust_src("stable") {
        return Ok(Toolchain::StableBootstrap);
    }
    match debian_llvm_directory() {
        Some(llvm_directory) => Ok(Toolchain::DebianWeb { llvm_directory }),
        None if install_debian_web() => match debian_llvm_directory() {
            Some(llvm_directory) => Ok(Toolchain::DebianWeb { llvm_directory }),
            None => bail!("Debian's rustc-web is installed but libLLVM was not found beside it"),
        },
        None => bail!(
            "no toolchain can compile for BPF. Tried: rustup component add rust-src --toolchain nightly; \
             the same with --toolchain stable; apt-get install rustc-web cargo-web rust-web-src. \
             Install one of them and run this again"
        ),
    }
}

fn has_rust_src(toolchain: &str) -> bool {
    let installed = || {
        let sysroot = quiet(Command::new("rustup").args(["run", toolchain, "rustc", "--print", "sysroot"]))?;
        let source = Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core/Cargo.toml");
        source.exists().then_some(())
    };
    if installed().is_some() {
        return true;
    }
    let added = quiet(Command::new("rustup").args(["component", "add", "rust-src", "--toolchain", toolchain]));
    added.is_some() && installed().is_some()
}

fn install_debian_web() -> bool {
    let mut command = Command::new("apt-get");
    command.args(["install", "-y", "-qq", "rustc-web", "cargo-web", "rust-web-src"]);
    quiet(command.env("DEBIAN_FRONTEND", "noninteractive")).is_some()
}

fn debian_llvm_directory() -> Option<PathBuf> {
    let version = quiet(Command::new("/usr/bin/rustc").arg("-vV"))?;
    let major = version.lines().find_map(|line| line.strip_prefix("LLVM version: "))?.split('.').next()?.to_owned();
    let library = format!("libLLVM.so.{major}");
    let directories = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu"].map(PathBuf::from);
    let llvm_own = PathBuf::from(format!("/usr/lib/llvm-{major}/lib"));
    directories.into_iter().chain([llvm_own]).find(|directory| {
        std::fs::read_dir(directory).is_ok_and(|entries| {
            entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with(&library))
        })
    })
}

fn linker_is_current() -> bool {
    let Ok(path) = path_with_cargo_bin() else { return false };
    let version = quiet(Command::new("bpf-linker").arg("--version").env("PATH", path));
    version.is_some_and(|text| text.contains(BPF_LINKER_VERSION))
}

/// `cargo install` puts binaries where a root shell's PATH often does not look.
fn path_with_cargo_bin() -> Result<String> {
    let home = std::env::var("HOME").context("HOME is not set")?;
    let cargo_home = std::env::var("CARGO_HOME").unwrap_or_else(|_| format!("{home}/.cargo"));
    let path = std::env::var("PATH").unwrap_or_default();
    Ok(format!("{cargo_home}/bin:{path}"))
}

/// Standard output of a command that succeeded.
fn quiet(command: &mut Command) -> Option<String> {
    let output = command.stderr(Stdio::null()).stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}
