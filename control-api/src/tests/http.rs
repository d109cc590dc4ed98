//! Requests that do not fit, and connections that do nothing.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Api;

#[tokio::test]
async fn whatever_does_not_fit_is_a_problem_document() {
    let api = Api::start().await;
    let bearer = format!("Bearer {}", api.token.reveal());
    let ask = |method: &'static str, path: &'static str, kind: &'static str, body: String| {
        let (api, bearer) = (&api, &bearer);
        async move {
            let headers = [("authorization", bearer.as_str()), ("content-type", kind)];
            api.raw(method, path, Some(body), &headers).await.problem().to_owned()
        }
    };
    let json = "application/json; charset=utf-8";
    assert_eq!(ask("POST", "/v1/devices", json, "{".into()).await, "invalid_json");
    assert_eq!(ask("POST", "/v1/devices", json, "{}".into()).await, "invalid_request");
    assert_eq!(
        ask("POST", "/v1/devices", json, r#"{"name":"a","colour":"red"}"#.into()).await,
        "invalid_request"
    );
    assert_eq!(
        ask("POST", "/v1/devices", "text/plain", r#"{"name":"a"}"#.into()).await,
        "unsupported_media_type"
    );
    assert_eq!(
        ask("POST", "/v1/devices", json, format!("{{\"name\":\"{}\"}}", "a".repeat(70_000))).await,
        "body_too_large"
    );
    assert_eq!(ask("PUT", "/v1/devices", json, "{}".into()).await, "method_not_allowed");
    assert_eq!(ask("POST", "/v2/devices", json, "{}".into()).await, "route_not_found");
    assert_eq!(api.get("/v1/devices?page=2").await.problem(), "unknown_parameter");
    assert_eq!(api.get("/v1/devices/box42?verbose").await.problem(), "unknown_parameter");
    assert_eq!(api.get("/v1/devices?limit=1&limit=2").await.problem(), "invalid_parameter");
    assert_eq!(api.get("/v1/devices/%ff").await.problem(), "invalid_parameter");
}

#[tokio::test]
async fn nobody_keeps_an_answer() {
    let api = Api::start().await;
    for path in ["/v1/devices", "/healthz", "/nothing"] {
        let answer = api.get(path).await;
        assert_eq!(
            (answer.header("cache-control"), answer.header("x-content-type-options")),
            ("no-store", "nosniff")
        );
    }
}

#[tokio::test]
async fn a_stranger_who_says_nothing_keeps_nobody_waiting() {
    let api = Api::start().await;
    let mut silent = Vec::new();
    for _ in 0..50 {
        let mut stream = TcpStream::connect(api.address).await.unwrap();
        stream.write_all(b"GET /v1/devices HTTP/1.1\r\nHost: ").await.unwrap();
        silent.push(stream);
    }
    let answer = tokio::time::timeout(Duration::from_secs(2), api.get("/v1/devices")).await;
    assert_eq!(answer.expect("an answer at once").status, 200);
}

#[tokio::test]
async fn an_address_gets_so_many_connections_and_then_none() {
    let api = Api::start().await;
    let mut held = Vec::new();
    for _ in 0..128 {
        held.push(TcpStream::connect(api.address).await.unwrap());
    }
    let mut over = TcpStream::connect(api.address).await.unwrap();
    assert_eq!(over.read(&mut [0; 1]).await.unwrap_or(0), 0, "closed at once");
}

#[tokio::test]
async fn a_request_in_progress_ends_before_the_program_does() {
    let mut api = Api::start().await;
    let mut stream = TcpStream::connect(api.address).await.unwrap();
    let body = json!({ "name": "ci" }).to_string();
    let head = format!(
        "POST /v1/tokens HTTP/1.1\r\nHost: api\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        api.token.reveal(),
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    api.get("/healthz").await;
    let stopping = tokio::spawn(async move { api.stop().await });
    stream.write_all(body.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    stopping.await.unwrap();
}

#[tokio::test]
async fn it_says_that_it_lives_and_that_it_can_serve() {
    let api = Api::start().await;
    for path in ["/healthz", "/readyz"] {
        assert_eq!(api.raw("GET", path, None, &[]).await.status, 200);
        assert_eq!(api.raw("HEAD", path, None, &[]).await.status, 200);
    }
    api.app.store.close().await;
    let answer = api.raw("GET", "/readyz", None, &[]).await;
    assert_eq!((answer.status.as_u16(), answer.problem()), (503, "not_ready"));
    assert_eq!(api.raw("GET", "/healthz", None, &[]).await.status, 200);
}
