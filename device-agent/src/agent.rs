//! What the parts of a running agent share: who this box is, what is in force, who is inside.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use chrono::{DateTime, Utc};
use postern_protocol::Refusal;
use postern_protocol::access::{Denial, Permit};
use postern_protocol::grant::SignedGrants;
use postern_protocol::id::{AccessId, Login};
use postern_protocol::ssh_key::PublicKey;
use postern_protocol::wire::{BoxFacts, Certificate, Open};
use rustls::ClientConfig;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::approvals::{Approvals, Decisions};
use crate::clock::Clock;
use crate::config::Config;
use crate::facts;
use crate::grants::{Holder, InForce, Rejected};
use crate::https::Https;
use crate::identity::Member;
use crate::keys::Handed;
use crate::link::Standing;
use crate::pause::Pause;
use crate::policy::Policy;
use crate::ssh::Server;
use crate::state::State;
use crate::trust;
use crate::visits::Visits;

/// A running agent of one member.
pub(crate) struct Agent {
    pub(crate) config: Config,
    pub(crate) state: State,
    /// What time it is.
    pub(crate) clock: Arc<Clock>,
    member: Mutex<Member>,
    /// TLS as that member, which remembers sessions for resuming them.
    tls: Mutex<Option<(Vec<u8>, ClientConfig)>>,
    pub(crate) holder: Holder,
    pub(crate) pause: Arc<Pause>,
    /// What the owner has decided about accesses.
    pub(crate) approvals: Approvals,
    /// The SSH server that visitors reach.
    pub(crate) ssh: watch::Sender<Server>,
    /// The certificate that browsers see.
    pub(crate) https: Https,
    /// What the keys files say.
    pub(crate) handed: watch::Sender<Handed>,
    /// Links, addresses or routes have changed.
    pub(crate) network: watch::Sender<()>,
    /// How the tunnel stands.
    pub(crate) standing: watch::Sender<Standing>,
    pub(crate) visits: Visits,
    /// The agent stops, and with it every visit.
    pub(crate) stopping: CancellationToken,
}

impl Agent {
    /// An agent that has not begun to do anything.
    pub(crate) fn new(config: Config, state: State, member: Member, pause: Arc<Pause>) -> Self {
        let holder = Holder::load(&member, &state);
        Self {
            approvals: approvals(&holder, &state, config.require_approval),
            holder,
            clock: Arc::new(Clock::load(&state)),
            config,
            state,
            member: Mutex::new(member),
            tls: Mutex::default(),
            pause,
            ssh: watch::Sender::new(Server::Nothing),
            https: Https::default(),
            handed: watch::Sender::default(),
            network: watch::Sender::default(),
            standing: watch::Sender::new(Standing::starting(Utc::now())),
            visits: Visits::default(),
            stopping: CancellationToken::new(),
        }
    }

