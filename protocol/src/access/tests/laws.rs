//! What holds for any rules and any attempt.

use chrono::TimeDelta;
use proptest::prelude::*;
use proptest::sample::select;

use crate::examples::{key, seconds};

use super::super::*;

/// Everything is drawn from few values, so that rules and attempts often meet.
const SOURCES: [&str; 5] = ["10.0.0.1", "::ffff:10.0.0.1", "10.0.1.1", "192.0.2.1", "2001:db8::1"];
const PORTS: [u16; 2] = [40_001, 40_002];
const NETWORKS: [&str; 6] =
    ["10.0.0.0/24", "10.0.0.1/32", "0.0.0.0/0", "2001:db8::/32", "::/0", "::ffff:10.0.0.0/120"];

proptest! {
    #[test]
    fn the_order_of_rules_does_not_matter((one, other) in shuffled(), attempt in attempt()) {
        prop_assert_eq!(decide(&one.into_iter().collect(), &attempt), decide(&other.into_iter().collect(), &attempt));
    }

    #[test]
    fn another_rule_never_worsens_a_verdict_and_one_less_never_betters_it(
        mut rules in rules(), attempt in attempt(),
    ) {
        let more = decide(&rules.iter().cloned().collect(), &attempt);
        rules.pop();
        prop_assert!(decide(&rules.into_iter().collect(), &attempt) <= more);
    }

    #[test]
    fn a_permit_holds_until_it_says_and_not_a_second_longer(rules in rules(), mut attempt in attempt()) {
        let rules: Rules = rules.into_iter().collect();
        if let Verdict::Allow(permit) = decide(&rules, &attempt) {
            prop_assert!(attempt.at < permit.until());
            attempt.at = permit.until() - TimeDelta::nanoseconds(1);
            prop_assert_eq!(decide(&rules, &attempt), Verdict::Allow(permit.clone()));
            attempt.at = permit.until();
            prop_assert!(matches!(decide(&rules, &attempt), Verdict::Deny(_)));
        }
    }

    #[test]
    fn a_permit_opens_what_was_asked_for_by_a_live_rule(rules in rules(), attempt in attempt()) {
        let rules: Rules = rules.into_iter().collect();
        if let Verdict::Allow(permit) = decide(&rules, &attempt) {
            prop_assert_eq!((permit.device(), permit.port()), (attempt.device, attempt.port));
            prop_assert!(attempt.access.is_none_or(|named| named == permit.access()));
            let rule = rules.by_access(permit.access()).unwrap();
            prop_assert!(rule.is_live(attempt.at) && !rule.revoked);
        }
    }

    #[test]
    fn somebody_gets_in_exactly_if_some_rule_says_so_in_every_point(
        rules in rules(), attempt in attempt(),
    ) {
        let says_so = |rule: &Rule| {
            attempt.access.is_none_or(|named| named == rule.access)
                && match &attempt.entrance {
                    Entrance::Gate(proved) => rule.key.as_ref() == Some(proved),
                    Entrance::Front => rule.key.is_none(),
                    Entrance::Port(port) => rule.leased == Some(*port),
                    Entrance::Tunnel => true,
                }
                && rule.device == attempt.device
                && rule.port == attempt.port
                && rule.allowed.iter().any(|network| network.contains(&attempt.source.to_canonical()))
                && !rule.revoked
                && attempt.at < rule.expires_at
                && attempt.at < rule.lease_until
        };
        let expected = rules.iter().any(says_so);
        let verdict = decide(&rules.into_iter().collect(), &attempt);
        prop_assert_eq!(matches!(verdict, Verdict::Allow(_)), expected);
    }

    #[test]
    fn the_answer_is_the_nearest_that_any_rule_comes(rules in rules(), attempt in attempt()) {
        let alone = |rule: &Rule| decide(&[rule.clone()].into_iter().collect(), &attempt);
        let nearest = rules.iter().map(alone).max().unwrap_or(Verdict::Deny(Denial::UnknownAccess));
        prop_assert_eq!(decide(&rules.into_iter().collect(), &attempt), nearest);
    }

    #[test]
    fn without_rules_nobody_gets_in(attempt in attempt()) {
        prop_assert_eq!(decide(&Rules::default(), &attempt), Verdict::Deny(Denial::UnknownAccess));
    }

    #[test]
    fn ipv4_mapped_into_ipv6_is_ipv4(rules in rules(), mut attempt in attempt()) {
        let rules: Rules = rules.into_iter().collect();
        let verdict = decide(&rules, &attempt);
        attempt.source = match attempt.source.to_canonical() {
            IpAddr::V4(address) => IpAddr::V6(address.to_ipv6_mapped()),
            six @ IpAddr::V6(_) => six,
        };
        prop_assert_eq!(decide(&rules, &attempt), verdict);
    }

    #[test]
    fn a_public_port_leads_to_the_one_that_ends_last_of_those_that_leased_it(rules in rules()) {
        let all: Rules = rules.iter().cloned().collect();
        let leased = |port| rules.iter().filter(move |rule| rule.leased == Some(port));
        for port in PORTS.map(super::public_port) {
            let found = all.by_port(port);
            prop_assert_eq!(found.is_some(), leased(port).next().is_some());
            prop_assert_eq!(found.is_some(), all.ports_of(port.relay).contains(&port.port));
            if let Some(found) = found {
                prop_assert!(found.leased == Some(port));
                prop_assert!(leased(port).all(|other| (!other.revoked, other.expires_at) <= (!found.revoked, found.expires_at)));
            }
        }
        let mut none = all.clone();
        rules.iter().for_each(|rule| none.remove(rule.device));
        prop_assert!(none.ports_of(super::public_port(0).relay).is_empty());
    }

    #[test]
    fn replacing_a_box_is_forgetting_it_and_learning_it_again(rules in rules(), attempt in attempt()) {
        let all: Rules = rules.iter().cloned().collect();
        let mut replaced: Rules = rules.iter().cloned().collect();
        replaced.remove(attempt.device);
        prop_assert!(replaced.of_box(attempt.device).is_empty());
        prop_assert!(rules.iter().all(|rule| rule.device != attempt.device || replaced.by_access(rule.access).is_none()));
        replaced.replace(attempt.device, all.of_box(attempt.device).to_vec());
        prop_assert_eq!(decide(&replaced, &attempt), decide(&all, &attempt));
    }
}

