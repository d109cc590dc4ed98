//! Where accesses and boxes stand, by table.

use chrono::TimeDelta;
use postern_protocol::access::Networks;
use postern_protocol::id::{AccessId, DeviceId, RelayId};
use postern_protocol::wire::Transport;

use super::*;
use crate::record::{PRESENCE_LEASE, PresenceRecord};

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::seconds(1_000_000 + seconds)
}

fn relay(name: &str, in_force: u64) -> RelayRecord {
    RelayRecord {
        id: RelayId::from_entropy([name.len() as u8; 10]),
        name: name.to_owned(),
        created_at: at(0),
        following: true,
        last_seen: Some(at(100)),
        in_force,
        version: None,
        gate: None,
        web: None,
        ports: None,
        agents: None,
        boxes: 1,
    }
}

fn device() -> DeviceRecord {
    let presence = PresenceRecord {
        relay: RelayId::from_entropy([1; 10]),
        relay_name: "relay-1".into(),
        relay_seen: at(100),
        online: true,
        since: at(10),
        address: "192.0.2.1:5000".parse().unwrap(),
        transport: Transport::Quic,
        why_tcp: None,
        holding: 5,
    };
    DeviceRecord {
        id: DeviceId::from_entropy([1; 10]),
        name: "box42".parse().unwrap(),
        label: "box42".parse().unwrap(),
        created_at: at(0),
        key: Some("00".into()),
        joined_at: Some(at(1)),
        facts: None,
        host_keys: Vec::new(),
        changed_keys: None,
        deleted_at: None,
        version: 1,
        presence: Some(presence),
    }
}

fn access() -> AccessRecord {
    AccessRecord {
        id: AccessId::from_entropy([1; 10]),
        device: device().id,
        port: 22,
        allowed: Networks::parse(&["192.0.2.0/24"]).unwrap(),
        key: None,
        key_comment: String::new(),
        login: "root".parse().unwrap(),
        via: postern_protocol::api::Via::Gate,
        leased: None,
        note: String::new(),
        created_at: at(20),
        expires_at: at(3600),
        revoked_at: None,
        revised_at: at(20),
        revision: 5,
        asked_by: None,
        approved_at: None,
        created_by: None,
        version: 1,
    }
}

fn standing(
    access: &AccessRecord,
    device: &DeviceRecord,
    relays: &[RelayRecord],
) -> (AccessStatus, i64, String) {
    let standing = Standing::of(access, device, relays, at(101));
    let since = (standing.since(access, device, at(101)) - at(0)).num_seconds();
    (standing.status(), since, standing.reason(device))
}

#[test]
fn active_is_said_only_when_every_connected_relay_and_the_box_have_the_rule() {
    use AccessStatus::{Active, Pending};
    let case = |in_force: [u64; 2], holding| {
        let mut device = device();
        device.presence.as_mut().unwrap().holding = holding;
        let (status, _, reason) =
            standing(&access(), &device, &[relay("a", in_force[0]), relay("bc", in_force[1])]);
        (status, reason)
    };
    assert_eq!(case([5, 7], 5), (Active, "in force on a, bc and on box42".into()));
    assert_eq!(case([5, 4], 5), (Pending, "not yet in force on bc".into()));
    assert_eq!(case([5, 5], 4), (Pending, "box42 has not confirmed the rule yet".into()));
}

#[test]
fn a_relay_that_is_gone_does_not_hold_an_access_up() {
    let silent = RelayRecord { last_seen: Some(at(101) - PRESENCE_LEASE), ..relay("bc", 0) };
    let closed = RelayRecord { following: false, ..relay("bc", 0) };
    for gone in [silent, closed] {
        assert_eq!(standing(&access(), &device(), &[relay("a", 5), gone.clone()]).0, AccessStatus::Active);
        assert_eq!(
            standing(&access(), &device(), &[gone]),
            (AccessStatus::Pending, 20, "no relay is connected to the control API".into())
        );
    }
}

#[test]
fn a_box_is_only_as_present_as_its_relay() {
    let relays = [relay("a", 5)];
    let mut offline = device();
    offline.presence.as_mut().unwrap().online = false;
    offline.presence.as_mut().unwrap().since = at(50);
    let mut silent = device();
    silent.presence.as_mut().unwrap().relay_seen = at(60);
    for (device, since) in [(offline, 50), (silent, 60)] {
        let (status, at_second, reason) = standing(&access(), &device, &relays);
        assert_eq!((status, at_second), (AccessStatus::Pending, since), "{reason}");
        assert!(reason.contains("offline"));
        assert_eq!(device_status(&device, at(101)), (DeviceStatus::Offline, at(since)));
    }
    let waiting = DeviceRecord { key: None, joined_at: None, presence: None, ..device() };
    assert!(standing(&access(), &waiting, &relays).2.contains("has not joined"));
    assert_eq!(device_status(&waiting, at(101)).0, DeviceStatus::WaitingToJoin);
}

#[test]
fn what_is_over_is_over_whatever_relays_say() {
    let relays = [relay("a", 5)];
    let expired = AccessRecord { expires_at: at(101), ..access() };
    let revoked = AccessRecord { revoked_at: Some(at(90)), ..expired.clone() };
    let gone = DeviceRecord { deleted_at: Some(at(90)), presence: None, ..device() };
    assert_eq!(
        standing(&expired, &device(), &relays),
        (AccessStatus::Expired, 101, "its time is over".into())
    );
    assert_eq!(standing(&revoked, &device(), &relays), (AccessStatus::Revoked, 90, "it was deleted".into()));
    assert_eq!(standing(&revoked, &gone, &relays).2, "box42 was deleted");
}
