//! A clock of a program's own, which the test turns.

use std::fs;
use std::path::PathBuf;

use crate::{Machine, Stack};

/// The clock of one box's agent; monotonic time goes on as it does.
#[derive(Debug)]
pub struct Faketime {
    file: PathBuf,
}

impl Faketime {
    /// Gives the agent of a box a clock that says this, from its next start: `@1970-01-02 00:00:00`, or
    /// `-1d`, or `+0` for the right time.
    pub fn of(stack: &Stack, machine: &mut Machine, says: &str) -> Self {
        let clock = Self { file: stack.scene().new_dir("faketime").join("time") };
        clock.turn(says);
        machine.set_variable("LD_PRELOAD", &library());
        machine.set_variable("FAKETIME_TIMESTAMP_FILE", &clock.file);
        machine.set_variable("FAKETIME_NO_CACHE", "1".as_ref());
        machine.set_variable("FAKETIME_DONT_FAKE_MONOTONIC", "1".as_ref());
        clock
    }

    /// Turns it.
    pub fn turn(&self, to: &str) {
        let unfinished = self.file.with_extension("new");
        fs::write(&unfinished, to).expect("a file is written");
        fs::rename(unfinished, &self.file).expect("a file is replaced");
    }
}

/// Debian keeps it below the directory of the machine's architecture.
fn library() -> PathBuf {
    let directories = fs::read_dir("/usr/lib").expect("there are libraries").flatten();
    let mut found = directories.map(|directory| directory.path().join("faketime/libfaketimeMT.so.1"));
    found.find(|path| path.is_file()).expect("the package faketime is installed")
}
