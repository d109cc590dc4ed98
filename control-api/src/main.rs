//! The control API's program: `postern-api serve`, and what an operator does on the machine itself.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use chrono::{DateTime, Utc};
use clap::{Parser, Subcommand};
use postern_api::admin::TokenTerms;
use postern_api::{Broken, Config, Head, Span, admin, bind};
use postern_protocol::api::{Role, Token};
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
    ///
    /// How long visits, the audit, events and deliveries to webhooks are kept, in days, stands under
    /// [retention] in the file of settings, how many requests may be made in a minute under [limits].
    Serve,
    /// Print a link by which somebody becomes an owner and admin, in place of any older one.
    ///
    /// 'serve' prints one by itself as long as nobody can sign in. It works once, for three days.
    Setup,
    /// Make, list and remove API tokens.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Check that nothing was altered in the audit, or taken out of it.
    #[command(subcommand)]
    Audit(AuditCommand),
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
        /// What its holder may do: viewer, operator or owner.
        #[arg(long, default_value_t = Role::Owner)]
        role: Role,
        /// Its holder also looks after the installation: its accounts and relays.
        #[arg(long)]
        admin: bool,
        /// How long it works, such as 90d; forever, if left out.
        #[arg(long, value_name = "TIME")]
        expires: Option<Span>,
        /// Only for this box, by id or name; may be repeated. Needs the role operator or viewer.
        #[arg(long = "device", value_name = "BOX")]
        devices: Vec<String>,
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
enum AuditCommand {
    /// Walk the whole chain and say how many records are intact, or what is wrong.
    ///
    /// Prints the head of the chain. Keep it elsewhere: whoever can write to the database can compute
    /// the chain anew, but cannot make it pass through a head that they do not know of.
    ///
    /// Exit status: 0 intact; 1 it could not be checked; 3 a record was altered or is missing; 4 the chain
    /// does not pass through the head that is expected.
    Verify {
        /// A head that an earlier run printed: the chain must pass through it.
        #[arg(long, value_name = "HEAD")]
        expect_head: Option<Head>,
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
        Ok(code) => code,
        Err(error) => {
            eprintln!("postern-api: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let config = settings(cli.config.as_deref())?;
    let done = match cli.command {
        Command::Serve => serve(config).await,
        Command::Setup => hand_over(&admin::invite_an_owner(&config).await?, None),
        Command::Token(command) => token(&config, command).await,
        Command::Audit(AuditCommand::Verify { expect_head }) => {
            return verify_audit(&config, expect_head).await;
        }
        Command::Relay(RelayCommand::Add { name, token_file, rotate }) => {
            let relay = match rotate {
                true => admin::ensure_relay(&config, &name).await?,
                false => admin::add_relay(&config, &name).await?,
            };
            hand_over(&relay.token, token_file.as_deref())
        }
    };
    done.map(|()| ExitCode::SUCCESS)
}

/// The exit status of a chain with a record that was altered or is missing.
const BROKEN: u8 = 3;

/// The exit status of a chain that does not pass through the head that is expected.
const OTHER_HEAD: u8 = 4;

async fn verify_audit(config: &Config, expected: Option<Head>) -> anyhow::Result<ExitCode> {
    let problem = match admin::verify_audit(config, expected).await? {
        Ok((records, head)) => {
            println!("{records} records are intact\nhead {head}");
            return Ok(ExitCode::SUCCESS);
        }
        Err(problem) => problem,
    };
    eprintln!("postern-api: the audit is broken: {problem}");
    Ok(status(&problem, expected).into())
}

/// The exit status that says what is wrong with a chain.
fn status(problem: &Broken, expected: Option<Head>) -> u8 {
    let by_head = |seq: u64| expected.is_some_and(|expected| expected.seq() == seq);
    match problem {
        Broken::OtherHead { .. } | Broken::HeadPruned { .. } => OTHER_HEAD,
        Broken::End { expected: due, .. } if by_head(due.seq()) => OTHER_HEAD,
        Broken::Beginning { .. } | Broken::Missing { .. } | Broken::Altered { .. } | Broken::End { .. } => {
            BROKEN
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
    let bound = bind(config).await?;
    if let Some(link) = bound.setup_link() {
        println!(
            "Nobody can sign in yet. Whoever opens this link first becomes the owner:\n  {}",
            link.reveal()
        );
    }
    bound.run(shutdown).await
}

async fn token(config: &Config, command: TokenCommand) -> anyhow::Result<()> {
    match command {
        TokenCommand::Create { name, role, admin, expires, devices } => {
            let terms = TokenTerms { name, role, admin, expires, devices };
            hand_over(&admin::create_token(config, &terms).await?, None)
        }
        TokenCommand::List => {
            for token in admin::tokens(config).await? {
                println!("{}", line(&token));
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

/// A token, on one line.
fn line(token: &Token) -> String {
    let time = |at: &DateTime<Utc>| at.format("%Y-%m-%d %H:%M:%SZ").to_string();
    let until =
        token.expires_at.as_ref().map_or_else(|| "for good".to_owned(), |at| format!("until {}", time(at)));
    let admin = if token.admin { "+admin" } else { "" };
    let boxes =
        token.devices.as_ref().map_or_else(String::new, |devices| format!("  for {} boxes", devices.len()));
    let Token { id, name, role, created_at, .. } = token;
    format!("{id}  {}  {role}{admin}  {until}  {name}{boxes}", time(created_at))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_status_says_whether_records_are_amiss_or_the_head_is_another() {
        let head = |seq: u64| -> Head { format!("{seq}:{}", "ab".repeat(32)).parse().unwrap() };
        for (problem, expected, code) in [
            (Broken::Beginning { before: 3 }, None, 3),
            (Broken::Missing { seq: 3 }, None, 3),
            (Broken::Altered { seq: 3 }, Some(head(9)), 3),
            (Broken::End { found: head(3), expected: head(5) }, None, 3),
            (Broken::End { found: head(3), expected: head(5) }, Some(head(5)), 4),
            (Broken::OtherHead { seq: 5 }, Some(head(5)), 4),
            (Broken::HeadPruned { seq: 5 }, Some(head(5)), 4),
        ] {
            assert_eq!(status(&problem, expected), code, "{problem}");
        }
    }
}
