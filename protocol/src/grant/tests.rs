//! Who is believed, and what fits.

use proptest::prelude::*;

use crate::access::MAX_NETWORKS;
use crate::examples::{at, key, largest_key, read};
use crate::ssh_key::MAX_WIRE;

use super::*;

fn signer() -> GrantSigner {
    GrantSigner::from_seed(&[1; 32])
}

fn grant() -> Grant {
    Grant {
        access: read("adatobox42"),
        port: 22,
        login: read("root"),
        key: Some(key(1)),
        allowed: Networks::parse(&["203.0.113.0/24", "2001:db8::/32"]).unwrap(),
        leased: Some(PublicPort { relay: read("relaynumb2"), port: 40122 }),
        expires_at: at("13:00:00"),
        revoked: false,
    }
}

fn grants() -> Grants {
    Grants {
        device: read("boxnumbr42"),
        name: read("box42"),
        label: read("box42"),
        revision: 7,
        signed_at: at("12:00:00"),
        lease_until: at("23:00:00"),
        grants: vec![grant(), Grant { key: None, port: 443, revoked: true, ..grant() }],
    }
}

/// A document with any body, signed as the control API signs.
fn signed(body: Vec<u8>) -> SignedGrants {
    let signature = signer().pair.sign(&signed_bytes(&body)).as_ref().to_vec();
    SignedGrants { body: Bytes(body), signature: Bytes(signature) }
}

#[test]
fn what_was_signed_is_what_is_read() {
    assert_eq!(signer().sign(&grants()).verify(&signer().verifier()), Ok(grants()));
}

#[test]
fn a_document_survives_the_feed_and_the_tunnel() {
    let document = signer().sign(&grants());
    let json = serde_json::to_string(&document).unwrap();
    assert_eq!(serde_json::from_str::<SignedGrants>(&json).unwrap(), document);
    let bytes = postcard::to_stdvec(&document).unwrap();
    assert_eq!(postcard::from_bytes::<SignedGrants>(&bytes).unwrap(), document);
}

#[test]
fn a_changed_byte_anywhere_is_noticed() {
    let (document, verifier) = (signer().sign(&grants()), signer().verifier());
    for place in 0..document.body.0.len() {
        let mut tampered = document.clone();
        tampered.body.0[place] ^= 1;
        assert_eq!(tampered.verify(&verifier), Err(Untrusted::BadSignature), "body, {place}");
    }
    for place in 0..document.signature.0.len() {
        let mut tampered = document.clone();
        tampered.signature.0[place] ^= 1;
        assert_eq!(tampered.verify(&verifier), Err(Untrusted::BadSignature), "signature, {place}");
    }
}

#[test]
fn a_document_that_was_cut_or_lengthened_is_not_believed() {
    let (document, verifier) = (signer().sign(&grants()), signer().verifier());
    for length in 0..document.body.0.len() {
        let mut cut = document.clone();
        cut.body.0.truncate(length);
        assert_eq!(cut.verify(&verifier), Err(Untrusted::BadSignature), "{length}");
    }
    for length in 0..document.signature.0.len() {
        let mut cut = document.clone();
        cut.signature.0.truncate(length);
        assert_eq!(cut.verify(&verifier), Err(Untrusted::BadSignature), "{length}");
    }
    let mut longer = document.clone();
    longer.body.0.push(0);
    assert_eq!(longer.verify(&verifier), Err(Untrusted::BadSignature));
}

#[test]
fn another_key_signs_nothing_here() {
    let stranger = GrantSigner::from_seed(&[2; 32]);
    let verifier = signer().verifier();
    assert_eq!(stranger.sign(&grants()).verify(&verifier), Err(Untrusted::BadSignature));
}

#[test]
fn a_signature_made_for_something_else_is_none() {
    let body = postcard::to_stdvec(&grants()).unwrap();
    for domain in [&b""[..], b"postern grants 2\0", b"postern grants 1"] {
        let signature = signer().pair.sign(&[domain, &body].concat()).as_ref().to_vec();
        let document = SignedGrants { body: Bytes(body.clone()), signature: Bytes(signature) };
        assert_eq!(document.verify(&signer().verifier()), Err(Untrusted::BadSignature), "{domain:?}");
    }
}

