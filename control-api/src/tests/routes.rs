//! Every route in the document, with the guard that it proves to have, held against a committed list.

use std::fmt::Write;
use std::path::Path;

use axum::http::StatusCode;
use postern_protocol::api::Role;
use serde_json::Value;

use super::Api;

const BLESS: bool = option_env!("BLESS").is_some();

/// Whether a caller got past the guard. Whoever failed too often is turned away as well.
fn got_past(status: StatusCode) -> bool {
    !matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS)
}

#[tokio::test]
async fn every_route_is_documented_and_has_the_guard_that_the_list_says() {
    let api = Api::start().await;
    let relay = api.relay("relay-1").await;
    let callers = [
        ("open", String::new()),
        ("viewer", api.bearer_of(Role::Viewer, false).await),
        ("operator", api.bearer_of(Role::Operator, false).await),
        ("owner", api.bearer_of(Role::Owner, false).await),
        ("admin", api.bearer_of(Role::Viewer, true).await),
        ("relay", format!("Authorization: Bearer {}\r\n", relay.token.reveal())),
    ];
    let document = api.raw("GET", "/openapi.json", None, &[]).await.json;
    let mut list = String::new();
    for (path, method, operation) in operations(&document) {
        let concrete = concrete(&path);
        let mut past = Vec::new();
        for (name, credential) in &callers {
            if got_past(status(&api, &method, &concrete, credential).await) {
                past.push(*name);
            }
        }
        // Signing out ends the session, so each route gets its own; an admin's, to whom nothing is closed.
        let session = format!("Cookie: {}\r\nSec-Fetch-Site: same-origin\r\n", api.session().await);
        if got_past(status(&api, &method, &concrete, &session).await) {
            past.push("session");
        }
        let guard = match past[..] {
            ["open", "viewer", "operator", "owner", "admin", "relay", "session"] => "open",
            ["viewer", "operator", "owner", "admin", "session"] => "viewer",
            ["operator", "owner", "session"] => "operator",
            ["owner", "session"] => "owner",
            ["admin", "session"] => "admin",
            ["session"] => "signed-in",
            ["relay"] => "relay",
            _ => panic!("{method} {path}: {past:?}"),
        };
        writeln!(list, "{method:<7}{path:<44} {guard}").unwrap();
        let security = operation["security"].to_string();
        let documented = match guard {
            "open" => "[]".to_owned(),
            "relay" => r#"[{"relay_token":[]}]"#.to_owned(),
            "signed-in" => r#"[{"session":[]}]"#.to_owned(),
            role => format!(r#"[{{"api_token":["{role}"]}},{{"session":["{role}"]}}]"#),
        };
        assert!(BLESS || security == documented, "{method} {path}: {security}");
    }
    assert_golden(&list);
}

/// The status of an answer, whose body, in the case of the feed, has no end.
async fn status(api: &Api, method: &str, path: &str, credential: &str) -> StatusCode {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(api.address).await.unwrap();
    let head = format!("{method} {path} HTTP/1.1\r\nHost: api\r\n{credential}Content-Length: 0\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut line = [0; 12];
    stream.read_exact(&mut line).await.unwrap();
    std::str::from_utf8(&line[9..]).unwrap().parse().unwrap()
}

pub(super) fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let paths = document["paths"].as_object().unwrap();
    let mut all = Vec::new();
    for (path, item) in paths {
        for (method, operation) in item.as_object().unwrap() {
            all.push((path.clone(), method.to_uppercase(), operation.clone()));
        }
    }
    all.sort_by(|(path, method, _), (other, others, _)| (path, method).cmp(&(other, others)));
    all
}

fn concrete(path: &str) -> String {
    let part = |part: &str| if part.starts_with('{') { "aaaaaaaaaa".to_owned() } else { part.to_owned() };
    path.split('/').map(part).collect::<Vec<_>>().join("/")
}

fn assert_golden(actual: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http/routes.txt");
    if BLESS {
        std::fs::write(&path, actual).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        golden, actual,
        "if it should be: BLESS=1 cargo test -p postern-api routes, and let the diff be reviewed"
    );
}

#[tokio::test]
async fn the_document_is_complete() {
    let api = Api::start().await;
    let document = api.raw("GET", "/openapi.json", None, &[]).await.json;
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    for (path, method, operation) in operations(&document) {
        let place = format!("{method} {path}");
        assert!(
            operation["summary"].is_string() || operation["description"].is_string(),
            "{place} says what it is"
        );
        assert!(operation["operationId"].is_string() && operation["tags"][0].is_string(), "{place}");
        let responses = operation["responses"].as_object().unwrap();
        assert!(
            responses.contains_key("default")
                && responses.keys().any(|status| status.starts_with(['2', '3'])),
            "{place}"
        );
        for part in path.split('/').filter(|part| part.starts_with('{')) {
            let name = part.trim_matches(['{', '}']);
            let named = operation["parameters"].as_array().into_iter().flatten();
            assert_eq!(named.filter(|parameter| parameter["name"] == name).count(), 1, "{place} {name}");
        }
    }
    for (path, method, operation) in operations(&document) {
        let place = format!("{method} {path}");
        assert!(operation["summary"].is_string(), "{place} has a summary");
        let responses = operation["responses"].as_object().unwrap();
        let guarded = operation["security"].as_array().is_some_and(|schemes| !schemes.is_empty());
        let mut due = vec!["429"];
        due.extend(guarded.then_some(["401", "403"]).into_iter().flatten());
        due.extend((method == "PATCH").then_some("412"));
        let of_relays = operation["security"][0].get("relay_token").is_some();
        for (_, answer) in responses.iter().filter(|(status, _)| status.starts_with('2') && !of_relays) {
            assert!(answer["headers"]["RateLimit"].is_object(), "{place} tells what is left");
        }
        for status in due {
            assert!(responses.contains_key(status), "{place} declares {status}");
        }
        let request = operation.get("requestBody").map(|request| &request["content"]);
        let answers = responses.values().filter_map(|answer| answer.get("content"));
        for content in request.into_iter().chain(answers) {
            for media in content.as_object().unwrap().values() {
                assert!(!media["example"].is_null(), "{place} has an example: {media}");
            }
        }
    }
    let calls = document["webhooks"].as_object().unwrap();
    assert_eq!(calls.len(), postern_protocol::api::WebhookEvent::ALL.len() + 1);
    for (event, call) in calls {
        let content = &call["post"]["requestBody"]["content"]["application/json"];
        assert_eq!(content["example"]["type"], *event);
        assert!(content["example"]["data"].is_object(), "{event} has an example");
    }
    let mut missing = Vec::new();
    dangling(&document, &document, &mut missing);
    assert_eq!(missing, Vec::<String>::new());
    let ids: Vec<_> =
        operations(&document).into_iter().map(|(_, _, operation)| operation["operationId"].clone()).collect();
    let unique: std::collections::HashSet<String> = ids.iter().map(ToString::to_string).collect();
    assert_eq!(unique.len(), ids.len(), "operation ids are unique: {ids:?}");
}

/// References that lead nowhere.
fn dangling(document: &Value, value: &Value, missing: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match (name.as_str(), value.as_str()) {
                    ("$ref", Some(reference)) => {
                        if document.pointer(reference.trim_start_matches('#')).is_none() {
                            missing.push(reference.to_owned());
                        }
                    }
                    _ => dangling(document, value, missing),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| dangling(document, item, missing)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
