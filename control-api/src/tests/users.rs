//! Users and tokens of an account: what each may do, and how they come and go.

use chrono::TimeDelta;
use postern_protocol::api::Role;
use serde_json::{Value, json};

use super::Api;
use super::harness::{Answer, OWNER};

/// A user who has accepted their invitation; the cookie of their session.
async fn user(api: &Api, name: &str, role: &str) -> String {
    let made = api.post("/v1/users", json!({ "name": name, "role": role })).await;
    assert_eq!(made.status, 201, "{}", made.text);
    accept(api, &made).await.cookie()
}

async fn accept(api: &Api, made: &Answer) -> Answer {
    let link = made.json["invitation"]["link"].as_str().unwrap();
    let body = json!({ "token": link.split_once('#').unwrap().1, "password": OWNER.1 });
    api.raw("POST", "/v1/setup", Some(body.to_string()), &[]).await
}

#[tokio::test]
async fn a_user_is_invited_chooses_a_password_and_may_do_what_their_role_says() {
    let api = Api::start().await;
    api.relay("relay-1").await;
    let made = api.post("/v1/users", json!({ "name": "Ann@Example.com", "role": "viewer" })).await;
    assert_eq!((&made.json["status"], &made.json["name"]), (&json!("invited"), &json!("ann@example.com")));
    assert_eq!(
        api.post("/v1/users", json!({ "name": "ann@example.com", "role": "owner" })).await.problem(),
        "name_taken"
    );
    assert_eq!(api.sign_in("ann@example.com", OWNER.1).await.status, 401, "no password yet");
    let viewer = accept(&api, &made).await;
    assert_eq!((viewer.status.as_u16(), &viewer.json["role"]), (201, &json!("viewer")));
    assert_eq!(accept(&api, &made).await.problem(), "invitation_refused");
    let viewer = viewer.cookie();
    let shown = api.get("/v1/users/ann@example.com").await;
    assert_eq!((&shown.json["status"], shown.json.get("invitation")), (&json!("active"), None));
    assert_eq!(api.browse("GET", "/v1/devices", &viewer, None).await.status, 200);
    let create = json!({ "name": "box42" });
    assert_eq!(api.browse("POST", "/v1/devices", &viewer, Some(create.clone())).await.problem(), "forbidden");
    assert_eq!(api.browse("GET", "/v1/users", &viewer, None).await.problem(), "forbidden");
    let operator = user(&api, "bob", "operator").await;
    assert_eq!(api.browse("POST", "/v1/devices", &operator, Some(create)).await.status, 201);
    assert_eq!(api.browse("GET", "/v1/tokens", &operator, None).await.problem(), "forbidden");
    assert_eq!(api.get("/v1/users").await.items("name"), ["bob", "ann@example.com"]);
}

#[tokio::test]
async fn whoever_may_do_less_or_nothing_any_more_is_signed_out_at_once() {
    let api = Api::start().await;
    let asks = |cookie: String| {
        let api = &api;
        async move { api.browse("GET", "/v1/session", &cookie, None).await.status.as_u16() }
    };
    api.session().await;
    let ann = user(&api, "ann", "operator").await;
    assert_eq!(api.patch("/v1/users/ann", json!({ "role": "owner" })).await.json["role"], "owner");
    assert_eq!(asks(ann.clone()).await, 200, "more");
    api.patch("/v1/users/ann", json!({ "role": "viewer" })).await;
    assert_eq!(asks(ann).await, 401, "less");
    let ann = api.sign_in("ann", OWNER.1).await.cookie();
    assert_eq!(api.patch("/v1/users/ann", json!({ "disabled": true })).await.json["status"], "disabled");
    assert_eq!(asks(ann).await, 401);
    assert_eq!(api.sign_in("ann", OWNER.1).await.problem(), "wrong_credentials");
    api.patch("/v1/users/ann", json!({ "disabled": false })).await;
    let ann = api.sign_in("ann", OWNER.1).await.cookie();
    assert_eq!(api.delete("/v1/users/ann/sessions").await.status, 204);
    assert_eq!(asks(ann).await, 401);
    let ann = api.sign_in("ann", OWNER.1).await.cookie();
    assert_eq!(api.delete("/v1/users/ann").await.status, 204);
    assert_eq!(asks(ann).await, 401);
    assert_eq!(api.sign_in("ann", OWNER.1).await.problem(), "wrong_credentials");
    assert_eq!(api.delete("/v1/users/ann").await.problem(), "user_not_found");
}

