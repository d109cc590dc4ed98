//! Boxes, and whether they are there.

use serde_json::json;

use super::Api;

#[tokio::test]
async fn a_box_is_created_shown_by_id_and_name_renamed_and_deleted() {
    let api = Api::start().await;
    let _relay = api.relay("relay-1").await;
    let created = api.post("/v1/devices", json!({ "name": "box42" })).await;
    assert_eq!(
        (created.status.as_u16(), created.header("location")),
        (201, &*format!("/v1/devices/{}", created.id()))
    );
    let command = created.json["join"]["command"].as_str().unwrap();
    assert!(command.starts_with("postern-agent join postern-join-2-"), "{command}");
    for path in [created.id(), "box42".to_owned()] {
        let shown = api.get(&format!("/v1/devices/{path}")).await;
        assert_eq!((shown.id(), shown.json["status"].as_str()), (created.id(), Some("waiting_to_join")));
        assert!(shown.json.get("join").is_none(), "a join string is shown once");
    }
    let renamed = api.patch("/v1/devices/box42", json!({ "name": "box43" })).await;
    assert_eq!((renamed.status.as_u16(), renamed.json["name"].as_str()), (200, Some("box43")));
    assert_eq!(api.get("/v1/devices/box42").await.problem(), "device_not_found");
    assert_eq!(api.delete("/v1/devices/box43").await.status, 204);
    assert_eq!(api.get(&format!("/v1/devices/{}", created.id())).await.problem(), "device_not_found");
    assert_eq!(api.delete(&format!("/v1/devices/{}", created.id())).await.status, 204, "again");
    assert_eq!(api.delete("/v1/devices/box43").await.problem(), "device_not_found", "the name is free");
    api.device("box43").await;
}

#[tokio::test]
async fn names_are_unique_and_fit_to_be_host_names() {
    let api = Api::start().await;
    let _relay = api.relay("relay-1").await;
    api.device("box42").await;
    api.device("box43").await;
    let taken = api.post("/v1/devices", json!({ "name": "box42" })).await;
    assert_eq!((taken.problem(), taken.json["field"].as_str()), ("name_taken", Some("name")));
    assert_eq!(api.patch("/v1/devices/box43", json!({ "name": "box42" })).await.problem(), "name_taken");
    for name in ["Box", "a b", "$(reboot)", "", "-x"] {
        assert_eq!(api.post("/v1/devices", json!({ "name": name })).await.problem(), "invalid_request");
    }
}

#[tokio::test]
async fn of_two_who_take_a_name_at_the_same_time_one_has_it() {
    let api = Api::start().await;
    let _relay = api.relay("relay-1").await;
    let ask = || api.post("/v1/devices", json!({ "name": "box42" }));
    let (one, two) = tokio::join!(ask(), ask());
    let mut statuses = [one.status.as_u16(), two.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409]);
}

#[tokio::test]
async fn without_a_relay_nobody_can_join_and_the_answer_says_how_to_start_one() {
    let api = Api::start().await;
    let answer = api.post("/v1/devices", json!({ "name": "box42" })).await;
    assert_eq!(answer.problem(), "no_relay");
    assert!(answer.json["detail"].as_str().unwrap().contains("postern-api relay add"));
}

#[tokio::test]
async fn a_box_that_is_deleted_takes_its_accesses_with_it() {
    let api = Api::start().await;
    let _relay = api.relay("relay-1").await;
    api.device("box42").await;
    let access = api.access("box42").await;
    api.delete("/v1/devices/box42").await;
    let shown = api.get(&format!("/v1/accesses/{access}")).await;
    assert_eq!(shown.json["status"], "revoked");
    assert_eq!(shown.json["status_reason"], "box42 was deleted");
}

#[tokio::test]
async fn lists_come_a_page_at_a_time_and_stay_put_while_others_add_to_them() {
    let api = Api::start().await;
    let _relay = api.relay("relay-1").await;
    for number in 0..5 {
        api.clock.advance(chrono::TimeDelta::milliseconds(5));
        api.device(&format!("box{number}")).await;
    }
    let first = api.get("/v1/devices?limit=2").await;
    assert_eq!(first.items("name"), ["box4", "box3"]);
    api.device("late").await;
    let next = first.json["next"].as_str().unwrap();
    let second = api.get(&format!("/v1/devices?limit=2&cursor={next}")).await;
    assert_eq!(second.items("name"), ["box2", "box1"]);
    let next = second.json["next"].as_str().unwrap();
    let last = api.get(&format!("/v1/devices?limit=2&cursor={next}")).await;
    assert_eq!(last.items("name"), ["box0"]);
    assert!(last.json.get("next").is_none());
    assert_eq!(api.get("/v1/devices?cursor=nonsense").await.problem(), "invalid_cursor");
    assert_eq!(api.get("/v1/devices?limit=201").await.problem(), "invalid_parameter");
}

