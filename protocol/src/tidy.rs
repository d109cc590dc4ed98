//! What this crate must not become.

use std::process::Command;

/// Crates that open sockets, keep time or poll.
const IMPURE: [&str; 5] = ["tokio", "mio", "socket2", "quinn", "async-io"];

#[test]
fn without_features_nothing_here_can_reach_a_network() {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--package", "postern-protocol", "--no-default-features"])
        .args(["--edges", "normal", "--prefix", "none", "--format", "{lib}"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let tree = String::from_utf8(tree.stdout).unwrap();
    assert!(tree.lines().any(|name| name == "postern_protocol"), "{tree}");
    let impure: Vec<&str> = tree.lines().filter(|name| IMPURE.contains(name)).collect();
    assert!(impure.is_empty(), "{impure:?} among\n{tree}");
}
