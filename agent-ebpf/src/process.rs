//! Who acts: identity of the current process, captured here and now, because a client may live for 3 ms.
//!
//! Also exec, fork and exit of processes that hold a session.

use agent_common::process::{
    ANCESTORS_MAX, ARGUMENTS_BYTES_MAX, ARGUMENTS_TRUNCATED, ARGUMENTS_UNREADABLE, Ancestor, COMPONENT_BYTES_MAX,
    EXECUTABLE_DELETED, EXECUTABLE_TRUNCATED, EXECUTABLE_UNREADABLE, Exited, Forked, Identified, PATH_BYTES_MAX,
    PATH_COMPONENTS_MAX,
};
use agent_common::{ABI_VERSION, Header, kind};
use aya_ebpf::helpers::generated::{
    bpf_get_current_cgroup_id, bpf_get_current_pid_tgid, bpf_get_current_task, bpf_ktime_get_boot_ns, bpf_loop,
    bpf_probe_read_kernel_str, bpf_probe_read_user,
};
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;

use crate::maps::{CLIENT_PROCESSES, EVENTS, OWNERS, count_loss, offsets, settings, wake_flags};
use crate::read::{kernel, kernel_or_zero};
use crate::session;

/// `I_CTIME_QUERIED`, since 6.13: a flag in the unused top bit of the nanoseconds.
const CTIME_QUERIED: u32 = 1 << 31;

/// Reports the current process in the role of `record_kind`.
#[inline(never)]
pub(crate) fn report_current(record_kind: u32, cookie: u64, other_cookie: u64) -> u32 {
    let Some(mut entry) = EVENTS.reserve::<Identified>(0) else {
        count_loss(record_kind);
        return 0;
    };
    // SAFETY: a reserved, writable record.
    unsafe { identify_current(entry.as_mut_ptr(), record_kind, cookie, other_cookie) };
    entry.submit(wake_flags());
    0
}

/// Writes who the current process is.
///
/// # Safety
/// `record` must be reserved and writable. Every field of it that user space reads is written.
#[inline(always)]
pub(crate) unsafe fn identify_current(record: *mut Identified, record_kind: u32, cookie: u64, other_cookie: u64) {
    // SAFETY: the caller's promise.
    unsafe {
        (*record).header = Header { kind: record_kind, abi: ABI_VERSION, at: bpf_ktime_get_boot_ns() };
        (*record).cookie = cookie;
        (*record).other_cookie = other_cookie;
        (*record).cgroup = bpf_get_current_cgroup_id();
        let task = bpf_get_current_task();
        credentials(record, task);
        executable(record, task);
        arguments(record, task);
        ancestors(record, task);
    }
}

/// Thread-group id of the current task.
#[inline(always)]
pub(crate) fn current_pid() -> u32 {
    // SAFETY: no arguments, always succeeds in a task context.
    unsafe { (bpf_get_current_pid_tgid() >> 32) as u32 }
}

#[inline(always)]
fn start_of(task: u64) -> u64 {
    let leader: u64 = kernel_or_zero(task, offsets().task_group_leader);
    kernel_or_zero(leader, offsets().task_start_boottime)
}

#[inline(always)]
unsafe fn credentials(record: *mut Identified, task: u64) {
    let at = offsets();
    let cred: u64 = kernel_or_zero(task, at.task_real_cred);
    let leader: u64 = kernel_or_zero(task, at.task_group_leader);
    let nsproxy: u64 = kernel_or_zero(task, at.task_nsproxy);
    let mount_namespace: u64 = kernel_or_zero(nsproxy, at.nsproxy_mount);
    // SAFETY: the caller passes a reserved record.
    unsafe {
        (*record).pid = kernel_or_zero(task, at.task_tgid);
        (*record).start = start_of(task);
        (*record).uid = kernel(cred, at.cred_uid).unwrap_or(u32::MAX);
        (*record).gid = kernel(cred, at.cred_gid).unwrap_or(u32::MAX);
        (*record).login_uid = kernel(task, at.task_loginuid).unwrap_or(u32::MAX);
        (*record).mount_namespace = kernel_or_zero(mount_namespace, at.mount_namespace_inum);
        (*record).tty = terminal(task);
        (*record).name = kernel_or_zero(leader, at.task_comm);
    }
}

