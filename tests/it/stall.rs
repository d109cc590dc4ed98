//! Visits that nobody reads: they hold a bounded amount, stop nobody else, and end when they are left.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use nix::unistd::Pid;
use postern_protocol::api::{Access, Via, VisitOutcome};
use postern_tests::{AT_ONCE, Machine, SOON, Session, Stack, eventually};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// More than a tunnel's credit would bear if visits shared it.
const STALLED: usize = 12;

/// What a stalled download has taken by the time that its windows are full, or nearly.
const FULL: u64 = 1024 * 1024;

#[tokio::test]
async fn a_dozen_downloads_that_nobody_reads_stop_neither_others_nor_a_revocation() {
    let stack = Stack::start().await;
    let box42 = stack.add_box("box42").await;
    let (stalled, other) = (stack.allow(&box42).await, stack.allow(&box42).await);
    let _downloads = stalled_downloads(&stack, &box42, &stalled, FULL).await;

    let mut session = stack.ssh(&other).open().await;
    session.echo("not stopped").await;
    stack.api.revoke(other.id).await;
    session.cut(AT_ONCE).await;
    eventually("the box hears of the revocation", SOON, async || {
        (!box42.keys().contains(other.id.as_str())).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_visitor_who_leaves_in_the_middle_of_a_download_leaves_nothing_behind() {
    let stack = Stack::start().await;
    let box42 = stack.add_box("box42").await;
    let access = stack.allow(&box42).await;
    let downloads = stalled_downloads(&stack, &box42, &access, FULL).await;

    drop(downloads);
    for visit in stack.visits(access.id, STALLED).await {
        assert_eq!(visit.outcome, VisitOutcome::Ended, "{visit:?}");
    }
    eventually("the box has no visit left", SOON, async || moved(&box42).await.is_empty().then_some(()))
        .await;
}

/// Visits that nobody reads, in the test that counts memory.
const MANY: u64 = 100;

/// So many looks in a row at which nothing has moved.
const QUIET: usize = 50;

/// What one of them may hold on its way, all buffers of the kernel's and of the two programs together.
const HELD: u64 = 12 * 1024 * 1024;

/// What one of them may hold in the relay's memory: a stream's window, in pieces of which each keeps a few
/// of its neighbours alive.
const HELD_BY_RELAY: u64 = 6 * 1024 * 1024;

/// What the agent may hold for all of them: what was sent and not acknowledged, and what surrounds it.
const HELD_BY_AGENT: u64 = 96 * 1024 * 1024;

#[tokio::test]
async fn a_hundred_visitors_who_do_not_read_make_the_box_stop_and_cost_bounded_memory() {
    let endless = Endless::start().await;
    let mut stack = Stack::with().relay("ports = '20000-20099'").start().await;
    let services = format!("[services]\nendless = '127.0.0.1:{}'", endless.port);
    let mut box42 = stack.add_box_with("box42", &services).await;
    let access = stack.allow_with(&box42, |access| {
        access.exposed_port = endless.port;
        access.via = Some(Via::Port);
        access.public_key = None;
    });
    let access = access.await;
    let other = stack.allow(&box42).await;
    let door = stack.relay.listening().gate.ip();
    let door = (door, access.public_port.expect("the access has a port"));
    let before = (memory(stack.relay.process().pid()), memory(box42.process().pid()));

    let mut visitors = Vec::new();
    for _ in 0..MANY {
        let socket = TcpSocket::new_v4().unwrap();
        // A small window of the visitor's own: what is not read must wait elsewhere.
        socket.set_recv_buffer_size(64 * 1024).unwrap();
        let mut visitor = socket.connect(door.into()).await.unwrap();
        visitor.read_exact(&mut [0]).await.unwrap();
        visitors.push(visitor);
    }
    let mut last = (0, 0);
    eventually("the box stops reading", SOON * 3, async || {
        let said = endless.said();
        last = if said == last.0 { (said, last.1 + 1) } else { (said, 0) };
        (last.1 == QUIET).then_some(())
    })
    .await;

    assert!(endless.said() < MANY * HELD, "{} bytes are on their way", endless.said());
    let relay = memory(stack.relay.process().pid()).saturating_sub(before.0);
    assert!(relay < MANY * HELD_BY_RELAY, "the relay holds {relay} bytes");
    let agent = memory(box42.process().pid()).saturating_sub(before.1);
    assert!(agent < HELD_BY_AGENT, "the agent holds {agent} bytes");
    stack.ssh(&other).open().await.echo("not stopped").await;
}

/// A service that speaks without an end to whoever connects.
struct Endless {
    port: u16,
    said: Arc<AtomicU64>,
}

impl Endless {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("a bound address").port();
        let said = Arc::<AtomicU64>::default();
        let count = said.clone();
        tokio::spawn(async move {
            while let Ok((visitor, _)) = listener.accept().await {
                tokio::spawn(speak(visitor, count.clone()));
            }
        });
        Self { port, said }
    }

    /// How much it has said to all of them.
    fn said(&self) -> u64 {
        self.said.load(Relaxed)
    }
}

async fn speak(mut to: TcpStream, said: Arc<AtomicU64>) {
    let words = [0; 16 * 1024];
    while let Ok(taken) = to.write(&words).await {
        said.fetch_add(taken as u64, Relaxed);
    }
}

/// What a process holds in memory now.
fn memory(pid: Pid) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process is there");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
    let kib: u64 = line.split_whitespace().next().and_then(|kib| kib.parse().ok()).expect("a number");
    kib * 1024
}

/// Downloads without an end, whose output nobody takes, when each has taken more than so many bytes.
pub(crate) async fn stalled_downloads(
    stack: &Stack,
    machine: &Machine,
    access: &Access,
    full: u64,
) -> Vec<Session> {
    let ssh = stack.ssh(access);
    let download = || {
        let mut command = ssh.program("ssh");
        command.args([ssh.host(), "cat /dev/zero"]);
        Session::start(command)
    };
    let downloads: Vec<Session> = (0..STALLED).map(|_| download()).collect();
    eventually("all downloads are under way", SOON * 2, async || {
        let moved = moved(machine).await;
        (moved.len() == STALLED && moved.iter().all(|bytes| *bytes > full)).then_some(())
    })
    .await;
    downloads
}

/// What each open visit has brought its visitor, as the box counts it.
async fn moved(machine: &Machine) -> Vec<u64> {
    let status = machine.run(&["status", "--json"]).await.success();
    let status: Value = serde_json::from_str(&status).expect("the status is JSON");
    let visits = status.pointer("/member/visits").and_then(Value::as_array).expect("the visits are listed");
    visits.iter().filter_map(|visit| visit["bytes_to_visitor"].as_u64()).collect()
}
