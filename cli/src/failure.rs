//! How a command can end, and the exit status that says so.

use std::process::ExitCode;

use postern_protocol::api::Problem;

use crate::output::tame;

/// What a command comes to.
pub(crate) type Outcome = Result<Answer, Failure>;

/// A command that was carried out, and what it found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It is done; or, to a question: yes.
    Yes,
    /// The question was answered with no.
    No,
}

/// Why a command could not be carried out. The text says what is wrong and what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The command line, or the settings, cannot be meant.
    #[error("{0}")]
    Usage(String),
    /// Nobody answers, or somebody who is no control API.
    #[error("{0}")]
    Unreachable(String),
    /// There is no token, or it is not accepted.
    #[error("{0}")]
    Unauthorised(String),
    /// The control API says no.
    #[error("{}", tame(&.0.detail))]
    Refused(Box<Problem>),
    /// The control API does not know that; with what it does know.
    #[error("{0}")]
    NotFound(String),
    /// Something on this machine.
    #[error("{0:#}")]
    Here(#[from] anyhow::Error),
    /// Whoever read the output has gone, as `head` does.
    #[error("nobody reads the output")]
    ReaderGone,
}

/// What the exit status says. Stable: programs may rely on it.
pub(crate) const EXIT_CODES: &str = "\
Exit status:
  0  it is done; from 'verify': they would get in
  1  the answer is no: 'verify' denies, or you answered no
  2  the command line or the settings are wrong
  3  the control API cannot be reached
  4  there is no token, or it is not accepted
  5  there is no such box, access, relay, visit, user, token, webhook or account
  6  the control API refused: the request does not fit, conflicts with what is there, or takes another role
  7  the control API failed or is too busy; try again
  8  something on this machine is in the way: a file, a missing program
'postern ssh' ends with the exit status of ssh.";

impl Failure {
    fn status(&self) -> u8 {
        match self {
            Self::ReaderGone => 0,
            Self::Usage(_) => 2,
            Self::Unreachable(_) => 3,
            Self::Unauthorised(_) => 4,
            Self::NotFound(_) => 5,
            Self::Refused(problem) => match problem.status {
                404 => 5,
                429 | 500.. => 7,
                _ => 6,
            },
            Self::Here(_) => 8,
        }
    }

    /// Says it, and ends with its status.
    pub(crate) fn tell(&self) -> ExitCode {
        if !matches!(self, Self::ReaderGone) {
            eprintln!("postern: {self}");
        }
        self.status().into()
    }

    /// The stable code of the API's refusal, if it is one.
    pub(crate) fn code(&self) -> Option<&str> {
        match self {
            Self::Refused(problem) => Some(&problem.code),
            Self::Usage(_)
            | Self::Unreachable(_)
            | Self::Unauthorised(_)
            | Self::NotFound(_)
            | Self::Here(_)
            | Self::ReaderGone => None,
        }
    }
}

impl From<Answer> for ExitCode {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Yes => Self::SUCCESS,
            Answer::No => Self::FAILURE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16) -> Failure {
        Failure::Refused(Box::new(Problem {
            r#type: "/problems/x".to_owned(),
            title: "X".to_owned(),
            status,
            code: "x".to_owned(),
            detail: "no \u{1b}[31mway".to_owned(),
            field: None,
        }))
    }

    #[test]
    fn every_class_of_failure_has_its_documented_status() {
        let table = [
            (Failure::Usage(String::new()), 2),
            (Failure::Unreachable(String::new()), 3),
            (Failure::Unauthorised(String::new()), 4),
            (Failure::NotFound(String::new()), 5),
            (refused(404), 5),
            (refused(400), 6),
            (refused(403), 6),
            (refused(409), 6),
            (refused(422), 6),
            (refused(429), 7),
            (refused(503), 7),
            (Failure::Here(anyhow::anyhow!("x")), 8),
        ];
        for (failure, status) in table {
            assert_eq!(failure.status(), status, "{failure}");
            assert!(EXIT_CODES.contains(&format!("\n  {status}  ")), "{status} is documented");
        }
    }

    #[test]
    fn the_api_cannot_steer_the_terminal() {
        assert!(!refused(422).to_string().contains('\u{1b}'));
    }
}
