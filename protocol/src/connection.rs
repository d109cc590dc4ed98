//! Every way to connect, from one place.

use crate::api::{Connection, Fingerprints, Gate, HostKey};
use crate::id::{AccessId, DeviceName, Login};
use crate::ssh_key::PublicKey;

/// The port that `ssh` takes when none is named.
const SSH_PORT: u16 = 22;

/// One access, and where it leads.
#[derive(Debug, Clone)]
pub struct Way<'a> {
    /// The access, which is the user name at the gate.
    pub access: AccessId,
    /// The box's name, which is the host name behind the gate.
    pub device: &'a DeviceName,
    /// The port of the box.
    pub port: u16,
    /// The user on the box.
    pub login: &'a Login,
    /// The visitor's key.
    pub key: Option<&'a PublicKey>,
    /// The relay's gate.
    pub gate: &'a Gate,
    /// The box's host keys.
    pub host_keys: &'a [HostKey],
}

impl Way<'_> {
    /// Everything needed to connect without a question.
    pub fn connection(&self) -> Connection {
        Connection {
            command: self.command(),
            url: None,
            ssh_config: Some(self.ssh_config()),
            known_hosts: self.known_hosts(),
            fingerprints: Fingerprints { gate: self.gate.host_keys.clone(), device: self.host_keys.to_vec() },
        }
    }

    /// The command for any OpenSSH since 7.3.
    pub fn command(&self) -> String {
        format!("ssh -J {}@{} {}@{}", self.access, self.gate_authority(), self.login, self.device)
    }

    /// A block for `~/.ssh/config`. It names the key for both hops, because `-i` and `-o` on the
    /// command line never reach the jump host.
    pub fn ssh_config(&self) -> String {
        let Self { access, device, login, gate, .. } = self;
        let identity = self.identity_file();
        format!(
            "Host {device}\n\
             \x20   HostName {device}\n\
             \x20   HostKeyAlias {device}\n\
             \x20   User {login}\n\
             \x20   ProxyJump postern-{access}\n\
             \x20   IdentityFile {identity}\n\
             Host postern-{access}\n\
             \x20   HostName {host}\n\
             \x20   Port {port}\n\
             \x20   User {access}\n\
             \x20   IdentityFile {identity}\n",
            host = gate.host,
            port = gate.port,
        )
    }

    /// Lines for a known_hosts file: the gate's, then the box's.
    pub fn known_hosts(&self) -> Vec<String> {
        let gate = match self.gate.port {
            SSH_PORT => self.gate.host.clone(),
            port => format!("[{}]:{port}", self.gate.host),
        };
        let of_gate = self.gate.host_keys.iter().map(|key| format!("{gate} {}", key.key));
        let of_box = self.host_keys.iter().map(|key| format!("{} {}", self.device, key.key));
        of_gate.chain(of_box).collect()
    }

    fn gate_authority(&self) -> String {
        let host = match self.gate.host.contains(':') {
            true => format!("[{}]", self.gate.host),
            false => self.gate.host.clone(),
        };
        match self.gate.port {
            SSH_PORT => host,
            port => format!("{host}:{port}"),
        }
    }

    fn identity_file(&self) -> &'static str {
        match self.key.map(PublicKey::type_name) {
            Some("ssh-rsa") => "~/.ssh/id_rsa",
            Some("sk-ssh-ed25519@openssh.com") => "~/.ssh/id_ed25519_sk",
            Some("sk-ecdsa-sha2-nistp256@openssh.com") => "~/.ssh/id_ecdsa_sk",
            Some(name) if name.starts_with("ecdsa-") => "~/.ssh/id_ecdsa",
            _ => "~/.ssh/id_ed25519",
        }
    }
}
