//! The audit.

use serde_json::{Value, json};

use super::Api;
use super::harness::Relay;

fn visit(relay: &Relay<'_>, id: &str, outcome: &str) -> Value {
    let ended = (outcome != "open").then_some("2026-11-21T12:00:09.500Z");
    json!({
        "id": id, "relay": relay.id, "entrance": "gate", "source": "198.51.100.7", "source_port": 5000,
        "port": 22, "started_at": "2026-11-21T12:00:00.123Z", "ended_at": ended, "outcome": outcome,
        "code": outcome, "reason": "because", "bytes_up": 10, "bytes_down": 20,
    })
}

async fn tell(relay: &Relay<'_>, events: Value) {
    let answer = relay.post("visits", json!({ "events": events })).await;
    assert_eq!(answer.status, 204, "{}", answer.text);
}

#[tokio::test]
async fn a_visit_is_one_record_however_often_it_is_told_and_its_end_stays() {
    let api = Api::start().await;
    let relay = api.relay("relay-1").await;
    let (start, end) = (visit(&relay, "aaaaaaaaaa", "open"), visit(&relay, "aaaaaaaaaa", "ended"));
    tell(&relay, json!([start])).await;
    assert_eq!(api.get("/v1/visits/aaaaaaaaaa").await.json["outcome"], "open");
    tell(&relay, json!([end, start, start])).await;
    tell(&relay, json!([visit(&relay, "aaaaaaaaaa", "refused")])).await;
    let shown = api.get("/v1/visits/aaaaaaaaaa").await.json;
    assert_eq!(
        (&shown["outcome"], &shown["ended_at"]),
        (&json!("ended"), &json!("2026-11-21T12:00:09.500Z"))
    );
    assert_eq!(
        (&shown["bytes_down"], &shown["started_at"]),
        (&json!(20), &json!("2026-11-21T12:00:00.123Z"))
    );
    assert_eq!(api.get("/v1/visits").await.items("id").len(), 1);
    assert_eq!(api.get("/v1/visits/bbbbbbbbbb").await.problem(), "visit_not_found");
}

#[tokio::test]
async fn a_relay_writes_its_own_visits_and_no_others() {
    let api = Api::start().await;
    let (one, two) = (api.relay("relay-1").await, api.relay("relay-2").await);
    let foreign = one.post("visits", json!({ "events": [visit(&two, "aaaaaaaaaa", "open")] })).await;
    assert_eq!((foreign.status.as_u16(), foreign.problem()), (403, "foreign_visit"));
    tell(&two, json!([visit(&two, "aaaaaaaaaa", "open")])).await;
    tell(&one, json!([visit(&one, "aaaaaaaaaa", "ended")])).await;
    assert_eq!(api.get("/v1/visits/aaaaaaaaaa").await.json["outcome"], "open", "the id is the other relay's");
}

