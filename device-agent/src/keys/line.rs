//! One access as a line of a keys file: pure.

use std::net::{IpAddr, SocketAddr};

use chrono::{DateTime, NaiveDateTime, Utc};
use postern_protocol::access::{Rule, Rules};
use postern_protocol::id::{DeviceId, Login};
use postern_protocol::ssh_key::PublicKey;

use super::block::MARK;
use crate::config::{KeysStyle, SSH_PORT};

/// What an interactive session needs, given back after `restrict` has taken everything, also what
/// later versions may add. X11 is left out: it opens the visitor's own screen to the box.
const OPENSSH_OPTIONS: &str = "restrict,pty,port-forwarding,agent-forwarding,user-rc";

/// Dropbear ignores a key with an option unknown to it; every version knows this one.
const DROPBEAR_OPTIONS: &str = "no-X11-forwarding";

/// The first OpenSSH whose keys files may say that a time is UTC.
const FIRST_WITH_UTC: (u32, u32) = (9, 1);

/// How lines are written for the server that reads them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Form {
    /// What the server understands.
    pub(crate) style: KeysStyle,
    /// How the expiry is written.
    pub(crate) expiry: Expiry,
    /// Where the server listens, if that is not a loopback address: the agent then comes from there.
    pub(crate) server: Option<IpAddr>,
}

/// How a key's expiry is written.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Expiry {
    /// In UTC.
    Utc,
    /// In the box's own time, as OpenSSH before 9.1 reads it.
    Local(fn(DateTime<Utc>) -> NaiveDateTime),
    /// Not at all: whoever asks for the line asks again at the next login.
    Unstated,
}

impl Expiry {
    /// How an SSH server that introduces itself like this reads times.
    pub(crate) fn for_server(version: &str, local: fn(DateTime<Utc>) -> NaiveDateTime) -> Self {
        match openssh_version(version) {
            Some(version) if version < FIRST_WITH_UTC => Self::Local(local),
            _ => Self::Utc,
        }
    }
}

/// What an SSH server that introduces itself like this understands. OpenSSH's options are the stricter
/// ones, so they are for whatever is not known: better a key that opens nothing than one that never ends.
pub(crate) fn style_of(version: &str) -> KeysStyle {
    match version.starts_with("dropbear") {
        true => KeysStyle::Dropbear,
        false => KeysStyle::Openssh,
    }
}

impl Form {
    /// How lines are written for an SSH server at this address.
    pub(crate) fn at(mut self, address: SocketAddr) -> Self {
        let address = address.ip();
        self.server = (!address.is_loopback() && !address.is_unspecified()).then_some(address);
        self
    }
}

/// A line for each live SSH access of a login, in the order of their ids.
pub(crate) fn lines(
    rules: &Rules,
    device: DeviceId,
    login: &Login,
    form: Form,
    now: DateTime<Utc>,
) -> Vec<String> {
    let mut live: Vec<&Rule> = live(rules, device, now).filter(|rule| rule.login == *login).collect();
    live.sort_unstable_by_key(|rule| rule.access);
    live.into_iter().filter_map(|rule| Some(line(rule, rule.key.as_ref()?, form))).collect()
}

/// The SSH accesses that let somebody in at this time.
pub(crate) fn live(rules: &Rules, device: DeviceId, now: DateTime<Utc>) -> impl Iterator<Item = &Rule> {
    rules.of_box(device).iter().filter(move |rule| rule.port == SSH_PORT && rule.is_live(now))
}

/// The first moment at which a rule opens nothing any more.
pub(crate) fn end(rule: &Rule) -> DateTime<Utc> {
    rule.expires_at.min(rule.lease_until)
}

fn line(rule: &Rule, key: &PublicKey, form: Form) -> String {
    let options = match form.style {
        KeysStyle::Dropbear => DROPBEAR_OPTIONS.to_owned(),
        KeysStyle::Openssh => openssh_options(form, end(rule)),
    };
    format!("{options} {} {MARK}{}", key.to_openssh(), rule.access)
}

fn openssh_options(form: Form, end: DateTime<Utc>) -> String {
    let also = form.server.map(|address| format!(",{address}")).unwrap_or_default();
    let from = format!("{OPENSSH_OPTIONS},from=\"127.0.0.1,::1{also}\"");
    match form.expiry {
        Expiry::Utc => format!("{from},expiry-time=\"{}Z\"", stamp(end.naive_utc())),
        Expiry::Local(local) => format!("{from},expiry-time=\"{}\"", stamp(local(end))),
        Expiry::Unstated => from,
    }
}

fn stamp(time: NaiveDateTime) -> String {
    time.format("%Y%m%d%H%M%S").to_string()
}

