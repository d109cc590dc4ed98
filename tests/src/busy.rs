//! A visitor at work: a session that echoes and files on their way, while something goes wrong; and
//! how long it took until it went on.

use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use ring::digest::{Context, Digest, SHA256, digest};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::wait::{SOON, eventually, within};
use crate::{Session, Ssh, World};

/// Set to `full` for faults and files of full size.
const SIZE: &str = "POSTERN_FAULTS";

/// A file to which each measurement is appended.
const TABLE: &str = "POSTERN_FAULTS_TABLE";

/// Between two lines of the session.
const BEAT: Duration = Duration::from_millis(50);

/// Longer than any fault and what it takes to get over it.
const PATIENCE: Duration = Duration::from_secs(150);

/// What a transfer moves at once.
const CHUNK: usize = 64 * 1024;

/// Both files are well under way.
const UNDER_WAY: u64 = 4 * CHUNK as u64;

/// How large everything is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scale {
    full: bool,
}

impl Scale {
    /// What the person who runs the tests asked for.
    pub fn of_this_run() -> Self {
        Self { full: std::env::var(SIZE).is_ok_and(|size| size == "full") }
    }

    /// Whether the whole suite was asked for.
    pub fn is_full(self) -> bool {
        self.full
    }

    /// One duration or another.
    pub fn seconds(self, short: u64, full: u64) -> Duration {
        Duration::from_secs(if self.full { full } else { short })
    }

    /// The bytes of each of the two files.
    fn bytes(self) -> usize {
        if self.full { 50_000_000 } else { 3_000_000 }
    }

    /// Bytes a second: slow enough to be under way for a while.
    fn pace(self) -> usize {
        if self.full { 5_000_000 } else { 2_000_000 }
    }
}

/// A visitor at work.
#[derive(Debug)]
pub struct Busy {
    heartbeat: JoinHandle<()>,
    /// When the last line came back.
    last_echo: watch::Receiver<Instant>,
    transfers: Vec<JoinHandle<()>>,
}

impl World {
    /// Somebody works on the box: a session, a file down and a file up.
    pub async fn busy(&self) -> Busy {
        let session = self.ssh().open().await;
        let (beat, last_echo) = watch::channel(Instant::now());
        let heartbeat = tokio::spawn(keep_echoing(session, beat));
        let (dir, ssh) = (self.stack.scene().new_dir("busy"), self.ssh());
        let (down, downloaded) = watch::channel(0);
        let (up, uploaded) = watch::channel(0);
        let transfers = vec![
            tokio::spawn(download(ssh.clone(), dir.join("down"), down)),
            tokio::spawn(upload(ssh, dir.join("up"), up)),
        ];
        eventually("both files are under way", SOON, async || {
            (*downloaded.borrow() >= UNDER_WAY && *uploaded.borrow() >= UNDER_WAY).then_some(())
        })
        .await;
        Busy { heartbeat, last_echo, transfers }
    }

    /// While somebody works on the box, something goes wrong, and is over when `fault` is. Not a byte
    /// is lost, nobody has to connect again, and somebody else gets in.
    pub async fn survives(&mut self, name: &str, fault: impl AsyncFnOnce(&mut Self)) {
        let busy = self.busy().await;
        fault(self).await;
        let over = Instant::now();
        let (echo, login) = tokio::join!(busy.next_echo(over), self.next_login(over));
        note(name, Some(echo), login);
        busy.ends_well().await;
    }

    /// While somebody works on the box, something goes wrong that ends it; when `fault` is over,
    /// somebody else gets in.
    pub async fn recovers(&mut self, name: &str, fault: impl AsyncFnOnce(&mut Self)) {
        let busy = self.busy().await;
        fault(self).await;
        let over = Instant::now();
        let login = self.next_login(over).await;
        note(name, None, login);
        drop(busy);
    }

    /// How long after this moment somebody has come in.
    pub async fn next_login(&self, since: Instant) -> Duration {
        let ssh = self.ssh();
        eventually("somebody gets in", PATIENCE, async || (ssh.run("true").await.code == 0).then_some(()))
            .await;
        since.elapsed()
    }
}

