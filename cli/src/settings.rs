//! Which control API commands go to, and with what token: flags before environment before file.
//!
//! A token is never a value on the command line, where every user of the machine could read it.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use postern_protocol::secret::Secret;
use reqwest::Url;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::file;
use crate::places::{Places, client_file};

/// Variables that are read, and what for.
const API: &str = "POSTERN_API";
const TOKEN: &str = "POSTERN_TOKEN";
const CONFIG: &str = "POSTERN_CONFIG";

/// Which control API, and with what; every command takes these.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "The control API")]
pub(crate) struct Target {
    /// Where it is [or POSTERN_API, or `api` in the settings file]
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) api: Option<String>,
    /// The file with the token, `-` for stdin [or the token itself in POSTERN_TOKEN, or `token` in the
    /// settings file]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// The settings file [or POSTERN_CONFIG; else ~/.config/postern/config.toml, else what `postern up`
    /// wrote]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The certificate authority to trust, PEM, in place of the system's [or `ca` in the settings file]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// Send the token in the clear, beyond this machine too
    #[arg(long, global = true)]
    pub(crate) insecure_http: bool,
}

/// Where commands go, and with what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    /// The control API.
    pub(crate) api: Url,
    /// What opens it.
    pub(crate) token: Secret,
    /// Where the token comes from, to be named when it is not accepted.
    pub(crate) origin: String,
    /// The only authority to trust, if not the system's.
    pub(crate) ca: Option<PathBuf>,
}

/// A settings file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct SettingsFile {
    /// See [`Target::api`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) api: Option<String>,
    /// The token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<Secret>,
    /// See [`Target::ca`]; relative to the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ca: Option<PathBuf>,
    /// See [`Target::insecure_http`].
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) insecure_http: bool,
}

impl Settings {
    /// What applies here.
    pub(crate) fn find(target: &Target, places: &Places) -> Result<Self, Failure> {
        Self::settle(target, |name| std::env::var(name).ok(), places)
    }

    fn settle(
        target: &Target,
        variable: impl Fn(&str) -> Option<String>,
        places: &Places,
    ) -> Result<Self, Failure> {
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        let (path, file) = settings_file(target, variable(CONFIG), places)?;
        let asked = target.api.clone().or_else(|| variable(API));
        let api = asked.or_else(|| file.api.clone()).ok_or_else(|| no_api(places))?;
        let api = url(&api)?;
        // A token is for the API that stands beside it; another one has no business seeing it.
        let other = file.api.as_deref().map(url).transpose()?.filter(|of_file| *of_file != api);
        let file = if other.is_none() { file } else { SettingsFile::default() };
        refuse_clear_text(&api, target.insecure_http || file.insecure_http)?;
        let named = path.as_deref().map(|path| places.short(path));
        let (token, origin) = token(target, variable(TOKEN), file.token, named.as_deref())?
            .ok_or_else(|| no_token(&api, other.as_ref(), named.as_deref(), places))?;
        let beside =
            |ca: PathBuf| path.as_deref().and_then(Path::parent).map_or(ca.clone(), |dir| dir.join(ca));
        let ca = target.ca.clone().or(file.ca.map(beside));
        Ok(Self { api, token, origin, ca })
    }
}

/// The settings file that applies, read. One that is named must exist; the usual ones need not.
fn settings_file(
    target: &Target,
    variable: Option<String>,
    places: &Places,
) -> Result<(Option<PathBuf>, SettingsFile), Failure> {
    if let Some(path) = target.config.clone().or(variable.map(PathBuf::from)) {
        let file = SettingsFile::load(&path)?;
        let file =
            file.ok_or_else(|| Failure::Usage(format!("there is no settings file {}", path.display())))?;
        return Ok((Some(path), file));
    }
    for path in [places.config_file(), client_file(places.up())] {
        if let Some(file) = SettingsFile::load(&path)? {
            return Ok((Some(path), file));
        }
    }
    Ok((None, SettingsFile::default()))
}

