//! What browsers get, and what local pages see of them.

use std::process::Stdio;
use std::sync::Arc;

use chrono::Utc;
use postern_protocol::access::Door;
use postern_protocol::wire::WebCertificateKind;
use quinn::ReadError;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::scene::{Files, NAME, Nginx, PATIENCE, Scene, curl, free_port, said};
use crate::trust::{fingerprint, provider};

/// A page, exposed as port 443.
fn page(address: &str) -> String {
    format!("[services]\npage = {{ address = '{address}', port = 443 }}\n")
}

fn home() -> (tempfile::TempDir, Files) {
    let home = tempfile::tempdir().unwrap();
    let files = Files::make(home.path(), &[NAME]);
    (home, files)
}

/// A scene whose agent ends TLS, once it holds its certificate.
async fn ending_tls(home: tempfile::TempDir, files: &Files, services: &str) -> Scene {
    let scene = Scene::start(home, &format!("{services}{}", files.settings()), &[443]).await;
    scene.until(|standing| standing.held.is_some()).await;
    scene
}

/// TLS as a browser speaks it, with HTTP/1.1 by hand.
async fn by_hand(scene: &Scene, files: &Files) -> BufReader<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(files.own.clone()).unwrap();
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let tcp = TcpStream::connect(scene.entrance(Door::Front, 443).await).await.unwrap();
    let name = ServerName::try_from(NAME).unwrap();
    BufReader::new(TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap())
}

async fn head(from: &mut (impl AsyncBufReadExt + Unpin)) -> String {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(from.read_line(&mut head).await.unwrap(), 0, "it ends early: {head}");
    }
    head
}

#[tokio::test]
async fn the_box_ends_tls_and_says_who_visits_whatever_they_say_themselves() {
    let (home, files) = home();
    let seen = "return 200 '$server_protocol $http_host $http_x_forwarded_for $http_x_forwarded_proto \
                $http_x_forwarded_host [$http_forwarded$http_x_real_ip]\\n';";
    let nginx = Nginx::start(home.path(), "", seen).await;
    let scene = ending_tls(home, &files, &page(&format!("http://127.0.0.1:{}", nginx.port))).await;
    let facts = scene.agent.facts();
    assert_eq!(facts.check(), Ok(()));
    assert_eq!(facts.certificate.unwrap().kind, WebCertificateKind::File);

    for door in [Door::Front, Door::Port] {
        let entrance = scene.entrance(door, 443).await;
        for (option, version) in [("--http2", "2"), ("--http1.1", "1.1")] {
            let mut curl = curl(entrance, &files.chain);
            curl.args([option, "-w", "%{http_version}", "-H", "X-Forwarded-For: 10.0.0.1"]);
            curl.args([
                "-H",
                "Forwarded: for=10.0.0.1",
                "-H",
                "X-Real-IP: 10.0.0.1",
                "https://box42.relay.test/",
            ]);
            let answer = said(&curl.output().await.unwrap());
            let seen = format!("HTTP/1.1 {NAME} 203.0.113.9 https {NAME} []\n{version}");
            assert_eq!(answer, seen, "{door:?} {option}");
        }
    }
    // By the gate the bytes stay what they are.
    let gate = scene.entrance(Door::Gate, 443).await;
    let plain = said(&curl(gate, &files.chain).arg("http://plain.test/").output().await.unwrap());
    assert_eq!(plain, "HTTP/1.1 plain.test    []\n");
    scene.stop().await;
}

