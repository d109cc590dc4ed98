//! An API to test, and those who use it: a person's program, and a relay.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use postern_protocol::api::Role;
use postern_protocol::secret::Secret;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::admin::TokenTerms;
use crate::clock::Clock;
use crate::config::Config;
use crate::http::Shared;
use crate::{admin, bind_at};

/// A public key that opens accesses.
pub(super) const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJbeKqVn1gKLBdvnCCwLGcyXSbLu4MaXGaFBmLdpXJTN me@laptop";

mod declared;
mod relay;

pub(super) use relay::{FeedReader, Relay, csr, facts, hello, join_token, seen};

/// Nothing here takes as long; what does has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running API and a token for it.
pub(super) struct Api {
    pub(super) app: Shared,
    pub(super) clock: Clock,
    pub(super) address: SocketAddr,
    pub(super) token: Secret,
    config: Config,
    temp: Option<TempDir>,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<anyhow::Result<()>>,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) text: String,
    pub(super) json: Value,
}

impl Api {
    /// A new API with an empty state directory.
    pub(super) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// The same, with other settings.
    pub(super) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let mut config = Config {
            state_dir: temp.path().join("state"),
            listen: "127.0.0.1:0".parse().unwrap(),
            ..Config::default()
        };
        change(&mut config);
        let token = admin::create_token(&config, &TokenTerms::everything("test")).await.unwrap();
        Self::run(config, Clock::default(), token, temp, |_| {}).await
    }

    /// A new API whose `?wait=active` gives up at once.
    pub(super) async fn start_impatient() -> Self {
        let api = Self::start().await;
        api.restart_with(|app| app.patience = Duration::ZERO).await
    }

    /// Stops this one and starts another on the same state.
    pub(super) async fn restart(self) -> Self {
        self.restart_with(|_| {}).await
    }

    async fn restart_with(mut self, change: impl FnOnce(&mut crate::http::App)) -> Self {
        self.stop().await;
        let temp = self.temp.take().unwrap();
        Self::run(self.config.clone(), self.clock.clone(), self.token.clone(), temp, change).await
    }

    async fn run(
        config: Config,
        clock: Clock,
        token: Secret,
        temp: TempDir,
        change: impl FnOnce(&mut crate::http::App),
    ) -> Self {
        let mut bound = bind_at(config.clone(), clock.clone()).await.unwrap();
        change(Arc::get_mut(&mut bound.app).expect("it does not run yet"));
        let (app, address) = (bound.app.clone(), bound.address());
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(bound.run(async {
            let _ = stopped.await;
        }));
        Self { app, clock, address, token, config, temp: Some(temp), stop: Some(stop), running }
    }

    /// Stops it as a service manager does.
    pub(super) async fn stop(&mut self) {
        let _ = self.stop.take().map(|stop| stop.send(()));
        let ended = tokio::time::timeout(PATIENCE, &mut self.running).await;
        ended.expect("it stops in time").expect("it does not panic").expect("it stops cleanly");
    }

    pub(super) fn state_dir(&self) -> &Path {
        &self.config.state_dir
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, None, &[]).await
    }

    pub(super) async fn post(&self, path: &str, body: Value) -> Answer {
        self.ask("POST", path, Some(body), &[]).await
    }

    pub(super) async fn patch(&self, path: &str, body: Value) -> Answer {
        self.ask("PATCH", path, Some(body), &[]).await
    }

    pub(super) async fn delete(&self, path: &str) -> Answer {
        self.ask("DELETE", path, None, &[]).await
    }

    /// Asks with the token, with other headers, with a body of JSON.
    pub(super) async fn ask(
        &self,
        method: &str,
        path: &str,
        body: Option<Value>,
        headers: &[(&str, &str)],
    ) -> Answer {
        let bearer = format!("Bearer {}", self.token.reveal());
        let mut all = vec![("authorization", bearer.as_str())];
        all.extend(headers);
        self.raw(method, path, body.map(|body| body.to_string()), &all).await
    }

    /// Asks with these headers only.
    pub(super) async fn raw(
        &self,
        method: &str,
        path: &str,
        body: Option<String>,
        headers: &[(&str, &str)],
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, "api");
        if body.is_some() && headers.iter().all(|(name, _)| *name != "content-type") {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body.map_or_else(Body::empty, Body::from)).unwrap();
        let answer = Answer::of(send(self.address, request).await).await;
        declared::check(method, path, &answer);
        answer
    }

    /// A box that nobody has joined with yet; its id.
    pub(super) async fn device(&self, name: &str) -> String {
        let answer = self.post("/v1/devices", json!({ "name": name })).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        answer.id()
    }

    /// An access on port 443 for everybody at one address; its id.
    pub(super) async fn access(&self, device: &str) -> String {
        let answer = self.post("/v1/accesses", json!({ "device": device, "exposed_port": 443 })).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        answer.id()
    }

    /// A relay that has said hello.
    pub(super) async fn relay(&self, name: &str) -> Relay<'_> {
        let relay = admin::ensure_relay(&self.config, name).await.unwrap();
        let relay = Relay { api: self, id: relay.relay.to_string(), token: relay.token };
        let hello = relay.post("hello", hello(name)).await;
        assert_eq!(hello.status, 200, "{}", hello.text);
        relay
    }
}

