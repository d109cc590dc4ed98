//! Accounts, opened and closed by admins.

use serde_json::{Value, json};

use super::Api;

/// Opens an account; its owner's token, as a header.
pub(super) async fn open(api: &Api, name: &str) -> String {
    let body = json!({ "name": name, "owner": format!("owner@{name}") });
    let account = api.post("/v1/accounts", body).await;
    assert_eq!(account.status, 201, "{}", account.text);
    let link = account.json["owner"]["invitation"]["link"].as_str().unwrap();
    let body = json!({ "token": link.split_once('#').unwrap().1, "password": "a long password" });
    let owner = api.raw("POST", "/v1/setup", Some(body.to_string()), &[]).await;
    assert_eq!((&owner.json["account_name"], &owner.json["admin"]), (&json!(name), &json!(false)));
    let token = api.browse("POST", "/v1/tokens", &owner.cookie(), Some(json!({ "name": "t" }))).await;
    format!("Bearer {}", token.json["token"].as_str().unwrap())
}

pub(super) async fn ask(
    api: &Api,
    bearer: &str,
    method: &str,
    path: &str,
    body: Value,
) -> super::harness::Answer {
    let body = (!body.is_null()).then(|| body.to_string());
    api.raw(method, path, body, &[("authorization", bearer)]).await
}

#[tokio::test]
async fn an_account_is_opened_named_and_closed_for_good() {
    let api = Api::start().await;
    let relay = api.relay("relay-1").await;
    let bearer = open(&api, "acme").await;
    let made = ask(&api, &bearer, "POST", "/v1/devices", json!({ "name": "box42" })).await;
    let access = json!({ "device": "box42", "exposed_port": 443 });
    assert_eq!(ask(&api, &bearer, "POST", "/v1/accesses", access).await.status, 201);
    let shown = api.get("/v1/accounts/acme").await.json;
    assert_eq!((&shown["users"], &shown["devices"], &shown["own"]), (&json!(1), &json!(1), &json!(false)));
    assert_eq!(api.get("/v1/accounts").await.items("name"), ["acme", "default"]);
    assert_eq!(api.patch("/v1/accounts/acme", json!({ "name": "acme-2" })).await.json["name"], "acme-2");
    assert_eq!(api.patch("/v1/accounts/acme-2", json!({ "name": "default" })).await.problem(), "name_taken");

    let mut feed = relay.feed().await;
    feed.commit().await;
    assert_eq!(api.delete("/v1/accounts/acme-2").await.status, 204);
    assert_eq!(feed.commit().await.0, [format!("gone {}", made.id())]);
    assert_eq!(ask(&api, &bearer, "GET", "/v1/devices", Value::Null).await.status, 401);
    assert_eq!(api.sign_in("owner@acme", "a long password").await.status, 401);
    assert_eq!(api.delete("/v1/accounts/acme-2").await.problem(), "account_not_found");
    open(&api, "acme-2").await;
}

#[tokio::test]
async fn the_installations_own_account_may_be_named_and_not_closed() {
    let api = Api::start().await;
    assert_eq!(api.patch("/v1/accounts/default", json!({ "name": "us" })).await.json["own"], true);
    assert_eq!(api.delete("/v1/accounts/us").await.problem(), "own_account");
    let api = api.restart().await;
    assert_eq!(api.get("/v1/session").await.json["account_name"], "us");
    assert_eq!(api.get("/v1/accounts").await.items("name"), ["us"]);
}

#[tokio::test]
async fn names_of_accounts_and_owners_are_taken_once() {
    let api = Api::start().await;
    open(&api, "acme").await;
    for (name, owner, field) in [("acme", "b", "name"), ("b", "owner@ACME", "owner")] {
        let refused = api.post("/v1/accounts", json!({ "name": name, "owner": owner })).await;
        assert_eq!((refused.problem(), &refused.json["field"]), ("name_taken", &json!(field)));
    }
    assert_eq!(
        api.post("/v1/accounts", json!({ "name": "a b", "owner": "b" })).await.problem(),
        "invalid_name"
    );
}

#[tokio::test]
async fn a_relays_boxes_are_counted_for_whoever_asks() {
    let api = Api::start().await;
    let relay = api.relay("relay-1").await;
    let bearer = open(&api, "acme").await;
    let (mine, theirs) = (
        api.device("mine").await,
        ask(&api, &bearer, "POST", "/v1/devices", json!({ "name": "theirs" })).await.id(),
    );
    relay
        .report_all(0, true, json!([super::harness::seen(&mine, 0), super::harness::seen(&theirs, 0)]))
        .await;
    assert_eq!(api.get("/v1/relays/relay-1").await.json["boxes"], 2, "an admin looks after all of them");
    assert_eq!(ask(&api, &bearer, "GET", "/v1/relays/relay-1", Value::Null).await.json["boxes"], 1);
}

#[tokio::test]
async fn admins_read_who_opened_renamed_and_closed_an_account() {
    let api = Api::start().await;
    let bearer = open(&api, "acme").await;
    let id = api.get("/v1/accounts/acme").await.id();
    api.patch("/v1/accounts/acme", json!({ "name": "acme-2" })).await;
    let theirs = ask(&api, &bearer, "GET", "/v1/audit?about=account", Value::Null).await;
    assert_eq!(theirs.items("action"), ["account_renamed", "account_opened"], "its owners read of it, too");
    api.delete("/v1/accounts/acme-2").await;
    let read = api.get("/v1/audit?about=account").await;
    assert_eq!(read.items("action")[..3], ["account_closed", "account_renamed", "account_opened"]);
    assert_eq!(read.items("subject")[..3], [id.as_str(); 3]);
    assert_eq!(read.json["items"][0]["actor"]["name"], "test");
    api.patch("/v1/accounts/default", json!({ "name": "us" })).await;
    let renamed = api.get("/v1/audit?action=account_renamed").await;
    assert_eq!(renamed.items("subject").len(), 2, "its own name once");
}

#[tokio::test]
async fn an_account_is_found_by_its_id_though_anothers_name_looks_like_it() {
    let api = Api::start().await;
    open(&api, "acme").await;
    let id = api.get("/v1/accounts/acme").await.id();
    open(&api, &id).await;
    assert_eq!(api.get(&format!("/v1/accounts/{id}")).await.json["name"], "acme");
}
