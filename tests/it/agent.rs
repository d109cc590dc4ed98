//! What the agent does on its box, and what it leaves alone.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use postern_protocol::api::{ConfirmHostKeys, Device, DeviceStatus};
use postern_tests::machine::{FOREIGN_LINE, own_login};
use postern_tests::program::binary;
use postern_tests::sshd::Sshd;
use postern_tests::{AT_ONCE, Machine, SOON, Stack, eventually};

#[tokio::test]
async fn a_key_is_on_the_box_for_as_long_as_its_access_lives() {
    let stack = Stack::start().await;
    let box42 = stack.add_box("box42").await;
    let access = stack.allow_for(&box42, "1h").await;

    has_keys(&box42, 1).await;
    let keys = box42.keys();
    let line = keys.lines().find(|line| line.contains("ssh-ed25519")).expect("a line with the key");
    let expiry = access.expires_at.format("expiry-time=\"%Y%m%d%H%M%SZ\"").to_string();
    for option in ["from=\"127.0.0.1,::1\"", "restrict", &expiry] {
        assert!(line.contains(option), "{option} is missing: {line}");
    }
    stack.api.revoke(access.id).await;
    has_keys(&box42, 0).await;
}

#[tokio::test]
async fn lines_of_others_and_the_files_mode_are_left_alone() {
    let stack = Stack::start().await;
    let box42 = stack.add_box("box42").await;
    let others = format!("{FOREIGN_LINE}\n\n  # indented\nssh-rsa AAAAB3 somebody\r\nno newline at the end");
    fs::write(box42.keys_file(), &others).expect("the owner writes");
    fs::set_permissions(box42.keys_file(), Permissions::from_mode(0o640)).expect("the owner decides");

    let access = stack.allow(&box42).await;
    has_keys(&box42, 1).await;
    assert!(box42.keys().starts_with(&others), "{}", box42.keys());
    assert_eq!(mode(box42.keys_file()), 0o640);
    stack.api.revoke(access.id).await;
    has_keys(&box42, 0).await;
    assert_eq!(box42.keys().trim_end(), others);
    assert_eq!(mode(box42.keys_file()), 0o640);
}

#[tokio::test]
async fn a_key_opens_only_the_login_that_its_access_names() {
    let stack = Stack::start().await;
    let box42 = stack.add_box("box42").await;
    let access = stack.allow_with(&box42, |access| {
        access.login = Some("somebody-else".parse().expect("a login"));
    });
    let access = access.await;
    // The box manages no file of that login, so the key stands nowhere.
    let output = stack.ssh(&access).to(&format!("{}@box42", own_login())).run("true").await;
    assert_eq!(output.code, 255, "{output:?}");
    assert!(output.stderr.contains("Permission denied"), "{output:?}");
    has_keys(&box42, 0).await;
}

#[tokio::test]
async fn sshd_may_ask_the_agent_instead_of_a_file() {
    let stack = Stack::start().await;
    let config = stack.scene().path("box42").join("config.toml");
    // sshd wants the command itself to lie where only root can write; `env` does.
    let command =
        format!("{} --config {} authorized-keys %u", binary("postern-agent").display(), config.display());
    let lines = format!(
        "AuthorizedKeysFile none\nAuthorizedKeysCommand /usr/bin/env {command}\nAuthorizedKeysCommandUser {}",
        own_login()
    );
    let sshd = Sshd::with(stack.scene(), &lines).await;
    let (address, host_keys) = (sshd.address(), sshd.host_keys_dir().display());
    let ssh = format!(
        "ssh = {{ server = 'system', address = '{address}', host_keys = '{host_keys}' }}\nkeys = {{}}"
    );
    let box42 = stack.add_box_with("box42", &ssh).await;

    let access = stack.allow(&box42).await;
    let visitor = stack.ssh(&access);
    assert_eq!(visitor.run("echo in").await.success(), "in\n");
    assert_eq!(box42.run(&["authorized-keys", "nobody"]).await.success(), "");
    stack.api.revoke(access.id).await;
    eventually("the agent names no key", AT_ONCE, async || {
        box42.run(&["authorized-keys", &own_login()]).await.success().is_empty().then_some(())
    })
    .await;
    assert_eq!(box42.keys().trim(), FOREIGN_LINE, "no file was touched");
}

#[tokio::test]
async fn a_pause_outlives_the_agent() {
    let stack = Stack::start().await;
    let mut box42 = stack.add_box("box42").await;
    let access = stack.allow(&box42).await;
    box42.run(&["pause"]).await.success();
    box42.kill();
    box42.start();
    let ssh = stack.ssh(&access);
    eventually("the box is back, and paused", SOON, async || {
        ssh.run("true").await.stderr.contains("the box is paused by its owner").then_some(())
    })
    .await;
    has_keys(&box42, 0).await;
    let device = stack.api.device("box42").await;
    assert!(device.facts.is_some_and(|facts| facts.paused));
}

#[tokio::test]
async fn a_join_string_works_once() {
    let stack = Stack::start().await;
    let (box42, string) = stack.add_box_offline("box42").await;
    assert_eq!(stack.api.device("box42").await.status, DeviceStatus::WaitingToJoin);
    box42.join(&string).await.success();

    let thief = stack.another_machine("thief", box42.id()).await;
    let output = thief.join(&string).await;
    assert_ne!(output.code, 0, "{output:?}");
    assert!(!thief.state_dir().join("member.json").exists());
}

