//! What strangers say at the TLS front in place of a hello, or long before the end of one.

use std::fs;
use std::time::{Duration, Instant};

use nix::unistd::Pid;
use postern_tests::nginx::HELLO;
use postern_tests::{Curl, SOON, Stack, eventually, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::front::{box_with_a_page, front};

#[tokio::test]
async fn whatever_is_no_hello_ends_soon_and_leaves_nothing_behind() {
    let stack = Stack::with().relay("limits = { hello_grace = '2s' }").start().await;
    let (box42, page) = box_with_a_page(&stack).await;
    let access = stack.allow_page(&box42, page.address().port()).await;
    let hello = hello_of(&format!("{}.localhost", access.id));
    let endless = [&[1, 0, 255, 0][..], &vec![0; 60_000]].concat();
    let corpus: Vec<Vec<u8>> = vec![
        Vec::new(),
        hello[..1].to_vec(),
        hello[..hello.len() / 2].to_vec(),
        b"GET / HTTP/1.1\r\nHost: box42\r\n\r\n".to_vec(),
        b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(),
        vec![0; 100_000],
        endless.chunks(16_000).flat_map(record).collect(),
        endless.chunks(1).flat_map(record).collect(),
        [&[22, 3, 1, 255, 255][..], &[1; 70_000]].concat(),
        vec![21, 3, 1, 0, 2, 2, 0],
    ];
    for sent in &corpus {
        let mut stream = TcpStream::connect(front(&stack)).await.expect("the front is open");
        // Whoever hangs up in the middle of it is right.
        stream.write_all(sent).await.ok();
        let mut answer = Vec::new();
        within("the front ends it", SOON, stream.read_to_end(&mut answer)).await.ok();
        assert!(answer.is_empty() || answer.starts_with(&[21, 3, 3, 0, 2, 2]), "{answer:?}");
    }
    eventually("no connection is left", SOON, async || {
        (stack.relay.metric("connections{door=\"front\"}").await == 0.0).then_some(())
    })
    .await;
    assert!(stack.relay.metric("garbled_total{door=\"front\"}").await >= corpus.len() as f64 - 1.0);
    assert!(stack.api.visits(&format!("access={}", access.id)).await.is_empty());

    // In as many records as it has bytes, and byte by byte, it is a hello all the same.
    let in_records: Vec<u8> = hello[5..].chunks(1).flat_map(record).collect();
    let mut stream = TcpStream::connect(front(&stack)).await.expect("the front is open");
    stream.set_nodelay(true).expect("a socket");
    for byte in in_records {
        stream.write_all(&[byte]).await.expect("the front listens");
    }
    let mut answer = [0; 6];
    within("the box answers", SOON, stream.read_exact(&mut answer)).await.expect("the box answers");
    assert_eq!((answer[0], answer[5]), (22, 2), "a server's hello");
}

#[tokio::test]
async fn silent_clients_delay_nobody_and_are_sent_away() {
    let stack = Stack::with().relay("limits = { hello_grace = '5s' }").start().await;
    let (box42, page) = box_with_a_page(&stack).await;
    let access = stack.allow_page(&box42, page.address().port()).await;
    let mut silent = Vec::new();
    for _ in 0..50 {
        silent.push(TcpStream::connect(front(&stack)).await.expect("the front is open"));
    }
    let start = Instant::now();
    assert_eq!(Curl::new(front(&stack), access.id).get("/hello").await.success(), HELLO);
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    for mut stream in silent {
        let end = within("the silent are sent away", SOON, stream.read(&mut [0; 8])).await;
        assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
    }
}

#[tokio::test]
async fn half_said_hellos_hold_little_memory_and_are_let_go() {
    /// Nearly all that one source may have at once.
    const MANY: usize = 500;
    /// Just short of what is too long, in two records.
    const SAID: usize = 23 * 1024;
    /// What each may cost: twice what it said, for what is kept and what is parsed, and as much for growing.
    const EACH: usize = 4 * SAID;
    let mut stack = Stack::with().relay("limits = { hello_grace = '15s' }").start().await;
    let (front, pid) = (front(&stack), stack.relay.process().pid());
    let connections = async |stack: &Stack| stack.relay.metric("connections{door=\"front\"}").await;
    let before = (resident(pid), descriptors(pid));
    // Now and then it opens some of its own, such as for whoever asks for its metrics.
    const ITS_OWN: usize = 10;
    let said = [&[1, 0, 255, 0][..], &vec![0; SAID]].concat();
    let said: Vec<u8> = said.chunks(16_000).flat_map(record).collect();
    let mut half = Vec::new();
    for _ in 0..MANY {
        let mut stream = TcpStream::connect(front).await.expect("the front is open");
        stream.write_all(&said).await.expect("the front listens");
        half.push(stream);
    }
    eventually("all of them are heard", SOON, async || {
        (connections(&stack).await == MANY as f64).then_some(())
    })
    .await;
    for stream in &mut half {
        let end = within("they are sent away", SOON, stream.read(&mut [0; 8])).await;
        assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
    }
    let cost = resident(pid) - before.0;
    assert!(cost < MANY * EACH, "{MANY} halves of a hello took {cost} bytes");
    eventually("nothing of them is left", SOON, async || {
        (connections(&stack).await == 0.0 && descriptors(pid) <= before.1 + ITS_OWN).then_some(())
    })
    .await;
}

/// The most bytes of memory that a process has ever held.
fn resident(pid: Pid) -> usize {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux counts");
    let kilobytes: usize = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kilobytes * 1024
}

/// How many files and sockets a process holds.
fn descriptors(pid: Pid) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs").count()
}

/// A piece of a TLS handshake, as a record.
fn record(piece: &[u8]) -> Vec<u8> {
    [&[22, 3, 1], &(piece.len() as u16).to_be_bytes()[..], piece].concat()
}

/// The first flight of a real client.
fn hello_of(name: &str) -> Vec<u8> {
    let config = rustls::ClientConfig::builder_with_provider(postern_tests::identity::provider())
        .with_safe_default_protocol_versions()
        .expect("ring speaks TLS")
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let name = name.to_owned().try_into().expect("a name");
    let mut client = rustls::ClientConnection::new(config.into(), name).expect("a client");
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).expect("a hello");
    bytes
}