/// Device number of the controlling terminal, `u32::MAX` without one.
#[inline(always)]
fn terminal(task: u64) -> u32 {
    let at = offsets();
    let signal: u64 = kernel_or_zero(task, at.task_signal);
    let tty: u64 = kernel_or_zero(signal, at.signal_tty);
    let driver: u64 = kernel_or_zero(tty, at.tty_driver);
    let (Some(index), Some(major), Some(first)) = (
        kernel::<u32>(tty, at.tty_index),
        kernel::<u32>(driver, at.tty_driver_major),
        kernel::<u32>(driver, at.tty_driver_minor_start),
    ) else {
        return u32::MAX;
    };
    (major << 20) | (first.wrapping_add(index) & 0xf_ffff)
}

#[inline(always)]
unsafe fn executable(record: *mut Identified, task: u64) {
    let at = offsets();
    let mm: u64 = kernel_or_zero(task, at.task_mm);
    let file: u64 = kernel_or_zero(mm, at.mm_exe_file);
    let inode: u64 = kernel_or_zero(file, at.file_inode);
    let superblock: u64 = kernel_or_zero(inode, at.inode_super);
    // SAFETY: the caller passes a reserved record.
    unsafe {
        (*record).executable_inode = kernel_or_zero(inode, at.inode_number);
        (*record).executable_device = kernel_or_zero(superblock, at.super_device);
        (*record).executable_changed_seconds = kernel_or_zero(inode, at.inode_ctime_seconds);
        (*record).executable_changed_nanos = kernel_or_zero::<u32>(inode, at.inode_ctime_nanos) & !CTIME_QUERIED;
        (*record).flags = path(record, file);
    }
}

/// A walk from a file's dentry up to the root of its mount namespace.
#[repr(C)]
struct PathWalk {
    record: *mut Identified,
    dentry: u64,
    mount: u64,
    used: u32,
    flags: u32,
}

/// Writes the names on the way, leaf first. Returns `EXECUTABLE_*` flags.
#[inline(always)]
unsafe fn path(record: *mut Identified, file: u64) -> u32 {
    let at = offsets();
    let dentry: u64 = kernel_or_zero(file, at.file_path_dentry);
    let vfsmount: u64 = kernel_or_zero(file, at.file_path_mnt);
    // SAFETY: the caller passes a reserved record.
    unsafe { (*record).path_bytes = 0 };
    if dentry == 0 || vfsmount == 0 || at.mount_vfsmount == u32::MAX {
        return EXECUTABLE_UNREADABLE;
    }
    let unhashed = kernel::<u64>(dentry, at.dentry_hash_pprev) == Some(0);
    let mut walk = PathWalk {
        record,
        dentry,
        mount: vfsmount - u64::from(at.mount_vfsmount),
        used: 0,
        flags: EXECUTABLE_TRUNCATED | if unhashed { EXECUTABLE_DELETED } else { 0 },
    };
    // SAFETY: `path_step` has the signature that bpf_loop calls; `walk` outlives the call.
    unsafe {
        bpf_loop(PATH_COMPONENTS_MAX as u32, path_step as *mut _, (&raw mut walk).cast(), 0);
        (*record).path_bytes = walk.used;
    }
    walk.flags
}

/// One dentry, or one mount point; returns 1 to stop.
unsafe extern "C" fn path_step(_index: u32, context: *mut PathWalk) -> i64 {
    // SAFETY: bpf_loop passes the context of `path`.
    let walk = unsafe { &mut *context };
    let at = offsets();
    let root: u64 = kernel_or_zero(walk.mount + u64::from(at.mount_vfsmount), at.vfsmount_root);
    let parent: u64 = kernel_or_zero(walk.dentry, at.dentry_parent);
    if walk.dentry == root || walk.dentry == parent {
        let above: u64 = kernel_or_zero(walk.mount, at.mount_parent);
        if above == walk.mount || above == 0 || walk.dentry != root {
            walk.flags &= !EXECUTABLE_TRUNCATED;
            if walk.used == 0 && walk.dentry != root {
                // In no folder at all: a file in memory has only a name.
                add_name(walk);
            }
            return 1;
        }
        walk.dentry = kernel_or_zero(walk.mount, at.mount_mountpoint);
        walk.mount = above;
        return 0;
    }
    if walk.used >= (PATH_BYTES_MAX - COMPONENT_BYTES_MAX) as u32 || !add_name(walk) {
        return 1;
    }
    walk.dentry = parent;
    0
}

