//! Ending one visit: its relay is told, and tells when it is over.

use postern_protocol::api::FeedLine;
use serde_json::json;

use super::Api;
use super::harness::{FeedReader, Relay};

const VISIT: &str = "vvvvvvvvvv";

/// The visit that the relay is told to end next.
async fn cut(feed: &mut FeedReader) -> String {
    loop {
        if let FeedLine::Cut { visit } = feed.line().await.expect("the feed goes on") {
            return visit.to_string();
        }
    }
}

async fn outcome(api: &Api) -> String {
    api.get(&format!("/v1/visits/{VISIT}")).await.json["outcome"].as_str().unwrap().to_owned()
}

/// A relay, at whose doors somebody is who visits a box.
async fn visited(api: &Api) -> Relay<'_> {
    let relay = api.relay("relay-1").await;
    relay.visit(&api.device("box42").await, VISIT, "open").await;
    relay
}

#[tokio::test]
async fn a_cut_is_answered_when_the_relay_has_ended_the_visit() {
    let api = Api::start().await;
    let relay = visited(&api).await;
    let device = api.get("/v1/devices/box42").await.id();
    let mut feed = relay.feed().await;
    let path = format!("/v1/visits/{VISIT}");
    let (answer, ()) = tokio::join!(api.delete(&path), async {
        assert_eq!(cut(&mut feed).await, VISIT);
        assert_eq!(outcome(&api).await, "open");
        relay.visit(&device, VISIT, "ended").await;
    });
    assert_eq!(answer.status, 204, "{}", answer.text);
    assert_eq!(outcome(&api).await, "ended");
    assert_eq!(api.delete(&path).await.status, 204, "once over, it stays over");
    assert_eq!(api.get("/v1/audit?action=visit_cut").await.items("subject"), [VISIT], "once");
}

#[tokio::test]
async fn a_relay_that_is_away_is_told_when_it_comes_back() {
    let api = Api::start().await;
    let relay = visited(&api).await;
    let answer = api.delete(&format!("/v1/visits/{VISIT}")).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    assert_eq!(answer.json["outcome"], "open");
    let mut feed = relay.feed().await;
    assert_eq!(cut(&mut feed).await, VISIT);
    let mut again = relay.feed().await;
    assert_eq!(cut(&mut again).await, VISIT, "until it has told the end");
    relay.visit(&api.get("/v1/devices/box42").await.id(), VISIT, "ended").await;
    let pending = api.app.store.pending_cuts(relay.id.parse().unwrap()).await.unwrap();
    assert_eq!(pending, []);
}

#[tokio::test]
async fn another_relay_hears_nothing_of_it() {
    let api = Api::start().await;
    visited(&api).await;
    let other = api.relay("relay-2").await;
    api.delete(&format!("/v1/visits/{VISIT}")).await;
    assert_eq!(api.app.store.pending_cuts(other.id.parse().unwrap()).await.unwrap(), []);
}

#[tokio::test]
async fn bytes_of_a_visit_that_goes_on_only_rise() {
    let api = Api::start().await;
    let relay = visited(&api).await;
    let tell = async |bytes: u64, outcome: &str| {
        let visit = json!({
            "id": VISIT, "relay": relay.id, "entrance": "gate", "source": "192.0.2.99", "source_port": 5000,
            "started_at": "2026-11-21T12:00:00Z", "outcome": outcome, "code": outcome, "reason": "",
            "bytes_up": bytes, "bytes_down": bytes,
        });
        assert_eq!(relay.post("visits", json!({ "events": [visit] })).await.status, 204);
        api.get(&format!("/v1/visits/{VISIT}")).await.json["bytes_up"].as_u64().unwrap()
    };
    assert_eq!(tell(1000, "open").await, 1000);
    assert_eq!(tell(0, "open").await, 1000, "the start comes late");
    assert_eq!(tell(2000, "ended").await, 2000);
    assert_eq!(tell(1500, "open").await, 2000, "what comes after the end changes nothing");
    assert_eq!(outcome(&api).await, "ended");
}

#[tokio::test]
async fn nobody_cuts_a_visit_that_is_not_there_or_without_the_role() {
    let api = Api::start().await;
    assert_eq!(api.delete("/v1/visits/aaaaaaaaaa").await.problem(), "visit_not_found");
    let viewer = api.bearer_of(postern_protocol::api::Role::Viewer, false).await;
    let viewer = viewer.trim().split_once(": ").unwrap().1;
    let answer = api.raw("DELETE", "/v1/visits/aaaaaaaaaa", None, &[("authorization", viewer)]).await;
    assert_eq!(answer.problem(), "forbidden");
}

#[tokio::test]
async fn the_visits_of_a_relay_that_is_removed_are_over() {
    let api = Api::start().await;
    let relay = visited(&api).await;
    let device = api.get("/v1/devices/box42").await.id();
    relay.visit(&device, "wwwwwwwwww", "ended").await;
    let other = api.relay("relay-2").await;
    other.visit(&device, "xxxxxxxxxx", "open").await;
    assert_eq!(api.delete(&format!("/v1/visits/{VISIT}")).await.status, 202);
    let path = format!("/v1/relays/{}", relay.id);
    assert_eq!(api.delete(&path).await.status, 204);
    let over = api.get(&format!("/v1/visits/{VISIT}")).await.json;
    assert_eq!((&over["outcome"], &over["code"]), (&json!("ended"), &json!("relay_removed")));
    assert!(over["ended_at"].is_string(), "{over}");
    let earlier = api.get("/v1/visits/wwwwwwwwww").await.json;
    assert_eq!(earlier["code"], "ended", "what was over stays as it was told");
    assert_eq!(api.get("/v1/visits?outcome=open").await.items("id"), ["xxxxxxxxxx"]);
    assert_eq!(api.app.store.pending_cuts(relay.id.parse().unwrap()).await.unwrap(), []);
    assert_eq!(api.delete(&format!("/v1/visits/{VISIT}")).await.status, 204, "there is nothing to cut");
}
