//! What a box says of itself.

use postern_protocol::wire::{BoxFacts, Consent, SshServer, WebCertificate};

use crate::config::Config;

/// What the box says of itself, every text cut to what a relay keeps.
pub(crate) fn facts(
    config: &Config,
    ssh: Option<SshServer>,
    certificate: Option<WebCertificate>,
    paused: bool,
    consent: Option<Consent>,
) -> BoxFacts {
    BoxFacts {
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        hostname: nix::unistd::gethostname().map(|name| fitting(&name.to_string_lossy())).unwrap_or_default(),
        platform: format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
        ssh: ssh.map(fitting_server),
        services: config.services.offered(),
        certificate,
        default_login: config.default_login.clone(),
        paused,
        consent,
    }
}

fn fitting_server(mut server: SshServer) -> SshServer {
    server.version = fitting(&server.version);
    server.host_keys.truncate(BoxFacts::MAX_HOST_KEYS);
    server
}

fn fitting(text: &str) -> String {
    text[..text.floor_char_boundary(BoxFacts::MAX_TEXT)].to_owned()
}

#[cfg(test)]
mod tests {
    use postern_protocol::wire::SshServerKind;

    use super::*;
    use crate::testing::key;

    #[test]
    fn facts_are_never_larger_than_a_relay_keeps() {
        let ssh = SshServer {
            kind: SshServerKind::System,
            version: "é".repeat(100),
            port: 22,
            host_keys: vec![key(); 20],
        };
        let facts = facts(&Config::default(), Some(ssh), None, false, None);
        assert_eq!(facts.check(), Ok(()));
        assert_eq!(facts.ssh.unwrap().version, "é".repeat(64));
    }
}
