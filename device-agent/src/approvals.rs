//! The owner's consent: on a box that asks for it, an access lets nobody in until somebody on the box
//! has approved it.
//!
//! What is approved are terms: whose key, from where, to what, until when. An access that goes beyond
//! them is one that nobody has approved. Decisions are kept over restarts, and end with their access.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use postern_protocol::Refusal;
use postern_protocol::access::{Networks, Rule, Rules};
use postern_protocol::id::{AccessId, Login};
use postern_protocol::ssh_key::PublicKey;
use postern_protocol::wire::Consent;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::state::State;

/// The file in the state directory.
const FILE: &str = "approvals.json";

/// What the owner says of an access.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Approval {
    /// It may let in.
    Approved,
    /// Nobody has decided on it as it is now.
    Awaited,
    /// It may not.
    Denied,
}

/// What an access allows, as far as the owner has to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Terms {
    port: u16,
    login: Login,
    key: Option<PublicKey>,
    allowed: Networks,
    /// Whether it has a public port, where the relay asks for no key.
    public: bool,
    expires_at: DateTime<Utc>,
}

impl Terms {
    fn of(rule: &Rule) -> Self {
        Self {
            port: rule.port,
            login: rule.login.clone(),
            key: rule.key.clone(),
            allowed: rule.allowed.clone(),
            public: rule.leased.is_some(),
            expires_at: rule.expires_at,
        }
    }

    /// Whether a rule stays within these: narrower and shorter is what was decided on, anything else is
    /// another matter.
    fn cover(&self, rule: &Rule) -> bool {
        let narrower = Self { allowed: self.allowed.clone(), expires_at: self.expires_at, ..Self::of(rule) };
        *self == narrower && rule.allowed.lie_within(&self.allowed) && rule.expires_at <= self.expires_at
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Decision {
    approved: bool,
    at: DateTime<Utc>,
    terms: Terms,
}

/// Every decision that holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Decisions(BTreeMap<AccessId, Decision>);

impl Decisions {
    /// What was decided on an access as it is now.
    pub(crate) fn on(&self, rule: &Rule) -> Approval {
        match self.0.get(&rule.access).filter(|decision| decision.terms.cover(rule)) {
            Some(Decision { approved: true, .. }) => Approval::Approved,
            Some(Decision { approved: false, .. }) => Approval::Denied,
            None => Approval::Awaited,
        }
    }

    /// Whether an access may let in.
    pub(crate) fn consult(&self, rule: &Rule) -> Result<(), Refusal> {
        match self.on(rule) {
            Approval::Approved => Ok(()),
            Approval::Awaited => Err(Refusal::NotApproved { access: rule.access }),
            Approval::Denied => Err(Refusal::DeniedByOwner),
        }
    }

    /// The rules that may let in.
    pub(crate) fn approved(&self, rules: &Rules) -> Rules {
        rules.iter().filter(|rule| self.on(rule) == Approval::Approved).cloned().collect()
    }

    /// What relays and the control API are told of these rules.
    fn told(&self, rules: &Rules) -> Consent {
        let decided = |on| rules.iter().filter(move |rule| self.on(rule) == on).map(|rule| rule.access);
        Consent {
            approved: decided(Approval::Approved).collect(),
            denied: decided(Approval::Denied).collect(),
        }
    }
}

/// The decisions of a box that asks for them; on any other, all that is granted is approved.
#[derive(Debug)]
pub(crate) struct Approvals {
    required: bool,
    state: State,
    decisions: watch::Sender<Arc<Decisions>>,
}

impl Approvals {
    /// What was decided before.
    pub(crate) fn load(state: &State, required: bool) -> Self {
        Self { required, state: state.clone(), decisions: watch::Sender::new(Arc::new(kept(state))) }
    }

    /// The decisions, now and whenever they change.
    pub(crate) fn watch(&self) -> watch::Receiver<Arc<Decisions>> {
        self.decisions.subscribe()
    }

    /// The decisions, if they matter here.
    pub(crate) fn asked(&self) -> Option<Arc<Decisions>> {
        self.required.then(|| self.decisions.borrow().clone())
    }

    /// What others are told.
    pub(crate) fn told(&self, rules: &Rules) -> Option<Consent> {
        self.asked().map(|decisions| decisions.told(rules))
    }

    /// Decides on an access as it is now. An approval takes effect only if it can be kept; a denial at
    /// once.
    pub(crate) fn decide(&self, rule: &Rule, approved: bool, now: DateTime<Utc>) -> std::io::Result<()> {
        let mut decisions = Decisions::clone(&self.decisions.borrow());
        decisions.0.insert(rule.access, Decision { approved, at: now, terms: Terms::of(rule) });
        if !approved {
            self.decisions.send_replace(Arc::new(decisions.clone()));
        }
        keep(&self.state, &decisions)?;
        self.decisions.send_replace(Arc::new(decisions));
        Ok(())
    }

    /// Withdraws the decisions on accesses that are gone.
    pub(crate) fn forget_all_but(&self, rules: &Rules) {
        let lives = |access: AccessId| rules.by_access(access).is_some_and(|rule| !rule.revoked);
        let mut decisions = Decisions::clone(&self.decisions.borrow());
        let before = decisions.0.len();
        decisions.0.retain(|access, _| lives(*access));
        if decisions.0.len() == before {
            return;
        }
        if let Err(error) = keep(&self.state, &decisions) {
            tracing::warn!(%error, "approvals are withdrawn, but not beyond a restart");
        }
        self.decisions.send_replace(Arc::new(decisions));
    }
}

/// Those of these rules that may let in, by what was kept, whether or not an agent runs.
pub(crate) fn approved_by<'a>(state: &State, required: bool, rules: &'a Rules) -> Cow<'a, Rules> {
    match required {
        true => Cow::Owned(kept(state).approved(rules)),
        false => Cow::Borrowed(rules),
    }
}

