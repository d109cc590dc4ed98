//! The control API's program: `postern-api serve`, and what an operator does on the machine itself.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use postern_api::{Config, admin, bind};
use postern_protocol::id::TokenId;
use postern_protocol::secret::Secret;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Where settings are if nobody says.
const CONFIG: &str = "/etc/postern/api.toml";

/// Postern's control API.
#[derive(Parser)]
#[command(version, name = "postern-api")]
struct Cli {
    /// The file of settings; without one, /etc/postern/api.toml if it exists, or else the defaults.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the API until SIGTERM or Ctrl-C.
    Serve,
    /// Make, list and remove API tokens.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Register relays.
    #[command(subcommand)]
    Relay(RelayCommand),
}

#[derive(Subcommand)]
enum TokenCommand {
    /// Make a token and print it. It is shown this once.
    Create {
        /// What it is for.
        #[arg(long)]
        name: String,
    },
    /// List tokens, without their secrets.
    List,
    /// Remove a token. It stops working at once.
    Rm {
        /// Its id, as `token list` shows it.
        id: TokenId,
    },
}

#[derive(Subcommand)]
enum RelayCommand {
    /// Register a relay and print its token. It is shown this once.
    Add {
        /// What to call it.
        name: String,
        /// Write the token to this file, readable by its owner only, instead of printing it.
        #[arg(long, value_name = "PATH")]
        token_file: Option<PathBuf>,
        /// If there is a relay of this name, give it a new token in place of its old one.
        #[arg(long)]
        rotate: bool,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    log_to_stderr();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("postern-api: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(cli: Cli) -> anyhow::Result<()> {
    let config = settings(cli.config.as_deref())?;
    match cli.command {
        Command::Serve => serve(config).await,
        Command::Token(command) => token(&config, command).await,
        Command::Relay(RelayCommand::Add { name, token_file, rotate }) => {
            let relay = match rotate {
                true => admin::ensure_relay(&config, &name).await?,
                false => admin::add_relay(&config, &name).await?,
            };
            hand_over(&relay.token, token_file.as_deref())
        }
    }
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let shutdown = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    bind(config).await?.run(shutdown).await
}

async fn token(config: &Config, command: TokenCommand) -> anyhow::Result<()> {
    match command {
        TokenCommand::Create { name } => hand_over(&admin::create_token(config, &name).await?, None),
        TokenCommand::List => {
            for token in admin::tokens(config).await? {
                println!("{}  {}  {}", token.id, token.created_at.format("%Y-%m-%d %H:%M:%SZ"), token.name);
            }
            Ok(())
        }
        TokenCommand::Rm { id } => {
            anyhow::ensure!(
                admin::remove_token(config, id).await?,
                "no token has the id {id}; see: postern-api token list"
            );
            Ok(())
        }
    }
}

/// Prints a secret, and nothing else, or writes it where only its owner reads it.
fn hand_over(secret: &Secret, file: Option<&Path>) -> anyhow::Result<()> {
    match file {
        None => println!("{}", secret.reveal()),
        Some(path) => {
            postern_api::write_secret(path, secret).with_context(|| format!("writing {}", path.display()))?
        }
    }
    Ok(())
}

fn settings(named: Option<&Path>) -> anyhow::Result<Config> {
    match named {
        Some(path) => Config::load(path),
        None if Path::new(CONFIG).exists() => Config::load(Path::new(CONFIG)),
        None => Ok(Config::default()),
    }
}

fn log_to_stderr() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
}
