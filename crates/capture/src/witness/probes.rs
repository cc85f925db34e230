//! Probes in servers' executables: where encrypted bytes are plain. One attachment for each function of each inode, and
//! a slot for each attachment in the kernel's counters.

use std::collections::HashSet;
use std::fs::{self, File, Metadata};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;

use agent_common::settings::ProbeCounts;
use aya::Ebpf;
use aya::maps::{MapData, MapError, PerCpuArray, PerCpuValues};
use aya::programs::UProbe;
use aya::programs::uprobe::{UProbeAttachLocation, UProbeAttachPoint, UProbeLinkId, UProbeScope};
use aya::util::nr_cpus;

use super::{ScanReport, WitnessError, chain};
use crate::object::{LoadError, named};
use crate::processes::ProcessEntry;
use crate::symbols::Symbol;

/// Attachments at one time: the length of the map `PROBES`, and what fits into an attach cookie.
const SLOTS: usize = 256;
/// Calls before an attachment is judged to be a duplicate.
const JUDGED_AFTER: u64 = 64;
/// Attachments that one scan drops because nobody runs their executable: the kernel waits for every processor before it
/// lets go of one.
const DROPPED_PER_SCAN_MAX: usize = 8;
/// Bit of the attach cookie that tells GSS from TLS (`agent-ebpf`, `encrypted.rs`).
const COOKIE_GSS: u64 = 1 << 31;

/// A probe attached to a server's executable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeState {
    /// Index of the attachment's counters.
    pub attachment: u32,
    /// Function in the server.
    pub function: &'static str,
    /// Path of the executable as its process names it.
    pub executable: String,
    /// False once it was dropped: an exact duplicate of another, or nobody runs the executable any more.
    pub attached: bool,
}

/// A file, whatever its path: device and inode number. An attachment keeps its inode from being used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Inode(u64, u64);

struct Attachment {
    state: ProbeState,
    inode: Inode,
    links: Vec<(&'static str, UProbeLinkId)>,
}

/// All attachments.
#[derive(Default)]
pub(super) struct Probes {
    attachments: Vec<Attachment>,
    /// Executables that have what probes they can have.
    probed: HashSet<Inode>,
    /// Servers whose executable was not looked at yet.
    wanted: HashSet<u32>,
}

impl Probes {
    /// The next [`Self::attach`] looks at what these processes execute.
    pub(super) fn want(&mut self, servers: impl Iterator<Item = u32>) {
        self.wanted.extend(servers);
    }

    /// How each of them is.
    pub(super) fn states(&self) -> impl Iterator<Item = ProbeState> {
        self.attachments.iter().map(|attachment| attachment.state.clone())
    }

    /// Attaches to the encrypted reads and writes of every new server's executable, once per inode. What fails is
    /// tried again at the next scan, as long as the server runs.
    pub(super) fn attach(
        &mut self,
        ebpf: &mut Ebpf,
        look_up: &dyn Fn(&File) -> std::io::Result<Vec<Symbol>>,
        report: &mut ScanReport,
    ) {
        for pid in std::mem::take(&mut self.wanted) {
            let path = format!("/proc/{pid}/exe");
            // A server that has ended needs no probe.
            let Ok(file) = File::open(&path) else { continue };
            let Ok(inode) = file.metadata().map(|metadata| inode(&metadata)) else { continue };
            if self.probed.contains(&inode) {
                continue;
            }
            let executable = fs::read_link(&path).map(|path| path.display().to_string()).unwrap_or(path);
            match self.probe(ebpf, Server { file: &file, inode, executable: &executable }, look_up, report) {
                Ok(()) => {
                    self.probed.insert(inode);
                }
                Err(why) => {
                    report.warnings.push(format!("encrypted sessions of {executable} are not understood yet: {why}"));
                    self.wanted.insert(pid);
                }
            }
        }
    }

    fn probe(
        &mut self,
        ebpf: &mut Ebpf,
        server: Server<'_>,
        look_up: &dyn Fn(&File) -> std::io::Result<Vec<Symbol>>,
        report: &mut ScanReport,
    ) -> Result<(), String> {
        let Server { file, executable, .. } = server;
        let symbols = look_up(file).map_err(|error| error.to_string())?;
        if symbols.is_empty() {
            report.warnings.push(format!(
                "{executable} exports none of the functions that carry decrypted traffic: \
                 its encrypted sessions are counted but their statements are not seen"
            ));
        }
        for symbol in symbols {
            let slot = self.free_slot().ok_or_else(|| {
                format!("{SLOTS} functions of running servers are probed already, and no more can be told apart")
            })?;
            let state = self.attach_one(ebpf, slot, server, &symbol).map_err(|error| chain(&error))?;
            report.probes.push(state);
        }
        Ok(())
    }

    fn free_slot(&self) -> Option<u8> {
        (0..=u8::MAX).find(|slot| self.attachments.iter().all(|used| used.state.attachment != u32::from(*slot)))
    }

