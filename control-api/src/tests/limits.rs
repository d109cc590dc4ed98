//! Limits on requests: each token and user has its own, and strangers one for each address.

use serde_json::json;

use super::Api;

async fn limited() -> Api {
    Api::start_with(|config| {
        config.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
        config.limits.per_credential = 10;
        config.limits.per_address = 5;
    })
    .await
}

#[tokio::test]
async fn a_token_may_ask_so_often_and_no_other_suffers_for_it() {
    let api = limited().await;
    let other = api.post("/v1/tokens", json!({ "name": "other" })).await;
    let other = format!("Bearer {}", other.json["token"].as_str().unwrap());
    let mut refused = None;
    let first = api.get("/v1/session").await;
    assert_eq!(first.header("ratelimit-policy"), "\"credential\";q=10;w=60");
    let told = first.header("ratelimit");
    assert!(told.starts_with("\"credential\";r=8;t="), "{told}");
    for _ in 0..9 {
        let answer = api.get("/v1/session").await;
        if answer.status != 200 {
            refused = Some(answer);
        }
    }
    let refused = refused.expect("eleven is one too many");
    assert_eq!(refused.problem(), "too_many_requests");
    assert_eq!(refused.status, 429);
    let wait: u64 = refused.header("retry-after").parse().unwrap();
    assert!((1..=7).contains(&wait), "{wait}");
    assert!(refused.header("ratelimit").starts_with("\"credential\";r=0;t="));
    let answer = api.raw("GET", "/v1/session", None, &[("authorization", &other)]).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn strangers_may_ask_so_often_from_each_address() {
    let api = limited().await;
    let ask = async |from: &str| api.raw("GET", "/readyz", None, &[("x-forwarded-for", from)]).await.status;
    for _ in 0..5 {
        assert_ne!(ask("192.0.2.1").await, 429);
    }
    assert_eq!(ask("192.0.2.1").await, 429);
    let told = api.raw("GET", "/readyz", None, &[("x-forwarded-for", "192.0.2.9")]).await;
    assert!(told.header("ratelimit").starts_with("\"address\";r=4;t="), "{}", told.header("ratelimit"));
    assert_ne!(ask("192.0.2.2").await, 429);
    for _ in 0..5 {
        assert_ne!(ask("2001:db8::1").await, 429);
    }
    assert_eq!(ask("2001:db8::2").await, 429, "whoever has one IPv6 address has its whole /64");
    let proving_nothing = [("cookie", "a=b"), ("x-forwarded-for", "192.0.2.1")];
    assert_eq!(api.raw("GET", "/readyz", None, &proving_nothing).await.status, 429, "whatever it brings");
    let wrong = [("authorization", "Bearer pst_wrong"), ("x-forwarded-for", "192.0.2.3")];
    for _ in 0..5 {
        assert_eq!(api.raw("GET", "/v1/session", None, &wrong).await.problem(), "unauthorized");
    }
    assert_eq!(api.raw("GET", "/v1/session", None, &wrong).await.problem(), "too_many_requests");
}

#[tokio::test]
async fn relays_are_not_limited() {
    let api = limited().await;
    let relay = api.relay("relay-1").await;
    for _ in 0..30 {
        relay.report_all(0, true, json!([])).await;
    }
}
