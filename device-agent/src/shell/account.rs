//! Who a login is on this box, and whether a visitor may be it.

use std::ffi::CString;
use std::io;
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Uid, User, getgrouplist};
use postern_protocol::id::Login;

/// Accounts below this belong to the system on every Linux distribution.
const FIRST_PERSON: u32 = 1000;

/// The account that stands for no one, on Debian and most others.
const NOBODY: u32 = 65534;

/// What the shell is if the account names none (passwd(5)).
const DEFAULT_SHELL: &str = "/bin/sh";

/// While this file exists, none but root may log in (nologin(5)).
const NOLOGIN: &str = "/etc/nologin";

const SECONDS_A_DAY: i64 = 24 * 60 * 60;

/// An account that a visitor may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) name: String,
    pub(super) uid: Uid,
    pub(super) gid: Gid,
    pub(super) groups: Vec<Gid>,
    pub(super) home: PathBuf,
    pub(super) shell: PathBuf,
    /// Whether the agent must become this user; otherwise it is.
    pub(super) differs: bool,
}

/// Why a visitor cannot be an account. They have proved their key, so they are told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Barred {
    #[error("there is no user '{0}' on this box")]
    Unknown(Login),
    #[error("'{0}' is a system account, and not among ssh.system_accounts in the agent's settings")]
    SystemAccount(Login),
    #[error("the account '{0}' has expired")]
    Expired(Login),
    #[error("the agent on this box does not run as root, so no visitor can be '{0}'")]
    NotOurs(Login),
    #[error("the user '{0}' cannot be looked up: {1}")]
    LookUp(Login, String),
}

impl Account {
    pub(super) fn is_root(&self) -> bool {
        self.uid.is_root()
    }

    /// What `/etc/nologin` says, if it keeps this account out.
    pub(super) fn nologin(&self) -> Option<Vec<u8>> {
        match self.is_root() {
            true => None,
            false => notice(Path::new(NOLOGIN)),
        }
    }
}

fn notice(path: &Path) -> Option<Vec<u8>> {
    match std::fs::read(path) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        // It is there, so it holds, whether or not it can be read.
        Err(_) => Some(b"logins are closed on this box\n".to_vec()),
    }
}

/// Looks an account up, wherever the system keeps it.
pub(super) async fn look_up(login: &Login, listed: &[Login]) -> Result<Account, Barred> {
    let (name, listed) = (login.clone(), listed.to_vec());
    let found = tokio::task::spawn_blocking(move || find(&name, &listed)).await;
    found.unwrap_or_else(|error| Err(Barred::LookUp(login.clone(), error.to_string())))
}

fn find(login: &Login, listed: &[Login]) -> Result<Account, Barred> {
    let failed = |error: nix::Error| Barred::LookUp(login.clone(), error.to_string());
    let user = User::from_name(login.as_str()).map_err(failed)?.ok_or(Barred::Unknown(login.clone()))?;
    let own = Uid::effective();
    judge(login, user.uid, own, listed)?;
    if own.is_root() && has_expired(login) {
        return Err(Barred::Expired(login.clone()));
    }
    let name = CString::new(login.as_str()).expect("a login has no NUL");
    Ok(Account {
        groups: getgrouplist(&name, user.gid).map_err(failed)?,
        shell: Some(user.shell).filter(|shell| !shell.as_os_str().is_empty()).unwrap_or(DEFAULT_SHELL.into()),
        differs: user.uid != own,
        name: user.name,
        uid: user.uid,
        gid: user.gid,
        home: user.dir,
    })
}

/// Whether an agent of this user may let visitors be that one.
fn judge(login: &Login, uid: Uid, own: Uid, listed: &[Login]) -> Result<(), Barred> {
    let of_the_system = uid.as_raw() < FIRST_PERSON || uid.as_raw() == NOBODY;
    match () {
        () if uid == own => Ok(()),
        () if !own.is_root() => Err(Barred::NotOurs(login.clone())),
        () if of_the_system && !listed.contains(login) => Err(Barred::SystemAccount(login.clone())),
        () => Ok(()),
    }
}

/// Whether the account was closed with an expiry date, which passwd(1) names as the way to do it: a
/// locked password alone says nothing about keys, and is how many systems deliver root.
fn has_expired(login: &Login) -> bool {
    let shadow = std::fs::read_to_string("/etc/shadow").unwrap_or_default();
    let today = chrono::Utc::now().timestamp() / SECONDS_A_DAY;
    expiry(&shadow, login.as_str()).is_some_and(|day| day <= today)
}

/// The day since 1970 on which an account expires (shadow(5)).
fn expiry(shadow: &str, login: &str) -> Option<i64> {
    let fields = |line: &'_ str| line.split(':').map(str::to_owned).collect::<Vec<_>>();
    let line = shadow.lines().map(fields).find(|fields| fields[0] == login)?;
    line.get(7)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(name: &str) -> Login {
        name.parse().unwrap()
    }

    #[test]
    fn who_may_be_whom() {
        let root = Uid::from_raw(0);
        let person = Uid::from_raw(1000);
        let git = login("git");
        let listed = [login("git")];
        let cases = [
            (root, root, &[][..], Ok(())),
            (person, root, &[][..], Ok(())),
            (Uid::from_raw(999), root, &[][..], Err(Barred::SystemAccount(git.clone()))),
            (Uid::from_raw(65534), root, &[][..], Err(Barred::SystemAccount(git.clone()))),
            (Uid::from_raw(999), root, &listed[..], Ok(())),
            (person, person, &[][..], Ok(())),
            (Uid::from_raw(999), Uid::from_raw(999), &[][..], Ok(())),
            (Uid::from_raw(1001), person, &listed[..], Err(Barred::NotOurs(git.clone()))),
            (root, person, &listed[..], Err(Barred::NotOurs(git.clone()))),
        ];
        for (uid, own, listed, verdict) in cases {
            assert_eq!(judge(&git, uid, own, listed), verdict, "{uid} by {own}");
        }
    }

    #[test]
    fn an_unknown_user_is_barred_by_name() {
        assert_eq!(find(&login("no-such-user"), &[]), Err(Barred::Unknown(login("no-such-user"))));
    }

    #[test]
    fn an_account_expires_on_its_day_and_not_by_a_locked_password() {
        let shadow = "root:!*:19000:0:99999:7:::\nold:$y$x:19000:0:99999:7::100:\nodd\nbad:*:::::::\n";
        for (name, day) in [("root", None), ("old", Some(100)), ("odd", None), ("bad", None), ("none", None)]
        {
            assert_eq!(expiry(shadow, name), day, "{name}");
        }
    }

    #[test]
    fn a_notice_that_exists_holds_even_if_it_cannot_be_read() {
        let home = tempfile::tempdir().unwrap();
        assert_eq!(notice(&home.path().join("nologin")), None);
        assert!(notice(home.path()).is_some());
    }
}
