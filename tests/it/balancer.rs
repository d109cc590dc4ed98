//! Behind a load balancer, visitors are who it says that they are; nobody else is believed that.

use std::net::SocketAddr;

use postern_protocol::api::{CreateAccess, Via};
use postern_tests::nginx::HELLO;
use postern_tests::{Curl, Haproxy, SOON, Stack, eventually, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::deny::ELSEWHERE;
use crate::front::box_with_a_page;

/// The header of somebody who claims to speak for 127.0.0.1.
const CLAIM: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\x01\x7f\0\0\x01\x13\x88\0\x16";

#[tokio::test]
async fn a_load_balancer_says_who_its_visitors_are_at_every_door() {
    // Visitors connect from addresses of their own; haproxy connects from 127.0.0.1.
    let settings = "ports = '20000-20099'\nproxy_protocol_from = ['127.0.0.1/32']";
    let stack = Stack::with().relay(settings).start().await;
    let (box42, page) = box_with_a_page(&stack).await;
    let listening = stack.relay.listening();
    let elsewhere = Some(vec![ELSEWHERE.into()]);

    let at_gate = Haproxy::before(stack.scene(), listening.gate, 2).await;
    let access = stack.allow_with(&box42, |access| access.allowed_ips = elsewhere.clone()).await;
    let ssh = stack.ssh(&access).by(at_gate.address());
    assert_eq!(ssh.clone().from(ELSEWHERE).run("echo in").await.success(), "in\n");
    let output = ssh.from("127.0.0.8").run("true").await;
    assert!(output.stderr.contains("address not allowed: 127.0.0.8"), "{output:?}");

    let at_front = Haproxy::before(stack.scene(), listening.https, 2).await;
    let to_the_page = |access: &mut CreateAccess| {
        (access.exposed_port, access.public_key) = (page.address().port(), None);
        access.allowed_ips = elsewhere.clone();
    };
    let link = stack.allow_with(&box42, to_the_page).await;
    let curl = Curl::new(at_front.address(), link.id);
    assert_eq!(curl.clone().from(ELSEWHERE).get("/hello").await.success(), HELLO);
    assert_eq!(curl.from("127.0.0.8").get("/hello").await.code, 35);

    let leased = |access: &mut CreateAccess| {
        to_the_page(access);
        access.via = Some(Via::Port);
    };
    let leased = stack.allow_with(&box42, leased).await;
    let port = leased.public_port.expect("a port is leased");
    let at_port = Haproxy::before(stack.scene(), (listening.gate.ip(), port).into(), 2).await;
    let curl = Curl::to_host(at_port.address(), "box42.test");
    assert_eq!(curl.clone().from(ELSEWHERE).get("/hello").await.success(), HELLO);
    assert_eq!(curl.from("127.0.0.8").get("/hello").await.code, 35);

    for access in [access.id, link.id, leased.id] {
        let sources = eventually("both are on record", SOON, async || {
            let visits = stack.api.visits(&format!("access={access}")).await;
            let sources = visits.iter().rev().map(|visit| visit.source.to_string());
            // From here somebody looked whether haproxy listens.
            let sources: Vec<_> = sources.filter(|source| source != "127.0.0.1").collect();
            (sources.len() == 2).then_some(sources)
        })
        .await;
        assert_eq!(sources, [ELSEWHERE, "127.0.0.8"]);
    }
}

#[tokio::test]
async fn a_load_balancer_that_does_not_say_it_is_sent_away() {
    let stack = Stack::with().relay("proxy_protocol_from = ['127.0.0.1/32']").start().await;
    let listening = stack.relay.listening();
    for door in [listening.gate, listening.https] {
        let heard = tell(door, "127.0.0.1", b"SSH-2.0-without a header\r\n").await;
        assert!(heard.is_empty(), "{heard:?}");
        // The first version of the protocol is not spoken here.
        let old = Haproxy::before(stack.scene(), door, 1).await;
        let heard = tell(old.address(), "127.0.0.1", b"SSH-2.0-x\r\n").await;
        assert!(heard.is_empty(), "{heard:?}");
    }
    assert!(stack.relay.metric("garbled_total{door=\"gate\"}").await >= 2.0);
}

#[tokio::test]
async fn a_visitor_who_speaks_like_a_load_balancer_is_not_believed() {
    let stack = Stack::with().relay("proxy_protocol_from = ['127.0.0.1/32']").start().await;
    let (box42, page) = box_with_a_page(&stack).await;
    let access = stack.allow_page(&box42, page.address().port()).await;
    let front = stack.relay.listening().https;
    let heard = tell(front, ELSEWHERE, CLAIM).await;
    assert_eq!(heard[..6], [21, 3, 3, 0, 2, 2], "it is no TLS: {heard:?}");
    assert!(stack.api.visits(&format!("access={}", access.id)).await.is_empty());
    // Whoever is believed would be welcome.
    let believed = Haproxy::before(stack.scene(), front, 2).await;
    let curl = Curl::new(believed.address(), access.id);
    assert_eq!(curl.get("/hello").await.success(), HELLO);
}

/// Says something from an address of this machine; what comes back until the end.
async fn tell(door: SocketAddr, from: &str, words: &[u8]) -> Vec<u8> {
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::new(from.parse().expect("an address"), 0)).expect("an address of this machine");
    let mut stream: TcpStream = socket.connect(door).await.expect("the door is open");
    stream.write_all(words).await.ok();
    let mut heard = Vec::new();
    within("the door closes", SOON, stream.read_to_end(&mut heard)).await.ok();
    heard
}
