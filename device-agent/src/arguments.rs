//! The command line: what may be said, and what is said about it.

use std::ffi::OsString;
use std::path::PathBuf;

use lexopt::prelude::*;
use postern_protocol::id::AccessId;

/// What '--help' prints.
pub(crate) const HELP: &str = "\
Postern's agent: lets people reach this box, for a while and from where they said, through a relay

Usage: postern-agent [OPTIONS] COMMAND

Commands:
  join STRING [--force]    Make this box a member of an installation, by the join string that 'postern
                           device add' printed; '-' reads it from standard input. With --force it leaves
                           whatever it was a member of
  run [--join STRING]      Connect to the relay and serve visits until told to stop. With --join, or
                           POSTERN_JOIN in the environment, join first, unless the box is a member already
  status [--json]          Show whether the box is connected, what is in force, and who is inside
  pause                    Let nobody in, whatever the cloud says, until 'resume'
  resume                   Let those in again who may come in
  approvals [--json]       Show which accesses await approval, and what was decided, where
                           require_approval is set
  approve ACCESS           Let in by an access, as it is now; one that is changed beyond that asks again
  deny ACCESS              Let nobody in by an access, and end the visits by it
  authorized-keys LOGIN    Print the keys of a login's live accesses, for sshd (below)
  help                     Print this

Options:
      --config FILE        The configuration file [default: /etc/postern/agent.toml, if it is there]
      --state-dir DIR      The state directory, in place of the configured one
  -h, --help               Print this
  -V, --version            Print the version

In place of a managed keys file, sshd may ask for keys. In /etc/ssh/sshd_config:

  AuthorizedKeysCommand /usr/bin/postern-agent authorized-keys %u
  AuthorizedKeysCommandUser root

