//! Completions for shells.

use clap::{Args, CommandFactory};
use clap_complete::{Shell, generate};

use crate::args::Cli;
use crate::failure::{Answer, Outcome};
use crate::output::print;

/// `postern completions SHELL`
#[derive(Debug, Args)]
#[command(
    after_help = "For bash: postern completions bash > ~/.local/share/bash-completion/completions/postern"
)]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    /// Prints them.
    pub(crate) fn run(self) -> Outcome {
        let mut script = Vec::new();
        generate(self.shell, &mut Cli::command(), "postern", &mut script);
        print(String::from_utf8_lossy(&script).trim_end())?;
        Ok(Answer::Yes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_is_completed() {
        let mut script = Vec::new();
        generate(Shell::Bash, &mut Cli::command(), "postern", &mut script);
        let script = String::from_utf8(script).unwrap();
        for verb in ["postern__subcmd__device__subcmd__add", "postern__subcmd__access__subcmd__rm"] {
            assert!(script.contains(verb), "{verb}");
        }
    }
}
