//! Waiting until an access works.

use postern_protocol::api::FeedLine;
use serde_json::{Value, json};

use super::Api;
use super::harness::{FeedReader, Relay, join_token, seen};

fn wanted() -> Value {
    json!({ "device": "box42", "exposed_port": 443 })
}

async fn joined_box(api: &Api, relay: &Relay<'_>) -> String {
    let created = api.post("/v1/devices", json!({ "name": "box42" })).await;
    relay.join(&join_token(&created)).await;
    created.id()
}

fn progress(answer: &super::harness::Answer) -> Vec<&str> {
    let progress = answer.json["progress"].as_array().map(Vec::as_slice).unwrap_or_default();
    progress.iter().map(|place| place["what"].as_str().unwrap()).collect()
}

/// Enforces whatever comes, as a relay with an online box does: first itself, then the box.
async fn enforce(relay: &Relay<'_>, mut feed: FeedReader, device: &str) {
    while let Some(line) = feed.line().await {
        if let FeedLine::Commit { revision } = line {
            relay.report_all(revision, false, json!([seen(device, 0)])).await;
            relay.report_all(revision, false, json!([seen(device, revision)])).await;
        }
    }
}

#[tokio::test]
async fn the_answer_comes_when_the_rule_is_in_force_everywhere_and_says_how_it_got_there() {
    let api = Api::start().await;
    let (one, two) = (api.relay("relay-1").await, api.relay("relay-2").await);
    let device = joined_box(&api, &one).await;
    one.report(0, &device, 0).await;
    let (feed, mut other) = (one.feed().await, two.feed().await);
    let revision = other.commit().await.1;
    two.report_all(revision, true, json!([])).await;
    let asked = api.post("/v1/accesses?wait=active", wanted());
    let other = async {
        let (_, revision) = other.commit().await;
        two.report_all(revision, false, json!([])).await;
        std::future::pending::<()>().await;
    };
    let answer = tokio::select! {
        answer = asked => answer,
        () = enforce(&one, feed, &device) => unreachable!("the feed does not end"),
        () = other => unreachable!(),
    };
    assert_eq!((answer.status.as_u16(), &answer.json["status"]), (201, &json!("active")), "{}", answer.text);
    let mut places = progress(&answer);
    assert_eq!(places[0], "rule signed");
    places.sort_unstable();
    assert_eq!(places, ["box42 has it", "in force on relay-1", "in force on relay-2", "rule signed"]);
    let reason = answer.json["status_reason"].as_str().unwrap();
    assert!(reason.starts_with("in force on relay-") && reason.ends_with("and on box42"), "{reason}");
}

#[tokio::test]
async fn what_waiting_would_not_help_is_answered_at_once() {
    let api = Api::start().await;
    let relay = api.relay("relay-1").await;
    let created = api.post("/v1/devices", json!({ "name": "box42" })).await;
    let reason = || async {
        let answer = api.post("/v1/accesses?wait=active", wanted()).await;
        assert_eq!(answer.json["status"], "pending");
        answer.json["status_reason"].as_str().unwrap().to_owned()
    };
    assert!(reason().await.contains("has not joined yet"));
    relay.join(&join_token(&created)).await;
    assert!(reason().await.contains("box42 is offline"));
    relay.report(0, &created.id(), 0).await;
    assert_eq!(reason().await, "no relay is connected to the control API");
    let _feed = relay.feed().await;
    let mut paused = seen(&created.id(), 0);
    paused["facts"] = super::harness::facts();
    paused["facts"]["paused"] = json!(true);
    relay.report_all(0, false, json!([paused])).await;
    assert_eq!(reason().await, "box42 is paused by its owner");
}

#[tokio::test]
async fn patience_ends_and_the_answer_says_what_is_missing() {
    let api = Api::start_impatient().await;
    let relay = api.relay("relay-1").await;
    let device = joined_box(&api, &relay).await;
    relay.report(0, &device, 0).await;
    let _feed = relay.feed().await;
    let answer = api.post("/v1/accesses?wait=active", wanted()).await;
    assert_eq!(answer.json["status_reason"], "not yet in force on relay-1");
    relay.report(u64::MAX >> 1, &device, 0).await;
    let answer = api.post("/v1/accesses?wait=active", wanted()).await;
    assert_eq!(answer.json["status_reason"], "box42 has not confirmed the rule yet");
    assert_eq!(progress(&answer), ["rule signed", "in force on relay-1"]);
}

#[tokio::test]
async fn a_repeated_request_waits_for_the_same_access() {
    let api = Api::start_impatient().await;
    let relay = api.relay("relay-1").await;
    let device = joined_box(&api, &relay).await;
    relay.report(0, &device, 0).await;
    let _feed = relay.feed().await;
    let ask = || api.ask("POST", "/v1/accesses?wait=active", Some(wanted()), &[("idempotency-key", "k1")]);
    let pending = ask().await;
    assert_eq!(pending.json["status"], "pending");
    relay.report(u64::MAX >> 1, &device, u64::MAX >> 1).await;
    let active = ask().await;
    assert_eq!((active.id(), &active.json["status"]), (pending.id(), &json!("active")));
    assert_eq!(ask().await.text, active.text, "and from then on the answer is the same");
    assert_eq!(api.get("/v1/accesses").await.items("id").len(), 1);
}

#[tokio::test]
async fn other_things_to_wait_for_are_not_known() {
    let api = Api::start().await;
    assert_eq!(api.post("/v1/accesses?wait=forever", wanted()).await.problem(), "invalid_parameter");
}
