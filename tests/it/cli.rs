//! What a person types.

use std::fs;

use postern_protocol::api::{Access, AccessStatus, Device, DeviceStatus, Page, VerifyAnswer, Visit};
use postern_protocol::connection::Form;
use postern_tests::program::{binary, finish};
use postern_tests::{AT_ONCE, Machine, Output, Person, Stack};
use serde::de::DeserializeOwned;

#[tokio::test]
async fn from_a_new_box_to_its_shell_and_out_again() {
    let (stack, person) = person_with_settings().await;
    let printed = person.postern(&["device", "add", "box42"]).await.success();
    let line =
        printed.lines().find(|line| line.contains("postern-agent join ")).expect("the line for the box");
    let string = line.split_whitespace().last().expect("it ends with the join string").trim_matches('\'');

    let device: Device = json(&person.postern(&["device", "show", "box42", "--json"]).await);
    let mut box42 = stack.another_machine("box42", device.id).await;
    box42.join(string).await.success();
    box42.start();
    box42.becomes(DeviceStatus::Online, &stack.api).await;

    let added = person.postern(&["access", "add", "box42", "--for", "2h"]).await;
    for progress in ["rule signed", "in force on relay-1 after", "box42 has it after"] {
        assert!(added.stderr.contains(progress), "{progress:?} is missing: {added:?}");
    }
    let access = only_access(&person).await;
    assert_eq!(added.success().trim(), access.connection.as_ref().expect("a way in").command);
    let ssh = stack.ssh(&access).with_key(person.key());
    assert_eq!(ssh.run_printed("echo in").await.success(), "in\n");

    let mut session = ssh.open().await;
    person.postern(&["access", "rm", access.id.as_str()]).await.success();
    session.cut(AT_ONCE).await;
}

#[tokio::test]
async fn postern_ssh_goes_there_by_itself() {
    let (stack, person, box42) = person_with_a_box().await;
    let first = person.postern(&["ssh", "box42", "echo", "there;", "exit", "7"]).await;
    assert_eq!((first.code, &*first.stdout), (7, "there\n"), "{first:?}");
    let access = only_access(&person).await;
    let second = person.postern(&["ssh", "box42", "--", "-T", "echo again"]).await;
    assert_eq!(second.success(), "again\n");
    assert_eq!(only_access(&person).await.id, access.id, "the access that was there is used again");
    stack.visits(access.id, 2).await;
    drop(box42);
}

#[tokio::test]
async fn ssh_finds_every_box_by_its_name() {
    let (_stack, person, _box42) = person_with_a_box().await;
    person.postern(&["access", "add", "box42"]).await.success();
    person.postern(&["ssh-config", "--install"]).await.success();
    person.postern(&["ssh-config", "--install"]).await.success();
    let config = fs::read_to_string(person.home().join(".ssh/config")).expect("ssh's configuration");
    assert_eq!(config.matches("Include").count(), 1, "{config}");

    let mut ssh = std::process::Command::new("ssh");
    person.equip(&mut ssh);
    // ssh asks the system where home is, not the environment; so it is told.
    ssh.arg("-F").arg(person.home().join(".ssh/config")).args([
        "-o",
        "BatchMode=yes",
        "box42.postern",
        "echo in",
    ]);
    assert_eq!(finish(ssh).await.success(), "in\n");
}

#[tokio::test]
async fn verify_answers_with_its_exit_status() {
    let (_stack, person, _box42) = person_with_a_box().await;
    person.postern(&["access", "add", "box42"]).await.success();
    let key = format!("{}.pub", person.key().path().display());
    let ask = async |from: &str, format: &[&str]| {
        let words = ["verify", "box42", "--from", from, "--key", &key];
        person.postern(&[&words, format].concat()).await
    };

    let allowed = ask("127.0.0.1", &[]).await;
    assert!(allowed.code == 0 && allowed.stdout.starts_with("allow"), "{allowed:?}");
    let denied = ask("192.0.2.1", &[]).await;
    assert!(denied.code == 1 && denied.stdout.contains("address not allowed: 192.0.2.1"), "{denied:?}");
    let answer = ask("192.0.2.1", &["--json"]).await;
    assert_eq!(
        serde_json::from_str::<VerifyAnswer>(&answer.stdout).expect("JSON").code,
        "address_not_allowed"
    );
}

#[tokio::test]
async fn every_form_of_connecting_is_printed_as_the_api_has_it() {
    let (_stack, person, _box42) = person_with_a_box().await;
    person.postern(&["access", "add", "box42"]).await.success();
    let access = only_access(&person).await;
    let forms = access.connection.expect("a way in").forms;
    assert_eq!(forms.len(), Form::ALL.len());
    for (form, text) in forms {
        let printed = person.postern(&["access", "show", access.id.as_str(), "--for", &form]).await;
        assert_eq!(printed.success().trim_end(), text, "{form}");
    }
}

#[tokio::test]
async fn visits_say_who_came_and_why_they_were_refused() {
    let (stack, person, _box42) = person_with_a_box().await;
    person.postern(&["access", "add", "box42"]).await.success();
    let access = only_access(&person).await;
    let ssh = stack.ssh(&access).with_key(person.key());
    ssh.run("true").await.success();
    ssh.from("127.0.0.9").run("true").await;
    stack.visits(access.id, 2).await;

    let table = person.postern(&["visits"]).await.success();
    for word in ["box42", "127.0.0.9", "refused", "address not allowed", "ended"] {
        assert!(table.contains(word), "{word:?} is missing:\n{table}");
    }
    let refused: Page<Visit> = json(&person.postern(&["visits", "--outcome", "refused", "--json"]).await);
    assert_eq!(refused.items.len(), 1);
}

