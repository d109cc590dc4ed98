//! A terminal with somebody in front of it.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::scene::Scene;
use crate::wait::{SOON, eventually};

/// A tmux of its own, whose one window runs one command on a real terminal of 80 by 24.
#[derive(Debug)]
pub struct Screen {
    socket: PathBuf,
}

impl Screen {
    /// Runs a command, which a shell reads, in a new window.
    pub fn open(scene: &Scene, command: &str) -> Self {
        let screen = Self { socket: scene.new_dir("tmux").join("socket") };
        screen.tmux(&["-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24", command]);
        screen
    }

    /// Types keys, by tmux's names for them.
    pub fn types(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    /// Gives the window another size.
    pub fn resize(&self, columns: u16, rows: u16) {
        self.tmux(&["resize-window", "-x", &columns.to_string(), "-y", &rows.to_string()]);
    }

    /// The lines that are to be seen, from top to bottom.
    pub fn lines(&self) -> Vec<String> {
        self.tmux(&["capture-pane", "-p"]).lines().map(str::to_owned).collect()
    }

    /// Waits until some text is to be seen.
    pub async fn shows(&self, text: &str) {
        self.shows_that(&format!("the screen shows {text:?}"), |lines| {
            lines.iter().any(|line| line.contains(text))
        })
        .await;
    }

    /// Waits until what is to be seen is as it should be.
    pub async fn shows_that(&self, what: &str, is_so: impl Fn(&[String]) -> bool) {
        eventually(what, SOON, async || is_so(&self.lines()).then_some(())).await;
    }

    /// The process in the window.
    pub fn pid(&self) -> i32 {
        self.tmux(&["display-message", "-p", "#{pane_pid}"]).trim().parse().expect("a window has a process")
    }

    fn tmux(&self, words: &[&str]) -> String {
        let output = self.command(words).output().expect("tmux is installed");
        assert!(output.status.success(), "tmux {words:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut tmux = Command::new("tmux");
        tmux.env_remove("TMUX").env("LC_ALL", "C.UTF-8").stdin(Stdio::null());
        tmux.arg("-S").arg(&self.socket).args(words);
        tmux
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // There is none any more where the window has closed.
        self.command(&["kill-server"]).output().ok();
    }
}
