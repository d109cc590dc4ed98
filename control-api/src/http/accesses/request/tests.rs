//! What may be asked for, by table.

use axum::response::IntoResponse;
use postern_protocol::id::DeviceId;
use postern_protocol::wire::{BoxFacts, Service};
use serde_json::{Value, json};

use super::*;

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJbeKqVn1gKLBdvnCCwLGcyXSbLu4MaXGaFBmLdpXJTN me@laptop";

fn now() -> DateTime<Utc> {
    "2026-11-21T12:00:00.250Z".parse().unwrap()
}

fn device() -> DeviceRecord {
    let facts = BoxFacts {
        agent_version: "1".into(),
        hostname: "box42".into(),
        platform: "linux".into(),
        ssh: None,
        services: vec![Service { name: "router-ui".into(), port: 8000 }],
        certificate: None,
        default_login: "admin".parse().unwrap(),
        paused: false,
        consent: None,
    };
    DeviceRecord {
        id: DeviceId::from_entropy([1; 10]),
        name: "box42".parse().unwrap(),
        label: "box42".parse().unwrap(),
        created_at: now(),
        key: None,
        joined_at: None,
        facts: Some(facts),
        host_keys: Vec::new(),
        changed_keys: None,
        deleted_at: None,
        version: 1,
        presence: None,
    }
}

fn ask(request: Value) -> Result<AccessRecord, ApiError> {
    ask_from(Some("203.0.113.9"), request)
}

fn ask_from(caller: Option<&str>, mut request: Value) -> Result<AccessRecord, ApiError> {
    request["device"] = "box42".into();
    let device = device();
    let caller = caller.map(|address| address.parse().unwrap());
    let doors = Doors { front: true, ports: false };
    let at = Circumstances { device: &device, doors, caller, now: now(), longest: Span::days(30) };
    access(serde_json::from_value(request).unwrap(), &at)
}

/// The code, the field and the whole text of a refusal.
fn refusal(request: Value) -> (Code, Option<&'static str>, String) {
    let error = ask(request.clone()).map(|access| panic!("{request} was accepted: {access:?}")).unwrap_err();
    error.told()
}

#[test]
fn the_defaults_are_the_callers_address_a_day_and_the_boxs_login() {
    let access = ask(json!({ "exposed_port": 22, "public_key": KEY })).unwrap();
    assert_eq!(access.allowed.to_string(), "203.0.113.9/32");
    assert_eq!(access.expires_at.to_rfc3339(), "2026-11-22T12:00:00+00:00");
    assert_eq!((access.login.as_str(), access.key_comment.as_str()), ("admin", "me@laptop"));
    let mapped = ask_from(Some("::ffff:203.0.113.9"), json!({ "exposed_port": 443 })).unwrap();
    assert_eq!(mapped.allowed.to_string(), "203.0.113.9/32");
}

#[test]
fn a_caller_whom_the_proxy_does_not_name_must_say() {
    let error = ask_from(None, json!({ "exposed_port": 443 })).unwrap_err();
    assert_eq!(error.told().0, Code::AddressUnknown);
    assert!(ask_from(None, json!({ "exposed_port": 443, "allowed_ips": ["192.0.2.1"] })).is_ok());
}

#[test]
fn the_end_lies_in_the_future_within_the_longest_and_is_said_once() {
    let ask = |end: Value| {
        let mut request = json!({ "exposed_port": 443 });
        request.as_object_mut().unwrap().extend(end.as_object().unwrap().clone());
        ask(request).map(|access| access.expires_at.to_rfc3339()).map_err(|error| error.told().1)
    };
    assert_eq!(ask(json!({ "expires_in": "2h" })).unwrap(), "2026-11-21T14:00:00+00:00");
    assert_eq!(
        ask(json!({ "expires_at": "2026-11-21T15:00:00.9+02:00" })).unwrap(),
        "2026-11-21T13:00:00+00:00"
    );
    assert_eq!(ask(json!({ "expires_in": "30d" })).unwrap(), "2026-12-21T12:00:00+00:00");
    for (end, field) in [
        (json!({ "expires_in": "30d1s" }), "expires_in"),
        (json!({ "expires_in": "soon" }), "expires_in"),
        (json!({ "expires_at": "2026-11-21T12:00:00Z" }), "expires_at"),
        (json!({ "expires_at": "1970-01-01T00:00:00Z" }), "expires_at"),
        (json!({ "expires_at": "2027-11-21T12:00:00Z" }), "expires_at"),
        (json!({ "expires_at": "2026-11-21T13:00:00Z", "expires_in": "2h" }), "expires_in"),
    ] {
        assert_eq!(ask(end.clone()), Err(Some(field)), "{end}");
    }
}

