//! What people do with an SSH client.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use data_encoding::HEXLOWER;
use postern_tests::program::finish;
use postern_tests::ssh::feed;
use postern_tests::{Client, SOON, Scene, Session, Visitor, eventually};
use tokio::net::{TcpListener, TcpStream};

use crate::forward::{assert_echo, echo_service};
use crate::transfer::{checksum, random};

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    /// A login shell on a terminal.
    Shell,
    /// A command, whose exit code arrives.
    Exec,
    /// Fifty megabytes into a command, as a rule.
    Input,
    /// A file there and back by sftp.
    Sftp,
    /// The same by scp.
    Scp,
    /// The same by rsync.
    Rsync,
    /// A port here that leads to the box's network.
    LocalForward,
    /// A port there that leads to the visitor's.
    RemoteForward,
}

/// What is carried to and fro.
#[derive(Debug, Clone)]
pub(crate) struct Cargo {
    scene: Arc<Scene>,
    /// What is fed to a command, and its checksum as sha256sum prints it.
    large: Arc<(Vec<u8>, String)>,
    /// The bytes of a file that is copied.
    parcel: usize,
}

impl Cargo {
    pub(crate) fn load(scene: &Arc<Scene>, large: usize, parcel: usize) -> Self {
        let bytes = random(large);
        let checksum = HEXLOWER.encode(&checksum(&bytes));
        Self { scene: scene.clone(), large: Arc::new((bytes, checksum)), parcel }
    }

    /// A file to be copied there, and back from there.
    fn parcel(&self) -> Parcel {
        let dir = self.scene.new_dir("parcel");
        let [here, there, back] = ["here", "there", "back"].map(|name| dir.join(name));
        fs::write(&here, random(self.parcel)).expect("a file to copy");
        Parcel { dir, here, there, back }
    }
}

/// A file that makes a journey.
struct Parcel {
    dir: PathBuf,
    here: PathBuf,
    there: PathBuf,
    back: PathBuf,
}

impl Parcel {
    fn arrived_whole(&self) {
        let [here, there, back] = [&self.here, &self.there, &self.back]
            .map(|path| checksum(&fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))));
        assert_eq!(there, here, "put");
        assert_eq!(back, here, "got");
    }
}

impl Deed {
    pub(crate) const ALL: [Self; 8] = [
        Self::Shell,
        Self::Exec,
        Self::Input,
        Self::Sftp,
        Self::Scp,
        Self::Rsync,
        Self::LocalForward,
        Self::RemoteForward,
    ];

    /// Does it, or panics.
    pub(crate) async fn is_done_by(self, visitor: &Visitor, cargo: &Cargo) {
        match self {
            Self::Shell => shell(visitor).await,
            Self::Exec => exec(visitor).await,
            Self::Input => input(visitor, cargo).await,
            Self::Sftp if visitor.client() == Client::Sshfs => mount(visitor, cargo).await,
            Self::Sftp => sftp(visitor, cargo).await,
            Self::Scp => scp(visitor, cargo).await,
            Self::Rsync => rsync(visitor, cargo).await,
            Self::LocalForward => local_forward(visitor, &cargo.scene).await,
            Self::RemoteForward => remote_forward(visitor).await,
        }
    }
}

async fn shell(visitor: &Visitor) {
    let mut terminal = visitor.terminal();
    terminal.env("TERM", "xterm");
    let mut session = Session::start(terminal);
    // The word is put together by the shell, so that its echo cannot be taken for its answer.
    session.write("test -t 0 && echo \"is:$TERM\"; exit 9\n").await;
    let output = session.finish(SOON).await;
    assert!(output.code == 9 && output.stdout.contains("is:xterm"), "{output:?}");
}

async fn exec(visitor: &Visitor) {
    let output = finish(visitor.run("echo out; echo err >&2; exit 7")).await;
    assert_eq!((output.code, output.stdout.as_str()), (7, "out\n"), "{output:?}");
    assert!(output.stderr.contains("err\n"), "{output:?}");
}

