//! Notes when the agent was built: no box that runs it can be earlier than that. And makes the small one smaller.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

fn main() {
    println!("cargo::rerun-if-env-changed=SOURCE_DATE_EPOCH");
    let given = std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|seconds| seconds.parse().ok());
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    println!("cargo::rustc-env=POSTERN_BUILT={}", given.unwrap_or_else(now));
    leave_out_unwinding();
}

/// In the profile `small` a panic ends the program, so the tables by which a stack is unwound are of no use.
fn leave_out_unwinding() {
    println!("cargo::rerun-if-changed=small.ld");
    println!("cargo::rustc-check-cfg=cfg(cannot_unwind)");
    let is = |name, value| std::env::var(name).is_ok_and(|said| said == value);
    if is("OPT_LEVEL", "z") && is("CARGO_CFG_TARGET_OS", "linux") {
        let folder = std::env::var("CARGO_MANIFEST_DIR").expect("cargo says where the manifest is");
        let script = Path::new(&folder).join("small.ld");
        println!("cargo::rustc-cfg=cannot_unwind");
        println!("cargo::rustc-link-arg-bins=-Wl,--no-eh-frame-hdr,-T,{}", script.display());
    }
}
