//! Signing in, staying in, and who does not get in.

use chrono::TimeDelta;
use postern_protocol::secret::Secret;
use serde_json::json;

use super::Api;
use super::harness::OWNER;
use crate::{admin, bind};

#[tokio::test]
async fn the_first_user_makes_themselves_known_by_the_link_that_the_start_prints() {
    let api = Api::start().await;
    let bound = bind(api.config().clone()).await.unwrap();
    let link = bound.setup_link().expect("nobody can sign in yet").clone();
    assert_eq!(link.reveal().split('#').next().unwrap(), format!("http://{}/setup", bound.address()));
    drop(bound);
    let token = |link: &Secret| link.reveal().split_once('#').unwrap().1.to_owned();
    let newer = admin::invite_an_owner(api.config()).await.unwrap();
    let refused = |link: Secret| {
        let api = &api;
        async move {
            let body = json!({ "token": token(&link) }).to_string();
            api.raw("POST", "/v1/invitation", Some(body), &[]).await.problem().to_owned()
        }
    };
    assert_eq!(refused(link).await, "invitation_refused", "a newer one took its place");
    let link = newer;
    let body = json!({ "token": token(&link) }).to_string();
    let invited = api.raw("POST", "/v1/invitation", Some(body), &[]).await;
    assert_eq!((invited.status.as_u16(), &invited.json["account_name"]), (200, &json!("default")));
    assert!(invited.json.get("name").is_none());
    let set_up = |name: Option<&str>, password: &str| {
        let body = json!({ "token": token(&link), "name": name, "password": password }).to_string();
        let api = &api;
        async move { api.raw("POST", "/v1/setup", Some(body), &[]).await }
    };
    assert_eq!(set_up(None, OWNER.1).await.problem(), "invalid_name");
    assert_eq!(set_up(Some(OWNER.0), "too short").await.problem(), "invalid_password");
    assert_eq!(set_up(Some(OWNER.0), &"é".repeat(257)).await.problem(), "invalid_password");
    let owner = set_up(Some(OWNER.0), OWNER.1).await;
    assert_eq!(owner.status, 201, "{}", owner.text);
    assert_eq!((&owner.json["role"], &owner.json["admin"]), (&json!("owner"), &json!(true)));
    assert_eq!(set_up(Some("another"), OWNER.1).await.problem(), "invitation_refused", "it works once");
    assert_eq!(api.browse("GET", "/v1/session", &owner.cookie(), None).await.json["user_name"], OWNER.0);
    assert!(bind(api.config().clone()).await.unwrap().setup_link().is_none());
}

#[tokio::test]
async fn a_link_to_set_up_expires() {
    let api = Api::start().await;
    let link = admin::invite_an_owner(api.config()).await.unwrap();
    api.clock.advance(TimeDelta::days(3));
    let body = json!({ "token": link.reveal().split_once('#').unwrap().1 }).to_string();
    assert_eq!(api.raw("POST", "/v1/invitation", Some(body), &[]).await.problem(), "invitation_refused");
}

#[tokio::test]
async fn a_session_does_what_a_token_does_until_it_is_ended() {
    let api = Api::start().await;
    let cookie = api.session().await;
    api.relay("relay-1").await;
    let made = api.browse("POST", "/v1/devices", &cookie, Some(json!({ "name": "box42" }))).await;
    assert_eq!(made.status, 201, "{}", made.text);
    assert_eq!(api.browse("GET", "/v1/devices", &cookie, None).await.items("name"), ["box42"]);
    let ended = api.browse("DELETE", "/v1/session", &cookie, None).await;
    assert_eq!(ended.status, 204, "{}", ended.text);
    assert!(ended.header("set-cookie").contains("Max-Age=0"));
    assert_eq!(api.browse("GET", "/v1/devices", &cookie, None).await.problem(), "unauthorized");
    let token = api.get("/v1/session").await;
    assert_eq!((&token.json["role"], token.json.get("user")), (&json!("owner"), None));
    assert_eq!(api.delete("/v1/session").await.problem(), "forbidden", "a token has no session");
}

#[tokio::test]
async fn a_creation_is_repeated_for_the_same_session_only() {
    let api = Api::start().await;
    api.relay("relay-1").await;
    let cookie = api.session().await;
    let create = |cookie: String| {
        let api = &api;
        async move {
            let headers =
                [("cookie", cookie.as_str()), ("sec-fetch-site", "same-origin"), ("idempotency-key", "a")];
            api.raw("POST", "/v1/devices", Some(json!({ "name": "box42" }).to_string()), &headers).await
        }
    };
    let first = create(cookie.clone()).await;
    assert_eq!(create(cookie).await.text, first.text);
    assert_eq!(create(api.session().await).await.problem(), "idempotency_key_reused");
}

#[tokio::test]
async fn signing_in_takes_another_secret_each_time_and_ends_the_session_before() {
    let api = Api::start().await;
    let planted = api.session().await;
    let body = json!({ "name": OWNER.0, "password": OWNER.1 }).to_string();
    let answer = api.raw("POST", "/v1/session", Some(body), &[("cookie", planted.as_str())]).await;
    assert_ne!(answer.cookie(), planted);
    assert_eq!(api.browse("GET", "/v1/session", &planted, None).await.status, 401);
    assert_eq!(api.browse("GET", "/v1/session", &answer.cookie(), None).await.status, 200);
    let made_up = "__Host-postern=pss_madeup";
    let answer = api.sign_in(OWNER.0, OWNER.1).await;
    assert_ne!(answer.cookie(), made_up);
    assert_eq!(api.browse("GET", "/v1/session", made_up, None).await.status, 401);
}

