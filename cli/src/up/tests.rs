//! Everything in one process, met as a newcomer would: with ssh.

use std::process::{Command, Output, Stdio};

use chrono::Utc;
use postern_protocol::api::{CreateAccess, Created, Relay};
use postern_protocol::ssh_key::PublicKey;

use super::*;
use crate::api::Query;
use crate::identity::{At, Identity};
use crate::way::{Block, Folder, held, start};

/// A running `postern up` on a folder of its own.
struct Running {
    parts: Parts,
    api: Api,
}

impl Running {
    async fn start(dir: &Path) -> Self {
        // The ports of the first start stay; until then any will do.
        let any = (!dir.join("addresses.toml").exists()).then(|| "127.0.0.1:0".parse().unwrap());
        let addresses =
            Addresses::settle(dir, Asked { listen: any, gate: any, https: any, agents: any }).unwrap();
        let mut parts = Parts::default();
        begin(&mut parts, dir, &addresses, true).await.unwrap();
        let path = client_file(dir);
        let api = Api::new(SettingsFile::load(&path).unwrap().unwrap().settings(&path).unwrap()).unwrap();
        Self { parts, api }
    }

    async fn create(&self, identity: &Identity) -> Created {
        let request = CreateAccess {
            device: demo::NAME.to_owned(),
            exposed_port: 22,
            allowed_ips: None,
            allow_any: false,
            expires_at: None,
            expires_in: Some("10m".to_owned()),
            public_key: Some(identity.key.to_openssh()),
            login: None,
            via: None,
            note: None,
        };
        let wait: Query = vec![("wait", "active".to_owned())];
        self.api.create(&["accesses"], &wait, &request).await.unwrap().value
    }

    /// Goes there by the configuration that `postern ssh` writes.
    async fn ssh(&self, dir: &Path, created: &Created, identity: &Identity, command: &str) -> Output {
        let relays = self.api.list_whole::<Relay>(&["relays"]).await.unwrap().items;
        let accesses = [created.access.clone()];
        let identities = [identity.clone()];
        let held = held(&accesses, &identities, Utc::now());
        let start = start(&accesses[0], &relays).unwrap();
        let folder = Folder::open(dir.join("ssh"), "demo").unwrap();
        let block = Block::new(&held[0], start, &["demo".to_owned()], &folder).unwrap();
        folder.write("", &[block], "").unwrap();
        let mut ssh = Command::new("ssh");
        ssh.arg("-F")
            .arg(folder.config())
            .args(["-o", "BatchMode=yes", "demo", command])
            .stdin(Stdio::null());
        tokio::task::spawn_blocking(move || ssh.output()).await.unwrap().unwrap()
    }
}

fn identity(dir: &Path) -> Identity {
    let private = dir.join("id_ed25519");
    let made =
        Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&private).status();
    assert!(made.unwrap().success());
    let text = std::fs::read_to_string(dir.join("id_ed25519.pub")).unwrap();
    Identity { key: PublicKey::parse(&text).unwrap().key, comment: String::new(), at: At::File(private) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newcomer_reaches_the_demo_box_and_finds_it_again_after_a_restart() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("state");
    file::private_folder(&dir).unwrap();
    let identity = identity(home.path());

    let first = Running::start(&dir).await;
    let created = first.create(&identity).await;
    let mut places: Vec<&str> = created.progress.iter().map(|place| place.what.as_str()).collect();
    // The relay hands the rule on before it is on its own disk, so either may be first to have it.
    places[1..].sort_unstable();
    assert_eq!(places, ["rule signed", "demo has it", "in force on relay-1"]);
    let output = first.ssh(home.path(), &created, &identity, "echo in; exit 7").await;
    assert_eq!((output.status.code(), &*output.stdout), (Some(7), &b"in\n"[..]), "{output:?}");
    first.parts.stop().await.unwrap();

    let settings = std::fs::read(client_file(&dir)).unwrap();
    let second = Running::start(&dir).await;
    assert_eq!(std::fs::read(client_file(&dir)).unwrap(), settings, "ports and token are the same");
    let output = second.ssh(home.path(), &created, &identity, "echo again").await;
    assert_eq!(output.stdout, b"again\n", "{output:?}");

    second.api.delete(&["accesses", created.access.id.as_str()]).await.unwrap();
    let output = second.ssh(home.path(), &created, &identity, "echo still").await;
    assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");

    second.api.delete(&["devices", demo::NAME]).await.unwrap();
    second.parts.stop().await.unwrap();
    let third = Running::start(&dir).await;
    third.create(&identity).await;
    third.parts.stop().await.unwrap();
}
