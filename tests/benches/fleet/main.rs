//! A relay full of idle boxes, and rules among ten thousand others.
//!
//! What an idle box costs the relay in memory and in processor time; how long it takes until all boxes
//! are back after the relay was killed; how long from a POST until the rule is in force everywhere, and
//! from a DELETE until the session is cut. `--boxes N` says how many, `--rules N` among how many rules.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use postern_protocol::api::{CreateAccess, DeviceStatus, Via};
use postern_tests::fleet::Fleet;
use postern_tests::{Machine, Stack, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[path = "../peers/cost.rs"]
mod cost;
#[path = "../peers/service.rs"]
#[expect(dead_code, reason = "the other benchmark asks for more")]
mod service;

/// All boxes may take so long to come, or to come back.
const PATIENCE: Duration = Duration::from_secs(300);

/// The processor's time at rest is taken over so long: three signs of life of every box.
const REST: Duration = Duration::from_secs(75);

/// How often a rule is made and removed while it is measured.
const TIMES: usize = 50;

/// Visits that are open meanwhile.
const VISITS: usize = 100;

/// Accesses that each box of the crowd holds, of those among which is measured.
const RULES_EACH: usize = 100;

fn main() {
    let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
    let (mut boxes, mut rules) = (1_000, 1_000);
    while let Some(word) = words.next() {
        let number = words.next().and_then(|number| number.parse().ok()).expect("a number");
        match word.as_str() {
            "--boxes" => boxes = number,
            "--rules" => rules = number,
            other => panic!("unknown argument: {other}"),
        }
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let limits = "handshakes = 4096\nhandshakes_per_source = 4096\njoins_per_minute = 1000000";
        let first = 20_000 + rand::random::<u16>() % 10_000;
        let relay = format!("ports = \"{first}-{}\"\n[limits]\n{limits}", first + 15);
        let mut stack = Stack::with().relay(&relay).start().await;
        let service = service::start().await;
        let machine = stack.add_box_with("box42", &format!("[services]\nbench = \"{service}\"")).await;
        idle(&mut stack, boxes).await;
        changes(&stack, &machine, rules, service).await;
    });
}

/// Memory and processor time of the relay, and the way back after it was killed.
async fn idle(stack: &mut Stack, boxes: usize) {
    let mut fleet = Fleet::join(stack, boxes).await;
    let empty = cost::memory(stack.relay.process().pid());
    let began = Instant::now();
    fleet.dial();
    all_up(&fleet).await;
    println!("{boxes} boxes came within {:.1} s", began.elapsed().as_secs_f64());
    tokio::time::sleep(REST / 6).await;
    let full = cost::memory(stack.relay.process().pid());
    println!("the relay holds {:.1} KiB for each", full.saturating_sub(empty) as f64 / 1024.0 / boxes as f64);
    let before = cost::processor(stack.relay.process().pid());
    tokio::time::sleep(REST).await;
    let spent = cost::processor(stack.relay.process().pid()) - before;
    println!("and takes {:.2} % of a core", spent.as_secs_f64() / REST.as_secs_f64() * 100.0);
    stack.relay.kill();
    let began = Instant::now();
    stack.relay.restart().await;
    // A box that has not noticed yet believes to be there.
    let welcomes = 2 * fleet.size();
    eventually("all boxes have been welcomed again", PATIENCE, async || {
        (fleet.welcomes() >= welcomes).then_some(())
    })
    .await;
    all_up(&fleet).await;
    println!("killed and restarted: all are back after {:.1} s", began.elapsed().as_secs_f64());
}

async fn all_up(fleet: &Fleet) {
    eventually("all boxes are there", PATIENCE, async || (fleet.up() == fleet.size()).then_some(())).await;
}

/// From a POST to the rule in force, and from a DELETE to the session cut.
async fn changes(stack: &Stack, machine: &Machine, rules: usize, service: SocketAddr) {
    crowd(stack, machine, rules).await;
    let _visits = visits(stack, machine, service).await;
    let (mut made, mut cut) = (Vec::new(), Vec::new());
    for _ in 0..TIMES {
        let began = Instant::now();
        let access = stack.allow(machine).await;
        let waited = format!("/v1/accesses/{}", access.id);
        eventually("the rule is in force", PATIENCE, async || {
            let access: postern_protocol::api::Access = stack.api.get(&waited).await.ok()?;
            (access.status == postern_protocol::api::AccessStatus::Active).then_some(())
        })
        .await;
        made.push(began.elapsed().as_secs_f64() * 1e3);
        let mut session = stack.ssh(&access).open().await;
        let began = Instant::now();
        stack.api.revoke(access.id).await;
        session.cut(PATIENCE).await;
        cut.push(began.elapsed().as_secs_f64() * 1e3);
    }
    for (what, mut times) in [("POST to active", made), ("DELETE to cut", cut)] {
        times.sort_by(f64::total_cmp);
        let last = times.len() - 1;
        println!(
            "{what}: p50 {:.1} ms, p99 {:.1} ms, at most {:.1} ms among {rules} rules and {VISITS} visits",
            times[last / 2],
            times[last * 99 / 100],
            times[last],
        );
    }
}

/// Other rules, of boxes that nobody has joined.
async fn crowd(stack: &Stack, machine: &Machine, rules: usize) {
    assert_eq!(stack.api.device(machine.name()).await.status, DeviceStatus::Online);
    for number in 0..rules.div_ceil(RULES_EACH) {
        let name = format!("crowd-{number}");
        stack.api.create_device(&name).await;
        for _ in 0..RULES_EACH {
            let access = CreateAccess { device: name.clone(), ..stack.usual(machine) };
            stack.api.create_access(&access).await.expect("an access is created");
        }
    }
}

/// People who are inside the box, each of whom has had an answer.
async fn visits(stack: &Stack, machine: &Machine, service: SocketAddr) -> Vec<TcpStream> {
    let access = stack
        .allow_with(machine, |access| {
            access.exposed_port = service.port();
            access.via = Some(Via::Port);
            access.public_key = None;
        })
        .await;
    let port = access.public_port.expect("the access has leased a port");
    let public = SocketAddr::new(stack.relay.listening().gate.ip(), port);
    eventually("the port is open", PATIENCE, async || visit(public).await.ok()).await;
    let mut visits = Vec::with_capacity(VISITS);
    for _ in 0..VISITS {
        visits.push(visit(public).await.expect("a visit"));
    }
    visits
}

async fn visit(public: SocketAddr) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(public).await?;
    stream.write_all(&[service::Wish::Echo.byte(), b'x']).await?;
    stream.read_u8().await?;
    Ok(stream)
}
