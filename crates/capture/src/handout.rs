//! Descriptors for the unprivileged core: the ring to consume, and read-only views of the counting maps.

use std::os::fd::{AsFd as _, FromRawFd as _, OwnedFd};

use aya::maps::{Map, MapData};

use crate::object::LoadError;
use crate::witness::{Witness, WitnessError};

/// Names of the maps, in the order of [`descriptors`]: the ring, then those of [`crate::counters::CounterDescriptors`].
const MAPS: [&str; 5] = ["EVENTS", "LOSSES", "COUNTERS", "PROBES", "SESSIONS"];

/// Duplicates for the core: the ring (its consumer position must be writable), then read-only maps.
///
/// # Errors
/// When a map is missing or the kernel refuses a descriptor.
pub fn descriptors(witness: &Witness) -> Result<Vec<OwnedFd>, WitnessError> {
    MAPS.into_iter()
        .enumerate()
        .map(|(index, name)| {
            let map = data(witness.ebpf.map(name).ok_or(LoadError::Missing(name))?).ok_or(LoadError::Missing(name))?;
            let info = map.info()?;
            if index == 0 {
                return map.fd().as_fd().try_clone_to_owned().map_err(WitnessError::Descriptor);
            }
            read_only(info.id()).map_err(WitnessError::Descriptor)
        })
        .collect()
}

fn data(map: &Map) -> Option<&MapData> {
    match map {
        Map::RingBuf(data) | Map::PerCpuArray(data) | Map::HashMap(data) | Map::Array(data) => Some(data),
        _ => None,
    }
}

/// `BPF_MAP_GET_FD_BY_ID` with `BPF_F_RDONLY` (since 4.13 and 4.15): the descriptor allows lookups only.
fn read_only(id: u32) -> std::io::Result<OwnedFd> {
    const BPF_MAP_GET_FD_BY_ID: libc::c_long = 14;
    const BPF_F_RDONLY: u32 = 1 << 3;
    #[repr(C)]
    struct Attributes {
        id: u32,
        next_id: u32,
        open_flags: u32,
    }
    let attributes = Attributes { id, next_id: 0, open_flags: BPF_F_RDONLY };
    // SAFETY: bpf(2) reads `attributes` only, of the given size.
    let descriptor =
        unsafe { libc::syscall(libc::SYS_bpf, BPF_MAP_GET_FD_BY_ID, &raw const attributes, size_of::<Attributes>()) };
    match i32::try_from(descriptor) {
        // SAFETY: the kernel returned a new descriptor that nobody else owns.
        Ok(descriptor) if descriptor >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(descriptor) }),
        _ => Err(std::io::Error::last_os_error()),
    }
}
