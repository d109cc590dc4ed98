//! One certificate: account, order, proof, key, certificate (RFC 8555, section 7).

use std::time::Duration;

use anyhow::{Context, anyhow};
use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, ChallengeType, Error, Identifier, NewAccount, NewOrder,
    Order, OrderStatus, Problem, RetryPolicy,
};
use serde::{Deserialize, Serialize};

use super::super::authority::Authority;
use super::super::challenge::Pending;
use super::schedule::Kind;
use crate::agent::Agent;
use crate::config::AcmeSettings;
use crate::state::State;

/// The file in the state directory: the account at the authority, with its key.
const FILE: &str = "https-account.json";

/// How long an authority may take to look, or to sign.
const PATIENCE: RetryPolicy = RetryPolicy::new().timeout(Duration::from_secs(90));

/// What authorities call their refusals (RFC 8555, section 6.7).
const RATE_LIMITED: &str = "urn:ietf:params:acme:error:rateLimited";
const NO_ACCOUNT: &str = "urn:ietf:params:acme:error:accountDoesNotExist";
const UNAUTHORIZED: &str = "urn:ietf:params:acme:error:unauthorized";

/// No certificate was obtained.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) kind: Kind,
    pub(super) why: anyhow::Error,
    pub(super) retry_after: Option<Duration>,
}

/// What came back cannot be used.
impl From<anyhow::Error> for Failure {
    fn from(why: anyhow::Error) -> Self {
        Self { kind: Kind::Refused, why, retry_after: None }
    }
}

/// An account as it is kept: it is of no use at another authority.
#[derive(Serialize, Deserialize)]
struct Kept {
    directory: String,
    credentials: AccountCredentials,
}

/// Obtains a certificate for a name: the chain and then the key (PEM).
pub(super) async fn obtain(agent: &Agent, settings: &AcmeSettings, name: &str) -> Result<String, Failure> {
    let authority = Authority::new(settings)?;
    let obtained = async {
        let mut order = order(&agent.state, settings, &authority, name).await?;
        let proving = prove(agent, &mut order, name).await?;
        ready(&mut order).await?;
        drop(proving);
        let key = order.finalize().await.context("asking for the certificate")?;
        let chain = order.poll_certificate(&PATIENCE).await.context("waiting for the certificate")?;
        Ok(format!("{}\n{key}", chain.trim_end()))
    };
    obtained.await.map_err(|why: anyhow::Error| Failure {
        kind: kind(&why),
        why,
        retry_after: authority.retry_after(),
    })
}

/// An order by the kept account, or by a new one if the authority does not know that any more.
async fn order(
    state: &State,
    settings: &AcmeSettings,
    authority: &Authority,
    name: &str,
) -> anyhow::Result<Order> {
    let names = [Identifier::Dns(name.to_owned())];
    let wanted = NewOrder::new(&names);
    if let Some(kept) = kept(state, settings) {
        let builder = Account::builder_with_http(Box::new(authority.clone()));
        let account = builder.from_credentials(kept.credentials).await.context("using the account")?;
        match account.new_order(&wanted).await {
            Err(Error::Api(problem)) if is_about_the_account(&problem) => {
                tracing::warn!("the certificate authority knows this box's account no more: making another");
            }
            ordered => return ordered.context("ordering the certificate"),
        }
    }
    let account = account(state, settings, authority).await?;
    account.new_order(&wanted).await.context("ordering the certificate")
}

fn is_about_the_account(problem: &Problem) -> bool {
    [NO_ACCOUNT, UNAUTHORIZED].map(Some).contains(&problem.r#type.as_deref())
}

fn kept(state: &State, settings: &AcmeSettings) -> Option<Kept> {
    let kept = state.read(FILE).ok()??;
    let kept: Kept = serde_json::from_slice(&kept)
        .inspect_err(|error| tracing::warn!(%error, "the kept account is of no use"))
        .ok()?;
    (kept.directory == settings.directory).then_some(kept)
}

async fn account(state: &State, settings: &AcmeSettings, authority: &Authority) -> anyhow::Result<Account> {
    let contact: Vec<&str> = settings.contact.iter().map(String::as_str).collect();
    let wanted = NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
    let directory = settings.directory.clone();
    let builder = Account::builder_with_http(Box::new(authority.clone()));
    let (account, credentials) =
        builder.create(&wanted, directory.clone(), None).await.context("making an account")?;
    let kept = serde_json::to_vec(&Kept { directory, credentials })?;
    state.write(FILE, &kept).context("keeping the account")?;
    Ok(account)
}

/// Lets the authority look, for whatever it does not know yet.
async fn prove<'a>(agent: &'a Agent, order: &mut Order, name: &str) -> anyhow::Result<Vec<Pending<'a>>> {
    let mut pending = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.context("asking what is to be proved")?;
        if authorization.status != AuthorizationStatus::Pending {
            continue;
        }
        let challenge = authorization.challenge(ChallengeType::TlsAlpn01);
        let mut challenge = challenge.context("the authority offers no proof by TLS (tls-alpn-01)")?;
        let digest = challenge.key_authorization().digest();
        pending.push(agent.https.proofs.begin(name, digest.as_ref())?);
        challenge.set_ready().await.context("asking the authority to look")?;
    }
    Ok(pending)
}

/// Waits until the authority has seen the proof.
async fn ready(order: &mut Order) -> anyhow::Result<()> {
    let status = order.poll_ready(&PATIENCE).await.context("waiting for the authority to look")?;
    if status == OrderStatus::Ready { Ok(()) } else { Err(rejection(order).await) }
}

/// Why the proof was not taken.
async fn rejection(order: &mut Order) -> anyhow::Error {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        if let Ok(state) = authorization.refresh().await
            && let Some(problem) = state.challenges.iter().find_map(|challenge| challenge.error.clone())
        {
            return anyhow!(Error::Api(problem))
                .context("the authority did not see that the name is this box's");
        }
    }
    anyhow!("the authority gave the order up")
}

fn kind(why: &anyhow::Error) -> Kind {
    match why.downcast_ref::<Error>() {
        Some(Error::Api(problem)) if problem.r#type.as_deref() == Some(RATE_LIMITED) => Kind::Limited,
        Some(Error::Api(problem)) if problem.status.is_some_and(|status| status >= 500) => Kind::Unreachable,
        Some(Error::Api(_)) | None => Kind::Refused,
        Some(_) => Kind::Unreachable,
    }
}
