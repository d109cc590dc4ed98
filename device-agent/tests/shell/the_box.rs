//! A box whose SSH server is the built-in one, on the loopback, and clients set up to trust it.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::unistd::{Pid, Uid, User};
use postern_agent::shell::{Guest, Settings, Shell};
use postern_protocol::access::Denial;
use postern_protocol::id::AccessId;
use postern_protocol::ssh_key::PublicKey;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// No claim takes longer; what hangs is a failure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// How soon what is watched for is looked for again.
const GLANCE: Duration = Duration::from_millis(20);

/// A box.
pub(crate) struct TheBox {
    home: TempDir,
    address: SocketAddr,
    login: String,
    denial: Arc<Mutex<Option<Denial>>>,
    /// Cancel it, and every visit is over.
    pub(crate) ended: CancellationToken,
    visits: TaskTracker,
}

impl TheBox {
    /// A box that whoever runs this may visit as themselves.
    pub(crate) async fn start() -> Self {
        Self::with(&whoever_runs_this().name, settings()).await
    }

    /// A box that a login may visit.
    pub(crate) async fn with(login: &str, settings: Settings) -> Self {
        let home = tempfile::tempdir().unwrap();
        let key = make_key(&home.path().join("key"));
        Self::furnish(home, key, login, settings).await
    }

    /// The same, with this key.
    pub(crate) async fn for_key(private: &Path) -> Self {
        let home = tempfile::tempdir().unwrap();
        fs::copy(private, home.path().join("key")).unwrap();
        let public = fs::read_to_string(private.with_extension("pub")).unwrap();
        Self::furnish(home, PublicKey::parse(&public).unwrap().key, &whoever_runs_this().name, settings())
            .await
    }

    async fn furnish(home: TempDir, key: PublicKey, login: &str, settings: Settings) -> Self {
        let state = home.path().join("state");
        fs::create_dir(&state).unwrap();
        let shell = Shell::open(settings, &state).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let known = format!("[127.0.0.1]:{} {}\n", address.port(), shell.host_key());
        fs::write(home.path().join("known_hosts"), known).unwrap();
        let new = Self {
            home,
            address,
            login: login.to_owned(),
            denial: Arc::default(),
            ended: CancellationToken::new(),
            visits: TaskTracker::new(),
        };
        new.accept(listener, shell, key);
        new
    }

    fn accept(&self, listener: TcpListener, shell: Arc<Shell>, key: PublicKey) {
        let (login, denial, ended) = (self.login.clone(), self.denial.clone(), self.ended.clone());
        let visits = self.visits.clone();
        tokio::spawn(async move {
            while let Ok((stream, visitor)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                let denial = denial.clone();
                let guest = Guest {
                    access: AccessId::from_entropy([7; 10]),
                    login: login.parse().unwrap(),
                    key: key.clone(),
                    visitor,
                    allowed: Arc::new(move || denial.lock().unwrap().clone().map_or(Ok(()), Err)),
                    ended: ended.child_token(),
                };
                let shell = shell.clone();
                visits.spawn(async move { shell.serve(stream, guest).await });
            }
        });
    }

    /// From now on the access lets nobody in; visits that are there stay.
    pub(crate) fn revoke(&self) {
        *self.denial.lock().unwrap() = Some(Denial::Revoked);
    }

    /// Waits until every visit is over, with all that it started.
    pub(crate) async fn deserted(&self) {
        self.visits.close();
        timeout(PATIENCE, self.visits.wait()).await.expect("a visit does not end");
        self.visits.reopen();
    }

    /// Where the box listens.
    pub(crate) fn port(&self) -> String {
        self.address.port().to_string()
    }

    /// A place for files of the claim.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// `login@127.0.0.1`.
    pub(crate) fn target(&self) -> String {
        format!("{}@127.0.0.1", self.login)
    }

