//! An access, as the API shows it.

use chrono::{DateTime, Utc};
use postern_protocol::access::PublicPort;
use postern_protocol::api::{Access, Connection, Gate, KeyInfo, Via};
use postern_protocol::connection::{By, Direct, Forward, Link, Way};
use postern_protocol::ssh_key::PublicKey;

use crate::record::{AccessRecord, DeviceRecord, RelayRecord};
use crate::status::Standing;

/// The port whose accesses lead through the SSH gate.
const SSH: u16 = 22;

/// An access, with where it stands now and how to connect.
pub(in crate::http) fn view(
    access: &AccessRecord,
    device: &DeviceRecord,
    relays: &[RelayRecord],
    now: DateTime<Utc>,
) -> Access {
    let standing = Standing::of(access, device, relays, now);
    Access {
        id: access.id,
        device: access.device,
        device_name: device.name.clone(),
        exposed_port: access.port,
        allowed_ips: access.allowed.iter().map(ToString::to_string).collect(),
        expires_at: access.expires_at,
        public_key: access.key.as_ref().map(|key| key_info(key, &access.key_comment)),
        login: access.login.clone(),
        via: access.via,
        public_port: access.leased.map(|leased| leased.port),
        relay: access.leased.map(|leased| leased.relay),
        note: access.note.clone(),
        created_at: access.created_at,
        status: standing.status(),
        status_since: standing.since(access, device, now),
        status_reason: standing.reason(device),
        revision: access.revision,
        asked_by: access.asked_by.clone(),
        approver: standing.approver(),
        approved_at: access.approved_at,
        created_by: access.created_by.clone(),
        connection: Some(())
            .filter(|()| !access.awaits_approval())
            .and_then(|()| connection(access, device, relays, now)),
    }
}

fn key_info(key: &PublicKey, comment: &str) -> KeyInfo {
    let openssh = key.to_openssh();
    let warning = PublicKey::parse(&openssh).ok().and_then(|pasted| pasted.warning);
    KeyInfo {
        r#type: key.type_name().to_owned(),
        bits: key.bits(),
        fingerprint: key.fingerprint(),
        comment: comment.to_owned(),
        warning: warning.map(str::to_owned),
        openssh,
    }
}

/// How to connect, if there is a relay to lead there.
fn connection(
    access: &AccessRecord,
    device: &DeviceRecord,
    relays: &[RelayRecord],
    now: DateTime<Utc>,
) -> Option<Connection> {
    let gate = || nearest(device, relays, now, |relay| relay.gate.as_ref());
    Some(match (access.via, access.port) {
        (Via::Gate, SSH) => through_the_gate(access, device, gate()?),
        (Via::Gate, port) => {
            Forward { access: access.id, device: &device.name, port, gate: gate()? }.connection()
        }
        (Via::Name, _) => {
            let web = nearest(device, relays, now, |relay| relay.web.as_ref())?;
            link(access, device, By::Name(web))
        }
        (Via::Port, port) => {
            let PublicPort { relay, port: leased } = access.leased?;
            let host = &relays.iter().find(|found| found.id == relay)?.gate.as_ref()?.host;
            match port {
                SSH => direct(access, device, host, leased),
                _ => link(access, device, By::Port { host, port: leased }),
            }
        }
    })
}

fn through_the_gate(access: &AccessRecord, device: &DeviceRecord, gate: &Gate) -> Connection {
    let way = Way {
        access: access.id,
        device: &device.name,
        port: access.port,
        login: &access.login,
        key: access.key.as_ref(),
        gate,
        host_keys: &device.host_keys,
    };
    warned(device, way.connection())
}

fn direct(access: &AccessRecord, device: &DeviceRecord, host: &str, port: u16) -> Connection {
    let direct = Direct {
        device: &device.name,
        login: &access.login,
        key: access.key.as_ref(),
        host,
        port,
        host_keys: &device.host_keys,
    };
    warned(device, direct.connection())
}

/// Host keys that nobody has confirmed are a reason to look twice.
fn warned(device: &DeviceRecord, connection: Connection) -> Connection {
    let warning = device.changed_keys.as_ref().map(|changed| {
        let reported: Vec<&str> = changed.reported.iter().map(|key| key.fingerprint.as_str()).collect();
        format!(
            "since {} {name} shows other host keys than those that were known: {}; ssh refuses to connect until \
             somebody confirms that they are its own, with: postern device confirm-host-keys {name}",
            changed.since.format("%Y-%m-%d %H:%M UTC"),
            reported.join(" "),
            name = device.name
        )
    });
    Connection { warning, ..connection }
}

fn link(access: &AccessRecord, device: &DeviceRecord, by: By<'_>) -> Connection {
    let certificate = device.facts.as_ref().and_then(|facts| facts.certificate.as_ref());
    Link { access: access.id, label: &device.label, port: access.port, certificate, by }.connection()
}

/// A door of the relay which has the box, or else of one that is there, or else of any.
fn nearest<'a, T>(
    device: &DeviceRecord,
    relays: &'a [RelayRecord],
    now: DateTime<Utc>,
    door: impl Fn(&'a RelayRecord) -> Option<&'a T>,
) -> Option<&'a T> {
    let has_the_box =
        |relay: &RelayRecord| device.online(now).is_some_and(|presence| presence.relay == relay.id);
    let candidates = relays.iter().filter_map(|relay| Some((relay, door(relay)?)));
    let nearest = candidates.min_by_key(|(relay, _)| (!has_the_box(relay), !relay.is_connected(now)));
    nearest.map(|(_, door)| door)
}
