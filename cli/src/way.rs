//! Ways to boxes by accesses one holds, written as configuration for ssh.
//!
//! Both hops are named with their keys, host keys come from the control API, and nothing is asked.
//! What goes into a file is made of parts that were checked, never of text that somebody sent: a line
//! of ssh's configuration can run programs.

use std::path::{Path, PathBuf};

use chrono::{DateTime, TimeDelta, Utc};
use postern_protocol::api::{Access, AccessStatus, Gate, HostKey, Relay, Via};
use postern_protocol::connection::valid_host;
use postern_protocol::id::Login;
use postern_protocol::ssh_key::PublicKey;

use crate::failure::Failure;
use crate::file;
use crate::identity::{At, Identity};

/// An access with less time left than this is as good as over.
const WORTHWHILE: TimeDelta = TimeDelta::seconds(30);

/// An access that can be used from here.
#[derive(Debug, Clone)]
pub(crate) struct Held<'a> {
    /// The access.
    pub(crate) access: &'a Access,
    /// The key that opens it.
    pub(crate) identity: &'a Identity,
}

/// The accesses to SSH servers that can be used from here: those that work now before those that wait,
/// then those that last longest.
pub(crate) fn held<'a>(
    accesses: &'a [Access],
    identities: &'a [Identity],
    now: DateTime<Utc>,
) -> Vec<Held<'a>> {
    let mine = |access: &'a Access| {
        let key = PublicKey::parse(&access.public_key.as_ref()?.openssh).ok()?.key;
        let identity = identities.iter().find(|identity| identity.key == key)?;
        Some(Held { access, identity })
    };
    let lives = |access: &&Access| {
        access.exposed_port == 22
            && matches!(access.status, AccessStatus::Active | AccessStatus::Pending)
            && access.expires_at > now + WORTHWHILE
    };
    let mut held: Vec<Held<'_>> = accesses.iter().filter(lives).filter_map(mine).collect();
    held.sort_by_key(|held| {
        (held.access.status != AccessStatus::Active, std::cmp::Reverse(held.access.expires_at))
    });
    held
}

/// The best of these, for whoever wants to be this user on the box.
pub(crate) fn best<'a, 'b>(held: &'b [Held<'a>], login: Option<&Login>) -> Option<&'b Held<'a>> {
    held.iter().find(|held| login.is_none_or(|login| *login == held.access.login))
}

/// Where an access begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start<'a> {
    /// At a relay's gate, which is a hop of its own.
    Gate(&'a Gate),
    /// At a public port, which leads straight to the box.
    Port {
        /// The relay's host.
        host: &'a str,
        /// The port.
        port: u16,
    },
}

/// Where an access begins, as the relays say it.
pub(crate) fn start<'a>(access: &Access, relays: &'a [Relay]) -> Option<Start<'a>> {
    match access.via {
        Via::Gate => gate(access, relays).map(Start::Gate),
        Via::Port => {
            let relay = relays.iter().find(|relay| Some(relay.id) == access.relay)?;
            Some(Start::Port { host: &relay.gate.as_ref()?.host, port: access.public_port? })
        }
        Via::Name => None,
    }
}

/// The gate that an access leads through: the one whose host keys its connection shows.
fn gate<'a>(access: &Access, relays: &'a [Relay]) -> Option<&'a Gate> {
    let shown = &access.connection.as_ref()?.fingerprints.gate;
    let has_its_keys = |gate: &&Gate| {
        gate.host_keys.iter().any(|key| shown.iter().any(|shown| shown.fingerprint == key.fingerprint))
    };
    relays.iter().filter_map(|relay| relay.gate.as_ref()).find(has_its_keys)
}

/// One way, ready to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Block {
    text: String,
    known_hosts: String,
}

