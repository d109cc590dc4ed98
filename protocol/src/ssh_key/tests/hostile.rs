//! Texts and bytes that nobody would paste in good faith.

use std::io::Write;
use std::process::{Command, Stdio};

use super::*;

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in any::<String>()) {
        let _ = PublicKey::parse(&text);
    }

    #[test]
    fn no_text_that_begins_like_a_key_makes_it_panic(
        name in prop::sample::select(&ACCEPTED[..]), rest in "[A-Za-z0-9+/= \\\\:\"\r\n-]{0,200}",
    ) {
        let _ = PublicKey::parse(&format!("{name} AAAA{rest}"));
        let _ = PublicKey::parse(&rfc4716(&rest, "AAAA"));
    }

    #[test]
    fn no_wire_form_makes_it_panic_and_what_is_accepted_has_one_form(
        name in prop::sample::select(&ACCEPTED[..]), rest in any::<Vec<u8>>(),
    ) {
        let blob = [wire(&[name.as_bytes()]), rest].concat();
        if let Ok(key) = PublicKey::from_wire(&blob) {
            prop_assert_eq!(key.as_wire(), &blob[..]);
            prop_assert_eq!(PublicKey::parse(&key.to_openssh()).unwrap().key, key);
        }
    }
}

#[test]
fn numbers_that_no_generator_makes_are_refused() {
    let rsa = |exponent: &[u8], modulus: &[u8]| PublicKey::from_wire(&wire(&[b"ssh-rsa", exponent, modulus]));
    let modulus = |first: u8, last: u8| [&[0, first][..], &[0xff; 254], &[last]].concat();
    let f4 = [1, 0, 1];
    assert!(rsa(&f4, &modulus(0xff, 0xff)).is_ok());
    assert_eq!(rsa(&f4, &modulus(0xff, 0xff)[1..]), Err(Unusable::Damaged), "negative");
    assert_eq!(rsa(&f4, &modulus(0x7f, 0xff)), Err(Unusable::Damaged), "a needless zero");
    assert_eq!(rsa(&f4, &modulus(0x7f, 0xff)[1..]), Err(Unusable::ShortRsa { bits: 2047 }));
    assert_eq!(rsa(&f4, &modulus(0xff, 0xfe)), Err(Unusable::Damaged), "an even modulus");
    assert_eq!(rsa(&[2], &modulus(0xff, 0xff)), Err(Unusable::Damaged), "an even exponent");
    assert_eq!(rsa(&[1], &modulus(0xff, 0xff)), Err(Unusable::Damaged), "an exponent of one");
    assert_eq!(rsa(&[], &modulus(0xff, 0xff)), Err(Unusable::Damaged), "no exponent");
    assert_eq!(rsa(&f4, &[]), Err(Unusable::Damaged), "no modulus");
}

#[test]
fn points_that_are_not_on_their_curve_or_not_written_out_are_refused() {
    for (name, type_name) in KEYS {
        let Some(curve) = type_name.find("nistp").map(|at| &type_name.as_bytes()[at..at + 8]) else {
            continue;
        };
        let blob = parse(&openssh(name)).as_wire().to_vec();
        let start = blob.windows(8).rposition(|window| window == curve).unwrap() + 8 + 4;
        let size = match curve {
            b"nistp256" => 32,
            b"nistp384" => 48,
            _ => 66,
        };
        let mut off_curve = blob.clone();
        off_curve[start + 2 * size] ^= 1;
        assert_eq!(PublicKey::from_wire(&off_curve), Err(Unusable::Damaged), "{name}");

        let x = &blob[start + 1..=start + size];
        let compressed = [&[2 + (blob[start + 2 * size] & 1)], x].concat();
        let mut fields = vec![type_name.as_bytes(), curve, &compressed];
        if type_name.starts_with("sk-") {
            fields.push(b"ssh:");
        }
        assert_eq!(PublicKey::from_wire(&wire(&fields)), Err(Unusable::Damaged), "{name}");
    }
}

/// One bit of every byte of every key is turned, and whatever is still accepted is shown to
/// `ssh-keygen`, which must know it under the same fingerprint.
#[test]
fn nothing_is_accepted_that_ssh_keygen_refuses() {
    let mut accepted = Vec::new();
    for (name, _) in KEYS {
        let blob = parse(&openssh(name)).as_wire().to_vec();
        for place in 0..blob.len() {
            let mut turned = blob.clone();
            turned[place] ^= 1 << (place % 8);
            accepted.extend(PublicKey::from_wire(&turned));
        }
    }
    assert!(accepted.len() > 1000, "RSA and Ed25519 keys have room for every number");
    let shown = ssh_keygen(&accepted);
    assert_eq!(shown.lines().count(), accepted.len());
    for (shown, key) in shown.lines().zip(&accepted) {
        assert!(shown.starts_with(&format!("{} {} ", key.bits(), key.fingerprint())), "{shown}\n{key}");
    }
}

fn ssh_keygen(keys: &[PublicKey]) -> String {
    let mut keygen = Command::new("ssh-keygen")
        .args(["-l", "-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("ssh-keygen, of the openssh-client package");
    let mut stdin = keygen.stdin.take().unwrap();
    let lines: String = keys.iter().map(|key| format!("{key}\n")).collect();
    let writer = std::thread::spawn(move || stdin.write_all(lines.as_bytes()));
    let output = keygen.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    String::from_utf8(output.stdout).unwrap()
}
