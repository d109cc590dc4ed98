//! Public ports, each of which leads to one access.

use std::collections::HashSet;

use chrono::TimeDelta;
use serde_json::{Value, json};

use super::harness::{Answer, Relay, hello, join_token, seen};
use super::{Api, KEY};

fn by_port(device: &str) -> Value {
    json!({ "device": device, "exposed_port": 22, "public_key": KEY, "via": "port", "expires_in": "2h" })
}

/// A relay with these public ports.
async fn offer(relay: &Relay<'_>, name: &str, ports: Option<&str>) {
    let mut hello = hello(name);
    hello["ports"] = json!(ports);
    let answer = relay.post("hello", hello).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
}

/// An API with a relay of three public ports and a box.
async fn api_with_ports() -> Api {
    let api = Api::start().await;
    offer(&api.relay("relay-1").await, "relay-1", Some("40000-40002")).await;
    api.device("box42").await;
    api
}

async fn lease(api: &Api, device: &str) -> (String, u64) {
    let answer = api.post("/v1/accesses", by_port(device)).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    (answer.id(), port(&answer.json))
}

fn port(access: &Value) -> u64 {
    access["public_port"].as_u64().unwrap_or_else(|| panic!("no public port in {access}"))
}

#[tokio::test]
async fn the_command_names_the_port_and_expects_the_boxs_key() {
    let api = api_with_ports().await;
    let relay = api.relay("relay-1").await;
    offer(&relay, "relay-1", Some("40000-40002")).await;
    let device = api.post("/v1/devices", json!({ "name": "box44" })).await;
    relay.join(&join_token(&device)).await;
    let (access, port) = lease(&api, "box44").await;
    let connection = shown(&api, &access).await["connection"].take();
    let command = format!("ssh -p {port} -o HostKeyAlias=box44 root@relay-1.example.com");
    assert_eq!(connection["command"], command);
    assert_eq!(connection["fingerprints"]["gate"], json!([]));
    assert_eq!(connection["fingerprints"]["device"].as_array().unwrap().len(), 1);
    let page =
        api.post("/v1/accesses", json!({ "device": "box44", "exposed_port": 443, "via": "port" })).await;
    let url = format!("https://relay-1.example.com:{}/", page.json["public_port"]);
    assert_eq!(page.json["connection"]["url"], url);
    let body = json!({ "device": "box44", "exposed_port": 443, "public_key": KEY });
    let forwarded = api.post("/v1/accesses", body).await;
    let command = format!("ssh -N -L 8443:box44:443 -p 2222 {}@relay-1.example.com", forwarded.id());
    assert_eq!(forwarded.json["connection"]["command"], command);
}

async fn shown(api: &Api, access: &str) -> Value {
    api.get(&format!("/v1/accesses/{access}")).await.json
}

async fn change(api: &Api, access: &str, change: Value) -> Answer {
    api.patch(&format!("/v1/accesses/{access}"), change).await
}

#[tokio::test]
async fn relays_show_what_they_offer() {
    let api = api_with_ports().await;
    let relay = api.get("/v1/relays/relay-1").await.json;
    assert_eq!(relay["ports"], "40000-40002");
    assert_eq!(relay["web"], json!({ "domain": "relay-1.example.com", "port": 443 }));
    let relay = api.relay("relay-2").await;
    for (field, wrong) in [
        ("web", json!({ "domain": "192.0.2.1", "port": 443 })),
        ("web", json!({ "domain": "a b", "port": 443 })),
        ("web", json!({ "domain": "relay.example.com", "port": 0 })),
        ("ports", json!("40000")),
        ("ports", json!("2-1")),
        ("ports", json!("0-1")),
    ] {
        let mut hello = hello("relay-2");
        hello[field] = wrong.clone();
        assert!(relay.post("hello", hello).await.status.is_client_error(), "{wrong}");
    }
}

#[tokio::test]
async fn a_port_leads_to_one_access_and_stays_with_it() {
    let api = api_with_ports().await;
    let mut ports = HashSet::new();
    let mut first = None;
    for _ in 0..3 {
        let lease = lease(&api, "box42").await;
        ports.insert(lease.1);
        first.get_or_insert(lease);
    }
    assert_eq!(ports, HashSet::from([40000, 40001, 40002]));
    let over = api.post("/v1/accesses", by_port("box42")).await;
    assert_eq!((over.problem(), over.json["field"].as_str()), ("ports_taken", Some("via")));

    let (access, had) = first.unwrap();
    assert_eq!(port(&change(&api, &access, json!({ "expires_in": "5h" })).await.json), had);
    let api = api.restart().await;
    assert_eq!(port(&shown(&api, &access).await), had);
    api.clock.advance(TimeDelta::hours(6));
    assert_eq!(port(&shown(&api, &access).await), had, "an ended access keeps it as well");
    assert_eq!(port(&change(&api, &access, json!({ "expires_in": "1h" })).await.json), had);
}

