//! Who gets to see a page, and what other sites can make a browser do.

use super::*;
use crate::tests::harness::OWNER;

/// Every page, with ids that nobody has.
const PAGES: &[(&str, &str)] = &[
    ("GET", "/console"),
    ("GET", "/console/live"),
    ("POST", "/console/boxes"),
    ("GET", "/console/boxes/new"),
    ("GET", "/console/boxes/aaaaaaaaaa"),
    ("GET", "/console/boxes/aaaaaaaaaa/live"),
    ("POST", "/console/boxes/aaaaaaaaaa/accesses"),
    ("POST", "/console/boxes/aaaaaaaaaa/rename"),
    ("POST", "/console/boxes/aaaaaaaaaa/join"),
    ("POST", "/console/boxes/aaaaaaaaaa/delete"),
    ("GET", "/console/boxes/aaaaaaaaaa/visits"),
    ("GET", "/console/boxes/aaaaaaaaaa/verify"),
    ("POST", "/console/boxes/aaaaaaaaaa/verify"),
    ("GET", "/console/accesses/aaaaaaaaaa"),
    ("GET", "/console/accesses/aaaaaaaaaa/live"),
    ("POST", "/console/accesses/aaaaaaaaaa"),
    ("POST", "/console/accesses/aaaaaaaaaa/decide"),
    ("POST", "/console/accesses/aaaaaaaaaa/extend"),
    ("POST", "/console/accesses/aaaaaaaaaa/delete"),
    ("POST", "/console/key"),
    ("GET", "/console/users"),
    ("POST", "/console/users"),
    ("POST", "/console/users/aaaaaaaaaa"),
    ("POST", "/console/users/aaaaaaaaaa/invite"),
    ("POST", "/console/users/aaaaaaaaaa/delete"),
    ("GET", "/console/tokens"),
    ("POST", "/console/tokens"),
    ("POST", "/console/tokens/aaaaaaaaaa/delete"),
    ("POST", "/console/boxes/aaaaaaaaaa/host-keys"),
    ("POST", "/console/visits/aaaaaaaaaa/cut"),
    ("GET", "/console/webhooks"),
    ("GET", "/console/webhooks/live"),
    ("POST", "/console/webhooks"),
    ("GET", "/console/webhooks/aaaaaaaaaa"),
    ("GET", "/console/webhooks/aaaaaaaaaa/live"),
    ("POST", "/console/webhooks/aaaaaaaaaa"),
    ("POST", "/console/webhooks/aaaaaaaaaa/pause"),
    ("POST", "/console/webhooks/aaaaaaaaaa/resume"),
    ("POST", "/console/webhooks/aaaaaaaaaa/test"),
    ("POST", "/console/webhooks/aaaaaaaaaa/delete"),
    ("GET", "/console/audit"),
    ("GET", "/console/accounts"),
    ("POST", "/console/accounts"),
    ("POST", "/console/accounts/aaaaaaaaaa"),
    ("POST", "/console/accounts/aaaaaaaaaa/close"),
    ("GET", "/console/installation"),
    ("GET", "/console/password"),
    ("POST", "/console/password"),
    ("GET", "/console/relays"),
    ("GET", "/console/relays/live"),
    ("POST", "/console/relays"),
    ("POST", "/console/relays/aaaaaaaaaa/delete"),
];

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

#[tokio::test]
async fn no_page_is_shown_and_no_form_is_taken_without_a_session() {
    let api = Api::start().await;
    let bearer = format!("Bearer {}", api.token.reveal());
    for (method, path) in PAGES.iter().copied() {
        for headers in [
            vec![FORM],
            vec![FORM, ("cookie", "postern=pss_nonsense"), ("sec-fetch-site", "same-origin")],
            vec![FORM, ("authorization", &bearer)],
        ] {
            let body = (method == "POST").then(|| "name=x".to_owned());
            let answer = api.raw(method, path, body, &headers).await;
            assert!(sent_to(&answer).starts_with("/console/sign-in?next=/console"), "{method} {path}");
            is_hardened(&answer);
        }
    }
}

#[tokio::test]
async fn no_other_sites_page_can_send_a_form() {
    let api = Api::start().await;
    let relay = api.relay("relay-1").await;
    let browser = Browser::new(&api).await;
    let device = online_box(&api, &relay, "box42").await;
    let delete = format!("/console/boxes/{device}/delete");
    let rest = [
        ("POST", "/console/sign-in"),
        ("POST", "/setup"),
        ("POST", "/console/language"),
        ("POST", "/console/sign-out"),
        ("POST", &*delete),
    ];
    for (method, path) in PAGES.iter().copied().chain(rest).filter(|(method, _)| *method == "POST") {
        for (name, value) in [
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
            ("origin", "https://evil.example"),
            ("origin", "null"),
        ] {
            let headers = [FORM, ("cookie", browser.cookie.as_str()), (name, value)];
            let answer = api.raw(method, path, Some("name=box42&language=fr".into()), &headers).await;
            assert_eq!(answer.status, 403, "{method} {path} {name}: {value}");
            assert!(answer.headers.get("set-cookie").is_none(), "{path}");
        }
    }
    assert_eq!(api.get(&format!("/v1/devices/{device}")).await.status, 200, "it is still there");
}

