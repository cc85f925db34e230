//! The few calls of bpf(2) that the library has no type for: links of network namespaces, and pins.

use std::ffi::CString;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

// `enum bpf_cmd` and `enum bpf_attach_type` of `include/uapi/linux/bpf.h`.
const OBJECT_PIN: libc::c_long = 6;
const OBJECT_GET: libc::c_long = 7;
const OBJECT_INFO: libc::c_long = 15;
const PROGRAM_QUERY: libc::c_long = 16;
/// Since 5.7 for network namespaces.
const LINK_CREATE: libc::c_long = 28;
/// Since 5.7.
const LINK_UPDATE: libc::c_long = 29;
/// Since 5.9.
const LINK_DETACH: libc::c_long = 34;
const ATTACH_SK_LOOKUP: u32 = 36;

/// Type of a link to a network namespace (`enum bpf_link_type`).
const LINK_TYPE_NETNS: u32 = 5;

#[repr(C)]
struct Pin {
    path: u64,
    fd: u32,
    flags: u32,
}

#[repr(C)]
struct Info {
    fd: u32,
    length: u32,
    info: u64,
}

#[repr(C)]
struct Query {
    target: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    ids: u64,
    count: u32,
    reserved: u32,
}

#[repr(C)]
struct Link {
    program_or_link: u32,
    target_or_program: u32,
    attach_type_or_flags: u32,
    flags_or_old: u32,
}

/// `struct bpf_link_info` with the member for network namespaces.
#[repr(C)]
#[derive(Default)]
struct RawLinkInfo {
    kind: u32,
    id: u32,
    program: u32,
    reserved: u32,
    namespace: u32,
    attach_type: u32,
}

/// The beginning of `struct bpf_prog_info`.
#[repr(C)]
#[derive(Default)]
struct RawProgramInfo {
    kind: u32,
    id: u32,
}

/// What the kernel says about a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LinkInfo {
    /// Id of the link.
    pub(crate) id: u32,
    /// Id of the program that it attaches.
    pub(crate) program: u32,
    /// Inode of the network namespace; 0 when the link is detached or the namespace has gone.
    pub(crate) namespace: u32,
}

fn call<T>(command: libc::c_long, attributes: &mut T) -> io::Result<libc::c_long> {
    // SAFETY: bpf(2) reads and writes at most `size` bytes of the structure, which is borrowed for the call; what is
    // behind the pointers in it is borrowed by the callers below.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn owned(fd: libc::c_long) -> io::Result<OwnedFd> {
    let fd = i32::try_from(fd).map_err(|_too_large| io::Error::from_raw_os_error(libc::EBADF))?;
    // SAFETY: bpf(2) returned a new descriptor (close-on-exec) that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn number(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_nul| io::Error::from_raw_os_error(libc::EINVAL))
}

/// Keeps an object alive by a path on bpffs.
pub(crate) fn pin(fd: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    call(OBJECT_PIN, &mut Pin { path: path.as_ptr() as u64, fd: number(fd), flags: 0 }).map(drop)
}

/// Opens a pinned object.
pub(crate) fn pinned(path: &Path) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    owned(call(OBJECT_GET, &mut Pin { path: path.as_ptr() as u64, fd: 0, flags: 0 })?)
}

/// Attaches a program to a network namespace.
pub(crate) fn attach(program: BorrowedFd<'_>, namespace: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let mut link = Link {
        program_or_link: number(program),
        target_or_program: number(namespace),
        attach_type_or_flags: ATTACH_SK_LOOKUP,
        flags_or_old: 0,
    };
    owned(call(LINK_CREATE, &mut link)?)
}

/// Puts another program into a link; there is no moment without one.
pub(crate) fn replace(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut update = Link {
        program_or_link: number(link),
        target_or_program: number(program),
        attach_type_or_flags: 0,
        flags_or_old: 0,
    };
    call(LINK_UPDATE, &mut update).map(drop)
}

/// Detaches a link for everybody who holds it.
pub(crate) fn detach(link: BorrowedFd<'_>) -> io::Result<()> {
    call(LINK_DETACH, &mut number(link)).map(drop)
}

/// What a descriptor of a link leads to. `None`: it is another kind of object.
pub(crate) fn link_info(link: BorrowedFd<'_>) -> io::Result<Option<LinkInfo>> {
    let mut raw = RawLinkInfo::default();
    info(link, &mut raw)?;
    let is_ours = raw.kind == LINK_TYPE_NETNS && raw.attach_type == ATTACH_SK_LOOKUP;
    Ok(is_ours.then_some(LinkInfo { id: raw.id, program: raw.program, namespace: raw.namespace }))
}

/// Id of a program.
pub(crate) fn program_id(program: BorrowedFd<'_>) -> io::Result<u32> {
    let mut raw = RawProgramInfo::default();
    info(program, &mut raw)?;
    Ok(raw.id)
}

fn info<T>(fd: BorrowedFd<'_>, raw: &mut T) -> io::Result<()> {
    let length = u32::try_from(size_of::<T>()).unwrap_or(0);
    call(OBJECT_INFO, &mut Info { fd: number(fd), length, info: std::ptr::from_mut(raw) as u64 }).map(drop)
}

/// How many programs of this kind a network namespace has, ours and others.
pub(crate) fn programs_attached(namespace: BorrowedFd<'_>) -> io::Result<u32> {
    let mut query = Query {
        target: number(namespace),
        attach_type: ATTACH_SK_LOOKUP,
        query_flags: 0,
        attach_flags: 0,
        ids: 0,
        count: 0,
        reserved: 0,
    };
    call(PROGRAM_QUERY, &mut query)?;
    Ok(query.count)
}

// Elements of the socket map: its values are descriptors on the way in and cookies on the way out.
const ELEMENT_LOOKUP: libc::c_long = 1;
const ELEMENT_UPDATE: libc::c_long = 2;
const ELEMENT_DELETE: libc::c_long = 3;

#[repr(C)]
struct Element {
    map: u32,
    reserved: u32,
    key: u64,
    value: u64,
    flags: u64,
}

fn element(command: libc::c_long, map: BorrowedFd<'_>, slot: u32, value: &mut u64) -> io::Result<()> {
    let (key, value) = (std::ptr::from_ref(&slot) as u64, std::ptr::from_mut(value) as u64);
    call(command, &mut Element { map: number(map), reserved: 0, key, value, flags: 0 }).map(drop)
}

/// Puts a listening socket into a slot.
pub(crate) fn set_socket(map: BorrowedFd<'_>, slot: u32, socket: BorrowedFd<'_>) -> io::Result<()> {
    element(ELEMENT_UPDATE, map, slot, &mut u64::from(number(socket)))
}

/// Empties a slot. `ENOENT` or `EINVAL` (older kernels): it is empty.
pub(crate) fn clear_socket(map: BorrowedFd<'_>, slot: u32) -> io::Result<()> {
    match element(ELEMENT_DELETE, map, slot, &mut 0) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EINVAL)) => Ok(()),
        other => other,
    }
}

/// Cookie of the socket in a slot.
pub(crate) fn socket_cookie(map: BorrowedFd<'_>, slot: u32) -> io::Result<Option<u64>> {
    let mut cookie = 0;
    match element(ELEMENT_LOOKUP, map, slot, &mut cookie) {
        Ok(()) => Ok(Some(cookie)),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}
