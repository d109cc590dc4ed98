//! Links as people use them: a browser and curl in one place, a web server on a box behind a NAT in another, and
//! the relay between them.

use std::time::Instant;

use chrono::{DateTime, Utc};
use postern_protocol::access::Door;
use postern_protocol::api::{Access, DeviceStatus, EditAccess, Via, Visit, VisitOutcome};
use postern_tests::nginx::HELLO;
use postern_tests::world::{DOMAIN, RELAY, VISITOR, in_the_wild_with};
use postern_tests::{Browser, Certificate, Curl, Nginx, SOON, World, eventually, within};
use serde_json::Value;

/// The port by which accesses expose the page under its own TLS, which the agent passes through.
const PASSED: u16 = 8443;

/// The same for the page under TLS that the agent ends.
const ENDED: u16 = 443;

/// More than all buffers on the way hold.
const LARGE: usize = 64 * 1024 * 1024;

/// A page on the box, both ways.
struct Pages {
    nginx: Nginx,
    /// What the agent shows.
    certificate: Certificate,
}

impl Pages {
    async fn browser(&self, world: &World) -> Browser {
        world.browser(&[self.nginx.certificate(), &self.certificate]).await
    }

    fn pin(&self, port: u16) -> String {
        if port == PASSED { self.nginx.pin() } else { self.certificate.pin() }
    }
}

/// Runs a claim in a world whose box has a page.
fn with_pages(claim: impl AsyncFnOnce(&mut World, &Pages) + Send + 'static) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let certificate = Certificate::make(dir.path(), &format!("*.{DOMAIN}"));
    let relay = format!("https = '{RELAY}:443'\ndomain = '{DOMAIN}'\nports = '20000-20099'\n");
    let agent = format!(
        "[services]\n\
         raw = {{ address = '127.0.0.1:443', port = {PASSED} }}\n\
         page = {{ address = 'http://127.0.0.1:80', port = {ENDED} }}\n\
         [https]\n\
         certificate = 'file'\nchain = '{}'\nkey = '{}'\n",
        certificate.chain().display(),
        certificate.key().display()
    );
    in_the_wild_with(relay, agent, async move |world| {
        let _until_here = dir;
        let nginx = Nginx::at(world.home(), world.stack.scene(), LARGE).await;
        claim(world, &Pages { nginx, certificate }).await;
    });
}

#[test]
fn a_link_opens_the_page_in_every_tls_and_http() {
    with_pages(async |world, pages| {
        for port in [PASSED, ENDED] {
            let access = world.allow_page(port).await;
            let curl = world.curl(access.id).with(&["--pinnedpubkey", &pages.pin(port)]);
            every_tls_and_http(&curl).await;
            // Whatever visitors say of themselves, the page hears where they are, if the box ends TLS.
            let claim = curl.with(&["--header", "X-Forwarded-For: 127.0.0.1"]);
            let heard = if port == PASSED { "127.0.0.1" } else { VISITOR };
            assert_eq!(claim.get("/visitor").await.success(), heard, "{port}");
            for visit in world.stack.visits(access.id, 4).await {
                assert_eq!((visit.outcome, visit.entrance), (VisitOutcome::Ended, Door::Front), "{visit:?}");
                assert_eq!(visit.source.to_string(), VISITOR, "{visit:?}");
                assert!(visit.bytes_up > 0 && visit.bytes_down > 0, "{visit:?}");
            }
        }
        // The access to port 443 is what the box's own name leads to.
        let own = world.curl("box42").with(&["--pinnedpubkey", &pages.certificate.pin()]);
        assert_eq!(own.get("/hello").await.success(), HELLO);
    });
}

#[test]
fn a_page_opens_by_a_public_port_where_there_are_no_names() {
    with_pages(async |world, pages| {
        for port in [PASSED, ENDED] {
            let access = world.allow_page_with(port, |access| access.via = Some(Via::Port)).await;
            let public = access.public_port.expect("a port is leased");
            let curl = world.curl_to(public).with(&["--pinnedpubkey", &pages.pin(port)]);
            every_tls_and_http(&curl).await;
            let visits = world.stack.visits(access.id, 3).await;
            assert!(visits.iter().all(|visit| visit.entrance == Door::Port), "{visits:?}");
        }
    });
}

