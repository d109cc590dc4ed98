//! Asking twice.

use chrono::TimeDelta;
use serde_json::{Value, json};

use super::Api;
use super::harness::{Answer, join_token};

async fn create(api: &Api, path: &str, key: &str, body: Value) -> Answer {
    api.ask("POST", path, Some(body), &[("idempotency-key", key)]).await
}

#[tokio::test]
async fn the_same_request_gets_the_same_answer_join_string_included() {
    let api = Api::start().await;
    let relay = api.relay("relay-1").await;
    let first = create(&api, "/v1/devices", "k1", json!({ "name": "box42" })).await;
    let second = create(&api, "/v1/devices", "k1", json!({ "name": "box42" })).await;
    assert_eq!((first.status.as_u16(), first.text.as_str()), (201, second.text.as_str()));
    assert_eq!(first.header("location"), second.header("location"));
    assert_eq!(api.get("/v1/devices").await.items("name"), ["box42"]);
    let (_, joined) = relay.join(&join_token(&second)).await;
    assert_eq!(joined.status, 200, "the repeated join string works: {}", joined.text);
}

#[tokio::test]
async fn a_key_stands_for_one_request() {
    let api = Api::start().await;
    let _relay = api.relay("relay-1").await;
    create(&api, "/v1/devices", "k1", json!({ "name": "box42" })).await;
    let other = create(&api, "/v1/devices", "k1", json!({ "name": "box43" })).await;
    assert_eq!((other.problem(), other.status.as_u16()), ("idempotency_key_reused", 422));
    let access = json!({ "device": "box42", "exposed_port": 443 });
    assert_eq!(create(&api, "/v1/accesses", "k1", access.clone()).await.problem(), "idempotency_key_reused");
    let one = create(&api, "/v1/accesses", "k2", access.clone()).await;
    let two = create(&api, "/v1/accesses", "k2", access.clone()).await;
    let three = create(&api, "/v1/accesses", "k3", access).await;
    assert_eq!(one.text, two.text);
    assert_ne!(one.id(), three.id());
}

#[tokio::test]
async fn of_two_at_the_same_time_one_creates_and_both_get_its_answer() {
    let api = Api::start().await;
    let _relay = api.relay("relay-1").await;
    let ask = || create(&api, "/v1/devices", "k1", json!({ "name": "box42" }));
    let (one, two, three) = tokio::join!(ask(), ask(), ask());
    assert_eq!(one.status, 201);
    assert_eq!(one.text, two.text);
    assert_eq!(two.text, three.text);
}

#[tokio::test]
async fn the_answer_stays_the_same_when_what_it_was_about_has_changed() {
    let api = Api::start().await;
    let _relay = api.relay("relay-1").await;
    api.device("box42").await;
    let at = (api.clock.now() + TimeDelta::hours(1)).to_rfc3339();
    let body = json!({ "device": "box42", "exposed_port": 443, "expires_at": at });
    let first = create(&api, "/v1/accesses", "k1", body.clone()).await;
    api.patch("/v1/devices/box42", json!({ "name": "box43" })).await;
    api.clock.advance(TimeDelta::hours(2));
    assert_eq!(create(&api, "/v1/accesses", "k1", body.clone()).await.text, first.text);
    api.clock.advance(TimeDelta::hours(23));
    assert_eq!(
        create(&api, "/v1/accesses", "k1", body).await.problem(),
        "device_not_found",
        "a day later it is new"
    );
}

#[tokio::test]
async fn a_key_belongs_to_the_token_that_used_it() {
    let api = Api::start().await;
    let _relay = api.relay("relay-1").await;
    create(&api, "/v1/devices", "k1", json!({ "name": "box42" })).await;
    let other =
        api.post("/v1/tokens", json!({ "name": "other" })).await.json["token"].as_str().unwrap().to_owned();
    let headers = [("authorization", &*format!("Bearer {other}")), ("idempotency-key", "k1")];
    let answer = api.raw("POST", "/v1/devices", Some(json!({ "name": "box43" }).to_string()), &headers).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
}

#[tokio::test]
async fn a_refusal_uses_no_key_up() {
    let api = Api::start().await;
    let body = json!({ "name": "box42" });
    assert_eq!(create(&api, "/v1/devices", "k1", body.clone()).await.problem(), "no_relay");
    let _relay = api.relay("relay-1").await;
    assert_eq!(create(&api, "/v1/devices", "k1", body.clone()).await.status, 201);
    for key in ["", "two words", &"x".repeat(256)] {
        assert_eq!(create(&api, "/v1/devices", key, body.clone()).await.problem(), "invalid_idempotency_key");
    }
}

#[tokio::test]
async fn a_key_that_would_do_nothing_is_refused() {
    let api = Api::start().await;
    for path in ["tokens", "users", "webhooks", "relays", "accounts", "accounts/default/accesses"] {
        let answer = create(&api, &format!("/v1/{path}"), "k1", json!({ "name": "twice" })).await;
        assert_eq!((answer.problem(), answer.status.as_u16()), ("invalid_idempotency_key", 400), "{path}");
    }
    assert_eq!(api.get("/v1/tokens").await.items("name"), ["test"]);
}