/// The version in an introduction such as `OpenSSH_9.2p1 Debian-2`.
fn openssh_version(version: &str) -> Option<(u32, u32)> {
    let (_, version) = version.split_once("OpenSSH_")?;
    let (major, rest) = version.split_once('.')?;
    let minor = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use postern_protocol::grant::Grant;

    use super::*;
    use crate::testing::{EXPIRES_IN, Installation, LEASE, grant, key, now};

    fn form(style: KeysStyle, expiry: Expiry) -> Form {
        Form { style, expiry, server: None }
    }

    fn of(grants: Vec<Grant>, form: Form, at: DateTime<Utc>) -> Vec<String> {
        let ours = Installation::new();
        let rules = ours.grants(1, grants).rules().into_iter().collect();
        lines(&rules, ours.device, &"root".parse().unwrap(), form, at)
    }

    #[test]
    fn openssh_learns_where_from_and_until_when() {
        let line = of(vec![grant(22)], form(KeysStyle::Openssh, Expiry::Utc), now());
        let (key, access) = (key().to_openssh(), grant(22).access);
        let end = (now() + EXPIRES_IN).format("%Y%m%d%H%M%S");
        let options = "restrict,pty,port-forwarding,agent-forwarding,user-rc,from=\"127.0.0.1,::1\"";
        assert_eq!(line, [format!("{options},expiry-time=\"{end}Z\" {key} postern:{access}")]);
    }

    #[test]
    fn dropbear_learns_nothing_that_it_does_not_know() {
        let line = of(vec![grant(22)], form(KeysStyle::Dropbear, Expiry::Utc), now());
        let (key, access) = (key().to_openssh(), grant(22).access);
        assert_eq!(line, [format!("no-X11-forwarding {key} postern:{access}")]);
    }

    #[test]
    fn only_dropbear_is_taken_for_dropbear() {
        for version in ["dropbear_2022.83", "dropbear"] {
            assert_eq!(style_of(version), KeysStyle::Dropbear);
        }
        for version in ["OpenSSH_9.2p1", "OpenSSH_for_dropbear", "Sun_SSH_1.1", ""] {
            assert_eq!(style_of(version), KeysStyle::Openssh);
        }
    }

    #[test]
    fn an_older_openssh_reads_the_boxs_own_time() {
        let two_hours_east = |time: DateTime<Utc>| time.naive_utc() + TimeDelta::hours(2);
        for (version, utc) in [
            ("OpenSSH_8.4p1 Debian-5", false),
            ("OpenSSH_9.0", false),
            ("OpenSSH_9.1p1", true),
            ("OpenSSH_10.0p2", true),
            ("dropbear_2022.83", true),
            ("", true),
        ] {
            let expiry = Expiry::for_server(version, two_hours_east);
            let line = of(vec![grant(22)], form(KeysStyle::Openssh, expiry), now()).remove(0);
            let end = now() + EXPIRES_IN + if utc { TimeDelta::zero() } else { TimeDelta::hours(2) };
            let end = format!("expiry-time=\"{}{}\"", end.format("%Y%m%d%H%M%S"), if utc { "Z" } else { "" });
            assert!(line.contains(&end), "{version}: {line}");
        }
    }

    #[test]
    fn the_lease_ends_a_key_before_its_expiry_does() {
        let mut long = grant(22);
        long.expires_at = now() + LEASE + TimeDelta::days(1);
        let line = of(vec![long], form(KeysStyle::Openssh, Expiry::Utc), now()).remove(0);
        assert!(line.contains(&format!("{}Z", (now() + LEASE).format("%Y%m%d%H%M%S"))), "{line}");
    }

    #[test]
    fn a_server_that_listens_elsewhere_sees_the_agent_come_from_there() {
        let there = form(KeysStyle::Openssh, Expiry::Unstated).at("192.168.8.1:22".parse().unwrap());
        assert!(of(vec![grant(22)], there, now())[0].contains("from=\"127.0.0.1,::1,192.168.8.1\" "));
    }

    #[test]
    fn only_live_ssh_accesses_of_the_login_are_there() {
        let openssh = form(KeysStyle::Openssh, Expiry::Utc);
        let (mut revoked, mut keyless, mut other) = (grant(22), grant(22), grant(22));
        revoked.revoked = true;
        keyless.key = None;
        other.login = "admin".parse().unwrap();
        assert_eq!(of(vec![revoked, keyless, other, grant(443)], openssh, now()), [""; 0]);
        assert_eq!(of(vec![grant(22)], openssh, now() + EXPIRES_IN), [""; 0]);
        assert_eq!(of(vec![grant(22)], openssh, now() + EXPIRES_IN - TimeDelta::seconds(1)).len(), 1);
    }
}
