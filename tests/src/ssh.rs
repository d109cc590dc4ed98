//! Stock OpenSSH, configured with nothing but what the API printed.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use postern_protocol::api::Access;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout};

use crate::key::Key;
use crate::namespace::Namespace;
use crate::program::{Output, code, finish};
use crate::scene::Scene;
use crate::wait::{SOON, within};

/// A visitor with an access: a configuration for `ssh`, and verbs that use it.
///
/// The configuration is the block that the API printed, with the visitor's own key in place of the
/// usual one, and strict about host keys: only what the API printed is known.
#[derive(Debug, Clone)]
pub struct Ssh {
    block: String,
    known_hosts: Vec<String>,
    gate: String,
    command: String,
    host: String,
    key: PathBuf,
    key_for_the_box: Option<PathBuf>,
    agent: Option<PathBuf>,
    source: Option<IpAddr>,
    place: Option<Arc<Namespace>>,
    scene: Arc<Scene>,
}

impl Ssh {
    /// A visitor who holds an access and a key.
    pub fn new(scene: &Arc<Scene>, access: &Access, key: &Key) -> Self {
        let connection = access.connection.clone().expect("an access says how to connect");
        Self {
            block: connection.ssh_config.expect("an access to SSH has a block"),
            known_hosts: connection.known_hosts,
            gate: format!("postern-{}", access.id),
            command: connection.command,
            host: access.device_name.to_string(),
            key: key.path().into(),
            key_for_the_box: None,
            agent: None,
            source: None,
            place: None,
            scene: scene.clone(),
        }
    }

    /// The same visitor with another key.
    pub fn with_key(mut self, key: &Key) -> Self {
        self.key = key.path().into();
        self
    }

    /// The same visitor with another key file, which may not be one.
    pub fn with_key_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.key = path.into();
        self
    }

    /// The same visitor, who shows the gate the right key and the box this one.
    pub fn showing_the_box(mut self, key: &Key) -> Self {
        self.key_for_the_box = Some(key.path().into());
        self
    }

    /// The same visitor, whose key is in this agent.
    pub fn with_agent(mut self, socket: &Path) -> Self {
        self.agent = Some(socket.into());
        self
    }

    /// The same visitor at another of this machine's addresses.
    pub fn from(mut self, source: &str) -> Self {
        self.source = Some(source.parse().expect("an address"));
        self
    }

    /// The same visitor, who comes to the gate by another address of its.
    pub fn by(mut self, address: std::net::SocketAddr) -> Self {
        let gate = format!("Host {}\n", self.gate);
        assert!(self.block.contains(&gate), "the block has a gate: {}", self.block);
        let way = format!("{gate}    HostName {}\n    Port {}\n", address.ip(), address.port());
        // In a block, the first of two values counts.
        self.block = self.block.replace(&gate, &way);
        let keys = self.known_hosts.iter().filter_map(|line| line.strip_prefix('[')?.split_once(' '));
        let keys: Vec<_> =
            keys.map(|(_, key)| format!("[{}]:{} {key}", address.ip(), address.port())).collect();
        self.known_hosts.extend(keys);
        self
    }

    /// The same visitor in another network.
    pub fn at(mut self, place: Arc<Namespace>) -> Self {
        self.place = Some(place);
        self
    }

    /// The same visitor, who names another host behind the gate.
    pub fn to(mut self, host: &str) -> Self {
        self.host = host.into();
        self
    }

    /// The same visitor, who gives the gate another user name.
    pub fn named(mut self, user: &str) -> Self {
        let own = self.gate.strip_prefix("postern-").expect("the gate's alias names the access");
        self.block = self.block.replace(&format!("User {own}"), &format!("User {user}"));
        self
    }

    /// The box's name, as `ssh` is told it.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The gate's alias in the configuration.
    pub fn gate(&self) -> &str {
        &self.gate
    }

    /// A command of the OpenSSH family with the configuration, such as `ssh`, `scp` or `sftp`.
    pub fn program(&self, name: &str) -> Command {
        let mut command = match &self.place {
            Some(place) => {
                let mut command = place.entrance();
                command.arg(name);
                command
            }
            None => Command::new(name),
        };
        command.arg("-F").arg(self.write());
        command.stdin(Stdio::null());
        command
    }

    /// The words that make any program that calls `ssh` use this configuration.
    pub fn remote_shell(&self) -> String {
        format!("ssh -F {}", self.write().display())
    }

    /// Runs a command on the box.
    pub async fn run(&self, command: &str) -> Output {
        self.run_with(command, b"").await
    }

    /// Runs a command on the box and feeds it.
    pub async fn run_with(&self, command: &str, input: &[u8]) -> Output {
        let mut ssh = self.program("ssh");
        ssh.arg(&self.host).arg(command);
        feed(ssh, input).await
    }

    /// Runs the very command that the API printed, with a command for the box at its end.
    pub async fn run_printed(&self, command: &str) -> Output {
        let words = self.command.strip_prefix("ssh ").expect("the printed command is ssh's");
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(format!("{} {words} {command}", self.remote_shell()));
        finish(shell).await
    }

    /// Opens the gate's channel to the box, and no more, as `ssh -W` does.
    pub async fn channel(&self, host: &str, port: u16) -> Output {
        let mut ssh = self.program("ssh");
        ssh.args(["-W", &format!("{host}:{port}"), &self.gate]);
        finish(ssh).await
    }

    /// Opens a session that answers every line with the same line.
    pub async fn open(&self) -> Session {
        let mut ssh = self.program("ssh");
        ssh.args([&self.host, "cat"]);
        let mut session = Session::start(ssh);
        session.echo("is anybody there").await;
        session
    }

    /// Writes the configuration; where it is.
    pub fn write(&self) -> PathBuf {
        let dir = self.scene.new_dir("ssh");
        let known_hosts = dir.join("known_hosts");
        fs::write(&known_hosts, self.known_hosts.join("\n") + "\n").expect("known hosts are written");
        let config = dir.join("config");
        fs::write(&config, self.configuration(&known_hosts)).expect("the configuration is written");
        config
    }

    fn configuration(&self, known_hosts: &Path) -> String {
        let key = &self.key;
        // The block names a key for the box, then one for the gate.
        let mut next = self.key_for_the_box.as_ref().unwrap_or(key);
        let mut text = String::new();
        for line in self.block.lines() {
            if line.trim_start().starts_with("IdentityFile") {
                text += &format!("    IdentityFile {}\n", next.display());
                next = key;
            } else {
                text += &format!("{line}\n");
            }
        }
        // The printed command names hosts that are in no block.
        let usual_key = self.key_for_the_box.is_none().then(|| format!("IdentityFile {}\n", key.display()));
        let bind = self.source.map(|source| format!("BindAddress {source}\n"));
        let agent = self.agent.as_ref().map_or("none".into(), |socket| socket.display().to_string());
        text + "Host *\n"
            + &bind.unwrap_or_default()
            + &usual_key.unwrap_or_default()
            + &format!("UserKnownHostsFile {}\n", known_hosts.display())
            + &format!("IdentityAgent {agent}\n")
            + "GlobalKnownHostsFile /dev/null\n\
               StrictHostKeyChecking yes\n\
               IdentitiesOnly yes\n\
               BatchMode yes\n\
               ConnectTimeout 15\n"
    }
}

