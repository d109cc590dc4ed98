//! Where files are on this machine.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// The folders that matter, by the XDG base directory rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Places {
    home: PathBuf,
    config: PathBuf,
    data: PathBuf,
}

impl Places {
    /// Those of whoever runs this.
    pub(crate) fn find() -> Result<Self, Failure> {
        Self::from_variables(|name| std::env::var_os(name))
    }

    fn from_variables(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, Failure> {
        // Relative paths in these variables are to be ignored, says the specification.
        let folder = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let home = folder("HOME")
            .ok_or_else(|| Failure::Usage("HOME is not set: whose settings are meant?".to_owned()))?;
        Ok(Self {
            config: folder("XDG_CONFIG_HOME").unwrap_or_else(|| home.join(".config")).join("postern"),
            data: folder("XDG_DATA_HOME").unwrap_or_else(|| home.join(".local/share")).join("postern"),
            home,
        })
    }

    /// The settings that a person writes.
    pub(crate) fn config_file(&self) -> PathBuf {
        self.config.join("config.toml")
    }

    /// Where `postern up` keeps everything unless told otherwise.
    pub(crate) fn up(&self) -> &Path {
        &self.data
    }

    /// Where the configuration for ssh is written.
    pub(crate) fn ways(&self) -> PathBuf {
        self.data.join("ssh")
    }

    /// The person's own ssh folder.
    pub(crate) fn dot_ssh(&self) -> PathBuf {
        self.home.join(".ssh")
    }

    /// A path, as a person would write it.
    pub(crate) fn short(&self, path: &Path) -> String {
        match path.strip_prefix(&self.home) {
            Ok(rest) => Path::new("~").join(rest).display().to_string(),
            Err(_) => path.display().to_string(),
        }
    }
}

/// The settings that `postern up` leaves for the commands beside it, within its folder.
pub(crate) fn client_file(up: &Path) -> PathBuf {
    up.join("client.toml")
}

#[cfg(test)]
impl Places {
    /// All within one folder.
    pub(crate) fn within(home: &Path) -> Self {
        Self::from_variables(|name| (name == "HOME").then(|| home.into())).expect("a home is all it takes")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_xdg_variables_count_if_they_are_absolute() {
        let variables = |name: &str| match name {
            "HOME" => Some("/home/ann".into()),
            "XDG_CONFIG_HOME" => Some("/cfg".into()),
            "XDG_DATA_HOME" => Some("relative".into()),
            _ => None,
        };
        let places = Places::from_variables(variables).unwrap();
        assert_eq!(places.config_file(), Path::new("/cfg/postern/config.toml"));
        assert_eq!(client_file(places.up()), Path::new("/home/ann/.local/share/postern/client.toml"));
        assert_eq!(places.short(Path::new("/home/ann/.ssh/id.pub")), "~/.ssh/id.pub");
        assert!(Places::from_variables(|_| None).is_err());
    }
}
