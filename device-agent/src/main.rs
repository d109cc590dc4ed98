//! The agent's command: join an installation, run, and the owner's say.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use chrono::Utc;
use clap::{Parser, Subcommand};
use postern_agent::{Config, ControlError, Joined, Status};
use postern_protocol::id::{AccessId, Login};
use postern_protocol::join::JoinString;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Read if it is there and no other was named.
const CONFIG: &str = "/etc/postern/agent.toml";

/// Exit status: the agent is not running, as service managers say it.
const NOT_RUNNING: u8 = 3;

/// Exit status: the agent runs, and the box cannot be reached.
const NOT_CONNECTED: u8 = 4;

const NOTES: &str = "\
Where UDP does not get through, relays are reached over TCP, through the proxy that
https_proxy names, unless no_proxy lists the relay.

Exit status:
  0  done; for status: the box is connected
  1  it failed; the reason is on standard error
  2  the command line was wrong
  3  status, pause, resume, approvals, approve, deny: the agent is not running
  4  status: the agent runs, but the box is not connected or has not joined";

const AUTHORIZED_KEYS: &str = "\
For sshd, in place of a managed keys file. In /etc/ssh/sshd_config:

  AuthorizedKeysCommand /usr/bin/postern-agent authorized-keys %u
  AuthorizedKeysCommandUser root

(or the user who owns the agent's state directory). It prints the keys of the
login's live accesses, and nothing while the box is paused. It works whether or
not the agent runs.";

/// Postern's agent: lets people reach this box, for a while and from where they said, through a relay.
#[derive(Debug, Parser)]
#[command(name = "postern-agent", version, after_help = NOTES)]
struct Arguments {
    /// The configuration file [default: /etc/postern/agent.toml, if it is there]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The state directory, in place of the configured one
    #[arg(long, global = true, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make this box a member of an installation
    Join {
        /// The join string that 'postern device add' printed; '-' reads it from standard input
        string: String,
        /// Leave whatever the box was a member of
        #[arg(long)]
        force: bool,
    },
    /// Connect to the relay and serve visits until told to stop
    Run {
        /// Join first, unless the box is a member already
        #[arg(long, value_name = "STRING", env = "POSTERN_JOIN", hide_env_values = true)]
        join: Option<String>,
    },
    /// Show whether the box is connected, what is in force, and who is inside
    Status {
        /// For programs
        #[arg(long)]
        json: bool,
    },
    /// Let nobody in, whatever the cloud says, until 'resume'
    Pause,
    /// Let those in again who may come in
    Resume,
    /// Show which accesses await approval, and what was decided, where require_approval is set
    Approvals {
        /// For programs
        #[arg(long)]
        json: bool,
    },
    /// Let in by an access, as it is now; one that is changed beyond that asks again
    Approve {
        /// The access
        access: AccessId,
    },
    /// Let nobody in by an access, and end the visits by it
    Deny {
        /// The access
        access: AccessId,
    },
    /// Print a login's keys, for sshd's AuthorizedKeysCommand
    #[command(after_help = AUTHORIZED_KEYS)]
    AuthorizedKeys {
        /// The user that somebody logs in as
        login: String,
    },
    /// Be the sftp-server of the built-in SSH server, on standard input and output
    #[command(hide = true)]
    SftpServer,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let log = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    tracing_subscriber::registry().with(wanted()).with(log).init();
    obey(arguments).unwrap_or_else(|error| {
        eprintln!("postern-agent: {error:#}");
        match error.downcast_ref() {
            Some(ControlError::NotRunning(_)) => ExitCode::from(NOT_RUNNING),
            _ => ExitCode::FAILURE,
        }
    })
}

/// What to log: as `RUST_LOG` says. Targets and levels are all that is understood of it, because the rest
/// needs regular expressions, which are a tenth of the program.
fn wanted() -> Targets {
    let said = std::env::var("RUST_LOG").ok().and_then(|said| said.parse().ok());
    said.unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO))
}

