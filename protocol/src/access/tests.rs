//! Every verdict over a small scene, as a table that is reviewed as a diff; and the laws.

use std::fmt::Write;

use crate::examples::{at, key, read};
use crate::golden::assert_golden;

use super::*;

mod laws;

#[test]
fn the_verdicts_are_those_of_the_table() {
    let mut text = String::from(INTRODUCTION);
    let rules = rules();
    for rule in rules.iter() {
        let secret = if rule.key.is_some() { "ada's key" } else { "no key" };
        let ends = format!("expires {}, lease until {}", clock(rule.expires_at), clock(rule.lease_until));
        let revoked = if rule.revoked { ", revoked" } else { "" };
        let opens = format!("{} port {}", box_name(rule.device), rule.port);
        writeln!(text, "  {}  {opens:14}  {secret:9}  {ends}{revoked}", rule.access).unwrap();
        writeln!(text, "              from {}", rule.allowed).unwrap();
    }
    text.push('\n');
    let header = PLACES.map(str::to_owned).into_iter().chain(TIMES.map(str::to_owned)).collect();
    let rows = std::iter::once(header).chain(fold(every_row(&rules)));
    text.push_str(&aligned(&rows.collect::<Vec<_>>()));
    assert_golden("access/verdicts.txt", &text);
}

const INTRODUCTION: &str = "\
Who gets in. Each line is an attempt: who is at which door, which box and port they want and from
where, then the answer at each time of day. 'any' stands for every value that the table knows,
a dot for the answer before it; 'until' is the end of a permit. It all follows from these rules:

";

const PLACES: [&str; 4] = ["who", "box", "port", "from"];
const TIMES: [&str; 5] = ["12:00:00", "12:59:59", "13:00:00", "13:30:00", "14:00:00"];
const BOXES: [&str; 2] = ["box42", "box77"];
const PORTS: [u16; 3] = [22, 443, 8080];
const SOURCES: [&str; 4] = ["203.0.113.9", "::ffff:203.0.113.9", "2001:db8::9", "198.51.100.7"];

fn rules() -> Rules {
    let ssh = Rule {
        access: read("adatobox42"),
        device: device("box42"),
        port: 22,
        allowed: Networks::parse(&["203.0.113.0/24", "2001:db8::/32"]).unwrap(),
        key: Some(key(b'a')),
        login: read("root"),
        leased: None,
        expires_at: at("13:00:00"),
        lease_until: at("23:00:00"),
        revoked: false,
    };
    let web = Rule {
        access: read("webofbox42"),
        port: 443,
        key: None,
        expires_at: at("14:00:00"),
        lease_until: at("13:30:00"),
        ..ssh.clone()
    };
    let revoked =
        Rule { access: read("oldtobox42"), expires_at: at("15:00:00"), revoked: true, ..ssh.clone() };
    let other_box = Rule {
        access: read("adatobox77"),
        device: device("box77"),
        allowed: Networks::parse(&["0.0.0.0/0"]).unwrap(),
        ..ssh.clone()
    };
    let by_port = Rule {
        access: read("porttobx42"),
        leased: Some(public_port(40122)),
        expires_at: at("13:30:00"),
        ..ssh.clone()
    };
    Rules::from_iter([ssh, web, revoked, other_box, by_port])
}

fn public_port(port: u16) -> PublicPort {
    PublicPort { relay: read("relaynumb2"), port }
}

