//! Networks of the test's own: namespaces, the cables between them, and what goes wrong on the way.
//!
//! A namespace lives as long as the process that holds it, and that one ends with the test, so nothing
//! is left behind however a test ends.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use nix::sched::{CloneFlags, setns, unshare};

/// A machine's view of the network, on this machine.
#[derive(Debug)]
pub struct Namespace {
    holder: Child,
}

impl Namespace {
    /// An empty one, with nothing but a loopback interface.
    pub fn new() -> Self {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", "unshare", "--net", "--", "sh", "-c"]);
        command.arg("ip link set lo up && echo there && exec sleep infinity");
        let mut holder =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("util-linux is installed");
        let mut line = String::new();
        let said = holder.stdout.take().expect("stdout is piped");
        BufReader::new(said).read_line(&mut line).expect("a pipe can be read");
        assert_eq!(line, "there\n", "a namespace could not be made");
        Self { holder }
    }

    /// The process that holds it, by which other programs name it.
    pub fn pid(&self) -> u32 {
        self.holder.id()
    }

    /// The words that make a command run in here.
    pub fn entrance(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.pid())).arg("--");
        command
    }

    /// Does something in here that needs no other process, such as opening a socket.
    pub fn enter<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        let path = format!("/proc/{}/ns/net", self.pid());
        // A namespace is a thread's own affair, and this thread shall keep its own.
        std::thread::scope(|threads| {
            let thread = threads.spawn(|| {
                let here = std::fs::File::open(path).expect("the holder lives");
                setns(here, CloneFlags::CLONE_NEWNET).expect("whoever makes a namespace may enter it");
                act()
            });
            thread.join().expect("acting in a namespace")
        })
    }

    /// Configures its interfaces and routes: lines of arguments for `ip`.
    pub fn ip(&self, lines: &str) {
        let mut command = self.entrance();
        command.args(["ip", "-batch", "-"]);
        feed(command, lines);
    }

    /// Changes its packet filter: lines for `nft`.
    pub fn nft(&self, lines: &str) {
        let mut command = self.entrance();
        command.args(["nft", "-f", "-"]);
        feed(command, lines);
    }

    /// Sets one of the kernel's parameters below `/proc/sys/net`.
    pub fn set(&self, parameter: &str, value: &str) {
        let path = format!("/proc/sys/net/{parameter}");
        self.enter(|| std::fs::write(&path, value)).unwrap_or_else(|e| panic!("{path}: {e}"));
    }
}

impl Default for Namespace {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        self.holder.kill().ok();
        self.holder.wait().ok();
    }
}

/// Moves this thread, and whatever it starts from now on, into an empty namespace with loopback only.
/// Refused to those who may not.
pub fn leave_for_a_new_one() -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    ip("link set lo up");
    Ok(())
}

/// Configures this thread's interfaces and routes: lines of arguments for `ip`.
pub fn ip(lines: &str) {
    let mut command = Command::new("ip");
    command.args(["-batch", "-"]);
    feed(command, lines);
}

fn feed(mut command: Command, lines: &str) {
    let mut child =
        command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("iproute2 and nftables are here");
    let mut stdin = child.stdin.take().expect("stdin is piped");
    stdin.write_all(lines.as_bytes()).expect("it reads its lines");
    drop(stdin);
    let output = child.wait_with_output().expect("a child can be waited for");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {complaint}in:\n{lines}");
}
