//! A session channel: one program, its input and output, and how it ended (RFC 4254, section 6).

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use nix::pty::Winsize;
use nix::sys::signal::Signal;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::sleep;

use super::algorithms::PACKET;
use super::channels::Line;
use super::environment::{Circumstances, Wishes, variables};
use super::process::{Leader, Pipes, Program, What};
use super::terminal::{self, Master, Wanted};
use super::visit::Visit;

pub(super) mod signals;

/// How long a terminal whose program has ended, and which another still holds open, may be silent
/// before it counts as drained. Usually nobody holds it, and the kernel says that it is drained.
const QUIET: Duration = Duration::from_millis(100);

/// What the exit status is when nothing could be run, as with OpenSSH's server.
const CANNOT_RUN: u32 = 255;

/// A session channel on which nothing runs yet.
pub(super) struct Preparing {
    pub(super) line: Line,
    pub(super) wishes: Wishes,
    pub(super) terminal: Option<Wanted>,
    pub(super) agent_socket: Option<PathBuf>,
}

/// What a client can still do to a program that runs.
pub(super) struct Controls {
    leader: Arc<Leader>,
    terminal: Option<Arc<Master>>,
}

impl Controls {
    /// The client's window has another size.
    pub(super) fn resize(&self, size: Winsize) -> bool {
        self.terminal.as_ref().is_some_and(|terminal| terminal.resize(size).is_ok())
    }

    /// The client sends a signal.
    pub(super) fn signal(&self, signal: Signal) -> bool {
        self.leader.signal(signal)
    }
}

/// A program between its channel and its ends.
struct Running {
    program: Program,
    ends: Ends,
}

enum Ends {
    Terminal(Arc<Master>),
    Pipes(Pipes),
}

impl Preparing {
    /// A session channel, just opened.
    pub(super) fn new(line: Line) -> Self {
        Self { line, wishes: Wishes::default(), terminal: None, agent_socket: None }
    }

    /// Runs a program here, or says why not; nothing in return if nothing runs.
    pub(super) fn start(self, what: What, visit: &Arc<Visit>) -> Option<Controls> {
        match self.run(what, visit) {
            Ok(running) => {
                let controls = running.controls();
                visit.tasks.spawn(serve(running, self.line, Arc::clone(visit)));
                Some(controls)
            }
            Err(why) => {
                visit.tasks.spawn(apologise(self.line, why, Arc::clone(visit)));
                None
            }
        }
    }

    fn run(&self, what: What, visit: &Visit) -> Result<Running, Bytes> {
        let account = visit.account.as_ref().map_err(sentence)?;
        if let Some(notice) = account.nologin() {
            return Err(notice.into());
        }
        self.spawn(what, visit, account)
            .map_err(|error| sentence(format_args!("cannot run {}: {error}", account.shell.display())))
    }

    fn spawn(&self, what: What, visit: &Visit, account: &super::account::Account) -> io::Result<Running> {
        let circumstances = |terminal| Circumstances {
            account,
            visitor: visit.guest.visitor,
            terminal,
            agent_socket: self.agent_socket.clone(),
        };
        let Some(wanted) = &self.terminal else {
            let variables = variables(&self.wishes, &circumstances(None));
            let (program, pipes) = Program::on_pipes(what, account, variables)?;
            return Ok(Running { program, ends: Ends::Pipes(pipes) });
        };
        let (master, device) = terminal::open(wanted, account)?;
        let variables = variables(&self.wishes, &circumstances(Some((wanted.term(), device.path()))));
        let program = Program::on_terminal(what, account, variables, device)?;
        Ok(Running { program, ends: Ends::Terminal(Arc::new(master)) })
    }
}

impl Running {
    fn controls(&self) -> Controls {
        let terminal = match &self.ends {
            Ends::Terminal(master) => Some(Arc::clone(master)),
            Ends::Pipes(_) => None,
        };
        Controls { leader: self.program.leader(), terminal }
    }
}

/// Runs a program to its end, or ends it when the client is gone.
async fn serve(running: Running, line: Line, visit: Arc<Visit>) {
    let Running { mut program, ends } = running;
    let finished = tokio::select! {
        finished = converse(&mut program, ends, &line) => finished.is_ok(),
        () = line.closed() => false,
        () = visit.over.cancelled() => false,
    };
    if !finished {
        program.hang_up().await;
    }
}

