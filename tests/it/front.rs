//! A link opens the box's own page: TLS from end to end, and an alert for whoever does not come in.

use std::net::SocketAddr;

use postern_protocol::access::Door;
use postern_protocol::api::{Access, DeviceStatus, Visit, VisitOutcome};
use postern_tests::nginx::HELLO;
use postern_tests::program::feed_nothing;
use postern_tests::{AT_ONCE, Curl, Machine, Nginx, Output, SOON, Stack, eventually, within};

use crate::deny::ELSEWHERE;

/// What `/large` has: more than all buffers on the way hold.
const LARGE: usize = 64 * 1024 * 1024;

#[tokio::test]
async fn a_link_opens_the_page_of_the_box_in_every_tls() {
    let (stack, _box42, page, access) = usual().await;
    let curl = Curl::new(front(&stack), access.id).with(&["--pinnedpubkey", &page.pin()]);
    let old = &["--tls-max", "1.2", "--http1.1"][..];
    for options in [old, &["--tlsv1.3", "--http1.1"], &["--http2"]] {
        let curl = curl.clone().with(options).with(&["--write-out", "%{http_version}"]);
        let version = if options.contains(&"--http2") { "2" } else { "1.1" };
        assert_eq!(curl.get("/hello").await.success(), format!("{HELLO}{version}"), "{options:?}");
    }
    let upper_case =
        Curl::to_host(front(&stack), &format!("{}.LOCALHOST", access.id.as_str().to_uppercase()));
    assert_eq!(upper_case.get("/hello").await.success(), HELLO);

    for visit in stack.visits(access.id, 4).await {
        assert_eq!((visit.outcome, visit.entrance), (VisitOutcome::Ended, Door::Front), "{visit:?}");
        assert!(visit.bytes_up > 0 && visit.bytes_down > HELLO.len() as u64, "{visit:?}");
    }
}

#[tokio::test]
async fn a_large_page_arrives_whole_while_another_visitor_takes_nothing() {
    let (stack, _box42, _page, access) = usual().await;
    let curl = Curl::new(front(&stack), access.id);
    let unseen = curl.with(&["--output", "/dev/null"]);
    let mut lazy = begin(&unseen.clone().with(&["--limit-rate", "1k"]));
    let size = unseen.with(&["--write-out", "%{size_download}"]).get("/large").await;
    assert_eq!(size.success(), LARGE.to_string());
    assert!(lazy.try_wait().expect("a child").is_none(), "the lazy one is still at it");
}