#[tokio::test]
async fn a_lost_password_is_replaced_by_an_invitation() {
    let api = Api::start().await;
    let before = user(&api, "ann", "viewer").await;
    let first = api.post("/v1/users/ann/invitation", Value::Null).await;
    let second = api.post("/v1/users/ann/invitation", Value::Null).await;
    assert_eq!(accept(&api, &first).await.problem(), "invitation_refused", "the second took its place");
    assert_eq!(api.browse("GET", "/v1/session", &before, None).await.status, 200, "until it is accepted");
    assert_eq!(accept(&api, &second).await.status, 201);
    assert_eq!(api.browse("GET", "/v1/session", &before, None).await.status, 401);
}

#[tokio::test]
async fn an_account_keeps_an_owner() {
    let api = Api::start().await;
    api.session().await;
    let me = format!("/v1/users/{}", OWNER.0);
    for change in [json!({ "role": "viewer" }), json!({ "disabled": true })] {
        assert_eq!(api.patch(&me, change).await.problem(), "last_owner");
    }
    assert_eq!(api.delete(&me).await.problem(), "last_owner");
    api.post("/v1/users", json!({ "name": "invited", "role": "owner" })).await;
    assert_eq!(api.delete(&me).await.problem(), "last_owner", "an invitation is no owner yet");
    user(&api, "ann", "owner").await;
    assert_eq!(api.delete(&me).await.status, 204);
}

#[tokio::test]
async fn an_owner_does_not_become_an_admin() {
    let api = Api::start().await;
    api.session().await;
    let ann = user(&api, "ann", "owner").await;
    let tries = [
        ("POST", "/v1/users".to_owned(), Some(json!({ "name": "b", "role": "owner", "admin": true }))),
        ("POST", "/v1/tokens".to_owned(), Some(json!({ "name": "b", "admin": true }))),
        ("PATCH", "/v1/users/ann".to_owned(), Some(json!({ "admin": true }))),
        ("PATCH", format!("/v1/users/{}", OWNER.0), Some(json!({ "role": "viewer" }))),
        ("POST", format!("/v1/users/{}/invitation", OWNER.0), None),
        ("DELETE", format!("/v1/users/{}", OWNER.0), None),
        ("POST", "/v1/relays".to_owned(), Some(json!({ "name": "mine" }))),
    ];
    for (method, path, body) in tries {
        assert_eq!(api.browse(method, &path, &ann, body).await.problem(), "forbidden", "{method} {path}");
    }
    let token = api.browse("POST", "/v1/tokens", &ann, Some(json!({ "name": "mine" }))).await;
    assert_eq!((&token.json["role"], &token.json["admin"]), (&json!("owner"), &json!(false)));
    let admins = api.post("/v1/tokens", json!({ "name": "theirs", "admin": true })).await;
    let admins = format!("/v1/tokens/{}", admins.json["id"].as_str().unwrap());
    assert_eq!(api.browse("DELETE", &admins, &ann, None).await.problem(), "forbidden");
}

#[tokio::test]
async fn a_link_from_before_does_not_lead_into_an_admins_place() {
    let api = Api::start().await;
    api.session().await;
    let ann = user(&api, "ann", "owner").await;
    user(&api, "bob", "owner").await;
    let link = api.browse("POST", "/v1/users/bob/invitation", &ann, None).await;
    assert_eq!(link.status, 201, "{}", link.text);
    let inside = api.sign_in("bob", OWNER.1).await.cookie();
    assert_eq!(api.patch("/v1/users/bob", json!({ "admin": true })).await.json["admin"], true);
    assert_eq!(accept(&api, &link).await.problem(), "invitation_refused");
    assert_eq!(api.browse("GET", "/v1/session", &inside, None).await.status, 401);
    assert_eq!(api.sign_in("bob", OWNER.1).await.status, 201);
}

#[tokio::test]
async fn a_link_does_not_outlive_being_kept_out() {
    let api = Api::start().await;
    api.session().await;
    let link = api.post("/v1/users", json!({ "name": "ann", "role": "viewer" })).await;
    for disabled in [true, false] {
        assert_eq!(api.patch("/v1/users/ann", json!({ "disabled": disabled })).await.status, 200);
    }
    assert_eq!(accept(&api, &link).await.problem(), "invitation_refused");
}

