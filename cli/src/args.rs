//! The command line.

use clap::{Parser, Subcommand};

use crate::access::AccessCommand;
use crate::account::{AccountCommand, Whoami};
use crate::api::Api;
use crate::audit::AuditCommand;
use crate::completions::Completions;
use crate::device::DeviceCommand;
use crate::events::EventsCommand;
use crate::failure::{Answer, EXIT_CODES, Failure, Outcome};
use crate::installation::InstallationCommand;
use crate::output::{Output, print};
use crate::places::Places;
use crate::relays::RelaysCommand;
use crate::settings::{Settings, Target};
use crate::ssh::Ssh;
use crate::ssh_config::SshConfig;
use crate::token::TokenCommand;
use crate::up::Up;
use crate::user::UserCommand;
use crate::verify::VerifyCommand;
use crate::visits::VisitsCommand;
use crate::webhook::WebhookCommand;

const EXAMPLES: &str = "\
Examples:
  postern up                                           everything on this machine, to try it
  postern device add box42                             prints the line to run on the box
  postern access add box42 --for 2h                    prints the ssh command; takes your own key
  postern access rm k7f2q9xwab                         ends it, open connections included
  postern ssh box42                                    finds or creates an access, and goes there
  postern verify box42 --from 198.51.100.7 --key -     would they get in?

What the exit status says: postern help exit-codes";

/// Reach boxes behind NAT, for a while, with plain ssh.
#[derive(Debug, Parser)]
#[command(name = "postern", version, propagate_version = true, arg_required_else_help = true, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(flatten)]
    target: Target,
    /// Print the control API's own JSON, for programs
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run everything on this machine: control API, relay and a demo box
    Up(Up),
    /// Boxes: add, list, show, rename, rm, join
    #[command(subcommand, visible_alias = "box")]
    Device(DeviceCommand),
    /// Accesses: add, list, show, edit, rm, approve, deny
    #[command(subcommand)]
    Access(AccessCommand),
    /// Go to a box, by an access that you hold or a new one
    Ssh(Ssh),
    /// Let ssh, scp, rsync and editors find every box you hold an access to, as BOX.postern
    SshConfig(SshConfig),
    /// Ask in advance: would the relay let them in? Exit status 0 for yes, 1 for no
    Verify(VerifyCommand),
    /// Who came, allowed or refused; and cutting one off
    Visits(VisitsCommand),
    /// Who changed what, from where: list
    #[command(subcommand)]
    Audit(AuditCommand),
    /// What happened besides visits, such as a box that shows other host keys
    Events(EventsCommand),
    /// The relays, and whether they enforce the newest rules; add, rm
    Relays(RelaysCommand),
    /// Users of the account: add, list, show, edit, invite, sign-out, rm
    #[command(subcommand)]
    User(UserCommand),
    /// API tokens of the account: add, list, rm
    #[command(subcommand)]
    Token(TokenCommand),
    /// Webhooks, called when something happens: add, list, edit, remove, deliveries, test
    #[command(subcommand)]
    Webhook(WebhookCommand),
    /// Accounts of the installation: add, list, show, rename, rm
    #[command(subcommand)]
    Account(AccountCommand),
    /// What the installation is set to: how long things are kept, how many requests may be made
    Installation(InstallationCommand),
    /// Who you are to the control API, and what you may do
    Whoami(Whoami),
    /// Completions for a shell
    Completions(Completions),
    /// What the exit status says
    #[command(long_about = EXIT_CODES, hide = true)]
    ExitCodes,
    /// Be the sftp-server of the demo box's SSH server, on standard input and output
    #[command(hide = true)]
    SftpServer,
}

/// What the commands that ask the control API go with.
pub(crate) struct Session {
    /// The control API.
    pub(crate) api: Api,
    /// Where answers go.
    pub(crate) output: Output,
    /// Where files are.
    pub(crate) places: Places,
}

impl Cli {
    /// Does what is asked.
    pub(crate) async fn run(self) -> Outcome {
        let Self { target, json, command } = self;
        let session = || Session::open(&target, Output { json });
        match command {
            Command::Up(up) => up.run(&Places::find()?).await,
            Command::Device(command) => command.run(&session()?).await,
            Command::Access(command) => command.run(&session()?).await,
            Command::Ssh(ssh) => ssh.run(&session()?).await,
            Command::SshConfig(command) => command.run(&target).await,
            Command::Verify(verify) => verify.run(&session()?).await,
            Command::Visits(visits) => visits.run(&session()?).await,
            Command::Audit(command) => command.run(&session()?).await,
            Command::Events(events) => events.run(&session()?).await,
            Command::Relays(relays) => relays.run(&session()?).await,
            Command::User(command) => command.run(&session()?).await,
            Command::Token(command) => command.run(&session()?).await,
            Command::Webhook(command) => command.run(&session()?).await,
            Command::Account(command) => command.run(&session()?).await,
            Command::Installation(command) => command.run(&session()?).await,
            Command::Whoami(whoami) => whoami.run(&session()?).await,
            Command::Completions(completions) => completions.run(),
            Command::ExitCodes => print(EXIT_CODES).map(|()| Answer::Yes),
            Command::SftpServer => {
                postern_agent::shell::sftp::run_stdio().await.map_err(anyhow::Error::from)?;
                Ok(Answer::Yes)
            }
        }
    }
}

