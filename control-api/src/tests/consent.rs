//! What somebody outside the account asks for is no rule until an owner says so.

use chrono::TimeDelta;
use postern_protocol::api::FeedLine;
use serde_json::{Value, json};

use super::harness::{FeedReader, Relay, join_token};
use super::{Api, KEY};

/// An installation whose own account has a box, and an access to it that support asked for.
async fn asked<'a>(api: &'a Api, relay: &Relay<'a>) -> (String, String) {
    let made = api.post("/v1/devices", json!({ "name": "box42" })).await;
    relay.join(&join_token(&made)).await;
    let wish = json!({ "device": "box42", "exposed_port": 22, "public_key": KEY, "note": "let me look" });
    let asked = api.post("/v1/accounts/default/accesses", wish).await;
    assert_eq!(asked.status, 201, "{}", asked.text);
    assert_eq!(asked.json["status"], "pending_approval");
    assert!(asked.json["asked_by"].as_str().unwrap().starts_with("token "));
    assert!(asked.json.get("connection").is_none());
    (made.id(), asked.id())
}

/// The accesses in the document of the one box of a feed that begins.
async fn granted(mut feed: FeedReader) -> Vec<String> {
    loop {
        if let FeedLine::Box { grants, .. } = feed.line().await.unwrap() {
            let grants = grants.verify(feed.verifier()).unwrap().grants;
            return grants.iter().map(|grant| grant.access.to_string()).collect();
        }
    }
}

#[tokio::test]
async fn what_was_asked_for_is_in_no_document_until_it_is_approved() {
    let api = Api::start().await;
    let relay = api.relay("relay-1").await;
    let (device, access) = asked(&api, &relay).await;
    assert_eq!(granted(relay.feed().await).await, Vec::<String>::new());
    let verify =
        json!({ "device": "box42", "access": access, "key": KEY, "port": 22, "source": "127.0.0.1" });
    assert_eq!(api.post("/v1/verify", verify.clone()).await.json["allowed"], false);
    assert_eq!(api.get("/v1/accesses?status=pending_approval").await.items("id"), [access.as_str()]);
    assert_eq!(api.get("/v1/accesses?status=pending").await.items("id"), Vec::<String>::new());

    let approved = api.post(&format!("/v1/accesses/{access}/approve"), Value::Null).await;
    assert_eq!(
        (approved.status.as_u16(), &approved.json["status"]),
        (200, &json!("pending")),
        "the box is offline"
    );
    assert!(approved.json["approved_at"].is_string());
    assert_eq!(granted(relay.feed().await).await, [access.as_str()]);
    let in_force = approved.json["revision"].as_u64().unwrap();
    let _feed = relay.feed().await;
    relay.report(in_force, &device, in_force).await;
    let seen = api.get(&format!("/v1/accounts/default/accesses/{access}")).await;
    assert_eq!(seen.json["status"], "active", "{}", seen.text);
    assert_eq!(api.post("/v1/verify", verify).await.json["allowed"], true);
    let again = api.post(&format!("/v1/accesses/{access}/approve"), Value::Null).await;
    assert_eq!(again.problem(), "nothing_to_decide");
}

#[tokio::test]
async fn what_was_denied_never_was_a_rule() {
    let api = Api::start().await;
    let relay = api.relay("relay-1").await;
    let (_, access) = asked(&api, &relay).await;
    let denied = api.post(&format!("/v1/accesses/{access}/deny"), Value::Null).await;
    assert_eq!(denied.json["status"], "revoked");
    assert!(denied.json["status_reason"].as_str().unwrap().contains("denied"), "{}", denied.text);
    let late = api.post(&format!("/v1/accesses/{access}/approve"), Value::Null).await;
    assert_eq!(late.problem(), "nothing_to_decide");
    assert_eq!(granted(relay.feed().await).await, Vec::<String>::new(), "not even as one that ended");
}

#[tokio::test]
async fn what_nobody_decided_on_expires() {
    let api = Api::start().await;
    let relay = api.relay("relay-1").await;
    let (_, access) = asked(&api, &relay).await;
    api.clock.advance(TimeDelta::hours(25));
    assert_eq!(api.get(&format!("/v1/accesses/{access}")).await.json["status"], "expired");
    let late = api.post(&format!("/v1/accesses/{access}/approve"), Value::Null).await;
    assert_eq!(late.problem(), "nothing_to_decide");
}

#[tokio::test]
async fn only_so_many_wait_for_a_decision_and_they_take_no_room_from_others() {
    let api = Api::start().await;
    api.relay("relay-1").await;
    api.device("box42").await;
    let wish = json!({ "device": "box42", "exposed_port": 443 });
    for _ in 0..8 {
        assert_eq!(api.post("/v1/accounts/default/accesses", wish.clone()).await.status, 201);
    }
    assert_eq!(api.post("/v1/accounts/default/accesses", wish).await.problem(), "too_many_accesses");
    for _ in 0..postern_protocol::grant::MAX_GRANTS {
        api.access("box42").await;
    }
}

#[tokio::test]
async fn an_admin_sees_nothing_of_an_account_but_what_was_asked_for() {
    let api = Api::start().await;
    api.relay("relay-1").await;
    api.device("box42").await;
    let access = api.access("box42").await;
    assert_eq!(
        api.get(&format!("/v1/accounts/default/accesses/{access}")).await.problem(),
        "access_not_found"
    );
    let decided = api.post(&format!("/v1/accesses/{access}/deny"), Value::Null).await;
    assert_eq!(decided.problem(), "nothing_to_decide", "it came from within");
    let wish = json!({ "device": "box7", "exposed_port": 443 });
    assert_eq!(api.post("/v1/accounts/default/accesses", wish.clone()).await.problem(), "device_not_found");
    assert_eq!(api.post("/v1/accounts/nobody/accesses", wish).await.problem(), "account_not_found");
}
