//! A program that a visitor runs: started as their login, and gone with its whole session in the end.

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout};
use tokio::time::{sleep, timeout};

use super::account::Account;
use super::sys::{Becoming, become_before_exec};
use super::terminal::Device;

mod members;

/// How long a program may take to end by itself after SIGHUP.
const MERCY: Duration = Duration::from_secs(2);

/// How often it is looked at meanwhile: its session has no event for "all gone".
const LOOK: Duration = Duration::from_millis(50);

/// What a visitor wants run.
pub(super) enum What {
    /// The login shell.
    LoginShell,
    /// A command, read by the login shell.
    Command(Vec<u8>),
}

/// A running program. Dropping it unfinished kills it.
pub(super) struct Program {
    child: Child,
    leader: Arc<Leader>,
}

/// The program's ends of its pipes, if it has no terminal.
pub(super) struct Pipes {
    pub(super) stdin: ChildStdin,
    pub(super) stdout: ChildStdout,
    pub(super) stderr: ChildStderr,
}

/// The first process of a program's session, for those who send it signals.
pub(super) struct Leader {
    /// Nothing once it is reaped: the number may be another's by then.
    pid: Mutex<Option<Pid>>,
}

impl Program {
    /// Starts a program on a terminal.
    pub(super) fn on_terminal(
        what: What,
        account: &Account,
        variables: Vec<(OsString, OsString)>,
        device: Device,
    ) -> io::Result<Self> {
        let mut command = command(what, account, variables, true)?;
        command.stdin(device.file.try_clone()?).stdout(device.file.try_clone()?).stderr(device.file);
        Ok(Self::new(tokio::process::Command::from(command).spawn()?))
    }

    /// Starts a program between pipes.
    pub(super) fn on_pipes(
        what: What,
        account: &Account,
        variables: Vec<(OsString, OsString)>,
    ) -> io::Result<(Self, Pipes)> {
        let mut command = command(what, account, variables, false)?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = tokio::process::Command::from(command).spawn()?;
        let pipes = Pipes {
            stdin: child.stdin.take().expect("standard input is a pipe"),
            stdout: child.stdout.take().expect("standard output is a pipe"),
            stderr: child.stderr.take().expect("standard error is a pipe"),
        };
        Ok((Self::new(child), pipes))
    }

    fn new(child: Child) -> Self {
        let pid = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        Self { child, leader: Arc::new(Leader { pid: Mutex::new(pid) }) }
    }

    /// Whom to send signals.
    pub(super) fn leader(&self) -> Arc<Leader> {
        Arc::clone(&self.leader)
    }

    /// Waits for the end of the first process. What it left in the background stays, as with any
    /// SSH server: that is what `nohup` is for.
    pub(super) async fn wait(&mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait().await;
        *self.leader.lock() = None;
        status
    }

    /// Ends everything in the program's session: asks, and after a while does not ask.
    pub(super) async fn hang_up(mut self) {
        self.leader.signal_session(&[Signal::SIGHUP, Signal::SIGCONT]);
        // Not reaped until all is over, so that its number stays the session's.
        if timeout(MERCY, self.leader.alone(&[])).await.is_err() {
            // Again and again, because one may have forked meanwhile.
            let _ = timeout(MERCY, self.leader.alone(&[Signal::SIGKILL])).await;
        }
        let _ = self.wait().await;
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.leader.signal_session(&[Signal::SIGKILL]);
    }
}

impl Leader {
    /// Sends a signal to the program's first process group, as a client may ask (RFC 4254, section 6.9).
    pub(super) fn signal(&self, signal: Signal) -> bool {
        self.lock().is_some_and(|pid| killpg(pid, signal).is_ok())
    }

    /// Sends signals to every process of the session, because jobs have process groups of their own,
    /// and tells whether there was any.
    fn signal_session(&self, signals: &[Signal]) -> bool {
        let pid = self.lock();
        let members = pid.map(members::of_session).unwrap_or_default();
        for member in &members {
            for signal in signals {
                let _ = kill(*member, *signal);
            }
        }
        !members.is_empty()
    }

    /// Waits until no process of the session runs, and sends those that do these signals meanwhile.
    async fn alone(&self, signals: &[Signal]) {
        while self.signal_session(signals) {
            sleep(LOOK).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Pid>> {
        self.pid.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn command(
    what: What,
    account: &Account,
    variables: Vec<(OsString, OsString)>,
    on_terminal: bool,
) -> io::Result<Command> {
    let name = account.shell.file_name().unwrap_or(OsStr::new("sh"));
    let mut command = Command::new(&account.shell);
    match what {
        // By this sign a shell knows that it is a login shell.
        What::LoginShell => command.arg0([OsStr::new("-"), name].join(OsStr::new(""))),
        What::Command(line) => command.arg0(name).arg("-c").arg(OsString::from_vec(line)),
    };
    command.env_clear().envs(variables);
    let becoming = Becoming {
        user: account.differs.then(|| (account.uid, account.gid, account.groups.clone())),
        home: CString::new(account.home.as_os_str().as_bytes())?,
        on_terminal,
    };
    become_before_exec(&mut command, becoming);
    Ok(command)
}

#[cfg(test)]
mod tests;