#[tokio::test]
async fn a_join_string_that_is_damaged_or_for_another_authority_is_refused_in_words() {
    let stack = Stack::start().await;
    let other = Stack::start().await;
    let (box42, string) = stack.add_box_offline("box42").await;

    let half = box42.join(&string[..string.len() / 2]).await;
    assert!(half.code != 0 && half.stderr.contains("damaged"), "{half:?}");
    let not_one = box42.join("hello").await;
    assert!(not_one.code != 0 && not_one.stderr.contains("postern device add"), "{not_one:?}");

    let (_, elsewhere) = other.add_box_offline("box42").await;
    let mixed = mix(&string, &elsewhere);
    let impostor = box42.join(&mixed).await;
    assert_ne!(impostor.code, 0, "the relay is not the one whose authority is pinned: {impostor:?}");
    box42.join(&string).await.success();
}

#[tokio::test]
async fn joining_again_puts_the_first_key_out_at_once() {
    let stack = Stack::start().await;
    let box42 = stack.add_box("box42").await;
    let access = stack.allow(&box42).await;
    let mut session = stack.ssh(&access).open().await;

    let again: Device = stack.api.post("/v1/devices/box42/join", &()).await.expect("a box can join again");
    let join = again.join.expect("a new join string");
    let mut replacement = stack.another_machine("replacement", box42.id()).await;
    replacement.join(&join.string).await.success();
    session.cut(SOON).await;
    replacement.start();
    eventually("the new box is online", SOON, async || {
        let device = stack.api.device("box42").await;
        let new_keys =
            fs::read_to_string(replacement.sshd().host_keys_dir().join("ssh_host_ed25519_key.pub"));
        let new_key = new_keys.expect("a host key").split(' ').nth(1).map(str::to_owned).expect("its base64");
        device.host_keys.iter().any(|key| key.key.contains(&new_key)).then_some(())
    })
    .await;

    let doubted = stack.api.access(access.id).await;
    assert!(
        doubted.connection.as_ref().is_some_and(|connection| connection.warning.is_some()),
        "{doubted:?}"
    );
    let refused = stack.ssh(&doubted).run("echo in").await;
    assert!(refused.code == 255 && refused.stderr.contains("verification failed"), "{refused:?}");
    let shown = stack.api.device("box42").await;
    let fingerprints = shown.host_keys.into_iter().map(|key| key.fingerprint).collect();
    let seen = ConfirmHostKeys { fingerprints };
    let confirmed: Result<Device, _> = stack.api.post("/v1/devices/box42/host-keys/confirm", &seen).await;
    assert!(confirmed.is_ok_and(|device| device.former_host_keys.is_none()));
    let access = stack.api.access(access.id).await;
    assert_eq!(stack.ssh(&access).run("echo in").await.success(), "in\n");
}

#[tokio::test]
async fn the_agent_listens_on_no_network() {
    let stack = Stack::start().await;
    let mut box42 = stack.add_box("box42").await;
    let pid = box42.process().pid().to_string();
    let inodes: Vec<String> = fs::read_dir(Path::new("/proc").join(&pid).join("fd"))
        .expect("a running process has open files")
        .filter_map(|fd| fs::read_link(fd.ok()?.path()).ok())
        .filter_map(|target| Some(target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    assert!(!inodes.is_empty(), "it has sockets");
    for table in ["tcp", "tcp6"] {
        let sockets = fs::read_to_string(Path::new("/proc/net").join(table)).unwrap_or_default();
        for socket in sockets.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>()) {
            let listening = socket[3] == "0A";
            assert!(!(listening && inodes.iter().any(|inode| inode == socket[9])), "{socket:?}");
        }
    }
}

#[tokio::test]
async fn what_a_box_keeps_is_for_its_owner_alone() {
    let stack = Stack::start().await;
    let box42 = stack.add_box("box42").await;
    assert_eq!(mode(&box42.state_dir()), 0o700);
    for file in fs::read_dir(box42.state_dir()).expect("a state directory") {
        let path = file.expect("a file").path();
        assert_eq!(mode(&path) & 0o077, 0, "{}", path.display());
    }
}

#[tokio::test]
async fn status_says_how_it_stands() {
    let stack = Stack::start().await;
    let mut box42 = stack.add_box("box42").await;
    let access = stack.allow(&box42).await;
    let status = box42.run(&["status"]).await.success();
    for word in ["box42", "connected", access.id.as_str()] {
        assert!(status.contains(word), "{word:?} is missing:\n{status}");
    }
    let json: serde_json::Value =
        serde_json::from_str(&box42.run(&["status", "--json"]).await.success()).expect("JSON");
    assert!(json.is_object());

    box42.stop().await;
    let gone = box42.run(&["status"]).await;
    assert_ne!(gone.code, 0, "{gone:?}");
}

/// Waits until the keys file has so many visitors' keys.
async fn has_keys(machine: &Machine, count: usize) {
    eventually(&format!("{count} keys on the box"), SOON, async || {
        (machine.keys().matches("ssh-ed25519").count() == count).then_some(())
    })
    .await;
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap_or_else(|e| panic!("{}: {e}", path.display())).mode() & 0o7777
}

/// A join string with the token and the relay of one installation, and the authority of another.
fn mix(string: &str, other: &str) -> String {
    use postern_protocol::join::JoinString;
    let mut join: JoinString = string.parse().expect("a join string");
    join.authority = other.parse::<JoinString>().expect("a join string").authority;
    join.to_string()
}
