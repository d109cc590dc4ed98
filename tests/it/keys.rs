//! Every type of key, from each program that makes keys, opens its access: at the gate, at sshd and at
//! the built-in server.

use std::fs;
use std::path::Path;
use std::process::Command;

use postern_protocol::api::{Access, AccessStatus};
use postern_tests::fido::{FidoKey, FidoKind};
use postern_tests::program::finish;
use postern_tests::{Client, Key, Machine, Server, Stack, Visitor};

/// The types of keys that an access can be for, as both key generators name them.
const KINDS: [&[&str]; 6] = [
    &["ed25519"],
    &["ecdsa", "-b", "256"],
    &["ecdsa", "-b", "384"],
    &["ecdsa", "-b", "521"],
    &["rsa", "-b", "2048"],
    &["rsa", "-b", "4096"],
];

#[tokio::test]
async fn every_type_of_key_that_ssh_keygen_makes_opens_its_access() {
    let boxes = Boxes::add().await;
    for kind in KINDS {
        let key = Key::by_ssh_keygen(boxes.new_file(), kind).await;
        for machine in &boxes.machines {
            let access = boxes.allow(machine, &key.public()).await;
            let answer = boxes.stack.ssh(&access).with_key(&key).run("echo in").await;
            assert_eq!(answer.success(), "in\n", "{kind:?} at {}", machine.name());
        }
    }
}

#[tokio::test]
async fn every_type_of_key_that_puttygen_makes_opens_its_access_in_each_format() {
    let boxes = Boxes::add().await;
    for kind in KINDS {
        let key = Key::by_puttygen(boxes.new_file(), kind).await;
        let formats = [key.public(), key.puttygen(&["-p"]).await];
        assert!(formats[1].starts_with("---- BEGIN SSH2 PUBLIC KEY ----"), "{}", formats[1]);
        for (machine, pasted) in boxes.machines.iter().zip(formats) {
            let access = boxes.allow(machine, &pasted).await;
            let visitor = Visitor::new(boxes.stack.scene(), Client::Putty, &access, &key).await;
            let answer = finish(visitor.run("echo in")).await;
            assert_eq!(answer.success(), "in\n", "{kind:?} at {}", machine.name());
        }
    }
}

#[tokio::test]
async fn rsa_signs_with_sha2_and_never_with_sha1() {
    let boxes = Boxes::add().await;
    let key = Key::by_ssh_keygen(boxes.new_file(), &["rsa", "-b", "2048"]).await;
    for machine in &boxes.machines {
        let access = boxes.allow(machine, &key.public()).await;
        let ssh = boxes.stack.ssh(&access).with_key(&key);
        for (signature, opens) in [("rsa-sha2-512", true), ("rsa-sha2-256", true), ("ssh-rsa", false)] {
            let output = finish(signing_with(ssh.program("ssh"), signature, ssh.host())).await;
            assert_eq!(output.stdout == "in\n", opens, "{signature} at {}: {output:?}", machine.name());
        }
    }
}

/// The same for both hops: what stands on the command line does not reach the gate.
fn signing_with(mut ssh: Command, signature: &str, host: &str) -> Command {
    let config = ssh.get_args().nth(1).expect("-F and a configuration").to_owned();
    let text = fs::read_to_string(&config).expect("the configuration");
    fs::write(&config, format!("PubkeyAcceptedAlgorithms {signature}\n{text}")).expect("it is ours");
    ssh.args([host, "echo in"]);
    ssh
}

#[tokio::test]
async fn a_touched_security_key_opens_its_access() {
    let boxes = Boxes::add().await;
    for kind in [FidoKind::Ed25519, FidoKind::Ecdsa] {
        let key = FidoKey::new(boxes.stack.scene(), kind);
        for machine in &boxes.machines {
            let access = boxes.allow(machine, &key.public()).await;
            assert_eq!(access.status, AccessStatus::Active, "{}", access.status_reason);
            let ssh = boxes.stack.ssh(&access).with_key_file(key.path()).with_agent(key.agent());
            let answer = ssh.run("echo in").await;
            assert_eq!(answer.success(), "in\n", "{kind:?} at {}", machine.name());
        }
    }
}

#[tokio::test]
async fn no_private_key_is_accepted_whoever_wrote_it() {
    let stack = Stack::start().await;
    let box42 = stack.add_box("box42").await;
    let dir = stack.scene().new_dir("keys");
    let state = stack.scene().path("postern-api/state");
    for (format, private) in private_keys(&dir).await {
        let mut access = stack.usual(&box42);
        access.public_key = Some(private.clone());
        let refusal = stack.api.create_access(&access).await.expect_err(format);
        assert_eq!(refusal.code, "private_key", "{format}: {refusal:?}");
        let told = serde_json::to_string(&refusal).expect("a problem is JSON");
        assert!(told.contains(format), "{format} is not named: {told}");
        for line in private.lines().filter(|line| line.len() > 40) {
            assert!(!told.contains(line), "{format}: what may be secret is not repeated");
            assert!(!kept(&state, line.as_bytes()), "{format}: it is stored");
        }
    }
    // A public key is found where private ones were looked for in vain.
    stack.allow(&box42).await;
    assert!(kept(&state, b"visitor@test"));
}

/// A private key in every format that the two generators write, by the name that people know.
async fn private_keys(dir: &Path) -> Vec<(&'static str, String)> {
    let putty = Key::by_puttygen(dir.join("putty"), &["rsa", "-b", "2048"]).await;
    let mut keys = Vec::new();
    for (format, options) in [
        ("PuTTY .ppk", &["-O", "private", "--reencrypt"][..]),
        ("PuTTY .ppk", &["-O", "private", "--reencrypt", "--ppk-param", "version=2"]),
        ("OpenSSH", &["-O", "private-openssh-new"]),
        ("PEM", &["-O", "private-openssh"]),
        ("ssh.com", &["-O", "private-sshcom"]),
    ] {
        keys.push((format, putty.puttygen(options).await));
    }
    for (format, name) in [("OpenSSH", "RFC4716"), ("PEM", "PEM"), ("PEM", "PKCS8")] {
        let key = Key::by_ssh_keygen(dir.join(name), &["ecdsa", "-m", name]).await;
        keys.push((format, fs::read_to_string(key.path()).expect("ssh-keygen wrote it")));
    }
    keys
}

/// Whether something stands in any file below a folder.
fn kept(folder: &Path, bytes: &[u8]) -> bool {
    fs::read_dir(folder).expect("a folder").any(|entry| {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => kept(&path, bytes),
            // A file may go while others are looked at.
            false => fs::read(&path).unwrap_or_default().windows(bytes.len()).any(|window| window == bytes),
        }
    })
}

/// A box with sshd, and one with nothing but the agent.
struct Boxes {
    stack: Stack,
    machines: [Machine; 2],
}

impl Boxes {
    async fn add() -> Self {
        let stack = Stack::start().await;
        let machines = [
            stack.add_box_running("box42", Server::Sshd).await,
            stack.add_box_running("box43", Server::Builtin).await,
        ];
        Self { stack, machines }
    }

    fn new_file(&self) -> std::path::PathBuf {
        self.stack.scene().new_dir("key").join("id")
    }

    async fn allow(&self, machine: &Machine, key: &str) -> Access {
        self.stack.allow_with(machine, |access| access.public_key = Some(key.into())).await
    }
}
