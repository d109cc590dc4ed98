//! What an SSH server needs of the kernel and no safe interface offers.
#![expect(
    unsafe_code,
    reason = "this file alone: pre_exec, two ioctls that nix does not wrap, epoll on a terminal"
)]

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::libc;
use nix::pty::{PtyMaster, Winsize};
use nix::sys::signal::{SigHandler, Signal};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Uid, chdir, setgid, setgroups, setsid, setuid};
use tokio::io::unix::AsyncFd;

mod ioctl {
    use nix::libc;

    nix::ioctl_write_int_bad!(set_controlling_terminal, libc::TIOCSCTTY);
    nix::ioctl_write_ptr_bad!(set_window_size, libc::TIOCSWINSZ, nix::pty::Winsize);
}

/// What a child becomes between `fork` and `exec`. All of it is made before: a child of a program
/// with threads may neither allocate nor take a lock.
pub(super) struct Becoming {
    /// The user to change to, if it is another.
    pub(super) user: Option<(Uid, Gid, Vec<Gid>)>,
    pub(super) home: CString,
    /// Whether its standard input is the terminal that shall control it.
    pub(super) on_terminal: bool,
}

/// Has the child lead a session of its own, and be what it is told, before it becomes the program.
pub(super) fn become_before_exec(command: &mut Command, becoming: Becoming) {
    let become_it = move || {
        keep_only_standard_ends();
        hear_every_signal()?;
        setsid()?;
        if becoming.on_terminal {
            // SAFETY: an ioctl on an open descriptor, with an integer for an argument.
            unsafe { ioctl::set_controlling_terminal(libc::STDIN_FILENO, 0) }?;
        }
        if let Some((uid, gid, groups)) = &becoming.user {
            // The user last: after it, the rights to do the rest are gone.
            setgroups(groups)?;
            setgid(*gid)?;
            setuid(*uid)?;
        }
        umask(Mode::S_IWGRP | Mode::S_IWOTH);
        // As the user, because root may see less than they on a network file system.
        chdir(becoming.home.as_c_str()).or_else(|_| chdir(c"/"))?;
        Ok(())
    };
    // SAFETY: the closure makes system calls only; it neither allocates nor locks, and what it uses
    // was made before the fork.
    unsafe { command.pre_exec(become_it) };
}

/// Has everything but the three standard descriptors closed at `exec`: what the agent opens is so by
/// itself, what it was given by whoever started it may not be.
fn keep_only_standard_ends() {
    let (first, last) = (libc::STDERR_FILENO + 1, libc::c_uint::MAX);
    // SAFETY: a system call with integers for arguments, which only marks descriptors. A kernel before
    // 5.11 does not know it, and then nothing is lost that was there before.
    unsafe { libc::syscall(libc::SYS_close_range, first, last, libc::CLOSE_RANGE_CLOEXEC) };
}

/// Has every signal do what it does by itself. Whoever started the agent may have had some ignored, as shells do for
/// what they start in the background; Ctrl-C would do nothing in a shell that began with it ignored.
fn hear_every_signal() -> io::Result<()> {
    for signal in Signal::iterator().filter(|signal| !matches!(signal, Signal::SIGKILL | Signal::SIGSTOP)) {
        // SAFETY: a system call, and no handler of ours.
        unsafe { nix::sys::signal::signal(signal, SigHandler::SigDfl) }?;
    }
    Ok(())
}

/// Tells a terminal its size; who is in its foreground gets SIGWINCH.
pub(super) fn resize(terminal: impl AsFd, size: Winsize) -> io::Result<()> {
    // SAFETY: an ioctl on an open descriptor, with a structure that outlives the call.
    unsafe { ioctl::set_window_size(terminal.as_fd().as_raw_fd(), &raw const size) }?;
    Ok(())
}

/// Lets the runtime wait for a terminal.
pub(super) fn register(terminal: PtyMaster) -> io::Result<AsyncFd<PtyMaster>> {
    // SAFETY: the terminal owns its one descriptor, which stays open and the same until it is dropped.
    Ok(unsafe { AsyncFd::register(terminal) }?)
}