async fn input(visitor: &Visitor, cargo: &Cargo) {
    let (bytes, checksum) = &*cargo.large;
    assert_eq!(feed(visitor.run("sha256sum"), bytes).await.success(), format!("{checksum}  -\n"));
}

async fn sftp(visitor: &Visitor, cargo: &Cargo) {
    let parcel = cargo.parcel();
    let batch = parcel.dir.join("batch");
    let [here, there, back] = [&parcel.here, &parcel.there, &parcel.back].map(|path| path.display());
    fs::write(&batch, format!("put {here} {there}\nget {there} {back}\n")).expect("a batch");
    finish(visitor.sftp(&batch)).await.success();
    parcel.arrived_whole();
}

async fn scp(visitor: &Visitor, cargo: &Cargo) {
    for by_sftp in [false, true] {
        let parcel = cargo.parcel();
        copy(visitor.scp(by_sftp), &parcel.here, visitor.on_the_box(&parcel.there)).await;
        copy(visitor.scp(by_sftp), visitor.on_the_box(&parcel.there), &parcel.back).await;
        parcel.arrived_whole();
    }
}

async fn rsync(visitor: &Visitor, cargo: &Cargo) {
    let rsync = || {
        let mut rsync = Command::new("rsync");
        rsync.arg("-e").arg(visitor.remote_shell());
        rsync
    };
    let parcel = cargo.parcel();
    copy(rsync(), &parcel.here, visitor.on_the_box(&parcel.there)).await;
    copy(rsync(), visitor.on_the_box(&parcel.there), &parcel.back).await;
    parcel.arrived_whole();
}

async fn copy(mut command: Command, from: impl AsRef<Path>, to: impl AsRef<Path>) {
    command.arg(from.as_ref()).arg(to.as_ref());
    feed(command, b"").await.success();
}

/// The box's folder appears here, so that putting is copying.
async fn mount(visitor: &Visitor, cargo: &Cargo) {
    let place = cargo.scene.new_dir("mounted");
    let mounted = Mounted { place: place.clone() };
    let parcel = cargo.parcel();
    let _sshfs = Session::start(visitor.sshfs(&parcel.dir, &place));
    eventually("the folder appears", SOON, async || mounted.is_there().then_some(())).await;
    copy(Command::new("cp"), &parcel.here, place.join("there")).await;
    copy(Command::new("cp"), place.join("there"), &parcel.back).await;
    parcel.arrived_whole();
}

/// A file system that is gone when the test is over, whatever became of it.
struct Mounted {
    place: PathBuf,
}

impl Mounted {
    fn is_there(&self) -> bool {
        let mounts = fs::read_to_string("/proc/self/mounts").expect("Linux tells");
        mounts.contains(&format!(" {} fuse.sshfs ", self.place.display()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        Command::new("fusermount3").args(["-u", "-z", "-q"]).arg(&self.place).status().ok();
    }
}

async fn local_forward(visitor: &Visitor, scene: &Scene) {
    let (service, here) = (echo_service().await, scene.free_address());
    let _forwarding = Session::start(visitor.connect(&["-N", "-L", &format!("{here}:{service}")], &[]));
    assert_echo(connect(here).await).await;
}

async fn remote_forward(visitor: &Visitor) {
    let (service, there) = (echo_service().await, free_port().await);
    let leads = format!("{}:{service}", there.port());
    let _forwarding = Session::start(visitor.connect(&["-N", "-R", &leads], &[]));
    assert_echo(connect(there).await).await;
}

async fn connect(address: SocketAddr) -> TcpStream {
    eventually("somebody listens", SOON, async || TcpStream::connect(address).await.ok()).await
}

/// A port of the box's loopback. Not every client can let the box choose one, so it is chosen here,
/// below those that the kernel gives away by itself.
async fn free_port() -> SocketAddr {
    loop {
        let address = SocketAddr::from(([127, 0, 0, 1], rand::random_range(12_000..32_000)));
        if TcpListener::bind(address).await.is_ok() {
            return address;
        }
    }
}
