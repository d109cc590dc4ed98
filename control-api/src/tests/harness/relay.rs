//! A relay, as the API meets it, and the boxes behind it.

use axum::body::{Body, BodyDataStream};
use axum::http::{Request, header};
use data_encoding::BASE64;
use futures_util::StreamExt;
use postern_protocol::api::{FEED_CUTS, FEED_UNDERSTANDS, FeedLine};
use postern_protocol::grant::{GrantVerifier, Grants};
use postern_protocol::secret::Secret;
use serde_json::{Value, json};

use super::{Answer, Api, KEY, PATIENCE, send};

/// A relay, speaking as relays do.
pub(in crate::tests) struct Relay<'a> {
    pub(super) api: &'a Api,
    pub(in crate::tests) id: String,
    pub(in crate::tests) token: Secret,
}

impl Relay<'_> {
    pub(in crate::tests) async fn post(&self, what: &str, body: Value) -> Answer {
        let bearer = format!("Bearer {}", self.token.reveal());
        let path = format!("/v1/relay/{what}");
        self.api.raw("POST", &path, Some(body.to_string()), &[("authorization", &bearer)]).await
    }

    /// Tells of a visit to a box, by this id and in this state, with as many bytes each way as the state
    /// has letters; its id.
    pub(in crate::tests) async fn visit(&self, device: &str, id: &str, outcome: &str) -> String {
        let bytes = outcome.len();
        let visit = json!({
            "id": id, "relay": self.id, "entrance": "gate", "source": "192.0.2.99", "source_port": 5000,
            "device": device, "started_at": "2026-11-21T12:00:00Z", "outcome": outcome, "code": outcome,
            "reason": "because", "bytes_up": bytes, "bytes_down": bytes,
        });
        assert_eq!(self.post("visits", json!({ "events": [visit] })).await.status, 204);
        id.to_owned()
    }

    /// Opens the feed.
    pub(in crate::tests) async fn feed(&self) -> FeedReader {
        let request = Request::get("/v1/relay/feed")
            .header(header::HOST, "api")
            .header(FEED_UNDERSTANDS, FEED_CUTS)
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token.reveal()));
        let response = send(self.api.address, request.body(Body::empty()).unwrap()).await;
        assert_eq!(response.status(), 200);
        let verifier = self.api.app.signer.verifier();
        FeedReader { body: response.into_body().into_data_stream(), rest: Vec::new(), verifier }
    }

    /// Reports the rules in force and one box.
    pub(in crate::tests) async fn report(&self, in_force: u64, device: &str, holding: u64) {
        self.report_all(in_force, true, json!([seen(device, holding)])).await;
    }

    pub(in crate::tests) async fn report_all(&self, in_force: u64, complete: bool, boxes: Value) {
        let report = json!({ "in_force": in_force, "complete": complete, "boxes": boxes });
        let answer = self.post("presence", report).await;
        assert_eq!(answer.status, 204, "{}", answer.text);
    }

    /// A box joins through this relay with a token and a new key; the key and the answer.
    pub(in crate::tests) async fn join(&self, token: &Secret) -> (rcgen::KeyPair, Answer) {
        let key = rcgen::KeyPair::generate().unwrap();
        let answer = self.join_with(token, &key).await;
        (key, answer)
    }

    pub(in crate::tests) async fn join_with(&self, token: &Secret, key: &rcgen::KeyPair) -> Answer {
        self.post("join", json!({ "token": token.reveal(), "csr": csr(key), "facts": facts() })).await
    }
}

/// A box, as its relay reports it.
pub(in crate::tests) fn seen(device: &str, holding: u64) -> Value {
    json!({ "device": device, "online": true, "since": "2026-01-01T00:00:00Z", "address": "192.0.2.7:5000", "holding": holding })
}

/// What a box says of itself.
pub(in crate::tests) fn facts() -> Value {
    json!({
        "agent_version": "1.0", "hostname": "box42.lan", "platform": "linux/aarch64",
        "ssh": { "kind": "system", "version": "OpenSSH_9.2p1", "port": 22,
                 "host_keys": [KEY.rsplit_once(' ').unwrap().0] },
        "services": [], "default_login": "root", "paused": false,
    })
}

/// A signing request for a key, as it travels.
pub(in crate::tests) fn csr(key: &rcgen::KeyPair) -> String {
    BASE64.encode(rcgen::CertificateParams::default().serialize_request(key).unwrap().der())
}

/// The token in a join string.
pub(in crate::tests) fn join_token(answer: &Answer) -> Secret {
    let string =
        answer.json["join"]["string"].as_str().unwrap_or_else(|| panic!("no join in {}", answer.text));
    string.parse::<postern_protocol::join::JoinString>().unwrap().token
}

/// A feed, read line by line.
pub(in crate::tests) struct FeedReader {
    body: BodyDataStream,
    rest: Vec<u8>,
    verifier: GrantVerifier,
}

impl FeedReader {
    /// What the API's signatures are checked with.
    pub(in crate::tests) fn verifier(&self) -> &GrantVerifier {
        &self.verifier
    }

    /// The next line; nothing when the feed has ended.
    pub(in crate::tests) async fn line(&mut self) -> Option<FeedLine> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            let piece = tokio::time::timeout(PATIENCE, self.body.next()).await.expect("the feed speaks")?;
            self.rest.extend(piece.ok()?);
        }
    }

    /// The lines up to the next commit, shortened for comparing, without heartbeats, and its revision.
    pub(in crate::tests) async fn commit(&mut self) -> (Vec<String>, u64) {
        let mut lines = Vec::new();
        loop {
            match self.line().await.expect("the feed goes on") {
                FeedLine::Heartbeat => {}
                FeedLine::Commit { revision } => return (lines, revision),
                FeedLine::Snapshot => lines.push("snapshot".to_owned()),
                FeedLine::Gone { device } => lines.push(format!("gone {device}")),
                FeedLine::Cut { visit } => lines.push(format!("cut {visit}")),
                FeedLine::Box { device, grants, .. } => {
                    let grants = grants.verify(&self.verifier).expect("the API's signature");
                    assert_eq!(grants.device, device);
                    lines.push(format!("box {}", grants.name));
                }
            }
        }
    }

    /// The document of the next box, and its key.
    pub(in crate::tests) async fn grants(&mut self) -> (Grants, Option<String>) {
        loop {
            if let FeedLine::Box { grants, key, .. } = self.line().await.expect("the feed goes on") {
                return (grants.verify(&self.verifier).unwrap(), key);
            }
        }
    }
}

/// What a relay with a TLS front says when it has started.
pub(in crate::tests) fn hello(name: &str) -> Value {
    json!({
        "version": "1.2.3",
        "gate": { "host": format!("{name}.example.com"), "port": 2222, "host_keys": [
            { "key": KEY.rsplit_once(' ').unwrap().0, "fingerprint": "SHA256:never-believed" }] },
        "agents": format!("{name}.example.com:4433"),
        "web": { "domain": format!("{name}.example.com"), "port": 443 },
    })
}
