//! A box: its agent, its SSH server, and the keys file between them.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use postern_protocol::api::DeviceStatus;
use postern_protocol::id::DeviceId;
use toml::{Table, Value};

use crate::api::Api;
use crate::daemon::Daemon;
use crate::dropbear::Dropbear;
use crate::namespace::Namespace;
use crate::program::{Output, Program};
use crate::scene::Scene;
use crate::sshd::Sshd;
use crate::wait::{RETURN, eventually};

/// A line in the keys file that is not the agent's.
pub const FOREIGN_LINE: &str = "# this line belongs to the owner of the box";

/// The SSH server of a box.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server {
    /// OpenSSH's.
    Sshd,
    /// Dropbear.
    Dropbear,
    /// The agent's own.
    Builtin,
}

impl Server {
    /// Each of them.
    pub const ALL: [Self; 3] = [Self::Sshd, Self::Dropbear, Self::Builtin];
}

/// The SSH server of a box, running.
#[derive(Debug)]
enum Running {
    Sshd(Sshd),
    Dropbear(Dropbear),
    Builtin,
}

/// A box, on this machine but with everything of its own.
#[derive(Debug)]
pub struct Machine {
    name: String,
    id: DeviceId,
    agent: Daemon,
    server: Running,
    keys_file: PathBuf,
}

impl Machine {
    /// Gets a box ready to join, whose configuration has these settings besides the usual ones.
    pub(crate) async fn new(scene: &Arc<Scene>, name: &str, id: DeviceId, settings: Table) -> Self {
        Self::at(None, scene, name, id, Server::Sshd, settings).await
    }

    /// The same, in another network if one is given, with one of the SSH servers.
    pub(crate) async fn at(
        place: Option<Arc<Namespace>>,
        scene: &Arc<Scene>,
        name: &str,
        id: DeviceId,
        server: Server,
        settings: Table,
    ) -> Self {
        let (server, keys_file) = Running::start(scene, server, place.as_deref()).await;
        fs::write(&keys_file, format!("{FOREIGN_LINE}\n")).expect("a keys file");
        let mut config = server.configuration(&keys_file);
        config.extend(settings);
        let mut agent = Daemon::named(scene, name, "postern-agent", &["run"], config);
        place.into_iter().for_each(|place| agent.move_to(place));
        Self { name: name.into(), id, agent, server, keys_file }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its id.
    pub fn id(&self) -> DeviceId {
        self.id
    }

    /// Its sshd.
    pub fn sshd(&self) -> &Sshd {
        match &self.server {
            Running::Sshd(sshd) => sshd,
            other @ (Running::Dropbear(_) | Running::Builtin) => panic!("{other:?} is not sshd"),
        }
    }

    /// Where its own SSH server listens, beside the agent; the built-in one listens nowhere.
    pub fn ssh_address(&self) -> Option<SocketAddr> {
        self.server.address()
    }

    /// The file in which its agent keeps visitors' keys.
    pub fn keys_file(&self) -> &Path {
        &self.keys_file
    }

    /// What is in that file.
    pub fn keys(&self) -> String {
        fs::read_to_string(&self.keys_file).expect("the keys file is never missing")
    }

    /// The agent's state directory.
    pub fn state_dir(&self) -> PathBuf {
        self.agent.state_dir()
    }

    /// Runs the line that was printed for a new box.
    pub async fn join(&self, string: &str) -> Output {
        self.agent.run(&["join", string]).await
    }

    /// Runs a subcommand of the agent, such as `status`.
    pub async fn run(&self, arguments: &[&str]) -> Output {
        self.agent.run(arguments).await
    }

    /// Changes its agent's configuration, for the next start.
    pub fn set(&mut self, key: &str, value: impl Into<Value>) {
        self.agent.set(key, value);
    }

    /// Sets a variable of its agent's environment, from the next start.
    pub fn set_variable(&mut self, name: &str, value: &Path) {
        self.agent.set_variable(name, value);
    }

    /// Starts its agent, which dials out by itself.
    pub fn start(&mut self) {
        self.agent.spawn();
    }

    /// Kills its agent without a word.
    pub fn kill(&mut self) {
        self.agent.kill();
    }

    /// Stops its agent as a service manager does.
    pub async fn stop(&mut self) {
        self.agent.stop().await;
    }

    /// The agent's process.
    pub fn process(&mut self) -> &mut Program {
        self.agent.process()
    }

    /// Waits until the API has it so.
    pub async fn becomes(&self, status: DeviceStatus, api: &Api) {
        let what = format!("{} becomes {status:?}", self.name);
        eventually(&what, RETURN, async || (api.device(&self.name).await.status == status).then_some(()))
            .await;
    }
}

impl Running {
    /// Starts it; and the file in which it looks for the keys of whoever runs the tests.
    async fn start(scene: &Arc<Scene>, server: Server, place: Option<&Namespace>) -> (Self, PathBuf) {
        let keys = scene.new_dir("keys");
        let keys_file = keys.join(own_login());
        match server {
            Server::Sshd => (Self::Sshd(Sshd::start(scene, &keys, place).await), keys_file),
            Server::Dropbear => {
                let dropbear = Dropbear::start(scene, place).await;
                let keys_file = dropbear.keys_file().into();
                (Self::Dropbear(dropbear), keys_file)
            }
            Server::Builtin => (Self::Builtin, keys_file),
        }
    }

    fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Sshd(sshd) => Some(sshd.address()),
            Self::Dropbear(dropbear) => Some(dropbear.address()),
            Self::Builtin => None,
        }
    }

    fn configuration(&self, keys_file: &Path) -> Table {
        let text = |path: &Path| Value::from(path.to_str().expect("temporary paths are text"));
        let (mut ssh, mut keys) = (Table::new(), Table::new());
        if let Some(address) = self.address() {
            ssh.insert("server".into(), "system".into());
            ssh.insert("address".into(), address.to_string().into());
            let files = Table::from_iter([(own_login(), text(keys_file))]);
            keys.insert("files".into(), files.into());
        } else {
            ssh.insert("server".into(), "builtin".into());
        }
        if let Self::Sshd(sshd) = self {
            ssh.insert("host_keys".into(), text(sshd.host_keys_dir()));
        }
        Table::from_iter([
            ("default_login".into(), own_login().into()),
            ("ssh".into(), ssh.into()),
            ("keys".into(), keys.into()),
        ])
    }
}

/// Who runs the tests, and so the only user whom an sshd without privileges lets in.
pub fn own_login() -> String {
    let user = nix::unistd::User::from_uid(nix::unistd::getuid()).expect("the users are known");
    user.expect("whoever runs the tests is a user").name
}