#[test]
fn signed_bytes_that_are_no_document_are_unreadable() {
    let body = postcard::to_stdvec(&grants()).unwrap();
    let longer = [&body[..], &[0]].concat();
    for body in [Vec::new(), body[..body.len() - 1].to_vec(), longer] {
        assert_eq!(signed(body).verify(&signer().verifier()), Err(Untrusted::Unreadable));
    }
}

proptest! {
    #[test]
    fn no_signed_bytes_make_reading_panic(noise in any::<Vec<u8>>(), place in any::<prop::sample::Index>()) {
        let verifier = signer().verifier();
        let mut damaged = postcard::to_stdvec(&grants()).unwrap();
        let place = place.index(damaged.len());
        damaged.splice(place..place, noise.iter().copied());
        for body in [noise, damaged] {
            let read = signed(body).verify(&verifier);
            prop_assert!(read.is_ok() || read == Err(Untrusted::Unreadable));
        }
    }
}

#[test]
fn too_many_accesses_and_too_many_bytes_are_refused() {
    let verifier = signer().verifier();
    let full = Grants { grants: vec![grant(); MAX_GRANTS], ..grants() };
    assert_eq!(signer().sign(&full).verify(&verifier), Ok(full));
    let one_more = Grants { grants: vec![grant(); MAX_GRANTS + 1], ..grants() };
    assert_eq!(signer().sign(&one_more).verify(&verifier), Err(Untrusted::Unreadable));
    assert_eq!(signed(vec![0; MAX_BODY]).verify(&verifier), Err(Untrusted::Unreadable));
    assert_eq!(signed(vec![0; MAX_BODY + 1]).verify(&verifier), Err(Untrusted::TooLarge));
}

#[test]
fn a_full_document_of_the_largest_accesses_fits() {
    let networks: Vec<String> = (0..MAX_NETWORKS).map(|n| format!("2001:db8:{n:x}::/128")).collect();
    let largest = Grant {
        login: read(&"l".repeat(32)),
        key: Some(largest_key()),
        allowed: Networks::parse(&networks).unwrap(),
        expires_at: DateTime::from_timestamp(i64::from(u32::MAX) * 2, 0).unwrap(),
        port: u16::MAX,
        ..grant()
    };
    assert_eq!(largest_key().as_wire().len(), MAX_WIRE);
    let full = Grants {
        name: read(&"n".repeat(63)),
        revision: u64::MAX,
        grants: vec![largest; MAX_GRANTS],
        ..grants()
    };
    let document = signer().sign(&full);
    assert!(document.body.0.len() <= MAX_BODY, "{} bytes", document.body.0.len());
    assert_eq!(document.verify(&signer().verifier()), Ok(full));
}

#[test]
fn a_document_takes_the_place_of_older_ones_only() {
    let of = |revision, signed_at| Grants { revision, signed_at: at(signed_at), ..grants() };
    let in_order = [of(6, "12:00:09"), of(7, "12:00:00"), of(7, "12:00:01"), of(8, "11:00:00")];
    for (place, newer) in in_order.iter().enumerate() {
        for (other_place, older) in in_order.iter().enumerate() {
            assert_eq!(newer.supersedes(older), place > other_place, "{place} {other_place}");
        }
    }
}

#[test]
fn the_rules_say_what_the_document_says() {
    let rules = grants().rules();
    assert_eq!(rules.len(), 2);
    assert!(rules.iter().all(|rule| rule.device == grants().device && rule.lease_until == at("23:00:00")));
    let [ssh, web] = &rules[..] else { panic!("two rules") };
    assert_eq!((ssh.access, ssh.port, ssh.revoked), (read("adatobox42"), 22, false));
    assert_eq!((&ssh.key, &ssh.login, ssh.expires_at), (&Some(key(1)), &read("root"), at("13:00:00")));
    assert_eq!((&web.key, web.port, web.revoked), (&None, 443, true));
    assert_eq!(ssh.allowed, grant().allowed);
}

#[test]
fn a_document_does_not_print_its_bytes() {
    let debug = format!("{:?}", signer().sign(&grants()));
    assert!(debug.contains("64 bytes") && debug.len() < 100, "{debug}");
}
