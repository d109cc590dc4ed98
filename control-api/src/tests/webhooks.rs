//! Webhooks: a real server is called, told the truth, and left alone when it wants to be.

use std::net::SocketAddr;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use chrono::TimeDelta;
use data_encoding::BASE64;
use postern_protocol::api::Role;
use ring::hmac;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::Api;
use super::harness::{Relay, seen};
use crate::http::App;
use crate::webhooks::GIVEN_UP_AFTER;

/// Nothing here takes as long; what does has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// A call, as it arrived.
#[derive(Debug)]
struct Call {
    headers: HeaderMap,
    body: String,
}

impl Call {
    fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    fn event(&self) -> String {
        self.json()["type"].as_str().unwrap().to_owned()
    }

    /// What whoever receives it checks, from the secret alone.
    fn is_signed_with(&self, secret: &str) -> bool {
        let key = BASE64.decode(secret.strip_prefix("whsec_").unwrap().as_bytes()).unwrap();
        let signed =
            format!("{}.{}.{}", self.header("webhook-id"), self.header("webhook-timestamp"), self.body);
        let signature = self.header("webhook-signature").strip_prefix("v1,").unwrap();
        let signature = BASE64.decode(signature.as_bytes()).unwrap();
        hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, &key), signed.as_bytes(), &signature).is_ok()
    }
}

/// A server that is called: it answers as it is told to, then with 200.
struct Server {
    address: SocketAddr,
    calls: mpsc::UnboundedReceiver<Call>,
    answers: mpsc::UnboundedSender<u16>,
}

impl Server {
    async fn start() -> Self {
        type Ends =
            std::sync::Arc<(mpsc::UnboundedSender<Call>, tokio::sync::Mutex<mpsc::UnboundedReceiver<u16>>)>;
        async fn hook(State(ends): State<Ends>, headers: HeaderMap, body: String) -> (StatusCode, HeaderMap) {
            ends.0.send(Call { headers, body }).unwrap();
            let status = ends.1.lock().await.try_recv().unwrap_or(200);
            let location = [("location".parse().unwrap(), "/elsewhere".parse().unwrap())];
            (StatusCode::from_u16(status).unwrap(), location.into_iter().collect())
        }
        let (calls, received) = mpsc::unbounded_channel();
        let (answers, told) = mpsc::unbounded_channel();
        let ends: Ends = std::sync::Arc::new((calls, tokio::sync::Mutex::new(told)));
        let router = axum::Router::new().route("/hook", post(hook)).with_state(ends);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async { axum::serve(listener, router).await });
        Self { address, calls: received, answers }
    }

    fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    fn answers_next(&self, statuses: &[u16]) {
        statuses.iter().for_each(|status| self.answers.send(*status).unwrap());
    }

    async fn called(&mut self) -> Call {
        tokio::time::timeout(PATIENCE, self.calls.recv()).await.expect("a call in time").unwrap()
    }

    /// The events of the next calls, in any order.
    async fn told(&mut self, count: usize) -> Vec<String> {
        let mut told = Vec::new();
        for _ in 0..count {
            told.push(self.called().await.event());
        }
        told.sort();
        told
    }
}

/// An API that may call this machine in the clear, with a relay.
async fn started() -> Api {
    let api = Api::start_with(|config| config.webhooks.insecure_loopback = true).await;
    api.relay("relay-1").await;
    api
}

/// A webhook for these events; its id and its secret.
async fn webhook(api: &Api, server: &Server, events: &[&str]) -> (String, String) {
    let answer = api.post("/v1/webhooks", json!({ "url": server.url(), "events": events })).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    (answer.id(), answer.json["secret"].as_str().unwrap().to_owned())
}

