//! Signals, as SSH names them and as this system does (RFC 4254, section 6.10).

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use nix::sys::signal::Signal;
use russh::Sig;

/// The signal that a client may send by this name; none that are no business of a client.
pub(in crate::shell) fn asked_for(signal: &Sig) -> Option<Signal> {
    match signal {
        Sig::ABRT => Some(Signal::SIGABRT),
        Sig::ALRM => Some(Signal::SIGALRM),
        Sig::FPE => Some(Signal::SIGFPE),
        Sig::HUP => Some(Signal::SIGHUP),
        Sig::ILL => Some(Signal::SIGILL),
        Sig::INT => Some(Signal::SIGINT),
        Sig::KILL => Some(Signal::SIGKILL),
        Sig::PIPE => Some(Signal::SIGPIPE),
        Sig::QUIT => Some(Signal::SIGQUIT),
        Sig::SEGV => Some(Signal::SIGSEGV),
        Sig::TERM => Some(Signal::SIGTERM),
        Sig::USR1 => Some(Signal::SIGUSR1),
        Sig::Custom(name) if name == "USR2" => Some(Signal::SIGUSR2),
        Sig::Custom(_) => None,
    }
}

/// The signal that ended a program, if one did.
pub(super) fn of_exit(status: ExitStatus) -> Option<Sig> {
    let signal = Signal::try_from(status.signal()?).ok();
    Some(match signal.map(Signal::as_str) {
        Some("SIGABRT") => Sig::ABRT,
        Some("SIGALRM") => Sig::ALRM,
        Some("SIGFPE") => Sig::FPE,
        Some("SIGHUP") => Sig::HUP,
        Some("SIGILL") => Sig::ILL,
        Some("SIGINT") => Sig::INT,
        Some("SIGKILL") => Sig::KILL,
        Some("SIGPIPE") => Sig::PIPE,
        Some("SIGQUIT") => Sig::QUIT,
        Some("SIGSEGV") => Sig::SEGV,
        Some("SIGTERM") => Sig::TERM,
        Some("SIGUSR1") => Sig::USR1,
        // Others have no name in SSH, so one of our own, in the form that the RFC asks for.
        Some(name) => Sig::Custom(format!("{}@openssh.com", name.trim_start_matches("SIG"))),
        None => Sig::Custom("SIG@openssh.com".to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_a_signal_ended_is_told_from_one_that_exited() {
        assert!(of_exit(ExitStatus::from_raw(7 << 8)).is_none());
        assert!(matches!(of_exit(ExitStatus::from_raw(9)), Some(Sig::KILL)));
        // 0x80: a core was dumped.
        assert!(matches!(of_exit(ExitStatus::from_raw(0x80 | 11)), Some(Sig::SEGV)));
        assert!(
            matches!(of_exit(ExitStatus::from_raw(12)), Some(Sig::Custom(name)) if name == "USR2@openssh.com")
        );
        assert!(matches!(of_exit(ExitStatus::from_raw(40)), Some(Sig::Custom(_))));
    }

    #[test]
    fn signals_without_a_name_in_ssh_are_not_sent() {
        assert_eq!(asked_for(&Sig::INT), Some(Signal::SIGINT));
        assert_eq!(asked_for(&Sig::Custom("USR2".into())), Some(Signal::SIGUSR2));
        assert_eq!(asked_for(&Sig::Custom("STOP".into())), None);
    }
}
