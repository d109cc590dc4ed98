//! Entity tags: nobody undoes a change that they have not seen.

use serde_json::{Value, json};

use super::Api;
use super::harness::OWNER;

/// A change of something with the tag that was read of it, twice: the second comes too late.
async fn only_once(api: &Api, path: &str, changes: [Value; 3]) {
    let read = api.get(path).await;
    let tag = read.header("etag").to_owned();
    let [first, second, third] = changes;
    let with =
        async |change: Value, tag: &str| api.ask("PATCH", path, Some(change), &[("if-match", tag)]).await;
    let changed = with(first, &tag).await;
    assert_eq!(changed.status, 200, "{path}: {}", changed.text);
    assert_ne!(changed.header("etag"), tag, "{path}");
    let stale = with(second.clone(), &tag).await;
    assert_eq!(stale.status, 412, "{path}: {}", stale.text);
    assert_eq!(stale.problem(), "stale");
    let several = format!("{tag}, {}", changed.header("etag"));
    assert_eq!(with(second, &several).await.status, 200, "{path}");
    assert_eq!(with(third.clone(), "\"0.0\"").await.problem(), "stale", "{path}");
    assert_eq!(with(third.clone(), "W/\"1.0\"").await.problem(), "stale", "{path}: weak tags match nothing");
    assert_eq!(with(third.clone(), "*").await.status, 200, "{path}");
    assert_eq!(api.patch(path, third).await.status, 200, "{path}: whoever does not ask is not refused");
}

#[tokio::test]
async fn whatever_can_be_edited_is_edited_as_it_was_read_or_not_at_all() {
    let api = Api::start().await;
    api.relay("relay-1").await;
    let device = api.device("box42").await;
    let access = api.access(&device).await;
    let user = api.post("/v1/users", json!({ "name": "ann", "role": "viewer" })).await.id();
    let account = api.post("/v1/accounts", json!({ "name": "acme", "owner": "them@example.com" })).await.id();
    let named = || ["a", "b", "c"].map(|name| json!({ "name": name }));
    let noted = ["a", "b", "c"].map(|note| json!({ "note": note }));
    only_once(&api, &format!("/v1/devices/{device}"), named()).await;
    only_once(&api, &format!("/v1/accesses/{access}"), noted).await;
    only_once(&api, &format!("/v1/users/{user}"), named()).await;
    only_once(&api, &format!("/v1/accounts/{account}"), named()).await;
}

#[tokio::test]
async fn what_has_not_changed_is_not_sent_again() {
    let api = Api::start().await;
    let relay = api.relay("relay-1").await;
    let device = api.device("box42").await;
    let path = format!("/v1/devices/{device}");
    let tag = api.get(&path).await.header("etag").to_owned();
    let look = async |tag: &str| api.ask("GET", &path, None, &[("if-none-match", tag)]).await;
    let same = look(&tag).await;
    assert_eq!((same.status.as_u16(), same.text.as_str()), (304, ""));
    assert_eq!(same.header("etag"), tag);
    assert_eq!(look(&format!("W/{tag}")).await.status, 304);
    let token = super::harness::join_token(&api.post(&format!("{path}/join"), json!({})).await);
    relay.join(&token).await;
    let joined = look(&tag).await;
    assert_eq!(joined.status, 200, "it is another answer");
    let renamed = api.ask("PATCH", &path, Some(json!({ "name": "box43" })), &[("if-match", &tag)]).await;
    assert_eq!(renamed.status, 200, "but nobody has edited it: {}", renamed.text);
}

#[tokio::test]
async fn what_is_no_tag_is_refused() {
    let api = Api::start().await;
    api.relay("relay-1").await;
    let device = api.device("box42").await;
    for tag in ["7", "", "\"a", &"\"1.1\",".repeat(20)] {
        let path = format!("/v1/devices/{device}");
        let answer = api.ask("PATCH", &path, Some(json!({ "name": "x" })), &[("if-match", tag)]).await;
        assert_eq!(answer.problem(), "invalid_parameter", "{tag}");
    }
}

#[tokio::test]
async fn a_token_that_ends_makes_none_that_outlives_it() {
    let api = Api::start().await;
    let made = api.post("/v1/tokens", json!({ "name": "day", "expires_in": "1d" })).await;
    let bearer = format!("Bearer {}", made.json["token"].as_str().unwrap());
    let make = async |body: Value| {
        api.raw("POST", "/v1/tokens", Some(body.to_string()), &[("authorization", &bearer)]).await
    };
    for body in [
        json!({ "name": "for-good" }),
        json!({ "name": "longer", "expires_in": "2d" }),
        json!({ "name": "longer", "expires_at": "2100-01-01T00:00:00Z" }),
    ] {
        assert_eq!(make(body).await.problem(), "invalid_expiry");
    }
    assert_eq!(make(json!({ "name": "shorter", "expires_in": "1h" })).await.status, 201);
    let cookie = api.session().await;
    let by_session = api.browse("POST", "/v1/tokens", &cookie, Some(json!({ "name": OWNER.0 }))).await;
    assert_eq!(by_session.status, 201, "a session stands for a user, who signs in again");
}
