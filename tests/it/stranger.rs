//! Whoever comes to a port with nonsense, with nothing, or with too much, is nobody else's concern.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use postern_protocol::secret::Secret;
use postern_protocol::wire::{self, JoinAnswer, JoinRequest, frame, io};
use postern_tests::hostile::Loot;
use postern_tests::identity::{Dialer, Identity};
use postern_tests::{Machine, SOON, Stack, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

/// Longer than any login on a busy machine, far less than any time-out that a stranger could hold.
const PATIENCE: Duration = Duration::from_secs(5);

#[tokio::test]
async fn random_bytes_on_every_port_hurt_nobody() {
    let (stack, _box42, ssh) = visitor().await;
    let mut session = ssh.open().await;
    for round in 0..20 {
        for port in tcp_ports(&stack) {
            let mut stream = TcpStream::connect(port).await.expect("the port is open");
            // Whoever hangs up in the middle of it is right.
            stream.write_all(&noise(1 << (round % 16))).await.ok();
        }
        let udp = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        for _ in 0..20 {
            udp.send_to(&noise(1200), stack.relay.listening().agents).await.expect("datagrams go out");
        }
    }
    session.echo("still here").await;
    assert_eq!(ssh.run("echo in").await.success(), "in\n");
    assert_eq!(stack.api.relays().await.len(), 1);
}

#[tokio::test]
async fn fifty_silent_connections_to_each_port_delay_nobody() {
    let (stack, _box42, ssh) = visitor().await;
    let mut silent = Vec::new();
    for port in tcp_ports(&stack) {
        for _ in 0..50 {
            silent.push(TcpStream::connect(port).await.expect("the port is open"));
        }
    }
    let start = Instant::now();
    // From another address, because one address may only have so many strangers.
    let other = stack.allow_with(&_box42, |access| access.allowed_ips = Some(vec!["127.0.0.2".into()])).await;
    assert_eq!(stack.ssh(&other).from("127.0.0.2").run("echo in").await.success(), "in\n");
    assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
    drop((silent, ssh));
}

#[tokio::test]
async fn a_stranger_who_does_not_log_in_is_sent_away() {
    let stack = Stack::with().relay("limits = { login_grace = '2s' }").start().await;
    let mut silent = TcpStream::connect(stack.relay.listening().gate).await.expect("the gate is open");
    let mut slow = TcpStream::connect(stack.relay.listening().gate).await.expect("the gate is open");
    slow.write_all(b"SSH-2.0-slow\r\n").await.expect("the gate reads");
    for stranger in [&mut silent, &mut slow] {
        let mut all = Vec::new();
        within("the gate hangs up", PATIENCE, stranger.read_to_end(&mut all)).await.ok();
        assert!(all.starts_with(b"SSH-2.0-"));
    }
}

#[tokio::test]
async fn strangers_from_one_address_are_limited_and_others_are_not() {
    let stack = Stack::with().relay("[limits]\ngate_logins_per_source = 4").start().await;
    let box42 = stack.add_box("box42").await;
    let access = stack.allow_with(&box42, |access| access.allowed_ips = Some(vec!["127.0.0.2".into()])).await;
    let gate = stack.relay.listening().gate;
    let mut strangers = Vec::new();
    for _ in 0..4 {
        strangers.push(TcpStream::connect(gate).await.expect("the gate is open"));
    }
    for stranger in &mut strangers {
        let mut banner = [0; 4];
        within("a banner", SOON, stranger.read_exact(&mut banner)).await.expect("within the limit");
    }
    let mut fifth = TcpStream::connect(gate).await.expect("the gate is open");
    let mut said = Vec::new();
    within("the fifth is sent away", SOON, fifth.read_to_end(&mut said)).await.ok();
    assert!(said.len() < 256, "not served: {}", String::from_utf8_lossy(&said));

    assert_eq!(stack.ssh(&access).from("127.0.0.2").run("echo in").await.success(), "in\n");
    drop(strangers);
}

#[tokio::test]
async fn an_oversize_identification_or_packet_is_the_end_of_it() {
    let (stack, _box42, ssh) = visitor().await;
    let endless = noise(1_000_000).iter().map(|byte| b'a' + byte % 26).collect::<Vec<u8>>();
    let packet = [&b"SSH-2.0-stranger\r\n"[..], &[0xff; 100_000]].concat();
    for bytes in [endless, packet] {
        let mut stream = TcpStream::connect(stack.relay.listening().gate).await.expect("the gate is open");
        stream.write_all(&bytes).await.ok();
        let mut rest = Vec::new();
        within("the gate hangs up", SOON, stream.read_to_end(&mut rest)).await.ok();
    }
    assert_eq!(ssh.run("echo in").await.success(), "in\n");
}

#[tokio::test]
async fn a_request_without_end_does_not_hold_the_api() {
    let (stack, _box42, ssh) = visitor().await;
    let mut slow = TcpStream::connect(stack.api.address()).await.expect("the API is open");
    slow.write_all(b"POST /v1/devices HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n{")
        .await
        .expect("it reads");
    let mut endless = TcpStream::connect(stack.api.address()).await.expect("the API is open");
    endless.write_all(b"GET / HTTP/1.1\r\n").await.expect("it reads");
    for _ in 0..2_000 {
        if endless.write_all(&[b"X-Filler: ", &[b'a'; 1_000][..], b"\r\n"].concat()).await.is_err() {
            break;
        }
    }
    assert_eq!(stack.api.device("box42").await.name.as_str(), "box42");
    assert_eq!(ssh.run("echo in").await.success(), "in\n");
}

#[tokio::test]
async fn a_dialer_without_a_boxs_certificate_gets_no_tunnel() {
    let (stack, _box42, ssh) = visitor().await;
    let loot = Loot::of(&stack).await;
    let agents = stack.relay.listening().agents;
    let strangers = [None, Some(Identity::self_made()), Some(loot.identity().clone())];
    for stranger in &strangers {
        let dialer = Dialer::new(wire::TUNNEL_ALPN, stranger.as_ref(), loot.identity());
        // TLS 1.3 lets a client believe that it is in until the server has looked at its certificate.
        if let Ok(connection) = dialer.dial(agents).await {
            within("the relay hangs up", PATIENCE, connection.closed()).await;
        }
    }
    assert_eq!(stack.api.relays().await[0].boxes, 1);
    assert_eq!(ssh.run("echo in").await.success(), "in\n");
}

#[tokio::test]
async fn a_message_without_end_is_not_waited_for() {
    let (stack, _box42, ssh) = visitor().await;
    let loot = Loot::of(&stack).await;
    let dialer = Dialer::new(wire::JOIN_ALPN, None, loot.identity());
    for header in [u32::MAX, 16 * 1024 + 1] {
        let connection = dialer.dial(stack.relay.listening().agents).await.expect("anybody may try to join");
        let (mut to_relay, mut from_relay) = connection.open_bi().await.expect("a stream for the request");
        to_relay.write_all(&header.to_be_bytes()).await.expect("the relay reads");
        to_relay.write_all(&noise(4096)).await.ok();
        let answer = within("the relay hangs up", PATIENCE, from_relay.read_to_end(1024)).await;
        assert!(answer.is_err(), "{answer:?}");
    }
    assert_eq!(ssh.run("echo in").await.success(), "in\n");
}

#[tokio::test]
async fn an_invented_token_is_refused_in_words() {
    let (stack, _box42, _ssh) = visitor().await;
    let loot = Loot::of(&stack).await;
    let dialer = Dialer::new(wire::JOIN_ALPN, None, loot.identity());
    let connection = dialer.dial(stack.relay.listening().agents).await.expect("anybody may try to join");
    let (mut to_relay, mut from_relay) = connection.open_bi().await.expect("a stream for the request");
    let facts = stack.api.device("box42").await.facts.expect("the box said what it is");
    let token = Secret::from_entropy("psj", [7; 32]);
    let request = JoinRequest { version: wire::VERSION, token, csr: noise(300), facts };
    io::send(&mut to_relay, &request).await.expect("the relay reads");
    let answer =
        within("an answer", SOON, io::receive(&mut from_relay, frame::SMALL)).await.expect("an answer");
    assert!(matches!(&answer, JoinAnswer::Refused { sentence } if !sentence.is_empty()), "{answer:?}");
}

#[tokio::test]
async fn fifty_silent_dialers_keep_no_box_out() {
    let (stack, _box42, _ssh) = visitor().await;
    let loot = Loot::of(&stack).await;
    let mut silent = Vec::new();
    for _ in 0..50 {
        let dialer = Dialer::new(wire::JOIN_ALPN, None, loot.identity());
        silent.push((dialer.dial(stack.relay.listening().agents).await, dialer));
    }
    let box43 = stack.add_box("box43").await;
    let access = stack.allow(&box43).await;
    assert_eq!(stack.ssh(&access).run("echo in").await.success(), "in\n");
    drop(silent);
}

async fn visitor() -> (Stack, Machine, postern_tests::Ssh) {
    let stack = Stack::start().await;
    let box42 = stack.add_box("box42").await;
    let ssh = stack.ssh(&stack.allow(&box42).await);
    (stack, box42, ssh)
}

fn tcp_ports(stack: &Stack) -> [SocketAddr; 4] {
    let relay = stack.relay.listening();
    [relay.gate, relay.https, relay.admin, stack.api.address()]
}

fn noise(size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    rand::fill(&mut bytes[..]);
    bytes
}
