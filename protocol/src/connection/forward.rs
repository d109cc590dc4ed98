//! A port of the box that speaks no SSH, through the gate: it appears on the visitor's own machine.

use std::collections::BTreeMap;

use super::form::Form;
use super::openssh::in_known_hosts;
use super::putty::host_key_options;
use super::{NOWHERE, SSH_PORT, read_keys, valid_host};
use crate::api::{Connection, Fingerprints, Gate, HostKey};
use crate::id::{AccessId, DeviceName};

/// The port of a box's own page.
const HTTPS_PORT: u16 = 443;

/// Ports below this are the system's own.
const FIRST_FREE: u16 = 1024;

/// What is added to one of those, so that 443 becomes 8443.
const SHIFT: u16 = 8000;

/// An access to such a port.
#[derive(Debug, Clone)]
pub struct Forward<'a> {
    /// The access, which is the user name at the gate.
    pub access: AccessId,
    /// The box's name.
    pub device: &'a DeviceName,
    /// The port of the box.
    pub port: u16,
    /// The relay's gate.
    pub gate: &'a Gate,
}

impl Forward<'_> {
    /// Everything needed to connect without a question.
    pub fn connection(&self) -> Connection {
        let keys = read_keys(&self.gate.host_keys);
        let known_hosts: Vec<String> =
            keys.iter().map(|key| format!("{} {key}", in_known_hosts(self.host(), self.gate.port))).collect();
        let forms = [
            (Form::OpenSsh, self.command()),
            (Form::KnownHosts, known_hosts.join("\n")),
            (Form::Plink, self.plink()),
        ];
        Connection {
            command: self.command(),
            url: (self.port == HTTPS_PORT).then(|| format!("https://localhost:{}/", self.local())),
            ssh_config: None,
            known_hosts,
            fingerprints: Fingerprints {
                gate: keys.iter().map(HostKey::from).collect(),
                device: Vec::new(),
                certificate: None,
            },
            warning: None,
            forms: forms.into_iter().map(|(form, text)| (form.to_string(), text)).collect::<BTreeMap<_, _>>(),
        }
    }

    fn command(&self) -> String {
        let port = match self.gate.port {
            SSH_PORT => String::new(),
            port => format!("-p {port} "),
        };
        format!("ssh -N -L {} {port}{}@{}", self.forwarding(), self.access, self.host())
    }

    fn plink(&self) -> String {
        let keys = host_key_options(&read_keys(&self.gate.host_keys));
        format!(
            "plink -N -L {} -P {} {keys}{}@{}",
            self.forwarding(),
            self.gate.port,
            self.access,
            self.host()
        )
    }

    fn forwarding(&self) -> String {
        format!("{}:{}:{}", self.local(), self.device, self.port)
    }

    /// Where it appears on the visitor's machine.
    fn local(&self) -> u16 {
        match self.port {
            80 => 8080,
            port if port < FIRST_FREE => port + SHIFT,
            port => port,
        }
    }

    fn host(&self) -> &str {
        if valid_host(&self.gate.host) { &self.gate.host } else { NOWHERE }
    }
}
