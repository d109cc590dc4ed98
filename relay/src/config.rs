//! What an operator may set: one TOML file, every key with a default.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use ipnet::IpNet;
use postern_protocol::api::PortRange;
use postern_protocol::connection::valid_host;
use postern_protocol::secret::Secret;
use postern_protocol::wire::Web;
use serde::{Deserialize, Deserializer};

/// The settings of a relay.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where keys, the last good rules and undelivered audit records live.
    pub state_dir: PathBuf,
    /// The control API.
    pub api: String,
    /// Certificates (PEM) that the control API's must descend from; left out, the system's.
    pub api_ca: Option<PathBuf>,
    /// The file with the token that the control API knows this relay by.
    pub token_file: PathBuf,
    /// The token itself, for a relay that runs inside another program; takes the file's place.
    #[serde(skip)]
    pub token: Option<Secret>,
    /// Where visitors come in with `ssh`; port 0 takes any free one.
    pub gate: SocketAddr,
    /// Where agents dial in over QUIC; port 0 takes any free one.
    pub agents: SocketAddr,
    /// Where browsers come in with TLS, if anywhere; port 0 takes any free one.
    pub https: Option<SocketAddr>,
    /// The domain in which every name leads to `https`; left out, `public_host` if that is a name.
    pub domain: Option<String>,
    /// The ports that accesses may lease as doors of their own, such as `20000-20999`; they are open on the
    /// gate's address.
    pub ports: Option<PortRange>,
    /// Load balancers: these networks, and no others, say by the PROXY protocol, version 2, for whom they
    /// connect to the gate, to `https` and to the ports, and must say it.
    pub proxy_protocol_from: Vec<IpNet>,
    /// Where agents dial in over TCP when UDP does not get through; left out, the same address and port
    /// as for QUIC.
    pub agents_tcp: Option<SocketAddr>,
    /// Where `/healthz` and `/metrics` are served, if anywhere.
    pub admin: Option<SocketAddr>,
    /// The host name or address by which visitors and agents find this relay.
    pub public_host: Option<String>,
    /// The gate's port as visitors see it, where it is not the one bound.
    pub public_gate_port: Option<u16>,
    /// The port of `https` as visitors see it, where it is not the one bound.
    pub public_https_port: Option<u16>,
    /// The agents' port as they see it, where it is not the one bound.
    pub public_agents_port: Option<u16>,
    /// How long visits may go on once the relay was told to stop, such as `5s`.
    #[serde(deserialize_with = "duration")]
    pub drain: Duration,
    /// What strangers, visitors and boxes may take.
    pub limits: Limits,
}

/// What strangers, visitors and boxes may take of the relay.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// SSH connections at once.
    pub gate_connections: usize,
    /// SSH connections at once from one source: an IPv4 address, or an IPv6 /64.
    pub gate_connections_per_source: usize,
    /// How long a visitor may take to prove a key, such as `30s`.
    #[serde(deserialize_with = "duration")]
    pub login_grace: Duration,
    /// SSH connections at once that have proved nothing yet.
    pub gate_logins: usize,
    /// The same from one source.
    pub gate_logins_per_source: usize,
    /// TLS connections at once.
    pub front_connections: usize,
    /// The same from one source.
    pub front_connections_per_source: usize,
    /// How long a visitor may take to say in TLS whom they want, such as `10s`.
    #[serde(deserialize_with = "duration")]
    pub hello_grace: Duration,
    /// How long nothing may move on a TLS connection before it ends, such as `1h`; `0s` sets no end.
    #[serde(deserialize_with = "duration")]
    pub front_idle: Duration,
    /// Connections at once to all public ports together.
    pub port_connections: usize,
    /// The same from one source.
    pub port_connections_per_source: usize,
    /// How long nothing may move on a connection to a public port before it ends; `0s` sets no end.
    #[serde(deserialize_with = "duration")]
    pub port_idle: Duration,
    /// QUIC handshakes and joins at once.
    pub handshakes: usize,
    /// The same from one source.
    pub handshakes_per_source: usize,
    /// Boxes that may try to join from one source within a minute.
    pub joins_per_minute: u32,
    /// Visits at once to one box.
    pub visits_per_box: usize,
    /// Bytes of audit records kept on disk while the control API is away.
    pub audit_bytes: u64,
}