async fn every_tls_and_http(curl: &Curl) {
    let old = &["--tls-max", "1.2", "--http1.1"][..];
    for (options, http) in [(old, "1.1"), (&["--tlsv1.3", "--http1.1"], "1.1"), (&["--http2"], "2")] {
        let curl = curl.clone().with(options).with(&["--write-out", "%{http_version}"]);
        assert_eq!(curl.get("/hello").await.success(), format!("{HELLO}{http}"), "{options:?}");
    }
}

#[test]
fn a_browser_opens_the_page_and_is_cut_off_at_once_when_it_must_go() {
    with_pages(async |world, pages| {
        let browser = pages.browser(world).await;
        for (port, what) in [(PASSED, "the page ends"), (ENDED, "the agent ends")] {
            let revoked = world.allow_page(port).await;
            visit(&browser, &revoked).await;
            world.stack.api.revoke(revoked.id).await;
            is_cut(&browser, Utc::now(), &format!("revoked, where {what} TLS")).await;
            assert_ended(world, &revoked, "revoked").await;

            let expiring = world.allow_page(port).await;
            visit(&browser, &expiring).await;
            let edit = EditAccess { expires_in: Some("1s".into()), ..EditAccess::default() };
            let expiring =
                world.stack.api.edit_access(expiring.id, &edit).await.expect("it can be shortened");
            is_cut(&browser, expiring.expires_at, &format!("expired, where {what} TLS")).await;
            assert_ended(world, &expiring, "expired").await;
        }
        browser.close().await;
    });
}

/// Opens a page, speaks with it, and begins a download.
async fn visit(browser: &Browser, access: &Access) {
    browser.open(&link(access)).await;
    browser.reads("h1", HELLO.trim_end()).await;
    let protocol = "return performance.getEntriesByType('navigation')[0].nextHopProtocol";
    assert_eq!(browser.run(protocol).await, Value::from("h2"));
    browser.run(BUSY).await;
    let state = "return window.cut.download ? 'cut' : window.moved > 0 && window.heard === 'to and fro'";
    eventually("a download and a websocket", SOON, async || {
        let state = browser.run(state).await;
        if state == "cut" {
            // The browser itself has let go of it, because it was just started.
            browser.run(BUSY).await;
        }
        (state == Value::Bool(true)).then_some(())
    })
    .await;
}

/// A download, and a websocket; when each of them broke off.
const BUSY: &str = "
    window.moved = 0;
    window.cut = {};
    const socket = new WebSocket(`wss://${location.host}/echo`);
    socket.onopen = () => socket.send('to and fro');
    socket.onmessage = event => window.heard = event.data.trim();
    socket.onclose = event => window.cut.socket = [Date.now(), event.code];
    const download = async () => {
        const body = (await fetch('/slow')).body.getReader();
        for (let piece = await body.read(); !piece.done; piece = await body.read()) window.moved += piece.value.length;
        return 'it came whole';
    };
    const note = what => window.cut.download = [Date.now(), String(what)];
    download().then(note, note);";

/// Waits until a browser has noticed that it was cut off, and says how long that took.
async fn is_cut(browser: &Browser, since: DateTime<Utc>, why: &str) {
    let cut = eventually(&format!("{why}: the browser notices"), SOON, async || {
        let cut = browser.run("return window.cut").await;
        (cut["download"].is_array() && cut["socket"].is_array()).then_some(cut)
    })
    .await;
    assert_eq!(cut["download"][1], "TypeError: network error", "what is cut does not look whole");
    assert_eq!(cut["socket"][1], 1006, "nobody said goodbye");
    let after = |what: &str| cut[what][0].as_i64().expect("a time") - since.timestamp_millis();
    println!("{why}: download over after {} ms, websocket after {} ms", after("download"), after("socket"));
}

#[test]
fn a_download_of_curl_is_cut_off_at_once_when_it_must_go() {
    with_pages(async |world, _pages| {
        for port in [PASSED, ENDED] {
            let access = world.allow_page(port).await;
            let curl = world.curl(access.id).with(&["--output", "/dev/null"]).command("/slow");
            let mut curl = tokio::process::Command::from(curl).kill_on_drop(true).spawn().expect("curl runs");
            eventually("it is under way", SOON, async || {
                let visits = world.stack.api.visits(&format!("access={}", access.id)).await;
                visits.iter().any(|visit| visit.outcome == VisitOutcome::Open).then_some(())
            })
            .await;
            world.stack.api.revoke(access.id).await;
            let answered = Instant::now();
            let status = within("the download ends", SOON, curl.wait()).await.expect("a child");
            println!("revoked: curl was cut off after {:?}", answered.elapsed());
            assert!(!status.success(), "what is cut does not look whole");
            assert_ended(world, &access, "revoked").await;
        }
    });
}

