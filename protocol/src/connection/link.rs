//! What a box shows in a browser: a link instead of a command.

use std::collections::BTreeMap;

use super::host::bracketed;
use super::{NOWHERE, valid_host};
use crate::api::{Connection, Fingerprints};
use crate::id::{AccessId, DeviceName};
use crate::wire::{Web, WebCertificate, WebCertificateKind};

/// The port of a box's own page.
const HTTPS_PORT: u16 = 443;

/// A page, or another service that asks for no SSH key, and where it is found.
#[derive(Debug, Clone)]
pub struct Link<'a> {
    /// The access.
    pub access: AccessId,
    /// The first label of the box's own host name.
    pub label: &'a DeviceName,
    /// The port of the box.
    pub port: u16,
    /// The certificate of the box's own page, if it is known.
    pub certificate: Option<&'a WebCertificate>,
    /// How it is reached.
    pub by: By<'a>,
}

/// How a link is reached.
#[derive(Debug, Clone, Copy)]
pub enum By<'a> {
    /// By a name of a relay's TLS front.
    Name(&'a Web),
    /// By a public port.
    Port {
        /// The relay's host.
        host: &'a str,
        /// The port.
        port: u16,
    },
}

impl Link<'_> {
    /// Everything needed to connect.
    pub fn connection(&self) -> Connection {
        let url = self.url();
        let certificate = self.certificate().map(|certificate| certificate.fingerprint.clone());
        Connection {
            command: url.clone().unwrap_or_else(|| self.address()),
            url,
            ssh_config: None,
            known_hosts: Vec::new(),
            fingerprints: Fingerprints { gate: Vec::new(), device: Vec::new(), certificate },
            warning: None,
            forms: BTreeMap::new(),
        }
    }

    /// The link. Behind a public port that does not lead to the box's own page may be anything, so
    /// there is none.
    fn url(&self) -> Option<String> {
        match self.by {
            By::Name(web) if valid_host(&web.domain) => Some(match self.has_its_own_name(web) {
                true => web.url(self.label),
                false => web.url(self.access),
            }),
            By::Name(_) => Some(format!("https://{NOWHERE}/")),
            By::Port { .. } => (self.port == HTTPS_PORT).then(|| format!("https://{}/", self.address())),
        }
    }

    /// Whether the box's own name is the one without a warning: its certificate covers that name and
    /// not the access's.
    fn has_its_own_name(&self, web: &Web) -> bool {
        self.certificate().filter(|certificate| certificate.kind != WebCertificateKind::Service).is_some_and(
            |certificate| {
                let covers = |host: String| certificate.names.iter().any(|name| matches(name, &host, web));
                covers(web.host(self.label)) && !covers(web.host(self.access))
            },
        )
    }

    fn certificate(&self) -> Option<&WebCertificate> {
        self.certificate.filter(|_| self.port == HTTPS_PORT)
    }

    /// Where a public port is, for whatever program speaks with the service behind it.
    fn address(&self) -> String {
        match self.by {
            By::Name(web) => web.host(self.access),
            By::Port { host, port } if valid_host(host) => format!("{}:{port}", bracketed(host)),
            By::Port { port, .. } => format!("{NOWHERE}:{port}"),
        }
    }
}

/// Whether a name in a certificate is this host's, by itself or with a star for its first label
/// (RFC 6125, section 6.4.3).
fn matches(name: &str, host: &str, web: &Web) -> bool {
    let stars = |domain: &str| domain.eq_ignore_ascii_case(&web.domain);
    name.eq_ignore_ascii_case(host) || name.strip_prefix("*.").is_some_and(stars)
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};

    use crate::examples::read;

    use super::*;

    fn web() -> Web {
        Web { domain: "relay.example.com".into(), port: 443 }
    }

    fn certificate(kind: WebCertificateKind, name: &str) -> WebCertificate {
        let ends_at = DateTime::<Utc>::UNIX_EPOCH;
        WebCertificate { kind, names: vec![name.into()], fingerprint: "5e".repeat(32), ends_at }
    }

    fn connection(by: By<'_>, port: u16, certificate: Option<&WebCertificate>) -> Connection {
        let label = read("box42");
        Link { access: read("k7f2q5xwab"), label: &label, port, certificate, by }.connection()
    }

    const AT_PORT: By<'_> = By::Port { host: "relay.example.com", port: 40123 };

    #[test]
    fn a_page_is_found_by_the_accesss_name_or_by_its_port() {
        let by_name = connection(By::Name(&web()), 443, None);
        assert_eq!(by_name.command, "https://k7f2q5xwab.relay.example.com/");
        assert_eq!(by_name.url.as_ref(), Some(&by_name.command));
        let elsewhere = Web { port: 8443, ..web() };
        assert_eq!(
            connection(By::Name(&elsewhere), 443, None).command,
            "https://k7f2q5xwab.relay.example.com:8443/"
        );
        assert_eq!(connection(AT_PORT, 443, None).command, "https://relay.example.com:40123/");
        let by_address = By::Port { host: "2001:db8::9", port: 40123 };
        assert_eq!(connection(by_address, 443, None).command, "https://[2001:db8::9]:40123/");
    }

    #[test]
    fn what_stands_behind_another_port_is_named_and_not_guessed() {
        let other = connection(AT_PORT, 8022, None);
        assert_eq!((other.command.as_str(), other.url), ("relay.example.com:40123", None));
    }

    #[test]
    fn a_certificate_for_the_boxs_own_name_makes_that_the_link() {
        use WebCertificateKind::{Acme, File, Service};
        for (kind, name, host) in [
            (Acme, "box42.relay.example.com", "box42"),
            (File, "BOX42.relay.example.com", "box42"),
            (File, "*.relay.example.com", "k7f2q5xwab"),
            (File, "*.example.com", "k7f2q5xwab"),
            (Acme, "box43.relay.example.com", "k7f2q5xwab"),
            (Service, "box42.relay.example.com", "k7f2q5xwab"),
        ] {
            let certificate = certificate(kind, name);
            let shown = connection(By::Name(&web()), 443, Some(&certificate));
            assert_eq!(shown.command, format!("https://{host}.relay.example.com/"), "{name}");
            assert_eq!(shown.fingerprints.certificate, Some(certificate.fingerprint));
        }
        let certificate = certificate(Acme, "box42.relay.example.com");
        let other_service = connection(By::Name(&web()), 8080, Some(&certificate));
        assert_eq!(other_service.command, "https://k7f2q5xwab.relay.example.com/");
        assert_eq!(other_service.fingerprints.certificate, None);
    }

    #[test]
    fn a_hostile_host_leads_nowhere() {
        for host in ["", "a b", "x/../y", "a\"b", "a\nb", "%h"] {
            let evil = Web { domain: host.into(), port: 443 };
            let shown = connection(By::Name(&evil), 443, None);
            assert_eq!(shown.command, format!("https://{NOWHERE}/"));
            let shown = connection(By::Port { host, port: 1 }, 443, None);
            assert_eq!(shown.command, format!("https://{NOWHERE}:1/"));
        }
    }
}
