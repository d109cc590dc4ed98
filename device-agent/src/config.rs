//! The agent's settings: what the box offers, and to whose SSH server keys are handed.
//!
//! Everything has a default, so a box needs no file at all; a misspelt key is refused by name.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use postern_protocol::id::Login;
use postern_protocol::wire::{BoxFacts, Service};
use serde::Deserialize;

/// Where the state is unless the settings say otherwise.
const STATE_DIR: &str = "/var/lib/postern-agent";

/// The port of the box's SSH server, as accesses expose it.
pub(crate) const SSH_PORT: u16 = 22;

/// The port of the box's own web page.
pub(crate) const WEB_PORT: u16 = 443;

/// The box's own web page, offered without being listed.
const WEB: (&str, u16) = ("https", WEB_PORT);

/// All settings of an agent.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The one directory that the agent writes to.
    pub state_dir: PathBuf,
    /// Who visitors are on the box unless their access says otherwise.
    pub default_login: Login,
    /// The SSH server that visitors reach on port 22.
    pub ssh: SshSettings,
    /// How keys are handed to the system's SSH server.
    pub keys: KeysSettings,
    /// How the box reaches its relays.
    pub network: NetworkSettings,
    /// What else the box offers.
    pub services: Services,
}

/// How the box reaches its relays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NetworkSettings {
    /// The interfaces that the tunnel may take, the preferred one first; left out, the kernel's routes
    /// decide.
    pub interfaces: Vec<String>,
}

/// The SSH server that visitors reach on port 22.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SshSettings {
    /// Which server.
    pub server: SshChoice,
    /// Where the system's server listens; left out, it is found.
    pub address: Option<SocketAddr>,
    /// The directory with the system's host keys; left out, it is found.
    pub host_keys: Option<PathBuf>,
    /// Variables that visitors may set in the agent's own server; `*` stands for any ending.
    pub accept_env: Vec<String>,
    /// System accounts that visitors of the agent's own server may be all the same.
    pub system_accounts: Vec<Login>,
}

/// Which SSH server visitors reach.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SshChoice {
    /// The system's if there is one, else the agent's own.
    #[default]
    Auto,
    /// The system's.
    System,
    /// The agent's own.
    Builtin,
}

/// How keys are handed to the system's SSH server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeysSettings {
    /// What the server that reads them understands; left out, it is seen from how the server that visitors
    /// reach introduces itself.
    pub style: Option<KeysStyle>,
    /// The keys file of each login in which the agent keeps a block of its own.
    pub files: BTreeMap<Login, PathBuf>,
}

/// What the server that reads a keys file understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeysStyle {
    /// OpenSSH: keys carry their expiry and where they may come from.
    Openssh,
    /// Dropbear, which ignores a key that carries an option unknown to it.
    Dropbear,
}

/// Services by name, each exposed as the port of its address, which need not be on the box itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "BTreeMap<String, SocketAddr>")]
pub struct Services(BTreeMap<String, SocketAddr>);

/// Services that cannot be offered together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidServices {
    /// More than a box may report.
    #[error("at most {} services may be listed", BoxFacts::MAX_SERVICES - 1)]
    TooMany,
    /// A name that is empty or longer than a box may report.
    #[error("the name of a service has 1 to {} characters", BoxFacts::MAX_TEXT)]
    Name,
    /// A port that nothing listens on.
    #[error("the service '{0}' has no port")]
    NoPort(String),
    /// Port 22 belongs to the SSH server.
    #[error("the service '{0}' is on port 22, which is for SSH: set ssh.address instead")]
    Ssh(String),
    /// Two services would be exposed as the same port.
    #[error("two services are on port {0}; accesses could not tell them apart")]
    SamePort(u16),
}

/// Settings that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InvalidConfig {
    /// The file cannot be read.
    #[error("reading {0}")]
    Unreadable(PathBuf, #[source] std::io::Error),
    /// The file says something that has no meaning.
    #[error("{0} is not a valid configuration")]
    Invalid(PathBuf, #[source] Box<toml::de::Error>),
}

impl Default for Config {
    fn default() -> Self {
        Self {
            state_dir: STATE_DIR.into(),
            default_login: "root".parse().expect("root is a login"),
            ssh: SshSettings::default(),
            keys: KeysSettings::default(),
            network: NetworkSettings::default(),
            services: Services::default(),
        }
    }
}

impl Config {
    /// The settings in a file.
    pub fn load(path: &Path) -> Result<Self, InvalidConfig> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| InvalidConfig::Unreadable(path.to_owned(), error))?;
        toml::from_str(&text).map_err(|error| InvalidConfig::Invalid(path.to_owned(), Box::new(error)))
    }
}

impl Services {
    /// The service behind a port: a listed one, or the box's own web page.
    pub fn address(&self, port: u16) -> Option<SocketAddr> {
        let own_page = (port == WEB.1).then_some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
        self.0.values().find(|address| address.port() == port).copied().or(own_page)
    }

