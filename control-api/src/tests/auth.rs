//! Tokens, and those who have none.

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Api;

#[tokio::test]
async fn every_way_to_have_no_token_gets_one_answer() {
    let api = Api::start().await;
    let relay = api.relay("relay-1").await;
    let removed = api.post("/v1/tokens", json!({ "name": "old" })).await;
    let secret = removed.json["token"].as_str().unwrap().to_owned();
    api.delete(&format!("/v1/tokens/{}", removed.id())).await;
    let mut answers = Vec::new();
    for value in [
        None,
        Some("Bearer".to_owned()),
        Some("Bearer pst_unknown".to_owned()),
        Some(format!("Bearer {secret}")),
        Some(format!("Bearer {}", relay.token.reveal())),
        Some(format!("Basic {}", api.token.reveal())),
        Some(format!("Bearer {}x", api.token.reveal())),
        Some(format!("Bearer {}", "x".repeat(10_000))),
    ] {
        let headers: Vec<_> = value.iter().map(|value| ("authorization", value.as_str())).collect();
        let answer = api.raw("GET", "/v1/devices", None, &headers).await;
        assert_eq!((answer.status.as_u16(), answer.problem()), (401, "unauthorized"), "{value:?}");
        assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"postern\"");
        answers.push(answer.text);
    }
    answers.dedup();
    assert_eq!(answers.len(), 1);
    assert_eq!(api.get("/v1/devices").await.status, 200);
}

#[tokio::test]
async fn guessing_becomes_slow_and_whoever_has_a_token_does_not_notice() {
    let api = Api::start().await;
    assert_eq!(api.get("/v1/devices").await.status, 200);
    let guess = || api.raw("GET", "/v1/devices", None, &[("authorization", "Bearer pst_guess")]);
    for _ in 0..20 {
        assert_eq!(guess().await.problem(), "unauthorized");
    }
    let slowed = guess().await;
    assert_eq!((slowed.status.as_u16(), slowed.problem()), (429, "too_many_failures"));
    assert!(slowed.header("retry-after").parse::<u32>().unwrap() <= 61);
    assert_eq!(api.get("/v1/devices").await.status, 200);
}

#[tokio::test]
async fn a_removed_token_stops_working_at_once() {
    let api = Api::start().await;
    let made = api.post("/v1/tokens", json!({ "name": "ci" })).await;
    assert_eq!(api.get("/v1/tokens").await.items("name"), ["ci", "test"]);
    assert!(api.get("/v1/tokens").await.json["items"][0].get("token").is_none(), "a secret is shown once");
    let bearer = format!("Bearer {}", made.json["token"].as_str().unwrap());
    let headers = [("authorization", bearer.as_str())];
    let ask = || api.raw("GET", "/v1/devices", None, &headers);
    assert_eq!(ask().await.status, 200);
    assert_eq!(api.delete(&format!("/v1/tokens/{}", made.id())).await.status, 204);
    assert_eq!(ask().await.status, 401);
    assert_eq!(api.delete(&format!("/v1/tokens/{}", made.id())).await.problem(), "token_not_found");
    assert_eq!(api.post("/v1/tokens", json!({ "name": "a b" })).await.problem(), "invalid_name");
}

#[tokio::test]
async fn relays_are_registered_over_http_too_and_their_names_are_unique() {
    let api = Api::start().await;
    let made = api.post("/v1/relays", json!({ "name": "relay-1" })).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let bearer = format!("Bearer {}", made.json["token"].as_str().unwrap());
    let hello = super::harness::hello("relay-1").to_string();
    let answer = api.raw("POST", "/v1/relay/hello", Some(hello), &[("authorization", &bearer)]).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(api.post("/v1/relays", json!({ "name": "relay-1" })).await.problem(), "name_taken");
    assert_eq!(api.get("/v1/relays/nobody").await.problem(), "relay_not_found");
}

#[tokio::test]
async fn whoever_is_removed_while_their_request_comes_changes_nothing() {
    let api = Api::start().await;
    let going = api.post("/v1/tokens", json!({ "name": "going" })).await;
    let body = json!({ "name": "left behind" }).to_string();
    let head = format!(
        "POST /v1/tokens HTTP/1.1\r\nHost: api\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n",
        going.json["token"].as_str().unwrap(),
        body.len()
    );
    let mut request = TcpStream::connect(api.address).await.unwrap();
    request.write_all(head.as_bytes()).await.unwrap();
    let wanted = b"HTTP/1.1 100 Continue\r\n\r\n";
    let mut told = vec![0; wanted.len()];
    request.read_exact(&mut told).await.unwrap();
    assert_eq!(told, wanted, "the body is wanted, so they were let in");
    assert_eq!(api.delete(&format!("/v1/tokens/{}", going.id())).await.status, 204);
    request.write_all(body.as_bytes()).await.unwrap();
    let mut answer = String::new();
    request.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    assert_eq!(api.get("/v1/tokens").await.items("name"), ["test"]);
}
