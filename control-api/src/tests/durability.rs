//! What survives, and what is nowhere to be found.

use std::io::Write;
use std::sync::{Arc, Mutex};

use serde_json::json;
use tracing_subscriber::fmt::MakeWriter;

use super::harness::{csr, join_token};
use super::{Api, KEY};
use crate::admin::{self, TokenTerms};

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_restart() {
    let api = Api::start().await;
    let relay = api.relay("relay-1").await;
    let created = api.post("/v1/devices", json!({ "name": "box42" })).await;
    relay.join(&join_token(&created)).await;
    let access = api.access("box42").await;
    let authority = api.app.authority.fingerprint();
    let revision = api.app.store.revision().await.unwrap();
    let api = api.restart().await;
    assert_eq!(api.app.authority.fingerprint(), authority);
    assert_eq!(api.app.store.revision().await.unwrap(), revision);
    assert_eq!(api.get("/v1/devices/box42").await.json["status"], "offline");
    assert_eq!(api.get(&format!("/v1/accesses/{access}")).await.status, 200);
}

/// A process that is killed leaves the files as they are at that moment; so do we, and open a copy.
#[tokio::test]
async fn what_was_acknowledged_survives_a_kill() {
    let api = Api::start().await;
    let _relay = api.relay("relay-1").await;
    api.device("box42").await;
    let access = api.access("box42").await;
    let copy = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(api.state_dir()).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    let config = crate::Config { state_dir: copy.path().to_owned(), ..api.config().clone() };
    let store = crate::setup::Installation::open(&config, &api.clock).await.unwrap().store;
    let found = store
        .own_account(crate::author::Author::machine(api.clock.now()))
        .access(access.parse().unwrap(), api.clock.now())
        .await
        .unwrap();
    assert_eq!(found.unwrap().1.name.as_str(), "box42");
}

#[tokio::test]
async fn revisions_rise_even_if_the_database_is_restored_from_an_older_copy() {
    let api = Api::start().await;
    let _relay = api.relay("relay-1").await;
    api.device("box42").await;
    let before = api.app.store.revision().await.unwrap();
    api.clock.advance(chrono::TimeDelta::seconds(1));
    api.device("box43").await;
    let after = api.app.store.revision().await.unwrap();
    assert!(after >= before + 1000, "at least the time: {before} {after}");
}

#[tokio::test]
async fn keys_that_were_lost_are_not_quietly_replaced() {
    let mut api = Api::start().await;
    api.stop().await;
    for file in ["authority.pem", "grants.key"] {
        let path = api.state_dir().join(file);
        let kept = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let error = crate::bind(api.config().clone()).await.err().expect("it does not start").to_string();
        assert!(error.contains("has lost its keys"), "{error}");
        std::fs::write(&path, kept).unwrap();
    }
    crate::bind(api.config().clone()).await.unwrap();
}

#[tokio::test]
async fn two_programs_that_start_at_the_same_time_make_one_installation() {
    let temp = tempfile::tempdir().unwrap();
    let config = crate::Config { state_dir: temp.path().join("state"), ..crate::Config::default() };
    let (first, third) = (TokenTerms::everything("one"), TokenTerms::everything("three"));
    let (one, two, three) = tokio::join!(
        admin::create_token(&config, &first),
        admin::add_relay(&config, "relay-1"),
        admin::create_token(&config, &third),
    );
    assert!(one.is_ok() && two.is_ok() && three.is_ok());
    assert_eq!(admin::tokens(&config).await.unwrap().len(), 2);
    let again = admin::add_relay(&config, "relay-1").await.unwrap_err().to_string();
    assert!(again.contains("--rotate"), "{again}");
    let token = admin::tokens(&config).await.unwrap()[0].id;
    assert!(admin::remove_token(&config, token).await.unwrap());
    assert!(!admin::remove_token(&config, token).await.unwrap());
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn no_secret_is_in_the_log_or_in_the_database() {
    let log = Log::default();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(log.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let api = Api::start().await;
    let relay = api.relay("relay-1").await;
    let body = json!({ "name": "box42" });
    let created = api.ask("POST", "/v1/devices", Some(body), &[("idempotency-key", "k1")]).await;
    let join = join_token(&created);
    let key = rcgen::KeyPair::generate().unwrap();
    let request = json!({ "token": join.reveal(), "csr": csr(&key), "facts": super::harness::facts() });
    assert_eq!(relay.post("join", request).await.status, 200);
    let private =
        "-----BEGIN OPENSSH PRIVATE KEY-----\nTOPSECRETTOPSECRET\n-----END OPENSSH PRIVATE KEY-----";
    let refused = json!({ "device": "box42", "exposed_port": 22, "public_key": private });
    assert_eq!(api.post("/v1/accesses", refused).await.problem(), "private_key");
    let made =
        api.post("/v1/tokens", json!({ "name": "ci" })).await.json["token"].as_str().unwrap().to_owned();
    let accepted = json!({ "device": "box42", "exposed_port": 22, "public_key": KEY });
    assert_eq!(api.post("/v1/accesses", accepted).await.status, 201);
    let mut places = vec![("the log".to_owned(), log.0.lock().unwrap().clone())];
    for file in std::fs::read_dir(api.state_dir()).unwrap() {
        let path = file.unwrap().path();
        places.push((path.display().to_string(), std::fs::read(path).unwrap()));
    }
    assert!(String::from_utf8_lossy(&places[0].1).contains("box joined"), "the log is looked at");
    for secret in [api.token.reveal(), relay.token.reveal(), join.reveal(), &made, "TOPSECRET"] {
        // Without its kind, which also begins its hash's column of nothing.
        let secret = secret.split_once('_').map_or(secret, |(_, secret)| secret);
        for (place, bytes) in &places {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "a secret is in {place}");
        }
    }
    let string = created.json["join"]["string"].as_str().unwrap();
    let encoded = &string[string.len() - 20..];
    assert!(places.iter().all(|(_, bytes)| !bytes.windows(20).any(|window| window == encoded.as_bytes())));
}
