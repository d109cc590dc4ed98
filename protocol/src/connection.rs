//! Every way to connect, from one place.
//!
//! Box names, logins and access ids cannot hold anything that a shell, a registry file or a
//! configuration file could misread: their types see to it. A gate's host and all host keys come
//! from elsewhere, so they are read before they are written: a key that is none is left out, and a
//! host that is none becomes one that leads nowhere.

use std::collections::BTreeMap;

use crate::api::{Connection, Fingerprints, Gate, HostKey};
use crate::id::{AccessId, DeviceName, Login};
use crate::ssh_key::PublicKey;

mod direct;
mod dropbear;
mod form;
mod forward;
mod host;
mod link;
mod openssh;
mod putty;
#[cfg(test)]
mod tests;
mod tools;

pub use direct::Direct;
pub use form::{Form, Rendered, RenderedFile, UnknownForm};
pub use forward::Forward;
pub use host::valid_host;
pub use link::{By, Link};

/// The port that `ssh` takes when none is named.
const SSH_PORT: u16 = 22;

/// Where a gate leads whose host is none: a name that nobody can have (RFC 6761, section 6.4).
const NOWHERE: &str = "gate-host-is-not-valid.invalid";

/// An access through the gate to an SSH server, and where it leads.
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
        let shown = |keys: Vec<PublicKey>| keys.iter().map(HostKey::from).collect();
        let forms = Form::ALL.iter().map(|form| (form.to_string(), self.render(*form).text));
        Connection {
            command: self.command(),
            url: None,
            ssh_config: Some(self.ssh_config()),
            known_hosts: self.known_hosts(),
            fingerprints: Fingerprints {
                gate: shown(self.gate_keys()),
                device: shown(self.box_keys()),
                certificate: None,
            },
            warning: None,
            forms: forms.collect::<BTreeMap<_, _>>(),
        }
    }

    /// The connection as one program wants it.
    pub fn render(&self, form: Form) -> Rendered {
        let rendered = match form {
            Form::OpenSsh => Rendered::line(self.command()),
            Form::SshConfig => Rendered::file(format!("{}.ssh_config", self.device), self.ssh_config()),
            Form::KnownHosts => {
                Rendered::file(format!("{}.known_hosts", self.device), self.known_hosts_file())
            }
            Form::Putty => Rendered::file(format!("{}.reg", self.device), putty::registry(&self.sessions())),
            Form::PuttyUnix => putty::files(&self.sessions()),
            Form::Plink => Rendered::line(self.plink()),
            Form::Dbclient => Rendered::line(self.dbclient()),
            Form::WinScp => Rendered::line(self.winscp()),
            Form::Scp => Rendered::line(self.scp()),
            Form::Sftp => Rendered::line(self.sftp()),
            Form::Rsync => Rendered::line(self.rsync()),
            Form::Ansible => Rendered::line(self.ansible()),
            Form::VsCode => Rendered::line(self.vscode()),
        };
        Rendered { note: form.note(), ..rendered }
    }

    fn gate_host(&self) -> &str {
        match valid_host(&self.gate.host) {
            true => &self.gate.host,
            false => NOWHERE,
        }
    }

    fn gate_keys(&self) -> Vec<PublicKey> {
        read_keys(&self.gate.host_keys)
    }

    /// The keys of the box's SSH server; what listens on other ports is not known.
    fn box_keys(&self) -> Vec<PublicKey> {
        match self.port {
            SSH_PORT => read_keys(self.host_keys),
            _ => Vec::new(),
        }
    }
}

fn read_keys(keys: &[HostKey]) -> Vec<PublicKey> {
    keys.iter().filter_map(|key| PublicKey::parse(&key.key).ok()).map(|pasted| pasted.key).collect()
}
