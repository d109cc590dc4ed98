//! The host names of boxes, as the feed tells them.

use serde_json::json;

use super::Api;

#[tokio::test]
async fn a_box_is_called_by_its_name_and_another_accounts_by_its_accounts_too() {
    let api = Api::start().await;
    let relay = api.relay("relay-1").await;
    let body = json!({ "name": "acme", "owner": "they@example.com" });
    let account = api.post("/v1/accounts", body).await;
    let link = account.json["owner"]["invitation"]["link"].as_str().unwrap();
    let body = json!({ "token": link.split_once('#').unwrap().1, "password": "their long password" });
    let cookie = api.raw("POST", "/v1/setup", Some(body.to_string()), &[]).await.cookie();
    let mut feed = relay.feed().await;
    feed.commit().await;

    api.device("box42").await;
    assert_eq!(feed.grants().await.0.label.as_str(), "box42");
    let made = api.browse("POST", "/v1/devices", &cookie, Some(json!({ "name": "box42" }))).await;
    assert_eq!(feed.grants().await.0.label.as_str(), "box42--acme");
    let renamed = json!({ "name": "box43" });
    api.browse("PATCH", &format!("/v1/devices/{}", made.id()), &cookie, Some(renamed)).await;
    assert_eq!(feed.grants().await.0.label.as_str(), "box43--acme");
    let path = format!("/v1/accounts/{}", account.id());
    assert_eq!(api.patch(&path, json!({ "name": "ACME" })).await.problem(), "invalid_name");
    assert_eq!(api.patch(&path, json!({ "name": "apex" })).await.status, 200);
    assert_eq!(feed.grants().await.0.label.as_str(), "box43--apex");

    let access = json!({ "device": "box43", "exposed_port": 443 });
    let access = api.browse("POST", "/v1/accesses", &cookie, Some(access)).await;
    let url = format!("https://{}.relay-1.example.com/", access.id());
    assert_eq!(access.json["connection"]["url"], url, "until there is a certificate for the box's name");
    let mut seen = super::harness::seen(&made.id(), 0);
    seen["facts"] = super::harness::facts();
    seen["facts"]["certificate"] = json!({
        "kind": "acme", "names": ["box43--apex.relay-1.example.com"], "fingerprint": "5e5e", "ends_at": 1_900_000_000,
    });
    relay.report_all(0, true, json!([seen])).await;
    let shown = api.browse("GET", &format!("/v1/accesses/{}", access.id()), &cookie, None).await.json;
    assert_eq!(shown["connection"]["url"], "https://box43--apex.relay-1.example.com/");
    assert_eq!(shown["connection"]["fingerprints"]["certificate"], "5e5e");
}
