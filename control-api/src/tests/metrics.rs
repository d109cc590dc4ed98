//! The numbers.

use chrono::TimeDelta;
use serde_json::json;

use super::Api;
use super::harness::join_token;

#[tokio::test]
async fn what_is_counted_is_what_the_api_says() {
    let api = Api::start().await;
    let relay = api.relay("relay-1").await;
    let _away = api.relay("relay-2").await;
    let created = api.post("/v1/devices", json!({ "name": "box42" })).await;
    relay.join(&join_token(&created)).await;
    api.device("offline").await;
    let feed = relay.feed().await;
    let soon = json!({ "device": "box42", "exposed_port": 443, "expires_in": "1m" });
    assert_eq!(api.post("/v1/accesses", soon).await.status, 201);
    api.clock.advance(TimeDelta::minutes(2));
    relay.report(0, &created.id(), 0).await;
    let active = api.access("box42").await;
    let in_force = api.get(&format!("/v1/accesses/{active}")).await.json["revision"].as_u64().unwrap();
    relay.report(in_force, &created.id(), in_force).await;
    let revoked = api.access("offline").await;
    api.delete(&format!("/v1/accesses/{revoked}")).await;
    api.access("offline").await;
    api.access("box42").await;
    let asked = json!({ "device": "box42", "exposed_port": 443 });
    assert_eq!(api.post("/v1/accounts/default/accesses", asked).await.status, 201);
    let census = api.app.store.census(api.clock.now()).await.unwrap();
    assert_eq!((census.devices, census.devices_online), (2, 1));
    for (status, counted) in [
        ("active", census.active),
        ("pending", census.pending),
        ("pending_approval", census.pending_approval),
        ("expired", census.expired),
        ("revoked", census.revoked),
    ] {
        let listed = api.get(&format!("/v1/accesses?status={status}")).await.items("id").len();
        assert_eq!(listed as i64, counted, "{status}");
    }
    assert_eq!([census.active, census.pending, census.expired, census.revoked], [1, 2, 1, 1]);
    assert_eq!(census.pending_approval, 1);
    let text = api.raw("GET", "/metrics", None, &[]).await.text;
    for line in [
        "postern_api_devices{state=\"online\"} 1",
        "postern_api_accesses{state=\"pending\"} 2",
        "postern_api_relays{state=\"connected\"} 1",
        "postern_api_deliveries_waiting 0",
        "postern_api_webhooks_failing 0",
        "postern_api_relay_boxes_behind{relay=\"relay-1\"} 2",
        "postern_api_requests_total{method=\"POST\",route=\"/v1/devices\",status=\"201\"} 2",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    assert!(text.ends_with("# EOF\n"));
    drop(feed);
}