#[tokio::test]
async fn visits_are_listed_newest_first_by_every_filter() {
    let api = Api::start().await;
    let relay = api.relay("relay-1").await;
    let device = api.device("box42").await;
    let access = api.access("box42").await;
    let mut events = Vec::new();
    for number in 0..6_u32 {
        let mut event = visit(&relay, &format!("aaaaaaaaa{}", char::from(b'a' + number as u8)), "ended");
        event["started_at"] = json!(format!("2026-11-21T12:00:0{number}Z"));
        event["source"] = json!(format!("::ffff:198.51.100.{}", number % 2));
        if number < 3 {
            event["device"] = json!(device);
        }
        if number == 0 {
            event["access"] = json!(access);
            event["outcome"] = json!("refused");
        }
        events.push(event);
    }
    tell(&relay, json!(events)).await;
    let letters = |path: String| {
        let api = &api;
        async move {
            let ids = api.get(&path).await.items("id");
            ids.iter().map(|id| id.chars().last().unwrap()).collect::<String>()
        }
    };
    assert_eq!(letters("/v1/visits".into()).await, "fedcba");
    assert_eq!(letters("/v1/visits?device=box42".into()).await, "cba");
    let named = api.get("/v1/visits?device=box42").await.items("device_name");
    assert_eq!(named, ["box42"; 3], "a relay need not know a box's name");
    assert_eq!(letters(format!("/v1/visits?access={access}")).await, "a");
    assert_eq!(letters("/v1/visits?outcome=refused".into()).await, "a");
    assert_eq!(letters("/v1/visits?source=198.51.100.1".into()).await, "fdb");
    assert_eq!(
        letters("/v1/visits?since=2026-11-21T12:00:02Z&until=2026-11-21T12:00:04Z".into()).await,
        "dc"
    );
    let first = api.get("/v1/visits?limit=4").await;
    let next = first.json["next"].as_str().unwrap();
    let mut late = visit(&relay, "bbbbbbbbbb", "ended");
    late["started_at"] = json!("2026-11-21T13:00:00Z");
    tell(&relay, json!([late])).await;
    assert_eq!(letters(format!("/v1/visits?limit=4&cursor={next}")).await, "ba");
    api.delete("/v1/devices/box42").await;
    assert_eq!(letters(format!("/v1/visits?device={device}")).await, "cba", "the audit outlives the box");
    assert_eq!(api.get("/v1/visits?device=box42").await.problem(), "device_not_found");
    for query in ["source=nobody", "since=yesterday", "outcome=fine", "access=x"] {
        assert_eq!(api.get(&format!("/v1/visits?{query}")).await.problem(), "invalid_parameter", "{query}");
    }
}

#[tokio::test]
async fn long_texts_are_cut_and_long_batches_refused() {
    let api = Api::start().await;
    let relay = api.relay("relay-1").await;
    let mut event = visit(&relay, "aaaaaaaaaa", "refused");
    event["reason"] = json!(format!("\u{1b}{}", "x".repeat(5000)));
    tell(&relay, json!([event])).await;
    let reason = api.get("/v1/visits/aaaaaaaaaa").await.json["reason"].as_str().unwrap().to_owned();
    assert_eq!(reason, "x".repeat(500));
    let many = vec![visit(&relay, "bbbbbbbbbb", "ended"); 4097];
    assert_eq!(relay.post("visits", json!({ "events": many })).await.problem(), "body_too_large");
}

#[tokio::test]
async fn when_an_access_was_last_used_outlives_its_visits() {
    let api = Api::start_with(|config| config.retention.visits = 30).await;
    let relay = api.relay("relay-1").await;
    let device = api.device("box42").await;
    let access = api.access("box42").await;
    let used = async |id: &str, at: &str, outcome: &str| {
        let mut event = visit(&relay, id, outcome);
        (event["device"], event["access"], event["started_at"]) = (json!(device), json!(access), json!(at));
        tell(&relay, json!([event])).await;
        let id = access.parse().unwrap();
        let account = api.app.store.own_account(crate::author::Author::machine(api.clock.now()));
        account.last_uses(&[id]).await.unwrap().remove(&id).map(|used| used.to_rfc3339())
    };
    assert_eq!(used("aaaaaaaaaa", "2026-11-21T12:00:00Z", "refused").await, None);
    let last = Some("2026-11-21T12:00:02+00:00".to_owned());
    assert_eq!(used("bbbbbbbbbb", "2026-11-21T12:00:02Z", "open").await, last);
    assert_eq!(used("bbbbbbbbbb", "2026-11-21T12:00:02Z", "ended").await, last);
    assert_eq!(used("cccccccccc", "2026-11-21T12:00:01Z", "ended").await, last, "told late");
    api.clock.advance(chrono::TimeDelta::days(31));
    crate::retention::prune(&api.app).await.unwrap();
    assert_eq!(used("dddddddddd", "2026-11-21T12:00:00Z", "refused").await, last);
}