    /// Who this box is, with its present certificate.
    pub(crate) fn member(&self) -> Member {
        self.member.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// TLS towards relays: the same as before while the box's certificate is.
    pub(crate) fn tls(&self) -> Result<ClientConfig, rustls::Error> {
        let member = self.member();
        let mut tls = self.tls.lock().unwrap_or_else(PoisonError::into_inner);
        match &*tls {
            Some((certificate, config)) if *certificate == member.certificate => Ok(config.clone()),
            _ => {
                let config = trust::tunnel(&member, self.clock.clone())?;
                *tls = Some((member.certificate, config.clone()));
                Ok(config)
            }
        }
    }

    /// The grants in force.
    pub(crate) fn grants(&self) -> Arc<InForce> {
        self.holder.watch().borrow().clone()
    }

    /// The SSH server that visitors reach.
    pub(crate) fn ssh(&self) -> Server {
        self.ssh.borrow().clone()
    }

    /// Since when the owner lets nobody in.
    pub(crate) fn paused_since(&self) -> Option<DateTime<Utc>> {
        *self.pause.watch().borrow()
    }

    /// What this box says of itself.
    pub(crate) fn facts(&self) -> BoxFacts {
        let certificate = self.https.standing.borrow().shown.clone();
        let (ssh, paused) = (self.ssh.borrow().describe(), self.paused_since().is_some());
        facts::facts(&self.config, ssh, certificate, paused, self.approvals.told(&self.grants().rules))
    }

    /// The owner's answer to a visit to this port.
    pub(crate) fn consult_owner(&self, port: u16) -> Result<(), Refusal> {
        self.under_policy(|policy| policy.consult_owner(port))
    }

    /// The box's answer to a visit that comes or goes on as this visitor. One who was let in by a
    /// key that the access names no longer is a stranger.
    pub(crate) fn judge(
        &self,
        open: &Open,
        visitor: Option<&Visitor>,
        at: DateTime<Utc>,
    ) -> Result<Permit, Refusal> {
        let permit = self.under_policy(|policy| policy.judge(open, at))?;
        match self.visitor(open.access).as_ref() == visitor {
            true => Ok(permit),
            false => Err(Refusal::DeniedByBox(Denial::WrongKey)),
        }
    }

    fn under_policy<T>(&self, ask: impl FnOnce(Policy<'_>) -> T) -> T {
        let (grants, decisions) = (self.grants(), self.approvals.asked());
        ask(Policy {
            paused: self.paused_since().is_some(),
            approvals: decisions.as_deref(),
            services: &self.config.services,
            device: self.holder.device(),
            rules: &grants.rules,
        })
    }

    /// Takes newer grants; what the owner decided about accesses that are gone is withdrawn.
    pub(crate) async fn accept(&self, signed: SignedGrants) -> Result<(), Rejected> {
        let taken = self.holder.accept(signed).await;
        self.approvals.forget_all_but(&self.grants().rules);
        taken
    }

    /// The owner's word about an access, as it is now.
    pub(crate) fn decide(&self, access: AccessId, approve: bool, now: DateTime<Utc>) -> anyhow::Result<()> {
        let grants = self.grants();
        let rule = grants.rules.by_access(access).filter(|rule| rule.is_live(now));
        let rule = rule.with_context(|| format!("no access {access} is in force on this box"))?;
        anyhow::ensure!(
            self.config.require_approval,
            "this box asks for no approval: require_approval = true in its configuration changes that"
        );
        tracing::info!(%access, approve, "the owner decided");
        self.approvals.decide(rule, approve, now).context(match approve {
            true => "not approved",
            false => "denied, but not beyond a restart",
        })
    }

    /// Waits a while for grants at least as new as the relay's, and for the keys files to follow.
    pub(crate) async fn catch_up(&self, revision: u64, patience: Duration) {
        let mut handed = self.handed.subscribe();
        let caught_up = handed.wait_for(|handed| handed.revision >= revision);
        if timeout(patience, caught_up).await.is_err() {
            tracing::debug!(revision, held = self.grants().revision(), "the relay's grants are newer");
        }
    }

    /// Whom an access lets in; nobody in particular if it asks for no key.
    pub(crate) fn visitor(&self, access: AccessId) -> Option<Visitor> {
        let grants = self.grants();
        let rule = grants.rules.by_access(access)?;
        Some(Visitor { login: rule.login.clone(), key: rule.key.clone()? })
    }

    /// Takes a renewed certificate.
    pub(crate) fn renew(&self, issued: Certificate) -> anyhow::Result<()> {
        let mut renewed = self.member();
        let authority = trust::fingerprint(&renewed.authority);
        trust::check_issued(&issued, authority, &renewed.key, renewed.device, self.clock.now())?;
        let kept = Member::load(&self.state)?.context("the box's membership is gone")?;
        // Somebody has just made the box join again; the old certificate is of no use any more.
        anyhow::ensure!(kept.key == renewed.key, "the box has joined again meanwhile");
        renewed.certificate = issued.own;
        renewed.save(&self.state)?;
        *self.member.lock().unwrap_or_else(PoisonError::into_inner) = renewed;
        Ok(())
    }

    /// Whatever can end a visit or change what the keys files say, besides time that passes.
    pub(crate) fn changes(&self) -> Changes {
        Changes {
            grants: self.holder.watch(),
            paused: self.pause.watch(),
            corrected: self.clock.corrected(),
            decisions: self.approvals.watch(),
        }
    }
}

/// Decisions on accesses that went while the agent did not run are withdrawn before they count.
fn approvals(holder: &Holder, state: &State, required: bool) -> Approvals {
    let approvals = Approvals::load(state, required);
    let in_force = holder.watch().borrow().clone();
    if in_force.grants.is_some() {
        approvals.forget_all_but(&in_force.rules);
    }
    approvals
}

/// Somebody whom an access lets in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Visitor {
    /// Who they are on the box.
    pub(crate) login: Login,
    /// The key that they prove.
    pub(crate) key: PublicKey,
}

/// Changes of what is in force.
pub(crate) struct Changes {
    grants: watch::Receiver<Arc<InForce>>,
    paused: watch::Receiver<Option<DateTime<Utc>>>,
    corrected: watch::Receiver<()>,
    decisions: watch::Receiver<Arc<Decisions>>,
}

impl Changes {
    /// What was changed until now needs no word any more.
    pub(crate) fn mark_seen(&mut self) {
        self.grants.mark_unchanged();
        self.paused.mark_unchanged();
        self.corrected.mark_unchanged();
        self.decisions.mark_unchanged();
    }

    /// Returns at the next change.
    pub(crate) async fn next(&mut self) {
        // Their senders live as long as the agent, so none can fail while somebody waits here.
        tokio::select! {
            _ = self.grants.changed() => {}
            _ = self.paused.changed() => {}
            _ = self.corrected.changed() => {}
            _ = self.decisions.changed() => {}
        }
    }
}
