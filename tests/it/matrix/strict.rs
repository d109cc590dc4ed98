//! What goes wrong is told, and a host key that was not printed is nobody's.

use std::process::Command;

use postern_protocol::api::{Access, HostKey};
use postern_protocol::ssh_key::PublicKey;
use postern_tests::program::finish;
use postern_tests::{Client, Key, Stack, Visitor};

use super::Door;
use crate::ports::with_ports;

#[tokio::test]
async fn saved_sessions_of_putty_ask_nothing() {
    let stack = with_ports().await;
    let box42 = stack.add_box("box42").await;
    // Through the gate they are a pair, by a port it is one.
    for door in Door::ALL {
        let access = door.open(&stack, &box42).await;
        let visitor = Visitor::new(stack.scene(), Client::Putty, &access, stack.key()).await;
        let output = finish(saved_session(&visitor, "echo in; exit 7")).await;
        assert_eq!((output.code, output.stdout.as_str()), (7, "in\n"), "{door:?}: {output:?}");
    }
}

#[tokio::test]
async fn no_client_goes_on_to_a_box_with_another_host_key() {
    let stack = with_ports().await;
    let box42 = stack.add_box("box42").await;
    for door in Door::ALL {
        let access = door.open(&stack, &box42).await;
        let keys = &access.connection.as_ref().expect("a way in").fingerprints.device;
        assert_eq!(keys.len(), 2, "sshd has two, and each could be the one that a client takes");
        for refused in refused(&stack, &expecting_others(&stack, &access, keys).await).await {
            assert!(refused.to_lowercase().contains("host key"), "{door:?}: {refused}");
        }
    }
}

#[tokio::test]
async fn no_client_goes_on_to_a_gate_with_another_host_key() {
    let stack = Stack::start().await;
    let box42 = stack.add_box("box42").await;
    let access = Door::Gate.open(&stack, &box42).await;
    let keys = &access.connection.as_ref().expect("a way in").fingerprints.gate;
    assert!(!keys.is_empty());
    for refused in refused(&stack, &expecting_others(&stack, &access, keys).await).await {
        assert!(refused.to_lowercase().contains("host key"), "{refused}");
    }
}

#[tokio::test]
async fn all_but_dropbears_client_say_why_the_gate_refuses() {
    let stack = Stack::start().await;
    let box42 = stack.add_box("box42").await;
    let access = stack.allow(&box42).await;
    stack.api.revoke(access.id).await;
    let [openssh, plink, session, dbclient] = refused(&stack, &access).await;
    for said in [openssh, plink, session] {
        assert!(said.contains("the access was revoked"), "{said}");
    }
    assert!(dbclient.contains("closed"), "{dbclient}");
}

/// What would have been printed for an access if these host keys were others. To visitors this is as
/// if somebody else answered.
async fn expecting_others(stack: &Stack, access: &Access, keys: &[HostKey]) -> Access {
    let mut printed = serde_json::to_string(access).expect("an access is JSON");
    for key in keys {
        let kind = if key.key.starts_with("ecdsa") { "ecdsa" } else { "ed25519" };
        let other = Key::generate(stack.scene().new_dir("other").join("key"), kind).await.public();
        let other = PublicKey::parse(&other).expect("ssh-keygen wrote it").key;
        printed = printed.replace(&key.key, &other.to_openssh());
        printed = printed.replace(&key.fingerprint, &other.fingerprint());
    }
    serde_json::from_str(&printed).expect("an access again")
}

/// What each client says, none of which gets anywhere: OpenSSH, plink by the printed line, plink by
/// the saved sessions, and dbclient.
async fn refused(stack: &Stack, access: &Access) -> [String; 4] {
    let visitor = async |client| Visitor::new(stack.scene(), client, access, stack.key()).await;
    let openssh = visitor(Client::OpenSsh).await.run("echo in");
    let putty = visitor(Client::Putty).await;
    // It keeps to itself what the plink that it starts for the gate says, unless it is to be verbose.
    let (plink, session) = (putty.connect(&["-v"], &["echo in"]), saved_session(&putty, "echo in"));
    let dbclient = visitor(Client::Dbclient).await.run("echo in");
    let mut said = [openssh, plink, session, dbclient].into_iter().map(finish);
    let mut next = async || {
        let output = said.next().expect("there are four").await;
        assert!(output.code != 0 && output.stdout.is_empty(), "{output:?}");
        output.stderr
    };
    [next().await, next().await, next().await, next().await]
}

fn saved_session(visitor: &Visitor, command: &str) -> Command {
    let mut plink = visitor.saved_session("plink");
    plink.arg(command);
    plink
}
