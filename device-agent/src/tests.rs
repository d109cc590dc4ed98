//! A whole agent, from its start to its stop.

use postern_protocol::wire::JoinAnswer;
use tokio::sync::oneshot;

use super::*;
use crate::testing::{Installation, Relay};

struct Running {
    _home: tempfile::TempDir,
    config: Config,
    stop: oneshot::Sender<()>,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Running {
    async fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut config = Config { state_dir: home.path().join("agent"), ..Config::default() };
        config.ssh.server = SshChoice::Builtin;
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(run(config.clone(), async {
            let _dropped_counts_too = stopped.await;
        }));
        while status(&config).await.is_err() {
            tokio::task::yield_now().await;
        }
        Self { _home: home, config, stop, task }
    }

    async fn stop(self) -> Config {
        self.stop.send(()).unwrap();
        self.task.await.unwrap().unwrap();
        self.config
    }
}

#[tokio::test]
async fn a_box_that_joins_while_its_agent_runs_needs_no_restart() {
    let ours = Installation::new();
    let relay = Relay::of(&ours);
    let running = Running::start().await;
    assert_eq!(status(&running.config).await.unwrap().member, None);

    let string = ours.join_string(vec![relay.address()]);
    let answered = relay.answer_join(|request| {
        let mut membership = ours.membership(&identity::BoxKey::make().unwrap(), &relay.address());
        membership.certificate = ours.certify_request(&request.csr, ours.device);
        JoinAnswer::Welcome(Box::new(membership))
    });
    tokio::join!(join(&running.config, &string), answered).0.unwrap();

    let mut tunnel = relay.tunnel().await;
    tunnel.grant(ours.signed(1, vec![testing::grant(22)]), 1).await;
    let now = status(&running.config).await.unwrap();
    assert!(now.is_connected());
    let member = now.member.clone().unwrap();
    assert_eq!((member.device, member.revision, member.accesses.len()), (ours.device, 1, 1));
    let text = now.display(testing::now()).to_string();
    assert!(text.contains("box42") && text.contains("round trip"), "{text}");
    running.stop().await;
}

#[tokio::test]
async fn a_second_agent_in_the_same_directory_is_refused() {
    let running = Running::start().await;
    let refusal = run(running.config.clone(), std::future::pending()).await.unwrap_err();
    assert!(refusal.to_string().contains("another agent runs"), "{refusal}");
    running.stop().await;
}

#[tokio::test]
async fn a_stopped_agent_leaves_no_socket() {
    let config = Running::start().await.stop().await;
    assert!(matches!(status(&config).await, Err(ControlError::NotRunning(_))));
    assert!(!config.state_dir.join("control.sock").exists());
}