impl SettingsFile {
    /// Reads a file; nothing if there is none.
    pub(crate) fn load(path: &Path) -> Result<Option<Self>, Failure> {
        let Some(text) = file::read_secret(path)? else { return Ok(None) };
        // The error's own text would repeat the line, and the token may be on it.
        let read = toml::from_str(&text).map_err(|error| {
            let line = error.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count());
            Failure::Usage(format!("{}, line {line}: {}", path.display(), error.message()))
        });
        read.map(Some)
    }

    /// What the file alone says, whatever the environment does.
    pub(crate) fn settings(self, path: &Path) -> Result<Settings, Failure> {
        let incomplete = |what| Failure::Usage(format!("{} has no {what}", path.display()));
        let api = url(&self.api.ok_or_else(|| incomplete("api"))?)?;
        let token = self.token.ok_or_else(|| incomplete("token"))?;
        Ok(Settings { api, token, origin: path.display().to_string(), ca: self.ca })
    }

    /// Writes a file that only its owner can read.
    pub(crate) fn save(&self, path: &Path) -> anyhow::Result<()> {
        let text = toml::to_string(self).context("writing settings as TOML")?;
        file::write(path, text.as_bytes())
    }
}

/// The token, and where it comes from.
fn token(
    target: &Target,
    variable: Option<String>,
    file: Option<Secret>,
    named: Option<&str>,
) -> Result<Option<(Secret, String)>, Failure> {
    if let Some(path) = &target.token_file {
        let (text, origin) = match path.as_os_str() == "-" {
            true => (token_from_stdin()?, "stdin".to_owned()),
            false => (file::read_secret(path)?, path.display().to_string()),
        };
        let text = text.ok_or_else(|| Failure::Usage(format!("there is no token file {origin}")))?;
        return Ok(Some((Secret::from_text(text.trim()), origin)));
    }
    let from_variable = variable.map(|text| (Secret::from_text(text.trim()), TOKEN.to_owned()));
    Ok(from_variable.or_else(|| file.map(|token| (token, named.unwrap_or("the settings file").to_owned()))))
}

fn token_from_stdin() -> Result<Option<String>, Failure> {
    let bytes = file::read_open(std::io::stdin().lock()).context("reading the token from stdin")?;
    Ok(Some(String::from_utf8(bytes).ok().context("the token on stdin is not text")?))
}

fn url(text: &str) -> Result<Url, Failure> {
    let usage = |what: &str| Failure::Usage(format!("'{text}' is no address of a control API: {what}"));
    let url = Url::parse(text).map_err(|_| usage("write it like https://postern.example.com"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        Err(usage("write it like https://postern.example.com"))
    } else if !url.username().is_empty() || url.password().is_some() {
        // Not repeated: it holds a password.
        Err(Failure::Usage(
            "the address of the control API holds a user name; a token is given by --token-file".into(),
        ))
    } else if url.query().is_some() || url.fragment().is_some() {
        Err(usage("it ends after the path"))
    } else {
        Ok(url)
    }
}

fn refuse_clear_text(api: &Url, insecure_http: bool) -> Result<(), Failure> {
    match api.scheme() == "https" || insecure_http || is_loopback(api) {
        true => Ok(()),
        false => Err(Failure::Usage(format!(
            "refusing plain HTTP to {api}: the token would travel in the clear; use https://, or \
             --insecure-http if that network is yours alone"
        ))),
    }
}

/// Whether an address is this machine's own, whatever DNS says.
pub(crate) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    address.map_or(host == "localhost", |address| address.to_canonical().is_loopback())
}

fn no_api(places: &Places) -> Failure {
    Failure::Usage(format!(
        "no control API is known here: start one with: postern up\n\
         or name yours in {} (mode 600):\n  api = \"https://…\"\n  token = \"pst_…\"",
        places.short(&places.config_file())
    ))
}

fn no_token(api: &Url, other: Option<&Url>, file: Option<&str>, places: &Places) -> Failure {
    let why = match (other, file) {
        (Some(other), Some(file)) => format!(" (the one in {file} is for {other})"),
        _ => String::new(),
    };
    let config = places.short(&places.config_file());
    Failure::Unauthorised(format!(
        "there is no token for {api}{why}: put it into {TOKEN}, a file named by --token-file, or {config}; \
         a new one is made where the API runs: postern-api token create --name me"
    ))
}

#[cfg(test)]
mod tests;