    /// The options that every OpenSSH client needs to ask nothing.
    pub(crate) fn options(&self) -> Vec<String> {
        let key = self.path("key").display().to_string();
        let known = format!("UserKnownHostsFile={}", self.path("known_hosts").display());
        let words = ["-F", "none", "-i", &key, "-o", &known, "-o", "GlobalKnownHostsFile=none"];
        let strict = ["-o", "StrictHostKeyChecking=yes", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes"];
        words.into_iter().chain(strict).map(str::to_owned).collect()
    }

    /// A client, without its own options.
    pub(crate) fn client(&self, program: &str) -> Client {
        let mut command = Command::new(program);
        command.args(self.options()).env_remove("SSH_AUTH_SOCK").kill_on_drop(true);
        Client { command, input: Vec::new() }
    }

    /// `ssh` to the box; say options, then [`Client::to`].
    pub(crate) fn ssh(&self) -> Client {
        self.client("ssh").args(["-p", &self.port()])
    }

    /// Runs a command on the box.
    pub(crate) async fn run(&self, command: &str) -> Output {
        self.ssh().args([&self.target(), command]).output().await
    }
}

/// The one user that the server can surely be.
pub(crate) fn whoever_runs_this() -> User {
    User::from_uid(Uid::effective()).unwrap().unwrap()
}

/// Settings in which nothing depends on the machine but the own program.
pub(crate) fn settings() -> Settings {
    Settings { own_program: env!("CARGO_BIN_EXE_postern-agent").into(), ..Settings::default() }
}

/// A client of the box.
pub(crate) struct Client {
    command: Command,
    input: Vec<u8>,
}

impl Client {
    /// More words.
    pub(crate) fn args<'a>(
        mut self,
        words: impl IntoIterator<Item = &'a (impl AsRef<std::ffi::OsStr> + ?Sized + 'a)>,
    ) -> Self {
        self.command.args(words);
        self
    }

    /// What it gets on its standard input.
    pub(crate) fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = input.into();
        self
    }

    /// A variable of its own.
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Runs it to its end.
    pub(crate) async fn output(mut self) -> Output {
        // A file, so that nobody has to write while somebody reads.
        let mut input = tempfile::tempfile().unwrap();
        input.write_all(&self.input).unwrap();
        std::io::Seek::rewind(&mut input).unwrap();
        self.command.stdin(input);
        timeout(PATIENCE, self.command.output()).await.expect("the client hangs").unwrap()
    }

    /// Starts it, with pipes for all its ends.
    pub(crate) fn spawn(mut self) -> tokio::process::Child {
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }
}

/// What a client printed.
pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What it complained of.
pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Fails with what the client said unless it succeeded.
pub(crate) fn succeeded(output: &Output) {
    assert!(output.status.success(), "{:?}\n{}{}", output.status, stdout(output), stderr(output));
}

/// A fresh key of a client.
pub(crate) fn make_key(path: &Path) -> PublicKey {
    let mut keygen = std::process::Command::new("ssh-keygen");
    let made = keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(path).status().unwrap();
    assert!(made.success());
    PublicKey::parse(&fs::read_to_string(path.with_extension("pub")).unwrap()).unwrap().key
}

/// Bytes that no two places of which are alike.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut noise = Vec::with_capacity(length + 8);
    while noise.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        noise.extend_from_slice(&state.to_le_bytes());
    }
    noise.truncate(length);
    noise
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let watching = async {
        while !is_so() {
            tokio::time::sleep(GLANCE).await;
        }
    };
    timeout(PATIENCE, watching).await.unwrap_or_else(|_| panic!("in vain waited until {what}"));
}

/// A number of seconds that no other run of these tests on this machine sleeps for.
pub(crate) fn mark(number: u32) -> String {
    format!("{number}.{}", std::process::id())
}

/// The processes with this word among their arguments.
pub(crate) fn running(word: &str) -> BTreeMap<u32, String> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let words: Vec<_> = line.split(|byte| *byte == 0).collect();
        if words.contains(&word.as_bytes()) {
            found.insert(pid, String::from_utf8_lossy(&line).replace('\0', " "));
        }
    }
    found
}

/// Ends the processes with this word among their arguments, and tells how many there were.
pub(crate) fn end_those_left(word: &str) -> usize {
    let left = running(word);
    for pid in left.keys() {
        let pid = Pid::from_raw(i32::try_from(*pid).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    }
    left.len()
}
