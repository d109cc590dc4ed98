//! Programs on a terminal, driven as a person would.

use std::process::{Command, Output, Stdio};

use crate::the_box::{TheBox, end_those_left, mark, running, stdout, succeeded, until};

/// A tmux of its own, whose one window runs a client on a real terminal.
struct Screen {
    socket: String,
}

impl Screen {
    fn open(the_box: &TheBox, command: &str) -> Self {
        let socket = the_box.path("tmux").display().to_string();
        let options = the_box.options().join(" ");
        let ssh = format!("exec ssh -t -p {} {options} {} {command}", the_box.port(), the_box.target());
        let screen = Self { socket };
        let tmux = ["-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24", &ssh];
        succeeded(&screen.tmux(&tmux));
        screen
    }

    fn tmux(&self, words: &[&str]) -> Output {
        let mut tmux = Command::new("tmux");
        tmux.env_remove("TMUX").env("LC_ALL", "C.UTF-8").stdin(Stdio::null());
        tmux.arg("-S").arg(&self.socket).args(words).output().unwrap()
    }

    fn types(&self, keys: &[&str]) {
        succeeded(&self.tmux(&[&["send-keys"], keys].concat()));
    }

    fn text(&self) -> String {
        stdout(&self.tmux(&["capture-pane", "-p"]))
    }

    async fn shows(&self, what: &str) {
        until(&format!("the screen shows {what:?}"), || self.text().contains(what)).await;
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.tmux(&["kill-server"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_c_reaches_the_job_in_front_and_the_shell_lives_on() {
    let the_box = TheBox::start().await;
    let screen = Screen::open(&the_box, "'PS1=ready: bash --norc --noprofile -i'");
    screen.shows("ready:").await;
    let mark = &mark(4718);
    screen.types(&[&format!("sleep {mark}"), "Enter"]);
    until("the job runs", || !running(mark).is_empty()).await;
    screen.types(&["C-c"]);
    until("the job is gone", || running(mark).is_empty()).await;
    screen.types(&["echo status $?", "Enter"]);
    screen.shows("status 130").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_are_stopped_and_continued() {
    let the_box = TheBox::start().await;
    let screen = Screen::open(&the_box, "'PS1=ready: bash --norc --noprofile -i'");
    screen.shows("ready:").await;
    let mark = &mark(4719);
    screen.types(&[&format!("sleep {mark}"), "Enter"]);
    until("the job runs", || !running(mark).is_empty()).await;
    screen.types(&["C-z"]);
    screen.shows("Stopped").await;
    screen.types(&["bg; jobs; kill %1; wait; echo over", "Enter"]);
    screen.shows("Running").await;
    until("the job is gone", || running(mark).is_empty()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_terminal_has_the_clients_size_and_follows_it() {
    let the_box = TheBox::start().await;
    let watch = "'trap \"stty size\" WINCH; stty size; while :; do sleep 0.05; done'";
    let screen = Screen::open(&the_box, watch);
    screen.shows("24 80").await;
    succeeded(&screen.tmux(&["resize-window", "-x", "132", "-y", "43"]));
    screen.shows("43 132").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_editor_opens_resizes_and_saves() {
    let the_box = TheBox::start().await;
    let file = the_box.path("note");
    let screen = Screen::open(&the_box, &format!("{} {}", editor(), file.display()));
    screen.shows("note").await;
    succeeded(&screen.tmux(&["resize-window", "-x", "100", "-y", "30"]));
    match editor() {
        "nano" => screen.types(&["hello", "C-o", "Enter", "C-x"]),
        _ => screen.types(&["ihello", "Escape", ":wq", "Enter"]),
    }
    until("the note is saved", || std::fs::read_to_string(&file).is_ok_and(|text| text == "hello\n")).await;
    the_box.deserted().await;
}

/// Whichever editor this machine has.
fn editor() -> &'static str {
    ["vim", "nano", "vi"]
        .into_iter()
        .find(|name| std::path::Path::new("/usr/bin").join(name).exists())
        .expect("an editor is installed")
}

#[tokio::test]
async fn a_login_shell_knows_that_it_is_one_and_has_a_terminal_of_its_own() {
    let the_box = TheBox::start().await;
    let typed = "shopt -q login_shell && echo login $0; tty; echo $SSH_TTY; echo $TERM; exit 5\n";
    let client = the_box.ssh().args(["-tt", &the_box.target()]).env("TERM", "vt220");
    let output = client.input(typed).output().await;
    let said = stdout(&output);
    assert_eq!(output.status.code(), Some(5), "{said}");
    assert!(said.contains("login -bash\r\n") || said.contains("login -"), "{said}");
    assert_eq!(said.matches("\n/dev/pts/").count(), 2, "{said}");
    assert!(said.contains("\nvt220\r\n"), "{said}");
}

#[tokio::test]
async fn the_end_of_a_program_on_a_terminal_is_told_like_any_other() {
    let the_box = TheBox::start().await;
    let output =
        the_box.ssh().args(["-tt", &the_box.target(), "echo out; echo err >&2; exit 7"]).output().await;
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(7), "out\r\nerr\r\n"));
}

#[tokio::test]
async fn a_background_job_that_keeps_the_terminal_does_not_keep_the_visitor() {
    let the_box = TheBox::start().await;
    let mark = &mark(4720);
    let command = &format!("bash -ic 'sleep {mark} & echo bye'");
    let output = the_box.ssh().args(["-tt", &the_box.target(), command]).output().await;
    assert!(stdout(&output).ends_with("bye\r\n"), "{}", stdout(&output));
    until("the job runs", || !running(mark).is_empty()).await;
    assert_eq!(end_those_left(mark), 1);
}

#[tokio::test]
async fn the_modes_of_the_clients_terminal_are_taken_over() {
    // Without a terminal of its own OpenSSH sends none, so what Linux starts with is there.
    let the_box = TheBox::start().await;
    let output = the_box.ssh().args(["-tt", &the_box.target(), "stty -a"]).output().await;
    assert!(stdout(&output).contains("isig icanon "), "{}", stdout(&output));
}