/// Writes the name of the dentry that the walk has reached behind those before it.
#[inline(always)]
fn add_name(walk: &mut PathWalk) -> bool {
    let at = offsets();
    let name: u64 = kernel_or_zero(walk.dentry, at.dentry_name);
    // The compiler knows this bound and would drop the mask; the verifier needs to see it.
    let offset = core::hint::black_box(walk.used) & (PATH_BYTES_MAX - COMPONENT_BYTES_MAX - 1) as u32;
    // SAFETY: `offset` leaves room for COMPONENT_BYTES_MAX bytes within `path`.
    let length = unsafe {
        let target = (&raw mut (*walk.record).path).cast::<u8>().add(offset as usize);
        bpf_probe_read_kernel_str(target.cast(), COMPONENT_BYTES_MAX as u32, name as *const _)
    };
    if length <= 0 || length > COMPONENT_BYTES_MAX as i64 {
        return false;
    }
    walk.used += length as u32;
    true
}

#[inline(always)]
unsafe fn arguments(record: *mut Identified, task: u64) {
    let at = offsets();
    let mm: u64 = kernel_or_zero(task, at.task_mm);
    let start: u64 = kernel_or_zero(mm, at.mm_arg_start);
    let end: u64 = kernel_or_zero(mm, at.mm_arg_end);
    // SAFETY: the caller passes a reserved record.
    unsafe { (*record).arguments_bytes = 0 };
    if settings().capture_arguments == 0 {
        return;
    }
    let mut length = end.wrapping_sub(start);
    if start == 0 || end <= start {
        // SAFETY: as above.
        unsafe { (*record).flags |= ARGUMENTS_UNREADABLE };
        return;
    }
    if length > ARGUMENTS_BYTES_MAX as u64 {
        length = ARGUMENTS_BYTES_MAX as u64;
        // SAFETY: as above.
        unsafe { (*record).flags |= ARGUMENTS_TRUNCATED };
    }
    // SAFETY: `length` is at most the size of `arguments`.
    unsafe {
        let target = (&raw mut (*record).arguments).cast();
        if bpf_probe_read_user(target, length as u32, start as *const _) == 0 {
            (*record).arguments_bytes = length as u32;
        } else {
            (*record).flags |= ARGUMENTS_UNREADABLE;
        }
    }
}

#[inline(always)]
unsafe fn ancestors(record: *mut Identified, task: u64) {
    let at = offsets();
    let mut child: u64 = kernel_or_zero(task, at.task_group_leader);
    let mut used: u32 = 0;
    for index in 0..ANCESTORS_MAX {
        let parent: u64 = kernel_or_zero(child, at.task_real_parent);
        let leader: u64 = kernel_or_zero(parent, at.task_group_leader);
        let pid: u32 = kernel_or_zero(leader, at.task_tgid);
        if pid == 0 || leader == child {
            break;
        }
        let cred: u64 = kernel_or_zero(leader, at.task_real_cred);
        // SAFETY: `index` is below the length of the array in a reserved record.
        unsafe {
            let entry = (&raw mut (*record).ancestors).cast::<Ancestor>().add(index);
            (*entry).start = kernel_or_zero(leader, at.task_start_boottime);
            (*entry).pid = pid;
            (*entry).uid = kernel(cred, at.cred_uid).unwrap_or(u32::MAX);
            (*entry).name = kernel_or_zero(leader, at.task_comm);
        }
        used = index as u32 + 1;
        child = leader;
    }
    // SAFETY: the caller passes a reserved record.
    unsafe { (*record).ancestors_used = used };
}

