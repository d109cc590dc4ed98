//! Real servers, one process a connection, each on a port of its own.

use std::process::Command;

use tokio::net::TcpListener;

use super::*;
use crate::testing::{Sshd, host_key, public};

#[tokio::test]
async fn openssh_tells_every_host_key_that_it_has() {
    let home = tempfile::tempdir().unwrap();
    let keys = ["ed25519", "ecdsa", "rsa"].map(|kind| host_key(&home, kind));
    let server = Sshd::openssh(&keys).await;
    let found = find(&server.settings()).await.unwrap();
    assert_eq!(Some(found.address), server.settings().address);
    assert!(found.version.starts_with("OpenSSH_"), "{}", found.version);
    assert_eq!(found.host_keys, keys.map(|key| public(&key)));
}

#[tokio::test]
async fn any_exchange_will_do() {
    let home = tempfile::tempdir().unwrap();
    let key = host_key(&home, "ed25519");
    for exchange in [
        "curve25519-sha256",
        "curve25519-sha256@libssh.org",
        "ecdh-sha2-nistp256",
        "ecdh-sha2-nistp384",
        "ecdh-sha2-nistp521",
        "diffie-hellman-group14-sha256",
        "diffie-hellman-group14-sha1",
        "diffie-hellman-group16-sha512",
        "diffie-hellman-group18-sha512",
        "diffie-hellman-group-exchange-sha256",
        "diffie-hellman-group-exchange-sha1",
        "diffie-hellman-group1-sha1",
        "sntrup761x25519-sha512@openssh.com",
    ] {
        let server =
            Sshd::openssh_with(&[format!("-oKexAlgorithms={exchange}")], std::slice::from_ref(&key)).await;
        let found = find(&server.settings()).await.unwrap();
        assert_eq!(found.host_keys, [public(&key)], "{exchange}");
    }
}

#[tokio::test]
async fn dropbear_tells_its_host_key_too() {
    let home = tempfile::tempdir().unwrap();
    let key = home.path().join("key").display().to_string();
    let made = Command::new("dropbearkey").args(["-t", "ecdsa", "-f", &key]).output().unwrap();
    let made = String::from_utf8(made.stdout).unwrap();
    let line = made.lines().find(|line| line.starts_with("ecdsa-")).unwrap();
    let arguments = ["-i", "-r", &key].map(str::to_owned).to_vec();
    let server = Sshd::start("/usr/sbin/dropbear", arguments).await;
    let found = find(&server.settings()).await.unwrap();
    assert!(found.version.starts_with("dropbear_"), "{}", found.version);
    assert_eq!(found.host_keys, [PublicKey::parse(line).unwrap().key]);
}

#[tokio::test]
async fn what_is_no_ssh_server_is_not_found() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let settings = SshSettings { address: Some(silent.local_addr().unwrap()), ..SshSettings::default() };
    assert_eq!(find(&settings).await, None);
    drop(silent);
    assert_eq!(find(&settings).await, None);
}

#[tokio::test]
async fn our_own_server_is_never_taken_for_the_systems() {
    let arguments = ["SSH-2.0-Postern_9.9\\r\\n".to_owned()].to_vec();
    let server = Sshd::start("/usr/bin/printf", arguments).await;
    assert_eq!(find(&server.settings()).await, None);
}

#[tokio::test]
async fn who_wants_the_built_in_server_needs_no_other() {
    let home = tempfile::tempdir().unwrap();
    let server = Sshd::openssh(&[host_key(&home, "ed25519")]).await;
    let settings = SshSettings { server: SshChoice::Builtin, ..server.settings() };
    assert_eq!(find(&settings).await, None);
}

#[tokio::test]
async fn files_speak_for_a_server_that_does_not() {
    let home = tempfile::tempdir().unwrap();
    let key = host_key(&home, "ed25519");
    let arguments = ["SSH-2.0-Mute_1.0\\r\\n".to_owned()].to_vec();
    let server = Sshd::start("/usr/bin/printf", arguments).await;
    let settings = SshSettings { host_keys: Some(home.path().to_owned()), ..server.settings() };
    let found = find(&settings).await.unwrap();
    assert_eq!((found.version.as_str(), found.host_keys), ("Mute_1.0", vec![public(&key)]));
}
