//! A real program as a child process, which never outlives its test.

use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use serde::de::DeserializeOwned;

use crate::namespace::Namespace;
use crate::scene::Scene;
use crate::wait::{SOON, eventually};

/// One of Postern's programs, beside the test that runs.
pub fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a running test has a file");
    let target = test.parent().and_then(Path::parent).expect("tests lie in target/<profile>/deps");
    let path = target.join(name);
    assert!(
        path.is_file(),
        "{} is missing: the tests run the real programs; `cargo build --workspace --bins` first, as tests/run does",
        path.display()
    );
    path
}

/// A command for one of Postern's programs that ends when the test does, however the test ends.
///
/// The kernel kills it when the thread that started it is gone, which for a test is its own thread.
pub fn command(name: &str) -> Command {
    command_in(None, name)
}

/// The same, in another network.
pub fn command_in(place: Option<&Namespace>, name: &str) -> Command {
    let mut command = mortal(place);
    command.arg(binary(name)).stdin(Stdio::null()).process_group(0);
    command
}

/// A command for a program of the system's that ends when the test does.
pub fn stock(program: &str) -> Command {
    stock_in(None, program)
}

/// The same, in another network.
pub fn stock_in(place: Option<&Namespace>, program: &str) -> Command {
    let mut command = mortal(place);
    command.arg(program).stdin(Stdio::null()).process_group(0);
    command
}

/// The words before a command's that make it end when the test does.
fn mortal(place: Option<&Namespace>) -> Command {
    let mut command = match place {
        Some(place) => {
            let mut command = place.entrance();
            command.arg("setpriv");
            command
        }
        None => Command::new("setpriv"),
    };
    command.args(["--pdeathsig", "KILL", "--"]);
    command
}

/// A shell that prepares the start of another program, which stands behind it, with this as its input.
pub fn in_shell(script: &str, input: std::os::fd::OwnedFd) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", "sh", "-c", script, "sh"]);
    command.stdin(Stdio::from(input)).process_group(0);
    command
}

/// A program that runs until it is told otherwise. Its output goes to the scene's log of its name.
#[derive(Debug)]
pub struct Program {
    name: String,
    child: Child,
    scene: Arc<Scene>,
}

impl Program {
    /// Starts it.
    pub fn start(scene: &Arc<Scene>, name: &str, mut command: Command) -> Self {
        let log = || scene.log(name);
        let child =
            command.stdout(log()).stderr(log()).spawn().unwrap_or_else(|e| panic!("starting {name}: {e}"));
        Self { name: name.into(), child, scene: scene.clone() }
    }

    /// Its process.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("a process id"))
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be asked for")
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap_or_else(|e| panic!("{signal} to {}: {e}", self.name));
    }

    /// Kills it without a word, like a power cut.
    pub fn kill(mut self) {
        self.end_now();
    }

    /// Stops it as a service manager does; it must come to its own end, and a good one.
    pub async fn stop(self) {
        self.stop_by(Signal::SIGTERM).await;
    }

    /// The same by another signal, such as the one of Ctrl-C.
    pub async fn stop_by(mut self, signal: Signal) {
        self.signal(signal);
        let status = eventually(&format!("{} stops", self.name), SOON, async || self.ended()).await;
        assert!(status.success(), "{} stopped with {status}", self.name);
    }

    /// What it writes to a file once it serves.
    pub async fn serving<T: DeserializeOwned>(&mut self, file: &Path) -> T {
        let what = format!("{} serves", self.name);
        eventually(&what, SOON, async || {
            if let Some(status) = self.ended() {
                let said = self.scene.said(&self.name);
                panic!("{} ended with {status} before it served:\n{said}", self.name);
            }
            serde_json::from_slice(&std::fs::read(file).ok()?).ok()
        })
        .await
    }

    fn end_now(&mut self) {
        // The group, so that what it started ends too; it may be gone already.
        killpg(self.pid(), Signal::SIGKILL).ok();
        self.child.wait().ok();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.end_now();
    }
}

/// A finished command.
#[derive(Debug, Clone)]
pub struct Output {
    /// Its exit status, or 128 and the signal that ended it, as shells say it.
    pub code: i32,
    /// What it wrote.
    pub stdout: String,
    /// What it complained of.
    pub stderr: String,
}

impl Output {
    /// What it wrote, if all went well.
    pub fn success(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.stdout
    }
}

impl From<std::process::Output> for Output {
    fn from(output: std::process::Output) -> Self {
        Self {
            code: code(output.status),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// An exit status as shells say it.
pub fn code(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(-1)
}

/// Runs a command whose input stays open until it ends by itself, and is empty.
pub async fn feed_nothing(mut command: Command) -> Output {
    let (_open, input) = io::pipe().map(|(read, write)| (write, read)).expect("a pipe");
    command.stdin(Stdio::from(input));
    finish(command).await
}

/// Runs a command that ends by itself.
pub async fn finish(command: Command) -> Output {
    let what = format!("{:?}", command.get_program());
    let mut command = tokio::process::Command::from(command);
    let output = command.kill_on_drop(true).output();
    let output: io::Result<_> = crate::wait::within(&what, SOON * 3, output).await;
    output.unwrap_or_else(|e| panic!("running {what}: {e}")).into()
}
