//! What relays are told, and when.

use chrono::TimeDelta;
use postern_protocol::api::FeedLine;
use serde_json::json;

use super::Api;
use super::harness::join_token;
use crate::admin;

#[tokio::test]
async fn a_feed_begins_with_everything_and_goes_on_with_what_changes() {
    let api = Api::start().await;
    let relay = api.relay("relay-1").await;
    api.device("joined-by-nobody").await;
    let device = api.device("box42").await;
    let mut feed = relay.feed().await;
    let (mut lines, first) = feed.commit().await;
    lines[1..].sort();
    assert_eq!(lines, ["snapshot", "box box42", "box joined-by-nobody"]);
    let access = api.access("box42").await;
    let (lines, second) = feed.commit().await;
    assert_eq!(lines, ["box box42"], "and nothing of the other box");
    assert!(second > first);
    api.delete(&format!("/v1/accesses/{access}")).await;
    assert_eq!(feed.commit().await.0, ["box box42"]);
    api.patch("/v1/devices/box42", json!({ "name": "box43" })).await;
    assert_eq!(feed.commit().await.0, ["box box43"]);
    api.delete("/v1/devices/box43").await;
    assert_eq!(feed.commit().await.0, [format!("gone {device}")]);
    assert_eq!(relay.feed().await.commit().await.0, ["snapshot", "box joined-by-nobody"]);
}

#[tokio::test]
async fn documents_carry_what_lives_and_what_ended_lately() {
    let api = Api::start().await;
    let relay = api.relay("relay-1").await;
    api.device("box42").await;
    let mut feed = relay.feed().await;
    feed.commit().await;
    let access = api
        .post(
            "/v1/accesses",
            json!({ "device": "box42", "exposed_port": 443, "allowed_ips": ["::ffff:192.0.2.1"] }),
        )
        .await;
    let (grants, key) = feed.grants().await;
    assert_eq!((grants.grants.len(), key), (1, None));
    assert_eq!(grants.revision, access.json["revision"].as_u64().unwrap());
    assert_eq!(grants.lease_until - grants.signed_at, TimeDelta::hours(12));
    assert_eq!(grants.grants[0].allowed.to_string(), "192.0.2.1/32");
    assert_eq!(
        grants.grants[0].expires_at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
        access.json["expires_at"]
    );
    api.delete(&format!("/v1/accesses/{}", access.id())).await;
    let (grants, _) = feed.grants().await;
    assert!(grants.grants[0].revoked, "its holder can be told");
    api.clock.advance(TimeDelta::days(8));
    api.access("box42").await;
    let (grants, _) = feed.grants().await;
    assert_eq!(grants.grants.len(), 1, "for a week");
    assert!(!grants.grants[0].revoked);
}

#[tokio::test]
async fn the_key_that_a_box_enrolled_with_is_in_the_feed_as_soon_as_it_joins() {
    let api = Api::start().await;
    let relay = api.relay("relay-1").await;
    let created = api.post("/v1/devices", json!({ "name": "box42" })).await;
    let mut feed = relay.feed().await;
    assert_eq!(feed.grants().await.1, None);
    let (key, _) = relay.join(&join_token(&created)).await;
    let expected = data_encoding::HEXLOWER
        .encode(&crate::ca::sha256(&rcgen::PublicKeyData::subject_public_key_info(&key)));
    assert_eq!(feed.grants().await.1, Some(expected));
}

#[tokio::test]
async fn a_lease_that_is_half_over_is_renewed_with_the_same_revision() {
    let api = Api::start().await;
    let relay = api.relay("relay-1").await;
    api.device("box42").await;
    let mut feed = relay.feed().await;
    let (first, _) = feed.grants().await;
    api.clock.advance(TimeDelta::hours(6));
    let (renewed, _) = feed.grants().await;
    assert!(renewed.supersedes(&first) && renewed.revision == first.revision);
    assert!(renewed.lease_until >= first.lease_until + TimeDelta::hours(6));
    assert!(matches!(feed.line().await, Some(FeedLine::Commit { .. })));
}

