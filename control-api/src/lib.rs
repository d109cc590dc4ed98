//! The control API: boxes, accesses, audit, the certificate authority, and the feed that relays follow.
//!
//! A request comes in at [`server`], is answered by a handler under [`http`], which checks it with
//! something pure and lets the [`store`] make it true in one transaction; the commit rings a bell, and
//! every relay's [`feed`] tells it within milliseconds, signed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use postern_protocol::secret::Secret;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

pub mod admin;
mod author;
mod ca;
mod chain;
mod clock;
mod config;
mod documents;
mod entropy;
mod feed;
mod http;
mod label;
mod lease;
mod metrics;
mod oidc;
mod once;
mod password;
mod record;
mod retention;
mod server;
mod setup;
mod span;
mod state_dir;
mod status;
mod store;
mod sweep;
#[cfg(test)]
mod tests;
mod webhooks;

pub use chain::{Broken, Head, InvalidHead};
pub use config::{
    Config, ForwardedHeader, InvalidConfig, OpenId, PublicUrl, RequestLimits, Retention, Tls, Webhooks,
};
pub use span::{InvalidSpan, Span};

use author::Author;
use clock::Clock;
use http::{App, Doorkeeper, Shared};
use metrics::Metrics;
use oidc::OpenIdClient;
use password::Passwords;
use setup::Installation;
use state_dir::StateDir;
use store::Store;

/// The largest key, in bits, that an access may have: with it, a box's document with all the accesses
/// that it may have still fits its limit.
pub(crate) const MAX_KEY_BITS: u32 = 8192;

/// How often to look whether another process changed the rules.
const LOOK: Duration = Duration::from_secs(1);

/// A control API that has its address and serves as soon as it is run.
pub struct Bound {
    app: Shared,
    dir: StateDir,
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
    setup_link: Option<Secret>,
}

/// Opens the state directory, making what is missing, and takes the address.
pub async fn bind(config: Config) -> anyhow::Result<Bound> {
    bind_at(config, Clock::default()).await
}

async fn bind_at(config: Config, clock: Clock) -> anyhow::Result<Bound> {
    config.check()?;
    let tls = config.tls.as_ref().map(server::acceptor).transpose()?;
    let openid = config.openid.as_ref().map(OpenIdClient::new).transpose().context("[openid]")?;
    let webhooks = webhooks::Caller::new(&config.webhooks).context("[webhooks]")?;
    let rates = http::Rates::new(&config.limits);
    let installation = Installation::open(&config, &clock).await?;
    let listening = || format!("listening on {}", config.listen);
    let listener = TcpListener::bind(config.listen).await.with_context(listening)?;
    let address = listener.local_addr()?;
    let app = App {
        config,
        clock,
        store: installation.store,
        authority: installation.authority,
        signer: installation.signer,
        doorkeeper: Doorkeeper::default(),
        rates,
        passwords: Passwords::default(),
        openid,
        webhooks,
        webhook_key: installation.webhook_key,
        metrics: Metrics::new(),
        signed: watch::Sender::new(0),
        patience: http::PATIENCE,
        streams: Arc::new(Semaphore::new(http::STREAMS)),
        address,
        stop: CancellationToken::new(),
        tasks: TaskTracker::new(),
    };
    app.store.revision().await?;
    let own_account = app.store.own_account(Author::machine(app.clock.now()));
    let setup_link = match own_account.has_owner().await? {
        true => None,
        false => {
            let token = setup::invite_an_owner(&app.store, &app.clock).await?;
            Some(setup::link(&app.config, address, &token))
        }
    };
    Ok(Bound { app: Arc::new(app), dir: installation.dir, listener, address, tls, setup_link })
}

impl Bound {
    /// The address it serves on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The link by which the first user makes themselves known; nothing once there is one.
    pub fn setup_link(&self) -> Option<&Secret> {
        self.setup_link.as_ref()
    }

    /// Serves until `shutdown`, then lets requests in progress end.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
        let Self { app, dir, listener, address, tls, setup_link: _ } = self;
        dir.announce(&json!({ "http": address.to_string() })).context("writing listening.json")?;
        info!("serving on {}://{address}", if tls.is_some() { "https" } else { "http" });
        let stop = app.stop.clone();
        let watch = tokio::spawn(stop.clone().run_until_cancelled_owned(watch_for_others(app.store.clone())));
        let deliveries = tokio::spawn(webhooks::deliver(app.clone()));
        let sweeping = tokio::spawn(sweep::run(app.clone()));
        let pruning = tokio::spawn(retention::run(app.clone()));
        let router = http::router(app.clone());
        let serving = server::serve(listener, tls, app.config.clone(), router, stop.clone());
        let stopping = async {
            shutdown.await;
            stop.cancel();
        };
        tokio::join!(serving, stopping);
        watch.await.context("looking for changes by other processes")?;
        deliveries.await.context("delivering to webhooks")?;
        pruning.await.context("removing what is too old")?;
        sweeping.await.context("looking for what happens by itself")?;
        app.tasks.close();
        app.tasks.wait().await;
        app.store.close().await;
        dir.withdraw();
        info!("stopped");
        Ok(())
    }
}

/// Rings the bell for what other processes changed; one's own changes ring by themselves.
async fn watch_for_others(store: Store) {
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        look.tick().await;
        if let Err(error) = store.revision().await {
            warn!(error = &error as &dyn std::error::Error, "looking for changes by other processes");
        }
    }
}

/// Writes a secret to a file that only its owner may read, whole or not at all.
pub fn write_secret(path: &std::path::Path, secret: &Secret) -> std::io::Result<()> {
    state_dir::write_whole(path, 0o600, format!("{}\n", secret.reveal()).as_bytes())
}
