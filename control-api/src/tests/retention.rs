//! Retention: what is too old goes, and the audit's chain holds all the same.

use chrono::TimeDelta;
use serde_json::json;

use super::Api;
use crate::admin;
use crate::chain::Broken;
use crate::retention::prune;

async fn started(change: impl FnOnce(&mut crate::Retention)) -> Api {
    let api = Api::start_with(|config| change(&mut config.retention)).await;
    api.relay("relay-1").await;
    api
}

async fn verify(api: &Api, head: Option<crate::Head>) -> Result<(u64, crate::Head), Broken> {
    admin::verify_audit(api.config(), head).await.unwrap()
}

#[tokio::test]
async fn visits_go_when_their_time_is_over_and_open_ones_stay() {
    let api = started(|keep| keep.visits = 30).await;
    let relay = api.relay("relay-1").await;
    let device = api.device("box42").await;
    let tell = async |id: &str, days: i64, outcome: &str| {
        let started = api.clock.now() - TimeDelta::days(days);
        let visit = json!({
            "id": id, "relay": relay.id, "entrance": "gate", "source": "192.0.2.99", "source_port": 5000,
            "device": device, "started_at": started, "outcome": outcome, "code": outcome, "reason": "",
            "bytes_up": 0, "bytes_down": 0,
        });
        assert_eq!(relay.post("visits", json!({ "events": [visit] })).await.status, 204);
    };
    tell("aaaaaaaaaa", 31, "ended").await;
    tell("bbbbbbbbbb", 31, "open").await;
    tell("cccccccccc", 29, "refused").await;
    prune(&api.app).await.unwrap();
    assert_eq!(api.get("/v1/visits").await.items("id"), ["cccccccccc", "bbbbbbbbbb"]);
    api.clock.advance(TimeDelta::days(2));
    prune(&api.app).await.unwrap();
    assert_eq!(api.get("/v1/visits").await.items("id"), ["bbbbbbbbbb"]);
}

#[tokio::test]
async fn the_chain_holds_after_its_beginning_was_pruned() {
    let api = started(|keep| keep.audit = 30).await;
    api.device("old").await;
    let (_, noted) = verify(&api, None).await.unwrap();
    prune(&api.app).await.unwrap();
    assert_eq!(verify(&api, Some(noted)).await.unwrap().1, noted, "nothing is too old yet");
    api.clock.advance(TimeDelta::days(31));
    api.device("new").await;
    prune(&api.app).await.unwrap();
    assert_eq!(api.get("/v1/audit").await.items("action"), ["audit_pruned", "device_created"]);
    let (records, head) = verify(&api, None).await.unwrap();
    assert_eq!((records, head.seq()), (2, noted.seq() + 2));
    assert_eq!(verify(&api, Some(noted)).await.unwrap().0, 2, "the head noted down is where it was cut");
    api.clock.advance(TimeDelta::days(31));
    prune(&api.app).await.unwrap();
    prune(&api.app).await.unwrap();
    assert_eq!(api.get("/v1/audit").await.items("action"), ["audit_pruned"], "only that it was pruned");
    assert_eq!(verify(&api, Some(noted)).await, Err(Broken::HeadPruned { seq: noted.seq() }));
    assert!(verify(&api, Some(head)).await.is_ok());
    api.device("newest").await;
    assert_eq!(verify(&api, None).await.unwrap().0, 2);
}

#[tokio::test]
async fn what_is_kept_for_good_stays() {
    let api = started(|keep| (keep.visits, keep.audit, keep.events, keep.deliveries) = (0, 0, 0, 0)).await;
    let before = verify(&api, None).await.unwrap();
    api.clock.advance(TimeDelta::days(10_000));
    prune(&api.app).await.unwrap();
    assert_eq!(verify(&api, None).await.unwrap(), before);
}

#[tokio::test]
async fn many_records_go_in_several_steps() {
    let api = started(|keep| keep.audit = 1).await;
    let store = &api.app.store;
    let account = store.own_account(crate::author::Author::machine(api.clock.now()));
    for _ in 0..1100 {
        let token = crate::record::TokenRecord {
            id: postern_protocol::id::TokenId::from_entropy(crate::entropy::entropy()),
            name: "many".to_owned(),
            role: postern_protocol::api::Role::Viewer,
            admin: false,
            devices: None,
            created_at: api.clock.now(),
            expires_at: None,
        };
        account.add_token(&token, &crate::entropy::secret("pst")).await.unwrap();
    }
    api.clock.advance(TimeDelta::days(2));
    prune(&api.app).await.unwrap();
    let (records, _) = verify(&api, None).await.unwrap();
    assert!(records <= 2, "{records}");
}

#[tokio::test]
async fn what_waits_for_a_disabled_webhook_goes_like_what_was_given_up() {
    let api = started(|keep| keep.deliveries = 30).await;
    let id = api.post("/v1/webhooks", json!({ "url": "https://localhost:1/" })).await.id();
    api.patch(&format!("/v1/webhooks/{id}"), json!({ "enabled": false })).await;
    let waiting = format!(
        "INSERT INTO deliveries (id, webhook, event, body, occurred_at, queued_at, status, due_at)
         VALUES ('aaaaaaaaaa', '{id}', 'webhook.test', '{{}}', 0, 0, 'pending', 0)"
    );
    let mut database = super::audit::database(&api).await;
    sqlx::query(sqlx::AssertSqlSafe(waiting)).execute(&mut database).await.unwrap();
    let list = format!("/v1/webhooks/{id}/deliveries");
    assert_eq!(api.get(&list).await.items("id"), ["aaaaaaaaaa"]);
    prune(&api.app).await.unwrap();
    assert_eq!(api.get(&list).await.items("id"), [""; 0]);
}
