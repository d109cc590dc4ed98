//! Who gets in, and for how long.

use std::fs;

use crate::the_box::{TheBox, make_key, stderr, stdout, succeeded, until};

#[tokio::test]
async fn the_accesss_own_key_opens_and_no_other_does() {
    let the_box = TheBox::start().await;
    succeeded(&the_box.run("true").await);
    fs::remove_file(the_box.path("key")).unwrap();
    make_key(&the_box.path("other"));
    fs::rename(the_box.path("other"), the_box.path("key")).unwrap();
    fs::rename(the_box.path("other.pub"), the_box.path("key.pub")).unwrap();
    let output = the_box.run("true").await;
    assert_eq!(output.status.code(), Some(255));
    assert!(stderr(&output).contains("Permission denied (publickey)"), "{}", stderr(&output));
}

#[tokio::test]
async fn the_key_opens_for_its_own_login_only() {
    let the_box = TheBox::start().await;
    for login in ["games", "nobody", "no-such-user", "ROOT"] {
        let output = the_box.ssh().args([&format!("{login}@127.0.0.1"), "true"]).output().await;
        assert!(stderr(&output).contains("Permission denied (publickey)"), "{login}: {}", stderr(&output));
    }
}

#[tokio::test]
async fn nothing_but_a_key_is_asked_for() {
    let the_box = TheBox::start().await;
    let ask = ["-v", "-o", "PubkeyAuthentication=no", "-o", "BatchMode=no", &the_box.target(), "true"];
    let output = the_box.ssh().args(ask).output().await;
    let said = stderr(&output);
    assert!(said.contains("Authentications that can continue: publickey\r\n"), "{said}");
}

#[tokio::test]
async fn every_kind_of_key_that_openssh_makes_opens() {
    for kind in
        [&["ed25519"][..], &["ecdsa", "-b256"], &["ecdsa", "-b384"], &["ecdsa", "-b521"], &["rsa", "-b2048"]]
    {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("key");
        let mut keygen = std::process::Command::new("ssh-keygen");
        keygen.args(["-q", "-N", "", "-t"]).args(kind).arg("-f").arg(&path);
        assert!(keygen.status().unwrap().success());
        let the_box = TheBox::for_key(&path).await;
        let output = the_box.run("echo in").await;
        assert_eq!(stdout(&output), "in\n", "{kind:?}: {}", stderr(&output));
    }
}

#[tokio::test]
async fn a_signature_with_sha1_does_not_count() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("key");
    let mut keygen = std::process::Command::new("ssh-keygen");
    assert!(keygen.args(["-q", "-N", "", "-t", "rsa", "-f"]).arg(&path).status().unwrap().success());
    let the_box = TheBox::for_key(&path).await;
    let old = ["-o", "PubkeyAcceptedAlgorithms=ssh-rsa", &the_box.target(), "true"];
    assert!(!the_box.ssh().args(old).output().await.status.success());
}

#[tokio::test]
async fn only_modern_algorithms_are_offered() {
    let the_box = TheBox::start().await;
    for weak in [
        "KexAlgorithms=diffie-hellman-group14-sha256",
        "KexAlgorithms=ecdh-sha2-nistp256",
        "Ciphers=aes128-cbc",
        "MACs=hmac-sha1",
        "HostKeyAlgorithms=ssh-rsa",
    ] {
        // Ciphers with their own authentication would make a weak MAC irrelevant.
        let cipher = if weak.starts_with("MACs") { "Ciphers=aes128-ctr" } else { "Compression=no" };
        let output = the_box.ssh().args(["-o", cipher, "-o", weak, &the_box.target(), "true"]).output().await;
        assert!(stderr(&output).contains("no matching"), "{weak}: {}", stderr(&output));
    }
    let modern = ["-o", "Compression=yes", "-o", "Ciphers=aes256-gcm@openssh.com", &the_box.target(), "true"];
    succeeded(&the_box.ssh().args(modern).output().await);
}

#[tokio::test]
async fn an_access_that_is_revoked_lets_no_second_channel_in() {
    let the_box = TheBox::start().await;
    let control = format!("ControlPath={}", the_box.path("control").display());
    let mut master = the_box.ssh().args(["-M", "-N", "-o", &control, &the_box.target()]).spawn();
    until("the connection is shared", || the_box.path("control").exists()).await;
    let second = || the_box.ssh().args(["-o", &control, &the_box.target(), "echo in"]);
    assert_eq!(stdout(&second().output().await), "in\n");

    the_box.revoke();
    let refused = second().output().await;
    assert!(!stdout(&refused).contains("in"), "{refused:?}");
    assert!(!refused.status.success());
    assert!(master.try_wait().unwrap().is_none(), "the connection itself is its owner's to end");
    // And no new connection either.
    assert!(stderr(&the_box.run("true").await).contains("Permission denied"));
}

#[tokio::test]
async fn a_visit_that_is_ended_from_outside_is_told_why_and_leaves_nothing() {
    let the_box = TheBox::start().await;
    let client = the_box.ssh().args([&the_box.target(), "echo in; exec sleep 4711.25"]).spawn();
    until("the program runs", || !crate::the_box::running("4711.25").is_empty()).await;
    the_box.revoke();
    let begun = std::time::Instant::now();
    the_box.ended.cancel();
    let output = client.wait_with_output().await.unwrap();
    assert!(begun.elapsed().as_millis() < 1000, "{:?}", begun.elapsed());
    assert!(stderr(&output).contains("the access was revoked"), "{}", stderr(&output));
    the_box.deserted().await;
    assert!(crate::the_box::running("4711.25").is_empty());
}

#[tokio::test]
async fn the_host_key_is_the_same_after_a_restart() {
    let home = tempfile::tempdir().unwrap();
    let open = || postern_agent::shell::Shell::open(crate::the_box::settings(), home.path()).unwrap();
    let first = open();
    assert_eq!(first.host_key(), open().host_key());
    assert!(first.version().starts_with("Postern_"));
}
