//! Files arrive whole, in every way that people copy them.

use std::fs;
use std::path::Path;
use std::process::Command;

use postern_tests::ssh::feed;
use postern_tests::{Ssh, Stack};
use ring::digest::{SHA256, digest};

/// A way to copy a file to the box and another back.
struct Copying {
    stack: Stack,
    ssh: Ssh,
    _box42: postern_tests::Machine,
}

impl Copying {
    async fn prepare() -> Self {
        let stack = Stack::start().await;
        let box42 = stack.add_box("box42").await;
        let ssh = stack.ssh(&stack.allow(&box42).await);
        Self { stack, ssh, _box42: box42 }
    }

    /// Runs a copy of one random file to another place, and compares.
    async fn copies(&self, command: impl FnOnce(&Ssh, &Path, &Path) -> (Command, &'static [u8])) {
        let dir = self.stack.scene().new_dir("files");
        let (from, to) = (dir.join("from"), dir.join("to"));
        fs::write(&from, random(3_000_001)).expect("a file to copy");
        let (command, input) = command(&self.ssh, &from, &to);
        feed(command, input).await.success();
        assert_eq!(checksum(&fs::read(&from).expect("it")), checksum(&fs::read(&to).expect("the copy")));
    }
}

#[tokio::test]
async fn scp_copies_both_ways_in_its_new_and_its_old_protocol() {
    let copying = Copying::prepare().await;
    for protocol in ["-s", "-O"] {
        copying.copies(|ssh, from, to| (scp(ssh, protocol, from.into(), remote(ssh, to)), b"")).await;
        copying.copies(|ssh, from, to| (scp(ssh, protocol, remote(ssh, from), to.into()), b"")).await;
    }
}

fn scp(ssh: &Ssh, protocol: &str, from: std::ffi::OsString, to: std::ffi::OsString) -> Command {
    let mut scp = ssh.program("scp");
    scp.args(["-q", protocol]).arg(from).arg(to);
    scp
}

/// A path on the box, which the old protocol hands to a shell.
fn remote(ssh: &Ssh, path: &Path) -> std::ffi::OsString {
    format!("{}:{}", ssh.host(), path.display()).into()
}

#[tokio::test]
async fn sftp_puts_and_gets() {
    let copying = Copying::prepare().await;
    for verb in ["put", "get"] {
        copying
            .copies(|ssh, from, to| {
                let batch = to.with_extension("batch");
                fs::write(&batch, format!("{verb} '{}' '{}'\n", from.display(), to.display()))
                    .expect("a batch");
                let mut sftp = ssh.program("sftp");
                sftp.arg("-b").arg(batch).arg(ssh.host());
                (sftp, b"")
            })
            .await;
    }
}

#[tokio::test]
async fn rsync_copies_both_ways() {
    let copying = Copying::prepare().await;
    copying.copies(|ssh, from, to| (rsync(ssh, from.into(), remote(ssh, to)), b"")).await;
    copying.copies(|ssh, from, to| (rsync(ssh, remote(ssh, from), to.into()), b"")).await;
}

fn rsync(ssh: &Ssh, from: std::ffi::OsString, to: std::ffi::OsString) -> Command {
    let mut rsync = Command::new("rsync");
    rsync.arg("-s").arg("-e").arg(ssh.remote_shell()).arg(from).arg(to);
    rsync
}

#[tokio::test]
async fn two_hundred_megabytes_arrive_whole_in_both_directions_at_once() {
    const SIZE: usize = 200_000_000;
    let stack = Stack::start().await;
    let box42 = stack.add_box("box42").await;
    let ssh = stack.ssh(&stack.allow(&box42).await);

    let path = stack.scene().path("large");
    let bytes = random(SIZE);
    fs::write(&path, &bytes).expect("a large file");
    let there = stack.scene().path("large-there");
    // The box reads one stream and writes another at the same time.
    let command = format!("cat {} & cat > {}; wait", path.display(), there.display());
    let output = ssh_bytes(&ssh, &command, &path).await;
    let sent = checksum(&bytes);
    drop(bytes);
    assert_eq!(output, sent, "down");
    assert_eq!(checksum(&fs::read(there).expect("the upload")), sent, "up");
}

/// Runs a command on the box with a file as its input; the checksum of its output.
async fn ssh_bytes(ssh: &Ssh, command: &str, input: &Path) -> Vec<u8> {
    let output = ssh.write().with_extension("out");
    let mut program = ssh.program("ssh");
    program.args([ssh.host(), command]);
    program.stdin(fs::File::open(input).expect("the input"));
    let to = fs::File::create(&output).expect("a file for the output");
    let mut program = tokio::process::Command::from(program);
    let status = program.stdout(to).kill_on_drop(true).status().await.expect("ssh runs");
    assert!(status.success(), "{status}");
    checksum(&fs::read(output).expect("the output"))
}

pub(crate) fn random(size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    rand::fill(&mut bytes[..]);
    bytes
}

pub(crate) fn checksum(bytes: &[u8]) -> Vec<u8> {
    digest(&SHA256, bytes).as_ref().into()
}
