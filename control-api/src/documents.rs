//! A box's rules, put into the document that is signed.

use chrono::{DateTime, TimeDelta, Utc};
use postern_protocol::grant::{Grant, Grants, MAX_GRANTS};

use crate::record::{AccessRecord, BoxRules};
use crate::span::Span;

/// How long an ended access stays in its box's document, so that its holder can be told that it ended.
pub(crate) const REMEMBERED: TimeDelta = TimeDelta::days(7);

/// The document of a box at this time: what lives, then what ended lately, the latest first.
pub(crate) fn document(rules: &BoxRules, now: DateTime<Utc>, lease: Span) -> Grants {
    let approved = rules.accesses.iter().filter(|access| !access.awaits_approval());
    let (mut live, mut ended): (Vec<_>, Vec<_>) = approved.partition(|access| access.is_live(now));
    live.sort_by_key(|access| (access.created_at, access.id));
    ended.retain(|access| access.ends_at() + REMEMBERED > now);
    ended.sort_by_key(|access| std::cmp::Reverse((access.ends_at(), access.id)));
    Grants {
        device: rules.device,
        name: rules.name.clone(),
        label: rules.label.clone(),
        revision: rules.revision,
        signed_at: now,
        lease_until: now + lease.delta(),
        grants: live.into_iter().chain(ended).take(MAX_GRANTS).map(grant).collect(),
    }
}

fn grant(access: &AccessRecord) -> Grant {
    Grant {
        access: access.id,
        port: access.port,
        login: access.login.clone(),
        key: access.key.clone(),
        allowed: access.allowed.clone(),
        leased: access.leased,
        expires_at: access.expires_at,
        revoked: access.revoked_at.is_some(),
    }
}

#[cfg(test)]
mod tests {
    use postern_protocol::access::{Networks, PublicPort};
    use postern_protocol::grant::{GrantSigner, MAX_BODY};
    use postern_protocol::id::{AccessId, DeviceId, RelayId};
    use postern_protocol::ssh_key::PublicKey;

    use super::*;

    fn at(hours: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::days(20_000) + TimeDelta::hours(hours)
    }

    fn access(number: u8, expires: i64, revoked: Option<i64>) -> AccessRecord {
        AccessRecord {
            id: AccessId::from_entropy([number; 10]),
            device: DeviceId::from_entropy([1; 10]),
            port: 22,
            allowed: Networks::parse(&["192.0.2.1"]).unwrap(),
            key: None,
            key_comment: String::new(),
            login: "root".parse().unwrap(),
            via: postern_protocol::api::Via::Gate,
            leased: None,
            note: String::new(),
            created_at: at(0) + TimeDelta::seconds(number.into()),
            expires_at: at(expires),
            revoked_at: revoked.map(at),
            revised_at: at(0),
            revision: 1,
            asked_by: None,
            approved_at: None,
            created_by: None,
            version: 1,
        }
    }

    fn rules(accesses: Vec<AccessRecord>) -> BoxRules {
        BoxRules {
            device: DeviceId::from_entropy([1; 10]),
            name: "box42".parse().unwrap(),
            label: "box42--acme".parse().unwrap(),
            revision: 9,
            key: None,
            deleted: false,
            accesses,
        }
    }

    fn numbers(accesses: Vec<AccessRecord>, now: i64) -> Vec<AccessId> {
        document(&rules(accesses), at(now), Span::hours(12)).grants.iter().map(|grant| grant.access).collect()
    }

    fn ids(numbers: &[u8]) -> Vec<AccessId> {
        numbers.iter().map(|number| AccessId::from_entropy([*number; 10])).collect()
    }

    #[test]
    fn what_ended_lately_stands_behind_what_lives_and_what_ended_long_ago_nowhere() {
        let accesses =
            vec![access(1, 100, Some(90)), access(2, 95, None), access(3, 300, None), access(4, -200, None)];
        assert_eq!(numbers(accesses, 100), ids(&[3, 2, 1]));
    }

    #[test]
    fn what_nobody_approved_stands_nowhere() {
        let asked =
            |number, revoked| AccessRecord { asked_by: Some("a".into()), ..access(number, 300, revoked) };
        let approved = AccessRecord { approved_at: Some(at(2)), ..asked(3, None) };
        assert_eq!(numbers(vec![asked(1, None), asked(2, Some(90)), approved], 100), ids(&[3]));
    }

    #[test]
    fn no_live_access_is_pushed_out_by_ended_ones() {
        let dead = (0..31).map(|number| access(number, 50, None));
        let full: Vec<_> = (0..MAX_GRANTS as u8)
            .map(|number| AccessRecord { id: access_id(number), ..access(31, 300, None) })
            .collect();
        let document = document(&rules(dead.chain(full).collect()), at(100), Span::hours(12));
        assert_eq!(document.grants.len(), MAX_GRANTS);
        assert!(document.grants.iter().all(|grant| grant.expires_at == at(300)));
    }

    fn access_id(number: u8) -> AccessId {
        AccessId::from_entropy([number >> 4, number & 15, 0, 0, 0, 0, 0, 0, 0, 0])
    }

    #[test]
    fn the_lease_begins_now_and_the_revision_is_the_boxs() {
        let document = document(&rules(vec![]), at(100), Span::hours(12));
        assert_eq!((document.revision, document.signed_at, document.lease_until), (9, at(100), at(112)));
    }

    #[test]
    fn the_largest_document_is_believed() {
        let networks: Vec<String> = (0..32).map(|n| format!("2001:db8:0:{n:x}::/64")).collect();
        let largest = AccessRecord {
            key: Some(rsa(crate::MAX_KEY_BITS)),
            allowed: Networks::parse(&networks).unwrap(),
            login: "l".repeat(32).parse().unwrap(),
            leased: Some(PublicPort { relay: RelayId::from_entropy([1; 10]), port: u16::MAX }),
            ..access(1, 300, None)
        };
        let signer = GrantSigner::from_seed(&[1; 32]);
        let document = document(&rules(vec![largest; MAX_GRANTS]), at(100), Span::hours(12));
        assert_eq!(
            signer.sign(&document).verify(&signer.verifier()),
            Ok(document),
            "at most {MAX_BODY} bytes"
        );
    }

    /// A key of this size, which need not be anybody's.
    fn rsa(bits: u32) -> PublicKey {
        let modulus = vec![0xff; bits as usize / 8];
        let parts: [&[u8]; 3] = [b"ssh-rsa", &[1, 0, 1], &[&[0], modulus.as_slice()].concat()];
        let blob = parts.iter().flat_map(|part| [&(part.len() as u32).to_be_bytes(), *part].concat());
        PublicKey::from_wire(&blob.collect::<Vec<u8>>()).unwrap()
    }
}
