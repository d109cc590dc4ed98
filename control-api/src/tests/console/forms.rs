//! What a person does, form by form.

use super::*;
use crate::tests::harness::OWNER;

#[tokio::test]
async fn an_access_is_created_extended_edited_and_deleted_by_forms_alone() {
    let api = Api::start().await;
    let relay = api.relay("relay-1").await;
    let browser = Browser::new(&api).await;
    let device = online_box(&api, &relay, "box42").await;
    let page = browser.get(&format!("/console/boxes/{device}")).await;
    assert!(page.text.contains("127.0.0.1 (IPv4)"), "it says where the reader is");
    let fields =
        [("port", "22"), ("from", "192.0.2.1"), ("ends", "1h"), ("key", KEY), ("note", "for the vendor")];
    let made = browser.post(&format!("/console/boxes/{device}/accesses"), &fields).await;
    let access = sent_to(&made).to_owned();
    let id = access.rsplit('/').next().unwrap().to_owned();
    let page = browser.get(&access).await;
    for part in ["for the vendor", "192.0.2.1", "me@laptop", "PuTTY (Windows)", "svg class=\"qr\""] {
        assert!(page.text.contains(part), "{part} in {}", page.text);
    }
    assert!(said(&page).contains(&format!("ssh -J {id}@")), "{}", said(&page));
    let before = api.get(&format!("/v1/accesses/{id}")).await.json["expires_at"].to_string();
    let extended = browser.post(&format!("{access}/extend"), &[("by", "1d")]).await;
    assert_eq!(sent_to(&extended), format!("/console/boxes/{device}#access-{id}"));
    let after = api.get(&format!("/v1/accesses/{id}")).await.json;
    assert_ne!(after["expires_at"].to_string(), before);
    let until = after["expires_at"].as_str().unwrap()[..16].to_owned();
    let change = [
        ("from", "10.0.0.0/8, 2001:db8::1"),
        ("until", &until),
        ("zone", "0"),
        ("login", "admin"),
        ("note", "new"),
    ];
    assert_eq!(sent_to(&browser.post(&access, &change).await), access);
    let edited = api.get(&format!("/v1/accesses/{id}")).await.json;
    assert_eq!(edited["allowed_ips"], json!(["10.0.0.0/8", "2001:db8::1/128"]));
    assert_eq!((edited["login"].as_str(), edited["note"].as_str()), (Some("admin"), Some("new")));
    assert_eq!(edited["expires_at"], after["expires_at"], "the same minute is the same end");
    sent_to(&browser.post(&format!("{access}/delete"), &[]).await);
    assert_eq!(api.get(&format!("/v1/accesses/{id}")).await.json["status"], "revoked");
}