/// The newest delivery, once it is what is awaited.
async fn delivery(api: &Api, webhook: &str, fits: impl Fn(&Value) -> bool) -> Value {
    let look = async {
        loop {
            let list = api.get(&format!("/v1/webhooks/{webhook}/deliveries")).await;
            let newest = list.json["items"][0].clone();
            if fits(&newest) {
                return newest;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, look).await.expect("it comes to that in time")
}

#[tokio::test]
async fn a_call_is_signed_and_says_what_happened() {
    let (api, mut server) = (started().await, Server::start().await);
    let (id, secret) = webhook(&api, &server, &["access.created"]).await;
    let access = api.access(&api.device("box42").await).await;
    let call = server.called().await;
    assert!(call.is_signed_with(&secret));
    assert!(!call.is_signed_with("whsec_AAAA"));
    assert_eq!(call.header("content-type"), "application/json");
    let said = call.json();
    assert_eq!(
        (said["type"].as_str(), said["data"]["access"].as_str()),
        (Some("access.created"), Some(&*access))
    );
    let now = api.clock.now().timestamp();
    let timestamp: i64 = call.header("webhook-timestamp").parse().unwrap();
    assert!((now - 60..=now).contains(&timestamp));
    let delivered = delivery(&api, &id, |delivery| delivery["status"] == "delivered").await;
    assert_eq!(delivered["id"], call.header("webhook-id"));
    assert_eq!((&delivered["attempts"], &delivered["http_status"]), (&json!(1), &json!(200)));
    for path in ["/v1/webhooks".to_owned(), format!("/v1/webhooks/{id}")] {
        assert!(!api.get(&path).await.text.contains("whsec_"), "the secret is shown once");
    }
}

#[tokio::test]
async fn what_fails_is_tried_again_later_also_by_the_next_life() {
    let (api, mut server) = (started().await, Server::start().await);
    server.answers_next(&[500, 302]);
    let (id, secret) = webhook(&api, &server, &["access.created"]).await;
    api.access(&api.device("box42").await).await;
    let first = server.called().await;
    let failed = delivery(&api, &id, |delivery| delivery["attempts"] == 1).await;
    assert_eq!((&failed["status"], &failed["http_status"]), (&json!("pending"), &json!(500)));
    assert!(failed["next_attempt_at"].is_string());
    api.clock.advance(TimeDelta::seconds(10));
    server.called().await;
    let failed = delivery(&api, &id, |delivery| delivery["attempts"] == 2).await;
    assert!(failed["problem"].as_str().unwrap().contains("redirects are not followed"), "{failed}");
    let api = api.restart().await;
    api.clock.advance(TimeDelta::seconds(20));
    let last = server.called().await;
    assert_eq!(last.header("webhook-id"), first.header("webhook-id"), "the same delivery");
    assert_eq!(last.body, first.body);
    assert!(last.is_signed_with(&secret), "the secret is the same in the next life");
    let delivered = delivery(&api, &id, |delivery| delivery["status"] == "delivered").await;
    assert_eq!(delivered["attempts"], 3);
}

#[tokio::test]
async fn after_a_day_a_delivery_is_given_up_and_its_webhook_is_failing() {
    let (api, mut server) = (started().await, Server::start().await);
    server.answers_next(&[500, 500]);
    let (id, _) = webhook(&api, &server, &["access.created"]).await;
    let device = api.device("box42").await;
    api.access(&device).await;
    delivery(&api, &id, |delivery| delivery["attempts"] == 1).await;
    api.clock.advance(GIVEN_UP_AFTER);
    let failed = delivery(&api, &id, |delivery| delivery["status"] == "failed").await;
    assert_eq!(failed["attempts"], 2);
    let failing = api.get(&format!("/v1/webhooks/{id}")).await;
    assert_eq!(failing.json["status"], "failing", "{}", failing.text);
    assert!(failing.json["failing_since"].is_string());
    api.access(&device).await;
    server.told(3).await;
    delivery(&api, &id, |delivery| delivery["status"] == "delivered").await;
    assert_eq!(api.get(&format!("/v1/webhooks/{id}")).await.json["status"], "active", "it is called again");
}

/// A relay's report of a box, at a moment that moves with the clock.
async fn box_is(api: &Api, relay: &Relay<'_>, device: &str, online: bool) {
    let mut report = seen(device, 0);
    report["online"] = json!(online);
    report["since"] = json!(api.clock.now());
    relay.report_all(0, true, json!([report])).await;
}

#[tokio::test]
async fn every_event_is_told_once() {
    let (api, mut server) = (started().await, Server::start().await);
    let relay = api.relay("relay-1").await;
    let answer = api.post("/v1/webhooks", json!({ "url": server.url() })).await;
    assert_eq!(answer.json["events"].as_array().unwrap().len(), 8, "left out, all of them");
    let device = api.device("box42").await;
    box_is(&api, &relay, &device, true).await;
    assert_eq!(server.told(1).await, ["box.online"]);
    let short = json!({ "device": device, "exposed_port": 443, "expires_in": "1m" });
    api.post("/v1/accesses", short).await;
    let deleted = api.access(&device).await;
    api.delete(&format!("/v1/accesses/{deleted}")).await;
    assert_eq!(server.told(3).await, ["access.created", "access.created", "access.revoked"]);
    relay.visit(&device, "aaaaaaaaaa", "open").await;
    relay.visit(&device, "aaaaaaaaaa", "open").await;
    relay.visit(&device, "aaaaaaaaaa", "ended").await;
    relay.visit(&device, "aaaaaaaaaa", "ended").await;
    relay.visit(&device, "bbbbbbbbbb", "refused").await;
    assert_eq!(server.told(3).await, ["visit.ended", "visit.refused", "visit.started"]);
    // A minute later the access is over, and the relay has been silent for too long.
    api.clock.advance(TimeDelta::minutes(1));
    assert_eq!(server.told(2).await, ["access.expired", "box.offline"]);
    api.access(&device).await;
    api.delete(&format!("/v1/devices/{device}")).await;
    assert_eq!(server.told(2).await, ["access.created", "access.revoked"], "a box takes its accesses along");
}

#[tokio::test]
async fn a_webhook_is_called_for_what_it_asks_for_and_only_while_it_is_enabled() {
    let (api, mut server) = (started().await, Server::start().await);
    let (id, _) = webhook(&api, &server, &["access.revoked"]).await;
    let device = api.device("box42").await;
    let path = format!("/v1/webhooks/{id}");
    let off = api.patch(&path, json!({ "enabled": false })).await;
    assert_eq!(off.json["status"], "disabled");
    let first = api.access(&device).await;
    api.delete(&format!("/v1/accesses/{first}")).await;
    api.patch(&path, json!({ "enabled": true })).await;
    let second = api.access(&device).await;
    api.delete(&format!("/v1/accesses/{second}")).await;
    let call = server.called().await;
    assert_eq!(call.json()["data"]["access"], second, "what happened meanwhile is not told");
    let test = api.post(&format!("{path}/test"), Value::Null).await;
    assert_eq!(test.status, 202, "{}", test.text);
    let call = server.called().await;
    assert_eq!((call.event().as_str(), call.header("webhook-id")), ("webhook.test", &*test.id()));
    assert_eq!(api.delete(&path).await.status, 204);
    assert_eq!(api.get(&path).await.problem(), "webhook_not_found");
}

#[tokio::test]
async fn what_waits_for_a_webhook_that_is_disabled_never_arrives() {
    let (api, mut server) = (started().await, Server::start().await);
    server.answers_next(&[500]);
    let (id, _) = webhook(&api, &server, &["access.created"]).await;
    api.access(&api.device("box42").await).await;
    server.called().await;
    delivery(&api, &id, |delivery| delivery["attempts"] == 1).await;
    let path = format!("/v1/webhooks/{id}");
    api.patch(&path, json!({ "enabled": false })).await;
    let given_up = delivery(&api, &id, |delivery| delivery["status"] == "failed").await;
    assert_eq!(given_up["problem"], "the webhook was disabled");
    api.patch(&path, json!({ "enabled": true })).await;
    api.clock.advance(TimeDelta::minutes(10));
    let test = api.post(&format!("{path}/test"), Value::Null).await;
    assert_eq!(server.called().await.header("webhook-id"), test.id(), "the next call is a later one");
}

#[tokio::test]
async fn nothing_inside_is_called_whatever_its_name() {
    let api = Api::start().await;
    for url in
        ["http://example.com/", "https://127.0.0.1/", "https://169.254.169.254/latest", "https://[::1]/", "x"]
    {
        let answer = api.post("/v1/webhooks", json!({ "url": url })).await;
        assert_eq!(answer.problem(), "invalid_target", "{url}");
    }
    // A name may lead anywhere, and elsewhere tomorrow: that is looked at when it is called.
    let named = api.post("/v1/webhooks", json!({ "url": "https://localhost:1/" })).await;
    assert_eq!(named.status, 201, "{}", named.text);
    let test = api.post(&format!("/v1/webhooks/{}/test", named.id()), Value::Null).await;
    assert_eq!(test.status, 202, "{}", test.text);
    let failed = delivery(&api, &named.id(), |delivery| delivery["attempts"] == 1).await;
    assert!(failed["problem"].as_str().unwrap().contains("not on the public internet"), "{failed}");
}

#[tokio::test]
async fn webhooks_are_an_owners_and_there_are_only_so_many() {
    let api = Api::start().await;
    let operator = api.bearer_of(Role::Operator, true).await;
    let operator = operator.trim().split_once(": ").unwrap().1;
    let answer = api.raw("GET", "/v1/webhooks", None, &[("authorization", operator)]).await;
    assert_eq!(answer.problem(), "forbidden");
    let url = json!({ "url": "https://example.com/" });
    for _ in 0..20 {
        assert_eq!(api.post("/v1/webhooks", url.clone()).await.status, 201);
    }
    assert_eq!(api.post("/v1/webhooks", url).await.problem(), "too_many_webhooks");
    let wrong = json!({ "url": "https://example.com/", "events": ["webhook.test"] });
    assert_eq!(api.post("/v1/webhooks", wrong).await.problem(), "invalid_request");
    let unknown = json!({ "url": "https://example.com/", "events": ["box.eaten"] });
    assert_eq!(api.post("/v1/webhooks", unknown).await.problem(), "invalid_request");
}

#[tokio::test]
async fn no_webhook_is_told_of_a_silence_that_began_before_the_api_did() {
    let (api, mut server) = (started().await, Server::start().await);
    let relay = api.relay("relay-1").await;
    let (_, _) = webhook(&api, &server, &["box.online", "box.offline"]).await;
    let device = api.device("box42").await;
    box_is(&api, &relay, &device, true).await;
    assert_eq!(server.told(1).await, ["box.online"]);
    api.clock.advance(TimeDelta::hours(1));
    let app: &App = &api.app;
    assert!(!app.store.tell_presence(api.clock.now(), false).await.unwrap());
}

/// An address where calls are taken and never answered, and how many came.
async fn silent() -> (String, std::sync::Arc<std::sync::atomic::AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let calls = std::sync::Arc::<std::sync::atomic::AtomicUsize>::default();
    let counted = calls.clone();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((call, _)) = listener.accept().await {
            counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            held.push(call);
        }
    });
    (url, calls)
}

