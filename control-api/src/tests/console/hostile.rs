//! What hostile people and boxes write, on pages.

use super::*;
use crate::tests::harness::hello;

/// It would run if anything of it were markup.
const SCRIPT: &str = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>";

#[tokio::test]
async fn no_text_of_anybodys_is_markup() {
    let api = Api::start().await;
    let relay = api.relay("relay-1").await;
    let browser = Browser::new(&api).await;
    let made = api.post("/v1/devices", json!({ "name": "box42" })).await;
    let (_, joined) = relay.join(&join_token(&made)).await;
    assert_eq!(joined.status, 200);
    let mut said = facts();
    said["agent_version"] = SCRIPT.into();
    said["hostname"] = SCRIPT.into();
    said["platform"] = SCRIPT.into();
    said["ssh"]["version"] = SCRIPT.into();
    said["services"] = json!([{ "name": SCRIPT, "port": 8443 }]);
    let mut seen = seen(&made.id(), 1);
    seen["facts"] = said;
    relay.report_all(1, true, json!([seen])).await;
    let key = format!("{} {SCRIPT}", KEY.rsplit_once(' ').unwrap().0);
    let access = json!({ "device": "box42", "exposed_port": 22, "public_key": key, "note": SCRIPT, "allowed_ips": ["192.0.2.1"] });
    let access = api.post("/v1/accesses", access).await.id();
    let device = made.id();
    let mut changed = hello("relay-1");
    changed["version"] = SCRIPT.into();
    assert_eq!(relay.post("hello", changed).await.status, 200);
    let refusal = json!({
        "id": "vvvvvvvvvv", "relay": relay.id, "entrance": "gate", "source": "192.0.2.99", "source_port": 5000,
        "device": device, "access": access, "key": SCRIPT, "started_at": "2026-11-21T12:00:00Z",
        "outcome": "refused", "code": SCRIPT, "reason": SCRIPT, "bytes_up": 0, "bytes_down": 0,
    });
    assert_eq!(relay.post("visits", json!({ "events": [refusal] })).await.status, 204);
    let hook = json!({ "url": format!("https://example.com/{SCRIPT}?{SCRIPT}") });
    let hook = api.post("/v1/webhooks", hook).await.id();
    let pages = [
        "/console".to_owned(),
        format!("/console/boxes/{device}"),
        format!("/console/boxes/{device}/verify"),
        format!("/console/boxes/{device}/visits"),
        format!("/console/accesses/{access}"),
        "/console/users".to_owned(),
        "/console/tokens".to_owned(),
        "/console/webhooks".to_owned(),
        format!("/console/webhooks/{hook}"),
        "/console/audit".to_owned(),
        format!(
            "/console/audit?{}",
            form(&[("who", SCRIPT), ("what", SCRIPT), ("subject", SCRIPT), ("since", SCRIPT)])
        ),
        "/console/accounts".to_owned(),
        "/console/relays".to_owned(),
        "/console/installation".to_owned(),
    ];
    let mut shown = 0;
    for page in &pages {
        for language in ["en", "fr"] {
            let answer = browser.get_in(language, page).await;
            assert_eq!(answer.status, 200, "{page}: {}", answer.text);
            is_hardened(&answer);
            assert!(
                !answer.text.contains("<script>") && !answer.text.contains("<img"),
                "{page}: {}",
                answer.text
            );
            assert!(!answer.text.contains(" style=\"") && !answer.text.contains(" onclick"), "{page}");
            shown += answer.text.matches("&lt;script&gt;").count();
        }
    }
    assert!(shown > 10, "the texts are shown, as texts: {shown}");
    // What comes back into a form is text as well.
    for (path, fields) in [
        (
            format!("/console/boxes/{device}/accesses"),
            vec![("note", SCRIPT), ("from", SCRIPT), ("login", SCRIPT), ("port", "22")],
        ),
        ("/console/boxes".to_owned(), vec![("name", SCRIPT)]),
        (format!("/console/boxes/{device}/verify"), vec![("source", SCRIPT), ("port", SCRIPT)]),
        ("/console/users".to_owned(), vec![("name", SCRIPT), ("role", "viewer")]),
        ("/console/tokens".to_owned(), vec![("name", SCRIPT), ("role", "viewer")]),
        ("/console/webhooks".to_owned(), vec![("url", SCRIPT), ("box.online", "on"), (SCRIPT, SCRIPT)]),
        (format!("/console/webhooks/{hook}"), vec![("url", SCRIPT), ("box.online", "on"), (SCRIPT, SCRIPT)]),
        ("/console/accounts".to_owned(), vec![("name", SCRIPT), ("owner", SCRIPT)]),
        ("/console/relays".to_owned(), vec![("name", SCRIPT)]),
    ] {
        let answer = browser.post(&path, &fields).await;
        assert_eq!(answer.status, 422, "{path}");
        assert!(
            !answer.text.contains("<script>") && answer.text.contains("&lt;script&gt;"),
            "{path}: {}",
            answer.text
        );
    }
}

#[tokio::test]
async fn both_languages_are_spoken_and_the_choice_is_kept() {
    let api = Api::start().await;
    let browser = Browser::new(&api).await;
    assert!(browser.get_in("fr-FR", "/console").await.text.contains("Pas encore de box"));
    assert!(browser.get_in("de", "/console").await.text.contains("No boxes yet"));
    let chosen = browser.post("/console/language", &[("language", "fr"), ("back", "//evil.example")]).await;
    assert_eq!(sent_to(&chosen), "/console");
    let cookie = format!("{}; {}", browser.cookie, chosen.cookie());
    let french = Browser { api: &api, cookie };
    let page = french.get("/console").await;
    assert!(page.text.contains("<html lang=\"fr\"") && page.text.contains("Pas encore de box"));
    let missing = french.get("/console/boxes/aaaaaaaaaa").await;
    assert!(missing.status == 404 && missing.text.contains("Aucune box"), "{}", missing.text);
    is_hardened(&missing);
}

#[tokio::test]
async fn what_pages_are_made_of_is_kept_by_browsers_and_is_ours_alone() {
    let api = Api::start().await;
    let page = api.raw("GET", "/console/sign-in", None, &[]).await;
    is_hardened(&page);
    let assets: Vec<&str> =
        page.text.split('"').filter(|part| part.starts_with("/console/assets/")).collect();
    assert_eq!(assets.len(), 3, "{}", page.text);
    for asset in assets {
        let answer = api.raw("GET", asset, None, &[]).await;
        assert_eq!(answer.status, 200, "{asset}");
        assert!(answer.header("cache-control").contains("immutable"), "{asset}");
        assert!(
            !answer.text.replace("http://www.w3.org/2000/svg", "").contains("http"),
            "{asset} loads nothing from elsewhere"
        );
    }
    assert_eq!(api.raw("GET", "/console/assets/other.js", None, &[]).await.status, 404);
}
