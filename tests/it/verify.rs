//! `POST /v1/verify` says in advance what the relay does.

use postern_protocol::api::{Access, CreateAccess, Verify};
use postern_tests::{Key, Machine, SOON, Stack, eventually};

use crate::deny::{ELSEWHERE, TO_STRANGERS};

#[tokio::test]
async fn verify_and_the_gate_never_disagree() {
    let stack = Stack::start().await;
    let (box42, _box43) = (stack.add_box("box42").await, stack.add_box("box43").await);
    let other = stack.another_key().await;
    let accesses = matrix_of_accesses(&stack, &box42, &other).await;

    for (state, access) in &accesses {
        for key in [stack.key(), &other] {
            for source in ["127.0.0.1", ELSEWHERE] {
                for (host, port) in [("box42", 22), ("box42", 80), ("box43", 22)] {
                    let ssh = stack.ssh(access).with_key(key).from(source);
                    let seen = ssh.channel(host, port).await;
                    let verify = Verify {
                        device: host.into(),
                        source: source.parse().expect("an address"),
                        port,
                        key: Some(key.public()),
                        public_port: None,
                        access: Some(access.id),
                        at: None,
                    };
                    let said = stack.api.verify(&verify).await.expect("an answer");
                    let agree = match (said.allowed, said.code.as_str()) {
                        (true, _) => seen.stdout.starts_with("SSH-2.0-"),
                        (false, "unknown_access" | "wrong_key") => seen.stderr.contains(TO_STRANGERS),
                        (false, _) => seen.stderr.contains(&said.reason),
                    };
                    assert!(agree, "{state}: {verify:?}\nverify said {said:?}\nthe gate did {seen:?}");
                }
            }
        }
    }
}

/// One access in each state that makes a difference.
async fn matrix_of_accesses(stack: &Stack, box42: &Machine, other: &Key) -> Vec<(&'static str, Access)> {
    let expired = stack.allow_for(box42, "1s").await;
    let revoked = stack.allow(box42).await;
    stack.api.revoke(revoked.id).await;
    let usual = stack.allow(box42).await;
    let for_elsewhere = |access: &mut CreateAccess| {
        access.allowed_ips = Some(vec!["127.0.0.8/29".into()]);
    };
    let elsewhere = stack.allow_with(box42, for_elsewhere).await;
    let others = stack.allow_with(box42, |access| access.public_key = Some(other.public())).await;
    eventually("the access expires", SOON, async || (chrono::Utc::now() > expired.expires_at).then_some(()))
        .await;
    vec![
        ("usual", usual),
        ("expired", expired),
        ("revoked", revoked),
        ("for another address", elsewhere),
        ("for another key", others),
    ]
}