/// The visitors: a name for the table, the access that they name, the door and what they proved.
fn visitors() -> Vec<(&'static str, Option<&'static str>, Entrance)> {
    let (ada, bob) = (key(b'a'), key(b'b'));
    vec![
        ("gate: ada, adatobox42", Some("adatobox42"), Entrance::Gate(ada.clone())),
        ("gate: ada, no access", None, Entrance::Gate(ada.clone())),
        ("gate: ada, oldtobox42", Some("oldtobox42"), Entrance::Gate(ada.clone())),
        ("gate: ada, webofbox42", Some("webofbox42"), Entrance::Gate(ada.clone())),
        ("gate: ada, adatobox77", Some("adatobox77"), Entrance::Gate(ada.clone())),
        ("gate: ada, nosuchname", Some("nosuchname"), Entrance::Gate(ada)),
        ("gate: bob, adatobox42", Some("adatobox42"), Entrance::Gate(bob.clone())),
        ("gate: bob, no access", None, Entrance::Gate(bob)),
        ("front: webofbox42", Some("webofbox42"), Entrance::Front),
        ("front: adatobox42", Some("adatobox42"), Entrance::Front),
        ("front: no access", None, Entrance::Front),
        ("port 40122: porttobx42", Some("porttobx42"), Entrance::Port(public_port(40122))),
        ("port 40123: porttobx42", Some("porttobx42"), Entrance::Port(public_port(40123))),
        ("port 40122: adatobox42", Some("adatobox42"), Entrance::Port(public_port(40122))),
        ("front: porttobx42", Some("porttobx42"), Entrance::Front),
        ("tunnel: adatobox42", Some("adatobox42"), Entrance::Tunnel),
        ("tunnel: webofbox42", Some("webofbox42"), Entrance::Tunnel),
        ("tunnel: oldtobox42", Some("oldtobox42"), Entrance::Tunnel),
    ]
}

fn every_row(rules: &Rules) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for (who, access, entrance) in visitors() {
        for name in BOXES {
            for port in PORTS {
                for source in SOURCES {
                    let attempt = Attempt {
                        access: access.map(read),
                        entrance: entrance.clone(),
                        source: read(source),
                        device: device(name),
                        port,
                        at: at(TIMES[0]),
                    };
                    let places = [who.to_owned(), name.to_owned(), port.to_string(), source.to_owned()];
                    rows.push(places.into_iter().chain(answers(rules, &attempt)).collect());
                }
            }
        }
    }
    rows
}

fn answers(rules: &Rules, attempt: &Attempt) -> Vec<String> {
    let at_time = |time| Attempt { at: at(time), ..attempt.clone() };
    let mut answers: Vec<String> = TIMES.iter().map(|time| answer(&decide(rules, &at_time(time)))).collect();
    for place in (1..answers.len()).rev() {
        if answers[place] == answers[place - 1] {
            answers[place] = ".".to_owned();
        }
    }
    answers
}

fn answer(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Allow(permit) => format!("until {}", clock(permit.until())),
        Verdict::Deny(denial) => denial.code().to_owned(),
    }
}

/// Says in one line what is the same for several sources, ports or boxes.
fn fold(mut rows: Vec<Vec<String>>) -> Vec<Vec<String>> {
    for (column, all) in [(3, SOURCES.len()), (2, PORTS.len()), (1, BOXES.len())] {
        let mut folded: Vec<(Vec<String>, usize)> = Vec::new();
        for row in rows {
            let same = |other: &Vec<String>| {
                (0..row.len()).all(|place| place == column || row[place] == other[place])
            };
            match folded.iter_mut().find(|(other, _)| same(other)) {
                Some((other, merged)) => {
                    *merged += 1;
                    other[column] = match *merged == all {
                        true => "any".to_owned(),
                        false => format!("{} {}", other[column], row[column]),
                    };
                }
                None => folded.push((row, 1)),
            }
        }
        rows = folded.into_iter().map(|(row, _)| row).collect();
    }
    rows
}

fn aligned(rows: &[Vec<String>]) -> String {
    let columns = 0..rows[0].len();
    let widths: Vec<usize> =
        columns.map(|column| rows.iter().map(|row| row[column].len()).max().unwrap()).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        cells.join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

fn device(name: &str) -> DeviceId {
    read(&format!("boxnumbr{}", &name[3..]))
}

fn box_name(device: DeviceId) -> String {
    format!("box{}", &device.as_str()[8..])
}

fn clock(time: DateTime<Utc>) -> String {
    time.format("%H:%M:%S").to_string()
}