#[tokio::test]
async fn a_page_with_two_hundred_parallel_requests_comes_whole() {
    const REQUESTS: usize = 200;
    let (stack, _box42, _page, access) = usual().await;
    let curl = Curl::new(front(&stack), access.id).with(&["--http1.1", "--parallel", "--parallel-immediate"]);
    let curl = curl.with(&["--parallel-max", "200", "--max-time", "120", "--write-out", "%{http_code} "]);
    let codes = curl.get(&format!("/hello?[1-{REQUESTS}]")).await.success();
    assert_eq!(codes.matches("200").count(), REQUESTS, "{codes}");
    eventually("every connection is over", SOON, async || {
        (stack.relay.metric("connections{door=\"front\"}").await == 0.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_boxs_own_name_leads_to_whichever_access_admits_the_visitor() {
    let stack = Stack::start().await;
    let page = SocketAddr::new(stack.scene().address().into(), 443);
    let box42 = stack.add_box_with("box42", &format!("services = {{ page = '{page}' }}")).await;
    let _page = Nginx::start(stack.scene(), page, 0).await;
    let here = stack.allow_page(&box42, 443).await;
    let elsewhere = stack.allow_with(&box42, |access| {
        (access.exposed_port, access.public_key) = (443, None);
        access.allowed_ips = Some(vec![ELSEWHERE.into()]);
    });
    let elsewhere = elsewhere.await;
    let curl = Curl::new(front(&stack), "box42");

    assert_eq!(curl.get("/hello").await.success(), HELLO);
    assert_eq!(curl.clone().from(ELSEWHERE).get("/hello").await.success(), HELLO);
    assert_eq!(stack.visits(here.id, 1).await[0].source.to_string(), "127.0.0.1");
    assert_eq!(stack.visits(elsewhere.id, 1).await[0].source.to_string(), ELSEWHERE);

    assert_alert(&curl.clone().from("127.0.0.8").get("/hello").await, "access denied");
    let refused = refusals(&stack, "address_not_allowed", 1).await.remove(0);
    assert_eq!((refused.access, refused.device), (None, Some(box42.id())), "no access was named");

    stack.api.revoke(elsewhere.id).await;
    assert_alert(&curl.clone().from(ELSEWHERE).get("/hello").await, "access denied");
    assert_eq!(curl.get("/hello").await.success(), HELLO);
}

#[tokio::test]
async fn a_name_that_leads_nowhere_is_answered_with_its_alert() {
    let (stack, box42, _page, _access) = usual().await;
    let with_a_key = stack.allow(&box42).await;
    let front = front(&stack);
    let unknown = [
        Curl::new(front, "aaaaaaaaaa"),
        Curl::new(front, "box43"),
        Curl::new(front, with_a_key.id),
        Curl::new(front, "box42"),
        Curl::to_host(front, "localhost"),
        Curl::to_host(front, "a.b.localhost"),
        Curl::to_host(front, "box42.example.com"),
        // Nobody names an address in TLS.
        Curl::to_host(front, &front.ip().to_string()),
    ];
    for curl in &unknown {
        assert_alert(&curl.get("/hello").await, "unrecognized name");
    }
    // A name that is known, and for something else, looks the same from outside.
    assert_eq!(refusals(&stack, "wrong_key", 1).await[0].access, Some(with_a_key.id));
    for visit in refusals(&stack, "unknown_access", 5).await {
        assert_eq!((visit.entrance, visit.access), (Door::Front, None), "{visit:?}");
    }
}

#[tokio::test]
async fn a_certificate_authority_gets_through_to_the_box_of_the_name_and_no_further() {
    let (stack, _box42, _page, access) = usual().await;
    let address = front(&stack).to_string();
    let ask = async |label: &str, protocols: &str| {
        let mut authority = std::process::Command::new("openssl");
        authority.args(["s_client", "-connect", &address, "-alpn", protocols]);
        authority.args(["-servername", &format!("{label}.localhost")]);
        feed_nothing(authority).await.stderr
    };
    // This box proves no name, and says so; nobody else is asked.
    let answer = ask("box42", "acme-tls/1").await;
    assert!(answer.contains("alert internal error"), "{answer}");
    assert_eq!(stack.relay.metric("challenges_total{code=\"not_offered\"}").await, 1.0);
    for label in ["box43", access.id.as_str()] {
        let answer = ask(label, "acme-tls/1").await;
        assert!(answer.contains("unrecognized name"), "{label}: {answer}");
    }
    // Among other protocols it is a visitor like any other, and the page has no such name.
    let answer = ask("box42", "acme-tls/1,h2").await;
    assert!(answer.contains("unrecognized name"), "{answer}");
    assert_eq!(stack.relay.metric("challenges_total").await, 1.0);
    assert!(stack.api.visits(&format!("access={}", access.id)).await.is_empty(), "it is no visit");
}

#[tokio::test]
async fn whoever_does_not_come_in_gets_an_alert_and_is_on_record() {
    let (stack, mut box42, page, access) = usual().await;
    let curl = Curl::new(front(&stack), access.id);
    assert_alert(&curl.clone().from(ELSEWHERE).get("/hello").await, "access denied");

    let short = stack.allow_page(&box42, page.address().port()).await;
    let short = stack.api.edit_access(short.id, &ends_in("1s")).await.expect("an access can be shortened");
    eventually("the access expires", SOON, async || (chrono::Utc::now() > short.expires_at).then_some(()))
        .await;
    assert_alert(&Curl::new(front(&stack), short.id).get("/hello").await, "access denied");

    let revoked = stack.allow_page(&box42, page.address().port()).await;
    stack.api.revoke(revoked.id).await;
    assert_alert(&Curl::new(front(&stack), revoked.id).get("/hello").await, "access denied");

    box42.run(&["pause"]).await.success();
    assert_alert(&curl.get("/hello").await, "access denied");
    box42.stop().await;
    box42.becomes(DeviceStatus::Offline, &stack.api).await;
    assert_alert(&curl.get("/hello").await, "internal error");

    assert_refused(&stack, &short, &["expired"]).await;
    assert_refused(&stack, &revoked, &["revoked"]).await;
    assert_refused(&stack, &access, &["address_not_allowed", "box_paused", "box_offline"]).await;
}

#[tokio::test]
async fn revoking_an_access_cuts_its_downloads_at_once_and_nobody_elses() {
    let (stack, box42, page, doomed) = usual().await;
    let other = stack.allow_page(&box42, page.address().port()).await;
    let slowly = |access: &Access| {
        let curl = Curl::new(front(&stack), access.id);
        // What the client's own kernel has by then is theirs: some megabytes, to be read within the time allowed.
        begin(&curl.with(&["--limit-rate", "16M", "--output", "/dev/null"]))
    };
    let (mut cut, mut spared) = (slowly(&doomed), slowly(&other));
    eventually("both are under way", SOON, async || {
        (stack.relay.metric("visits_open").await == 2.0).then_some(())
    })
    .await;

    stack.api.revoke(doomed.id).await;
    let status = within("the download ends", AT_ONCE, cut.wait()).await.expect("a child");
    assert!(!status.success(), "a page that is cut does not look whole");
    assert!(spared.try_wait().expect("a child").is_none(), "the other one goes on");
    let visit = stack.visits(doomed.id, 1).await.remove(0);
    assert_eq!((visit.outcome, visit.code.as_str()), (VisitOutcome::Ended, "revoked"), "{visit:?}");
}

#[tokio::test]
async fn a_connection_on_which_nothing_moves_ends_when_the_relay_says_so() {
    let stack = Stack::with().relay("limits = { front_idle = '1s' }").start().await;
    let (_box42, page) = box_with_a_page(&stack).await;
    let access = stack.allow_page(&_box42, page.address().port()).await;
    let curl = Curl::new(front(&stack), access.id);
    let (host, port) = (format!("{}.localhost", access.id), front(&stack).port());
    let mut silent = std::process::Command::new("openssl");
    silent.args([
        "s_client",
        "-quiet",
        "-servername",
        &host,
        "-connect",
        &format!("{}:{port}", front(&stack).ip()),
    ]);
    let ended = within("the silent visitor is sent away", SOON, feed_nothing(silent)).await;
    assert_ne!(ended.code, 0, "{ended:?}");
    assert_eq!(stack.visits(access.id, 1).await[0].code, "idle");
    assert_eq!(curl.get("/hello").await.success(), HELLO);
}

#[tokio::test]
async fn links_work_on_after_a_restart_of_the_relay_while_the_api_is_dead() {
    let (mut stack, box42, _page, access) = usual().await;
    stack.control.kill();
    stack.relay.kill();
    stack.relay.restart().await;
    let curl = Curl::new(front(&stack), access.id);
    let back = async || curl.get("/hello").await.stdout.contains(HELLO).then_some(());
    eventually("the box is back", postern_tests::RETURN, back).await;
    assert_alert(&curl.from(ELSEWHERE).get("/hello").await, "access denied");
    drop(box42);
}

async fn usual() -> (Stack, Machine, Nginx, Access) {
    let stack = Stack::start().await;
    let (box42, page) = box_with_a_page(&stack).await;
    let access = stack.allow_page(&box42, page.address().port()).await;
    (stack, box42, page, access)
}

pub(crate) async fn box_with_a_page(stack: &Stack) -> (Machine, Nginx) {
    let page = Nginx::start(stack.scene(), stack.scene().free_address(), LARGE).await;
    let services = format!("services = {{ page = '{}' }}", page.address());
    (stack.add_box_with("box42", &services).await, page)
}

pub(crate) fn front(stack: &Stack) -> SocketAddr {
    stack.relay.listening().https
}

fn ends_in(time: &str) -> postern_protocol::api::EditAccess {
    postern_protocol::api::EditAccess { expires_in: Some(time.into()), ..Default::default() }
}

/// Begins to ask for the large page.
fn begin(curl: &Curl) -> tokio::process::Child {
    let mut command = tokio::process::Command::from(curl.command("/large"));
    command.kill_on_drop(true).spawn().expect("curl is installed")
}

fn assert_alert(output: &Output, alert: &str) {
    assert_eq!(output.code, 35, "no TLS, says curl: {output:?}");
    assert!(output.stderr.contains(alert), "no {alert:?} in {output:?}");
}

async fn assert_refused(stack: &Stack, access: &Access, codes: &[&str]) {
    let visits = stack.visits(access.id, codes.len()).await;
    let seen: Vec<_> = visits.iter().map(|visit| visit.code.as_str()).collect();
    assert_eq!(seen, codes);
    for visit in &visits {
        assert_eq!((visit.outcome, visit.entrance), (VisitOutcome::Refused, Door::Front), "{visit:?}");
    }
}

/// The refused visits with this code, once there are so many.
async fn refusals(stack: &Stack, code: &str, count: usize) -> Vec<Visit> {
    eventually(&format!("{count} on record with {code}"), SOON, async || {
        let visits = stack.api.visits("outcome=refused").await;
        let visits: Vec<Visit> = visits.into_iter().filter(|visit| visit.code == code).collect();
        (visits.len() >= count).then_some(visits)
    })
    .await
}
