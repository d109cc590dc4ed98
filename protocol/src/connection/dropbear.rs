//! Dropbear's client, as routers and other small machines have it.

use std::fmt::Write;

use super::{SSH_PORT, Way};
use crate::ssh_key::PublicKey;

/// What dbclient takes for granted.
pub(super) const NOTE: &str = "Takes the key from ~/.ssh/id_dropbear, which dropbearconvert makes of OpenSSH's. Where OpenSSH \
                               reads the same known_hosts, it takes the relay's line for an SSH server on port 22, because \
                               dbclient's lines name no ports. To a public port it dials with nc.";

impl Way<'_> {
    /// Writes down both hops' keys, then connects; for any version that knows Ed25519 (since 2020.79).
    /// A second dbclient dials the gate: its own way through another host, `user@gate,user@box`, needs
    /// dbclient to be called by its whole path.
    pub(super) fn dbclient(&self) -> String {
        let Self { access, device, login, port, gate, .. } = self;
        let host = self.gate_host();
        let through = format!("dbclient {}-B {device}:{port} {access}@{host}", port_option(gate.port));
        let known = self.known_to_dbclient();
        format!("{known}dbclient {}-J \"{through}\" {login}@{device}", port_option(*port))
    }

    fn known_to_dbclient(&self) -> String {
        let mut lines = String::new();
        let mut add = |host: &str, keys: Vec<PublicKey>| {
            for key in keys {
                writeln!(lines, "{host} {key}").expect("a String takes everything");
            }
        };
        add(self.gate_host(), self.gate_keys());
        add(self.device.as_str(), self.box_keys());
        match lines.is_empty() {
            true => lines,
            false => format!("mkdir -p ~/.ssh\ncat >> ~/.ssh/known_hosts <<'END'\n{lines}END\n"),
        }
    }
}

fn port_option(port: u16) -> String {
    match port {
        SSH_PORT => String::new(),
        port => format!("-p {port} "),
    }
}