#[tokio::test]
async fn large_bodies_go_both_ways_unchanged_and_many_requests_at_once() {
    let (home, files) = home();
    let place = home.path().to_owned();
    let nginx = Nginx::start(&place, "", "dav_methods PUT; client_body_temp_path body;").await;
    let scene = ending_tls(home, &files, &page(&format!("http://127.0.0.1:{}", nginx.port))).await;
    let entrance = scene.entrance(Door::Front, 443).await;
    let large: Vec<u8> = (0..30_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    std::fs::write(place.join("large"), &large).unwrap();
    for option in ["--http2", "--http1.1"] {
        let mut put = curl(entrance, &files.chain);
        put.args([option, "--fail", "-T"]).arg(place.join("large")).arg("https://box42.relay.test/put");
        said(&put.output().await.unwrap());
        assert!(std::fs::read(place.join("put")).unwrap() == large, "{option}: the upload changed");
        let mut down = curl(entrance, &files.chain);
        let down = down.args([option, "--fail", "https://box42.relay.test/put"]).output().await.unwrap();
        assert!(down.status.success() && down.stdout == large, "{option}: the download changed");
        std::fs::remove_file(place.join("put")).unwrap();
    }

    std::fs::write(place.join("small"), "small").unwrap();
    let mut many = curl(entrance, &files.chain);
    many.args(["--http2", "-Z", "--parallel-max", "200", "-o", "/dev/null", "-w", "%{http_code} "]);
    let many = said(&many.arg("https://box42.relay.test/small?[1-200]").output().await.unwrap());
    assert_eq!(many, "200 ".repeat(200));
    scene.stop().await;
}

#[tokio::test]
async fn a_page_under_tls_of_its_own_is_checked_as_the_settings_say() {
    let (home, files) = home();
    let (crt, key) = (files.chain.display(), files.key.display());
    let server = format!("ssl_certificate {crt}; ssl_certificate_key {key}; return 200 'under tls';");
    let nginx = Nginx::start(home.path(), "ssl", &server).await;
    let pin = data_encoding::HEXLOWER.encode(&fingerprint(&files.own));
    let (right, wrong) = (format!("sha256:{pin}"), format!("sha256:{}", "00".repeat(32)));
    let authority = files.chain.display().to_string();
    // The authority signed it, but for another name than this address.
    for (verify, answer) in
        [("none", "under tls200"), (&right, "under tls200"), (&wrong, "502"), (&authority, "502")]
    {
        let services = format!(
            "[services]\npage = {{ address = 'https://127.0.0.1:{}', port = 443, verify = '{verify}' }}\n",
            nginx.port
        );
        let scene = ending_tls(tempfile::tempdir().unwrap(), &files, &services).await;
        let mut curl = curl(scene.entrance(Door::Front, 443).await, &files.chain);
        let got =
            said(&curl.args(["-w", "%{http_code}", "https://box42.relay.test/"]).output().await.unwrap());
        assert!(got.ends_with(answer), "{verify}: {got}");
        scene.stop().await;
    }
}

#[tokio::test]
async fn a_page_that_is_passed_through_shows_its_own_certificate_and_the_box_tells_which() {
    let (home, files) = home();
    let (crt, key) = (files.chain.display(), files.key.display());
    let server = format!("ssl_certificate {crt}; ssl_certificate_key {key}; return 200 '$server_protocol';");
    for protocols in ["TLSv1.2", "TLSv1.3"] {
        let dir = tempfile::tempdir().unwrap();
        let nginx =
            Nginx::start(dir.path(), "ssl http2", &format!("{server} ssl_protocols {protocols};")).await;
        let settings = page(&format!("https://127.0.0.1:{}", nginx.port));
        let scene = Scene::start(tempfile::tempdir().unwrap(), &settings, &[443]).await;
        let shown = scene.until(|standing| standing.shown.is_some()).await.shown.unwrap();
        assert_eq!(shown.kind, WebCertificateKind::Service);
        assert_eq!(shown.fingerprint, data_encoding::HEXLOWER.encode(&fingerprint(&files.own)));
        assert_eq!(shown.names, [NAME]);
        let mut curl = curl(scene.entrance(Door::Front, 443).await, &files.chain);
        assert_eq!(said(&curl.arg("https://box42.relay.test/").output().await.unwrap()), "HTTP/2.0");
        scene.stop().await;
    }
    drop(home);
}

#[tokio::test]
async fn a_service_that_asks_is_told_the_visitors_address_first() {
    let (home, files) = home();
    let server = "return 200 '$proxy_protocol_addr:$proxy_protocol_port';";
    let nginx = Nginx::start(home.path(), "proxy_protocol", server).await;
    let services = format!(
        "[services]\npage = {{ address = 'http://127.0.0.1:{}', port = 443, proxy_protocol = true }}\n",
        nginx.port
    );
    let scene = ending_tls(home, &files, &services).await;
    for (door, url) in [(Door::Front, "https://box42.relay.test/"), (Door::Gate, "http://box42.relay.test/")]
    {
        let mut curl = curl(scene.entrance(door, 443).await, &files.chain);
        assert_eq!(said(&curl.arg(url).output().await.unwrap()), "203.0.113.9:4711", "{url}");
    }
    scene.stop().await;
}

#[tokio::test]
async fn a_websocket_is_bytes_both_ways_and_ends_with_the_visit() {
    let (home, files) = home();
    let local = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let scene = ending_tls(home, &files, &page(&format!("http://{}", local.local_addr().unwrap()))).await;
    let echo = tokio::spawn(async move {
        let mut page = BufReader::new(local.accept().await.unwrap().0);
        let asked = head(&mut page).await.to_ascii_lowercase();
        assert!(
            asked.contains("upgrade: websocket\r\n") && asked.contains("connection: upgrade\r\n"),
            "{asked}"
        );
        let go = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        page.write_all(go.as_bytes()).await.unwrap();
        let (mut from, mut to) = tokio::io::split(page);
        tokio::io::copy(&mut from, &mut to).await.unwrap();
    });
    let mut browser = by_hand(&scene, &files).await;
    let asked =
        format!("GET /ws HTTP/1.1\r\nHost: {NAME}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    browser.write_all(asked.as_bytes()).await.unwrap();
    assert!(head(&mut browser).await.starts_with("HTTP/1.1 101"));
    for word in ["to and", "fro"] {
        browser.write_all(word.as_bytes()).await.unwrap();
        let mut echoed = vec![0; word.len()];
        browser.read_exact(&mut echoed).await.unwrap();
        assert_eq!(echoed, word.as_bytes());
    }
    scene.agent.pause.pause(Utc::now()).unwrap();
    // No close_notify: what was cut does not look complete.
    assert!(browser.read(&mut [0]).await.is_err());
    tokio::time::timeout(PATIENCE, echo).await.expect("the page is told, too").unwrap();
    scene.stop().await;
}

#[tokio::test]
async fn a_slow_page_is_passed_on_as_it_speaks_and_cut_when_the_owner_says_so() {
    let (home, files) = home();
    let local = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let scene = ending_tls(home, &files, &page(&format!("http://{}", local.local_addr().unwrap()))).await;
    let mut curl = curl(scene.entrance(Door::Front, 443).await, &files.chain);
    let curl = curl.args(["-N", "https://box42.relay.test/"]).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut curl = curl.spawn().unwrap();
    let mut page = BufReader::new(local.accept().await.unwrap().0);
    head(&mut page).await;
    page.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await.unwrap();
    let mut hears = curl.stdout.take().unwrap();
    for word in ["first", "later"] {
        page.write_all(format!("5\r\n{word}\r\n").as_bytes()).await.unwrap();
        let mut heard = [0; 5];
        hears.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, word.as_bytes());
    }
    scene.agent.pause.pause(Utc::now()).unwrap();
    assert!(!curl.wait().await.unwrap().success());
    assert_eq!(page.read(&mut [0]).await.unwrap_or(0), 0, "the page is told, too");
    scene.stop().await;
}

#[tokio::test]
async fn a_visit_that_must_end_does_not_look_finished_to_the_relay() {
    let (home, files) = home();
    let scene = ending_tls(home, &files, &page("http://127.0.0.1:1")).await;
    let (_to, mut from) = scene.visit(443).await;
    scene.agent.pause.pause(Utc::now()).unwrap();
    let end = tokio::time::timeout(PATIENCE, from.read(&mut [0])).await.expect("it ends");
    assert!(matches!(end, Err(ReadError::Reset(_))), "{end:?}");
    scene.stop().await;
}

#[tokio::test]
async fn a_page_that_is_down_is_a_sentence_in_the_browser() {
    let (home, files) = home();
    let scene = ending_tls(home, &files, &page(&format!("http://127.0.0.1:{}", free_port()))).await;
    let mut curl = curl(scene.entrance(Door::Front, 443).await, &files.chain);
    let said = said(&curl.args(["-w", "%{http_code}", "https://box42.relay.test/"]).output().await.unwrap());
    assert!(said.contains("its page does not answer") && said.ends_with("502"), "{said}");
    scene.stop().await;
}

#[tokio::test]
async fn a_browser_that_asks_for_nothing_is_let_go() {
    let (home, files) = home();
    let nginx = Nginx::start(home.path(), "", "return 200 'here';").await;
    let address = format!("http://127.0.0.1:{}", nginx.port);
    let settings = format!("{}{}idle_seconds = 10\n", page(&address), files.settings());
    let scene = Scene::start(home, &settings, &[443]).await;
    scene.until(|standing| standing.held.is_some()).await;
    let mut browser = by_hand(&scene, &files).await;
    browser.write_all(format!("GET / HTTP/1.1\r\nHost: {NAME}\r\n\r\n").as_bytes()).await.unwrap();
    let mut all = String::new();
    tokio::time::timeout(PATIENCE, browser.read_to_string(&mut all)).await.unwrap().unwrap();
    assert!(all.starts_with("HTTP/1.1 200") && all.ends_with("here"), "{all}");
    scene.stop().await;
}
