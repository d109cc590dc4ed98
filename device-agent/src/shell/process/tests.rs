//! Programs as another user, which takes root to show.

use nix::unistd::{Gid, Uid};
use tokio::io::AsyncReadExt;

use super::*;
use crate::shell::terminal::{self, Wanted};

/// An account that every Debian has, with a shell that lets things be run as it.
fn games() -> Account {
    let (uid, gid) = (Uid::from_raw(5), Gid::from_raw(60));
    Account {
        name: "games".into(),
        uid,
        gid,
        groups: vec![gid, Gid::from_raw(20)],
        home: "/usr/games".into(),
        shell: "/bin/sh".into(),
        differs: true,
    }
}

/// What a command says as another user; nothing if this is no root's test.
async fn says(line: &str) -> Option<String> {
    if !Uid::effective().is_root() {
        return None;
    }
    let what = What::Command(line.into());
    let variables = vec![("PATH".into(), "/usr/bin:/bin".into())];
    let (mut program, mut pipes) = Program::on_pipes(what, &games(), variables).unwrap();
    let mut said = String::new();
    pipes.stdout.read_to_string(&mut said).await.unwrap();
    assert!(program.wait().await.unwrap().success());
    Some(said)
}

#[tokio::test]
async fn a_program_is_its_user_with_all_groups_and_cannot_go_back() {
    if let Some(said) = says("id -u; id -ru; id -g; id -G; pwd; cat /etc/shadow 2>/dev/null; true").await {
        assert_eq!(said, "5\n5\n60\n60 20\n/usr/games\n");
    }
}

#[tokio::test]
async fn a_program_inherits_nothing_but_its_three_ends() {
    if let Some(said) =
        says("ls -l /proc/$$/fd | grep -c -- '->'; env | cut -d= -f1 | sort | tr '\\n' ' '").await
    {
        assert_eq!(said, "3\nPATH PWD ");
    }
}

#[tokio::test]
async fn a_terminal_belongs_to_its_user() {
    if !Uid::effective().is_root() {
        return;
    }
    let wanted = Wanted::new("xterm", terminal::size(80, 24, 0, 0), vec![]).unwrap();
    let (master, device) = terminal::open(&wanted, &games()).unwrap();
    let what = What::Command(b"test -O $(tty) && tty; stty size".into());
    let variables = vec![("PATH".into(), "/usr/bin:/bin".into())];
    let path = device.path().display().to_string();
    let mut program = Program::on_terminal(what, &games(), variables, device).unwrap();
    let mut said = Vec::new();
    let mut buffer = [0; 1024];
    while let Ok(read @ 1..) = master.read(&mut buffer).await {
        said.extend_from_slice(&buffer[..read]);
    }
    assert_eq!(String::from_utf8(said).unwrap(), format!("{path}\r\n24 80\r\n"));
    assert!(program.wait().await.unwrap().success());
}

#[tokio::test]
async fn a_program_that_is_dropped_is_gone() {
    let own = Account { differs: false, home: "/".into(), ..games() };
    let what = What::Command(b"sleep 4721.5 & echo $$; wait".into());
    let (program, mut pipes) =
        Program::on_pipes(what, &own, vec![("PATH".into(), "/usr/bin:/bin".into())]).unwrap();
    let mut line = [0; 16];
    assert!(pipes.stdout.read(&mut line).await.unwrap() > 0);
    drop(program);
    // Both of them held it.
    assert_eq!(pipes.stdout.read(&mut line).await.unwrap(), 0);
}
