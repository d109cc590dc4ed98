//! Somebody at a terminal, on a box that has no SSH server but the agent's.
//!
//! What that server does with terminals in general is shown beside it, in `device-agent/tests/shell`;
//! here the relay is in between.

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use postern_tests::screen::Screen;
use postern_tests::{Machine, SOON, Server, Ssh, Stack, eventually};

#[tokio::test]
async fn an_editor_opens_follows_the_window_and_saves() {
    let (stack, _box42, ssh) = visitor().await;
    let note = stack.scene().path("note");
    let screen = open(&stack, &ssh, &format!("nano {}", note.display()));
    screen.shows_that("the menu is at the bottom of 24 lines", |lines| menu_is_on(lines, 24)).await;
    screen.resize(100, 30);
    screen.shows_that("the menu is at the bottom of 30 lines", |lines| menu_is_on(lines, 30)).await;
    screen.types(&["hello", "C-o", "Enter", "C-x"]);
    eventually("the note is saved", SOON, async || {
        fs::read_to_string(&note).is_ok_and(|text| text == "hello\n").then_some(())
    })
    .await;
}

/// Whether nano's menu ends where the window does.
fn menu_is_on(lines: &[String], last: usize) -> bool {
    lines.len() == last && lines[last - 2].contains("^G Help") && lines[last - 1].contains("^X Exit")
}

#[tokio::test]
async fn control_c_ends_the_job_in_front_and_not_the_visit() {
    let (stack, _box42, ssh) = visitor().await;
    let screen = open(&stack, &ssh, "'PS1=ready: bash --norc --noprofile -i'");
    screen.shows("ready:").await;
    let job = Job::new();
    screen.types(&[&job.command(), "Enter"]);
    job.runs().await;
    screen.types(&["C-c"]);
    job.is_gone().await;
    screen.types(&["echo status $?", "Enter"]);
    screen.shows("status 130").await;
}

#[tokio::test]
async fn a_killed_client_leaves_nothing_behind() {
    let (stack, _box42, ssh) = visitor().await;
    let screen = open(&stack, &ssh, "'PS1=ready: bash --norc --noprofile -i'");
    screen.shows("ready:").await;
    let (behind, before, shell) = (Job::new(), Job::new(), Job::new());
    let stubborn = format!("sh -c \"trap '' HUP TERM; {}; :\"", behind.command());
    screen.types(&[&format!("{stubborn} & exec -a {} bash --norc --noprofile -i", shell.mark), "Enter"]);
    screen.types(&[&before.command(), "Enter"]);
    for job in [&behind, &before, &shell] {
        job.runs().await;
    }
    kill(Pid::from_raw(screen.pid()), Signal::SIGKILL).expect("the client lives");
    for job in [&behind, &before, &shell] {
        job.is_gone().await;
    }
}

async fn visitor() -> (Stack, Machine, Ssh) {
    let stack = Stack::start().await;
    let box42 = stack.add_box_running("box42", Server::Builtin).await;
    let ssh = stack.ssh(&stack.allow(&box42).await);
    (stack, box42, ssh)
}

/// Runs a command on a terminal of the box.
fn open(stack: &Stack, ssh: &Ssh, command: &str) -> Screen {
    Screen::open(stack.scene(), &format!("exec {} -t {} {command}", ssh.remote_shell(), ssh.host()))
}

/// A process that is found by a word among its arguments, which no other process on the machine has.
struct Job {
    mark: String,
}

impl Job {
    fn new() -> Self {
        Self { mark: format!("4711.{}", rand::random::<u64>()) }
    }

    fn command(&self) -> String {
        format!("sleep {}", self.mark)
    }

    async fn runs(&self) {
        eventually(&format!("{} runs", self.mark), SOON, async || self.is_there().then_some(())).await;
    }

    async fn is_gone(&self) {
        eventually(&format!("{} is gone", self.mark), SOON, async || (!self.is_there()).then_some(())).await;
    }

    fn is_there(&self) -> bool {
        let processes = fs::read_dir("/proc").expect("Linux lists its processes").flatten();
        let mut command_lines = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
        command_lines.any(|line| line.split(|byte| *byte == 0).any(|word| word == self.mark.as_bytes()))
    }
}
