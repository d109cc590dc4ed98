//! What an operator does on the machine itself, with the state directory at hand. It is safe while
//! the API runs: both work on one database, and the API sees what changed.

use anyhow::{Context, bail};
use chrono::{DateTime, Utc};
use postern_protocol::api::NewRelay;
use postern_protocol::id::{RelayId, TokenId};
use postern_protocol::secret::Secret;

use crate::clock::Clock;
use crate::config::Config;
use crate::entropy::{entropy, secret};
use crate::http::{API_TOKEN, INVALID_NAME, RELAY_TOKEN, name};
use crate::setup::Installation;
use crate::store::AddRelayError;

/// An API token, without its secret.
#[derive(Debug, Clone)]
pub struct ListedToken {
    /// Its id.
    pub id: TokenId,
    /// What it is for.
    pub name: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

/// Makes an API token for the installation's own account; the secret is shown this once.
pub async fn create_token(config: &Config, called: &str) -> anyhow::Result<Secret> {
    let called = name(called).context(INVALID_NAME)?;
    let clock = Clock::default();
    let store = Installation::open(config, &clock).await?.store;
    let token = secret(API_TOKEN);
    store.own_account().add_token(TokenId::from_entropy(entropy()), called, &token, clock.now()).await?;
    store.close().await;
    Ok(token)
}

/// The API tokens of the installation's own account, the newest first.
pub async fn tokens(config: &Config) -> anyhow::Result<Vec<ListedToken>> {
    let store = Installation::open(config, &Clock::default()).await?.store;
    let tokens = store.own_account().tokens().await?;
    store.close().await;
    let listed = |token: crate::record::TokenRecord| ListedToken {
        id: token.id,
        name: token.name,
        created_at: token.created_at,
    };
    Ok(tokens.into_iter().map(listed).collect())
}

/// Removes an API token, and says whether there was one.
pub async fn remove_token(config: &Config, id: TokenId) -> anyhow::Result<bool> {
    let store = Installation::open(config, &Clock::default()).await?.store;
    let removed = store.own_account().remove_token(id).await?;
    store.close().await;
    Ok(removed)
}

/// Registers a relay; the token is shown this once.
pub async fn add_relay(config: &Config, called: &str) -> anyhow::Result<NewRelay> {
    let called = name(called).context(INVALID_NAME)?;
    let clock = Clock::default();
    let store = Installation::open(config, &clock).await?.store;
    let (relay, token) = (RelayId::from_entropy(entropy()), secret(RELAY_TOKEN));
    match store.add_relay(relay, called, &token, clock.now()).await {
        Ok(()) => {}
        Err(AddRelayError::NameTaken) => {
            bail!(
                "a relay is called {called} already; with --rotate it gets a new token in place of its old one"
            )
        }
        Err(AddRelayError::Store(problem)) => return Err(problem.into()),
    }
    store.close().await;
    Ok(NewRelay { relay, token })
}

/// Registers a relay, or gives the one of that name a new token in place of its old one.
pub async fn ensure_relay(config: &Config, called: &str) -> anyhow::Result<NewRelay> {
    let clock = Clock::default();
    let store = Installation::open(config, &clock).await?.store;
    let token = secret(RELAY_TOKEN);
    let rotated = store.rotate_relay_token(called, &token, clock.now()).await?;
    store.close().await;
    match rotated {
        Some(relay) => Ok(NewRelay { relay, token }),
        None => add_relay(config, called).await,
    }
}