/// One thread does all: an agent moves bytes and waits, and each hop between threads costs.
#[tokio::main(flavor = "current_thread")]
async fn obey(arguments: Arguments) -> anyhow::Result<ExitCode> {
    if let Command::SftpServer = arguments.command {
        // It runs as a visitor's login, which may not read the settings.
        postern_agent::shell::sftp::run_stdio().await?;
        return Ok(ExitCode::SUCCESS);
    }
    let config = settings(arguments.config.as_deref(), arguments.state_dir)?;
    match arguments.command {
        Command::SftpServer => unreachable!("obeyed above"),
        Command::Join { string, force } => join(&config, string, force).await?,
        Command::Run { join } => run(config, join).await?,
        Command::Status { json } => return show(&postern_agent::status(&config).await?, json),
        Command::Pause => {
            postern_agent::pause(&config).await?;
            println!("Paused: nobody comes in until 'postern-agent resume'.");
        }
        Command::Resume => {
            postern_agent::resume(&config).await?;
            println!("Resumed: those who may come in come in again.");
        }
        Command::Approvals { json } => approvals(&config, json).await?,
        Command::Approve { access } => {
            postern_agent::approve(&config, access).await?;
            println!(
                "Approved: {access} lets in what it allows now. To withdraw that: postern-agent deny {access}"
            );
        }
        Command::Deny { access } => {
            postern_agent::deny(&config, access).await?;
            println!("Denied: nobody comes in by {access}, and whoever was inside is out.");
        }
        Command::AuthorizedKeys { login } => authorized_keys(&config, &login)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn settings(file: Option<&Path>, state_dir: Option<PathBuf>) -> anyhow::Result<Config> {
    let mut config = match file {
        Some(file) => Config::load(file)?,
        None if Path::new(CONFIG).exists() => Config::load(Path::new(CONFIG))?,
        None => Config::default(),
    };
    if let Some(dir) = state_dir {
        config.state_dir = dir;
    }
    Ok(config)
}

async fn join(config: &Config, string: String, force: bool) -> anyhow::Result<()> {
    let string = match string.as_str() {
        "-" => std::io::read_to_string(std::io::stdin()).context("reading the join string")?,
        _ => string,
    };
    let string: JoinString = string.parse()?;
    let joined = match force {
        true => postern_agent::join_anew(config, &string).await?,
        false => postern_agent::join(config, &string).await?,
    };
    let Joined { device, name } = joined;
    println!("Joined as {name} ({device}).");
    if postern_agent::status(config).await.is_err() {
        println!("Now start the agent: postern-agent run (or: systemctl enable --now postern-agent)");
    }
    Ok(())
}

async fn run(config: Config, join: Option<String>) -> anyhow::Result<()> {
    if let Some(string) = join.filter(|string| !string.is_empty()) {
        postern_agent::join_once(&config, &string.parse()?).await?;
    }
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    postern_agent::run(config, async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
    .await
}

fn show(status: &Status, json: bool) -> anyhow::Result<ExitCode> {
    match json {
        true => println!("{}", serde_json::to_string_pretty(status)?),
        false => print!("{}", status.display(Utc::now())),
    }
    Ok(if status.is_connected() { ExitCode::SUCCESS } else { ExitCode::from(NOT_CONNECTED) })
}

async fn approvals(config: &Config, json: bool) -> anyhow::Result<()> {
    let status = postern_agent::status(config).await?;
    let member = status.member.context("this box has not joined, so there is no access to it")?;
    if json {
        println!("{}", serde_json::to_string_pretty(&member.accesses)?);
    } else if config.require_approval {
        print!("{}", member.approvals(Utc::now()));
    } else {
        println!("This box asks for no approval: require_approval = true in its configuration changes that.");
    }
    Ok(())
}

/// A name that no access can carry has no keys.
fn authorized_keys(config: &Config, login: &str) -> anyhow::Result<()> {
    if let Ok(login) = login.parse::<Login>() {
        print!("{}", postern_agent::authorized_keys(config, &login)?);
    }
    Ok(())
}
