//! The keeper of the keys files, with real files and without any relay.

use std::fs;
use std::sync::Arc;

use chrono::TimeDelta;
use postern_protocol::grant::Grant;
use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::*;
use crate::pause::Pause;
use crate::testing::{Installation, grant, now};

const OTHERS: &str = "ssh-ed25519 AAAA somebody's own\n";

struct Fixture {
    home: TempDir,
    ours: Installation,
    config: Config,
    member: Member,
}

/// A keeper at work.
struct Keeper {
    agent: Arc<Agent>,
    task: JoinHandle<()>,
}

impl Fixture {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let ours = Installation::new();
        let member = ours.member("192.0.2.1:1");
        let mut config = Config { state_dir: home.path().join("agent"), ..Config::default() };
        config.keys.files.insert("root".parse().unwrap(), home.path().join("keys"));
        fs::write(home.path().join("keys"), OTHERS).unwrap();
        State::open(&config.state_dir).unwrap();
        member.save(&State::at(&config.state_dir)).unwrap();
        Self { home, ours, config, member }
    }

    fn start(&self) -> Keeper {
        let state = State::at(&self.config.state_dir);
        let pause = Arc::new(Pause::load(&state));
        let agent = Arc::new(Agent::new(self.config.clone(), state, self.member.clone(), pause));
        let keeping = agent.clone();
        Keeper { agent, task: tokio::spawn(async move { keep(&keeping).await }) }
    }

    fn path(&self) -> PathBuf {
        self.home.path().join("keys")
    }

    fn keys(&self) -> usize {
        let text = fs::read_to_string(self.path()).unwrap();
        assert!(text.starts_with(OTHERS), "{text}");
        text.lines().filter(|line| line.contains("postern:")).filter(|line| !line.starts_with('#')).count()
    }

    /// Gives these grants and waits until the files follow.
    async fn give(&self, keeper: &Keeper, revision: u64, grants: Vec<Grant>) {
        keeper.agent.holder.accept(self.ours.signed(revision, grants)).await.unwrap();
        keeper.handed(|handed| handed.revision == revision).await;
    }
}

impl Keeper {
    async fn handed(&self, wanted: impl FnMut(&Handed) -> bool) {
        self.agent.handed.subscribe().wait_for(wanted).await.unwrap();
    }

    async fn stop(self) {
        self.agent.stopping.cancel();
        self.task.await.unwrap();
    }
}

#[tokio::test]
async fn keys_come_with_their_access_and_go_with_it() {
    let fixture = Fixture::new();
    let keeper = fixture.start();
    fixture.give(&keeper, 1, vec![grant(22), grant(443)]).await;
    assert_eq!(fixture.keys(), 1);
    fixture.give(&keeper, 2, vec![]).await;
    assert_eq!(fs::read_to_string(fixture.path()).unwrap(), OTHERS);
    keeper.stop().await;
}

#[tokio::test]
async fn a_stopped_agent_leaves_no_key_and_a_started_one_brings_it_back() {
    let fixture = Fixture::new();
    let keeper = fixture.start();
    fixture.give(&keeper, 1, vec![grant(22)]).await;
    keeper.stop().await;
    assert_eq!(fixture.keys(), 0);

    let keeper = fixture.start();
    keeper.handed(|handed| handed.revision == 1).await;
    assert_eq!(fixture.keys(), 1);
    keeper.stop().await;
}

#[tokio::test]
async fn a_key_that_was_left_behind_is_swept_at_start() {
    let fixture = Fixture::new();
    fs::write(fixture.path(), format!("{OTHERS}restrict ssh-ed25519 BBBB postern:bbbbbbbbbb\n")).unwrap();
    let keeper = fixture.start();
    fixture.give(&keeper, 1, vec![]).await;
    assert_eq!(fixture.keys(), 0);
    keeper.stop().await;
}

#[tokio::test]
async fn pausing_takes_the_keys_and_resuming_gives_them_back() {
    let fixture = Fixture::new();
    let keeper = fixture.start();
    fixture.give(&keeper, 1, vec![grant(22)]).await;
    keeper.agent.pause.pause(now()).unwrap();
    fixture.give(&keeper, 2, vec![grant(22)]).await;
    assert_eq!(fixture.keys(), 0);
    keeper.agent.pause.resume().unwrap();
    fixture.give(&keeper, 3, vec![grant(22)]).await;
    assert_eq!(fixture.keys(), 1);
    keeper.stop().await;
}

#[tokio::test]
async fn a_key_goes_at_its_expiry_although_nobody_says_so() {
    let fixture = Fixture::new();
    let keeper = fixture.start();
    let mut short = grant(22);
    short.expires_at = now() + TimeDelta::seconds(3);
    fixture.give(&keeper, 1, vec![short.clone()]).await;
    let gone = async {
        while fixture.keys() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(6), gone).await.unwrap();
    assert!(Utc::now() >= short.expires_at);
    keeper.stop().await;
}

#[tokio::test]
async fn a_file_that_the_settings_no_longer_name_is_put_right() {
    let mut fixture = Fixture::new();
    let keeper = fixture.start();
    fixture.give(&keeper, 1, vec![grant(22)]).await;
    // As after a loss of power: nothing was cleaned.
    keeper.task.abort();
    assert_eq!(fixture.keys(), 1);
    fixture.config.keys.files.clear();
    let keeper = fixture.start();
    keeper.handed(|handed| handed.revision == 1).await;
    assert_eq!(fixture.keys(), 0);
    assert_eq!(managed(&keeper.agent.state).unwrap(), BTreeSet::new());
    keeper.stop().await;
}

#[tokio::test]
async fn a_file_that_cannot_be_written_is_not_called_handed_over() {
    let mut fixture = Fixture::new();
    fixture.config.keys.files.insert("admin".parse().unwrap(), fixture.home.path().join("absent/keys"));
    let keeper = fixture.start();
    let mut admins = grant(22);
    admins.login = "admin".parse().unwrap();
    keeper.agent.holder.accept(fixture.ours.signed(1, vec![grant(22), admins])).await.unwrap();
    keeper.handed(|handed| handed.trouble.iter().any(|sentence| sentence.contains("absent/keys"))).await;
    assert_eq!(keeper.agent.handed.borrow().revision, 0);
    keeper.stop().await;
}

#[tokio::test]
async fn sshd_is_told_the_keys_whether_or_not_the_agent_runs() {
    let fixture = Fixture::new();
    let keeper = fixture.start();
    fixture.give(&keeper, 1, vec![grant(22)]).await;
    keeper.stop().await;

    let told = |login: &str| authorized_keys(&fixture.config, &login.parse().unwrap()).unwrap();
    assert!(told("root").starts_with("restrict,pty,") && told("root").ends_with("\n"), "{}", told("root"));
    assert!(!told("root").contains("expiry-time"));
    assert_eq!(told("admin"), "");
    let state = State::at(&fixture.config.state_dir);
    Pause::load(&state).pause(now()).unwrap();
    assert_eq!(told("root"), "");
}
