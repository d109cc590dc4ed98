//! An access, as the API shows it.

use chrono::{DateTime, Utc};
use postern_protocol::api::{Access, Connection, Gate, KeyInfo, Via};
use postern_protocol::connection::Way;
use postern_protocol::ssh_key::PublicKey;

use crate::record::{AccessRecord, DeviceRecord, RelayRecord};
use crate::status::Standing;

/// The port whose accesses lead through the SSH gate.
const SSH: u16 = 22;

/// An access, with where it stands now and how to connect.
pub(super) fn view(
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
        via: if access.port == SSH { Via::Gate } else { Via::Name },
        public_port: None,
        note: access.note.clone(),
        created_at: access.created_at,
        status: standing.status(),
        status_since: standing.since(access, device, now),
        status_reason: standing.reason(device),
        revision: access.revision,
        asked_by: access.asked_by.clone(),
        approved_at: access.approved_at,
        connection: gate(device, relays, now)
            .filter(|_| !access.awaits_approval())
            .and_then(|gate| connection(access, device, gate)),
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

/// The gate to go through: that of the relay which has the box, or else of one that is there, or else
/// of any.
fn gate<'a>(device: &DeviceRecord, relays: &'a [RelayRecord], now: DateTime<Utc>) -> Option<&'a Gate> {
    let has_the_box =
        |relay: &RelayRecord| device.online(now).is_some_and(|presence| presence.relay == relay.id);
    let candidates = relays.iter().filter_map(|relay| Some((relay, relay.gate.as_ref()?)));
    let nearest = candidates.min_by_key(|(relay, _)| (!has_the_box(relay), !relay.is_connected(now)));
    nearest.map(|(_, gate)| gate)
}

/// How to connect, for what leads through the gate.
fn connection(access: &AccessRecord, device: &DeviceRecord, gate: &Gate) -> Option<Connection> {
    let way = Way {
        access: access.id,
        device: &device.name,
        port: access.port,
        login: &access.login,
        key: access.key.as_ref(),
        gate,
        host_keys: &device.host_keys,
    };
    (access.port == SSH).then(|| way.connection())
}