/// Runs a command that ends by itself, with this input.
pub async fn feed(command: Command, input: &[u8]) -> Output {
    let what = format!("{:?}", command.get_program());
    let mut command = tokio::process::Command::from(command);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().unwrap_or_else(|e| panic!("running {what}: {e}"));
    let mut stdin = child.stdin.take().expect("stdin is piped");
    let writing = async {
        // Whoever does not want it all is free to close.
        stdin.write_all(input).await.ok();
        drop(stdin);
    };
    let both = async { tokio::join!(writing, child.wait_with_output()).1 };
    within(&what, SOON * 6, both).await.expect("a child can be waited for").into()
}

/// An interactive visit: what is written comes back, as long as it lives.
#[derive(Debug)]
pub struct Session {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Session {
    /// Starts a command that answers lines.
    pub fn start(command: Command) -> Self {
        let mut command = tokio::process::Command::from(command);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().expect("openssh-client is installed");
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        Self { child, stdin, stdout }
    }

    /// Writes a line and reads it back.
    pub async fn echo(&mut self, line: &str) {
        self.write(&format!("{line}\n")).await;
        let answer = self.line().await;
        if answer.is_empty() {
            let end = self.finish(SOON).await;
            panic!("no echo of {line:?}: {end:?}");
        }
        assert_eq!(answer, line);
    }

    /// Writes.
    pub async fn write(&mut self, text: &str) {
        let stdin = self.stdin.as_mut().expect("the input is open");
        stdin.write_all(text.as_bytes()).await.ok();
    }

    /// The next line that came, without its end; empty at the end.
    pub async fn line(&mut self) -> String {
        self.line_within(SOON).await
    }

    /// The same, after a longer wait.
    pub async fn line_within(&mut self, deadline: Duration) -> String {
        let mut line = String::new();
        within("a line", deadline, self.stdout.read_line(&mut line)).await.expect("a pipe can be read");
        line.trim_end().to_owned()
    }

    /// The next line that it complains of.
    pub async fn complaint(&mut self) -> String {
        let stderr = self.child.stderr.as_mut().expect("stderr is piped");
        let (mut line, mut byte) = (Vec::new(), [0]);
        // Byte by byte, so that nothing is taken away from whoever reads the rest.
        while stderr.read(&mut byte).await.expect("a pipe can be read") == 1 && byte != *b"\n" {
            line.push(byte[0]);
        }
        String::from_utf8_lossy(&line).trim_end().to_owned()
    }

    /// Ends the input, and leaves the rest open.
    pub fn end_input(&mut self) {
        self.stdin = None;
    }

    /// Waits until it is cut off from the other side; what `ssh` said to that.
    pub async fn cut(&mut self, deadline: Duration) -> Output {
        let output = self.finish(deadline).await;
        assert_ne!(output.code, 0, "a session that is cut does not end well: {output:?}");
        output
    }

    /// Waits until it has ended by itself.
    pub async fn finish(&mut self, deadline: Duration) -> Output {
        let status =
            within("the session ends", deadline, self.child.wait()).await.expect("a child can be waited for");
        let mut output = Output { code: code(status), stdout: String::new(), stderr: String::new() };
        // A grandchild may hold the pipes for a moment longer.
        let pipes = async {
            self.stdout.read_to_string(&mut output.stdout).await.ok();
            if let Some(stderr) = &mut self.child.stderr {
                stderr.read_to_string(&mut output.stderr).await.ok();
            }
        };
        within("the session's pipes end", SOON, pipes).await;
        output
    }
}
