//! What an operator does on the machine itself, with the state directory at hand. It is safe while
//! the API runs: both work on one database, and the API sees what changed.

use anyhow::{Context, bail};
use postern_protocol::api::{NewRelay, Role, Token};
use postern_protocol::id::{RelayId, TokenId};
use postern_protocol::secret::Secret;

use crate::author::Author;
use crate::chain::{Broken, Head};
use crate::clock::Clock;
use crate::config::Config;
use crate::entropy::{entropy, secret};
use crate::http::{API_TOKEN, INVALID_NAME, RELAY_TOKEN, name};
use crate::record::TokenRecord;
use crate::setup::{self, Installation};
use crate::span::Span;
use crate::store::AddRelayError;

/// What a new token is to be.
#[derive(Debug, Clone)]
pub struct TokenTerms {
    /// What it is for.
    pub name: String,
    /// What its holder may do in the installation's own account.
    pub role: Role,
    /// Whether its holder also looks after the installation.
    pub admin: bool,
    /// How long it works; forever, if nothing is said.
    pub expires: Option<Span>,
    /// The boxes that it is for, by id or name; if there are none, all of them.
    pub devices: Vec<String>,
}

impl TokenTerms {
    /// A token that may do everything, for whoever has the whole installation in hand anyway.
    pub fn everything(name: &str) -> Self {
        Self { name: name.to_owned(), role: Role::Owner, admin: true, expires: None, devices: Vec::new() }
    }
}

/// Makes an API token for the installation's own account; the secret is shown this once.
pub async fn create_token(config: &Config, terms: &TokenTerms) -> anyhow::Result<Secret> {
    let called = name(&terms.name).context(INVALID_NAME)?;
    let is_for_some = !terms.devices.is_empty();
    anyhow::ensure!(
        !is_for_some || (terms.role < Role::Owner && !terms.admin),
        "a token for some boxes is for a viewer or an operator: add --role operator"
    );
    let clock = Clock::default();
    let store = Installation::open(config, &clock).await?.store;
    let now = clock.now();
    let account = store.own_account(Author::machine(now));
    let mut devices = Vec::new();
    for device in &terms.devices {
        let found = account.device(device, now).await?;
        devices.push(found.with_context(|| format!("no box has the id or name {device}"))?.id);
    }
    let secret = secret(API_TOKEN);
    let token = TokenRecord {
        id: TokenId::from_entropy(entropy()),
        name: called.to_owned(),
        role: terms.role,
        admin: terms.admin,
        devices: is_for_some.then_some(devices),
        created_at: now,
        expires_at: terms.expires.map(|expires| now + expires.delta()),
    };
    account.add_token(&token, &secret).await?;
    store.close().await;
    Ok(secret)
}

/// The API tokens of the installation's own account, the newest first.
pub async fn tokens(config: &Config) -> anyhow::Result<Vec<Token>> {
    let clock = Clock::default();
    let store = Installation::open(config, &clock).await?.store;
    let tokens = store.own_account(Author::machine(clock.now())).tokens().await?;
    store.close().await;
    Ok(tokens.into_iter().map(Token::from).collect())
}

/// Makes a link by which somebody becomes an owner and admin, in place of any older one. It is for the
/// first start, and for when nobody is left who can sign in.
pub async fn invite_an_owner(config: &Config) -> anyhow::Result<Secret> {
    let clock = Clock::default();
    let store = Installation::open(config, &clock).await?.store;
    let token = setup::invite_an_owner(&store, &clock).await?;
    store.close().await;
    Ok(setup::link(config, config.listen, &token))
}

/// Removes an API token, and says whether there was one.
pub async fn remove_token(config: &Config, id: TokenId) -> anyhow::Result<bool> {
    let clock = Clock::default();
    let store = Installation::open(config, &clock).await?.store;
    let removed = store.own_account(Author::machine(clock.now())).remove_token(id).await?;
    store.close().await;
    Ok(removed)
}

/// Checks the audit's chain; how many records there are, and where it ends.
pub async fn verify_audit(
    config: &Config,
    expected: Option<Head>,
) -> anyhow::Result<Result<(u64, Head), Broken>> {
    let store = Installation::open(config, &Clock::default()).await?.store;
    let verified = store.verify_audit(expected).await?;
    store.close().await;
    Ok(verified)
}

/// Registers a relay; the token is shown this once.
pub async fn add_relay(config: &Config, called: &str) -> anyhow::Result<NewRelay> {
    let called = name(called).context(INVALID_NAME)?;
    let clock = Clock::default();
    let store = Installation::open(config, &clock).await?.store;
    let (relay, token) = (RelayId::from_entropy(entropy()), secret(RELAY_TOKEN));
    match store.add_relay(relay, called, &token, &Author::machine(clock.now())).await {
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
    let rotated = store.rotate_relay_token(called, &token, &Author::machine(clock.now())).await?;
    store.close().await;
    match rotated {
        Some(relay) => Ok(NewRelay { relay, token }),
        None => add_relay(config, called).await,
    }
}