#[tokio::test]
async fn a_relay_that_is_removed_or_gets_another_token_is_told_nothing_more() {
    let api = Api::start().await;
    let relay = api.relay("relay-1").await;
    let mut feed = relay.feed().await;
    feed.commit().await;
    let rotated = admin::ensure_relay(api.config(), "relay-1").await.unwrap();
    assert_eq!(rotated.relay.to_string(), relay.id, "it is the same relay");
    while feed.line().await.is_some() {}
    assert_eq!(relay.post("hello", super::harness::hello("relay-1")).await.problem(), "unauthorized");
    let relay = api.relay("relay-2").await;
    let mut feed = relay.feed().await;
    feed.commit().await;
    assert_eq!(api.delete("/v1/relays/relay-2").await.status, 204);
    while feed.line().await.is_some() {}
    assert_eq!(api.get("/v1/relays").await.items("name"), ["relay-1"]);
}

#[tokio::test]
async fn a_newer_feed_takes_the_place_of_an_older_one() {
    let api = Api::start().await;
    let relay = api.relay("relay-1").await;
    api.device("box42").await;
    let mut older = relay.feed().await;
    older.commit().await;
    let mut newer = relay.feed().await;
    newer.commit().await;
    api.access("box42").await;
    assert_eq!(newer.commit().await.0, ["box box42"]);
    while older.line().await.is_some() {}
    assert_eq!(
        api.get("/v1/relays/relay-1").await.json["connected"],
        true,
        "the end of the older ends not the newer"
    );
}

#[tokio::test]
async fn a_relay_is_connected_while_it_follows_and_reports() {
    let api = Api::start().await;
    let relay = api.relay("relay-1").await;
    let shown = || async { api.get("/v1/relays/relay-1").await.json };
    assert_eq!(shown().await["connected"], false);
    api.device("box42").await;
    let mut bell = api.app.store.presence_bell();
    let mut feed = relay.feed().await;
    let (_, revision) = feed.commit().await;
    let relay_now = shown().await;
    assert_eq!((&relay_now["connected"], &relay_now["version"]), (&json!(true), &json!("1.2.3")));
    assert!(relay_now["revision_in_force"].as_u64() < relay_now["revision"].as_u64());
    relay.report_all(revision, true, json!([])).await;
    assert_eq!(shown().await["revision_in_force"], revision);
    bell.mark_unchanged();
    drop(feed);
    bell.changed().await.unwrap();
    assert_eq!(shown().await["connected"], false);
}

#[tokio::test]
async fn a_stop_ends_feeds_and_leaves_nothing_behind() {
    let mut api = Api::start().await;
    let mut feed = {
        let relay = api.relay("relay-1").await;
        relay.feed().await
    };
    feed.commit().await;
    assert!(api.state_dir().join("listening.json").exists());
    api.stop().await;
    while feed.line().await.is_some() {}
    assert!(!api.state_dir().join("listening.json").exists());
}

#[tokio::test]
async fn what_another_process_changed_is_told_too() {
    let api = Api::start().await;
    let relay = api.relay("relay-1").await;
    let other = api.relay("relay-2").await;
    let mut feed = relay.feed().await;
    feed.commit().await;
    drop(other);
    let store = crate::setup::Installation::open(api.config(), &api.clock).await.unwrap().store;
    let device = api.device("box42").await;
    feed.commit().await;
    store
        .own_account(crate::author::Author::machine(api.clock.now()))
        .delete_device(device.parse().unwrap(), api.clock.now())
        .await
        .unwrap();
    assert_eq!(feed.commit().await.0, [format!("gone {device}")]);
}

#[tokio::test]
async fn more_boxes_than_one_piece_holds_are_one_picture_all_the_same() {
    let api = Api::start().await;
    let relay = api.relay("relay-1").await;
    for number in 0..150 {
        api.device(&format!("box{number}")).await;
    }
    let (lines, _) = relay.feed().await.commit().await;
    assert_eq!(lines.len(), 151);
}