/// All output, then how it ended, then the end of the channel: in this order clients rely on it.
async fn converse(program: &mut Program, ends: Ends, line: &Line) -> Result<(), russh::Error> {
    let status = match ends {
        Ends::Terminal(master) => on_terminal(program, &master, line).await?,
        Ends::Pipes(pipes) => on_pipes(program, pipes, line).await?,
    };
    line.eof().await?;
    match signals::of_exit(status) {
        Some(signal) => line.exit_signal(signal, status.core_dumped()).await?,
        None => {
            line.exit_status(status.code().and_then(|code| code.try_into().ok()).unwrap_or(CANNOT_RUN))
                .await?
        }
    }
    line.close().await
}

async fn on_pipes(program: &mut Program, pipes: Pipes, line: &Line) -> Result<ExitStatus, russh::Error> {
    let Pipes { stdin, mut stdout, mut stderr } = pipes;
    let output = async {
        let out = copy(&mut stdout, |bytes| line.send(bytes));
        let err = copy(&mut stderr, |bytes| line.send_error(bytes));
        tokio::try_join!(out, err)?;
        Ok(program.wait().await?)
    };
    beside(feed(line, stdin), output).await
}

/// Passes on what the client sends until it has sent all, or the program wants no more.
async fn feed(line: &Line, mut stdin: impl AsyncWrite + Unpin) {
    while let Some(piece) = line.next().await {
        if stdin.write_all(&piece).await.is_err() {
            break;
        }
    }
    line.stop_reading();
}

/// Passes on a program's output until it ends, no faster than the client takes it.
async fn copy<F>(from: &mut (impl AsyncRead + Unpin), send: impl Fn(Bytes) -> F) -> Result<(), russh::Error>
where
    F: Future<Output = Result<(), russh::Error>>,
{
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(PACKET as usize);
        if from.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
        send(buffer.split().freeze()).await?;
    }
}

async fn on_terminal(
    program: &mut Program,
    master: &Master,
    line: &Line,
) -> Result<ExitStatus, russh::Error> {
    let typing = async {
        // A terminal has no end of input but a typed one, so its end says nothing to the program.
        while let Some(piece) = line.next().await {
            if master.write_all(&piece).await.is_err() {
                break;
            }
        }
        line.stop_reading();
    };
    beside(typing, show(program, master, line)).await
}

/// Passes on what appears on a terminal until nobody has it open, or until its program has ended
/// and those it left behind are silent.
async fn show(program: &mut Program, master: &Master, line: &Line) -> Result<ExitStatus, russh::Error> {
    let mut buffer = vec![0; PACKET as usize];
    let mut ended = None;
    loop {
        tokio::select! {
            // What is there comes first: on a busy machine a silence may be over before it has been listened to.
            biased;
            read = master.read(&mut buffer) => match read? {
                0 => break,
                read => line.send(Bytes::copy_from_slice(&buffer[..read])).await?,
            },
            status = program.wait(), if ended.is_none() => ended = Some(status?),
            () = sleep(QUIET), if ended.is_some() => match master.rest(&mut buffer)? {
                0 => break,
                read => line.send(Bytes::copy_from_slice(&buffer[..read])).await?,
            },
        }
    }
    match ended {
        Some(status) => Ok(status),
        None => Ok(program.wait().await?),
    }
}

/// Does something for as long as something else lasts.
async fn beside<T>(aside: impl Future<Output = ()>, main: impl Future<Output = T>) -> T {
    let aside = async {
        aside.await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        result = main => result,
        () = aside => unreachable!("it never ends"),
    }
}

/// Says why nothing runs, on standard error, and closes the channel.
async fn apologise(line: Line, why: Bytes, visit: Arc<Visit>) {
    let say = async {
        line.send_error(why).await?;
        line.eof().await?;
        line.exit_status(CANNOT_RUN).await?;
        line.close().await
    };
    tokio::select! {
        _ = say => {}
        () = line.closed() => {}
        () = visit.over.cancelled() => {}
    }
}

fn sentence(why: impl std::fmt::Display) -> Bytes {
    format!("postern: {why}\r\n").into()
}
