//! A key opens one box, for one login, until its access ends: by the box's own judgement, whichever SSH
//! server it has, and even for somebody whom the gate lets through.

use std::process::Command;

use postern_protocol::api::{CreateAccess, EditAccess};
use postern_tests::dropbear::GUEST;
use postern_tests::machine::own_login;
use postern_tests::program::finish;
use postern_tests::{Machine, Output, SOON, Server, Stack, eventually};

#[tokio::test]
async fn a_key_of_one_box_never_opens_another() {
    let stack = Stack::start().await;
    for server in Server::ALL {
        let box42 = stack.add_box_running(&format!("one-{}", name(server)), server).await;
        let box43 = stack.add_box_running(&format!("two-{}", name(server)), server).await;
        // One person holds an access to each box, with a key for each.
        let other = stack.another_key().await;
        stack.allow(&box42).await;
        let to_43 = stack.allow_with(&box43, |access| access.public_key = Some(other.public())).await;
        let ssh = stack.ssh(&to_43).with_key(&other);
        assert_eq!(ssh.run("echo in").await.success(), "in\n", "{server:?}");

        // The gate is content, and the box is not.
        assert_shut(&ssh.showing_the_box(stack.key()).run("echo in").await, server);
        // Without the right key the gate is shut, too.
        assert_shut(&stack.ssh(&to_43).run("echo in").await, server);
    }
}

#[tokio::test]
async fn a_key_of_one_login_never_opens_another() {
    let stack = Stack::start().await;
    for server in Server::ALL {
        let box42 = stack.add_box_running(name(server), server).await;
        let access = stack.allow(&box42).await;
        let ssh = stack.ssh(&access);
        assert_eq!(ssh.run("id -un").await.success().trim(), own_login(), "{server:?}");
        let other = if server == Server::Dropbear { GUEST } else { "games" };
        for login in [other, "no-such-user"] {
            let output = ssh.clone().to(&format!("{login}@{}", box42.name())).run("echo in").await;
            assert_shut(&output, server);
        }

        // Nor does the other's key open this one.
        stack.api.revoke(access.id).await;
        let for_other = |access: &mut CreateAccess| access.login = Some(other.parse().expect("a login"));
        let access = stack.allow_with(&box42, for_other).await;
        let own = format!("{}@{}", own_login(), box42.name());
        assert_shut(&stack.ssh(&access).to(&own).run("echo in").await, server);
    }
}

#[tokio::test]
async fn nothing_opens_or_stays_open_after_the_end_of_an_access() {
    let stack = Stack::start().await;
    let mut inside = Vec::new();
    for server in Server::ALL {
        let machine = stack.add_box_running(name(server), server).await;
        let access = stack.allow(&machine).await;
        let session = stack.ssh(&access).open().await;
        if let Some(output) = directly(&stack, &machine).await {
            assert_eq!(output.success(), "inside\n", "{server:?}");
        }
        inside.push((server, machine, access, session));
    }
    for (_, _, access, _) in &mut inside {
        let edit = EditAccess { expires_in: Some("2s".into()), ..EditAccess::default() };
        *access = stack.api.edit_access(access.id, &edit).await.expect("an access can be shortened");
    }
    for (server, machine, access, mut session) in inside {
        session.cut(SOON).await;
        eventually("the box knows no key", SOON, async || {
            (!machine.keys().contains("ssh-ed25519")).then_some(())
        })
        .await;
        let late = stack.ssh(&access).run("echo in").await;
        assert!(late.stderr.contains("the access expired at"), "{server:?}: {late:?}");
        if let Some(output) = directly(&stack, &machine).await {
            assert_shut(&output, server);
        }
    }
}

/// Tries the visitor's key at the box's own server, from the box itself, past gate and agent. The
/// built-in server listens nowhere, so there is nothing to try.
async fn directly(stack: &Stack, machine: &Machine) -> Option<Output> {
    let address = machine.ssh_address()?;
    let mut ssh = Command::new("ssh");
    ssh.args(["-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no"]);
    ssh.args(["-o", "UserKnownHostsFile=/dev/null", "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none"]);
    ssh.arg("-i").arg(stack.key().path()).args(["-p", &address.port().to_string()]);
    ssh.args([&format!("{}@{}", own_login(), address.ip()), "echo inside"]);
    Some(finish(ssh).await)
}

fn name(server: Server) -> &'static str {
    match server {
        Server::Sshd => "sshd",
        Server::Dropbear => "dropbear",
        Server::Builtin => "builtin",
    }
}

fn assert_shut(output: &Output, server: Server) {
    assert_eq!((output.code, output.stdout.as_str()), (255, ""), "{server:?}: {output:?}");
    assert!(output.stderr.contains("Permission denied (publickey)"), "{server:?}: {output:?}");
}
