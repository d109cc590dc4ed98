//! A question before something that cannot be undone.

use std::io::{self, BufRead, IsTerminal, Write};

use anyhow::Context;

use crate::failure::Failure;

/// Asks on a terminal. Where nobody can answer, whoever wrote the command has decided already.
pub(crate) fn confirmed(question: &str, yes: bool) -> Result<bool, Failure> {
    let asks = !yes && io::stdin().is_terminal() && io::stderr().is_terminal();
    let answer = ask(question, asks, &mut io::stdin().lock(), &mut io::stderr());
    Ok(answer.context("asking on the terminal")?)
}

fn ask(question: &str, asks: bool, from: &mut impl BufRead, to: &mut impl Write) -> io::Result<bool> {
    if !asks {
        return Ok(true);
    }
    write!(to, "{question} [y/N] ")?;
    to.flush()?;
    let mut answer = String::new();
    from.read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plain_yes_is_one() {
        let table = [
            ("y\n", true),
            ("YES\n", true),
            (" y ", true),
            ("\n", false),
            ("", false),
            ("n\n", false),
            ("yep\n", false),
        ];
        for (answer, goes_on) in table {
            let mut said = Vec::new();
            assert_eq!(
                ask("Delete box42?", true, &mut answer.as_bytes(), &mut said).unwrap(),
                goes_on,
                "{answer:?}"
            );
            assert_eq!(said, b"Delete box42? [y/N] ");
        }
    }

    #[test]
    fn where_nobody_can_answer_nobody_is_asked() {
        let mut said = Vec::new();
        assert!(ask("Delete box42?", false, &mut "n\n".as_bytes(), &mut said).unwrap());
        assert!(said.is_empty());
    }
}
