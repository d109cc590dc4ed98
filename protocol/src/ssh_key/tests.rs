//! Real outputs of `ssh-keygen` (OpenSSH 9.2) and `puttygen` (0.78), in `fixtures/`.

use proptest::prelude::*;

use crate::examples::{key, largest_key, wire};

use super::pasted::MAX_COMMENT;
use super::*;

mod hostile;

/// The keys in `fixtures/accepted`, and the type that each is of.
const KEYS: [(&str, &str); 9] = [
    ("ed25519", "ssh-ed25519"),
    ("ecdsa-256", "ecdsa-sha2-nistp256"),
    ("ecdsa-384", "ecdsa-sha2-nistp384"),
    ("ecdsa-521", "ecdsa-sha2-nistp521"),
    ("rsa-2048", "ssh-rsa"),
    ("rsa-3072", "ssh-rsa"),
    ("rsa-4096", "ssh-rsa"),
    ("ed25519-sk", "sk-ssh-ed25519@openssh.com"),
    ("ecdsa-sk", "sk-ecdsa-sha2-nistp256@openssh.com"),
];

/// Those of them that PuTTYgen can make.
const PUTTY_KEYS: usize = 7;

fn fixture(path: &str) -> String {
    let path = format!("{}/src/ssh_key/fixtures/{path}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn openssh(name: &str) -> String {
    fixture(&format!("accepted/{name}.pub"))
}

fn parse(text: &str) -> PublicKey {
    PublicKey::parse(text).unwrap_or_else(|error| panic!("{error}: {text}")).key
}

fn refusal(text: &str) -> Unusable {
    PublicKey::parse(text).expect_err(text)
}

/// An OpenSSH line with another blob in it.
fn line(type_name: &str, blob: &[u8]) -> String {
    format!("{type_name} {}", Base64::encode_string(blob))
}

#[test]
fn every_type_is_read_and_shown_as_ssh_keygen_shows_it() {
    let shown = fixture("accepted/fingerprints.txt");
    for (name, type_name) in KEYS {
        let key = parse(&openssh(name));
        assert_eq!(key.type_name(), type_name);
        let ours = format!("{name} {} {} ", key.bits(), key.fingerprint());
        assert!(shown.lines().any(|line| line.starts_with(&ours)), "{ours}");
    }
}

#[test]
fn openssh_lines_survive_a_round_trip() {
    for (name, _) in KEYS {
        let text = openssh(name);
        let line = parse(&text).to_openssh();
        assert!(text.starts_with(&line), "{name}");
        assert_eq!(parse(&line), parse(&text));
    }
}

#[test]
fn rfc4716_of_openssh_and_of_puttygen_is_the_same_key() {
    for (place, (name, _)) in KEYS.into_iter().enumerate() {
        let key = parse(&openssh(name));
        assert_eq!(parse(&fixture(&format!("accepted/{name}.rfc4716"))), key, "{name}");
        if place < PUTTY_KEYS {
            assert_eq!(parse(&fixture(&format!("accepted/{name}.putty"))), key, "{name}");
        }
    }
}

#[test]
fn rfc4716_may_come_with_windows_line_ends_and_a_byte_order_mark() {
    for (name, _) in &KEYS[..PUTTY_KEYS] {
        let text = fixture(&format!("accepted/{name}.putty")).replace('\n', "\r\n");
        assert_eq!(parse(&format!("\u{feff}{text}")), parse(&openssh(name)), "{name}");
        assert_eq!(parse(&format!("\r\n  {text}\r\n\r\n")), parse(&openssh(name)), "{name}");
    }
}

#[test]
fn rfc4716_may_be_wrapped_at_any_width() {
    let key = parse(&openssh("rsa-4096"));
    let base64 = Base64::encode_string(key.as_wire());
    for width in [1, 64, 70, 72, 76, base64.len()] {
        let lines: Vec<&str> =
            base64.as_bytes().chunks(width).map(|line| std::str::from_utf8(line).unwrap()).collect();
        assert_eq!(parse(&rfc4716("", &lines.join("\n"))), key, "{width}");
    }
}

#[test]
fn rfc4716_headers_may_be_continued_and_only_the_comment_is_kept() {
    let base64 = Base64::encode_string(key(1).as_wire());
    let headers =
        "Subject: ada\nx-private: not \\\nkept\nCOMMENT: \"the key that \\\nada carries \\\naround\"\n";
    let pasted = PublicKey::parse(&rfc4716(headers, &base64)).unwrap();
    assert_eq!((pasted.key, pasted.comment.as_str()), (key(1), "the key that ada carries around"));
}

#[test]
fn comments_are_kept_and_shortened_for_people() {
    let comment = |text: &str| PublicKey::parse(text).unwrap().comment;
    assert_eq!(comment(&openssh("ed25519")), "ada@laptop");
    assert_eq!(comment(&openssh("rsa-2048")), "ada@laptop rsa 2048");
    assert_eq!(comment(&fixture("accepted/rsa-2048.putty")), "ada@laptop rsa 2048");
    assert_eq!(comment(&key(1).to_openssh()), "");
    assert_eq!(comment(&format!("{} a\u{7}\u{1b}[31mb", key(1))), "a[31mb");
    assert_eq!(comment(&format!("{} {}", key(1), "é".repeat(500))), "é".repeat(MAX_COMMENT));
}

#[test]
fn blanks_and_comment_lines_round_a_key_do_no_harm() {
    let base64 = Base64::encode_string(key(1).as_wire());
    for text in [
        format!("\u{feff}  ssh-ed25519 {base64}\r\n"),
        format!("ssh-ed25519  \t{base64}   ada"),
        format!("\n# ada's\n\nssh-ed25519 {base64} ada\n# the end\n"),
    ] {
        assert_eq!(parse(&text), key(1), "{text:?}");
    }
}

#[test]
fn two_keys_are_the_same_whatever_their_comments() {
    assert_eq!(parse(&format!("{} home", key(1))), parse(&format!("{} work", key(1))));
    assert_ne!(key(1), key(2));
}

#[test]
fn p521_is_accepted_with_a_warning_and_nothing_else_is_warned_of() {
    for (name, type_name) in KEYS {
        let warning = PublicKey::parse(&openssh(name)).unwrap().warning;
        let expected = type_name == "ecdsa-sha2-nistp521";
        assert_eq!(warning.is_some_and(|text| text.contains("CVE-2024-31497")), expected, "{name}");
    }
}

#[test]
fn private_keys_are_refused_by_the_name_of_their_format() {
    for (name, expected) in [
        ("openssh", "OpenSSH"),
        ("pem-pkcs1", "PEM"),
        ("pem-pkcs1-encrypted", "PEM"),
        ("pem-pkcs8", "PEM"),
        ("pem-pkcs8-encrypted", "PEM"),
        ("pem-ec", "PEM"),
        ("pem-dsa", "PEM"),
        ("ppk-2", "PuTTY .ppk"),
        ("ppk-3", "PuTTY .ppk"),
        ("ppk-3-encrypted", "PuTTY .ppk"),
        ("sshcom", "ssh.com"),
    ] {
        let text = fixture(&format!("private/{name}"));
        let beside_a_public_key = format!("{}{text}", openssh("ed25519"));
        let huge = format!("{text}{}", "A".repeat(MAX_PASTED));
        for text in [text.replace('\n', "\r\n"), format!("\u{feff}{text}"), text, beside_a_public_key, huge] {
            let refusal = refusal(&text);
            assert!(
                matches!(refusal, Unusable::Private { format, .. } if format == expected),
                "{name}: {refusal:?}"
            );
        }
    }
}

#[test]
fn keys_that_are_no_longer_or_not_yet_usable_are_refused_by_name() {
    assert_eq!(refusal(&fixture("refused/dsa.pub")), Unusable::Dsa);
    assert_eq!(refusal(&fixture("refused/ed448.pub")), Unusable::Ed448);
    assert_eq!(refusal(&fixture("refused/rsa-1024.pub")), Unusable::ShortRsa { bits: 1024 });
    assert_eq!(refusal(&fixture("refused/rsa-9216.pub")), Unusable::LongRsa { bits: 9216 });
    assert_eq!(refusal(&fixture("refused/ed25519-cert.pub")), Unusable::Certificate);
    assert_eq!(refusal(&fixture("refused/pkcs8-public.pem")), Unusable::Pem { convert_from: "PKCS8" });
    assert_eq!(refusal(&fixture("refused/pkcs1-public.pem")), Unusable::Pem { convert_from: "PEM" });
    let other = line("ssh-future@example.com", &wire(&[b"ssh-future@example.com", b"?"]));
    assert_eq!(refusal(&other), Unusable::UnknownType("ssh-future@example.com".into()));
}

#[test]
fn what_people_paste_by_mistake_is_refused_with_what_to_do() {
    let ed25519 = key(1).to_openssh();
    let base64 = ed25519.split(' ').nth(1).unwrap();
    assert_eq!(refusal(""), Unusable::Empty);
    assert_eq!(refusal(" \r\n\u{feff}"), Unusable::Empty);
    assert_eq!(refusal(&"x".repeat(MAX_PASTED + 1)), Unusable::TooLong);
    assert_eq!(refusal(&format!("{ed25519}\n{}", key(2))), Unusable::Several);
    assert_eq!(refusal(&rfc4716("", base64).repeat(2)), Unusable::Several);
    assert_eq!(refusal(&format!("ssh-ed25519 {}\n{}", &base64[..40], &base64[40..])), Unusable::Wrapped);
    let preceded = Unusable::Preceded { starts_at: "ssh-ed25519" };
    for before in
        ["restrict,pty", "command=\"echo hi\",from=\"10.0.0.0/8\"", "box42,192.0.2.1", "@cert-authority *"]
    {
        assert_eq!(refusal(&format!("{before} {ed25519} ada")), preceded, "{before}");
    }
    for text in ["hello", "ssh ed25519", base64, "~/.ssh/id_ed25519.pub", "SHA256:abc", "# nothing"] {
        assert_eq!(refusal(text), Unusable::NotAKey, "{text}");
    }
}

#[test]
fn a_key_that_is_cut_off_or_put_together_wrongly_is_called_damaged() {
    let ed25519 = key(1).to_openssh();
    for end in "ssh-ed25519".len()..ed25519.len() {
        assert_eq!(refusal(&ed25519[..end]), Unusable::Damaged, "{end}");
    }
    let blob = key(1).as_wire().to_vec();
    for text in [
        line("ssh-rsa", &blob),
        line("ssh-ed25519", &[&blob[..], &[0]].concat()),
        line("ssh-ed25519", &wire(&[b"ssh-ed25519", &[1; 32], b""])),
        line("ssh-ed25519", &wire(&[b"ssh-ed25519", &[1; 31]])),
        rfc4716("", &Base64::encode_string(&blob[..40])),
        rfc4716("", &Base64::encode_string(&blob)).replace("---- END", "---- AND"),
    ] {
        assert_eq!(refusal(&text), Unusable::Damaged, "{text}");
    }
}

#[test]
fn a_refusal_never_repeats_what_may_be_secret() {
    for secret in
        ["pst_d-GhpcyBpcyBhIHNlY3JldA", "hunter2-hunter2 is my password", "a-b AAAA", "correct-horse"]
    {
        let sentence = refusal(secret).to_string();
        assert!(!sentence.contains(secret.split(' ').next().unwrap()), "{sentence}");
    }
}

#[test]
fn the_largest_key_is_within_the_limit() {
    assert_eq!((largest_key().bits(), largest_key().as_wire().len()), (MAX_RSA_BITS, MAX_WIRE));
    assert_eq!(parse(&largest_key().to_openssh()), largest_key());
    let application = vec![b'a'; MAX_WIRE];
    let endless = wire(&[b"sk-ssh-ed25519@openssh.com", &[1; 32], &application]);
    assert_eq!(PublicKey::from_wire(&endless), Err(Unusable::TooLong));
    assert_eq!(PublicKey::from_wire(&vec![0; MAX_PASTED + 1]), Err(Unusable::TooLong));
}

#[test]
fn people_read_a_line_and_programs_read_bytes() {
    let json = serde_json::to_string(&key(1)).unwrap();
    assert_eq!(json, format!("\"{}\"", key(1)));
    assert_eq!(serde_json::from_str::<PublicKey>(&json).unwrap(), key(1));
    let bytes = postcard::to_stdvec(&key(1)).unwrap();
    assert_eq!(&bytes[1..], key(1).as_wire());
    assert_eq!(postcard::from_bytes::<PublicKey>(&bytes).unwrap(), key(1));
    assert!(postcard::from_bytes::<PublicKey>(&bytes[..40]).is_err());
}

fn rfc4716(headers: &str, base64: &str) -> String {
    format!("---- BEGIN SSH2 PUBLIC KEY ----\n{headers}{base64}\n---- END SSH2 PUBLIC KEY ----\n")
}
