//! The SSH clients that people have, each told how to connect by nothing but what Postern printed.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use postern_protocol::api::Access;
use postern_protocol::connection::Form;

use crate::key::Key;
use crate::program::finish;
use crate::scene::Scene;
use crate::ssh::Ssh;

/// A family of programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    /// ssh, sftp and scp.
    OpenSsh,
    /// plink, psftp and pscp.
    Putty,
    /// Dropbear's dbclient.
    Dbclient,
    /// A file system, by way of OpenSSH.
    Sshfs,
}

impl Client {
    /// Each of them.
    pub const ALL: [Self; 4] = [Self::OpenSsh, Self::Putty, Self::Dbclient, Self::Sshfs];
}

/// Somebody with an access, a key, and one of the clients, which asks nothing: whatever would be a
/// question is an error.
#[derive(Debug, Clone)]
pub struct Visitor {
    client: Client,
    /// A script that is the client's `ssh`, with all options that were printed.
    remote_shell: PathBuf,
    /// The host, as it was printed.
    target: String,
    home: PathBuf,
    ssh: Ssh,
}

impl Visitor {
    /// A visitor who has read how to connect.
    pub async fn new(scene: &Arc<Scene>, client: Client, access: &Access, key: &Key) -> Self {
        let home = scene.new_dir("visitor");
        let ssh = Ssh::new(scene, access, key);
        let line = match client {
            Client::OpenSsh | Client::Sshfs => format!("{} {}", ssh.remote_shell(), ssh.host()),
            Client::Putty => putty(&home, access, key).await,
            Client::Dbclient => dbclient(&home, access, key).await,
        };
        let (command, target) = line.rsplit_once(' ').expect("the host is the last word");
        let remote_shell = home.join("remote-shell");
        let script = format!("#!/bin/sh\nHOME='{}' exec {command} \"$@\"\n", home.display());
        write_script(&remote_shell, &script).await;
        Self { client, remote_shell, target: target.into(), home, ssh }
    }

    /// The client.
    pub fn client(&self) -> Client {
        self.client
    }

    /// The client's `ssh`, to be followed by options, the host and a command.
    pub fn remote_shell(&self) -> &Path {
        &self.remote_shell
    }

    /// The box, as this client names it.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// Runs a command on the box.
    pub fn run(&self, command: &str) -> Command {
        self.connect(&[], &[command])
    }

    /// Connects with options, and runs a command.
    pub fn connect(&self, options: &[&str], command: &[&str]) -> Command {
        let mut shell = self.program(&self.remote_shell);
        shell.args(options).arg(&self.target).args(command);
        shell
    }

    /// A login shell, on a real terminal.
    pub fn terminal(&self) -> Command {
        let mut script = self.program("script");
        script.args(["-qefc", &format!("{} {}", self.remote_shell.display(), self.target), "/dev/null"]);
        script
    }

    /// Does what a batch file of sftp's commands says.
    pub fn sftp(&self, batch: &Path) -> Command {
        let mut sftp = match self.client {
            Client::OpenSsh | Client::Sshfs => self.ssh.program("sftp"),
            Client::Putty => self.saved_session("psftp"),
            Client::Dbclient => self.through_remote_shell("sftp"),
        };
        sftp.arg("-b").arg(batch);
        if self.client != Client::Putty {
            sftp.arg(&self.target);
        }
        sftp
    }

    /// scp, to be followed by what and where to; in the protocol that it is named after, or by sftp.
    pub fn scp(&self, by_sftp: bool) -> Command {
        let (mut scp, protocols) = match self.client {
            Client::OpenSsh | Client::Sshfs => (self.ssh.program("scp"), ["-O", "-s"]),
            Client::Putty => (self.saved_session("pscp"), ["-scp", "-sftp"]),
            Client::Dbclient => (self.through_remote_shell("scp"), ["-O", "-s"]),
        };
        scp.args(["-q", protocols[usize::from(by_sftp)]]);
        scp
    }

    /// Makes a folder of the box appear at a place here, until the program ends.
    pub fn sshfs(&self, folder: &Path, at: &Path) -> Command {
        let mut sshfs = self.ssh.program("sshfs");
        sshfs.arg("-f").arg(self.on_the_box(folder)).arg(at);
        sshfs
    }

    /// A path on the box, as scp and rsync name it.
    pub fn on_the_box(&self, path: impl AsRef<Path>) -> String {
        format!("{}:{}", self.target, path.as_ref().display())
    }

    /// One of PuTTY's programs with the saved sessions that were printed, of which this is the box's.
    pub fn saved_session(&self, program: &str) -> Command {
        let mut putty = self.program(program);
        putty.args(["-batch", "-load", self.ssh.host()]);
        putty
    }

    fn through_remote_shell(&self, program: &str) -> Command {
        let mut command = self.program(program);
        command.arg("-S").arg(&self.remote_shell);
        command
    }

    fn program(&self, name: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(name);
        command.env("HOME", &self.home).env_remove("SSH_AUTH_SOCK").stdin(Stdio::null());
        command
    }
}

/// Saves the printed sessions with the key that they leave open; the printed line of plink, with the
/// key for both hops, as the note beside it says.
async fn putty(home: &Path, access: &Access, key: &Key) -> String {
    let ppk = key.to_putty(home).await;
    type_in(home, form(access, Form::PuttyUnix)).await;
    for session in fs::read_dir(home.join(".putty/sessions")).expect("sessions were saved") {
        let session = session.expect("a session").path();
        let text = fs::read_to_string(&session).expect("a session");
        let (settings, _) = text.split_once("#PublicKeyFile=").expect("a place for the key");
        fs::write(&session, format!("{settings}PublicKeyFile={}\n", ppk.display())).expect("it is saved");
    }
    form(access, Form::Plink).replace("plink ", &format!("plink -batch -i {} ", ppk.display()))
}

/// Writes down the printed host keys; the printed line, on no terminal where it could ask anything.
async fn dbclient(home: &Path, access: &Access, key: &Key) -> String {
    let text = form(access, Form::Dbclient);
    let (known_hosts, line) = text.rsplit_once('\n').expect("host keys, then a command");
    type_in(home, known_hosts).await;
    let mut convert = Command::new("dropbearconvert");
    convert.args(["openssh", "dropbear"]).arg(key.path()).arg(home.join(".ssh/id_dropbear"));
    finish(convert).await.success();
    format!("setsid -w {line}")
}

fn form(access: &Access, form: Form) -> &str {
    let connection = access.connection.as_ref().expect("an access says how to connect");
    &connection.forms[form.as_str()]
}

/// Types what was printed, at home.
async fn type_in(home: &Path, commands: &str) {
    let mut shell = Command::new("sh");
    shell.args(["-ec", commands]).env("HOME", home);
    finish(shell).await.success();
}

/// Writes a program; by another process, because what this one has open for writing cannot be started
/// while a child of some other test, just born, holds it open too.
async fn write_script(path: &Path, text: &str) {
    let mut shell = Command::new("sh");
    shell.args(["-ec", "printf %s \"$0\" > \"$1\"; chmod 700 \"$1\"", text]).arg(path);
    finish(shell).await.success();
}