/// What cannot be read approves nothing.
fn kept(state: &State) -> Decisions {
    let read = state.read(FILE).map_err(anyhow::Error::from);
    let parsed = read.and_then(|text| Ok(text.map(|text| serde_json::from_slice(&text)).transpose()?));
    parsed.map(Option::unwrap_or_default).unwrap_or_else(|error| {
        tracing::warn!(%error, "the kept approvals cannot be read; accesses have to be approved again");
        Decisions::default()
    })
}

fn keep(state: &State, decisions: &Decisions) -> std::io::Result<()> {
    state.write(FILE, &serde_json::to_vec(decisions)?)
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use postern_protocol::access::PublicPort;
    use postern_protocol::id::RelayId;

    use super::*;
    use crate::testing::{Installation, grant, key, now};

    fn rule() -> Rule {
        Installation::new().grants(1, vec![grant(22)]).rules().remove(0)
    }

    fn fixture() -> (tempfile::TempDir, State, Approvals) {
        let home = tempfile::tempdir().unwrap();
        let state = State::open(home.path()).unwrap();
        let approvals = Approvals::load(&state, true);
        (home, state, approvals)
    }

    fn on(approvals: &Approvals, rule: &Rule) -> Approval {
        approvals.asked().unwrap().on(rule)
    }

    #[test]
    fn decisions_survive_a_restart_and_end_with_their_access() {
        let (_home, state, approvals) = fixture();
        let mut rule = rule();
        assert_eq!(on(&approvals, &rule), Approval::Awaited);
        approvals.decide(&rule, true, now()).unwrap();
        assert_eq!(on(&Approvals::load(&state, true), &rule), Approval::Approved);
        approvals.decide(&rule, false, now()).unwrap();
        assert_eq!(on(&Approvals::load(&state, true), &rule), Approval::Denied);
        approvals.decide(&rule, true, now()).unwrap();
        approvals.forget_all_but(&[rule.clone()].into_iter().collect());
        assert_eq!(on(&approvals, &rule), Approval::Approved, "it is still there");
        rule.revoked = true;
        approvals.forget_all_but(&[rule.clone()].into_iter().collect());
        rule.revoked = false;
        assert_eq!(on(&Approvals::load(&state, true), &rule), Approval::Awaited);
    }

    #[test]
    fn whoever_goes_beyond_what_was_approved_asks_again() {
        let (_home, _state, approvals) = fixture();
        let approved = rule();
        approvals.decide(&approved, true, now()).unwrap();
        let networks = |text: &str| Networks::parse(&[text]).unwrap();
        type Change = (&'static str, fn(&mut Rule));
        let changes: [Change; 6] = [
            ("another key", |rule| rule.key = None),
            ("another port", |rule| rule.port = 443),
            ("another login", |rule| rule.login = "admin".parse().unwrap()),
            ("a longer expiry", |rule| rule.expires_at += TimeDelta::seconds(1)),
            ("a public port", |rule| rule.leased = Some(PublicPort { relay: RelayId::FIRST, port: 1 })),
            ("a wider address", |rule| rule.allowed = Networks::parse(&["0.0.0.0/0"]).unwrap()),
        ];
        for (what, change) in changes {
            let mut changed = approved.clone();
            change(&mut changed);
            assert_eq!(on(&approvals, &changed), Approval::Awaited, "{what}");
        }
        let mut wide = approved.clone();
        wide.allowed = networks("192.0.2.0/24");
        approvals.decide(&wide, true, now()).unwrap();
        let mut narrower = wide.clone();
        narrower.allowed = networks("192.0.2.7");
        narrower.expires_at -= TimeDelta::seconds(1);
        assert_eq!(on(&approvals, &narrower), Approval::Approved, "narrower and shorter");
        assert_eq!(approved.key, Some(key()), "there is a key to change");
    }

    #[test]
    fn what_cannot_be_read_approves_nothing_and_what_cannot_be_kept_is_not_approved() {
        let (home, state, approvals) = fixture();
        let rule = rule();
        approvals.decide(&rule, true, now()).unwrap();
        state.write(FILE, b"{").unwrap();
        assert_eq!(on(&Approvals::load(&state, true), &rule), Approval::Awaited);
        approvals.decide(&rule, false, now()).unwrap();
        drop(home);
        assert!(approvals.decide(&rule, true, now()).is_err());
        assert_eq!(on(&approvals, &rule), Approval::Denied);
    }
}
