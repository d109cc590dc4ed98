use postern_protocol::api::Progress;

use super::add::{journey, request};
use super::*;
use crate::identity::Given;

fn access() -> Access {
    let text = r#"{"id":"k7f2q5xwab","device":"k7f2q5xwac","device_name":"box42","exposed_port":22,
        "allowed_ips":["198.51.100.7/32"],"expires_at":"2023-11-15T00:13:20Z","login":"root",
        "note":"for \u001b[2J ann","created_at":"2023-11-14T22:00:00Z","status":"active",
        "status_since":"2023-11-14T22:00:00Z","status_reason":"in force on relay-1 and on box42","revision":7}"#;
    serde_json::from_str(text).unwrap()
}

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000, 0).unwrap()
}

#[test]
fn the_way_of_a_rule_is_one_line() {
    let progress = [("rule signed", 1), ("in force on relay-1", 12), ("box42 has it", 31)]
        .map(|(what, after_ms)| Progress { what: what.to_owned(), after_ms });
    assert_eq!(
        journey(&progress),
        "rule signed · in force on relay-1 after 12 ms · box42 has it after 31 ms"
    );
}

#[test]
fn accesses_are_shown_tamed() {
    assert_eq!(
        list(&[access()], now()),
        "ID          BOX    PORT  VIA   LOGIN  FROM             STATUS  ENDS    NOTE\n\
         k7f2q5xwab  box42  22    gate  root   198.51.100.7/32  active  in 2 h  for \\u{1b}[2J ann"
    );
    let shown = describe(&access(), now());
    assert!(shown.starts_with("k7f2q5xwab: active, in force on relay-1 and on box42\n"), "{shown}");
    assert!(shown.contains("2023-11-15 00:13:20 UTC (in 2 h)"), "{shown}");
}

#[test]
fn what_is_left_out_is_left_to_the_api() {
    let device = "box42".parse().unwrap();
    let asked = serde_json::to_value(request(&device, 443, Terms::default(), None)).unwrap();
    assert_eq!(asked, serde_json::json!({ "device": "box42", "exposed_port": 443 }));
}

#[test]
fn terms_are_asked_for_as_they_were_given() {
    let device = "box42".parse().unwrap();
    let line = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB ann@laptop";
    let pasted = postern_protocol::ssh_key::PublicKey::parse(line).unwrap();
    let key = Given { pasted, from: "x".to_owned(), tried_by_ssh: true };
    let terms = Terms {
        lasts: Some("2h".to_owned()),
        from: vec!["198.51.100.0/24".to_owned()],
        login: Some("ann".parse().unwrap()),
        note: Some("disk".to_owned()),
        ..Terms::default()
    };
    let asked = serde_json::to_value(request(&device, 22, terms, Some(&key))).unwrap();
    let expected = serde_json::json!({
        "device": "box42", "exposed_port": 22, "allowed_ips": ["198.51.100.0/24"], "expires_in": "2h",
        "public_key": line, "login": "ann", "note": "disk",
    });
    assert_eq!(asked, expected);
}

#[test]
fn without_a_relay_there_is_no_command_and_it_says_why() {
    let failure = rendered(&access(), Form::Plink).unwrap_err();
    assert!(failure.to_string().contains("postern relays"), "{failure}");
}

#[test]
fn a_way_in_is_a_word_and_a_port() {
    let mut access = access();
    access.via = Via::Port;
    access.public_port = Some(40122);
    assert!(list(std::slice::from_ref(&access), now()).contains("port 40122"));
    assert!(describe(&access, now()).contains("port 40122"));
}

#[test]
fn a_page_is_not_for_programs_that_speak_ssh() {
    let mut page = access();
    let connection = r#"{"command":"https://relay:40123/","known_hosts":[],"fingerprints":
        {"gate":[],"device":[],"certificate":"5e5e"}}"#;
    page.connection = Some(serde_json::from_str(connection).unwrap());
    let failure = rendered(&page, Form::Plink).unwrap_err();
    assert!(failure.to_string().ends_with("it is used so: https://relay:40123/"), "{failure}");
    assert!(describe(&page, now()).contains("5e5e"));
}