#[test]
fn denials_are_ordered_by_how_near_they_came() {
    let address = "192.0.2.1".parse().unwrap();
    let ordered = [
        Denial::UnknownAccess,
        Denial::WrongKey,
        Denial::WrongBox,
        Denial::PortNotExposed { port: 22 },
        Denial::AddressOutside { address },
        Denial::Revoked,
        Denial::Expired { at: seconds(1) },
        Denial::Expired { at: seconds(2) },
        Denial::LeaseOver { at: seconds(0) },
    ];
    assert!(ordered.is_sorted());
    assert!(ordered.iter().filter(|denial| denial.is_strangers()).count() == 2);
}

fn rules() -> impl Strategy<Value = Vec<Rule>> {
    prop::collection::vec(rule(), 0..8).prop_map(|mut rules| {
        for (number, rule) in (0..).zip(&mut rules) {
            rule.access = access(number);
        }
        rules
    })
}

fn shuffled() -> impl Strategy<Value = (Vec<Rule>, Vec<Rule>)> {
    rules().prop_flat_map(|rules| (Just(rules.clone()), Just(rules).prop_shuffle()))
}

fn rule() -> impl Strategy<Value = Rule> {
    let networks = prop::collection::vec(select(&NETWORKS[..]), 1..3);
    let ends = (0..6i64, 0..6i64, prop::bool::weighted(0.2));
    let leased = prop::option::of(select(&PORTS[..]));
    (0..2u8, port(), networks, prop::option::of(0..2u8), leased, ends).prop_map(
        |(box_number, port, networks, key_byte, leased, (expires, lease, revoked))| Rule {
            access: access(0),
            device: device(box_number),
            port,
            allowed: Networks::parse(&networks).unwrap(),
            key: key_byte.map(key),
            login: "root".parse().unwrap(),
            leased: leased.map(super::public_port),
            expires_at: seconds(expires),
            lease_until: seconds(lease),
            revoked,
        },
    )
}

fn attempt() -> impl Strategy<Value = Attempt> {
    let entrance = prop_oneof![
        (0..3u8).prop_map(|byte| Entrance::Gate(key(byte))),
        Just(Entrance::Front),
        select(&PORTS[..]).prop_map(|port| Entrance::Port(super::public_port(port))),
        Just(Entrance::Tunnel),
    ];
    let wanted = (prop::option::of(0..9u8), 0..2u8, port());
    (wanted, entrance, select(&SOURCES[..]), 0..6i64).prop_map(
        |((named, box_number, port), entrance, source, now)| Attempt {
            access: named.map(access),
            entrance,
            source: source.parse().unwrap(),
            device: device(box_number),
            port,
            at: seconds(now),
        },
    )
}

fn port() -> impl Strategy<Value = u16> {
    select(&[22, 443][..])
}

fn access(number: u8) -> AccessId {
    AccessId::from_entropy([number; 10])
}

fn device(number: u8) -> DeviceId {
    DeviceId::from_entropy([number; 10])
}
