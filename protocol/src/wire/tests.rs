//! Every message in its golden bytes, and bytes that are none.

use std::fmt::Write;

use data_encoding::HEXLOWER;
use proptest::prelude::*;
use serde::de::DeserializeOwned;

use crate::examples::{at, key, read};
use crate::golden::assert_golden;
use crate::grant::{GrantSigner, Grants, MAX_BODY};

use super::frame::{HEADER, LARGE, Malformed, SMALL, body_length, decode, encode};
use super::*;

mod greeting;
#[cfg(feature = "io")]
mod io;
mod messages;

#[test]
fn every_message_has_its_golden_bytes() {
    let mut text = format!(
        "Version {VERSION}. Each message as it travels: four bytes of length, then the body.\n\
         A change here is a change of the protocol: give it a new version and a dated line in wire.rs.\n"
    );
    for (name, bytes, _) in messages::all() {
        write!(text, "\n{name}\n").unwrap();
        for line in bytes.chunks(40) {
            writeln!(text, "  {}", HEXLOWER.encode(line)).unwrap();
        }
    }
    assert_golden("wire/golden.txt", &text);
}

#[test]
fn golden_bytes_are_read_back_as_the_same_message() {
    let golden =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/wire/golden.txt")).unwrap();
    for (name, _, reads_back) in messages::all() {
        let block = golden.split("\n\n").find(|block| block.starts_with(&format!("{name}\n"))).unwrap();
        let hex: String = block.lines().skip(1).map(str::trim).collect();
        assert!(reads_back(&HEXLOWER.decode(hex.as_bytes()).unwrap()), "{name}");
    }
}

#[test]
fn a_length_beyond_the_limit_is_refused_by_its_header_alone() {
    let header = |length: usize| u32::try_from(length).unwrap().to_be_bytes();
    for limit in [SMALL, LARGE] {
        assert_eq!(body_length(header(0), limit), Ok(0));
        assert_eq!(body_length(header(limit), limit), Ok(limit));
        let length = limit + 1;
        assert_eq!(body_length(header(length), limit), Err(Malformed::TooLong { length, limit }));
    }
    let length = u32::MAX as usize;
    assert_eq!(body_length([0xff; HEADER], LARGE), Err(Malformed::TooLong { length, limit: LARGE }));
}

#[test]
fn a_body_that_goes_on_after_its_message_is_none() {
    for (name, bytes, reads_back) in messages::all() {
        assert!(!reads_back(&[&bytes[..], &[0]].concat()), "{name}");
        assert!(!reads_back(&bytes[..bytes.len() - 1]), "{name}");
    }
}

#[test]
fn the_largest_grants_fit_a_control_message() {
    let document = messages::signed_grants(&vec![0; MAX_BODY]);
    let message = encode(&ToAgent::Grants(document));
    assert!(message.len() - HEADER <= LARGE, "{} bytes", message.len());
}

#[test]
fn facts_at_their_limits_fit_a_small_message_and_beyond_them_are_refused() {
    let text = "x".repeat(BoxFacts::MAX_TEXT);
    let service = Service { name: text.clone(), port: u16::MAX };
    let full = BoxFacts {
        agent_version: text.clone(),
        hostname: text.clone(),
        platform: text.clone(),
        ssh: Some(SshServer {
            kind: SshServerKind::System,
            version: text.clone(),
            port: u16::MAX,
            host_keys: vec![crate::examples::largest_key(); BoxFacts::MAX_HOST_KEYS],
        }),
        services: vec![service.clone(); BoxFacts::MAX_SERVICES],
        certificate: Some(WebCertificate {
            kind: WebCertificateKind::File,
            names: vec![text.clone(); BoxFacts::MAX_NAMES],
            fingerprint: text.clone(),
            ends_at: at("13:00:00"),
        }),
        default_login: read(&"l".repeat(32)),
        paused: true,
        consent: Some(Consent { approved: vec![read("k7f2q5xw3a"); MAX_GRANTS], denied: vec![] }),
    };
    assert_eq!(full.check(), Ok(()));
    assert!(encode(&ToRelay::Facts(full.clone())).len() - HEADER <= SMALL);

    let beyond: [fn(&mut BoxFacts); 12] = [
        |facts| facts.consent.as_mut().unwrap().denied.push(read("k7f2q5xw3a")),
        |facts| facts.agent_version.push('x'),
        |facts| facts.hostname.push('x'),
        |facts| facts.platform.push('x'),
        |facts| facts.ssh.as_mut().unwrap().version.push('x'),
        |facts| facts.services[31].name.push('x'),
        |facts| facts.services.push(facts.services[0].clone()),
        |facts| facts.ssh.as_mut().unwrap().host_keys.push(key(1)),
        |facts| facts.certificate.as_mut().unwrap().names[0].push('x'),
        |facts| facts.certificate.as_mut().unwrap().names.push("x".into()),
        |facts| facts.hostname = "\u{1b}[2J".to_owned(),
        |facts| facts.services[0].name = "a\nb".to_owned(),
    ];
    for (number, exceed) in beyond.into_iter().enumerate() {
        let mut facts = full.clone();
        exceed(&mut facts);
        assert!(facts.check().is_err(), "{number}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_reading_panic(bytes in any::<Vec<u8>>()) {
        read_as_everything(&bytes);
    }

    #[test]
    fn no_damaged_message_makes_reading_panic(
        which in any::<prop::sample::Index>(), place in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>(),
    ) {
        let (_, mut bytes, _) = messages::all().swap_remove(which.index(messages::all().len()));
        let place = HEADER + place.index(bytes.len() - HEADER);
        bytes[place] = byte;
        read_as_everything(&bytes[HEADER..]);
        read_as_everything(&bytes[HEADER..=HEADER + cut.index(bytes.len() - HEADER)]);
    }
}

fn read_as_everything(body: &[u8]) {
    fn attempt<T: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug>(body: &[u8]) {
        if let Ok(message) = decode::<T>(body) {
            assert_eq!(decode::<T>(&encode(&message)[HEADER..]), Ok(message));
        }
    }
    attempt::<JoinRequest>(body);
    attempt::<JoinAnswer>(body);
    attempt::<ToRelay>(body);
    attempt::<ToAgent>(body);
    attempt::<Open>(body);
    attempt::<Opening>(body);
}
