//! Nothing that a visit started is left running when its client is gone.

use crate::the_box::{TheBox, end_those_left, mark, running, stdout, until};

async fn killed_client_leaves_nothing(options: &[&str], command: &str, number: u32) {
    let mark = &mark(number);
    let the_box = TheBox::start().await;
    let command = command.replace("MARK", mark);
    let words = options.iter().copied().chain([the_box.target().leak() as &str, &command]);
    let mut client = the_box.ssh().args(words).spawn();
    until("the program runs", || !running(mark).is_empty()).await;
    client.kill().await.unwrap();
    the_box.deserted().await;
    assert!(running(mark).is_empty(), "left: {:?}", running(mark));
}

#[tokio::test]
async fn a_program_without_a_terminal_ends_with_its_client() {
    killed_client_leaves_nothing(&[], "sleep MARK", 4712).await;
}

#[tokio::test]
async fn a_program_on_a_terminal_ends_with_its_client() {
    killed_client_leaves_nothing(&["-tt"], "sleep MARK", 4713).await;
}

#[tokio::test]
async fn jobs_in_the_background_end_with_their_client() {
    let jobs = "bash -ic 'set -m; sleep MARK & sleep MARK & wait'";
    killed_client_leaves_nothing(&["-tt"], jobs, 4714).await;
}

#[tokio::test]
async fn a_program_that_ignores_the_hang_up_is_killed() {
    let stubborn = "trap '' HUP TERM INT; while :; do sleep MARK; done";
    killed_client_leaves_nothing(&[], stubborn, 4715).await;
    killed_client_leaves_nothing(&["-tt"], stubborn, 4715).await;
}

#[tokio::test]
async fn a_stopped_program_ends_too() {
    killed_client_leaves_nothing(&[], "sh -c 'kill -STOP $$' MARK", 4716).await;
}

#[tokio::test]
async fn what_is_left_behind_on_purpose_stays_when_the_visitor_leaves_properly() {
    let the_box = TheBox::start().await;
    let mark = &mark(4717);
    let output = the_box.run(&format!("nohup sleep {mark} >/dev/null 2>&1 & echo left")).await;
    assert_eq!(stdout(&output), "left\n");
    the_box.deserted().await;
    // It may not have become what it was told to be before the visit was over.
    until("what was left runs", || !running(mark).is_empty()).await;
    assert_eq!(end_those_left(mark), 1);
}

#[tokio::test]
async fn the_box_stops_waiting_for_a_client_that_says_nothing() {
    let home = tempfile::tempdir().unwrap();
    let shell = postern_agent::shell::Shell::open(crate::the_box::settings(), home.path()).unwrap();
    let (_silent, stream) = tokio::io::duplex(1024);
    let guest = postern_agent::shell::Guest {
        access: postern_protocol::id::AccessId::from_entropy([1; 10]),
        login: crate::the_box::whoever_runs_this().name.parse().unwrap(),
        key: crate::the_box::make_key(&home.path().join("key")),
        visitor: "127.0.0.1:1".parse().unwrap(),
        allowed: std::sync::Arc::new(|| Ok(())),
        ended: tokio_util::sync::CancellationToken::new(),
    };
    tokio::time::pause();
    let begun = tokio::time::Instant::now();
    shell.serve(stream, guest).await;
    assert_eq!(begun.elapsed().as_secs(), 60);
}