impl Session {
    /// Ready to ask the control API that the settings name.
    pub(crate) fn open(target: &Target, output: Output) -> Result<Self, Failure> {
        let places = Places::find()?;
        let api = Api::new(Settings::find(target, &places)?)?;
        Ok(Self { api, output, places })
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    fn accepts(line: &str) -> bool {
        Cli::try_parse_from(line.split(' ')).is_ok()
    }

    #[test]
    fn what_cannot_be_meant_is_refused_before_anything_is_asked() {
        for line in [
            "postern device add Box42",
            "postern device add -- -x",
            "postern device show ..",
            "postern access add box42 --port 0",
            "postern access add box42 --for 2h --until 2026-11-21T18:00:00Z",
            "postern access add box42 --from 10.0.0.1/33",
            "postern access add box42 --login a;b",
            "postern access show short",
            "postern access show k7f2q5xwab --for telnet",
            "postern access edit k7f2q5xwab",
            "postern access rm",
            "postern verify box42 --port 22",
            "postern visits --outcome maybe",
            "postern up --listen 0.0.0.0:8080",
            "postern up --gate 2222",
            "postern visits --limit 0",
            "postern visits cut",
            "postern visits cut short",
            "postern visits --limit 5 cut k7f2q5xwab",
            "postern audit",
            "postern webhook add",
            "postern relays add",
            "postern relays rm ..",
            "postern events --limit 0",
            "postern webhook add https://example.com --event box.eaten",
            "postern webhook edit k7f2q5xwab",
            "postern webhook edit k7f2q5xwab --enable --disable",
            "postern audit list --action eaten",
            "postern audit list --about eaten",
            "postern audit list --about access --action access_created",
            "postern audit list --actor-kind eaten",
            "postern --token pst_x device list",
            "postern user add a --role king",
            "postern user edit ann",
            "postern user edit ann --disable --enable",
            "postern token rm short",
            "postern account add acme",
            "postern account show ..",
            "postern access approve",
        ] {
            assert!(!accepts(line), "{line}");
        }
        for line in [
            "postern --json device list",
            "postern device list --json --api https://a",
            "postern box add box42",
            "postern access add box42 --port 22 --key a.pub --for 2h --from 10.0.0.0/8 --from 2001:db8::1 --login root --note x",
            "postern access add box42 --from 10.0.0.0/8,192.0.2.1",
            "postern access show k7f2q5xwab --for vscode",
            "postern access edit k7f2q5xwab --for 1d",
            "postern access rm k7f2q5xwab k7f2q5xwac",
            "postern verify box42 --from 198.51.100.7 --key - --at 2026-11-21T18:00:00+01:00",
            "postern visits --since 2h --outcome refused",
            "postern visits cut k7f2q5xwab k7f2q5xwac",
            "postern audit list --action access_created --since 2h --json",
            "postern audit list --about webhook --actor-kind machine",
            "postern webhook add https://example.com/hook --event visit.refused --event box.offline",
            "postern webhook edit k7f2q5xwab --disable",
            "postern webhook rm k7f2q5xwab k7f2q5xwac",
            "postern webhook deliveries k7f2q5xwab --limit 5 --json",
            "postern relays --json",
            "postern installation --json",
            "postern relays add relay-2",
            "postern relays rm relay-2 --yes",
            "postern events",
            "postern exit-codes",
            "postern user add ann@example.com --role operator",
            "postern user edit ann --role owner --admin true",
            "postern user sign-out ann",
            "postern token add ci --for 90d --device box42 --device box43 --role viewer",
            "postern account add acme --owner ann@example.com",
            "postern access add box42 --account acme --for 1h",
            "postern access deny k7f2q5xwab k7f2q5xwac",
            "postern whoami --json",
            "postern up --listen [::1]:0 --no-demo",
        ] {
            assert!(accepts(line), "{line}");
        }
    }

    #[test]
    fn what_follows_the_box_is_for_ssh() {
        let rest = |line: &str| {
            let command = Cli::try_parse_from(line.split(' ')).unwrap().command;
            let Command::Ssh(ssh) = command else { panic!("{command:?}") };
            ssh.rest.join(" ")
        };
        assert_eq!(rest("postern ssh box42"), "");
        assert_eq!(rest("postern ssh box42 uname -a"), "uname -a");
        assert_eq!(rest("postern ssh box42 ls --json"), "ls --json");
        assert_eq!(rest("postern ssh box42 -- -L 8080:localhost:80"), "-L 8080:localhost:80");
        assert_eq!(
            rest("postern ssh --for 5m box42 -L 8080:localhost:80 uptime"),
            "-L 8080:localhost:80 uptime"
        );
    }

    #[test]
    fn the_exit_codes_are_found_by_help() {
        let help = Cli::try_parse_from(["postern", "help", "exit-codes"]).unwrap_err().to_string();
        assert!(help.contains("3  the control API cannot be reached"), "{help}");
    }
}