#[tokio::test]
async fn a_box_is_as_present_as_its_relay_says() {
    let api = Api::start().await;
    let relay = api.relay("relay-1").await;
    let created = api.post("/v1/devices", json!({ "name": "box42" })).await;
    relay.join(&super::harness::join_token(&created)).await;
    assert_eq!(api.get("/v1/devices/box42").await.json["status"], "offline");
    relay.report(0, &created.id(), 0).await;
    let shown = api.get("/v1/devices/box42").await.json;
    assert_eq!(
        (&shown["status"], &shown["relay"], &shown["address"]),
        (&json!("online"), &json!("relay-1"), &json!("192.0.2.7"))
    );
    assert_eq!(shown["facts"]["hostname"], "box42.lan");
    assert!(shown["host_keys"][0]["fingerprint"].as_str().unwrap().starts_with("SHA256:"));
    api.clock.advance(chrono::TimeDelta::seconds(16));
    let shown = api.get("/v1/devices/box42").await.json;
    assert_eq!(shown["status"], "offline", "a relay that is silent takes its boxes with it");
    assert!(shown.get("address").is_none());
    relay.report(0, &created.id(), 0).await;
    assert_eq!(api.get("/v1/devices/box42").await.json["status"], "online");
    relay.report_all(0, true, json!([])).await;
    assert_eq!(api.get("/v1/devices/box42").await.json["status"], "offline", "not in a complete report");
}

#[tokio::test]
async fn a_box_that_moved_is_where_it_is_and_not_where_it_left() {
    let api = Api::start().await;
    let (one, two) = (api.relay("relay-1").await, api.relay("relay-2").await);
    let created = api.post("/v1/devices", json!({ "name": "box42" })).await;
    one.join(&super::harness::join_token(&created)).await;
    one.report(0, &created.id(), 0).await;
    let mut moved = super::harness::seen(&created.id(), 0);
    moved["since"] = json!("2026-02-01T00:00:00Z");
    two.report_all(0, true, json!([moved])).await;
    assert_eq!(api.get("/v1/devices/box42").await.json["relay"], "relay-2");
    one.report_all(0, true, json!([])).await;
    assert_eq!(api.get("/v1/devices/box42").await.json["relay"], "relay-2");
    assert_eq!(api.get("/v1/devices/box42").await.json["status"], "online");
}

#[tokio::test]
async fn a_box_is_shown_with_what_its_tunnel_goes_over_and_why() {
    let api = Api::start().await;
    let relay = api.relay("relay-1").await;
    let created = api.post("/v1/devices", json!({ "name": "box42" })).await;
    relay.join(&super::harness::join_token(&created)).await;
    relay.report(0, &created.id(), 0).await;
    let shown = api.get("/v1/devices/box42").await.json;
    assert_eq!((&shown["transport"], shown.get("why_tcp")), (&json!("quic"), None));
    let mut seen = super::harness::seen(&created.id(), 0);
    (seen["transport"], seen["why_tcp"]) = (json!("tcp"), json!("udp_silent"));
    relay.report_all(0, false, json!([seen])).await;
    let shown = api.get("/v1/devices/box42").await.json;
    assert_eq!((&shown["transport"], &shown["why_tcp"]), (&json!("tcp"), &json!("udp_silent")));
    relay.report_all(0, true, json!([])).await;
    assert!(api.get("/v1/devices/box42").await.json.get("transport").is_none(), "offline");
}

#[tokio::test]
async fn a_boasting_box_does_not_keep_its_relay_from_reporting_the_others() {
    let api = Api::start().await;
    let relay = api.relay("relay-1").await;
    let created = api.post("/v1/devices", json!({ "name": "box42" })).await;
    relay.join(&super::harness::join_token(&created)).await;
    let mut boasting = super::harness::seen(&created.id(), 0);
    boasting["facts"] = super::harness::facts();
    boasting["facts"]["hostname"] = json!("\u{1b}[2J");
    let unknown = super::harness::seen("aaaaaaaaaa", 0);
    relay.report_all(0, true, json!([unknown, boasting])).await;
    let shown = api.get("/v1/devices/box42").await.json;
    assert_eq!((&shown["status"], &shown["facts"]["hostname"]), (&json!("online"), &json!("box42.lan")));
}

#[tokio::test]
async fn host_keys_outlive_the_ssh_server_that_showed_them() {
    let api = Api::start().await;
    let relay = api.relay("relay-1").await;
    let created = api.post("/v1/devices", json!({ "name": "box42" })).await;
    relay.join(&super::harness::join_token(&created)).await;
    let mut without = super::harness::seen(&created.id(), 0);
    without["facts"] = super::harness::facts();
    without["facts"]["ssh"] = json!(null);
    relay.report_all(0, false, json!([without])).await;
    let shown = api.get("/v1/devices/box42").await.json;
    assert_eq!(shown["facts"]["ssh"], json!(null));
    assert_eq!(shown["host_keys"].as_array().unwrap().len(), 1);
}
