//! The variables that a program of a visitor has: a clean set, and what the box's owner lets pass.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::account::Account;

/// Variables that one channel may set.
const MAX_VARIABLES: usize = 64;

/// The longest name or value.
const MAX_LENGTH: usize = 8 * 1024;

const PATH_OF_ROOT: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const PATH_OF_OTHERS: &str = "/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games";

/// What a client asked to set, and may.
#[derive(Debug, Default, Clone)]
pub(super) struct Wishes(BTreeMap<String, String>);

impl Wishes {
    /// Notes a variable, if it may be set.
    pub(super) fn set(&mut self, name: &str, value: &str, accepted: &[String]) -> bool {
        let room = self.0.len() < MAX_VARIABLES || self.0.contains_key(name);
        let fits = name.len() <= MAX_LENGTH && value.len() <= MAX_LENGTH && !value.contains('\0');
        let may = room && fits && is_name(name) && accepted.iter().any(|pattern| matches(pattern, name));
        if may {
            self.0.insert(name.to_owned(), value.to_owned());
        }
        may
    }
}

/// What a program is told besides.
pub(super) struct Circumstances<'a> {
    pub(super) account: &'a Account,
    pub(super) visitor: SocketAddr,
    /// The terminal's type and device.
    pub(super) terminal: Option<(&'a str, &'a Path)>,
    pub(super) agent_socket: Option<PathBuf>,
}

/// All variables of a program; what the server says comes after what the client wishes.
pub(super) fn variables(wishes: &Wishes, circumstances: &Circumstances<'_>) -> Vec<(OsString, OsString)> {
    let Circumstances { account, visitor, terminal, agent_socket } = circumstances;
    let (ip, port) = (visitor.ip().to_canonical(), visitor.port());
    let path = if account.is_root() { PATH_OF_ROOT } else { PATH_OF_OTHERS };
    let wished = wishes.0.iter().map(|(name, value)| (name.into(), value.into()));
    let mut all: BTreeMap<OsString, OsString> = wished.collect();
    let mut say = |name: &str, value: OsString| all.insert(name.into(), value);
    say("HOME", account.home.clone().into());
    say("USER", account.name.clone().into());
    say("LOGNAME", account.name.clone().into());
    say("SHELL", account.shell.clone().into());
    say("PATH", path.into());
    // The tunnel ends here, so the box's own end of the connection is its loopback.
    say("SSH_CONNECTION", format!("{ip} {port} 127.0.0.1 22").into());
    say("SSH_CLIENT", format!("{ip} {port} 22").into());
    if let Some((term, device)) = terminal {
        say("TERM", term.into());
        say("SSH_TTY", device.into());
    }
    if let Some(socket) = agent_socket {
        say("SSH_AUTH_SOCK", socket.into());
    }
    all.into_iter().collect()
}

fn is_name(name: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    name.bytes().all(letter) && name.bytes().next().is_some_and(|first| !first.is_ascii_digit())
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => name == pattern,
    }
}

#[cfg(test)]
mod tests {
    use nix::unistd::{Gid, Uid};

    use super::*;

    fn account(uid: u32) -> Account {
        Account {
            name: "ada".into(),
            uid: Uid::from_raw(uid),
            gid: Gid::from_raw(uid),
            groups: vec![],
            home: "/home/ada".into(),
            shell: "/bin/bash".into(),
            differs: true,
        }
    }

    fn said(wishes: &Wishes, uid: u32) -> BTreeMap<OsString, OsString> {
        let circumstances = Circumstances {
            account: &account(uid),
            visitor: "[::ffff:198.51.100.7]:4711".parse().unwrap(),
            terminal: Some(("xterm", Path::new("/dev/pts/3"))),
            agent_socket: None,
        };
        variables(wishes, &circumstances).into_iter().collect()
    }

    #[test]
    fn only_what_the_owner_lists_passes() {
        let accepted = ["LANG", "LC_*", "*"].map(str::to_owned);
        for (name, value, patterns, passes) in [
            ("LANG", "C", &accepted[..2], true),
            ("LC_ALL", "C", &accepted[..2], true),
            ("LC_", "C", &accepted[..2], true),
            ("LANGUAGE", "C", &accepted[..2], false),
            ("LD_PRELOAD", "x.so", &accepted[..2], false),
            ("LANG", "a\0b", &accepted[..2], false),
            ("ANY", "x", &accepted[..], true),
            ("A=B", "x", &accepted[..], false),
            ("1A", "x", &accepted[..], false),
            ("", "x", &accepted[..], false),
            ("LANG", "C", &[], false),
        ] {
            assert_eq!(Wishes::default().set(name, value, patterns), passes, "{name}={value}");
        }
    }

    #[test]
    fn the_number_and_the_size_of_variables_are_bounded() {
        let any = ["*".to_owned()];
        let mut wishes = Wishes::default();
        assert!(!wishes.set("A", &"x".repeat(MAX_LENGTH + 1), &any));
        for n in 0..MAX_VARIABLES {
            assert!(wishes.set(&format!("V{n}"), "", &any));
        }
        assert!(!wishes.set("ONE_MORE", "", &any));
        assert!(wishes.set("V0", "again", &any));
    }

    #[test]
    fn a_wish_never_overrides_what_the_server_says() {
        let mut wishes = Wishes::default();
        for name in ["HOME", "PATH", "SHELL", "SSH_CONNECTION", "EDITOR"] {
            assert!(wishes.set(name, "/tmp/evil", &["*".to_owned()]));
        }
        let said = said(&wishes, 1000);
        assert_eq!(said[&OsString::from("HOME")], "/home/ada");
        assert_eq!(said[&OsString::from("PATH")], PATH_OF_OTHERS);
        assert_eq!(said[&OsString::from("EDITOR")], "/tmp/evil");
        assert_eq!(said[&OsString::from("SSH_CONNECTION")], "198.51.100.7 4711 127.0.0.1 22");
        assert_eq!(said[&OsString::from("SSH_TTY")], "/dev/pts/3");
    }
}
