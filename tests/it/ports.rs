//! A public port: one hop, for clients that know no jump host. The relay decides by the address and the
//! time, the box by the key.

use std::process::Command;

use postern_protocol::access::Door;
use postern_protocol::api::{Access, CreateAccess, DeviceStatus, Via, VisitOutcome};
use postern_tests::machine::Server;
use postern_tests::nginx::HELLO;
use postern_tests::program::feed_nothing;
use postern_tests::{AT_ONCE, Curl, Machine, Output, RETURN, SOON, Stack, eventually, within};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpSocket};

use crate::deny::ELSEWHERE;
use crate::front::box_with_a_page;

/// Where no kernel picks ports for outgoing connections.
const PORTS: &str = "ports = '20000-20099'";

#[tokio::test]
async fn plain_ssh_with_a_port_reaches_every_kind_of_server() {
    let stack = with_ports().await;
    for (name, server) in ["box42", "box43", "box44"].into_iter().zip(Server::ALL) {
        let machine = stack.add_box_running(name, server).await;
        let access = stack.allow_with(&machine, by_port).await;
        let ssh = stack.ssh(&access);
        assert_eq!(ssh.run("echo in").await.success(), "in\n", "{name}");
        assert_eq!(ssh.run("exit 7").await.code, 7, "{name}");
        let printed = access.connection.as_ref().expect("an access says how to connect").command.clone();
        assert!(printed.contains(&format!("-p {}", port(&access))), "{printed}");
        assert_eq!(ssh.run_printed("echo printed").await.success(), "printed\n", "{name}");
        for visit in stack.visits(access.id, 3).await {
            assert_eq!((visit.outcome, visit.entrance), (VisitOutcome::Ended, Door::Port), "{visit:?}");
            assert_eq!(visit.source.to_string(), "127.0.0.1", "the visitor's own address");
        }
    }
}

#[tokio::test]
async fn another_key_is_the_boxs_to_refuse() {
    let (stack, _box42, access) = usual().await;
    let key = stack.another_key().await;
    let output = stack.ssh(&access).with_key(&key).run("true").await;
    assert!(output.stderr.contains("Permission denied (publickey"), "{output:?}");
    let visit = stack.visits(access.id, 1).await.remove(0);
    assert_eq!((visit.outcome, &visit.key), (VisitOutcome::Ended, &None), "the relay saw no key: {visit:?}");
}

#[tokio::test]
async fn whoever_may_know_reads_why_in_openssh_and_in_putty() {
    let (stack, mut box42, access) = usual().await;
    let short = stack.allow_with(&box42, |access| {
        by_port(access);
        access.expires_in = Some("1s".into());
    });
    let short = short.await;
    let revoked = stack.allow_with(&box42, by_port).await;
    stack.api.revoke(revoked.id).await;
    eventually("the access expires", SOON, async || (chrono::Utc::now() > short.expires_at).then_some(()))
        .await;
    let when = short.expires_at.format("the access expired at %Y-%m-%d %H:%M:%S UTC; ask").to_string();
    assert_told(&stack, &short, &when, "expired").await;
    assert_told(&stack, &revoked, "the access was revoked; ask", "revoked").await;

    box42.run(&["pause"]).await.success();
    assert_told(&stack, &access, "the box is paused by its owner; ask", "box_paused").await;
    box42.run(&["resume"]).await.success();
    box42.stop().await;
    box42.becomes(DeviceStatus::Offline, &stack.api).await;
    let offline = stack.allow_with(&box42, by_port).await;
    assert_told(&stack, &offline, "the box is offline; try again", "box_offline").await;
}

#[tokio::test]
async fn an_address_outside_gets_nothing_but_the_end() {
    let (stack, _box42, access) = usual().await;
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(format!("{ELSEWHERE}:0").parse().expect("an address")).expect("an address of this machine");
    let relay = stack.relay.listening().gate.ip();
    let mut stream = socket.connect((relay, port(&access)).into()).await.expect("the port is open");
    let mut heard = Vec::new();
    within("the port closes", SOON, stream.read_to_end(&mut heard)).await.ok();
    assert!(heard.is_empty(), "{heard:?}");
    let visit = stack.visits(access.id, 1).await.remove(0);
    assert_eq!((visit.code.as_str(), visit.entrance), ("address_not_allowed", Door::Port));
    assert_eq!(visit.source.to_string(), ELSEWHERE);
}

#[tokio::test]
async fn ports_and_their_rules_outlive_a_restart_while_the_api_is_dead() {
    let (mut stack, _box42, access) = usual().await;
    stack.control.kill();
    stack.relay.kill();
    stack.relay.restart().await;
    let ssh = stack.ssh(&access);
    let back = async || (ssh.run("echo in").await.stdout == "in\n").then_some(());
    eventually("the box is back", RETURN, back).await;
    let outside = ssh.from(ELSEWHERE).run("true").await;
    assert!(!outside.stderr.contains("Received disconnect"), "nothing is said: {outside:?}");
    assert_eq!(outside.code, 255);
}

