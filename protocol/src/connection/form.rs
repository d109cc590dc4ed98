//! The programs that people connect with.

use std::fmt;
use std::str::FromStr;

use super::{dropbear, openssh, putty, tools};

/// A program, and so the form in which it wants to be told how to connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Form {
    /// The `ssh` command.
    OpenSsh,
    /// A block for `~/.ssh/config`.
    SshConfig,
    /// Lines for `~/.ssh/known_hosts`.
    KnownHosts,
    /// Saved sessions of PuTTY on Windows, as a registry file.
    Putty,
    /// Saved sessions of PuTTY on Unix, as files.
    PuttyUnix,
    /// PuTTY's command.
    Plink,
    /// Dropbear's command.
    Dbclient,
    /// WinSCP, by a session URL.
    WinScp,
    /// Copies a file.
    Scp,
    /// Transfers files interactively.
    Sftp,
    /// Copies trees.
    Rsync,
    /// A line of an Ansible inventory.
    Ansible,
    /// Visual Studio Code, by its Remote - SSH extension.
    VsCode,
}

/// A name that is no form's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the forms are openssh, config, known-hosts, putty, putty-unix, plink, dbclient, winscp, scp, sftp, rsync, ansible, vscode"
)]
pub struct UnknownForm;

impl Form {
    /// Every form.
    pub const ALL: [Self; 13] = [
        Self::OpenSsh,
        Self::SshConfig,
        Self::KnownHosts,
        Self::Putty,
        Self::PuttyUnix,
        Self::Plink,
        Self::Dbclient,
        Self::WinScp,
        Self::Scp,
        Self::Sftp,
        Self::Rsync,
        Self::Ansible,
        Self::VsCode,
    ];

    /// Its name in commands and in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OpenSsh => "openssh",
            Self::SshConfig => "config",
            Self::KnownHosts => "known-hosts",
            Self::Putty => "putty",
            Self::PuttyUnix => "putty-unix",
            Self::Plink => "plink",
            Self::Dbclient => "dbclient",
            Self::WinScp => "winscp",
            Self::Scp => "scp",
            Self::Sftp => "sftp",
            Self::Rsync => "rsync",
            Self::Ansible => "ansible",
            Self::VsCode => "vscode",
        }
    }

    /// What it takes for granted, in a sentence.
    pub fn note(self) -> Option<&'static str> {
        match self {
            Self::SshConfig | Self::KnownHosts => None,
            Self::OpenSsh | Self::Scp | Self::Sftp | Self::Rsync | Self::Ansible => Some(openssh::NOTE),
            Self::Putty | Self::PuttyUnix | Self::WinScp => Some(putty::NOTE),
            Self::Plink => Some(putty::PLINK_NOTE),
            Self::Dbclient => Some(dropbear::NOTE),
            Self::VsCode => Some(tools::VSCODE_NOTE),
        }
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Form {
    type Err = UnknownForm;

    fn from_str(text: &str) -> Result<Self, UnknownForm> {
        Self::ALL.into_iter().find(|form| form.as_str() == text).ok_or(UnknownForm)
    }
}

/// A connection in one form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// What to paste: a command, or lines for a file, without a line end after the last.
    pub text: String,
    /// The same as files, where the form is one of files.
    pub files: Vec<RenderedFile>,
    /// What it takes for granted, in a sentence.
    pub note: Option<&'static str>,
}

/// A file, as it may be saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenderedFile {
    /// The name that suits it, without a directory.
    pub name: String,
    /// All that is in it.
    pub text: String,
}

impl Rendered {
    pub(super) fn line(text: String) -> Self {
        Self { text, files: Vec::new(), note: None }
    }

    pub(super) fn file(name: String, text: String) -> Self {
        Self { text: text.trim_end().to_owned(), files: vec![RenderedFile { name, text }], note: None }
    }
}