#[tokio::test]
async fn a_port_goes_to_another_box_a_day_after_its_access_ended() {
    let api = api_with_ports().await;
    api.device("box43").await;
    let (revoked, had) = lease(&api, "box42").await;
    let mut others = Vec::new();
    for _ in 0..2 {
        let (access, _) = lease(&api, "box42").await;
        change(&api, &access, json!({ "expires_in": "9d" })).await;
        others.push(access);
    }
    api.delete(&format!("/v1/accesses/{revoked}")).await;
    api.clock.advance(TimeDelta::hours(23));
    assert_eq!(api.post("/v1/accesses", by_port("box43")).await.problem(), "ports_taken");
    let (own, of_own) = lease(&api, "box42").await;
    assert_eq!(of_own, had, "its own box may have it at once");
    assert!(shown(&api, &revoked).await.get("public_port").is_none());
    api.clock.advance(TimeDelta::hours(27));
    assert_eq!(lease(&api, "box43").await.1, had);

    let revived = change(&api, &own, json!({ "expires_in": "1h" })).await;
    assert_eq!(revived.problem(), "ports_taken", "it was given away, and there is no other");
    api.delete(&format!("/v1/accesses/{}", others[0])).await;
    let revived = change(&api, &own, json!({ "expires_in": "1h" })).await;
    assert!(port(&revived.json) != had, "it lives again, at another port");
}

#[tokio::test]
async fn relays_and_boxes_learn_of_a_lease_with_the_rule() {
    let api = api_with_ports().await;
    api.device("box43").await;
    let relay = api.relay("relay-1").await;
    offer(&relay, "relay-1", Some("40000-40000")).await;
    let mut feed = relay.feed().await;
    feed.commit().await;
    let (access, _) = lease(&api, "box42").await;
    let (grants, _) = feed.grants().await;
    let leased = grants.grants[0].leased.expect("the document carries the port");
    assert_eq!((leased.relay.to_string(), leased.port), (relay.id.clone(), 40000));
    api.delete(&format!("/v1/accesses/{access}")).await;
    assert!(feed.grants().await.0.grants[0].leased.is_some(), "its holder can be told");
    feed.commit().await;
    api.clock.advance(TimeDelta::hours(25));
    lease(&api, "box43").await;
    let mut boxes = [feed.grants().await.0, feed.grants().await.0];
    boxes.sort_by_key(|grants| grants.name.clone());
    assert_eq!(boxes[0].grants[0].leased, None, "nobody else has it");
    assert_eq!(boxes[1].grants[0].leased, Some(leased));
}

#[tokio::test]
async fn ports_are_those_of_the_relay_that_has_the_box_or_was_seen_last() {
    let api = Api::start().await;
    let (one, two) = (api.relay("relay-1").await, api.relay("relay-2").await);
    offer(&one, "relay-1", Some("41000-41000")).await;
    offer(&two, "relay-2", Some("42000-42001")).await;
    let device = api.post("/v1/devices", json!({ "name": "box42" })).await;
    one.join(&join_token(&device)).await;
    one.report(0, &device.id(), 0).await;
    api.clock.advance(TimeDelta::seconds(1));
    two.report_all(0, true, json!([])).await;
    assert_eq!(lease(&api, "box42").await.1, 41000);
    let full = api.post("/v1/accesses", by_port("box42")).await;
    assert_eq!(full.problem(), "ports_taken", "through the other relay nobody would reach it");
    one.report_all(0, true, json!([])).await;
    api.clock.advance(TimeDelta::seconds(1));
    two.report_all(0, true, json!([])).await;
    assert_eq!(lease(&api, "box42").await.1 / 1000, 42);
}