impl Busy {
    /// How long after this moment the first line came back.
    pub async fn next_echo(&self, since: Instant) -> Duration {
        let mut last_echo = self.last_echo.clone();
        let echoed = within("an echo", PATIENCE, last_echo.wait_for(|at| *at > since)).await;
        *echoed.expect("the session lives") - since
    }

    /// Waits until both files have arrived, and looks whether the session still lives.
    pub async fn ends_well(mut self) {
        for transfer in self.transfers.drain(..) {
            within("a file arrives", PATIENCE, transfer).await.expect("it arrives whole");
        }
        self.next_echo(Instant::now()).await;
        assert!(!self.heartbeat.is_finished(), "the session has ended");
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.heartbeat.abort();
        self.transfers.iter().for_each(JoinHandle::abort);
    }
}

/// Each line comes back once, and in order.
async fn keep_echoing(mut session: Session, beat: watch::Sender<Instant>) {
    for count in 0.. {
        let line = format!("line {count}");
        session.write(&format!("{line}\n")).await;
        assert_eq!(session.line_within(PATIENCE).await, line);
        beat.send_replace(Instant::now());
        sleep(BEAT).await;
    }
}

/// Reads a file of the box at a moderate pace, and compares.
async fn download(ssh: Ssh, path: impl AsRef<Path>, progress: watch::Sender<u64>) {
    let sent = random_file(path.as_ref());
    let mut command = ssh.program("ssh");
    command.args([ssh.host(), &format!("cat {}", path.as_ref().display())]);
    let mut child =
        Command::from(command).stdout(Stdio::piped()).kill_on_drop(true).spawn().expect("ssh runs");
    let mut from = child.stdout.take().expect("stdout is piped");
    let (mut context, mut chunk) = (Context::new(&SHA256), vec![0; CHUNK]);
    loop {
        let count = from.read(&mut chunk).await.expect("a pipe can be read");
        if count == 0 {
            break;
        }
        context.update(&chunk[..count]);
        moved(&progress, count).await;
    }
    assert!(child.wait().await.expect("ssh ends").success(), "the download was cut");
    assert_eq!(context.finish().as_ref(), sent.as_ref(), "the download differs");
}

/// Writes a file to the box at a moderate pace, and compares.
async fn upload(ssh: Ssh, path: impl AsRef<Path>, progress: watch::Sender<u64>) {
    let sent = random_file(path.as_ref());
    let there = path.as_ref().with_extension("there");
    let mut command = ssh.program("ssh");
    command.args([ssh.host(), &format!("cat > {}", there.display())]);
    let mut child =
        Command::from(command).stdin(Stdio::piped()).kill_on_drop(true).spawn().expect("ssh runs");
    let mut to = child.stdin.take().expect("stdin is piped");
    for chunk in std::fs::read(path).expect("the file").chunks(CHUNK) {
        to.write_all(chunk).await.expect("the upload goes on");
        moved(&progress, chunk.len()).await;
    }
    drop(to);
    assert!(child.wait().await.expect("ssh ends").success(), "the upload was cut");
    let arrived = digest(&SHA256, &std::fs::read(there).expect("the copy"));
    assert_eq!(arrived.as_ref(), sent.as_ref(), "the upload differs");
}

async fn moved(progress: &watch::Sender<u64>, count: usize) {
    progress.send_modify(|moved| *moved += count as u64);
    sleep(Duration::from_secs_f64(count as f64 / Scale::of_this_run().pace() as f64)).await;
}

fn random_file(path: &Path) -> Digest {
    let mut bytes = vec![0; Scale::of_this_run().bytes()];
    rand::fill(&mut bytes[..]);
    std::fs::write(path, &bytes).expect("a file to copy");
    digest(&SHA256, &bytes)
}

/// One row of the table.
pub fn note(name: &str, echo: Option<Duration>, login: Duration) {
    let echo = echo.map_or("ends".into(), |echo| format!("{:.2} s", echo.as_secs_f64()));
    note_text(&format!("{name:<58} {echo:>9} {:>7.2} s", login.as_secs_f64()));
}

/// The same, of another kind.
pub fn note_text(row: &str) {
    println!("{row}");
    if let Some(table) = std::env::var_os(TABLE) {
        let mut append = std::fs::File::options();
        let mut table = append.create(true).append(true).open(table).expect("the table can be written");
        writeln!(table, "{row}").expect("the table can be written");
    }
}