#[tokio::test]
async fn revoking_an_access_cuts_its_sessions_at_once_and_nobody_elses() {
    let (stack, box42, doomed) = usual().await;
    let other = stack.allow_with(&box42, by_port).await;
    assert_ne!(port(&doomed), port(&other), "each has a port of its own");
    let (mut cut, mut spared) = (stack.ssh(&doomed).open().await, stack.ssh(&other).open().await);
    stack.api.revoke(doomed.id).await;
    cut.cut(AT_ONCE).await;
    spared.echo("still here").await;
    let visit = stack.visits(doomed.id, 1).await.remove(0);
    assert_eq!((visit.outcome, visit.code.as_str()), (VisitOutcome::Ended, "revoked"), "{visit:?}");
}

#[tokio::test]
async fn a_session_on_which_nothing_moves_ends_if_the_relay_says_so() {
    let settings = format!("{PORTS}\nlimits = {{ port_idle = '1s' }}");
    let stack = Stack::with().relay(&settings).start().await;
    let box42 = stack.add_box("box42").await;
    let access = stack.allow_with(&box42, by_port).await;
    stack.ssh(&access).open().await.cut(SOON).await;
    assert_eq!(stack.visits(access.id, 1).await[0].code, "idle");
}

#[tokio::test]
async fn a_port_that_another_program_holds_disturbs_no_other_and_opens_when_it_is_free() {
    let stack = with_ports().await;
    let box42 = stack.add_box("box42").await;
    let first = stack.allow_with(&box42, by_port).await;
    stack.api.revoke(first.id).await;
    // Whichever port is next, it is taken.
    let relay = stack.relay.listening().gate.ip();
    let mut taken = Vec::new();
    for port in 20_000..20_100 {
        taken.extend(TcpListener::bind((relay, port)).await.ok());
    }
    let mut wanted = stack.usual(&box42);
    by_port(&mut wanted);
    let access = stack.api.create_access(&wanted).await.expect("an access is created").access;
    let blocked = async || (stack.relay.metric("ports_blocked").await == 1.0).then_some(());
    eventually("the relay counts it", SOON, blocked).await;
    assert_eq!(stack.ssh(&stack.allow(&box42).await).run("echo in").await.success(), "in\n");

    drop(taken);
    let ssh = stack.ssh(&access);
    let open = async || (ssh.run("echo in").await.stdout == "in\n").then_some(());
    eventually("the port opens", SOON, open).await;
    assert_eq!(stack.relay.metric("ports_blocked").await, 0.0);
}

#[tokio::test]
async fn a_page_may_have_a_port_of_its_own() {
    let stack = with_ports().await;
    let (mut box42, page) = box_with_a_page(&stack).await;
    let access = stack.allow_with(&box42, |access| {
        by_port(access);
        (access.exposed_port, access.public_key) = (page.address().port(), None);
    });
    let access = access.await;
    let relay = stack.relay.listening().gate.ip();
    let curl = Curl::to_host((relay, port(&access)).into(), &relay.to_string());
    let pinned = curl.clone().with(&["--pinnedpubkey", &page.pin()]);
    assert_eq!(pinned.get("/hello").await.success(), HELLO);
    box42.stop().await;
    box42.becomes(DeviceStatus::Offline, &stack.api).await;
    let refused = curl.get("/hello").await;
    assert!(refused.stderr.contains("internal error"), "{refused:?}");
}

pub(crate) async fn with_ports() -> Stack {
    Stack::with().relay(PORTS).start().await
}

async fn usual() -> (Stack, Machine, Access) {
    let stack = with_ports().await;
    let box42 = stack.add_box("box42").await;
    let access = stack.allow_with(&box42, by_port).await;
    (stack, box42, access)
}

pub(crate) fn by_port(access: &mut CreateAccess) {
    access.via = Some(Via::Port);
}

fn port(access: &Access) -> u16 {
    access.public_port.expect("the access has a port of its own")
}

/// Both OpenSSH and PuTTY show the words, and each attempt is on record.
async fn assert_told(stack: &Stack, access: &Access, words: &str, code: &str) {
    let (relay, port) = (stack.relay.listening().gate, port(access));
    let openssh = stack.ssh(access).run("true").await;
    let said = format!("Received disconnect from {} port {port}:11: {words}", relay.ip());
    assert!(openssh.stderr.contains(&said), "no {said:?} in {openssh:?}");

    let mut plink = Command::new("plink");
    plink.args(["-batch", "-ssh", "-P", &port.to_string(), &format!("root@{}", relay.ip()), "true"]);
    let putty = told(feed_nothing(plink).await);
    assert!(putty.contains(words), "no {words:?} in {putty:?}");
    for visit in stack.visits(access.id, 2).await {
        assert_eq!((visit.outcome, visit.code.as_str()), (VisitOutcome::Refused, code), "{visit:?}");
    }
}

fn told(output: Output) -> String {
    output.stderr.replace(['\r', '\n'], "")
}