#[test]
fn everybody_is_allowed_only_on_purpose() {
    let with = |list: Value, any: bool| json!({ "exposed_port": 443, "allowed_ips": list, "allow_any": any });
    for list in
        [json!(["0.0.0.0/0"]), json!(["::/0"]), json!(["0.0.0.0/1", "128.0.0.0/1"]), json!(["::ffff:0:0/96"])]
    {
        assert_eq!(refusal(with(list.clone(), false)).0, Code::AnyAddress, "{list}");
        assert!(ask(with(list, true)).is_ok());
    }
    for list in [json!([]), json!(["box42"]), json!([""]), json!(vec!["192.0.2.1/33"])] {
        assert_eq!(refusal(with(list, true)).0, Code::InvalidAllowedIps);
    }
}

#[test]
fn ports_are_those_that_the_box_offers() {
    assert!(ask(json!({ "exposed_port": 8000 })).is_ok());
    assert_eq!(refusal(json!({ "exposed_port": 8001 })).0, Code::PortNotOffered);
    assert_eq!(refusal(json!({ "exposed_port": 0 })).0, Code::PortNotOffered);
    assert_eq!(refusal(json!({ "exposed_port": 22 })).0, Code::KeyRequired);
    assert!(ask(json!({ "exposed_port": 443, "public_key": KEY })).is_ok());
}

#[test]
fn a_private_key_is_refused_by_name_and_never_repeated() {
    for body in [
        "-----BEGIN OPENSSH PRIVATE KEY-----\nTOPSECRETTOPSECRET\n-----END OPENSSH PRIVATE KEY-----",
        "-----BEGIN RSA PRIVATE KEY-----\nTOPSECRETTOPSECRET\n-----END RSA PRIVATE KEY-----",
        "PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\nPrivate-Lines: 1\nTOPSECRETTOPSECRET\n",
    ] {
        let (code, field, text) = refusal(json!({ "exposed_port": 22, "public_key": body }));
        assert_eq!((code, field), (Code::PrivateKey, Some("public_key")), "{text}");
        assert!(!text.contains("TOPSECRET") && text.contains("private key"), "{text}");
    }
    assert_eq!(refusal(json!({ "exposed_port": 22, "public_key": "TOPSECRET" })).0, Code::UnusableKey);
}

#[test]
fn an_edit_is_checked_like_a_creation() {
    let edit = |request: Value| edits(serde_json::from_value(request).unwrap(), now(), Span::days(1));
    assert!(edit(json!({})).unwrap().expires_at.is_none());
    assert_eq!(edit(json!({ "expires_in": "2d" })).unwrap_err().told().0, Code::InvalidExpiry);
    assert_eq!(edit(json!({ "allowed_ips": ["0.0.0.0/0"] })).unwrap_err().told().0, Code::AnyAddress);
    assert_eq!(edit(json!({ "note": "\u{1b}[2J" })).unwrap_err().told().0, Code::InvalidNote);
    let edits = edit(json!({ "public_key": KEY, "note": "x", "expires_in": "1h" })).unwrap();
    assert_eq!(edits.key.unwrap().1, "me@laptop");
}

#[test]
fn every_refusal_is_a_problem_document() {
    let response = ask(json!({ "exposed_port": 22 })).unwrap_err().into_response();
    assert_eq!(response.status(), 422);
    assert_eq!(response.headers()["content-type"], "application/problem+json");
}