/// Remembers the current process as the client of a session.
#[inline(always)]
pub(crate) fn track_current() {
    // SAFETY: no arguments.
    let start = start_of(unsafe { bpf_get_current_task() });
    let _ = CLIENT_PROCESSES.insert(current_pid(), start, 0);
}

/// `sched_process_exec(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)`, since 3.4.
#[btf_tracepoint(function = "sched_process_exec")]
fn executed(_ctx: BtfTracePointContext) -> i32 {
    // SAFETY: no arguments.
    let task = unsafe { bpf_get_current_task() };
    let pid = current_pid();
    if CLIENT_PROCESSES.get_ptr(pid).is_some() || is_server(task) {
        report_current(kind::EXECUTED, 0, 0);
    }
    0
}

/// A database server that starts: user space looks for its listeners and for a replaced executable.
#[inline(always)]
fn is_server(task: u64) -> bool {
    let leader: u64 = kernel_or_zero(task, offsets().task_group_leader);
    let name: [u8; 16] = kernel_or_zero(leader, offsets().task_comm);
    u64::from_ne_bytes([name[0], name[1], name[2], name[3], name[4], name[5], name[6], name[7]])
        == u64::from_ne_bytes(*b"postgres")
        && name[8] == 0
}

/// `sched_process_fork(struct task_struct *parent, struct task_struct *child)`, since 2.6.32.
#[btf_tracepoint(function = "sched_process_fork")]
fn forked(ctx: BtfTracePointContext) -> i32 {
    let parent = current_pid();
    let Some(parent_start) = CLIENT_PROCESSES.get_ptr(parent) else { return 0 };
    // SAFETY: the pointer comes from the map; a concurrent replacement only changes the value read.
    let parent_start = unsafe { *parent_start };
    let task: *const u8 = ctx.arg(1);
    let child: u32 = kernel_or_zero(task as u64, offsets().task_tgid);
    if child == parent || child == 0 {
        return 0;
    }
    let child_start = start_of(task as u64);
    let _ = CLIENT_PROCESSES.insert(child, child_start, 0);
    let Some(mut entry) = EVENTS.reserve::<Forked>(0) else {
        count_loss(kind::FORKED);
        return 0;
    };
    // SAFETY: no arguments.
    let at = unsafe { bpf_ktime_get_boot_ns() };
    entry.write(Forked {
        header: Header { kind: kind::FORKED, abi: ABI_VERSION, at },
        parent_start,
        child_start,
        parent,
        child,
    });
    entry.submit(wake_flags());
    0
}

/// Whether no thread of the current task's process is left. `signal_struct.live` counts them, and a thread that ends is
/// taken off before the tracepoint fires.
#[inline(always)]
fn is_last_thread() -> bool {
    // SAFETY: no arguments.
    let task = unsafe { bpf_get_current_task() };
    let signal: u64 = kernel_or_zero(task, offsets().task_signal);
    kernel::<u32>(signal, offsets().signal_live) == Some(0)
}

/// `sched_process_exit(struct task_struct *p, ...)`, since 2.6.32. Fires per thread, also for the first one when another
/// goes on without it, or executes a program and takes its place.
#[btf_tracepoint(function = "sched_process_exit")]
fn exited(_ctx: BtfTracePointContext) -> i32 {
    if !is_last_thread() {
        return 0;
    }
    let pid = current_pid();
    if let Some(cookie) = OWNERS.get_ptr(pid) {
        // SAFETY: the pointer comes from the map.
        session::owner_exited(unsafe { *cookie });
        let _ = OWNERS.remove(pid);
    }
    let Some(start) = CLIENT_PROCESSES.get_ptr(pid) else { return 0 };
    // SAFETY: the pointer comes from the map.
    let start = unsafe { *start };
    let _ = CLIENT_PROCESSES.remove(pid);
    let Some(mut entry) = EVENTS.reserve::<Exited>(0) else {
        count_loss(kind::EXITED);
        return 0;
    };
    // SAFETY: no arguments.
    let at = unsafe { bpf_ktime_get_boot_ns() };
    entry.write(Exited { header: Header { kind: kind::EXITED, abi: ABI_VERSION, at }, start, pid, reserved: 0 });
    entry.submit(wake_flags());
    0
}
