//! Embeds the steering object that `cargo xtask ebpf` compiled. Without it the crate still builds (for plain
//! `cargo check` and unit tests) and says at run time that it has no program.

use std::path::{Path, PathBuf};

fn main() {
    println!("cargo::rerun-if-env-changed=WARDER_STEER_OBJECT");
    let target = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("steer.bpf.o");
    match std::env::var_os("WARDER_STEER_OBJECT") {
        Some(object) => {
            println!("cargo::rerun-if-changed={}", Path::new(&object).display());
            std::fs::copy(&object, &target).expect("WARDER_STEER_OBJECT names the object that was compiled before");
        }
        None => std::fs::write(&target, []).expect("OUT_DIR is writable"),
    }
}
