//! OpenSSH: the command, its configuration, and the programs that run it.

use super::host::bracketed;
use super::{SSH_PORT, Way};
use crate::ssh_key::PublicKey;

/// What every one-line form takes for granted.
pub(super) const NOTE: &str = "Asks once for each hop's host key unless the lines of the form known-hosts are in \
                               ~/.ssh/known_hosts.";

impl Way<'_> {
    /// The command for any OpenSSH since 7.3.
    pub fn command(&self) -> String {
        format!("ssh {}{}", self.jump(), self.target("-p"))
    }

    /// A block for `~/.ssh/config`. It names the key for both hops, because `-i` and `-o` on the
    /// command line never reach the jump host.
    pub fn ssh_config(&self) -> String {
        let Self { access, device, login, gate, .. } = self;
        let identity = identity_file(self.key);
        let port = match self.port {
            SSH_PORT => String::new(),
            port => format!("    Port {port}\n"),
        };
        format!(
            "Host {device}\n\
             \x20   HostName {device}\n\
             {port}\
             \x20   HostKeyAlias {device}\n\
             \x20   User {login}\n\
             \x20   ProxyJump postern-{access}\n\
             \x20   IdentityFile {identity}\n\
             Host postern-{access}\n\
             \x20   HostName {host}\n\
             \x20   Port {gate_port}\n\
             \x20   User {access}\n\
             \x20   IdentityFile {identity}\n",
            host = self.gate_host(),
            gate_port = gate.port,
        )
    }

    /// Lines for a known_hosts file: the gate's, then the box's.
    pub fn known_hosts(&self) -> Vec<String> {
        let gate = in_known_hosts(self.gate_host(), self.gate.port);
        let line = |host: &str, keys: Vec<PublicKey>| {
            keys.into_iter().map(|key| format!("{host} {key}")).collect::<Vec<_>>()
        };
        [line(&gate, self.gate_keys()), line(self.device.as_str(), self.box_keys())].concat()
    }

    pub(super) fn known_hosts_file(&self) -> String {
        self.known_hosts().into_iter().map(|line| line + "\n").collect()
    }

    pub(super) fn scp(&self) -> String {
        format!("scp {}{}", self.jump(), self.target_of("-P", "FILE ") + ":")
    }

    pub(super) fn sftp(&self) -> String {
        format!("sftp {}{}", self.jump(), self.target("-P"))
    }

    pub(super) fn rsync(&self) -> String {
        let port = self.port_option("-p");
        let shell = format!("ssh {}{port}", self.jump());
        format!("rsync -av -e '{}' FILE {}@{}:", shell.trim_end(), self.login, self.device)
    }

    /// `-J` and the gate, then a blank. The brackets of an IPv6 address are a pattern to some
    /// shells, so they stand in the quotes that every shell knows.
    pub(super) fn jump(&self) -> String {
        let host = bracketed(self.gate_host());
        let gate = match self.gate.port {
            SSH_PORT => format!("{}@{host}", self.access),
            port => format!("{}@{host}:{port}", self.access),
        };
        match host.starts_with('[') {
            true => format!("-J \"{gate}\" "),
            false => format!("-J {gate} "),
        }
    }

    fn target(&self, port_option: &str) -> String {
        self.target_of(port_option, "")
    }

    fn target_of(&self, port_option: &str, before: &str) -> String {
        format!("{}{before}{}@{}", self.port_option(port_option), self.login, self.device)
    }

    fn port_option(&self, option: &str) -> String {
        match self.port {
            SSH_PORT => String::new(),
            port => format!("{option} {port} "),
        }
    }
}

/// A place, as known_hosts files name it.
pub(super) fn in_known_hosts(host: &str, port: u16) -> String {
    match port {
        SSH_PORT => host.to_owned(),
        port => format!("[{host}]:{port}"),
    }
}

/// Where `ssh-keygen` puts a key of this type unless told otherwise.
pub(super) fn identity_file(key: Option<&PublicKey>) -> &'static str {
    match key.map(PublicKey::type_name) {
        Some("ssh-rsa") => "~/.ssh/id_rsa",
        Some("sk-ssh-ed25519@openssh.com") => "~/.ssh/id_ed25519_sk",
        Some("sk-ecdsa-sha2-nistp256@openssh.com") => "~/.ssh/id_ecdsa_sk",
        Some(name) if name.starts_with("ecdsa-") => "~/.ssh/id_ecdsa",
        _ => "~/.ssh/id_ed25519",
    }
}
