//! Visitors are who their access says they are on the box, and nobody more.

use postern_agent::shell::Settings;
use postern_protocol::id::Login;

use crate::the_box::{TheBox, settings, stderr, stdout};

/// An account that Debian has, which may not log in unless it is listed.
const SOMEBODY: &str = "games";

fn listed(login: &str) -> Settings {
    Settings { system_accounts: vec![login.parse::<Login>().unwrap()], ..settings() }
}

#[tokio::test]
async fn a_system_account_is_refused_unless_it_is_listed() {
    let the_box = TheBox::with(SOMEBODY, settings()).await;
    let output = the_box.run("id").await;
    assert_eq!(output.status.code(), Some(255));
    assert!(stderr(&output).contains("'games' is a system account"), "{}", stderr(&output));
    assert_eq!(stdout(&output), "");
    // Nor does it forward.
    let output = the_box.ssh().args(["-W", "127.0.0.1:22", &the_box.target()]).output().await;
    assert!(stderr(&output).contains("is a system account"), "{}", stderr(&output));
}

#[tokio::test]
async fn a_shell_that_refuses_logins_refuses_them_here() {
    for sftp_servers in [settings().sftp_servers, vec![]] {
        let the_box = TheBox::with(SOMEBODY, Settings { sftp_servers, ..listed(SOMEBODY) }).await;
        let output = the_box.run("id").await;
        assert_eq!(output.status.code(), Some(1));
        assert!(stdout(&output).contains("not available"), "{}", stdout(&output));
        let sftp = the_box.client("sftp").args(["-P", &the_box.port(), "-b", "-", &the_box.target()]);
        assert!(!sftp.input("ls /\n").output().await.status.success());
    }
}

#[tokio::test]
async fn an_unknown_user_is_told_so_after_the_key_is_proved() {
    let output = TheBox::with("no-such-user", settings()).await.run("id").await;
    assert!(stderr(&output).contains("there is no user 'no-such-user'"), "{}", stderr(&output));
}
