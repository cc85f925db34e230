//! The eBPF programs: embedded at build time, loaded and attached at run time.

use std::path::Path;

use agent_common::settings::Settings;
use aya::programs::{BtfTracePoint, Iter, ProgramError, UProbe};
use aya::{Btf, Ebpf, EbpfLoader};

use crate::decode::bytes_of;
use crate::offsets::{OffsetsError, from_btf};

/// Aligned for the ELF parser; empty in a build without the BPF toolchain.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/warder.bpf.o"));

/// Tracepoints with the kernel's own types: program name, tracepoint.
const TRACEPOINTS: [(&str, &str); 7] = [
    ("state_changed", "inet_sock_set_state"),
    ("destroyed", "tcp_destroy_sock"),
    ("received", "sock_recv_length"),
    ("sent", "sock_send_length"),
    ("executed", "sched_process_exec"),
    ("forked", "sched_process_fork"),
    ("exited", "sched_process_exit"),
];
const ITERATORS: [(&str, &str); 2] = [("scan_tcp", "tcp"), ("scan_unix", "unix")];
const PROBES: [&str; 4] = ["encrypted_read", "encrypted_read_return", "encrypted_write", "encrypted_write_return"];

/// Maps with one entry for each session at most.
const SIZED_BY_SESSIONS: [&str; 4] = ["SESSIONS", "OWNERS", "CLIENT_PROCESSES", "HOPS"];

/// Size and limits of one load.
#[derive(Clone, Copy, Debug)]
pub struct LoadOptions {
    /// Size of the ring buffer; a power of two, at least a page.
    pub ring_bytes: u32,
    /// Sessions observed at once.
    pub sessions_max: u32,
    /// Bytes of one client message that are copied.
    pub message_bytes_max: u32,
    /// Whether command lines are captured at all.
    pub capture_arguments: bool,
    /// Which diagnostics the programs give.
    pub diagnostics: Diagnostics,
}

/// Diagnostics of the eBPF programs, masked at load: what is masked costs nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Diagnostics {
    /// What an operator should know.
    Warnings,
    /// Also every stream that is not understood.
    Debug,
}

/// Why the programs could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Built without the object.
    #[error("this binary was built without its eBPF programs: build it with `cargo xtask build`")]
    NoObject,
    /// BTF or offsets.
    #[error(transparent)]
    Offsets(#[from] OffsetsError),
    /// The kernel's BTF could not be parsed.
    #[error("the kernel's BTF cannot be used")]
    Btf(#[from] aya::BtfError),
    /// The object was refused.
    #[error("the kernel refused the eBPF object (root with CAP_BPF and CAP_PERFMON is needed; see `warder doctor`)")]
    Object(#[from] aya::EbpfError),
    /// One program was refused.
    #[error("the kernel refused the eBPF program {program}")]
    Program {
        /// Which.
        program: &'static str,
        /// Why; carries the verifier's log.
        #[source]
        source: ProgramError,
    },
    /// The object lacks something that this version needs.
    #[error("the eBPF object has no {0}: object and agent are of different versions")]
    Missing(&'static str),
}

/// Loads every program; attaches nothing.
///
/// # Errors
/// See [`LoadError`].
pub fn load(options: &LoadOptions) -> Result<Ebpf, LoadError> {
    if OBJECT.is_empty() {
        return Err(LoadError::NoObject);
    }
    let offsets = from_btf(Path::new("/sys/kernel/btf/vmlinux"))?;
    let processors = aya::util::nr_cpus().map_or(1, |count| u32::try_from(count).unwrap_or(u32::MAX)).max(1);
    let settings = Settings {
        message_bytes_max: options.message_bytes_max,
        content_fill_max: options.ring_bytes / 8 * 7,
        wake_fill: options.ring_bytes / 8,
        // Half of what is kept for other records, shared by all processors.
        fill_check_bytes: options.ring_bytes / 16 / processors,
        capture_arguments: u32::from(options.capture_arguments),
    };
    let level = match options.diagnostics {
        Diagnostics::Warnings => aya_log::Level::Warn,
        Diagnostics::Debug => aya_log::Level::Debug,
    } as u8;
    let btf = Btf::from_sys_fs()?;
    let mut loader = EbpfLoader::new();
    for map in SIZED_BY_SESSIONS {
        loader.map_max_entries(map, options.sessions_max);
    }
    let mut ebpf = loader
        // Task storage: the library creates it, and has no type to read it with. Nobody reads it.
        .allow_unsupported_maps()
        .btf(Some(&btf))
        .override_global("OFFSETS", bytes_of(&offsets), true)
        .override_global("SETTINGS", bytes_of(&settings), true)
        .override_global(aya_log::LEVEL, &level, true)
        .map_max_entries("EVENTS", options.ring_bytes)
        .load(OBJECT)?;
    for (program, tracepoint) in TRACEPOINTS {
        let loaded: &mut BtfTracePoint = named(&mut ebpf, program)?;
        loaded.load(tracepoint, &btf).map_err(|source| LoadError::Program { program, source })?;
    }
    for (program, kind) in ITERATORS {
        let loaded: &mut Iter = named(&mut ebpf, program)?;
        loaded.load(kind, &btf).map_err(|source| LoadError::Program { program, source })?;
    }
    for program in PROBES {
        let loaded: &mut UProbe = named(&mut ebpf, program)?;
        loaded.load().map_err(|source| LoadError::Program { program, source })?;
    }
    drop(btf);
    return_memory();
    Ok(ebpf)
}

/// The kernel's types were parsed into many small pieces; without this their memory stays with the process.
fn return_memory() {
    // SAFETY: malloc_trim(3) may be called at any time; it only gives free memory back.
    unsafe { libc::malloc_trim(0) };
}

/// Attaches the tracepoints: from here on the kernel reports.
///
/// # Errors
/// When a tracepoint cannot be attached.
pub fn attach_tracepoints(ebpf: &mut Ebpf) -> Result<(), LoadError> {
    for (program, _) in TRACEPOINTS {
        let loaded: &mut BtfTracePoint = named(ebpf, program)?;
        loaded.attach().map_err(|source| LoadError::Program { program, source })?;
    }
    Ok(())
}

/// A program by name and type.
pub(crate) fn named<'a, P>(ebpf: &'a mut Ebpf, program: &'static str) -> Result<&'a mut P, LoadError>
where
    &'a mut P: TryFrom<&'a mut aya::programs::Program>,
{
    let found = ebpf.program_mut(program).ok_or(LoadError::Missing(program))?;
    <&mut P>::try_from(found).ok().ok_or(LoadError::Missing(program))
}
