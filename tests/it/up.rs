//! Everything in one process, from nothing.

use std::process::Command;
use std::sync::Arc;

use nix::sys::signal::Signal;
use postern_protocol::api::{Access, Page};
use postern_tests::program::{Program, finish};
use postern_tests::{Person, SOON, Scene, Ssh, eventually};

#[tokio::test]
async fn what_it_prints_leads_onto_the_demo_box() {
    let (scene, person) = newcomer().await;
    let up = start(&scene, &person, &FIRST_START).await;

    // The commands that it says to type, in a second terminal, word for word.
    let printed = type_next_steps(&scene, &person).await;
    let command = printed.lines().last().expect("the last of them prints the command");
    let access = only_access(&person).await;
    assert_eq!(command, access.connection.as_ref().expect("a way in").command);
    let ssh = Ssh::new(&scene, &access, person.key());
    assert_eq!(ssh.run_printed("echo landed").await.success(), "landed\n");
    assert_eq!(person.postern(&["ssh", "demo", "exit 7"]).await.code, 7);
    up.stop_by(Signal::SIGINT).await;
}

#[tokio::test]
async fn it_goes_on_where_it_was() {
    let (scene, person) = newcomer().await;
    let up = start(&scene, &person, &FIRST_START).await;
    type_next_steps(&scene, &person).await;
    let access = only_access(&person).await;
    up.stop_by(Signal::SIGINT).await;

    let up = start(&scene, &person, &[]).await;
    let again = only_access(&person).await;
    assert_eq!((again.id, &again.connection), (access.id, &access.connection));
    let ssh = Ssh::new(&scene, &access, person.key());
    assert_eq!(ssh.run("echo back").await.success(), "back\n");

    // A power cut instead of Ctrl-C makes no difference.
    up.kill();
    let up = start(&scene, &person, &[]).await;
    assert_eq!(ssh.run("echo back").await.success(), "back\n");

    let mut session = ssh.open().await;
    person.postern(&["access", "rm", access.id.as_str()]).await.success();
    session.cut(postern_tests::AT_ONCE).await;
    up.stop_by(Signal::SIGTERM).await;
}

#[tokio::test]
async fn a_second_one_on_the_same_folder_says_so() {
    let (scene, person) = newcomer().await;
    let _up = start(&scene, &person, &FIRST_START).await;
    let second = person.postern(&["up"]).await;
    assert!(second.code != 0 && second.stderr.contains("another 'postern up' runs"), "{second:?}");
}

/// Any ports: the usual ones may be taken on a machine where tests run.
const FIRST_START: [&str; 8] =
    ["--listen", "127.0.0.1:0", "--gate", "127.0.0.1:0", "--https", "127.0.0.1:0", "--agents", "127.0.0.1:0"];

async fn newcomer() -> (Arc<Scene>, Person) {
    let scene = Scene::new();
    let person = Person::new(&scene).await;
    (scene, person)
}

/// Starts it, and waits until it says what to type next.
async fn start(scene: &Arc<Scene>, person: &Person, flags: &[&str]) -> Program {
    let before = scene.said("up").len();
    let mut up = Program::start(scene, "up", person.command(&[&["up"], flags].concat()));
    eventually("it says what to type next", SOON, async || {
        if let Some(status) = up.ended() {
            panic!("it ended with {status}: {}", scene.said("up"));
        }
        scene.said("up")[before..].contains("postern ssh demo").then_some(())
    })
    .await;
    up
}

/// Types what it says, up to the ssh command that the last one prints.
async fn type_next_steps(scene: &Scene, person: &Person) -> String {
    let said = scene.said("up");
    let (_, steps) = said.split_once("type:").expect("it says what to type");
    let (steps, _) = steps.split_once("ssh -J …").expect("then comes what was printed");
    let mut shell = Command::new("sh");
    person.equip(&mut shell);
    shell.arg("-ec").arg(steps);
    finish(shell).await.success()
}

async fn only_access(person: &Person) -> Access {
    let listed = person.postern(&["access", "list", "--json"]).await.success();
    let page: Page<Access> = serde_json::from_str(&listed).expect("a list of accesses");
    let [access] = <[Access; 1]>::try_from(page.items).expect("one access");
    access
}