#[tokio::test]
async fn a_page_of_another_account_is_one_that_does_not_exist() {
    let api = Api::start().await;
    let relay = api.relay("relay-1").await;
    let device = online_box(&api, &relay, "box42").await;
    let made = api
        .post(
            "/v1/accesses",
            json!({ "device": device, "exposed_port": 22, "public_key": KEY, "allowed_ips": ["192.0.2.1"] }),
        )
        .await;
    let ours = [
        ("boxes", device.clone()),
        ("accesses", made.id()),
        ("visits", visit_to(&relay, &device).await),
        ("users", api.post("/v1/users", json!({ "name": "ours@example.com", "role": "viewer" })).await.id()),
        ("tokens", api.post("/v1/tokens", json!({ "name": "ours" })).await.id()),
        ("webhooks", api.post("/v1/webhooks", json!({ "url": "https://ours.example/" })).await.id()),
    ];
    let account = api.post("/v1/accounts", json!({ "name": "other", "owner": "eve@example.com" })).await;
    let link = account.json["owner"]["invitation"]["link"].as_str().unwrap().to_owned();
    let fields = form(&[("token", &link), ("password", "a long enough password")]);
    let began = api.raw("POST", "/setup", Some(fields), &[FORM]).await;
    assert_eq!(sent_to(&began), "/console");
    let eve = Browser { api: &api, cookie: began.cookie() };
    let of_accounts = |path: &str| !path.contains("/accounts/") && !path.contains("/relays/");
    let with_ids = PAGES.iter().copied().filter(|(_, path)| path.contains("aaaaaaaaaa") && of_accounts(path));
    for (method, path) in with_ids {
        let name = |foreign: String, (kind, id): &(&str, String)| {
            foreign.replace(&format!("{kind}/aaaaaaaaaa"), &format!("{kind}/{id}"))
        };
        let foreign = ours.iter().fold(path.to_owned(), name);
        assert_ne!(foreign, path, "say whose this is");
        let body = || {
            (method == "POST").then(|| {
                form(&[
                    ("name", "box42"),
                    ("by", "1h"),
                    ("role", "viewer"),
                    ("source", "192.0.2.1"),
                    ("port", "22"),
                    ("url", "https://eve.example/"),
                    ("box.online", "on"),
                ])
            })
        };
        let answer = eve.ask(method, &foreign, body(), "en").await;
        let absent = eve.ask(method, path, body(), "en").await;
        assert_eq!(answer.status, absent.status, "{method} {path}: {}", answer.text);
        assert_eq!(answer.status, 404, "{method} {path}: {}", answer.text);
        assert_eq!(answer.text, absent.text, "{method} {path}");
    }
}

/// Somebody who is on a box; the id of their visit.
async fn visit_to(relay: &Relay<'_>, device: &str) -> String {
    let visit = json!({
        "id": "vvvvvvvvvv", "relay": relay.id, "entrance": "front", "source": "192.0.2.99", "source_port": 5000,
        "device": device, "started_at": "2026-11-21T12:00:00Z", "outcome": "open", "code": "open",
        "reason": "because", "bytes_up": 1, "bytes_down": 2,
    });
    assert_eq!(relay.post("visits", json!({ "events": [visit] })).await.status, 204);
    "vvvvvvvvvv".to_owned()
}

#[tokio::test]
async fn the_audit_names_nothing_of_another_account() {
    let api = Api::start().await;
    let relay = api.relay("relay-1").await;
    let device = online_box(&api, &relay, "ours42").await;
    let account = api.post("/v1/accounts", json!({ "name": "other", "owner": "eve@example.com" })).await;
    let link = account.json["owner"]["invitation"]["link"].as_str().unwrap().to_owned();
    let fields = form(&[("token", &link), ("password", "a long enough password")]);
    let eve = Browser { api: &api, cookie: api.raw("POST", "/setup", Some(fields), &[FORM]).await.cookie() };
    let page = eve.get(&format!("/console/audit?subject={device}")).await.text;
    assert!(page.contains(&device) && !page.contains("ours42") && !page.contains("<tbody>"), "{page}");
    assert!(!page.contains("relay-1") && !page.contains("/console/boxes/"), "{page}");
}