/// What the first user of a test signs in with.
pub(super) const OWNER: (&str, &str) = ("owner@example.com", "a long enough password");

impl Api {
    /// A new token of this role, as a line of a request's head.
    pub(super) async fn bearer_of(&self, role: Role, admin: bool) -> String {
        let terms = TokenTerms { role, admin, ..TokenTerms::everything("other") };
        let token = admin::create_token(&self.config, &terms).await.unwrap();
        format!("Authorization: Bearer {}\r\n", token.reveal())
    }

    /// A session of the first user, who is made if there is none: the cookie that a browser sends.
    pub(super) async fn session(&self) -> String {
        if !self
            .app
            .store
            .own_account(crate::author::Author::machine(self.clock.now()))
            .has_owner()
            .await
            .unwrap()
        {
            let link = admin::invite_an_owner(&self.config).await.unwrap();
            let token = link.reveal().split_once('#').unwrap().1;
            let body = json!({ "token": token, "name": OWNER.0, "password": OWNER.1 });
            let answer = self.raw("POST", "/v1/setup", Some(body.to_string()), &[]).await;
            assert_eq!(answer.status, 201, "{}", answer.text);
            return answer.cookie();
        }
        self.sign_in(OWNER.0, OWNER.1).await.cookie()
    }

    /// Signs in as a program would that keeps cookies.
    pub(super) async fn sign_in(&self, name: &str, password: &str) -> Answer {
        let body = json!({ "name": name, "password": password });
        self.raw("POST", "/v1/session", Some(body.to_string()), &[]).await
    }

    /// Asks as a page of the API's own does, with a session's cookie.
    pub(super) async fn browse(&self, method: &str, path: &str, cookie: &str, body: Option<Value>) -> Answer {
        let headers = [("cookie", cookie), ("sec-fetch-site", "same-origin")];
        self.raw(method, path, body.map(|body| body.to_string()), &headers).await
    }
}

impl Answer {
    /// The cookie that a browser keeps of this answer, without its attributes.
    pub(super) fn cookie(&self) -> String {
        self.header("set-cookie").split(';').next().unwrap().to_owned()
    }

    async fn of(response: axum::http::Response<Body>) -> Self {
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, usize::MAX).await.unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let json = serde_json::from_str(&text).unwrap_or(Value::Null);
        Self { status: parts.status, headers: parts.headers, text, json }
    }

    pub(super) fn id(&self) -> String {
        self.json["id"].as_str().unwrap_or_else(|| panic!("no id in {}", self.text)).to_owned()
    }

    /// The code of a problem, which must be a whole problem document.
    pub(super) fn problem(&self) -> &str {
        assert_eq!(self.headers["content-type"], "application/problem+json", "{}", self.text);
        assert_eq!(self.json["status"], self.status.as_u16());
        let code = self.json["code"].as_str().unwrap();
        assert_eq!(self.json["type"], format!("/problems/{code}"));
        assert!(!self.json["title"].as_str().unwrap().is_empty());
        assert!(!self.json["detail"].as_str().unwrap().is_empty());
        code
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    /// One field of each item of a page.
    pub(super) fn items(&self, field: &str) -> Vec<String> {
        let items = self.json["items"].as_array().unwrap_or_else(|| panic!("no page: {}", self.text));
        items.iter().map(|item| item[field].as_str().unwrap().to_owned()).collect()
    }
}

async fn send(to: SocketAddr, request: Request<Body>) -> axum::http::Response<Body> {
    let stream = TcpStream::connect(to).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let response = tokio::time::timeout(PATIENCE, sender.send_request(request)).await;
    response.expect("an answer in time").expect("an answer").map(Body::new)
}