#[tokio::test]
async fn one_accounts_slow_webhooks_do_not_hold_up_anothers() {
    let (api, mut server) = (started().await, Server::start().await);
    let (url, calls) = silent().await;
    let bearer = super::accounts::open(&api, "acme").await;
    let hook = json!({ "url": server.url(), "events": ["access.created"] });
    let theirs = super::accounts::ask(&api, &bearer, "POST", "/v1/webhooks", hook).await;
    assert_eq!(theirs.status, 201, "{}", theirs.text);
    for _ in 0..20 {
        let answer = api.post("/v1/webhooks", json!({ "url": url, "events": ["access.created"] })).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
    }
    api.access(&api.device("box42").await).await;
    super::accounts::ask(&api, &bearer, "POST", "/v1/devices", json!({ "name": "box43" })).await;
    let access = json!({ "device": "box43", "exposed_port": 443 });
    super::accounts::ask(&api, &bearer, "POST", "/v1/accesses", access).await;
    server.called().await;
    let held = calls.load(std::sync::atomic::Ordering::SeqCst);
    assert!(held <= 4, "{held} calls of one account were under way");
}

#[tokio::test]
async fn a_webhook_is_tried_only_while_it_is_enabled_and_has_room() {
    let api = Api::start().await;
    let id = api.post("/v1/webhooks", json!({ "url": "https://localhost:1/" })).await.id();
    let (path, test) = (format!("/v1/webhooks/{id}"), format!("/v1/webhooks/{id}/test"));
    api.patch(&path, json!({ "enabled": false })).await;
    assert_eq!(api.post(&test, Value::Null).await.problem(), "webhook_disabled");
    api.patch(&path, json!({ "enabled": true })).await;
    // Due in a thousand years, so that none of them is under way meanwhile.
    let waiting = format!(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
         INSERT INTO deliveries (id, webhook, event, body, occurred_at, queued_at, status, due_at)
         SELECT printf('%010d', i), '{id}', 'webhook.test', '{{}}', 0, 0, 'pending', 32503680000000 FROM n"
    );
    let mut database = super::audit::database(&api).await;
    sqlx::query(sqlx::AssertSqlSafe(waiting)).execute(&mut database).await.unwrap();
    assert_eq!(api.post(&test, Value::Null).await.problem(), "too_many_deliveries");
}