#[tokio::test]
async fn a_viewer_sees_no_form_and_can_send_none() {
    let api = Api::start().await;
    let relay = api.relay("relay-1").await;
    let owner = Browser::new(&api).await;
    let device = online_box(&api, &relay, "box42").await;
    let added = owner.post("/console/users", &[("name", "vera"), ("role", "viewer")]).await;
    let token = added.text.split("/setup#").nth(1).unwrap().split('<').next().unwrap().to_owned();
    let began = api
        .raw(
            "POST",
            "/setup",
            Some(form(&[("token", &token), ("password", "a long enough password")])),
            &[FORM],
        )
        .await;
    let viewer = Browser { api: &api, cookie: began.cookie() };
    let page = viewer.get(&format!("/console/boxes/{device}")).await;
    assert!(
        page.status == 200 && !page.text.contains("id=\"add\"") && !page.text.contains("class=\"danger\""),
        "{}",
        page.text
    );
    assert_eq!(
        viewer.post(&format!("/console/boxes/{device}/delete"), &[("name", "box42")]).await.status,
        403
    );
    assert_eq!(viewer.post("/console/visits/aaaaaaaaaa/cut", &[]).await.status, 403);
    assert_eq!(viewer.get("/console/users").await.status, 403);
    assert_eq!(viewer.get("/console/webhooks").await.status, 403);
    assert_eq!(viewer.get("/console/audit").await.status, 403);
}

#[tokio::test]
async fn only_admins_of_the_installation_see_its_accounts_and_relays() {
    let api = Api::start().await;
    let owner = Browser::new(&api).await;
    let opened = owner.post("/console/accounts", &[("name", "acme"), ("owner", "eve@example.com")]).await;
    let token = opened.text.split("/setup#").nth(1).unwrap().split('<').next().unwrap().to_owned();
    let fields = form(&[("token", &token), ("password", "a long enough password")]);
    let began = api.raw("POST", "/setup", Some(fields), &[FORM]).await;
    let eve = Browser { api: &api, cookie: began.cookie() };
    for (method, path) in PAGES.iter().copied() {
        if ["/accounts", "/relays", "/installation"].iter().any(|part| path.contains(part)) {
            let body = (method == "POST").then(|| form(&[("name", "x"), ("owner", "y")]));
            assert_eq!(eve.ask(method, path, body, "en").await.status, 403, "{method} {path}");
        }
    }
    let home = eve.get("/console").await.text;
    assert!(!home.contains("/console/accounts") && !home.contains("/console/relays"), "{home}");
}

#[tokio::test]
async fn signing_in_begins_a_new_session_and_leads_nowhere_else() {
    let api = Api::start().await;
    let _ = api.session().await;
    let fixed = "postern=pss_chosen_by_somebody_else";
    for (next, expected) in [
        ("/console/boxes/new", "/console/boxes/new"),
        ("https://evil.example/", "/console"),
        ("//evil.example", "/console"),
    ] {
        let fields = form(&[("name", OWNER.0), ("password", OWNER.1), ("next", next)]);
        let began = api
            .raw("POST", "/console/sign-in", Some(fields), &[FORM, ("cookie", fixed), ("host", "127.0.0.1")])
            .await;
        assert_eq!(sent_to(&began), expected);
        let cookie = began.header("set-cookie");
        assert!(!cookie.contains("chosen_by_somebody_else"), "{cookie}");
        assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"), "{cookie}");
        assert_eq!(api.raw("GET", "/v1/session", None, &[("cookie", fixed)]).await.status, 401);
    }
}

#[tokio::test]
async fn guessing_a_password_is_slowed_down_and_says_how_long() {
    let api = Api::start().await;
    let _ = api.session().await;
    let mut last = None;
    for guess in 0..30 {
        let fields = form(&[("name", "nobody@example.com"), ("password", &format!("guess number {guess}"))]);
        last = Some(api.raw("POST", "/console/sign-in", Some(fields), &[FORM]).await);
        if last.as_ref().is_some_and(|answer| answer.status == 429) {
            break;
        }
    }
    let last = last.unwrap();
    assert_eq!(last.status, 429);
    assert!(
        last.headers.contains_key("retry-after") && last.text.contains("role=\"alert\""),
        "{}",
        last.text
    );
    assert!(last.text.contains("nobody@example.com") && !last.text.contains("guess number"), "{}", last.text);
}

#[tokio::test]
async fn signing_out_ends_the_session_and_its_streams() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let api = Api::start().await;
    let browser = Browser::new(&api).await;
    let mut stream = tokio::net::TcpStream::connect(api.address).await.unwrap();
    let head = format!(
        "GET /console/live HTTP/1.1\r\nHost: api\r\nCookie: {}\r\nSec-Fetch-Site: same-origin\r\nSec-Fetch-Dest: empty\r\nConnection: close\r\n\r\n",
        browser.cookie
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut begun = [0; 4096];
    let length = stream.read(&mut begun).await.unwrap();
    assert!(String::from_utf8_lossy(&begun[..length]).contains("text/event-stream"));
    assert_eq!(sent_to(&browser.post("/console/sign-out", &[]).await), "/console/sign-in");
    let _relay = api.relay("relay-1").await;
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(std::time::Duration::from_secs(30), stream.read_to_end(&mut rest));
    ended.await.expect("the stream ends with its session").unwrap();
    assert!(sent_to(&browser.get("/console").await).starts_with("/console/sign-in"));
}
