//! One access as the decision sees it, and all of them by name.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, Utc};

use super::{Attempt, Denial, Entrance, Networks, Permit, PublicPort, Verdict};
use crate::id::{AccessId, DeviceId, Login, RelayId};
use crate::ssh_key::PublicKey;

/// What one access allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The access's name.
    pub access: AccessId,
    /// The box it opens.
    pub device: DeviceId,
    /// The port of the box it opens.
    pub port: u16,
    /// Where visitors may come from.
    pub allowed: Networks,
    /// The key they must prove; none for a web page, which asks for its own password.
    pub key: Option<PublicKey>,
    /// Who they are on the box.
    pub login: Login,
    /// The public port that leads here, if the access has one of its own.
    pub leased: Option<PublicPort>,
    /// The first moment at which the access is over.
    pub expires_at: DateTime<Utc>,
    /// The first moment at which the control API's signature under this rule is over.
    pub lease_until: DateTime<Utc>,
    /// Whether the access was deleted; it is kept for a while so that its holder can be told.
    pub revoked: bool,
}

impl Rule {
    /// What this rule alone says. The checks stand in the order of [`Denial`], so the first that
    /// fails is also how near the attempt came.
    pub(super) fn judge(&self, attempt: &Attempt) -> Verdict {
        match self.objection(attempt) {
            Some(denial) => Verdict::Deny(denial),
            None => Verdict::Allow(Permit {
                until: self.expires_at.min(self.lease_until),
                access: self.access,
                device: self.device,
                port: self.port,
            }),
        }
    }

    fn objection(&self, attempt: &Attempt) -> Option<Denial> {
        if !self.accepts_proof(&attempt.entrance) {
            Some(Denial::WrongKey)
        } else if self.device != attempt.device {
            Some(Denial::WrongBox)
        } else if self.port != attempt.port {
            Some(Denial::PortNotExposed { port: attempt.port })
        } else if !self.allowed.contain(attempt.source) {
            Some(Denial::AddressOutside { address: attempt.source.to_canonical() })
        } else if self.revoked {
            Some(Denial::Revoked)
        } else if attempt.at >= self.expires_at {
            Some(Denial::Expired { at: self.expires_at })
        } else if attempt.at >= self.lease_until {
            Some(Denial::LeaseOver { at: self.lease_until })
        } else {
            None
        }
    }

    /// Whether what was proved at this entrance is enough for this rule.
    pub fn accepts_proof(&self, entrance: &Entrance) -> bool {
        match entrance {
            Entrance::Gate(proved) => self.key.as_ref() == Some(proved),
            Entrance::Front => self.key.is_none(),
            Entrance::Port(port) => self.leased == Some(*port),
            Entrance::Tunnel => true,
        }
    }

    /// Whether anything can still come in by this rule at that time.
    pub fn is_live(&self, at: DateTime<Utc>) -> bool {
        !self.revoked && at < self.expires_at && at < self.lease_until
    }
}

/// All rules in force, found by access or by box, so that a decision costs the same among ten
/// thousand rules as among ten.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    of_box: BTreeMap<DeviceId, Vec<Rule>>,
    owner: HashMap<AccessId, DeviceId>,
    /// Which accesses lease a public port: the living one, and those that had it before.
    leases: BTreeSet<(PublicPort, AccessId)>,
}

impl Rules {
    /// Puts these rules in place of whatever was known of the box.
    pub fn replace(&mut self, device: DeviceId, rules: Vec<Rule>) {
        self.remove(device);
        rules.into_iter().for_each(|rule| self.add(rule));
    }

    fn add(&mut self, rule: Rule) {
        self.owner.insert(rule.access, rule.device);
        self.leases.extend(rule.leased.map(|port| (port, rule.access)));
        self.of_box.entry(rule.device).or_default().push(rule);
    }

    /// Forgets a box.
    pub fn remove(&mut self, device: DeviceId) {
        for rule in self.of_box.remove(&device).unwrap_or_default() {
            // An access that another box has since brought is that box's now.
            if self.owner.get(&rule.access) == Some(&device) {
                self.owner.remove(&rule.access);
                if let Some(port) = rule.leased {
                    self.leases.remove(&(port, rule.access));
                }
            }
        }
    }

    /// The rule of an access.
    pub fn by_access(&self, access: AccessId) -> Option<&Rule> {
        let device = self.owner.get(&access)?;
        self.of_box(*device).iter().find(|rule| rule.access == access)
    }

    /// The rule that a public port leads to: of those that have leased it, the one that ends last.
    pub fn by_port(&self, port: PublicPort) -> Option<&Rule> {
        let first = AccessId::FIRST;
        let leases = self.leases.range((port, first)..).take_while(|(leased, _)| *leased == port);
        let rules = leases.filter_map(|(_, access)| self.by_access(*access));
        rules.max_by_key(|rule| (!rule.revoked, rule.expires_at, rule.access))
    }

    /// The public ports of a relay that lead anywhere.
    pub fn ports_of(&self, relay: RelayId) -> BTreeSet<u16> {
        let leases = self.leases.range((PublicPort { relay, port: 0 }, AccessId::FIRST)..);
        leases
            .map(|(leased, _)| leased)
            .take_while(|leased| leased.relay == relay)
            .map(|leased| leased.port)
            .collect()
    }

    /// The rules of a box.
    pub fn of_box(&self, device: DeviceId) -> &[Rule] {
        self.of_box.get(&device).map_or(&[], Vec::as_slice)
    }

    /// Every rule.
    pub fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.of_box.values().flatten()
    }

    /// The rules that have something to say of an attempt: the access it names, or else all of the
    /// box it wants.
    pub(super) fn concerning(&self, attempt: &Attempt) -> impl Iterator<Item = &Rule> {
        let (named, of_box) = match attempt.access {
            Some(access) => (self.by_access(access), &[][..]),
            None => (None, self.of_box(attempt.device)),
        };
        named.into_iter().chain(of_box)
    }
}

impl FromIterator<Rule> for Rules {
    fn from_iter<I: IntoIterator<Item = Rule>>(rules: I) -> Self {
        let mut all = Self::default();
        rules.into_iter().for_each(|rule| all.add(rule));
        all
    }
}