    /// What the box says it offers besides SSH.
    pub fn offered(&self) -> Vec<Service> {
        let listed = self.0.iter().map(|(name, address)| (name.clone(), address.port()));
        let page = Some((WEB.0.to_owned(), WEB.1)).filter(|_| self.0.values().all(|at| at.port() != WEB.1));
        listed.chain(page).map(|(name, port)| Service { name, port }).collect()
    }
}

impl TryFrom<BTreeMap<String, SocketAddr>> for Services {
    type Error = InvalidServices;

    fn try_from(listed: BTreeMap<String, SocketAddr>) -> Result<Self, InvalidServices> {
        // One place is kept for the box's own page.
        if listed.len() >= BoxFacts::MAX_SERVICES {
            return Err(InvalidServices::TooMany);
        }
        let mut ports = BTreeSet::new();
        for (name, address) in &listed {
            match address.port() {
                _ if !(1..=BoxFacts::MAX_TEXT).contains(&name.len()) => return Err(InvalidServices::Name),
                0 => return Err(InvalidServices::NoPort(name.clone())),
                SSH_PORT => return Err(InvalidServices::Ssh(name.clone())),
                port if !ports.insert(port) => return Err(InvalidServices::SamePort(port)),
                _ => {}
            }
        }
        Ok(Self(listed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn services(text: &str) -> Result<Services, toml::de::Error> {
        toml::from_str::<Config>(&format!("[services]\n{text}")).map(|config| config.services)
    }

    #[test]
    fn nothing_need_be_said() {
        assert_eq!(toml::from_str::<Config>("").unwrap(), Config::default());
        assert_eq!(Config::default().ssh.server, SshChoice::Auto);
        assert!(Config::default().keys.files.is_empty());
    }

    #[test]
    fn everything_can_be_said() {
        let config: Config = toml::from_str(
            r#"
            state_dir = "/srv/agent"
            default_login = "admin"
            [ssh]
            server = "system"
            address = "127.0.0.1:2022"
            host_keys = "/etc/ssh"
            accept_env = ["LANG", "LC_*"]
            system_accounts = ["git"]
            [keys]
            style = "dropbear"
            files = { root = "/etc/dropbear/authorized_keys" }
            [network]
            interfaces = ["wan0", "wwan0"]
            [services]
            router-ui = "192.168.8.1:80"
            "#,
        )
        .unwrap();
        assert_eq!(config.ssh.address, Some("127.0.0.1:2022".parse().unwrap()));
        assert_eq!(config.keys.style, Some(KeysStyle::Dropbear));
        assert_eq!(config.network.interfaces, ["wan0", "wwan0"]);
        assert_eq!(config.services.address(80), Some("192.168.8.1:80".parse().unwrap()));
    }

    #[test]
    fn a_misspelt_key_is_refused_by_name() {
        for text in ["stat_dir = '/x'", "[ssh]\nadress = '127.0.0.1:22'", "[keys]\nfile = {}"] {
            let refusal = toml::from_str::<Config>(text).unwrap_err().to_string();
            let key = text.rsplit('\n').next().unwrap().split(' ').next().unwrap();
            assert!(refusal.contains(key), "{refusal}");
        }
    }

    #[test]
    fn the_boxs_own_page_is_offered_unless_something_else_is_there() {
        assert_eq!(Services::default().address(443), Some("127.0.0.1:443".parse().unwrap()));
        assert_eq!(Services::default().address(80), None);
        let other = services("nas = '192.168.8.2:443'").unwrap();
        assert_eq!(other.address(443), Some("192.168.8.2:443".parse().unwrap()));
        assert_eq!(other.offered(), [Service { name: "nas".into(), port: 443 }]);
    }

    #[test]
    fn services_that_cannot_be_told_apart_are_refused() {
        for (text, sentence) in [
            ("a = '10.0.0.1:80'\nb = '10.0.0.2:80'", "two services are on port 80"),
            ("a = '10.0.0.1:22'", "set ssh.address instead"),
            ("a = '10.0.0.1:0'", "has no port"),
            ("'' = '10.0.0.1:80'", "1 to 128 characters"),
            ("a = 'nas:80'", "invalid socket address"),
        ] {
            let refusal = services(text).unwrap_err().to_string();
            assert!(refusal.contains(sentence), "{refusal}");
        }
    }

    #[test]
    fn the_limit_of_services_is_what_a_box_may_report() {
        let listed = |count: usize| -> BTreeMap<String, SocketAddr> {
            (0..count).map(|n| (format!("s{n}"), ([10, 0, 0, 1], 1000 + n as u16).into())).collect()
        };
        let most = Services::try_from(listed(BoxFacts::MAX_SERVICES - 1)).unwrap();
        assert_eq!(most.offered().len(), BoxFacts::MAX_SERVICES);
        assert_eq!(Services::try_from(listed(BoxFacts::MAX_SERVICES)), Err(InvalidServices::TooMany));
    }
}
