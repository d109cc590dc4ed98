//! The client against the control API itself.

use std::path::{Path, PathBuf};

use postern_protocol::api::{CreateDevice, Device};
use postern_protocol::id::DeviceName;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;
use crate::device::known;

/// A control API on loopback, with a token for it.
struct Running {
    dir: tempfile::TempDir,
    base: Url,
    token: Secret,
    stop: oneshot::Sender<()>,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Running {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path());
        Self::start_with(dir, config, "http").await
    }

    /// With a certificate that signs itself; its file is what `--ca` names.
    async fn start_with_tls() -> (Self, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let issued = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let (certificate, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
        std::fs::write(&certificate, issued.cert.pem()).unwrap();
        std::fs::write(&key, issued.signing_key.serialize_pem()).unwrap();
        let tls = Some(postern_api::Tls { certificate: certificate.clone(), key });
        let config = postern_api::Config { tls, ..config(dir.path()) };
        (Self::start_with(dir, config, "https").await, certificate)
    }

    async fn start_with(dir: tempfile::TempDir, config: postern_api::Config, scheme: &str) -> Self {
        let token =
            postern_api::admin::create_token(&config, &postern_api::admin::TokenTerms::everything("test"))
                .await
                .unwrap();
        let bound = postern_api::bind(config).await.unwrap();
        let base = format!("{scheme}://{}/", bound.address()).parse().unwrap();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(bound.run(async {
            let _ = stopped.await;
        }));
        Self { dir, base, token, stop, task }
    }

    fn client(&self, token: Secret) -> Api {
        Api::new(Settings { api: self.base.clone(), token, origin: "the test".into(), ca: None }).unwrap()
    }

    async fn stop(self) -> tempfile::TempDir {
        self.stop.send(()).unwrap();
        self.task.await.unwrap().unwrap();
        self.dir
    }
}

fn config(dir: &Path) -> postern_api::Config {
    postern_api::Config {
        state_dir: dir.to_owned(),
        listen: "127.0.0.1:0".parse().unwrap(),
        ..postern_api::Config::default()
    }
}

#[tokio::test]
async fn lists_are_the_apis_own_and_unknown_names_get_the_nearest() {
    let running = Running::start().await;
    let api = running.client(running.token.clone());
    let devices = api.list::<Device>(&["devices"], &Query::new(), 10).await.unwrap();
    assert!(devices.items.is_empty() && devices.page.next.is_none());
    let box42: DeviceName = "box42".parse().unwrap();
    let shown = api.show::<Device>(&["devices", "box42"]).await;
    let failure = known(&api, &box42, shown).await.unwrap_err();
    assert!(matches!(&failure, Failure::NotFound(text) if text.contains("postern device add")), "{failure}");
    let refused =
        api.create::<Device>(&["devices"], &Query::new(), &CreateDevice { name: box42 }).await.unwrap_err();
    assert_eq!(refused.code(), Some("no_relay"), "a box needs a relay to join through");
    running.stop().await;
}

#[tokio::test]
async fn a_wrong_token_is_said_to_be_one_and_from_where() {
    let running = Running::start().await;
    let api = running.client(Secret::from_text("pst_wrong"));
    let failure = api.show::<Device>(&["devices", "box42"]).await.unwrap_err();
    assert!(matches!(&failure, Failure::Unauthorised(text) if text.contains("from the test")), "{failure}");
    running.stop().await;
}

#[tokio::test]
async fn only_a_trusted_certificate_gets_the_token() {
    let (running, certificate) = Running::start_with_tls().await;
    let settings =
        |ca| Settings { api: running.base.clone(), token: running.token.clone(), origin: String::new(), ca };
    let trusting = Api::new(settings(Some(certificate))).unwrap();
    trusting.list::<Device>(&["devices"], &Query::new(), 1).await.unwrap();
    let failure = Api::new(settings(None)).unwrap().show::<Device>(&["devices", "box42"]).await.unwrap_err();
    assert!(matches!(&failure, Failure::Unreachable(text) if text.contains("--ca FILE")), "{failure}");
    let empty = running.dir.path().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    assert!(Api::new(settings(Some(empty))).is_err());
    running.stop().await;
}

#[tokio::test]
async fn nobody_there_is_answered_with_how_to_start() {
    let running = Running::start().await;
    let api = running.client(running.token.clone());
    running.stop().await;
    let failure = api.show::<Device>(&["devices", "box42"]).await.unwrap_err();
    let text = failure.to_string();
    assert!(matches!(failure, Failure::Unreachable(_)), "{text}");
    assert!(text.contains("postern up") && text.contains("refused"), "{text}");
}

#[tokio::test]
async fn somebody_else_who_answers_is_not_taken_for_the_api() {
    let running = Running::start().await;
    let mut base = running.base.clone();
    base.set_path("/elsewhere/");
    let settings = Settings { api: base, token: running.token.clone(), origin: String::new(), ca: None };
    let failure = Api::new(settings).unwrap().show::<Device>(&["devices", "box42"]).await.unwrap_err();
    assert_ne!(failure.code(), Some("device_not_found"));
    running.stop().await;
}
