//! Postern beside its peers: the same loads through each, in turns, on one machine.
//!
//! `./tests/bench` builds everything for speed and runs this. What it prints are medians of rounds in
//! which every route has its turn, because machines are noisy and only ratios within one run mean
//! anything. `--rounds N` and `--seconds S` say how long; `--only WORD` leaves out routes whose name
//! does not hold the word.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use postern_tests::Scene;

mod cost;
mod load;
mod report;
mod route;
mod service;

use load::Way;
use report::{Results, quantile};
use route::Route;

/// Connections at each door of a route on which nobody says anything.
const STRANGERS: usize = 50;

/// Between bulk and what is measured after it.
const SETTLE: Duration = Duration::from_millis(500);

/// How long and what.
struct Plan {
    rounds: usize,
    time: Duration,
    only: Option<String>,
}

fn main() {
    let plan = Plan::from_arguments();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let results = runtime.block_on(measure(&plan));
    println!("{}", results.table());
    let dir = PathBuf::from(std::env::var_os("POSTERN_BENCH_DIR").unwrap_or_else(|| "target/bench".into()));
    results.write(&dir).expect("results can be written");
    println!("written to {}", dir.display());
}

impl Plan {
    fn from_arguments() -> Self {
        let mut plan = Self { rounds: 3, time: Duration::from_secs(2), only: None };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut value = || words.next().unwrap_or_else(|| panic!("{word} wants a value"));
            match word.as_str() {
                "--rounds" => plan.rounds = value().parse().expect("a number of rounds"),
                "--seconds" => plan.time = Duration::from_secs_f64(value().parse().expect("seconds")),
                "--only" => plan.only = Some(value()),
                // Cargo says so to whatever it runs as a benchmark.
                "--bench" => {}
                other => panic!("unknown argument: {other}"),
            }
        }
        plan
    }

    fn wants(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|word| name.contains(word.as_str()))
    }
}

async fn measure(plan: &Plan) -> Results {
    let service = service::start().await;
    let scene = Scene::new();
    let mut postern = route::postern::start(service).await;
    let mut routes = vec![Route::direct(service)];
    routes.extend(route::openssh::both(&scene, service).await);
    routes.extend(route::rathole::plain(&scene, service).await);
    routes.extend(route::rathole::tls(&scene, service).await);
    routes.extend(route::rathole::noise(&scene, service).await);
    routes.extend(route::bore::plain(&scene, service).await);
    routes.extend(route::postern::both(&mut postern, service).await);
    routes.retain(|route| plan.wants(route.name));
    let mut results = Results::new();
    for round in 1..=plan.rounds {
        for route in &routes {
            eprintln!("round {round} of {}: {}", plan.rounds, route.name);
            if let Err(error) = one_round(route, plan, &mut results).await {
                eprintln!("  {} failed: {error}", route.name);
            }
        }
    }
    results
}

/// Every load through one route, once.
async fn one_round(route: &Route, plan: &Plan, results: &mut Results) -> std::io::Result<()> {
    for (measure, way, connections) in [
        ("1 bulk down, 1 connection", Way::Down, 1),
        ("1 bulk down, 8 connections", Way::Down, 8),
        ("1 bulk up, 1 connection", Way::Up, 1),
        ("1 bulk up, 8 connections", Way::Up, 8),
    ] {
        let before = processor(route);
        let carried = load::bulk(route.address, way, connections, plan.time).await?;
        let after = processor(route);
        let gigabits = carried.bytes as f64 * 8e-9 / carried.seconds;
        results.add(measure, "Gbit/s", route.name, gigabits);
        // The first moments cost as much as the rest, and a fifth of the time is theirs.
        let gigabytes = carried.bytes as f64 * 1e-9 * 1.2;
        for (side, measure) in [("relay", "2 processor, public side"), ("agent", "2 processor, box's side")] {
            if let (Some(before), Some(after)) = (before.get(side), after.get(side)) {
                results.add(measure, "s/GB", route.name, (*after - *before).as_secs_f64() / gigabytes);
            }
        }
    }
    // What bulk has left in buffers is not what a new connection waits for.
    tokio::time::sleep(SETTLE).await;
    let mut times = |measure: [&'static str; 2], all: &[Duration]| {
        let all: Vec<f64> = all.iter().map(|time| time.as_secs_f64() * 1e3).collect();
        results.add(measure[0], "ms", route.name, quantile(&all, 0.5));
        results.add(measure[1], "ms", route.name, quantile(&all, 0.99));
    };
    times(["3 first byte, p50", "3 first byte, p99"], &load::first_byte(route.address, 300).await?);
    if !route.login.is_empty() {
        times(["3 login, p50", "3 login, p99"], &load::login(&route.login, 20).await?);
    }
    times(["4 echo, p50", "4 echo, p99"], &load::echo(route.address, 1000).await?);
    let loaded = load::echo_under_load(route.address, 300).await?;
    times(["5 echo under load, p50", "5 echo under load, p99"], &loaded);
    let silent = load::first_byte_among_strangers(route.address, &route.doors, STRANGERS, 100).await?;
    times(["9 first byte among silent strangers, p50", "9 first byte among silent strangers, p99"], &silent);
    let before = processor(route);
    let (connections, seconds) = load::connections(route.address, 16, plan.time).await?;
    let after = processor(route);
    results.add("6 new connections", "1/s", route.name, connections as f64 / seconds);
    for (side, measure) in [("relay", "7 a connection, public side"), ("agent", "7 a connection, box's side")]
    {
        if let (Some(before), Some(after)) = (before.get(side), after.get(side)) {
            let each = (*after - *before).as_secs_f64() * 1e6 / (connections as f64 * 1.2);
            results.add(measure, "µs of processor", route.name, each);
        }
    }
    for (pids, measure) in [(&route.relay, "8 memory, public side"), (&route.agent, "8 memory, box's side")] {
        if !pids.is_empty() {
            let held: u64 = pids.iter().map(|pid| cost::memory(*pid)).sum();
            results.add(measure, "MiB", route.name, held as f64 / 1_048_576.0);
        }
    }
    Ok(())
}

/// Processor time of each side that is known.
fn processor(route: &Route) -> HashMap<&'static str, Duration> {
    let sides = [("relay", &route.relay), ("agent", &route.agent)];
    let known = sides.into_iter().filter(|(_, pids)| !pids.is_empty());
    known.map(|(side, pids)| (side, pids.iter().map(|pid| cost::processor(*pid)).sum())).collect()
}
