//! What a decision costs among ten rules and among ten thousand, and what a message costs.

use std::hint::black_box;

use chrono::{DateTime, TimeDelta, Utc};
use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use postern_protocol::access::{Attempt, Door, Entrance, Networks, PublicPort, Rule, Rules, decide};
use postern_protocol::grant::{Grant, GrantSigner, Grants};
use postern_protocol::id::{AccessId, DeviceId, RelayId, VisitId};
use postern_protocol::ssh_key::PublicKey;
use postern_protocol::wire::frame::{decode, encode};
use postern_protocol::wire::{Errand, Open};

/// Rules of so many boxes, this many each.
const EACH: u64 = 10;

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

fn id(number: u64) -> [u8; 10] {
    let bytes = number.to_be_bytes().map(|byte| [byte >> 4, byte & 15]);
    bytes.concat()[6..].try_into().expect("ten half bytes")
}

fn noon() -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::days(20_000)
}

fn key() -> PublicKey {
    PublicKey::parse(KEY).expect("a key").key
}

fn leased(number: u64) -> PublicPort {
    PublicPort {
        relay: RelayId::from_entropy([1; 10]),
        port: u16::try_from(number % 60_000).expect("a port"),
    }
}

fn rule(number: u64) -> Rule {
    Rule {
        access: AccessId::from_entropy(id(number)),
        device: DeviceId::from_entropy(id(number / EACH)),
        port: 22,
        allowed: Networks::parse(&["203.0.113.0/24", "2001:db8::/32"]).expect("networks"),
        key: Some(key()),
        login: "root".parse().expect("a login"),
        leased: Some(leased(number)),
        expires_at: noon() + TimeDelta::hours(2),
        lease_until: noon() + TimeDelta::hours(12),
        revoked: false,
    }
}

fn attempt(of: &Rule, access: Option<AccessId>) -> Attempt {
    Attempt {
        access,
        entrance: Entrance::Gate(key()),
        source: "203.0.113.9".parse().expect("an address"),
        device: of.device,
        port: 22,
        at: noon(),
    }
}

fn decisions(c: &mut Criterion) {
    let mut group = c.benchmark_group("decide");
    for count in [10, 1_000, 10_000] {
        let rules: Rules = (0..count).map(rule).collect();
        let last = rule(count - 1);
        let named = attempt(&last, Some(last.access));
        group.bench_function(BenchmarkId::new("by access", count), |b| {
            b.iter(|| decide(&rules, black_box(&named)))
        });
        let unnamed = attempt(&last, None);
        group.bench_function(BenchmarkId::new("by box", count), |b| {
            b.iter(|| decide(&rules, black_box(&unnamed)))
        });
        let port = leased(count - 1);
        group.bench_function(BenchmarkId::new("by port", count), |b| {
            b.iter(|| rules.by_port(black_box(port)).map(|rule| rule.access))
        });
        let renewed = rules.of_box(last.device).to_vec();
        group.bench_function(BenchmarkId::new("replace a box", count), |b| {
            let mut rules = rules.clone();
            b.iter_batched(
                || renewed.clone(),
                |renewed| rules.replace(last.device, renewed),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn messages(c: &mut Criterion) {
    let errand = Errand::Visit(Open {
        visit: VisitId::from_entropy(id(1)),
        access: AccessId::from_entropy(id(2)),
        port: 22,
        visitor: "203.0.113.9:50000".parse().expect("an address"),
        door: Door::Gate,
        revision: 300,
    });
    let frame = encode(&errand);
    c.bench_function("encode a visit", |b| b.iter(|| encode(black_box(&errand))));
    c.bench_function("decode a visit", |b| b.iter(|| decode::<Errand>(black_box(&frame[4..]))));
    let signer = GrantSigner::from_seed(&[1; 32]);
    let grant = |number| {
        let Rule { access, port, login, key, allowed, leased, expires_at, revoked, .. } = rule(number);
        Grant { access, port, login, key, allowed, leased, expires_at, revoked }
    };
    let grants = Grants {
        device: DeviceId::from_entropy(id(1)),
        name: "box42".parse().expect("a name"),
        label: "box42".parse().expect("a name"),
        revision: 300,
        signed_at: noon(),
        lease_until: noon() + TimeDelta::hours(12),
        grants: (0..EACH).map(grant).collect(),
    };
    let signed = signer.sign(&grants);
    c.bench_function("sign ten grants", |b| b.iter(|| signer.sign(black_box(&grants))));
    c.bench_function("verify ten grants", |b| b.iter(|| black_box(&signed).verify(&signer.verifier())));
}

criterion_group!(benches, decisions, messages);
criterion_main!(benches);
