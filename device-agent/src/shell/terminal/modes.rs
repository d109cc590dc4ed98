//! Terminal modes as they travel (RFC 4254, section 8), and what they are here.

use nix::libc;
use nix::sys::termios::{
    ControlFlags as C, InputFlags as I, LocalFlags as L, OutputFlags as O, SpecialCharacterIndices as V,
    Termios,
};

/// How a client says that a special character is switched off.
const OFF: u32 = 255;

enum Mode {
    Character(V),
    Input(I),
    Local(L),
    Output(O),
    Control(C),
}

/// Sets what the client has at its end; what Linux does not know is left as it is.
pub(super) fn apply(termios: &mut Termios, modes: &[(u8, u32)]) {
    for (opcode, value) in modes {
        match mode(*opcode) {
            Some(Mode::Character(index)) => termios.control_chars[index as usize] = character(*value),
            Some(Mode::Input(flag)) => termios.input_flags.set(flag, *value != 0),
            Some(Mode::Local(flag)) => termios.local_flags.set(flag, *value != 0),
            Some(Mode::Output(flag)) => termios.output_flags.set(flag, *value != 0),
            // Sizes of characters exclude each other, so unsetting one says nothing.
            Some(Mode::Control(size)) if C::CSIZE.contains(size) && *value != 0 => {
                termios.control_flags = (termios.control_flags & !C::CSIZE) | size;
            }
            Some(Mode::Control(size)) if C::CSIZE.contains(size) => {}
            Some(Mode::Control(flag)) => termios.control_flags.set(flag, *value != 0),
            None => {}
        }
    }
}

fn character(value: u32) -> u8 {
    match value {
        OFF => libc::_POSIX_VDISABLE,
        value => u8::try_from(value).unwrap_or(libc::_POSIX_VDISABLE),
    }
}

fn mode(opcode: u8) -> Option<Mode> {
    Some(match opcode {
        1 => Mode::Character(V::VINTR),
        2 => Mode::Character(V::VQUIT),
        3 => Mode::Character(V::VERASE),
        4 => Mode::Character(V::VKILL),
        5 => Mode::Character(V::VEOF),
        6 => Mode::Character(V::VEOL),
        7 => Mode::Character(V::VEOL2),
        8 => Mode::Character(V::VSTART),
        9 => Mode::Character(V::VSTOP),
        10 => Mode::Character(V::VSUSP),
        12 => Mode::Character(V::VREPRINT),
        13 => Mode::Character(V::VWERASE),
        14 => Mode::Character(V::VLNEXT),
        18 => Mode::Character(V::VDISCARD),
        30 => Mode::Input(I::IGNPAR),
        31 => Mode::Input(I::PARMRK),
        32 => Mode::Input(I::INPCK),
        33 => Mode::Input(I::ISTRIP),
        34 => Mode::Input(I::INLCR),
        35 => Mode::Input(I::IGNCR),
        36 => Mode::Input(I::ICRNL),
        38 => Mode::Input(I::IXON),
        39 => Mode::Input(I::IXANY),
        40 => Mode::Input(I::IXOFF),
        41 => Mode::Input(I::IMAXBEL),
        42 => Mode::Input(I::IUTF8),
        50 => Mode::Local(L::ISIG),
        51 => Mode::Local(L::ICANON),
        53 => Mode::Local(L::ECHO),
        54 => Mode::Local(L::ECHOE),
        55 => Mode::Local(L::ECHOK),
        56 => Mode::Local(L::ECHONL),
        57 => Mode::Local(L::NOFLSH),
        58 => Mode::Local(L::TOSTOP),
        59 => Mode::Local(L::IEXTEN),
        60 => Mode::Local(L::ECHOCTL),
        61 => Mode::Local(L::ECHOKE),
        62 => Mode::Local(L::PENDIN),
        70 => Mode::Output(O::OPOST),
        71 => Mode::Output(O::OLCUC),
        72 => Mode::Output(O::ONLCR),
        73 => Mode::Output(O::OCRNL),
        74 => Mode::Output(O::ONOCR),
        75 => Mode::Output(O::ONLRET),
        90 => Mode::Control(C::CS7),
        91 => Mode::Control(C::CS8),
        92 => Mode::Control(C::PARENB),
        93 => Mode::Control(C::PARODD),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use nix::fcntl::OFlag;
    use nix::pty::posix_openpt;
    use nix::sys::termios::tcgetattr;

    use super::*;

    #[test]
    fn a_terminal_takes_the_modes_of_the_clients() {
        let terminal = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY).unwrap();
        let mut termios = tcgetattr(&terminal).unwrap();
        apply(
            &mut termios,
            &[(1, 7), (2, 255), (53, 0), (38, 0), (36, 1), (72, 0), (90, 0), (91, 1), (129, 9)],
        );
        assert_eq!(termios.control_chars[V::VINTR as usize], 7);
        assert_eq!(termios.control_chars[V::VQUIT as usize], libc::_POSIX_VDISABLE);
        assert!(!termios.local_flags.contains(L::ECHO));
        assert!(!termios.input_flags.contains(I::IXON));
        assert!(termios.input_flags.contains(I::ICRNL));
        assert!(!termios.output_flags.contains(O::ONLCR));
        assert_eq!(termios.control_flags & C::CSIZE, C::CS8);
    }
}