impl Default for Config {
    fn default() -> Self {
        let any = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port);
        Self {
            state_dir: PathBuf::from("/var/lib/postern-relay"),
            api: "http://127.0.0.1:8080".to_owned(),
            api_ca: None,
            token_file: PathBuf::from("/etc/postern/relay.token"),
            token: None,
            gate: any(2222),
            agents: any(4433),
            https: None,
            domain: None,
            ports: None,
            proxy_protocol_from: Vec::new(),
            agents_tcp: None,
            admin: None,
            public_host: None,
            public_gate_port: None,
            public_https_port: None,
            public_agents_port: None,
            drain: Duration::from_secs(5),
            limits: Limits::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            gate_connections: 4096,
            gate_connections_per_source: 256,
            login_grace: Duration::from_secs(30),
            gate_logins: 512,
            gate_logins_per_source: 64,
            front_connections: 4096,
            front_connections_per_source: 512,
            hello_grace: Duration::from_secs(10),
            front_idle: Duration::from_secs(3600),
            port_connections: 4096,
            port_connections_per_source: 256,
            port_idle: Duration::ZERO,
            handshakes: 1024,
            handshakes_per_source: 512,
            joins_per_minute: 60,
            visits_per_box: 256,
            audit_bytes: 256 * 1024 * 1024,
        }
    }
}

impl Limits {
    /// When a visit by the TLS front is idle, if ever.
    pub(crate) fn front_idle(&self) -> Option<Duration> {
        Some(self.front_idle).filter(|idle| !idle.is_zero())
    }

    /// When a visit by a public port is idle, if ever.
    pub(crate) fn port_idle(&self) -> Option<Duration> {
        Some(self.port_idle).filter(|idle| !idle.is_zero())
    }
}

impl Config {
    /// Reads settings; a key that does not exist is an error that names it.
    pub fn from_toml(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }

    /// Reads a file of settings.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        Self::from_toml(&text).with_context(|| format!("in {}", path.display()))
    }

    /// Whether everything that these settings name is there: what `--check` asks.
    pub fn check(&self) -> anyhow::Result<()> {
        self.read_token()?;
        crate::api::Api::new(self).map(drop)?;
        let host = self.public_host(self.gate.ip())?;
        self.web(&host, self.https)?;
        self.check_ports([Some(self.gate), self.https, self.agents_tcp.or(Some(self.agents)), self.admin])
    }

    /// How visitors find the TLS front, given the address that it listens on and the relay's host.
    pub(crate) fn web(&self, host: &str, https: Option<SocketAddr>) -> anyhow::Result<Option<Web>> {
        let Some(https) = https else { return Ok(None) };
        let domain = self.domain.as_deref().unwrap_or(host).to_ascii_lowercase();
        anyhow::ensure!(
            valid_host(&domain) && domain.parse::<IpAddr>().is_err(),
            "set domain: every name in it must lead to https, and \"{domain}\" is no domain"
        );
        Ok(Some(Web { domain, port: self.public_https_port.unwrap_or(https.port()) }))
    }

    /// Whether accesses could lease a port that the relay itself listens on.
    pub(crate) fn check_ports(&self, own: [Option<SocketAddr>; 4]) -> anyhow::Result<()> {
        let Some(ports) = self.ports else { return Ok(()) };
        for own in own.into_iter().flatten() {
            anyhow::ensure!(
                !ports.contains(own.port()),
                "ports = \"{ports}\" contains {}, on which the relay itself listens",
                own.port()
            );
        }
        Ok(())
    }

    /// The relay's token.
    pub(crate) fn read_token(&self) -> anyhow::Result<Secret> {
        if let Some(token) = &self.token {
            return Ok(token.clone());
        }
        let path = self.token_file.display();
        let text = std::fs::read_to_string(&self.token_file).with_context(|| {
            format!("reading the relay's token from {path}; 'postern-api relay add' makes one")
        })?;
        let text = text.trim();
        anyhow::ensure!(!text.is_empty(), "the relay's token file {path} is empty");
        Ok(Secret::from_text(text))
    }

    /// Where visitors and agents find this relay, given the address that the gate listens on.
    pub(crate) fn public_host(&self, bound: IpAddr) -> anyhow::Result<String> {
        match &self.public_host {
            Some(host) => Ok(host.clone()),
            None if bound.is_unspecified() => anyhow::bail!(
                "set public_host: the gate listens on every address, and visitors need one to connect to"
            ),
            None => Ok(bound.to_string()),
        }
    }
}

