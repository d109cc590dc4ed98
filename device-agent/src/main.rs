//! The agent's command: join an installation, run, and the owner's say.

use std::env::VarError;
use std::io::{ErrorKind, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use chrono::Utc;
use postern_agent::{Config, ControlError, Joined, Status};
use postern_protocol::id::Login;
use postern_protocol::join::JoinString;
use postern_protocol::tunnel::EVENT_INTERVAL;
use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

mod arguments;

#[cfg(all(cannot_unwind, panic = "unwind", not(test)))]
compile_error!(
    "without tables for unwinding a panic must end the program: say panic = \"abort\" beside the \"z\""
);

use arguments::{Command, HELP, LEFT_OUT, Order, Said};

/// Read if it is there and no other was named.
const CONFIG: &str = "/etc/postern/agent.toml";

/// Exit status: the agent is not running, as service managers say it.
const NOT_RUNNING: u8 = 3;

/// Exit status: the agent runs, and the box cannot be reached.
const NOT_CONNECTED: u8 = 4;

/// Exit status: the command line was wrong.
const MISUSED: u8 = 2;

fn main() -> ExitCode {
    let said = Said::read(std::env::args_os().skip(1));
    let log = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    tracing_subscriber::registry().with(wanted()).with(log).init();
    let done = match said {
        Ok(Said::Help) => say(&[HELP, LEFT_OUT].concat()),
        Ok(Said::Version) => say(concat!("postern-agent ", env!("CARGO_PKG_VERSION"), "\n")),
        #[cfg(feature = "shell")]
        Ok(Said::SftpServer) => on_one_thread(transfer_files()),
        Ok(Said::Order(order)) => on_one_thread(obey(order)),
        Err(error) => {
            eprintln!("postern-agent: {error}\nWhat there is to say: postern-agent --help");
            Ok(ExitCode::from(MISUSED))
        }
    };
    done.unwrap_or_else(|error| {
        eprintln!("postern-agent: {error:#}");
        match error.downcast_ref() {
            Some(ControlError::NotRunning(_)) => ExitCode::from(NOT_RUNNING),
            _ => ExitCode::FAILURE,
        }
    })
}

/// Whoever reads may have read enough.
fn say(text: &str) -> anyhow::Result<ExitCode> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// An agent moves bytes and waits, and each hop between threads costs.
fn on_one_thread(work: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    let mut runtime = runtime::Builder::new_current_thread();
    runtime.enable_all().event_interval(EVENT_INTERVAL).build()?.block_on(work)
}

/// What to log: as `RUST_LOG` says. Targets and levels are all that is understood of it, because the rest
/// needs regular expressions, which are a tenth of the program.
fn wanted() -> Targets {
    let said = std::env::var("RUST_LOG").ok().and_then(|said| said.parse().ok());
    said.unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO))
}

/// It runs as a visitor's login, which may not read the settings.
#[cfg(feature = "shell")]
async fn transfer_files() -> anyhow::Result<ExitCode> {
    postern_agent::shell::sftp::run_stdio().await?;
    Ok(ExitCode::SUCCESS)
}

async fn obey(order: Order) -> anyhow::Result<ExitCode> {
    let config = settings(order.config.as_deref(), order.state_dir)?;
    match order.command {
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
    let join = match (join, std::env::var("POSTERN_JOIN")) {
        (Some(said), _) => Some(said),
        (None, Err(VarError::NotPresent)) => None,
        (None, given) => Some(given.context("POSTERN_JOIN")?),
    };
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
