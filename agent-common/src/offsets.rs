//! Offsets of kernel structure members, found by user space in the running kernel's BTF.
//!
//! Rust emits no CO-RE relocations. A member that was not found stays [`POISON`] and every read through it
//! fails; after the load a self-test compares what is read with `/proc` and `getsockname`.

/// No offset: reads through it fail.
pub const POISON: u32 = u32::MAX;

macro_rules! offsets {
    ($($field:ident: $structure:literal . $($member:literal)|+;)*) => {
        /// Byte offsets, in the read-only global `OFFSETS`.
        #[repr(C)]
        #[derive(Clone, Copy, Debug)]
        pub struct Offsets {
            $(#[doc = concat!("Offset within `struct ", $structure, "`.")] pub $field: u32,)*
        }

        impl Offsets {
            /// Every offset unknown.
            pub const POISONED: Self = Self { $($field: POISON,)* };

            /// Calls `find(structure, member paths)` for every field; the first path that exists wins.
            /// Returns the names of fields that were not found.
            pub fn fill(&mut self, mut find: impl FnMut(&str, &[&str]) -> Option<u32>, mut missing: impl FnMut(&'static str)) {
                $(match find($structure, &[$($member),+]) {
                    Some(offset) => self.$field = offset,
                    None => missing(concat!($structure, ".", stringify!($field))),
                })*
            }
        }
    };
}

offsets! {
    task_tgid: "task_struct"."tgid";
    task_real_parent: "task_struct"."real_parent";
    task_group_leader: "task_struct"."group_leader";
    task_start_boottime: "task_struct"."start_boottime" | "real_start_time";
    task_real_cred: "task_struct"."real_cred";
    task_loginuid: "task_struct"."loginuid";
    task_signal: "task_struct"."signal";
    task_mm: "task_struct"."mm";
    task_comm: "task_struct"."comm";
    task_nsproxy: "task_struct"."nsproxy";
    signal_tty: "signal_struct"."tty";
    signal_live: "signal_struct"."live";
    tty_index: "tty_struct"."index";
    tty_driver: "tty_struct"."driver";
    tty_driver_major: "tty_driver"."major";
    tty_driver_minor_start: "tty_driver"."minor_start";
    cred_uid: "cred"."uid";
    cred_gid: "cred"."gid";
    mm_exe_file: "mm_struct"."exe_file";
    mm_arg_start: "mm_struct"."arg_start";
    mm_arg_end: "mm_struct"."arg_end";
    file_path_mnt: "file"."f_path.mnt";
    file_path_dentry: "file"."f_path.dentry";
    file_inode: "file"."f_inode";
    inode_number: "inode"."i_ino";
    inode_super: "inode"."i_sb";
    inode_ctime_seconds: "inode"."i_ctime_sec" | "__i_ctime.tv_sec" | "i_ctime.tv_sec";
    inode_ctime_nanos: "inode"."i_ctime_nsec" | "__i_ctime.tv_nsec" | "i_ctime.tv_nsec";
    super_device: "super_block"."s_dev";
    dentry_parent: "dentry"."d_parent";
    dentry_name: "dentry"."d_name.name" | "__d_name.name";
    dentry_hash_pprev: "dentry"."d_hash.pprev";
    vfsmount_root: "vfsmount"."mnt_root";
    mount_vfsmount: "mount"."mnt";
    mount_parent: "mount"."mnt_parent";
    mount_mountpoint: "mount"."mnt_mountpoint";
    nsproxy_mount: "nsproxy"."mnt_ns";
    mount_namespace_inum: "mnt_namespace"."ns.inum";
    net_inum: "net"."ns.inum";
    sock_family: "sock"."__sk_common.skc_family";
    sock_port: "sock"."__sk_common.skc_num";
    sock_peer_port: "sock"."__sk_common.skc_dport";
    sock_peer_v4: "sock"."__sk_common.skc_daddr";
    sock_own_v4: "sock"."__sk_common.skc_rcv_saddr";
    sock_peer_v6: "sock"."__sk_common.skc_v6_daddr";
    sock_own_v6: "sock"."__sk_common.skc_v6_rcv_saddr";
    sock_state: "sock"."__sk_common.skc_state";
    sock_cookie: "sock"."__sk_common.skc_cookie";
    sock_net: "sock"."__sk_common.skc_net.net" | "__sk_common.skc_net";
    sock_socket: "sock"."sk_socket";
    sock_peer_pid: "sock"."sk_peer_pid";
    sock_peer_cred: "sock"."sk_peer_cred";
    socket_inode: "socket_alloc"."vfs_inode";
    unix_address: "unix_sock"."addr";
    unix_peer: "unix_sock"."peer";
    unix_address_length: "unix_address"."len";
    unix_address_name: "unix_address"."name";
    pid_numbers: "pid"."numbers";
}