#[tokio::test]
async fn a_form_from_before_undoes_nothing_that_somebody_else_has_done() {
    let api = Api::start().await;
    let relay = api.relay("relay-1").await;
    let browser = Browser::new(&api).await;
    let device = online_box(&api, &relay, "box42").await;
    let fields = [("port", "22"), ("from", "192.0.2.0/24"), ("ends", "1h"), ("key", KEY)];
    let made = browser.post(&format!("/console/boxes/{device}/accesses"), &fields).await;
    let access = sent_to(&made).to_owned();
    let shown = browser.get(&access).await.text;
    assert!(shown.contains("name=\"was_from\" value=\"192.0.2.0/24\""), "{shown}");
    let until = shown.split("name=\"was_until\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    let api_path = access.replace("/console/", "/v1/");
    let narrower = json!({ "allowed_ips": ["192.0.2.1"], "expires_in": "10m" });
    let ends = api.patch(&api_path, narrower).await.json["expires_at"].clone();
    let stale = [
        ("from", "192.0.2.0/24"),
        ("was_from", "192.0.2.0/24"),
        ("until", until),
        ("was_until", until),
        ("zone", "0"),
        ("login", "root"),
        ("was_login", "root"),
        ("note", "mine"),
        ("was_note", ""),
    ];
    sent_to(&browser.post(&access, &stale).await);
    let now = api.get(&api_path).await.json;
    assert_eq!((&now["allowed_ips"], &now["expires_at"]), (&json!(["192.0.2.1/32"]), &ends));
    assert_eq!(now["note"], "mine");

    let ann = api.post("/v1/users", json!({ "name": "ann", "role": "viewer" })).await;
    let ann = format!("/console/users/{}", ann.json["id"].as_str().unwrap());
    assert_eq!(api.patch("/v1/users/ann", json!({ "disabled": true })).await.status, 200);
    let stale = [("role", "operator"), ("was_role", "viewer")];
    sent_to(&browser.post(&ann, &stale).await);
    let now = api.get("/v1/users/ann").await.json;
    assert_eq!((&now["role"], &now["status"]), (&json!("operator"), &json!("disabled")));
}

#[tokio::test]
async fn a_reader_changes_their_own_password() {
    const NEXT: &str = "another one of mine";
    let api = Api::start().await;
    let browser = Browser::new(&api).await;
    let page = browser.get("/console").await;
    assert!(page.text.contains("href=\"/console/password\""), "{}", page.text);
    for (current, new, wrong) in [("not this one", NEXT, "current-wrong"), (OWNER.1, "short", "new-wrong")] {
        let answer = browser.post("/console/password", &[("current", current), ("new", new)]).await;
        assert!(answer.status.is_client_error(), "{}", answer.text);
        assert!(answer.text.contains(&format!("id=\"{wrong}\" role=\"alert\"")), "{}", answer.text);
    }
    let changed = browser.post("/console/password", &[("current", OWNER.1), ("new", NEXT)]).await;
    assert_eq!(sent_to(&changed), "/console/password?changed=yes");
    assert_eq!(browser.get("/console").await.status, 303, "the session from before has ended");
    assert_eq!(api.sign_in(OWNER.0, OWNER.1).await.status, 401);
    assert_eq!(api.sign_in(OWNER.0, NEXT).await.status, 201);
}

#[tokio::test]
async fn what_is_wrong_stands_beside_its_field_and_what_was_right_is_kept() {
    let api = Api::start().await;
    let relay = api.relay("relay-1").await;
    let browser = Browser::new(&api).await;
    let device = online_box(&api, &relay, "box42").await;
    let path = format!("/console/boxes/{device}/accesses");
    let good = [("port", "22"), ("from", "192.0.2.1"), ("ends", "1h"), ("key", KEY), ("note", "kept text")];
    for (field, value, wrong) in [
        ("from", "nonsense", "allowed_ips-wrong"),
        ("from", "0.0.0.0/0", "allowed_ips-wrong"),
        ("ends", "999d", "expires_in-wrong"),
        ("ends", "exact", "expires_at-wrong"),
        ("key", "ssh-dss AAAAB3NzaC1kc3MAAAA=", "public_key-wrong"),
        ("key", "", "public_key-wrong"),
        ("login", "not a login", "login-wrong"),
        ("port", "9", "exposed_port-wrong"),
    ] {
        let fields: Vec<_> =
            good.iter().filter(|(name, _)| *name != field).copied().chain([(field, value)]).collect();
        let answer = browser.post(&path, &fields).await;
        assert_eq!(answer.status, 422, "{field}: {}", answer.text);
        assert!(answer.text.contains(&format!("id=\"{wrong}\" role=\"alert\"")), "{field}: {}", answer.text);
        assert!(answer.text.contains("kept text"), "{field}");
        is_hardened(&answer);
    }
    assert!(api.get("/v1/accesses").await.items("id").is_empty());
}

#[tokio::test]
async fn a_private_key_is_refused_by_name_and_never_sent_back() {
    let api = Api::start().await;
    let relay = api.relay("relay-1").await;
    let browser = Browser::new(&api).await;
    let device = online_box(&api, &relay, "box42").await;
    let secret = "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQ";
    let private = format!("-----BEGIN OPENSSH PRIVATE KEY-----\n{secret}\n-----END OPENSSH PRIVATE KEY-----");
    let grant = format!("/console/boxes/{device}/accesses");
    let verify = format!("/console/boxes/{device}/verify");
    for (path, fields) in [
        (grant.as_str(), vec![("port", "22"), ("from", "192.0.2.1"), ("ends", "1h"), ("key", &*private)]),
        (&verify, vec![("source", "192.0.2.1"), ("port", "22"), ("key", &*private)]),
        ("/console/key", vec![("key", &*private)]),
    ] {
        let answer = browser.post(path, &fields).await;
        assert!(answer.text.contains("private key"), "{path}: {}", answer.text);
        assert!(!answer.text.contains(secret), "{path}");
    }
}

#[tokio::test]
async fn a_box_is_added_with_a_line_to_run_and_deleted_by_its_name() {
    let api = Api::start().await;
    let browser = Browser::new(&api).await;
    let empty = browser.get("/console").await;
    assert!(empty.text.contains("No boxes yet"), "an empty list teaches");
    let no_relay = browser.post("/console/boxes", &[("name", "box42")]).await;
    assert_eq!(no_relay.status, 409);
    assert!(no_relay.text.contains("postern-api relay add"), "{}", no_relay.text);
    let _relay = api.relay("relay-1").await;
    let bad = browser.post("/console/boxes", &[("name", "Not A Name")]).await;
    assert!(bad.status == 422 && bad.text.contains("value=\"Not A Name\""), "{}", bad.text);
    let made = browser.post("/console/boxes", &[("name", "box42")]).await;
    assert!(said(&made).contains("postern-agent join postern-join-2-"), "{}", made.text);
    let device = api.get("/v1/devices").await.items("id").remove(0);
    let wrong = browser.post(&format!("/console/boxes/{device}/delete"), &[("name", "box43")]).await;
    assert_eq!(wrong.status, 422);
    let renamed = browser.post(&format!("/console/boxes/{device}/rename"), &[("name", "paris")]).await;
    assert_eq!(sent_to(&renamed), format!("/console/boxes/{device}"));
    let gone = browser.post(&format!("/console/boxes/{device}/delete"), &[("name", "paris")]).await;
    assert_eq!(sent_to(&gone), "/console");
    assert!(api.get("/v1/devices").await.items("id").is_empty());
}

#[tokio::test]
async fn verify_says_which_rule_decides() {
    let api = Api::start().await;
    let relay = api.relay("relay-1").await;
    let browser = Browser::new(&api).await;
    let device = online_box(&api, &relay, "box42").await;
    let made = api
        .post(
            "/v1/accesses",
            json!({ "device": device, "exposed_port": 22, "public_key": KEY, "allowed_ips": ["192.0.2.1"] }),
        )
        .await;
    let path = format!("/console/boxes/{device}/verify");
    let inside = browser.post(&path, &[("source", "192.0.2.1"), ("port", "22"), ("key", KEY)]).await;
    assert!(inside.text.contains("would get in") && inside.text.contains(&made.id()), "{}", inside.text);
    let outside = browser.post(&path, &[("source", "192.0.2.2"), ("port", "22"), ("key", KEY)]).await;
    assert!(outside.text.contains("address not allowed: 192.0.2.2"), "{}", outside.text);
    let french = browser.ask("POST", &path, Some(form(&[("source", "x"), ("port", "22")])), "fr").await;
    assert!(french.status == 422 && french.text.contains("Écrivez une adresse IP."), "{}", french.text);
}

#[tokio::test]
async fn one_visit_is_cut_while_its_access_and_the_others_go_on() {
    let api = Api::start().await;
    let relay = api.relay("relay-1").await;
    let browser = Browser::new(&api).await;
    let device = online_box(&api, &relay, "box42").await;
    let fields = [("port", "22"), ("from", "192.0.2.1"), ("ends", "1h"), ("key", KEY)];
    let made = browser.post(&format!("/console/boxes/{device}/accesses"), &fields).await;
    let access = sent_to(&made).rsplit('/').next().unwrap().to_owned();
    assert!(
        said(&browser.get(&format!("/console/accesses/{access}")).await).contains(OWNER.0),
        "who made it"
    );
    let tell = async |visit: &str, outcome: &str, bytes: u64| {
        let visit = json!({
            "id": visit, "relay": relay.id, "device": device, "access": access, "entrance": "gate", "port": 22,
            "source": "192.0.2.1", "source_port": 5000, "started_at": "2026-11-21T12:00:00Z",
            "outcome": outcome, "code": outcome, "reason": "", "bytes_up": bytes, "bytes_down": 0,
        });
        assert_eq!(relay.post("visits", json!({ "events": [visit] })).await.status, 204);
    };
    tell("vvvvvvvvvv", "open", 100 << 20).await;
    tell("wwwwwwwwww", "open", 0).await;
    let page = browser.get(&format!("/console/boxes/{device}")).await;
    assert!(page.text.contains("Live visits (2)") && said(&page).contains("100 MiB"), "{}", page.text);
    let path = "/console/visits/vvvvvvvvvv/cut";
    assert!(page.text.contains(&format!("action=\"{path}\"")), "{}", page.text);
    let (answer, ()) = tokio::join!(browser.post(path, &[]), async {
        let (relay, mut bell) = (relay.id.parse().unwrap(), api.app.store.rules_bell());
        while api.app.store.pending_cuts(relay).await.unwrap().is_empty() {
            let _ = tokio::time::timeout(std::time::Duration::from_millis(100), bell.changed()).await;
        }
        tell("vvvvvvvvvv", "ended", 100 << 20).await;
    });
    assert_eq!(sent_to(&answer), format!("/console/boxes/{device}#present"));
    assert_eq!(api.get("/v1/visits?outcome=open").await.items("id"), ["wwwwwwwwww"]);
    assert_eq!(api.get(&format!("/v1/accesses/{access}")).await.json["status"].as_str(), Some("pending"));
}

#[tokio::test]
async fn the_audit_says_who_did_what_in_the_readers_language() {
    let api = Api::start().await;
    let relay = api.relay("relay-1").await;
    let browser = Browser::new(&api).await;
    let device = online_box(&api, &relay, "box42").await;
    sent_to(&browser.post(&format!("/console/boxes/{device}/rename"), &[("name", "paris")]).await);
    let english = browser.get("/console/audit").await;
    for part in ["box renamed", "<del><span title=\"box42\">box42</span></del>", "paris", OWNER.0, &device] {
        assert!(english.text.contains(part), "{part} in {}", english.text);
    }
    assert!(browser.get_in("fr", "/console/audit").await.text.contains("box renommée"));
    for number in 0..60 {
        sent_to(
            &browser
                .post(&format!("/console/boxes/{device}/rename"), &[("name", &format!("box-{number}"))])
                .await,
        );
    }
    let first = browser.get("/console/audit").await.text;
    let more = first
        .split("href=\"/console/audit?cursor=")
        .nth(1)
        .expect("there is more")
        .split('"')
        .next()
        .unwrap();
    let second = browser.get(&format!("/console/audit?cursor={more}")).await.text;
    let row = ">box created</td>";
    assert!(!first.contains(row) && second.contains(row), "{second}");
    assert_eq!(browser.get("/console/audit?cursor=x").await.status, 400);
}

#[tokio::test]
async fn users_and_tokens_are_made_and_removed_by_their_owner() {
    let api = Api::start().await;
    let browser = Browser::new(&api).await;
    let added = browser.post("/console/users", &[("name", "ann@example.com"), ("role", "operator")]).await;
    assert!(added.text.contains("/setup#psi_"), "{}", added.text);
    let taken = browser.post("/console/users", &[("name", "ann@example.com"), ("role", "operator")]).await;
    assert_eq!(taken.status, 409);
    let token = browser.post("/console/tokens", &[("name", "ci"), ("role", "viewer"), ("ends", "30d")]).await;
    assert!(token.text.contains("pst_"), "{}", token.text);
    let again = browser.get("/console/tokens").await;
    assert!(again.text.contains("ci") && !again.text.contains("pst_"), "a secret is shown once");
    let user = api.get("/v1/users/ann@example.com").await.id();
    sent_to(&browser.post(&format!("/console/users/{user}/delete"), &[]).await);
    assert_eq!(api.get("/v1/users/ann@example.com").await.status, 404);
}

#[tokio::test]
async fn a_webhook_is_added_with_its_events_tried_edited_paused_and_removed_and_says_why_its_calls_fail() {
    let api = Api::start_with(|config| config.webhooks.insecure_loopback = true).await;
    let browser = Browser::new(&api).await;
    let path = "/console/webhooks";
    let none = browser.post(path, &[("url", "https://example.com/hook")]).await;
    assert!(none.status == 422 && none.text.contains("id=\"events-wrong\""), "{}", none.text);
    let inside = browser.post(path, &[("url", "https://192.168.0.1/"), ("box.online", "on")]).await;
    assert!(inside.status == 422 && inside.text.contains("id=\"url-wrong\""), "{}", inside.text);
    assert!(
        inside.text.contains("name=\"box.online\" checked") && inside.text.matches(" checked").count() == 1
    );
    // Nobody answers there: the port is taken, and nothing listens on it.
    let taken = tokio::net::TcpSocket::new_v4().unwrap();
    taken.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://{}/hook", taken.local_addr().unwrap());
    let fields = [("url", url.as_str()), ("box.online", "on"), ("visit.refused", "on")];
    let made = browser.post(path, &fields).await;
    assert!(made.status == 200 && made.text.contains("whsec_"), "{}", made.text);
    let again = browser.get(path).await.text;
    assert!(again.contains(&url) && !again.contains("whsec_"), "a secret is shown once");
    let shown = api.get("/v1/webhooks").await.json["items"][0].clone();
    assert_eq!(shown["events"], json!(["box.online", "visit.refused"]));
    let id = shown["id"].as_str().unwrap();
    let own = format!("{path}/{id}");
    assert_eq!(sent_to(&browser.post(&format!("{own}/test"), &[]).await), own);
    let fails = async {
        while !browser.get(path).await.text.contains("being tried again") {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), fails).await.expect("it is tried");
    let page = browser.get_in("fr", path).await.text;
    assert!(page.contains("nouvel essai prévu") && page.contains("class=\"wrong\" lang=\"en\""), "{page}");
    let page = browser.get_in("fr", &own).await.text;
    assert!(page.contains("webhook.test") && page.contains("en attente"), "{page}");

    let none = browser.post(&own, &[("url", &url)]).await;
    assert!(none.status == 422 && none.text.contains("id=\"events-wrong\""), "{}", none.text);
    let inside = browser.post(&own, &[("url", "https://169.254.169.254/"), ("box.online", "on")]).await;
    assert!(inside.status == 422 && inside.text.contains("id=\"url-wrong\""), "{}", inside.text);
    let fields = [("url", "https://example.com/other"), ("access.created", "on")];
    assert_eq!(sent_to(&browser.post(&own, &fields).await), own);
    assert_eq!(sent_to(&browser.post(&format!("{own}/pause"), &[]).await), own);
    let shown = api.get(&format!("/v1/webhooks/{id}")).await.json;
    assert_eq!(
        (&shown["url"], &shown["events"], &shown["status"]),
        (&json!("https://example.com/other"), &json!(["access.created"]), &json!("disabled"))
    );
    let page = browser.get(&own).await.text;
    assert!(page.contains("not called") && page.contains("Call it again"), "{page}");
    assert!(page.contains("given up"), "what waited is told of no more: {page}");
    assert_eq!(sent_to(&browser.post(&format!("{own}/resume"), &[]).await), own);
    assert_eq!(api.get(&format!("/v1/webhooks/{id}")).await.json["status"], "active");
    assert_eq!(sent_to(&browser.post(&format!("{own}/delete"), &[]).await), path);
    assert_eq!(browser.get(&own).await.status, 404);
    assert!(api.get("/v1/webhooks").await.items("id").is_empty());
}

#[tokio::test]
async fn the_audit_is_looked_through_by_whom_what_and_when_and_leads_to_what_it_names() {
    let api = Api::start().await;
    let relay = api.relay("relay-1").await;
    let browser = Browser::new(&api).await;
    let device = online_box(&api, &relay, "box42").await;
    let access = api.access(&device).await;
    browser.post(&format!("/console/boxes/{device}/rename"), &[("name", "box43")]).await;
    let me = api.get("/v1/users").await.items("id").remove(0);
    // Of the rows only: the form names every action there is.
    let rows = async |query: &str| {
        let page = browser.get(&format!("/console/audit?{query}")).await.text;
        page.split_once("<tbody>").map_or_else(String::new, |(_, rows)| rows.to_owned())
    };
    let all = rows("").await;
    for link in [
        format!("href=\"/console/boxes/{device}\">box43</a>"),
        format!("href=\"/console/accesses/{access}\">box43</a>"),
        format!("href=\"/console/users#user-{me}\""),
        format!("href=\"/console/audit?who={me}\""),
        format!("href=\"/console/audit?subject={access}\""),
        format!("href=\"/console/relays#relay-{}\"", relay.id),
        "href=\"/console/audit?who=machine\"".to_owned(),
    ] {
        assert!(all.contains(&link), "{link}: {all}");
    }
    let by_me = rows(&format!("who={me}")).await;
    assert!(by_me.contains("box renamed") && !by_me.contains("access created"), "{by_me}");
    let of_boxes = rows("what=device").await;
    assert!(of_boxes.contains("box renamed") && of_boxes.contains("box joined"), "{of_boxes}");
    assert!(!of_boxes.contains("access created"), "{of_boxes}");
    let created = rows("what=access_created").await;
    assert!(created.contains("access created") && created.matches("<tr>").count() == 1, "{created}");
    let of_it = rows(&format!("subject={device}&what=device_renamed&who={me}")).await;
    assert_eq!(of_it.matches("<tr>").count(), 1, "{of_it}");
    let now = api.clock.now();
    let from = |at: chrono::DateTime<chrono::Utc>| at.format("%Y-%m-%dT%H:%M").to_string();
    let later = from(now + chrono::TimeDelta::minutes(2));
    assert_eq!(rows(&format!("since={later}&zone=0")).await, "");
    assert!(rows(&format!("until={later}&zone=0")).await.contains("box renamed"));
    let empty = browser.get_in("fr", &format!("/console/audit?since={later}&zone=0")).await.text;
    assert!(empty.contains("Rien de tel") && empty.contains("Tout afficher"), "{empty}");
    assert!(empty.contains("conservées 730 jours"), "{empty}");
    // A box that is gone is a page that is gone: its records lead to each other only.
    assert_eq!(api.delete(&format!("/v1/devices/{device}")).await.status, 204);
    let gone = rows(&format!("subject={device}")).await;
    assert!(gone.contains("box deleted") && !gone.contains("/console/boxes/"), "{gone}");
}

#[tokio::test]
async fn the_audit_goes_on_with_what_was_asked_for() {
    let api = Api::start().await;
    let _relay = api.relay("relay-1").await;
    let browser = Browser::new(&api).await;
    for number in 0..60 {
        api.device(&format!("box-{number}")).await;
    }
    let page = browser.get("/console/audit?what=device_created").await.text;
    assert_eq!(page.matches("<th scope=\"row\">").count(), 50);
    let next = page.split("class=\"button\" href=\"").nth(1).unwrap().split('"').next().unwrap();
    assert!(next.starts_with("/console/audit?what=device_created&amp;cursor="), "{next}");
    let rest = browser.get(&next.replace("&amp;", "&")).await.text;
    assert_eq!(rest.matches("<th scope=\"row\">").count(), 10);
}

#[tokio::test]
async fn accounts_and_relays_are_opened_and_closed_by_an_admin() {
    let api = Api::start().await;
    let browser = Browser::new(&api).await;
    let opened = browser.post("/console/accounts", &[("name", "acme"), ("owner", "ann@acme.example")]).await;
    assert!(opened.text.contains("/setup#psi_"), "{}", opened.text);
    let taken = browser.post("/console/accounts", &[("name", "acme"), ("owner", "bob@acme.example")]).await;
    assert!(taken.status == 409 && taken.text.contains("id=\"name-wrong\""), "{}", taken.text);
    let id = api.get("/v1/accounts/acme").await.id();
    sent_to(&browser.post(&format!("/console/accounts/{id}"), &[("name", "acme-2")]).await);
    let wrong = browser.post(&format!("/console/accounts/{id}/close"), &[("name", "acme")]).await;
    assert_eq!(wrong.status, 422, "the name confirms");
    sent_to(&browser.post(&format!("/console/accounts/{id}/close"), &[("name", "acme-2")]).await);
    assert_eq!(api.get("/v1/accounts/acme-2").await.status, 404);

    let made = browser.post("/console/relays", &[("name", "relay-9")]).await;
    assert!(made.text.contains("psr_") && made.text.contains("never started"), "{}", made.text);
    let again = browser.get("/console/relays").await.text;
    assert!(again.contains("relay-9") && !again.contains("psr_"), "a secret is shown once");
    let id = api.get("/v1/relays/relay-9").await.id();
    sent_to(&browser.post(&format!("/console/relays/{id}/delete"), &[]).await);
    assert_eq!(api.get("/v1/relays/relay-9").await.status, 404);
}

#[tokio::test]
async fn changed_host_keys_stand_beside_the_known_ones_until_the_ones_that_were_seen_are_confirmed() {
    const OTHER: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAtlBgQv0c+QYLnpnXvSTkzRYNIAmCmSFlLuH9I8mEDF";
    let api = Api::start().await;
    let relay = api.relay("relay-1").await;
    let browser = Browser::new(&api).await;
    let device = online_box(&api, &relay, "box42").await;
    let report = async |key: &str| {
        let mut seen = seen(&device, 0);
        seen["facts"] = facts();
        seen["facts"]["ssh"]["host_keys"] = json!([key]);
        relay.report_all(0, false, json!([seen])).await;
    };
    let usual = KEY.rsplit_once(' ').unwrap().0;
    report(usual).await;
    let path = format!("/console/boxes/{device}");
    assert!(!browser.get(&path).await.text.contains("id=\"host-keys\""), "nothing has changed");
    report(OTHER).await;
    let shown = api.get(&format!("/v1/devices/{device}")).await.json;
    let now = shown["host_keys"][0]["fingerprint"].as_str().unwrap();
    let before = shown["former_host_keys"]["host_keys"][0]["fingerprint"].as_str().unwrap();
    let page = browser.get(&path).await.text;
    assert!(page.contains(now) && page.contains(before), "{page}");
    let confirm = format!("{path}/host-keys");
    assert_eq!(browser.post(&confirm, &[("seen", before)]).await.status, 409, "these were not shown");
    assert_eq!(sent_to(&browser.post(&confirm, &[("seen", now)]).await), path);
    assert!(!browser.get(&path).await.text.contains("id=\"host-keys\""), "they are its own");
}
