//! How boxes join, and how relays introduce themselves.

use chrono::TimeDelta;
use postern_protocol::grant::GrantVerifier;
use postern_protocol::wire::{Certificate, Membership};
use serde_json::json;

use super::Api;
use super::harness::{csr, join_token};

#[tokio::test]
async fn a_box_joins_once_and_learns_all_it_needs() {
    let api = Api::start().await;
    let (relay, _other) = (api.relay("relay-1").await, api.relay("relay-2").await);
    let created = api.post("/v1/devices", json!({ "name": "box42" })).await;
    let (_, joined) = relay.join(&join_token(&created)).await;
    let membership: Membership = serde_json::from_str(&joined.text).unwrap();
    assert_eq!((membership.device.to_string(), membership.name.as_str()), (created.id(), "box42"));
    assert_eq!(membership.grant_key, api.app.signer.verifier());
    assert_eq!(membership.certificate.authority, api.app.authority.der());
    assert_eq!(membership.relays.len(), 2);
    let (_, again) = relay.join(&join_token(&created)).await;
    assert_eq!((again.status.as_u16(), again.problem()), (410, "join_refused"));
    assert!(again.json["detail"].as_str().unwrap().contains("postern device join"));
}

#[tokio::test]
async fn a_token_brought_twice_at_the_same_time_lets_one_in() {
    let api = Api::start().await;
    let relay = api.relay("relay-1").await;
    let token = join_token(&api.post("/v1/devices", json!({ "name": "box42" })).await);
    let ((_, one), (_, two)) = tokio::join!(relay.join(&token), relay.join(&token));
    let mut statuses = [one.status.as_u16(), two.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 410]);
}

#[tokio::test]
async fn a_box_whose_answer_was_lost_may_ask_again_and_nobody_else_may() {
    let api = Api::start().await;
    let relay = api.relay("relay-1").await;
    let created = api.post("/v1/devices", json!({ "name": "box42" })).await;
    let token = join_token(&created);
    let (key, _) = relay.join(&token).await;
    assert_eq!(relay.join_with(&token, &key).await.status, 200);
    assert_eq!(relay.join(&token).await.1.problem(), "join_refused");
    api.clock.advance(TimeDelta::hours(24));
    assert_eq!(relay.join_with(&token, &key).await.problem(), "join_refused", "a day is a day");
}

#[tokio::test]
async fn a_new_join_string_replaces_the_old_one_and_the_old_key() {
    let api = Api::start().await;
    let relay = api.relay("relay-1").await;
    let created = api.post("/v1/devices", json!({ "name": "box42" })).await;
    let (old_key, _) = relay.join(&join_token(&created)).await;
    let lost = api.post("/v1/devices/box42/join", json!({})).await;
    let renewed = api.post("/v1/devices/box42/join", json!({})).await;
    assert_eq!((renewed.status.as_u16(), renewed.id()), (201, created.id()));
    assert_eq!(relay.join(&join_token(&lost)).await.1.problem(), "join_refused");
    assert_eq!(renew(&relay, &created.id(), &old_key).await.status, 200, "until somebody joins anew");
    let (key, joined) = relay.join(&join_token(&renewed)).await;
    assert_eq!(joined.status, 200);
    assert_eq!(renew(&relay, &created.id(), &old_key).await.problem(), "other_key");
    assert_eq!(renew(&relay, &created.id(), &key).await.status, 200);
}

async fn renew(
    relay: &super::harness::Relay<'_>,
    device: &str,
    key: &rcgen::KeyPair,
) -> super::harness::Answer {
    relay.post("renew", json!({ "device": device, "csr": csr(key) })).await
}

#[tokio::test]
async fn certificates_are_renewed_for_the_same_key_while_the_box_exists() {
    let api = Api::start().await;
    let relay = api.relay("relay-1").await;
    let created = api.post("/v1/devices", json!({ "name": "box42" })).await;
    let (key, _) = relay.join(&join_token(&created)).await;
    let renewed = renew(&relay, &created.id(), &key).await;
    let certificate: Certificate = serde_json::from_str(&renewed.text).unwrap();
    assert_eq!(certificate.authority, api.app.authority.der());
    assert_eq!(
        renew(&relay, &created.id(), &rcgen::KeyPair::generate().unwrap()).await.problem(),
        "other_key"
    );
    api.delete("/v1/devices/box42").await;
    assert_eq!(renew(&relay, &created.id(), &key).await.problem(), "device_not_found");
}

