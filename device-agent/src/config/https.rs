//! Whose certificate browsers see, and what the agent needs in order to show it.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::{LocalService, Services, Speaks};

/// The certificate authority that is asked unless the settings say otherwise.
const DIRECTORY: &str = "https://acme-v02.api.letsencrypt.org/directory";

/// How long a browser's connection may ask for nothing unless the settings say otherwise.
const IDLE: Duration = Duration::from_secs(300);

/// Whose certificate browsers see.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Raw")]
pub struct HttpsSettings {
    /// Where it comes from.
    pub certificate: CertificateSource,
    /// The host name that it is for; left out, the box's name under the relay's domain.
    pub name: Option<String>,
    /// How long a connection whose TLS the agent ends may ask for nothing.
    pub idle: Duration,
}

/// Where the certificate comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum CertificateSource {
    /// It is the local page's own: the agent passes TLS through.
    #[default]
    Pass,
    /// The owner puts it there.
    File(CertificateFiles),
    /// The agent obtains it.
    Acme(AcmeSettings),
}

/// A certificate and its key (PEM).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate, and those between it and its authority.
    pub chain: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// How to obtain a certificate from an authority (RFC 8555).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AcmeSettings {
    /// The authority's directory.
    pub directory: String,
    /// Where the authority may write to, such as `mailto:ops@example.com`.
    pub contact: Option<String>,
    /// The owner agrees to the authority's terms of service.
    pub accept_terms: bool,
    /// Whom to believe to be the authority (PEM); left out, those whom the system believes.
    pub ca: Option<PathBuf>,
}

/// Settings for HTTPS that do not fit together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHttps {
    /// A file without its place.
    #[error("https.certificate = \"file\" needs https.chain and https.key")]
    NoFiles,
    /// Nobody agreed to the authority's terms.
    #[error(
        "https.certificate = \"acme\" needs https.acme.accept_terms = true: read the authority's terms first"
    )]
    Terms,
    /// The authority must be spoken to under TLS.
    #[error("https.acme.directory must begin with https://")]
    Directory,
    /// What is set would be without effect.
    #[error("{0} is without effect unless https.certificate = \"{1}\"")]
    WithoutEffect(&'static str, &'static str),
    /// The agent cannot end TLS.
    #[error("https.certificate must be \"pass\": this agent was built without the feature https")]
    LeftOut,
    /// A page behind a network that need not be trusted.
    #[error(
        "the service '{0}' speaks TLS on another machine: set its verify to sha256:<fingerprint> or the \
         path of an authority's certificate, or to none if the network between is trusted"
    )]
    Unverified(String),
}

impl Default for HttpsSettings {
    fn default() -> Self {
        Self { certificate: CertificateSource::default(), name: None, idle: IDLE }
    }
}

impl Default for AcmeSettings {
    fn default() -> Self {
        Self { directory: DIRECTORY.to_owned(), contact: None, accept_terms: false, ca: None }
    }
}

impl HttpsSettings {
    /// Whether every page that the agent would speak TLS to says how its certificate is checked.
    pub(super) fn check(&self, services: &Services) -> Result<(), InvalidHttps> {
        if cfg!(not(feature = "https")) && self.certificate != CertificateSource::Pass {
            return Err(InvalidHttps::LeftOut);
        }
        let exposed = |service: &LocalService| {
            let far = service.speaks() == Speaks::Https && !service.address.ip().is_loopback();
            far && service.verify.is_none()
        };
        match services.listed().find(|(_, service)| exposed(service)) {
            Some((name, _)) if self.certificate != CertificateSource::Pass => {
                Err(InvalidHttps::Unverified(name.to_owned()))
            }
            _ => Ok(()),
        }
    }
}

/// The settings as they are written.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Raw {
    certificate: Choice,
    name: Option<String>,
    chain: Option<PathBuf>,
    key: Option<PathBuf>,
    acme: Option<AcmeSettings>,
    idle_seconds: Option<u32>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Choice {
    #[default]
    Pass,
    File,
    Acme,
}

impl TryFrom<Raw> for HttpsSettings {
    type Error = InvalidHttps;

    fn try_from(raw: Raw) -> Result<Self, InvalidHttps> {
        let files = raw.chain.is_some() || raw.key.is_some();
        let certificate = match (raw.certificate, raw.acme) {
            (Choice::Pass | Choice::File, Some(_)) => {
                return Err(InvalidHttps::WithoutEffect("https.acme", "acme"));
            }
            (Choice::Pass | Choice::Acme, _) if files => {
                return Err(InvalidHttps::WithoutEffect("https.chain or https.key", "file"));
            }
            (Choice::Pass, None) => CertificateSource::Pass,
            (Choice::File, None) => CertificateSource::File(CertificateFiles {
                chain: raw.chain.ok_or(InvalidHttps::NoFiles)?,
                key: raw.key.ok_or(InvalidHttps::NoFiles)?,
            }),
            (Choice::Acme, acme) => CertificateSource::Acme(acme.unwrap_or_default().checked()?),
        };
        let idle = raw.idle_seconds.map_or(IDLE, |seconds| Duration::from_secs(seconds.into()));
        Ok(Self { certificate, name: raw.name, idle })
    }
}

impl AcmeSettings {
    fn checked(self) -> Result<Self, InvalidHttps> {
        if !self.accept_terms {
            Err(InvalidHttps::Terms)
        } else if !self.directory.starts_with("https://") {
            Err(InvalidHttps::Directory)
        } else {
            Ok(self)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;

    #[cfg(feature = "https")]
    fn refusal(text: &str) -> String {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("agent.toml");
        std::fs::write(&file, text).unwrap();
        format!("{:#}", anyhow::Error::from(Config::load(&file).unwrap_err()))
    }

    /// Without the feature, all of it is refused for that.
    #[cfg(feature = "https")]
    #[test]
    fn what_does_not_fit_together_is_refused_with_what_to_do() {
        for (text, sentence) in [
            ("[https]\ncertificate = 'file'\nchain = '/x'", "needs https.chain and https.key"),
            ("[https]\ncertificate = 'acme'", "accept_terms = true"),
            ("[https]\nacme = { accept_terms = true }", "without effect unless"),
            ("[https]\nkey = '/x'", "without effect unless https.certificate = \"file\""),
            (
                "[https]\ncertificate = 'acme'\nacme = { accept_terms = true, directory = 'http://ca' }",
                "must begin with https://",
            ),
            (
                "[services]\nnas = 'https://10.0.0.2'\n[https]\ncertificate = 'acme'\nacme.accept_terms = true",
                "the service 'nas' speaks TLS on another machine",
            ),
        ] {
            let refusal = refusal(text);
            assert!(refusal.contains(sentence), "{refusal}");
        }
    }

    #[test]
    fn a_page_that_is_passed_through_is_checked_by_the_browser() {
        let config: Config = toml::from_str("[services]\nnas = 'https://10.0.0.2'").unwrap();
        assert_eq!(config.https.check(&config.services), Ok(()));
    }
}