#[tokio::test]
async fn a_token_ends_when_it_was_said_to() {
    let api = Api::start().await;
    let made = api.post("/v1/tokens", json!({ "name": "ci", "role": "viewer", "expires_in": "1h" })).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let bearer = format!("Bearer {}", made.json["token"].as_str().unwrap());
    let headers = [("authorization", bearer.as_str())];
    let ask = || api.raw("GET", "/v1/session", None, &headers);
    assert_eq!(ask().await.json["expires_at"], made.json["expires_at"]);
    api.clock.advance(TimeDelta::hours(1));
    assert_eq!(ask().await.problem(), "unauthorized");
    for wrong in [
        json!({ "name": "ci", "expires_in": "soon" }),
        json!({ "name": "ci", "expires_at": "2020-01-01T00:00:00Z" }),
        json!({ "name": "ci", "expires_in": "1h", "expires_at": "2099-01-01T00:00:00Z" }),
    ] {
        assert_eq!(api.post("/v1/tokens", wrong).await.problem(), "invalid_expiry");
    }
}

#[tokio::test]
async fn a_token_for_one_box_sees_no_other() {
    let api = Api::start().await;
    api.relay("relay-1").await;
    let (mine, other) = (api.device("mine").await, api.device("other").await);
    let (my_access, other_access) = (api.access("mine").await, api.access("other").await);
    let made = api.post("/v1/tokens", json!({ "name": "ci", "devices": ["mine"] })).await;
    assert_eq!((&made.json["role"], &made.json["devices"]), (&json!("operator"), &json!([mine])));
    let bearer = format!("Bearer {}", made.json["token"].as_str().unwrap());
    let ask = |method: &'static str, path: String, body: Option<Value>| {
        let (api, bearer) = (&api, bearer.as_str());
        async move {
            api.raw(method, &path, body.map(|body| body.to_string()), &[("authorization", bearer)]).await
        }
    };
    assert_eq!(ask("GET", "/v1/devices".into(), None).await.items("name"), ["mine"]);
    assert_eq!(ask("GET", "/v1/accesses".into(), None).await.items("id"), [my_access.as_str()]);
    assert_eq!(ask("GET", format!("/v1/accesses/{my_access}"), None).await.status, 200);
    for (method, path, body, code) in [
        ("GET", format!("/v1/devices/{other}"), None, "device_not_found"),
        ("GET", "/v1/devices/other".to_owned(), None, "device_not_found"),
        ("PATCH", format!("/v1/devices/{other}"), Some(json!({ "name": "b" })), "device_not_found"),
        ("DELETE", format!("/v1/devices/{other}"), None, "device_not_found"),
        ("POST", format!("/v1/devices/{other}/join"), None, "device_not_found"),
        ("GET", "/v1/accesses?device=other".to_owned(), None, "device_not_found"),
        (
            "POST",
            "/v1/accesses".to_owned(),
            Some(json!({ "device": other, "exposed_port": 443 })),
            "device_not_found",
        ),
        ("GET", format!("/v1/accesses/{other_access}"), None, "access_not_found"),
        ("PATCH", format!("/v1/accesses/{other_access}"), Some(json!({ "note": "b" })), "access_not_found"),
        ("DELETE", format!("/v1/accesses/{other_access}"), None, "access_not_found"),
        ("POST", "/v1/devices".to_owned(), Some(json!({ "name": "b" })), "forbidden"),
    ] {
        assert_eq!(ask(method, path.clone(), body).await.problem(), code, "{method} {path}");
    }
    assert_eq!(ask("DELETE", format!("/v1/accesses/{my_access}"), None).await.status, 204);
    let owner = json!({ "name": "ci", "devices": ["mine"], "role": "owner" });
    assert_eq!(api.post("/v1/tokens", owner).await.problem(), "invalid_role");
    assert_eq!(
        api.post("/v1/tokens", json!({ "name": "ci", "devices": [] })).await.problem(),
        "invalid_request"
    );
}

#[tokio::test]
async fn a_role_is_refused_with_what_it_would_take() {
    let api = Api::start().await;
    let viewer = api.bearer_of(Role::Viewer, false).await;
    let bearer = viewer.trim().split_once(": ").unwrap().1;
    let refused = api.raw("DELETE", "/v1/devices/any", None, &[("authorization", bearer)]).await;
    assert_eq!((refused.status.as_u16(), refused.problem()), (403, "forbidden"));
    assert_eq!(refused.json["detail"], "this needs the role operator; you are viewer");
}
