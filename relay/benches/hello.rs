//! What it costs to read the first words of a TLS client, whole and in small segments.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

#[path = "../src/front/hello.rs"]
#[expect(dead_code, unused_imports, reason = "what is measured is a part of it")]
mod hello;

use hello::HelloReader;

fn first_words() -> Vec<u8> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider speaks TLS")
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let name = "box42.relay.example.net".try_into().expect("a name");
    let mut client = ClientConnection::new(Arc::new(config), name).expect("a client");
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).expect("a Vec takes everything");
    bytes
}

fn hellos(c: &mut Criterion) {
    let bytes = first_words();
    for (name, size) in [("whole", bytes.len()), ("in segments of 64 bytes", 64)] {
        c.bench_function(&format!("read a hello {name}"), |b| {
            b.iter(|| {
                let mut reader = HelloReader::new();
                let hello =
                    bytes.chunks(size).find_map(|segment| reader.push(black_box(segment)).transpose());
                assert!(hello.is_some_and(|hello| hello.is_ok()), "the hello is whole");
            });
        });
    }
}

criterion_group!(benches, hellos);
criterion_main!(benches);
