//! Joining through a real QUIC endpoint on loopback.

use std::path::Path;

use super::*;
use crate::testing::{Installation, Relay};

struct Fixture {
    _home: tempfile::TempDir,
    config: Config,
    ours: Installation,
    relay: Relay,
}

impl Fixture {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut config = Config { state_dir: home.path().join("agent"), ..Config::default() };
        // A place where no SSH server is looked for.
        config.ssh.server = crate::config::SshChoice::System;
        config.ssh.address = Some("127.0.0.1:1".parse().unwrap());
        config.ssh.host_keys = Some(Path::new("/nonexistent").into());
        let ours = Installation::new();
        let relay = Relay::of(&ours);
        Self { _home: home, config, ours, relay }
    }

    fn string(&self) -> JoinString {
        self.string_through(vec![self.relay.address()])
    }

    fn string_through(&self, relays: Vec<String>) -> JoinString {
        self.ours.join_string(relays)
    }

    /// Joins while the relay answers like this.
    async fn joining(&self, answer: impl FnOnce(JoinRequest) -> JoinAnswer) -> Result<Joined, JoinError> {
        let string = self.string();
        tokio::join!(join(&self.config, &string), self.relay.answer_join(answer)).0
    }

    fn welcome(&self, request: &JoinRequest) -> JoinAnswer {
        JoinAnswer::Welcome(Box::new(self.membership(&request.csr, self.ours.device)))
    }

    /// What the installation answers a box with this request: a certificate for the key in it.
    fn membership(&self, csr: &[u8], device: DeviceId) -> Membership {
        let mut membership = self.ours.membership(&BoxKey::make().unwrap(), &self.relay.address());
        membership.certificate = self.ours.certify_request(csr, device);
        membership.device = device;
        membership
    }
}

#[tokio::test]
async fn a_relay_cannot_put_its_own_key_for_rules_in_place() {
    let fixture = Fixture::new();
    let forger = postern_protocol::grant::GrantSigner::from_seed(&[6; 32]);
    let refused = fixture
        .joining(|request| {
            let grant_key = forger.verifier();
            JoinAnswer::Welcome(Box::new(Membership {
                grant_key,
                ..fixture.membership(&request.csr, fixture.ours.device)
            }))
        })
        .await
        .unwrap_err();
    assert!(format!("{refused:?}").contains("another key for rules"), "{refused:?}");
    assert!(!is_member(&fixture.config).unwrap());
}

#[tokio::test]
async fn a_box_joins_with_a_key_that_never_leaves_it() {
    let fixture = Fixture::new();
    assert!(!is_member(&fixture.config).unwrap());
    let joined = fixture
        .joining(|request| {
            assert_eq!((request.version, request.token.reveal()), (VERSION, "psj_x"));
            fixture.welcome(&request)
        })
        .await
        .unwrap();
    assert_eq!(joined.device, fixture.ours.device);
    assert!(is_member(&fixture.config).unwrap());
    let member = Member::load(&State::at(&fixture.config.state_dir)).unwrap().unwrap();
    assert_eq!(member.relays, [fixture.relay.address()]);
}

#[tokio::test]
async fn a_used_token_is_told_in_the_control_apis_own_words() {
    let fixture = Fixture::new();
    let sentence = "this join string was used already";
    let refusal = fixture.joining(|_| JoinAnswer::Refused { sentence: sentence.into() }).await.unwrap_err();
    assert_eq!(refusal.to_string(), sentence);
    assert!(!is_member(&fixture.config).unwrap());
}

#[tokio::test]
async fn a_relay_of_another_authority_is_told_nothing() {
    let fixture = Fixture::new();
    let impostor = Relay::impostor();
    let string = fixture.string_through(vec![impostor.address()]);
    let refusal = join(&fixture.config, &string).await.unwrap_err().to_string();
    assert!(refusal.contains("its certificate is from another authority"), "{refusal}");
}

#[tokio::test]
async fn the_next_relay_is_tried_and_each_failure_is_told() {
    let fixture = Fixture::new();
    let impostor = Relay::impostor();
    let string = fixture.string_through(vec!["nowhere.invalid:1".into(), impostor.address()]);
    let refusal = join(&fixture.config, &string).await.unwrap_err().to_string();
    assert!(refusal.contains("nowhere.invalid:1: the name cannot be resolved"), "{refusal}");
    assert!(refusal.contains("another authority"), "{refusal}");

    let string = fixture.string_through(vec![impostor.address(), fixture.relay.address()]);
    let answered = fixture.relay.answer_join(|request| fixture.welcome(&request));
    tokio::join!(join(&fixture.config, &string), answered).0.unwrap();
}

#[tokio::test]
async fn a_string_without_a_relay_says_what_to_do() {
    let fixture = Fixture::new();
    let refusal = join(&fixture.config, &fixture.string_through(vec![])).await.unwrap_err();
    assert!(refusal.to_string().contains("postern device join"));
}

#[tokio::test]
async fn a_member_joins_anew_only_when_told_to() {
    let fixture = Fixture::new();
    fixture.joining(|request| fixture.welcome(&request)).await.unwrap();
    let refusal = join(&fixture.config, &fixture.string()).await.unwrap_err().to_string();
    assert!(refusal.contains("'box42'") && refusal.contains("--force"), "{refusal}");

    let other = Installation::new().device;
    let answered = fixture
        .relay
        .answer_join(|request| JoinAnswer::Welcome(Box::new(fixture.membership(&request.csr, other))));
    let string = fixture.string();
    let joined = tokio::join!(join_anew(&fixture.config, &string), answered).0.unwrap();
    assert_eq!(joined.device, other);
}

#[tokio::test]
async fn a_container_that_starts_again_stays_what_it_is() {
    let fixture = Fixture::new();
    let joined = fixture.joining(|request| fixture.welcome(&request)).await.unwrap();
    assert_eq!(join_once(&fixture.config, &fixture.string()).await.unwrap(), joined);

    let mut foreign = fixture.string();
    foreign.authority = Installation::new().pin();
    let refusal = join_once(&fixture.config, &foreign).await.unwrap_err();
    assert!(matches!(refusal, JoinError::OtherInstallation(_)));
}

#[tokio::test]
async fn an_answer_that_the_authority_does_not_vouch_for_is_not_believed() {
    let fixture = Fixture::new();
    let other_key = |_: JoinRequest| {
        let membership = fixture.ours.membership(&BoxKey::make().unwrap(), &fixture.relay.address());
        JoinAnswer::Welcome(Box::new(membership))
    };
    let refusal = fixture.joining(other_key).await.unwrap_err();
    assert!(matches!(refusal, JoinError::Failed { .. }), "{refusal}");

    let no_relay = |request: JoinRequest| {
        let mut membership = fixture.membership(&request.csr, fixture.ours.device);
        membership.relays.clear();
        JoinAnswer::Welcome(Box::new(membership))
    };
    assert!(matches!(fixture.joining(no_relay).await, Err(JoinError::Failed { .. })));
    assert!(!is_member(&fixture.config).unwrap());
}