#[tokio::test]
async fn an_access_whose_relay_went_gets_another_port_when_it_is_edited() {
    let api = api_with_ports().await;
    let relay = api.relay("relay-1").await;
    offer(&relay, "relay-1", Some("40000-40000")).await;
    let device = api.post("/v1/devices", json!({ "name": "box44" })).await;
    relay.join(&join_token(&device)).await;
    let _feed = relay.feed().await;
    relay.report_all(u64::MAX >> 1, true, json!([seen(&device.id(), u64::MAX >> 1)])).await;
    let (access, _) = lease(&api, "box44").await;
    assert_eq!(shown(&api, &access).await["status"], "active");
    offer(&relay, "relay-1", Some("50000-50000")).await;
    relay.report_all(u64::MAX >> 1, true, json!([seen(&device.id(), u64::MAX >> 1)])).await;
    let lost = shown(&api, &access).await;
    assert_eq!(lost["status"], "pending");
    assert!(lost["status_reason"].as_str().unwrap().contains("does not offer its public port"), "{lost}");
    assert_eq!(port(&change(&api, &access, json!({ "expires_in": "3h" })).await.json), 50000);
    offer(&relay, "relay-1", None).await;
    assert_eq!(change(&api, &access, json!({ "expires_in": "4h" })).await.problem(), "no_ports");
    assert_eq!(change(&api, &access, json!({ "note": "x" })).await.status, 200, "a note moves no rule");
    api.delete("/v1/relays/relay-1").await;
    assert!(shown(&api, &access).await.get("public_port").is_none());
}

#[tokio::test]
async fn ways_in_that_cannot_be_are_refused() {
    let api = Api::start().await;
    let relay = api.relay("relay-1").await;
    api.device("box42").await;
    let ask = async |change: Value| {
        let mut body = json!({ "device": "box42", "exposed_port": 443 });
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let answer = api.post("/v1/accesses", body).await;
        (answer.status == 201).then(|| answer.json["via"].clone()).ok_or_else(|| answer.problem().to_owned())
    };
    assert_eq!(ask(json!({ "via": "port" })).await, Err("no_ports".into()));
    assert_eq!(ask(json!({ "via": "gate" })).await, Err("impossible_via".into()));
    assert_eq!(
        ask(json!({ "exposed_port": 22, "public_key": KEY, "via": "name" })).await,
        Err("impossible_via".into())
    );
    assert_eq!(ask(json!({ "public_key": KEY })).await, Ok("gate".into()));
    let page = api.access("box42").await;
    let keyed = change(&api, &page, json!({ "public_key": KEY })).await;
    assert_eq!((keyed.problem(), keyed.json["field"].as_str()), ("impossible_via", Some("public_key")));
    let mut frontless = hello("relay-1");
    frontless.as_object_mut().unwrap().remove("web");
    relay.post("hello", frontless.clone()).await;
    assert_eq!(ask(json!({})).await, Err("no_front".into()));
    assert_eq!(ask(json!({ "via": "name" })).await, Err("no_front".into()));
    frontless["ports"] = json!("40000-40001");
    relay.post("hello", frontless).await;
    assert_eq!(ask(json!({})).await, Ok("port".into()));
}

#[tokio::test]
async fn what_is_asked_for_from_outside_has_a_port_once_it_is_approved() {
    let api = api_with_ports().await;
    let session = api.session().await;
    let own = api.get("/v1/accounts").await.json["items"][0]["id"].as_str().unwrap().to_owned();
    let asked = api.post(&format!("/v1/accounts/{own}/accesses"), by_port("box42")).await;
    assert_eq!(asked.status, 201, "{}", asked.text);
    assert!(asked.json.get("public_port").is_none());
    let path = format!("/v1/accesses/{}/approve", asked.id());
    let approved = api.browse("POST", &path, &session, None).await;
    assert!((40000..=40002).contains(&port(&approved.json)), "{}", approved.text);
}

#[tokio::test]
async fn verify_answers_for_a_public_port_too() {
    let api = api_with_ports().await;
    api.device("box43").await;
    let (access, port) = lease(&api, "box42").await;
    let verdict = async |change: Value| {
        let mut attempt =
            json!({ "device": "box42", "source": "127.0.0.1", "port": 22, "public_port": port });
        attempt.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        api.post("/v1/verify", attempt).await.json
    };
    let allowed = verdict(json!({})).await;
    assert_eq!((&allowed["code"], &allowed["access"]), (&json!("allowed"), &json!(access)));
    for (change, code) in [
        (json!({ "source": "203.0.113.1" }), "address_not_allowed"),
        (json!({ "port": 443 }), "port_not_exposed"),
        (json!({ "public_port": port ^ 0x4000 }), "unknown_access"),
        (json!({ "device": "box43" }), "unknown_access"),
    ] {
        assert_eq!(verdict(change.clone()).await["code"], code, "{change}");
    }
    let by_gate = json!({ "device": "box42", "exposed_port": 22, "public_key": KEY });
    let other = api.post("/v1/accesses", by_gate).await.id();
    assert_eq!(verdict(json!({ "access": other })).await["code"], "wrong_key");
    api.delete(&format!("/v1/accesses/{access}")).await;
    assert_eq!(verdict(json!({})).await["code"], "revoked");
}
