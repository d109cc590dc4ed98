//! Accesses: created, listed, changed, deleted.

use chrono::TimeDelta;
use postern_protocol::grant::MAX_GRANTS;
use serde_json::{Value, json};

use super::{Api, KEY};

fn ssh(device: &str) -> Value {
    json!({ "device": device, "exposed_port": 22, "public_key": KEY, "expires_in": "2h" })
}

#[tokio::test]
async fn an_access_says_everything_that_is_needed_to_connect() {
    let api = Api::start().await;
    let relay = api.relay("relay-1").await;
    let device = api.post("/v1/devices", json!({ "name": "box42" })).await;
    relay.join(&super::harness::join_token(&device)).await;
    let access = api.post("/v1/accesses", ssh("box42")).await;
    assert_eq!(access.status, 201, "{}", access.text);
    let connection = &access.json["connection"];
    assert_eq!(connection["command"], format!("ssh -J {}@relay-1.example.com:2222 root@box42", access.id()));
    assert_eq!(connection["known_hosts"].as_array().unwrap().len(), 2);
    let fingerprint = &connection["fingerprints"]["gate"][0]["fingerprint"];
    assert_ne!(fingerprint, "SHA256:never-believed");
    assert_eq!(fingerprint, &access.json["public_key"]["fingerprint"], "computed from the key");
    assert_eq!(access.json["allowed_ips"], json!(["127.0.0.1/32"]));
    assert_eq!(access.json["public_key"]["comment"], "me@laptop");
    assert!(api.get(&format!("/v1/accesses/{}", access.id())).await.json["connection"].is_object());
    let page = api.access("box42").await;
    let shown = api.get(&format!("/v1/accesses/{page}")).await.json;
    assert_eq!(shown["via"], "name");
    assert_eq!(shown["connection"]["url"], format!("https://{page}.relay-1.example.com/"));
}

#[tokio::test]
async fn an_access_is_extended_shortened_edited_and_deleted_in_any_state() {
    let api = Api::start().await;
    let _relay = api.relay("relay-1").await;
    api.device("box42").await;
    let access = api.post("/v1/accesses", ssh("box42")).await;
    let path = format!("/v1/accesses/{}", access.id());
    let extended = api.patch(&path, json!({ "expires_in": "4h", "note": "for the <b>plumber</b>" })).await;
    assert_eq!(extended.status, 200, "{}", extended.text);
    assert!(extended.json["expires_at"].as_str() > access.json["expires_at"].as_str());
    assert!(extended.json["revision"].as_u64() > access.json["revision"].as_u64());
    assert_eq!(extended.json["note"], "for the <b>plumber</b>");
    let edited = api.patch(&path, json!({ "allowed_ips": ["2001:db8::/64"], "login": "admin" })).await;
    assert_eq!(
        (&edited.json["allowed_ips"], &edited.json["login"]),
        (&json!(["2001:db8::/64"]), &json!("admin"))
    );
    assert_eq!(api.patch(&path, json!({ "expires_in": "31d" })).await.problem(), "invalid_expiry");
    api.clock.advance(TimeDelta::hours(5));
    assert_eq!(api.get(&path).await.json["status"], "expired");
    assert_eq!(api.delete(&path).await.status, 204);
    assert_eq!(api.get(&path).await.json["status"], "expired", "what is over is not revoked as well");
    assert_eq!(
        api.patch(&path, json!({ "expires_in": "1h" })).await.json["status"],
        "pending",
        "it lives again"
    );
    assert_eq!(api.delete(&path).await.status, 204);
    assert_eq!(api.delete(&path).await.status, 204, "again");
    let revoked = api.get(&path).await.json;
    assert_eq!(
        (&revoked["status"], &revoked["status_reason"]),
        (&json!("revoked"), &json!("it was deleted"))
    );
    assert_eq!(api.patch(&path, json!({ "expires_in": "1h" })).await.problem(), "access_revoked");
    for unknown in ["/v1/accesses/aaaaaaaaaa", "/v1/accesses/no-id"] {
        assert_eq!(api.delete(unknown).await.problem(), "access_not_found");
    }
}

#[tokio::test]
async fn a_note_is_for_people_and_moves_no_rule() {
    let api = Api::start().await;
    let _relay = api.relay("relay-1").await;
    api.device("box42").await;
    let access = api.post("/v1/accesses", ssh("box42")).await;
    let path = format!("/v1/accesses/{}", access.id());
    for change in [json!({ "note": "x" }), json!({})] {
        assert_eq!(api.patch(&path, change).await.json["revision"], access.json["revision"]);
    }
}

#[tokio::test]
async fn a_box_has_as_many_live_accesses_as_its_document_holds() {
    let api = Api::start().await;
    let _relay = api.relay("relay-1").await;
    api.device("box42").await;
    let mut last = String::new();
    for _ in 0..MAX_GRANTS {
        last = api.access("box42").await;
    }
    let over = || api.post("/v1/accesses", json!({ "device": "box42", "exposed_port": 443 }));
    assert_eq!(over().await.problem(), "too_many_accesses");
    api.delete(&format!("/v1/accesses/{last}")).await;
    assert_eq!(over().await.status, 201);
}

#[tokio::test]
async fn an_expired_access_does_not_come_back_where_there_is_no_room() {
    let api = Api::start().await;
    let _relay = api.relay("relay-1").await;
    api.device("box42").await;
    let old = api.access("box42").await;
    api.clock.advance(TimeDelta::hours(25));
    for _ in 0..MAX_GRANTS {
        api.access("box42").await;
    }
    let revived = api.patch(&format!("/v1/accesses/{old}"), json!({ "expires_in": "1h" })).await;
    assert_eq!(revived.problem(), "too_many_accesses");
}

