//! `refuse_direct` of `[database.proxy]`: whose processes may not connect past the proxy.

use std::path::{Path, PathBuf};

use super::Database;
use super::check::Checker;
use super::file::Text;

const KEY: &str = "database.proxy.refuse_direct";

/// Where control groups are mounted: the folder itself is the root of all of them. In a hybrid layout the unified hierarchy
/// is a folder of the first.
const MOUNTS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];

impl Checker {
    pub(super) fn refuse_direct(&mut self, entry: &Text, database: &Database) -> Option<PathBuf> {
        let entry = entry.as_ref()?;
        let mut folder = PathBuf::new();
        self.absolute(KEY, entry, &mut folder);
        if MOUNTS.iter().any(|mount| is_folder(&folder, mount)) {
            let what = "this is the root of all control groups: every process of the host would be refused";
            self.mistake_at(
                entry,
                KEY,
                what,
                "name the group of the clients, for example \"/sys/fs/cgroup/app.slice\"",
            );
        } else if database.port.is_none() {
            let what = "the server is found by its port";
            self.mistake_at(entry, KEY, what, "add port = ... to the [[database]]");
        }
        Some(folder)
    }
}

/// Components are compared: a slash at the end, or two in a row, name the same folder.
fn is_folder(folder: &Path, mount: &str) -> bool {
    folder.components().eq(Path::new(mount).components()) || folder.components().eq(Path::new("/").components())
}
