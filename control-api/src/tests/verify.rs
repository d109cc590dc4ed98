//! Verdicts in advance.

use chrono::TimeDelta;
use serde_json::{Value, json};

use super::{Api, KEY};

#[tokio::test]
async fn verify_says_what_the_relay_would_do() {
    let api = Api::start().await;
    let _relay = api.relay("relay-1").await;
    api.device("box42").await;
    api.device("box43").await;
    let body = json!({ "device": "box42", "exposed_port": 22, "public_key": KEY, "allowed_ips": ["198.51.100.0/24"] });
    let access = api.post("/v1/accesses", body).await;
    let end: chrono::DateTime<chrono::Utc> = access.json["expires_at"].as_str().unwrap().parse().unwrap();
    let verdict = |change: Value| {
        let mut attempt = json!({ "device": "box42", "source": "198.51.100.7", "port": 22, "key": KEY });
        attempt.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let api = &api;
        async move { api.post("/v1/verify", attempt).await.json }
    };
    let allowed = verdict(json!({})).await;
    assert_eq!((&allowed["allowed"], &allowed["code"]), (&json!(true), &json!("allowed")));
    assert_eq!((&allowed["access"], &allowed["until"]), (&json!(access.id()), &access.json["expires_at"]));
    let other_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAtlBgQv0c+QYLnpnXvSTkzRYNIAmCmSFlLuH9I8mEDF";
    for (change, code) in [
        (json!({ "source": "::ffff:198.51.100.7" }), "allowed"),
        (json!({ "source": "203.0.113.1" }), "address_not_allowed"),
        (json!({ "port": 443 }), "port_not_exposed"),
        (json!({ "key": other_key }), "wrong_key"),
        (json!({ "key": null }), "wrong_key"),
        (json!({ "device": "box43" }), "unknown_access"),
        (json!({ "device": "box43", "access": access.id() }), "wrong_box"),
        (json!({ "access": "aaaaaaaaaa" }), "unknown_access"),
        (json!({ "at": end - TimeDelta::seconds(1) }), "allowed"),
        (json!({ "at": end }), "expired"),
    ] {
        assert_eq!(verdict(change.clone()).await["code"], code, "{change}");
    }
    assert_eq!(
        verdict(json!({ "source": "203.0.113.1" })).await["reason"],
        "address not allowed: 203.0.113.1"
    );
    api.delete(&format!("/v1/accesses/{}", access.id())).await;
    assert_eq!(verdict(json!({})).await["code"], "revoked");
    assert_eq!(
        api.post("/v1/verify", json!({ "device": "box42", "source": "1.1.1.1", "port": 22, "key": "x" }))
            .await
            .problem(),
        "unusable_key"
    );
}

#[tokio::test]
async fn verify_looks_beyond_the_present_lease() {
    let api = Api::start_with(|config| config.lease = "1h".parse().unwrap()).await;
    let _relay = api.relay("relay-1").await;
    api.device("box42").await;
    api.access("box42").await;
    let at = api.clock.now() + TimeDelta::hours(5);
    let attempt = json!({ "device": "box42", "source": "127.0.0.1", "port": 443, "at": at });
    assert_eq!(api.post("/v1/verify", attempt).await.json["code"], "allowed");
}
