//! The agent's settings: what the box offers, and to whose SSH server keys are handed.
//!
//! Everything has a default, so a box needs no file at all; a misspelt key is refused by name.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use postern_protocol::id::Login;
use postern_protocol::tunnel::{IDLE_TIMEOUT, METERED_IDLE_TIMEOUT};
use serde::Deserialize;

mod https;
mod services;

pub use https::{AcmeSettings, CertificateFiles, CertificateSource, HttpsSettings, InvalidHttps};
pub use services::{InvalidServices, LocalService, Services, Speaks, Verify};

/// Where the state is unless the settings say otherwise.
const STATE_DIR: &str = "/var/lib/postern-agent";

/// The port of the box's SSH server, as accesses expose it.
pub(crate) const SSH_PORT: u16 = 22;

/// The port of the box's own web page.
pub(crate) const WEB_PORT: u16 = 443;

/// All settings of an agent.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The one directory that the agent writes to.
    pub state_dir: PathBuf,
    /// Who visitors are on the box unless their access says otherwise.
    pub default_login: Login,
    /// Whether an access lets nobody in until it was approved on the box: `postern-agent approve`.
    pub require_approval: bool,
    /// The SSH server that visitors reach on port 22.
    pub ssh: SshSettings,
    /// How keys are handed to the system's SSH server.
    pub keys: KeysSettings,
    /// How the box reaches its relays.
    pub network: NetworkSettings,
    /// What else the box offers.
    pub services: Services,
    /// Whose certificate browsers see.
    pub https: HttpsSettings,
}

/// How the box reaches its relays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NetworkSettings {
    /// The interfaces that the tunnel may take, the preferred one first; left out, the kernel's routes
    /// decide.
    pub interfaces: Vec<String>,
    /// Whether every byte costs: an idle tunnel is then silent for up to two minutes instead of 25 s, and
    /// that it is gone is noticed within five minutes instead of one.
    pub metered: bool,
}

impl NetworkSettings {
    /// The longest silence of an idle tunnel. Two of them fit the idle time-out, so that one packet may
    /// be lost.
    pub(crate) fn longest_silence(&self) -> Duration {
        Duration::from_secs(if self.metered { 120 } else { 25 })
    }

    /// Without a word for so long, the tunnel is over.
    pub(crate) fn idle_timeout(&self) -> Duration {
        if self.metered { METERED_IDLE_TIMEOUT } else { IDLE_TIMEOUT }
    }
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
    /// The system's if there is one, else the agent's own, if it was built with one.
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

/// Settings that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InvalidConfig {
    /// The file cannot be read.
    #[error("reading {0}")]
    Unreadable(PathBuf, #[source] std::io::Error),
    /// The file says something that has no meaning.
    #[error("{0} is not a valid configuration")]
    Invalid(PathBuf, #[source] Box<toml::de::Error>),
    /// Two parts of it do not fit together.
    #[error("{0} cannot be obeyed")]
    Unfit(PathBuf, #[source] InvalidHttps),
    /// The agent has no SSH server of its own.
    #[error(
        "{0} cannot be obeyed: ssh.server must be \"auto\" or \"system\", because this agent was built without \
         the feature shell"
    )]
    NoShell(PathBuf),
}

impl Default for Config {
    fn default() -> Self {
        Self {
            state_dir: STATE_DIR.into(),
            default_login: "root".parse().expect("root is a login"),
            require_approval: false,
            ssh: SshSettings::default(),
            keys: KeysSettings::default(),
            network: NetworkSettings::default(),
            services: Services::default(),
            https: HttpsSettings::default(),
        }
    }
}

impl Config {
    /// The settings in a file.
    pub fn load(path: &Path) -> Result<Self, InvalidConfig> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| InvalidConfig::Unreadable(path.to_owned(), error))?;
        let config: Self = toml::from_str(&text)
            .map_err(|error| InvalidConfig::Invalid(path.to_owned(), Box::new(error)))?;
        if cfg!(not(feature = "shell")) && config.ssh.server == SshChoice::Builtin {
            return Err(InvalidConfig::NoShell(path.to_owned()));
        }
        config.https.check(&config.services).map_err(|error| InvalidConfig::Unfit(path.to_owned(), error))?;
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            require_approval = true
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
            metered = true
            [services]
            router-ui = "192.168.8.1:80"
            [https]
            name = "box42.example.com"
            certificate = "acme"
            acme = { contact = "mailto:ops@example.com", accept_terms = true }
            "#,
        )
        .unwrap();
        assert_eq!(config.ssh.address, Some("127.0.0.1:2022".parse().unwrap()));
        assert!(config.require_approval);
        assert_eq!(config.keys.style, Some(KeysStyle::Dropbear));
        assert_eq!(config.network.interfaces, ["wan0", "wwan0"]);
        assert_eq!(config.network.longest_silence(), Duration::from_secs(120));
        assert_eq!(config.services.at(80).unwrap().address, "192.168.8.1:80".parse().unwrap());
        assert!(matches!(config.https.certificate, CertificateSource::Acme(_)));
    }

    #[test]
    fn a_misspelt_key_is_refused_by_name() {
        for text in ["stat_dir = '/x'", "[ssh]\nadress = '127.0.0.1:22'", "[keys]\nfile = {}"] {
            let refusal = toml::from_str::<Config>(text).unwrap_err().to_string();
            let key = text.rsplit('\n').next().unwrap().split(' ').next().unwrap();
            assert!(refusal.contains(key), "{refusal}");
        }
    }

    #[cfg(not(feature = "shell"))]
    #[test]
    fn a_server_of_its_own_is_not_asked_of_an_agent_without_one() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("agent.toml");
        std::fs::write(&file, "[ssh]\nserver = 'builtin'").unwrap();
        let refusal = Config::load(&file).unwrap_err().to_string();
        assert!(refusal.contains("built without the feature shell"), "{refusal}");
        std::fs::write(&file, "[ssh]\nserver = 'auto'").unwrap();
        assert_eq!(Config::load(&file).unwrap().ssh.server, SshChoice::Auto);
    }
}
