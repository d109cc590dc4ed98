//! Which server is chosen, and when it is asked again.

use std::path::PathBuf;

use postern_protocol::ssh_key::PublicKey;
use tempfile::TempDir;

use super::*;
use crate::testing::{Sshd, host_key, public};

fn system() -> Server {
    let address = "127.0.0.1:22".parse().unwrap();
    Server::System(Found { address, version: "OpenSSH_9.2p1".into(), host_keys: Vec::new() })
}

#[cfg(feature = "shell")]
#[test]
fn the_system_has_precedence_and_is_not_given_up_at_once() {
    let cases = [
        (SshChoice::Auto, true, Server::Nothing, 0, Choice::Found),
        (SshChoice::Auto, false, Server::Nothing, 1, Choice::Builtin),
        (SshChoice::Auto, false, system(), MISSES - 1, Choice::Present),
        (SshChoice::Auto, false, system(), MISSES, Choice::Builtin),
        (SshChoice::System, true, Server::Nothing, 0, Choice::Found),
        (SshChoice::System, false, Server::Nothing, 9, Choice::Nothing),
        (SshChoice::System, false, system(), 9, Choice::Present),
        (SshChoice::Builtin, true, Server::Nothing, 0, Choice::Builtin),
    ];
    for (settings, found, present, misses, choice) in cases {
        assert_eq!(choose(settings, found, &present, misses), choice, "{settings:?} {found} {misses}");
    }
}

#[cfg(not(feature = "shell"))]
#[test]
fn without_a_server_of_ones_own_the_systems_is_waited_for() {
    for (present, choice) in [(Server::Nothing, Choice::Nothing), (system(), Choice::Present)] {
        assert_eq!(choose(SshChoice::Auto, false, &present, MISSES), choice);
    }
}

/// What a server is followed by, which has been looked at twice.
async fn looked_twice<'a>(settings: &'a SshSettings, home: &'a TempDir) -> (Lookout<'a>, Server) {
    let mut lookout = Lookout::new(settings, home.path());
    let first = lookout.look(Server::Nothing).await;
    let second = lookout.look(first).await;
    (lookout, second)
}

/// A folder with a host key.
fn keys() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let key = host_key(&dir, "ed25519");
    (dir, key)
}

fn host_keys(server: &Server) -> Vec<PublicKey> {
    server.describe().unwrap().host_keys
}

#[tokio::test]
async fn a_server_that_looks_the_same_is_not_asked_again() {
    let (home, (_dir, key)) = (tempfile::tempdir().unwrap(), keys());
    let server = Sshd::openssh(&[key]).await;
    let settings = server.settings();
    let (mut lookout, present) = looked_twice(&settings, &home).await;
    let asked = server.asked();
    let again = lookout.look(present.clone()).await;
    assert_eq!(again.describe(), present.describe());
    assert_eq!(server.asked(), asked);
}

#[tokio::test]
async fn a_server_whose_key_files_change_is_asked() {
    let (home, (dir, key)) = (tempfile::tempdir().unwrap(), keys());
    let server = Sshd::openssh(std::slice::from_ref(&key)).await;
    let settings = SshSettings { host_keys: Some(dir.path().to_owned()), ..server.settings() };
    let (mut lookout, present) = looked_twice(&settings, &home).await;
    for file in [&key, &key.with_extension("pub")] {
        std::fs::remove_file(file).unwrap();
    }
    host_key(&dir, "ed25519");
    assert_eq!(host_keys(&lookout.look(present).await), [public(&key)]);
}

#[tokio::test]
async fn a_server_that_listens_anew_is_asked() {
    let (home, (_dir, key), (_other_dir, other)) = (tempfile::tempdir().unwrap(), keys(), keys());
    let server = Sshd::openssh(&[key]).await;
    let settings = server.settings();
    let (mut lookout, present) = looked_twice(&settings, &home).await;
    let _server = server.restarted(std::slice::from_ref(&other)).await;
    assert_eq!(host_keys(&lookout.look(present).await), [public(&other)]);
}

#[cfg(feature = "shell")]
#[tokio::test]
async fn a_server_that_listens_no_more_is_missed() {
    let (home, (_dir, key)) = (tempfile::tempdir().unwrap(), keys());
    let server = Sshd::openssh(&[key]).await;
    let settings = server.settings();
    let (mut lookout, mut present) = looked_twice(&settings, &home).await;
    server.stop().await;
    for _ in 1..MISSES {
        present = lookout.look(present).await;
        assert!(matches!(present, Server::System(_)));
    }
    assert!(matches!(lookout.look(present).await, Server::Builtin(_)));
}
