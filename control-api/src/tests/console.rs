//! The console by plain HTTP, as a browser without a script uses it.

use axum::http::StatusCode;
use serde_json::json;

use super::harness::{Answer, Api, KEY, Relay, facts, join_token, seen};

mod forms;
mod guards;
mod hostile;

/// A browser that has signed in, without a script.
struct Browser<'a> {
    api: &'a Api,
    cookie: String,
}

impl<'a> Browser<'a> {
    /// The first owner's.
    async fn new(api: &'a Api) -> Self {
        Self { api, cookie: api.session().await }
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, None, "en").await
    }

    async fn get_in(&self, language: &str, path: &str) -> Answer {
        self.ask("GET", path, None, language).await
    }

    /// Sends a form, as a page of the console's own does.
    async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        self.ask("POST", path, Some(form(fields)), "en").await
    }

    async fn ask(&self, method: &str, path: &str, body: Option<String>, language: &str) -> Answer {
        let headers = [
            ("cookie", self.cookie.as_str()),
            ("sec-fetch-site", "same-origin"),
            ("content-type", "application/x-www-form-urlencoded"),
            ("accept-language", language),
        ];
        self.api.raw(method, path, body, &headers).await
    }
}

/// Fields as forms send them.
fn form(fields: &[(&str, &str)]) -> String {
    let part = |text: &str| -> String {
        let byte = |byte: u8| match byte.is_ascii_alphanumeric() {
            true => char::from(byte).to_string(),
            false => format!("%{byte:02X}"),
        };
        text.bytes().map(byte).collect()
    };
    fields.iter().map(|(name, value)| format!("{name}={}", part(value))).collect::<Vec<_>>().join("&")
}

/// A box that is online.
async fn online_box(api: &Api, relay: &Relay<'_>, name: &str) -> String {
    let made = api.post("/v1/devices", json!({ "name": name })).await;
    let (_, joined) = relay.join(&join_token(&made)).await;
    assert_eq!(joined.status, 200, "{}", joined.text);
    relay.report(u64::MAX / 4, &made.id(), u64::MAX / 4).await;
    made.id()
}

/// What every answer of the console says to browsers.
fn is_hardened(answer: &Answer) {
    let policy = answer.header("content-security-policy");
    for part in ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "form-action 'self'"] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(answer.header("x-frame-options"), "DENY");
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
}

/// What a page says, without its markup.
fn said(answer: &Answer) -> String {
    let parts = answer.text.split('<').map(|part| part.split_once('>').map_or(part, |(_, text)| text));
    parts.collect()
}

/// Where an answer sends the browser.
fn sent_to(answer: &Answer) -> &str {
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
    answer.header("location")
}
