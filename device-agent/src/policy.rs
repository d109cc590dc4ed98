//! The box's own answer to a visit: its owner first, then what it offers, then the signed grants.
//!
//! The relay has decided already. The box need not trust it, so it decides again, by documents
//! that the relay cannot make.

use chrono::{DateTime, Utc};
use postern_protocol::Refusal;
use postern_protocol::access::{Attempt, Entrance, Permit, Rules, Verdict, decide};
use postern_protocol::id::{AccessId, DeviceId};
use postern_protocol::wire::Open;

use crate::approvals::Decisions;
use crate::config::{SSH_PORT, Services};

/// All that the box's answer depends on, besides the visit and the time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Policy<'a> {
    /// Whether the owner lets nobody in.
    pub(crate) paused: bool,
    /// What the owner has decided on, if accesses have to be approved.
    pub(crate) approvals: Option<&'a Decisions>,
    /// What the owner offers besides SSH.
    pub(crate) services: &'a Services,
    /// This box.
    pub(crate) device: DeviceId,
    /// The rules of the grants in force.
    pub(crate) rules: &'a Rules,
}

impl Policy<'_> {
    /// Whether a visit may come in, or go on, at this time.
    pub(crate) fn judge(&self, open: &Open, at: DateTime<Utc>) -> Result<Permit, Refusal> {
        self.consult_owner(open.port)?;
        match decide(self.rules, &self.attempt(open, at)) {
            Verdict::Allow(permit) => self.consult_approvals(open.access).map(|()| permit),
            Verdict::Deny(denial) => Err(Refusal::DeniedByBox(denial)),
        }
    }

    /// The owner's part of the answer, which needs no grants.
    pub(crate) fn consult_owner(&self, port: u16) -> Result<(), Refusal> {
        if self.paused {
            Err(Refusal::BoxPaused)
        } else if port != SSH_PORT && self.services.at(port).is_none() {
            Err(Refusal::NotOffered { port })
        } else {
            Ok(())
        }
    }

    /// Whether the owner has approved what the grants allow.
    fn consult_approvals(&self, access: AccessId) -> Result<(), Refusal> {
        match (self.approvals, self.rules.by_access(access)) {
            (Some(decisions), Some(rule)) => decisions.consult(rule),
            (None, _) => Ok(()),
            (Some(_), None) => Err(Refusal::NotApproved { access }),
        }
    }

    fn attempt(&self, open: &Open, at: DateTime<Utc>) -> Attempt {
        Attempt {
            access: Some(open.access),
            entrance: Entrance::Tunnel,
            source: open.visitor.ip(),
            device: self.device,
            port: open.port,
            at,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use chrono::TimeDelta;
    use postern_protocol::access::{Denial, Door};
    use postern_protocol::id::VisitId;

    use super::*;
    use crate::testing::{EXPIRES_IN, Installation, LEASE, VISITOR, grant, now};

    /// One visit changed in one way, and what the box says of it.
    struct Case {
        what: &'static str,
        change: fn(&mut Visit),
        answer: Result<(), Refusal>,
    }

    struct Visit {
        open: Open,
        at: DateTime<Utc>,
        paused: bool,
        asks: bool,
        revoked: bool,
    }

    #[test]
    fn the_owner_then_the_offer_then_the_grants() {
        let elsewhere: SocketAddr = "198.51.100.7:1".parse().unwrap();
        let denied = |denial| Err(Refusal::DeniedByBox(denial));
        let cases = [
            Case { what: "as granted", change: |_| {}, answer: Ok(()) },
            Case { what: "paused", change: |visit| visit.paused = true, answer: Err(Refusal::BoxPaused) },
            Case {
                what: "not approved where that is asked for",
                change: |visit| visit.asks = true,
                answer: Err(Refusal::NotApproved { access: grant(22).access }),
            },
            Case {
                what: "not granted, which is said before whether it is approved",
                change: |visit| (visit.asks, visit.open.access) = (true, AccessId::from_entropy([9; 10])),
                answer: denied(Denial::UnknownAccess),
            },
            Case {
                what: "a port that is not offered",
                change: |visit| visit.open.port = 8080,
                answer: Err(Refusal::NotOffered { port: 8080 }),
            },
            Case {
                what: "a port that is offered but not granted",
                change: |visit| visit.open.port = 443,
                answer: denied(Denial::PortNotExposed { port: 443 }),
            },
            Case {
                what: "an access that was never granted",
                change: |visit| visit.open.access = AccessId::from_entropy([9; 10]),
                answer: denied(Denial::UnknownAccess),
            },
            Case {
                what: "another address",
                change: |visit| visit.open.visitor = "198.51.100.7:1".parse().unwrap(),
                answer: denied(Denial::AddressOutside { address: elsewhere.ip() }),
            },
            Case {
                what: "after the expiry",
                change: |visit| visit.at = now() + EXPIRES_IN,
                answer: denied(Denial::Expired { at: now() + EXPIRES_IN }),
            },
            Case {
                what: "after a lease that nobody renewed",
                change: |visit| visit.at = now() + LEASE,
                answer: denied(Denial::LeaseOver { at: now() + LEASE }),
            },
            Case { what: "revoked", change: |visit| visit.revoked = true, answer: denied(Denial::Revoked) },
        ];
        for case in cases {
            assert_eq!(judged(case.change), case.answer, "{}", case.what);
        }
    }

    fn judged(change: fn(&mut Visit)) -> Result<(), Refusal> {
        let open = Open {
            visit: VisitId::from_entropy([1; 10]),
            access: grant(22).access,
            port: 22,
            visitor: VISITOR.parse().unwrap(),
            door: Door::Gate,
            revision: 1,
        };
        let mut visit = Visit { open, at: now(), paused: false, asks: false, revoked: false };
        change(&mut visit);
        let ours = Installation::new();
        let mut grants = ours.grants(1, vec![grant(22)]);
        grants.grants[0].revoked = visit.revoked;
        // The lease outlasts the access except where the lease itself is asked about.
        if visit.at >= now() + LEASE {
            grants.grants[0].expires_at = now() + LEASE + TimeDelta::hours(1);
        }
        let rules = grants.rules().into_iter().collect();
        let services = Services::default();
        let nothing_decided = Decisions::default();
        let policy = Policy {
            paused: visit.paused,
            approvals: visit.asks.then_some(&nothing_decided),
            services: &services,
            device: ours.device,
            rules: &rules,
        };
        policy.judge(&visit.open, visit.at).map(drop)
    }
}
