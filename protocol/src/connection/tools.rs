//! Other programs that speak SSH.

use super::{SSH_PORT, Way};
use crate::ssh_key::PublicKey;

/// What Visual Studio Code takes for granted.
pub(super) const VSCODE_NOTE: &str =
    "Needs the Remote - SSH extension, and the block of the form config in ~/.ssh/config.";

impl Way<'_> {
    /// A session URL with the gate as WinSCP's tunnel. A URL carries one host key for each hop.
    pub(super) fn winscp(&self) -> String {
        let Self { access, device, login, gate, .. } = self;
        let host = self.gate_host().replace(':', "%3A");
        let box_key = winscp_key(";fingerprint=", &self.box_keys());
        let gate_key = winscp_key(";x-tunnelhostkey=", &self.gate_keys());
        let port = match self.port {
            SSH_PORT => String::new(),
            port => format!(":{port}"),
        };
        format!(
            "winscp.exe \"sftp://{login}{box_key};x-tunnel=1;x-tunnelhostname={host};x-tunnelportnumber={};\
             x-tunnelusername={access}{gate_key}@{device}{port}/\"",
            gate.port
        )
    }

    /// A line of an inventory in INI form.
    pub(super) fn ansible(&self) -> String {
        let Self { device, login, .. } = self;
        let port = match self.port {
            SSH_PORT => String::new(),
            port => format!(" ansible_port={port}"),
        };
        format!("{device} ansible_user={login}{port} ansible_ssh_common_args='{}'", self.jump().trim_end())
    }

    pub(super) fn vscode(&self) -> String {
        format!("code --remote ssh-remote+{}", self.device)
    }
}

/// The key that a client prefers, as WinSCP writes fingerprints in URLs: type, hyphen, and SHA-256
/// in the URL's own base64.
pub(super) fn winscp_key(option: &str, keys: &[PublicKey]) -> String {
    let preferred = keys.iter().min_by_key(|key| match key.type_name() {
        "ssh-ed25519" => 0,
        "ssh-rsa" => 2,
        _ => 1,
    });
    preferred.map_or_else(String::new, |key| {
        let fingerprint = key.fingerprint().trim_start_matches("SHA256:").replace('+', "-").replace('/', "_");
        format!("{option}{}-{fingerprint}", key.type_name())
    })
}
