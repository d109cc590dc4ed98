//! `postern up`: control API, relay and a demo box in one process, to try it all on one machine.
//!
//! The parts are the same as anywhere, and speak to each other over loopback as they would over the
//! Internet. What is made at the first start is kept in one folder, and the next start goes on there.

use std::path::{Path, PathBuf};

use anyhow::Context;
use chrono::Utc;
use clap::Args;
use postern_api::admin::TokenTerms;
use postern_protocol::secret::Secret;
use tokio_util::sync::CancellationToken;

use crate::api::Api;
use crate::failure::{Answer, Failure, Outcome};
use crate::file;
use crate::output::{note, print};
use crate::places::{Places, client_file};
use crate::settings::SettingsFile;

mod addresses;
mod claim;
mod demo;
mod parts;
mod words;

use addresses::{Addresses, Asked};
use claim::Claim;
use parts::Parts;
use words::Surroundings;

/// What the one relay is called.
const RELAY: &str = "relay-1";

/// What the token for the commands beside it is called.
const TOKEN: &str = "postern-up";

/// `postern up`
#[derive(Debug, Args)]
#[command(after_help = "\
Ports that are not given are the usual ones if they are free at the first start, else any free ones, and stay
what they are from then on. RUST_LOG=info shows what the parts do.")]
pub(crate) struct Up {
    /// Where everything is kept [default: ~/.local/share/postern]
    #[arg(long)]
    dir: Option<PathBuf>,
    #[command(flatten)]
    addresses: Asked,
    /// No demo box
    #[arg(long)]
    no_demo: bool,
}

impl Up {
    /// Runs until Ctrl-C, or until a part fails.
    pub(crate) async fn run(self, places: &Places) -> Outcome {
        log();
        let dir = self.dir.clone().unwrap_or_else(|| places.up().to_owned());
        let dir = std::path::absolute(&dir).context("finding the folder")?;
        file::private_folder(&dir)?;
        let _claim = Claim::take(&dir)?;
        let addresses = Addresses::settle(&dir, self.addresses)?;
        let stop = stop_when_told()?;
        let mut parts = Parts::default();
        let ended = tokio::select! {
            ended = self.serve(&mut parts, places, &dir, &addresses) => ended,
            () = stop.cancelled() => Ok(Answer::Yes),
        };
        if ended.is_ok() {
            note("stopping; its state stays, run it again to go on");
        }
        let stopped = parts.stop().await;
        ended.and_then(|answer| stopped.map(|()| answer))
    }

    /// Starts everything, says what to do next, and serves until a part fails.
    async fn serve(&self, parts: &mut Parts, places: &Places, dir: &Path, addresses: &Addresses) -> Outcome {
        let setup = match begin(parts, dir, addresses, !self.no_demo).await {
            Ok(setup) => setup,
            // What went wrong in a part says more than that the part could not be reached.
            Err(failure) => return Err(parts.why().unwrap_or(failure)),
        };
        print(&words::next_steps(&Surroundings::look(places, dir, addresses, !self.no_demo, setup)))?;
        Err(parts.failed().await)
    }
}

/// Starts the parts, each once what it needs is there; the link by which somebody can sign in with a
/// browser, as long as nobody can.
async fn begin(
    parts: &mut Parts,
    dir: &Path,
    addresses: &Addresses,
    with_demo: bool,
) -> Result<Option<Secret>, Failure> {
    let config = api_config(dir, addresses);
    let relay = postern_api::admin::ensure_relay(&config, RELAY).await.context("registering the relay")?;
    let bound = postern_api::bind(config.clone()).await.context("starting the control API")?;
    let setup = bound.setup_link().cloned();
    parts.start("the control API", |stop| bound.run(stop));
    let api = client(&config, dir, addresses).await?;
    let bound =
        postern_relay::bind(relay_config(dir, addresses, relay.token)).context("starting the relay")?;
    parts.start("the relay", |stop| bound.run(stop));
    if !with_demo {
        return Ok(setup);
    }
    let config = demo::config(dir)?;
    let device = demo::join(&api, dir, &config).await?;
    let start = Utc::now();
    parts.start("the demo box", |stop| postern_agent::run(config, stop));
    demo::comes_online(&api, &device, start).await?;
    Ok(setup)
}

fn api_config(dir: &Path, addresses: &Addresses) -> postern_api::Config {
    postern_api::Config {
        state_dir: dir.join("api"),
        listen: addresses.listen,
        ..postern_api::Config::default()
    }
}

fn relay_config(dir: &Path, addresses: &Addresses, token: Secret) -> postern_relay::Config {
    postern_relay::Config {
        state_dir: dir.join("relay"),
        api: addresses.api(),
        token: Some(token),
        gate: addresses.gate,
        https: Some(addresses.https),
        // Every name in it leads to this machine, in every browser (RFC 6761, section 6.3).
        domain: Some("localhost".to_owned()),
        agents: addresses.agents,
        ..postern_relay::Config::default()
    }
}

/// The settings for the commands in the second terminal, made where they are missing or no longer fit;
/// and the API, asked by them.
async fn client(config: &postern_api::Config, dir: &Path, addresses: &Addresses) -> Result<Api, Failure> {
    let path = client_file(dir);
    let known = SettingsFile::load(&path)?.filter(|file| file.api.as_deref() == Some(&addresses.api()));
    if let Some(file) = known.filter(|file| file.token.is_some()) {
        let api = Api::new(file.settings(&path)?)?;
        match api.list_whole::<serde::de::IgnoredAny>(&["relays"]).await {
            Err(Failure::Unauthorised(_)) => {}
            Err(failure) => return Err(failure),
            Ok(_) => return Ok(api),
        }
    }
    let token = postern_api::admin::create_token(config, &TokenTerms::everything(TOKEN))
        .await
        .context("making a token")?;
    let file = SettingsFile { api: Some(addresses.api()), token: Some(token), ..SettingsFile::default() };
    file.save(&path)?;
    Api::new(file.settings(&path)?)
}

/// Warnings of the parts, unless more is asked for.
fn log() {
    use std::io::IsTerminal;
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours).init();
}

/// Is cancelled by Ctrl-C or a service manager. Whoever presses Ctrl-C again does not want to wait.
fn stop_when_told() -> anyhow::Result<CancellationToken> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for Ctrl-C")?;
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let stop = CancellationToken::new();
    let told = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        told.cancel();
        interrupt.recv().await;
        std::process::exit(INTERRUPTED);
    });
    Ok(stop)
}

/// The exit status that shells give to a program ended by Ctrl-C.
const INTERRUPTED: i32 = 130;

#[cfg(test)]
mod tests;