(or the user who owns the agent's state directory). There are none while the box is paused. It works
whether or not the agent runs.

Where UDP does not get through, relays are reached over TCP, through the proxy that
https_proxy names, unless no_proxy lists the relay.

Exit status:
  0  done; for status: the box is connected
  1  it failed; the reason is on standard error
  2  the command line was wrong
  3  status, pause, resume, approvals, approve, deny: the agent is not running
  4  status: the agent runs, but the box is not connected or has not joined
";

/// What it prints besides: what this build leaves to others.
pub(crate) const LEFT_OUT: &str = match (cfg!(feature = "shell"), cfg!(feature = "https")) {
    (true, true) => "",
    (true, false) => "\nThis build ends no TLS for pages: they show their own certificates.\n",
    (false, true) => "\nThis build has no SSH server of its own: visitors reach the box's.\n",
    (false, false) => {
        "\nThis build has no SSH server of its own: visitors reach the box's. It ends no TLS for pages: they\n\
         show their own certificates.\n"
    }
};

/// What there is to do.
const COMMANDS: [&str; 9] =
    ["join", "run", "status", "pause", "resume", "approvals", "approve", "deny", "authorized-keys"];

/// How every join string begins, which is secret and so not repeated.
const JOIN_STRING: &str = "postern-join";

/// What was said.
#[derive(Debug, PartialEq)]
pub(crate) enum Said {
    /// Print [`HELP`].
    Help,
    /// Print the version.
    Version,
    /// Be the sftp-server of the built-in SSH server, on standard input and output.
    #[cfg(feature = "shell")]
    SftpServer,
    /// Do something by the settings.
    Order(Order),
}

/// What to do, and where things are.
#[derive(Debug, PartialEq)]
pub(crate) struct Order {
    pub(crate) config: Option<PathBuf>,
    pub(crate) state_dir: Option<PathBuf>,
    pub(crate) command: Command,
}

/// What to do; [`HELP`] has a sentence about each.
#[derive(Debug, PartialEq)]
pub(crate) enum Command {
    Join { string: String, force: bool },
    Run { join: Option<String> },
    Status { json: bool },
    Pause,
    Resume,
    Approvals { json: bool },
    Approve { access: AccessId },
    Deny { access: AccessId },
    AuthorizedKeys { login: String },
}

/// What was said after a command.
#[derive(Default)]
struct Rest {
    operand: Option<String>,
    join: Option<String>,
    force: bool,
    json: bool,
}

impl Said {
    /// Reads the arguments after the program's own name.
    pub(crate) fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, lexopt::Error> {
        let mut parser = lexopt::Parser::from_args(arguments);
        let (mut config, mut state_dir, mut verb, mut rest) = (None, None, None::<String>, Rest::default());
        while let Some(argument) = parser.next()? {
            match (verb.as_deref(), argument) {
                (_, Short('h') | Long("help")) => return Ok(Self::Help),
                (_, Short('V') | Long("version")) => return Ok(Self::Version),
                (_, Long("config")) => config = Some(parser.value()?.into()),
                (_, Long("state-dir")) => state_dir = Some(parser.value()?.into()),
                (None, Value(word)) => verb = Some(known(word.string()?)?),
                (Some("join"), Long("force")) => rest.force = true,
                (Some("run"), Long("join")) => rest.join = Some(parser.value()?.string()?),
                (Some("status" | "approvals"), Long("json")) => rest.json = true,
                (Some("join" | "approve" | "deny" | "authorized-keys"), Value(word))
                    if rest.operand.is_none() =>
                {
                    rest.operand = Some(word.string()?);
                }
                (Some("help"), Value(_)) => return Ok(Self::Help),
                // What is too much may be a secret, and whoever types it knows it.
                (Some(verb), Value(_)) => return Err(format!("that is too much for '{verb}'").into()),
                (_, unexpected) => return Err(unexpected.unexpected()),
            }
        }
        match verb.as_deref() {
            None => Err("what to do is not said".into()),
            Some("help") => Ok(Self::Help),
            #[cfg(feature = "shell")]
            Some("sftp-server") => Ok(Self::SftpServer),
            Some(verb) => Ok(Self::Order(Order { config, state_dir, command: rest.command(verb)? })),
        }
    }
}

impl Rest {
    fn command(self, verb: &str) -> Result<Command, lexopt::Error> {
        let operand = |what| self.operand.as_deref().ok_or_else(|| format!("'{verb}' needs {what}"));
        let access = || -> Result<AccessId, lexopt::Error> {
            let id = operand("an access's id")?;
            id.parse().map_err(|error| format!("'{id}': {error}").into())
        };
        Ok(match verb {
            "join" => Command::Join { string: operand("a join string")?.to_owned(), force: self.force },
            "run" => Command::Run { join: self.join },
            "status" => Command::Status { json: self.json },
            "pause" => Command::Pause,
            "resume" => Command::Resume,
            "approvals" => Command::Approvals { json: self.json },
            "approve" => Command::Approve { access: access()? },
            "deny" => Command::Deny { access: access()? },
            "authorized-keys" => Command::AuthorizedKeys { login: operand("a login")?.to_owned() },
            other => return Err(no_command(other)),
        })
    }
}

/// A word that is a command.
fn known(word: String) -> Result<String, lexopt::Error> {
    let own = cfg!(feature = "shell") && word == "sftp-server";
    match own || word == "help" || COMMANDS.contains(&word.as_str()) {
        true => Ok(word),
        false => Err(no_command(&word)),
    }
}

fn no_command(word: &str) -> lexopt::Error {
    match word.starts_with(JOIN_STRING) {
        true => "a join string comes after 'join'".into(),
        false => format!("there is no command '{word}'").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Said, String> {
        Said::read(line.split_whitespace().map(OsString::from)).map_err(|error| error.to_string())
    }

    fn order(line: &str) -> Order {
        match read(line) {
            Ok(Said::Order(order)) => order,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn every_command_is_understood_and_explained() {
        let access: AccessId = "aaaaaaaaaa".parse().unwrap();
        for (line, command) in [
            ("join x --force", Command::Join { string: "x".into(), force: true }),
            ("join -", Command::Join { string: "-".into(), force: false }),
            ("run", Command::Run { join: None }),
            ("run --join=x", Command::Run { join: Some("x".into()) }),
            ("status --json", Command::Status { json: true }),
            ("pause", Command::Pause),
            ("resume", Command::Resume),
            ("approvals", Command::Approvals { json: false }),
            ("approve aaaaaaaaaa", Command::Approve { access }),
            ("deny aaaaaaaaaa", Command::Deny { access }),
            ("authorized-keys root", Command::AuthorizedKeys { login: "root".into() }),
        ] {
            assert_eq!(order(line).command, command, "{line}");
            let verb = line.split(' ').next().unwrap();
            assert!(HELP.contains(&format!("\n  {verb} ")), "{verb}");
        }
        for line in ["help", "help join", "--help", "status -h"] {
            assert_eq!(read(line), Ok(Said::Help), "{line}");
        }
        assert_eq!(read("-V"), Ok(Said::Version));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (line, named) in [
            ("", "what to do"),
            ("pauze", "pauze"),
            ("pauze --json", "pauze"),
            ("jion secret", "jion"),
            ("postern-join-2-secret", "after 'join'"),
            ("pause secret", "too much for 'pause'"),
            ("pause --json", "--json"),
            ("join", "a join string"),
            ("approve", "an access's id"),
            ("approve xx", "ten characters"),
            ("--config", "--config"),
            ("join x secret", "too much for 'join'"),
        ] {
            let complaint = read(line).unwrap_err();
            assert!(complaint.contains(named) && !complaint.contains("secret"), "{line}: {complaint}");
        }
    }

    #[test]
    fn where_things_are_is_said_before_or_after_the_command() {
        for line in ["--config a --state-dir b status", "status --state-dir=b --config=a"] {
            let Order { config, state_dir, command } = order(line);
            assert_eq!((config, state_dir), (Some("a".into()), Some("b".into())));
            assert_eq!(command, Command::Status { json: false });
        }
    }
}