/// A whole number of seconds, minutes or hours: `5s`, `2m`, `1h`.
fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(from)?;
    parse_duration(&text).ok_or_else(|| {
        serde::de::Error::custom(format!("'{text}' is not a length of time such as 5s, 2m or 1h"))
    })
}

fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return None,
    };
    Some(Duration::from_secs(number.parse::<u32>().ok()?.into()) * seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_is_refused_by_its_name() {
        let error = Config::from_toml("gate_port = 22").expect_err("no such key");
        assert!(error.to_string().contains("gate_port"), "{error}");
        let error = Config::from_toml("[limits]\nvisits = 1").expect_err("no such key");
        assert!(error.to_string().contains("visits"), "{error}");
    }

    #[test]
    fn the_token_is_not_a_setting_that_a_file_may_hold() {
        assert!(Config::from_toml("token = \"psr_x\"").is_err());
    }

    #[test]
    fn lengths_of_time_have_a_unit() {
        let drain = |text: &str| Config::from_toml(text).map(|config| config.drain).ok();
        assert_eq!(drain("drain = \"2m\""), Some(Duration::from_secs(120)));
        for text in ["drain = \"5\"", "drain = \"s\"", "drain = \"\"", "drain = \"-1s\"", "drain = 5"] {
            assert_eq!(drain(text), None, "{text}");
        }
    }

    #[test]
    fn a_tls_front_needs_a_domain() {
        let web = |text: &str, host: &str| {
            let config = Config::from_toml(text).unwrap();
            config.web(host, config.https).map(|web| web.map(|web| web.url("x"))).ok()
        };
        let https = "https = '0.0.0.0:8443'\n";
        let url = |url: &str| Some(Some(url.to_owned()));
        assert_eq!(web("", "relay.example.com"), Some(None));
        assert_eq!(web(https, "Relay.example.com"), url("https://x.relay.example.com:8443/"));
        assert_eq!(web(https, "192.0.2.7"), None);
        for domain in ["", "2001:db8::1", "a b", "*.example.com"] {
            assert_eq!(web(&format!("{https}domain = '{domain}'"), "192.0.2.7"), None, "{domain}");
        }
        let behind = format!("{https}domain = 'localhost'\npublic_https_port = 443");
        assert_eq!(web(&behind, "192.0.2.7"), url("https://x.localhost/"));
    }

    #[test]
    fn the_relays_own_ports_are_not_for_accesses() {
        let ports = |range: &str| Config::from_toml(&format!("ports = '{range}'")).unwrap();
        let gate = [Some("0.0.0.0:2222".parse().unwrap()), None, None, None];
        assert!(ports("2000-3000").check_ports(gate).unwrap_err().to_string().contains("2222"));
        assert!(ports("20000-20999").check_ports(gate).is_ok());
        assert!(Config::from_toml("ports = '20999-20000'").is_err());
    }

    #[test]
    fn a_gate_on_every_address_needs_a_name() {
        let config = Config::default();
        assert!(config.public_host("0.0.0.0".parse().unwrap()).is_err());
        assert_eq!(config.public_host("192.0.2.7".parse().unwrap()).unwrap(), "192.0.2.7");
    }
}
