//! PuTTY: its command, and saved sessions for Windows and Unix.
//!
//! PuTTY finds its way through the gate by a pair of saved sessions, because only a session can
//! carry host keys of its own: the box's says `ProxyMethod=6` (since 0.77) and names the gate's.
//! Both names consist of letters that PuTTY does not escape.

use std::fmt::Write;

use super::form::{Rendered, RenderedFile};
use super::{SSH_PORT, Way};
use crate::ssh_key::PublicKey;

/// How PuTTY and WinSCP find the visitor's key.
pub(super) const NOTE: &str = "Takes the key from Pageant. Without Pageant, name the .ppk file for both hops: \
                               PublicKeyFile in the sessions, Private key file in WinSCP.";

/// How plink finds it, and what it keeps to itself.
pub(super) const PLINK_NOTE: &str = "Takes the key from Pageant. Without Pageant, name the .ppk file for both hops: -i FILE. \
                                     If the gate refuses, only plink -v says why.";

/// `ProxyMethod` of a jump host that is itself reached by SSH.
const PROXY_BY_SSH: u32 = 6;

const REGISTRY_HEADER: &str = "Windows Registry Editor Version 5.00\r\n";
const REGISTRY_SESSIONS: &str = r"HKEY_CURRENT_USER\Software\SimonTatham\PuTTY\Sessions";

/// A saved session.
pub(super) struct Session {
    name: String,
    settings: Vec<(&'static str, Setting)>,
}

enum Setting {
    Text(String),
    Number(u32),
}

impl Way<'_> {
    /// Needs no jump host of PuTTY's own, so any version since 0.75 does.
    pub(super) fn plink(&self) -> String {
        let Self { access, device, login, port, gate, .. } = self;
        let gate_keys = host_key_options(&self.gate_keys());
        let box_keys = host_key_options(&self.box_keys());
        let host = self.gate_host();
        let through = format!("plink -batch -P {} {gate_keys}-nc {device}:{port} {access}@{host}", gate.port);
        let box_port = match *port {
            SSH_PORT => String::new(),
            port => format!("-P {port} "),
        };
        format!("plink {box_port}{box_keys}-proxycmd \"{through}\" {login}@{device}")
    }

    /// A session for the gate, and one for the box that goes through it.
    pub(super) fn sessions(&self) -> [Session; 2] {
        let gate = Session::new(
            format!("postern-{}", self.access),
            self.gate_host(),
            self.gate.port,
            self.access.as_str(),
            &self.gate_keys(),
        );
        let mut target = Session::new(
            self.device.to_string(),
            self.device.as_str(),
            self.port,
            self.login.as_str(),
            &self.box_keys(),
        );
        target.settings.push(("ProxyMethod", Setting::Number(PROXY_BY_SSH)));
        target.settings.push(("ProxyHost", Setting::Text(gate.name.clone())));
        [gate, target]
    }
}

/// For a double click. A key file that was chosen before is left as it is.
pub(super) fn registry(sessions: &[Session]) -> String {
    let sessions: String = sessions.iter().map(Session::in_registry).collect();
    format!("{REGISTRY_HEADER}{sessions}")
}

/// For `~/.putty/sessions`; the text writes them there.
pub(super) fn files(sessions: &[Session]) -> Rendered {
    let file = |session: &Session| RenderedFile { text: session.in_file(), name: session.name.clone() };
    let files: Vec<RenderedFile> = sessions.iter().map(file).collect();
    let write =
        |file: &RenderedFile| format!("cat > ~/.putty/sessions/{} <<'END'\n{}END\n", file.name, file.text);
    let text: String = files.iter().map(write).collect();
    let text = format!("mkdir -p ~/.putty/sessions\n{}", text.trim_end());
    Rendered { text, files, note: None }
}

impl Session {
    pub(super) fn new(name: String, host: &str, port: u16, user: &str, keys: &[PublicKey]) -> Self {
        let mut settings = vec![
            ("Protocol", Setting::Text("ssh".to_owned())),
            ("HostName", Setting::Text(host.to_owned())),
            ("PortNumber", Setting::Number(port.into())),
            ("UserName", Setting::Text(user.to_owned())),
        ];
        if !keys.is_empty() {
            let fingerprints: Vec<String> = keys.iter().map(PublicKey::fingerprint).collect();
            settings.push(("SSHManualHostKeys", Setting::Text(fingerprints.join(","))));
        }
        Self { name, settings }
    }

    fn in_registry(&self) -> String {
        let mut text = format!("\r\n[{REGISTRY_SESSIONS}\\{}]\r\n", self.name);
        for (name, setting) in &self.settings {
            let written = match setting {
                Setting::Text(value) => write!(text, "\"{name}\"=\"{value}\"\r\n"),
                Setting::Number(value) => write!(text, "\"{name}\"=dword:{value:08x}\r\n"),
            };
            written.expect("a String takes everything");
        }
        text + ";\"PublicKeyFile\"=\"C:\\\\Users\\\\you\\\\.ssh\\\\id_ed25519.ppk\"\r\n"
    }

    fn in_file(&self) -> String {
        let mut text = String::new();
        for (name, setting) in &self.settings {
            let written = match setting {
                Setting::Text(value) => writeln!(text, "{name}={value}"),
                Setting::Number(value) => writeln!(text, "{name}={value}"),
            };
            written.expect("a String takes everything");
        }
        text + "#PublicKeyFile=/home/you/.ssh/id_ed25519.ppk\n"
    }
}

/// `-hostkey` for each.
pub(super) fn host_key_options(keys: &[PublicKey]) -> String {
    keys.iter().map(|key| format!("-hostkey {} ", key.fingerprint())).collect()
}