#[tokio::test]
async fn a_join_that_cannot_be_does_not_use_the_token_up() {
    let api = Api::start().await;
    let relay = api.relay("relay-1").await;
    let token = join_token(&api.post("/v1/devices", json!({ "name": "box42" })).await);
    let mut request = json!({ "token": token.reveal(), "csr": "AAAA", "facts": super::harness::facts() });
    assert_eq!(relay.post("join", request.clone()).await.problem(), "invalid_signing_request");
    request["csr"] = json!(csr(&rcgen::KeyPair::generate().unwrap()));
    request["facts"]["platform"] = json!("x".repeat(1000));
    assert_eq!(relay.post("join", request).await.problem(), "invalid_request");
    assert_eq!(relay.join(&token).await.1.status, 200);
}

#[tokio::test]
async fn a_relay_learns_who_it_is_and_gets_a_certificate() {
    let api = Api::start().await;
    let relay = api.relay("relay-1").await;
    let welcome = relay.post("hello", super::harness::hello("relay-1")).await.json;
    assert_eq!((&welcome["relay"], &welcome["name"]), (&json!(relay.id), &json!("relay-1")));
    assert_eq!(welcome["authority"], api.app.authority.pem());
    let grant_key: GrantVerifier = serde_json::from_value(welcome["grant_key"].clone()).unwrap();
    assert_eq!(grant_key, api.app.signer.verifier());
    let key = rcgen::KeyPair::generate().unwrap();
    let csr = rcgen::CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap();
    let answer = relay.post("certificate", json!({ "csr": csr })).await;
    assert!(answer.json["certificate"].as_str().unwrap().starts_with("-----BEGIN CERTIFICATE-----"));
}

#[tokio::test]
async fn a_gate_that_could_break_a_command_is_refused() {
    let api = Api::start().await;
    let relay = api.relay("relay-1").await;
    for host in ["", "a b", "-oProxyCommand=reboot", "a;b", "a\nb", "é"] {
        let mut hello = super::harness::hello("relay-1");
        hello["gate"]["host"] = json!(host);
        assert_eq!(relay.post("hello", hello).await.problem(), "invalid_gate", "{host:?}");
    }
    for (field, value) in
        [("agents", json!("example.com")), ("agents", json!("a b:1")), ("agents", json!("example.com:0"))]
    {
        let mut hello = super::harness::hello("relay-1");
        hello[field] = value;
        assert_eq!(relay.post("hello", hello).await.problem(), "invalid_gate");
    }
    let mut hello = super::harness::hello("relay-1");
    hello["gate"]["host_keys"] = json!(vec![hello["gate"]["host_keys"][0].clone(); 9]);
    assert_eq!(relay.post("hello", hello).await.problem(), "invalid_gate");
    for agents in ["[2001:db8::1]:4433", "192.0.2.1:1", "relay_1.example.com:443"] {
        let mut hello = super::harness::hello("relay-1");
        hello["agents"] = json!(agents);
        assert_eq!(relay.post("hello", hello).await.status, 200, "{agents}");
    }
}

#[tokio::test]
async fn a_join_string_names_the_relays_that_are_there_first_and_not_too_many() {
    let api = Api::start().await;
    for number in 0..9 {
        api.relay(&format!("relay-{number}")).await;
    }
    let there = api.relay("relay-x").await;
    let _feed = there.feed().await;
    let created = api.post("/v1/devices", json!({ "name": "box42" })).await;
    let string: postern_protocol::join::JoinString =
        created.json["join"]["string"].as_str().unwrap().parse().unwrap();
    assert_eq!(string.relays.len(), 8);
    assert_eq!(string.relays[0], "relay-x.example.com:4433");
    assert_eq!(string.authority, api.app.authority.fingerprint());
}