impl Block {
    /// The way by an access under these names, with keys and known hosts found in `folder`.
    pub(crate) fn new(
        held: &Held<'_>,
        start: Start<'_>,
        names: &[String],
        folder: &Folder,
    ) -> Result<Self, Failure> {
        let Access { id, device_name, login, connection, .. } = held.access;
        let host = start.host()?;
        let box_keys = connection.as_ref().map_or(&[][..], |connection| &connection.fingerprints.device);
        let shared = shared(&folder.identity(held.identity)?, &folder.known_hosts())?;
        let names = names.join(" ");
        let known_box = lines(device_name.as_str(), box_keys);
        Ok(match start {
            Start::Gate(gate) => Self {
                text: format!(
                    "Host {names}\n    HostName {device_name}\n    HostKeyAlias {device_name}\n    User {login}\n    \
                     ProxyJump postern-{id}\n{shared}\
                     Host postern-{id}\n    HostName {host}\n    Port {}\n    User {id}\n    ProxyJump none\n{shared}",
                    gate.port
                ),
                known_hosts: lines(&in_known_hosts(host, gate.port), &gate.host_keys) + &known_box,
            },
            Start::Port { port, .. } => Self {
                text: format!(
                    "Host {names}\n    HostName {host}\n    Port {port}\n    HostKeyAlias {device_name}\n    \
                     User {login}\n    ProxyJump none\n{shared}"
                ),
                known_hosts: known_box,
            },
        })
    }
}

impl<'a> Start<'a> {
    /// The relay's host, fit to stand in a file.
    fn host(&self) -> Result<&'a str, Failure> {
        let host = match *self {
            Self::Gate(gate) => &gate.host,
            Self::Port { host, .. } => host,
        };
        match valid_host(host) {
            true => Ok(host),
            false => {
                let shown = crate::output::tame(host);
                Err(Failure::Usage(format!("the relay has no usable host: '{shown}'")))
            }
        }
    }
}

fn in_known_hosts(host: &str, port: u16) -> String {
    match port {
        22 => host.to_owned(),
        port => format!("[{host}]:{port}"),
    }
}

/// What is the same for both hops.
fn shared(identity: &Path, known_hosts: &Path) -> Result<String, Failure> {
    Ok(format!(
        "    IdentityFile {}\n    IdentitiesOnly yes\n    UserKnownHostsFile {}\n    StrictHostKeyChecking yes\n    \
         UpdateHostKeys no\n    CheckHostIP no\n",
        quoted(identity)?,
        quoted(known_hosts)?
    ))
}

fn lines(host: &str, keys: &[HostKey]) -> String {
    let keys = keys.iter().filter_map(|key| PublicKey::parse(&key.key).ok());
    keys.map(|pasted| format!("{host} {}\n", pasted.key)).collect()
}

/// A path as a word of ssh's configuration, where `%` begins a token and quotes cannot be escaped by
/// every version.
pub(crate) fn quoted(path: &Path) -> Result<String, Failure> {
    let text = path.to_str().filter(|text| !text.contains(['"', '\n', '\r', '$', '\\']));
    let text = text.ok_or_else(|| {
        Failure::Usage(format!("ssh's configuration cannot hold the path {}", path.display()))
    })?;
    Ok(format!("\"{}\"", text.replace('%', "%%")))
}

/// A folder with configuration for ssh, under one name.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    path: PathBuf,
    name: String,
}

impl Folder {
    /// Configuration of this name in a folder, which is made if it is missing.
    pub(crate) fn open(path: PathBuf, name: &str) -> Result<Self, Failure> {
        file::private_folder(&path.join("keys"))?;
        Ok(Self { path, name: name.to_owned() })
    }

    /// The configuration.
    pub(crate) fn config(&self) -> PathBuf {
        self.path.join(format!("{}.config", self.name))
    }

    fn known_hosts(&self) -> PathBuf {
        self.path.join(format!("{}.known_hosts", self.name))
    }

    /// The file that names a key to ssh. For one that only the agent has it is the public half, by
    /// which ssh asks the agent for that key and no other.
    fn identity(&self, identity: &Identity) -> Result<PathBuf, Failure> {
        match &identity.at {
            At::File(private) => Ok(private.clone()),
            At::Agent => {
                let name: String =
                    identity.key.fingerprint().chars().filter(char::is_ascii_alphanumeric).collect();
                let path = self.path.join("keys").join(format!("{name}.pub"));
                file::write(&path, format!("{}\n", identity.key).as_bytes())?;
                Ok(path)
            }
        }
    }

    /// Writes the configuration: these ways, with what stands before and after them.
    pub(crate) fn write(&self, before: &str, blocks: &[Block], after: &str) -> Result<(), Failure> {
        let known_hosts: String = blocks.iter().map(|block| block.known_hosts.as_str()).collect();
        let text: String = blocks.iter().map(|block| block.text.as_str()).collect();
        file::write(&self.known_hosts(), known_hosts.as_bytes())?;
        file::write(&self.config(), format!("{before}{text}{after}").as_bytes())?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