    fn attach_one(
        &mut self,
        ebpf: &mut Ebpf,
        slot: u8,
        server: Server<'_>,
        symbol: &Symbol,
    ) -> Result<ProbeState, WitnessError> {
        forget_counts(ebpf, slot)?;
        let gss = symbol.name.starts_with("be_gssapi");
        let cookie = u64::from(slot) | if gss { COOKIE_GSS } else { 0 };
        let programs = if symbol.name.ends_with("_read") {
            ["encrypted_read_return", "encrypted_read"]
        } else {
            ["encrypted_write_return", "encrypted_write"]
        };
        let mut links = Vec::new();
        for program in programs {
            let probe: &mut UProbe = named(ebpf, program)?;
            let point = UProbeAttachPoint {
                location: UProbeAttachLocation::AbsoluteOffset(symbol.file_offset),
                cookie: Some(cookie),
            };
            // The open descriptor names the inode itself, whatever happens to its path.
            let target = format!("/proc/self/fd/{}", server.file.as_raw_fd());
            let id = probe
                .attach(point, target, UProbeScope::AllProcesses)
                .map_err(|source| LoadError::Program { program, source })?;
            links.push((program, id));
        }
        let state = ProbeState {
            attachment: u32::from(slot),
            function: symbol.name,
            executable: server.executable.to_owned(),
            attached: true,
        };
        self.attachments.push(Attachment { state: state.clone(), inode: server.inode, links });
        Ok(state)
    }

    /// Drops an attachment all of whose calls another attachment of the same inode had already reported. It keeps its
    /// slot, for its executable has not changed.
    pub(super) fn drop_duplicates(&mut self, ebpf: &mut Ebpf, report: &mut ScanReport) -> Result<(), WitnessError> {
        let map = ebpf.map("PROBES").ok_or(LoadError::Missing("PROBES"))?;
        let counts: PerCpuArray<&MapData, ProbeCounts> = PerCpuArray::try_from(map)?;
        let mut dropped = Vec::new();
        for attachment in self.attachments.iter_mut().filter(|attachment| attachment.state.attached) {
            let values = counts.get(&attachment.state.attachment, 0)?;
            let hits: u64 = values.iter().map(|cpu| cpu.hits).sum();
            let duplicates: u64 = values.iter().map(|cpu| cpu.duplicates).sum();
            if hits >= JUDGED_AFTER && hits == duplicates {
                dropped.append(&mut attachment.detached(report));
            }
        }
        detach(ebpf, dropped)
    }

    /// Drops attachments of executables that no process runs: an upgraded server's, a removed container's. What is too
    /// much for one scan is left to the next.
    pub(super) fn drop_unused(
        &mut self,
        ebpf: &mut Ebpf,
        processes: &[ProcessEntry],
        report: &mut ScanReport,
    ) -> Result<(), WitnessError> {
        let executed = |pid: u32| fs::metadata(format!("/proc/{pid}/exe")).ok().map(|metadata| inode(&metadata));
        let running: HashSet<Inode> = processes.iter().filter_map(|process| executed(process.pid)).collect();
        let mut dropped = Vec::new();
        let mut left = DROPPED_PER_SCAN_MAX;
        self.attachments.retain_mut(|attachment| {
            if left == 0 || running.contains(&attachment.inode) {
                return true;
            }
            left -= 1;
            self.probed.remove(&attachment.inode);
            dropped.append(&mut attachment.detached(report));
            false
        });
        detach(ebpf, dropped)
    }
}

impl Attachment {
    /// Says that it is gone, and gives away what is to be detached.
    fn detached(&mut self, report: &mut ScanReport) -> Vec<(&'static str, UProbeLinkId)> {
        self.state.attached = false;
        report.probes.push(self.state.clone());
        std::mem::take(&mut self.links)
    }
}

/// What a server executes.
#[derive(Clone, Copy)]
struct Server<'a> {
    file: &'a File,
    inode: Inode,
    executable: &'a str,
}

fn inode(metadata: &Metadata) -> Inode {
    Inode(metadata.dev(), metadata.ino())
}

/// Who had the slot before is gone, and what it counted.
fn forget_counts(ebpf: &mut Ebpf, slot: u8) -> Result<(), WitnessError> {
    let map = ebpf.map_mut("PROBES").ok_or(LoadError::Missing("PROBES"))?;
    let mut counts: PerCpuArray<&mut MapData, ProbeCounts> = PerCpuArray::try_from(map)?;
    let cpus = nr_cpus().map_err(|(_, error)| MapError::IoError(error))?;
    let none = PerCpuValues::try_from(vec![ProbeCounts::default(); cpus]).map_err(MapError::IoError)?;
    Ok(counts.set(u32::from(slot), none, 0)?)
}

fn detach(ebpf: &mut Ebpf, links: Vec<(&'static str, UProbeLinkId)>) -> Result<(), WitnessError> {
    for (program, link) in links {
        let probe: &mut UProbe = named(ebpf, program)?;
        probe.detach(link).map_err(|source| LoadError::Program { program, source })?;
    }
    Ok(())
}
