//! The box's SSH server behind a public port of a relay: one hop, for clients that know no jump host.
//!
//! The port leads to the box, so the host key there is the box's. It is kept under the box's name
//! wherever a client can be told to, because a port has another box behind it some day.

use std::collections::BTreeMap;

use super::form::{Form, Rendered};
use super::host::bracketed;
use super::openssh::{identity_file, in_known_hosts};
use super::putty::{self, Session, host_key_options};
use super::tools::winscp_key;
use super::{NOWHERE, read_keys, valid_host};
use crate::api::{Connection, Fingerprints, HostKey};
use crate::id::{DeviceName, Login};
use crate::ssh_key::PublicKey;

/// An access with a public port, and where it leads.
#[derive(Debug, Clone)]
pub struct Direct<'a> {
    /// The box's name.
    pub device: &'a DeviceName,
    /// The user on the box.
    pub login: &'a Login,
    /// The visitor's key.
    pub key: Option<&'a PublicKey>,
    /// The relay's host.
    pub host: &'a str,
    /// The public port.
    pub port: u16,
    /// The box's host keys.
    pub host_keys: &'a [HostKey],
}

impl Direct<'_> {
    /// Everything needed to connect without a question.
    pub fn connection(&self) -> Connection {
        let forms = Form::ALL.iter().map(|form| (form.to_string(), self.render(*form).text));
        let device = self.keys().iter().map(HostKey::from).collect();
        Connection {
            command: self.command(),
            url: None,
            ssh_config: Some(self.ssh_config()),
            known_hosts: self.known_hosts(),
            fingerprints: Fingerprints { gate: Vec::new(), device, certificate: None },
            warning: None,
            forms: forms.collect::<BTreeMap<_, _>>(),
        }
    }

    /// The connection as one program wants it.
    pub fn render(&self, form: Form) -> Rendered {
        let Self { device, login, .. } = self;
        let (to, options) = (self.target(), self.options());
        let rendered = match form {
            Form::OpenSsh => Rendered::line(self.command()),
            Form::SshConfig => Rendered::file(format!("{device}.ssh_config"), self.ssh_config()),
            Form::KnownHosts => {
                let lines: String = self.known_hosts().into_iter().map(|line| line + "\n").collect();
                Rendered::file(format!("{device}.known_hosts"), lines)
            }
            Form::Putty => Rendered::file(format!("{device}.reg"), putty::registry(&[self.session()])),
            Form::PuttyUnix => putty::files(&[self.session()]),
            Form::Plink => Rendered::line(self.plink()),
            Form::Dbclient => Rendered::line(self.dbclient()),
            Form::WinScp => Rendered::line(self.winscp()),
            Form::Scp => Rendered::line(format!("scp -P {options} FILE {}", quoted(format!("{to}:")))),
            Form::Sftp => Rendered::line(format!("sftp -P {options} {}", quoted(to))),
            Form::Rsync => {
                Rendered::line(format!("rsync -av -e 'ssh -p {options}' FILE {}", quoted(format!("{to}:"))))
            }
            Form::Ansible => Rendered::line(format!(
                "{device} ansible_host={} ansible_port={} ansible_user={login} \
                 ansible_ssh_common_args='-o HostKeyAlias={device}'",
                self.host(),
                self.port
            )),
            Form::VsCode => Rendered::line(format!("code --remote ssh-remote+{device}")),
        };
        Rendered { note: form.note(), ..rendered }
    }

    fn command(&self) -> String {
        format!("ssh -p {} {}@{}", self.options(), self.login, self.host())
    }

    pub(super) fn ssh_config(&self) -> String {
        let Self { device, login, port, .. } = self;
        format!(
            "Host {device}\n\
             \x20   HostName {host}\n\
             \x20   Port {port}\n\
             \x20   HostKeyAlias {device}\n\
             \x20   User {login}\n\
             \x20   IdentityFile {identity}\n",
            host = self.host(),
            identity = identity_file(self.key),
        )
    }

    /// By the box's name, and by where it is found for clients that know no other.
    fn known_hosts(&self) -> Vec<String> {
        let place = in_known_hosts(self.host(), self.port);
        let keys = self.keys();
        let lines = |host: &str| keys.iter().map(|key| format!("{host} {key}")).collect::<Vec<_>>();
        [lines(self.device.as_str()), lines(&place)].concat()
    }

    fn plink(&self) -> String {
        let keys = host_key_options(&self.keys());
        format!("plink -P {} {keys}{}@{}", self.port, self.login, self.host())
    }

    /// Its known_hosts name no ports, so another program dials and the key stands under the box's name.
    fn dbclient(&self) -> String {
        let Self { device, login, port, .. } = self;
        let lines: String = self.keys().iter().map(|key| format!("{device} {key}\n")).collect();
        let known = match lines.is_empty() {
            true => lines,
            false => format!("mkdir -p ~/.ssh\ncat >> ~/.ssh/known_hosts <<'END'\n{lines}END\n"),
        };
        format!("{known}dbclient -J \"nc {} {port}\" {login}@{device}", self.host())
    }

    fn winscp(&self) -> String {
        let key = winscp_key(";fingerprint=", &self.keys());
        format!("winscp.exe \"sftp://{}{key}@{}:{}/\"", self.login, bracketed(self.host()), self.port)
    }

    fn session(&self) -> Session {
        Session::new(self.device.to_string(), self.host(), self.port, self.login.as_str(), &self.keys())
    }

    /// What stands behind `-p` or `-P`.
    fn options(&self) -> String {
        format!("{} -o HostKeyAlias={}", self.port, self.device)
    }

    /// The user and the host, for programs that put a path behind them.
    fn target(&self) -> String {
        format!("{}@{}", self.login, bracketed(self.host()))
    }

    fn host(&self) -> &str {
        if valid_host(self.host) { self.host } else { NOWHERE }
    }

    fn keys(&self) -> Vec<PublicKey> {
        read_keys(self.host_keys)
    }
}

/// Brackets are a pattern to some shells, so they stand in the quotes that every shell knows.
fn quoted(target: String) -> String {
    if target.contains('[') { format!("\"{target}\"") } else { target }
}