#[tokio::test]
async fn a_session_ends_after_a_week_and_sooner_if_nobody_uses_it() {
    let api = Api::start().await;
    let (idle, used) = (api.session().await, api.session().await);
    let asks = |cookie: String| {
        let api = &api;
        async move { api.browse("GET", "/v1/session", &cookie, None).await.status.as_u16() }
    };
    api.clock.advance(TimeDelta::hours(11));
    assert_eq!(asks(used.clone()).await, 200);
    api.clock.advance(TimeDelta::hours(2));
    assert_eq!((asks(idle).await, asks(used.clone()).await), (401, 200));
    for _ in 0..15 {
        api.clock.advance(TimeDelta::hours(11));
        asks(used.clone()).await;
    }
    assert_eq!(asks(used).await, 401, "a week is over");
}

#[tokio::test]
async fn no_other_sites_page_acts_for_whoever_has_signed_in() {
    let api = Api::start().await;
    api.relay("relay-1").await;
    let cookie = api.session().await;
    let ask = |headers: Vec<(&'static str, &'static str)>| {
        let (api, cookie) = (&api, cookie.as_str());
        async move {
            let all: Vec<_> = headers.into_iter().chain([("cookie", cookie)]).collect();
            let answer = api.raw("POST", "/v1/devices", Some(json!({ "name": "b" }).to_string()), &all).await;
            answer.json["code"].as_str().unwrap_or("done").to_owned()
        }
    };
    for other in ["cross-site", "same-site", "none"] {
        assert_eq!(ask(vec![("sec-fetch-site", other)]).await, "other_page");
    }
    assert_eq!(ask(vec![]).await, "other_page", "it does not say from where");
    assert_eq!(ask(vec![("origin", "https://evil.example")]).await, "other_page");
    assert_eq!(ask(vec![("origin", "null")]).await, "other_page");
    assert_eq!(ask(vec![("origin", "https://api")]).await, "done");
    let look = [("cookie", cookie.as_str()), ("sec-fetch-site", "cross-site")];
    assert_eq!(api.raw("GET", "/v1/devices", None, &look).await.status, 200, "a link from elsewhere");
    let body = json!({ "name": OWNER.0, "password": OWNER.1 }).to_string();
    let forced = api.raw("POST", "/v1/session", Some(body), &[("sec-fetch-site", "cross-site")]).await;
    assert_eq!(forced.problem(), "other_page", "nor signs them in");
}

#[tokio::test]
async fn whoever_guesses_learns_no_name_and_is_slowed_down() {
    let api = Api::start().await;
    api.session().await;
    let mut answers = Vec::new();
    for name in [OWNER.0, "nobody@example.com", "not a name", ""] {
        let answer = api.sign_in(name, "a wrong password").await;
        assert_eq!((answer.status.as_u16(), answer.problem()), (401, "wrong_credentials"));
        answers.push(answer.text);
    }
    answers.dedup();
    assert_eq!(answers.len(), 1);
    let mut slowed = api.sign_in("nobody@example.com", "a wrong password").await;
    while slowed.status == 401 {
        slowed = api.sign_in("nobody@example.com", "a wrong password").await;
    }
    assert_eq!((slowed.status.as_u16(), slowed.problem()), (429, "too_many_failures"));
    assert!(slowed.header("retry-after").parse::<u32>().unwrap() <= 15 * 60 + 1);
    assert_eq!(api.sign_in(&OWNER.0.to_uppercase(), OWNER.1).await.status, 201, "not for others");
}

#[tokio::test]
async fn a_new_password_ends_every_other_session() {
    let api = Api::start().await;
    let (here, elsewhere) = (api.session().await, api.session().await);
    let change = |current: &str, new: &str| {
        let body = json!({ "current": current, "new": new });
        let (api, here) = (&api, &here);
        async move { api.browse("POST", "/v1/session/password", here, Some(body)).await }
    };
    assert_eq!(change("a wrong password", "another password").await.problem(), "wrong_credentials");
    let changed = change(OWNER.1, "another password").await;
    assert_eq!(changed.status, 201, "{}", changed.text);
    for old in [here, elsewhere] {
        assert_eq!(api.browse("GET", "/v1/session", &old, None).await.status, 401);
    }
    assert_eq!(api.browse("GET", "/v1/session", &changed.cookie(), None).await.status, 200);
    assert_eq!(api.sign_in(OWNER.0, OWNER.1).await.status, 401);
    assert_eq!(api.sign_in(OWNER.0, "another password").await.status, 201);
}

#[tokio::test]
async fn the_database_holds_no_password_and_no_secret() {
    let api = Api::start().await;
    let cookie = api.session().await;
    let secret = cookie.split_once('=').unwrap().1.to_owned();
    for entry in std::fs::read_dir(api.state_dir()).unwrap().flatten() {
        let bytes = std::fs::read(entry.path()).unwrap();
        for text in [OWNER.1, &secret] {
            assert!(!bytes.windows(text.len()).any(|part| part == text.as_bytes()), "{:?}", entry.path());
        }
    }
}
