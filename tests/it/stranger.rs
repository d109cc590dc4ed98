//! Whoever comes to a port with nonsense, with nothing, or with too much, is nobody else's concern.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

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
    let stack = Stack::with().relay("[limits]\nlogin_grace = '2s'").start().await;
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
    let stack = Stack::with().relay("[limits]\nstrangers_per_source = 4").start().await;
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

async fn visitor() -> (Stack, Machine, postern_tests::Ssh) {
    let stack = Stack::start().await;
    let box42 = stack.add_box("box42").await;
    let ssh = stack.ssh(&stack.allow(&box42).await);
    (stack, box42, ssh)
}

fn tcp_ports(stack: &Stack) -> [SocketAddr; 3] {
    let relay = stack.relay.listening();
    [relay.gate, relay.admin, stack.api.address()]
}

fn noise(size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    rand::fill(&mut bytes[..]);
    bytes
}