#[tokio::test]
async fn exit_codes_are_those_that_are_documented() {
    let (mut stack, person) = person_with_settings().await;
    let api = stack.api.url();
    assert_eq!(person.postern(&["access", "add"]).await.code, 2);
    assert_eq!(person.postern(&["device", "show", "box42"]).await.code, 5);
    person.postern(&["device", "add", "box42"]).await.success();
    let near = person.postern(&["device", "show", "box43"]).await;
    assert!(near.code == 5 && near.stderr.contains("box42"), "{near:?}");
    assert_eq!(person.postern(&["device", "add", "box42"]).await.code, 6);

    person.configure(&format!("api = '{api}'\ntoken = 'pst_wrong'\n"), 0o600);
    let wrong = person.postern(&["device", "list"]).await;
    assert_eq!(wrong.code, 4, "{wrong:?}");
    stack.control.stop().await;
    let gone = person.postern(&["device", "list"]).await;
    assert!(gone.code == 3 && gone.stderr.contains(&api), "{gone:?}");
}

#[tokio::test]
async fn a_token_that_others_can_read_is_not_used() {
    let stack = Stack::start().await;
    let person = Person::new(stack.scene()).await;
    person.configure(&settings(&stack), 0o644);
    let refused = person.postern(&["device", "list"]).await;
    assert!(refused.code != 0 && refused.stderr.contains("600"), "{refused:?}");
    assert!(!refused.stderr.contains(stack.api.token().reveal()));

    let mut by_variable = person.command(&["device", "list"]);
    fs::remove_file(person.home().join(".config/postern/config.toml")).expect("the settings are gone");
    by_variable.env("POSTERN_API", stack.api.url()).env("POSTERN_TOKEN", stack.api.token().reveal());
    finish(by_variable).await.success();
}

#[tokio::test]
async fn a_private_key_is_refused_and_not_sent() {
    let (stack, person, _box42) = person_with_a_box().await;
    let private = person.key().path().to_str().expect("a path");
    let output = person.postern(&["access", "add", "box42", "--key", private]).await;
    // Either the public half beside it is taken, or the private half is refused by its name.
    assert!(output.code == 0 || output.stderr.contains("private key"), "{output:?}");
    let database = fs::read(stack.scene().path("postern-api/state/postern.db-wal")).unwrap_or_default();
    assert!(!contains(&database, b"OPENSSH PRIVATE KEY"));
}

#[tokio::test]
async fn the_relays_are_shown_with_what_they_enforce() {
    let (_stack, person, _box42) = person_with_a_box().await;
    person.postern(&["access", "add", "box42"]).await.success();
    let table = person.postern(&["relays"]).await.success();
    assert!(table.contains("relay-1"), "{table}");
}

#[tokio::test]
async fn a_relay_checks_its_configuration_before_it_is_trusted_with_it() {
    let stack = Stack::start().await;
    let check = async |config: &str| {
        let path = stack.scene().new_dir("check").join("relay.toml");
        fs::write(&path, config).expect("a configuration is written");
        let mut relay = std::process::Command::new(binary("postern-relay"));
        relay.arg("--check").arg("--config").arg(path);
        finish(relay).await
    };
    let good =
        format!("token_file = '{}'\npublic_host = 'relay.example.com'\n", stack.relay.token_file().display());
    check(&good).await.success();
    let misspelt = check(&format!("{good}gate_port = 22\n")).await;
    assert!(misspelt.code != 0 && misspelt.stderr.contains("gate_port"), "{misspelt:?}");
    let without_token = check("token_file = '/nowhere'\npublic_host = 'relay.example.com'\n").await;
    assert!(without_token.code != 0 && without_token.stderr.contains("/nowhere"), "{without_token:?}");
}

#[tokio::test]
async fn every_program_tells_its_version_and_its_use() {
    for name in ["postern", "postern-api", "postern-relay", "postern-agent"] {
        for flag in ["--version", "--help"] {
            let mut command = std::process::Command::new(binary(name));
            command.arg(flag);
            let told = finish(command).await.success();
            assert!(told.contains(name), "{name} {flag}: {told}");
        }
    }
    for shell in ["bash", "zsh", "fish"] {
        let mut command = std::process::Command::new(binary("postern"));
        command.args(["completions", shell]);
        assert!(finish(command).await.success().contains("postern"), "{shell}");
    }
}

fn settings(stack: &Stack) -> String {
    format!("api = '{}'\ntoken = '{}'\n", stack.api.url(), stack.api.token().reveal())
}

async fn person_with_settings() -> (Stack, Person) {
    let stack = Stack::start().await;
    let person = Person::new(stack.scene()).await;
    person.configure(&settings(&stack), 0o600);
    (stack, person)
}

async fn person_with_a_box() -> (Stack, Person, Machine) {
    let (stack, person) = person_with_settings().await;
    let box42 = stack.add_box("box42").await;
    (stack, person, box42)
}

/// The one access that lives.
async fn only_access(person: &Person) -> Access {
    let page: Page<Access> = json(&person.postern(&["access", "list", "--json"]).await);
    let [access] = <[Access; 1]>::try_from(page.items).expect("one access");
    assert_eq!(access.status, AccessStatus::Active, "{}", access.status_reason);
    access
}

fn json<T: DeserializeOwned>(output: &Output) -> T {
    serde_json::from_str(&output.clone().success()).unwrap_or_else(|e| panic!("{e}: {output:?}"))
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}
