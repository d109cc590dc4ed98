//! Boxes whose host keys change.

use chrono::TimeDelta;
use serde_json::{Value, json};

use super::harness::{Relay, facts, join_token, seen};
use super::{Api, KEY};

const OTHER_KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAtlBgQv0c+QYLnpnXvSTkzRYNIAmCmSFlLuH9I8mEDF";

fn usual_key() -> &'static str {
    KEY.rsplit_once(' ').unwrap().0
}

/// A box that has joined with the usual key; its id.
async fn joined(api: &Api, relay: &Relay<'_>) -> String {
    let created = api.post("/v1/devices", json!({ "name": "box42" })).await;
    let (_, answer) = relay.join(&join_token(&created)).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    created.id()
}

async fn report(relay: &Relay<'_>, device: &str, host_keys: &[&str]) {
    let mut seen = seen(device, 0);
    seen["facts"] = facts();
    seen["facts"]["ssh"]["host_keys"] = json!(host_keys);
    relay.report_all(0, false, json!([seen])).await;
}

async fn box42(api: &Api) -> Value {
    api.get("/v1/devices/box42").await.json
}

async fn actions(api: &Api) -> Vec<String> {
    api.get("/v1/events").await.items("action")
}

async fn confirm(api: &Api, fingerprints: Value) -> super::harness::Answer {
    api.post("/v1/devices/box42/host-keys/confirm", json!({ "fingerprints": fingerprints })).await
}

#[tokio::test]
async fn connections_expect_the_former_keys_until_somebody_confirms_the_new_ones() {
    let api = Api::start().await;
    let relay = api.relay("relay-1").await;
    let device = joined(&api, &relay).await;
    let access = json!({ "device": "box42", "exposed_port": 22, "public_key": KEY });
    let access = api.post("/v1/accesses", access).await;
    assert!(access.json["connection"].get("warning").is_none());
    assert!(box42(&api).await.get("former_host_keys").is_none());

    let changed_at = api.clock.now();
    report(&relay, &device, &[OTHER_KEY]).await;
    api.clock.advance(TimeDelta::minutes(5));
    report(&relay, &device, &[OTHER_KEY]).await;
    let shown = box42(&api).await;
    assert_eq!(shown["host_keys"][0]["key"], OTHER_KEY);
    assert_eq!(shown["former_host_keys"]["host_keys"][0]["key"], usual_key());
    let since: chrono::DateTime<chrono::Utc> =
        shown["former_host_keys"]["changed_at"].as_str().unwrap().parse().unwrap();
    assert!(since - changed_at < TimeDelta::minutes(1), "when it first reported others");
    let connection = api.get(&format!("/v1/accesses/{}", access.id())).await.json["connection"].take();
    assert_eq!(connection["fingerprints"], access.json["connection"]["fingerprints"]);
    assert_eq!(connection["known_hosts"], access.json["connection"]["known_hosts"]);
    let other = shown["host_keys"][0]["fingerprint"].clone();
    let warning = connection["warning"].as_str().unwrap();
    assert!(
        warning.contains(other.as_str().unwrap()) && warning.contains("confirm-host-keys box42"),
        "{warning}"
    );
    assert_eq!(actions(&api).await, ["host_keys_changed"]);

    let usual = shown["former_host_keys"]["host_keys"][0]["fingerprint"].clone();
    assert_eq!(confirm(&api, json!([usual])).await.problem(), "other_host_keys");
    assert_eq!(confirm(&api, json!([])).await.problem(), "other_host_keys");
    let confirmed = confirm(&api, json!([other])).await;
    assert_eq!(confirmed.status, 200, "{}", confirmed.text);
    assert!(confirmed.json.get("former_host_keys").is_none());
    let connection = api.get(&format!("/v1/accesses/{}", access.id())).await.json["connection"].take();
    assert_eq!(connection["fingerprints"]["device"][0]["fingerprint"], other);
    assert!(connection.get("warning").is_none());
    assert_eq!(confirm(&api, json!([other])).await.status, 200, "again");
    let events = api.get("/v1/events").await;
    assert_eq!(events.items("action"), ["host_keys_confirmed", "host_keys_changed"]);
    assert_eq!(events.json["items"][0]["detail"]["reported"], other);
    assert_eq!(events.json["items"][1]["actor"], "box");
    assert_eq!(events.json["items"][1]["subject"], device);
}

#[tokio::test]
async fn keys_that_come_back_need_nobody_to_confirm_them() {
    let api = Api::start().await;
    let relay = api.relay("relay-1").await;
    let device = joined(&api, &relay).await;
    report(&relay, &device, &[usual_key(), OTHER_KEY]).await;
    assert!(box42(&api).await.get("former_host_keys").is_some(), "one more is a change");
    report(&relay, &device, &[]).await;
    assert!(box42(&api).await.get("former_host_keys").is_some(), "no keys say nothing");
    api.clock.advance(TimeDelta::milliseconds(5));
    report(&relay, &device, &[usual_key()]).await;
    let shown = box42(&api).await;
    assert!(shown.get("former_host_keys").is_none());
    assert_eq!(shown["host_keys"].as_array().unwrap().len(), 1);
    assert_eq!(actions(&api).await, ["host_keys_restored", "host_keys_changed"]);
}

#[tokio::test]
async fn a_box_that_joins_anew_with_other_keys_is_not_believed_either() {
    let api = Api::start().await;
    let relay = api.relay("relay-1").await;
    joined(&api, &relay).await;
    let again = api.post("/v1/devices/box42/join", json!({})).await;
    let mut facts = facts();
    facts["ssh"]["host_keys"] = json!([OTHER_KEY]);
    let key = rcgen::KeyPair::generate().unwrap();
    let body =
        json!({ "token": join_token(&again).reveal(), "csr": super::harness::csr(&key), "facts": facts });
    assert_eq!(relay.post("join", body).await.status, 200);
    let shown = box42(&api).await;
    assert_eq!(shown["former_host_keys"]["host_keys"][0]["key"], usual_key());
    assert_eq!(actions(&api).await, ["host_keys_changed"]);
}