#[test]
fn a_browser_that_does_not_come_in_shows_why_as_well_as_it_can_and_is_on_record() {
    const NO_SUCH_NAME: &str = "ERR_SSL_UNRECOGNIZED_NAME_ALERT";
    /// Chromium has one name for all alerts that it thinks unusual.
    const ALERTED: &str = "ERR_SSL_PROTOCOL_ERROR";
    with_pages(async |world, pages| {
        let browser = pages.browser(world).await;
        assert_eq!(browser.error(&format!("https://aaaaaaaaaa.{DOMAIN}/")).await, NO_SUCH_NAME);
        let strangers = world.stack.api.visits("outcome=refused").await;
        assert!(strangers.iter().all(|visit| visit.code == "unknown_access"), "{strangers:?}");

        let api = &world.stack.api;
        let elsewhere = world.allow_page(PASSED).await;
        let edit = EditAccess { allowed_ips: Some(vec!["192.0.2.77".into()]), ..EditAccess::default() };
        api.edit_access(elsewhere.id, &edit).await.expect("an access can be edited");
        assert_refused(world, &browser, &elsewhere, ALERTED, "address_not_allowed").await;

        let expired = world.allow_page(PASSED).await;
        let edit = EditAccess { expires_in: Some("1s".into()), ..EditAccess::default() };
        let expired = api.edit_access(expired.id, &edit).await.expect("an access can be shortened");
        eventually("it expires", SOON, async || (Utc::now() > expired.expires_at).then_some(())).await;
        assert_refused(world, &browser, &expired, ALERTED, "expired").await;

        let revoked = world.allow_page(ENDED).await;
        api.revoke(revoked.id).await;
        assert_refused(world, &browser, &revoked, ALERTED, "revoked").await;

        let paused = world.allow_page(ENDED).await;
        world.box42.run(&["pause"]).await.success();
        assert_refused(world, &browser, &paused, ALERTED, "box_paused").await;

        let offline = world.allow_page(PASSED).await;
        world.box42.stop().await;
        world.box42.becomes(DeviceStatus::Offline, &world.stack.api).await;
        assert_refused(world, &browser, &offline, ALERTED, "box_offline").await;
        browser.close().await;
    });
}

fn link(access: &Access) -> String {
    let connection = access.connection.as_ref().expect("an access says how to connect");
    let link = format!("https://{}.{DOMAIN}/", access.id);
    assert_eq!(connection.url.as_ref(), Some(&link));
    link
}

/// Every visit is over, and those that could not go on say why.
async fn assert_ended(world: &World, access: &Access, code: &str) {
    let visits = eventually("every visit is over", SOON, async || {
        let visits = visits(world, access).await;
        let over = visits.iter().all(|visit| visit.outcome != VisitOutcome::Open);
        (over && !visits.is_empty()).then_some(visits)
    })
    .await;
    assert!(visits.iter().any(|visit| visit.code == code), "{visits:?}");
    assert!(visits.iter().all(|visit| ["ended", code].contains(&visit.code.as_str())), "{visits:?}");
}

/// A browser shows this, and every attempt is on record with its reason.
async fn assert_refused(world: &World, browser: &Browser, access: &Access, shown: &str, code: &str) {
    assert_eq!(browser.error(&link(access)).await, shown, "{code}");
    let visits = eventually(&format!("{code} is on record"), SOON, async || {
        let visits = visits(world, access).await;
        (!visits.is_empty()).then_some(visits)
    })
    .await;
    for visit in visits {
        assert_eq!((visit.outcome, visit.code.as_str()), (VisitOutcome::Refused, code), "{visit:?}");
        assert_eq!((visit.entrance, visit.source.to_string().as_str()), (Door::Front, VISITOR), "{visit:?}");
    }
}

async fn visits(world: &World, access: &Access) -> Vec<Visit> {
    world.stack.api.visits(&format!("access={}", access.id)).await
}
