//! The relay's program.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use postern_protocol::tunnel::EVENT_INTERVAL;
use postern_relay::{Config, bind};
use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Where settings are if nobody says.
const CONFIG: &str = "/etc/postern/relay.toml";

/// Postern's relay: boxes dial in over QUIC, visitors come in with plain ssh.
#[derive(Parser)]
#[command(version, name = "postern-relay")]
struct Cli {
    /// The file of settings; without one, /etc/postern/relay.toml if it exists, or else the defaults.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Check the settings and what they name, and exit.
    #[arg(long)]
    check: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    log_to_stderr();
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("postern-relay: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> anyhow::Result<()> {
    let config = match &cli.config {
        Some(path) => Config::load(path)?,
        None if Path::new(CONFIG).exists() => Config::load(Path::new(CONFIG))?,
        None => Config::default(),
    };
    if cli.check {
        return config.check();
    }
    let runtime = runtime::Builder::new_multi_thread().enable_all().event_interval(EVENT_INTERVAL).build()?;
    runtime.block_on(serve(config))
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let shutdown = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    bind(config)?.run(shutdown).await
}

fn log_to_stderr() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
}