#[tokio::test]
async fn lists_are_filtered_by_box_and_by_status_across_pages() {
    let api = Api::start().await;
    let relay = api.relay("relay-1").await;
    let device = api.post("/v1/devices", json!({ "name": "box42" })).await;
    relay.join(&super::harness::join_token(&device)).await;
    api.device("other").await;
    let _feed = relay.feed().await;
    let mut active = Vec::new();
    for _ in 0..3 {
        api.clock.advance(TimeDelta::milliseconds(5));
        api.access("other").await;
        api.clock.advance(TimeDelta::milliseconds(5));
        active.insert(0, api.access("box42").await);
    }
    relay.report(u64::MAX >> 1, &device.id(), u64::MAX >> 1).await;
    let revoked = api.access("box42").await;
    api.delete(&format!("/v1/accesses/{revoked}")).await;
    assert_eq!(api.get("/v1/accesses?status=active").await.items("id"), active);
    let first = api.get("/v1/accesses?status=active&limit=2").await;
    assert_eq!(first.items("id"), active[..2]);
    let next = first.json["next"].as_str().unwrap();
    let rest = api.get(&format!("/v1/accesses?status=active&limit=2&cursor={next}")).await;
    assert_eq!((rest.items("id"), rest.json.get("next")), (active[2..].to_vec(), None));
    assert_eq!(api.get("/v1/accesses?status=revoked").await.items("id"), [revoked]);
    assert_eq!(api.get("/v1/accesses?status=pending").await.items("device_name"), ["other"; 3]);
    assert_eq!(api.get("/v1/accesses?device=other").await.items("id").len(), 3);
    assert_eq!(api.get("/v1/accesses?status=expired").await.items("id").len(), 0);
    assert_eq!(api.get("/v1/accesses?device=nobody").await.problem(), "device_not_found");
    assert_eq!(api.get("/v1/accesses?status=wonderful").await.problem(), "invalid_parameter");
}

#[tokio::test]
async fn the_callers_address_is_the_one_that_a_trusted_proxy_names() {
    let api = Api::start_with(|config| config.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()]).await;
    let _relay = api.relay("relay-1").await;
    api.device("box42").await;
    let ask = |headers: &'static [(&str, &str)]| async {
        let body = json!({ "device": "box42", "exposed_port": 443 });
        api.ask("POST", "/v1/accesses", Some(body), headers).await
    };
    let named = ask(&[("x-forwarded-for", "6.6.6.6, 198.51.100.7")]).await;
    assert_eq!(named.json["allowed_ips"], json!(["198.51.100.7/32"]));
    assert_eq!(ask(&[]).await.problem(), "address_unknown");
    assert_eq!(ask(&[("forwarded", "for=198.51.100.7")]).await.problem(), "address_unknown");
}

#[tokio::test]
async fn a_header_from_anybody_else_is_not_believed() {
    let api = Api::start().await;
    let _relay = api.relay("relay-1").await;
    api.device("box42").await;
    let body = json!({ "device": "box42", "exposed_port": 443 });
    let headers = [("x-forwarded-for", "198.51.100.7"), ("forwarded", "for=198.51.100.7")];
    let access = api.ask("POST", "/v1/accesses", Some(body), &headers).await;
    assert_eq!(access.json["allowed_ips"], json!(["127.0.0.1/32"]));
}

/// So many copies of an access, all of them over.
async fn copies(api: &Api, access: &str, count: u32) {
    // Its digits are those of an id: base 8, as letters.
    let letters = "substr('abcdefgh', (i >> 9) % 8 + 1, 1) || substr('abcdefgh', (i >> 6) % 8 + 1, 1)
                   || substr('abcdefgh', (i >> 3) % 8 + 1, 1) || substr('abcdefgh', i % 8 + 1, 1)";
    let copy = format!(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})
         INSERT INTO accesses (id, account, device, port, allowed, key, key_comment, login, note, created_at,
                               expires_at, revised_at, revision, via)
         SELECT 'copyof' || {letters}, account, device, port, allowed, key, key_comment, login, note,
                created_at - i, created_at, revised_at, revision, via
         FROM accesses, n WHERE id = '{access}'"
    );
    let mut database = super::audit::database(api).await;
    sqlx::query(sqlx::AssertSqlSafe(copy)).execute(&mut database).await.unwrap();
}

#[tokio::test]
async fn a_search_that_finds_nothing_stops_after_some_looks_and_says_where_to_go_on() {
    let api = Api::start().await;
    api.relay("relay-1").await;
    let access = api.access(&api.device("box42").await).await;
    copies(&api, &access, 1100).await;
    let search = "/v1/accesses?status=pending_approval&limit=1";
    let first = api.get(search).await;
    assert_eq!(first.items("id"), [""; 0]);
    let next = first.json["next"].as_str().expect("it has not looked at everything").to_owned();
    let second = api.get(&format!("{search}&cursor={next}")).await;
    assert_eq!((second.items("id").len(), &second.json["next"]), (0, &Value::Null));
    let expired = api.get("/v1/accesses?status=expired&limit=200").await;
    assert_eq!(expired.items("id").len(), 200, "what is found fills its page");
    assert_eq!(api.get("/v1/accesses?limit=200").await.items("id")[0], access);
}
