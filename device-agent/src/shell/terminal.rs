//! Pseudo-terminals: opened as the client wishes, read and written without blocking.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::libc;
use nix::pty::{PtyMaster, Winsize, grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::stat::{Mode, fchmod};
use nix::sys::termios::{SetArg, tcgetattr, tcsetattr};
use nix::unistd::Group;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::account::Account;
use super::sys;

mod modes;

/// The longest name of a terminal type that is believed.
const MAX_TERM: usize = 128;

/// What a client asks for (RFC 4254, section 6.2).
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    term: String,
    size: Winsize,
    modes: Vec<(u8, u32)>,
}

impl Wanted {
    /// A terminal of this type, if it can be one.
    pub(super) fn new(term: &str, size: Winsize, modes: Vec<(u8, u32)>) -> Option<Self> {
        let plausible = term.len() <= MAX_TERM && term.bytes().all(|byte| byte.is_ascii_graphic());
        plausible.then(|| Self { term: term.to_owned(), size, modes })
    }

    /// The terminal's type.
    pub(super) fn term(&self) -> &str {
        &self.term
    }
}

/// The size that a client tells, in characters and in pixels.
pub(super) fn size(columns: u32, rows: u32, width: u32, height: u32) -> Winsize {
    let short = |number: u32| u16::try_from(number).unwrap_or(u16::MAX);
    Winsize { ws_col: short(columns), ws_row: short(rows), ws_xpixel: short(width), ws_ypixel: short(height) }
}

/// The server's end.
pub(super) struct Master(AsyncFd<PtyMaster>);

/// The program's end.
pub(super) struct Device {
    pub(super) file: File,
    pub(super) path: PathBuf,
}

/// Opens a terminal that belongs to the account.
pub(super) fn open(wanted: &Wanted, account: &Account) -> io::Result<(Master, Device)> {
    // Closed in children from the first moment: one that kept it would keep the terminal alive.
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    let master = posix_openpt(flags)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let path = PathBuf::from(ptsname_r(&master)?);
    let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOCTTY).open(&path)?;
    sys::resize(&master, wanted.size)?;
    let mut termios = tcgetattr(&file)?;
    modes::apply(&mut termios, &wanted.modes);
    tcsetattr(&file, SetArg::TCSANOW, &termios)?;
    if account.differs {
        hand_over(&file, account)?;
    }
    Ok((Master(sys::register(master)?), Device { file, path }))
}

/// As login(1) does: for the user, and for `write` through its group where there is one.
fn hand_over(device: &File, account: &Account) -> io::Result<()> {
    let tty = Group::from_name("tty").ok().flatten();
    let (group, mode) = match tty {
        Some(tty) => (tty.gid, Mode::S_IRUSR | Mode::S_IWUSR | Mode::S_IWGRP),
        None => (account.gid, Mode::S_IRUSR | Mode::S_IWUSR),
    };
    fchown(device, Some(account.uid.as_raw()), Some(group.as_raw()))?;
    fchmod(device, mode)?;
    Ok(())
}

impl Master {
    /// Reads what programs wrote; nothing once no program has the terminal open any more.
    pub(super) async fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        let read = |mut master: &PtyMaster| match master.read(into) {
            // How Linux says that the other end is closed.
            Err(error) if error.raw_os_error() == Some(libc::EIO) => Ok(0),
            result => result,
        };
        let mut read = read;
        self.0.async_io(Interest::READABLE, |master| read(master)).await
    }

    /// Reads what is there now, whether or not the kernel has said so yet; nothing if there is nothing.
    pub(super) fn rest(&self, into: &mut [u8]) -> io::Result<usize> {
        let mut master = self.0.get_ref();
        match master.read(into) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            Err(error) if error.raw_os_error() == Some(libc::EIO) => Ok(0),
            result => result,
        }
    }

    /// Writes what the client typed.
    pub(super) async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let written = self.0.async_io(Interest::WRITABLE, |mut master| master.write(bytes)).await?;
            bytes = &bytes[written..];
        }
        Ok(())
    }

    /// Tells the terminal its new size.
    pub(super) fn resize(&self, size: Winsize) -> io::Result<()> {
        sys::resize(self.0.get_ref(), size)
    }
}

impl Device {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}
