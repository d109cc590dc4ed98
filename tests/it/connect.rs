//! With stock ssh and nothing but what was printed, a visitor is on the box.

use postern_protocol::access::Door;
use postern_protocol::api::{AccessStatus, Created, DeviceStatus, VisitOutcome};
use postern_tests::program::finish;
use postern_tests::{Machine, SOON, Server, Session, Stack, eventually};

#[tokio::test]
async fn the_printed_command_lands_on_the_box() {
    let stack = Stack::start().await;
    let box42 = stack.add_box("box42").await;
    let access = stack.allow(&box42).await;
    assert_eq!(access.status, AccessStatus::Active, "{}", access.status_reason);

    let output = stack.ssh(&access).run_printed("echo landed").await;
    assert_eq!(output.success(), "landed\n");
}

#[tokio::test]
async fn a_visit_leaves_one_record_of_who_came_and_what_they_carried() {
    let stack = Stack::start().await;
    let box42 = stack.add_box("box42").await;
    let access = stack.allow(&box42).await;
    stack.ssh(&access).run_with("cat", &[b'x'; 100_000]).await.success();

    let visits = stack.visits(access.id, 1).await;
    let visit = &visits[0];
    assert_eq!((visit.outcome, visit.entrance), (VisitOutcome::Ended, Door::Gate));
    assert_eq!((visit.device, visit.port), (Some(box42.id()), Some(22)));
    assert_eq!(visit.source.to_string(), "127.0.0.1");
    assert_eq!(visit.key, access.public_key.map(|key| key.fingerprint));
    assert_eq!(visit.code, "ended");
    assert!(visit.bytes_up > 100_000 && visit.bytes_down > 100_000, "{visit:?}");
}

#[tokio::test]
async fn exit_codes_and_the_two_outputs_arrive_apart() {
    let stack = Stack::start().await;
    let box42 = stack.add_box("box42").await;
    let ssh = stack.ssh(&stack.allow(&box42).await);

    let output = ssh.run("echo out; echo err >&2; exit 7").await;
    assert_eq!((output.code, &*output.stdout), (7, "out\n"));
    assert!(output.stderr.contains("err\n"), "{output:?}");
    assert!(!output.stderr.contains("out"), "{output:?}");
}

#[tokio::test]
async fn each_side_may_end_first() {
    let stack = Stack::start().await;
    let box42 = stack.add_box("box42").await;
    let ssh = stack.ssh(&stack.allow(&box42).await);

    // The visitor ends, and the box still has much to say.
    let answer = ssh.run_with("sort -r; head -c 300000 /dev/zero | tr '\\0' z", b"a\nb\n").await.success();
    assert_eq!(answer.strip_prefix("b\na\n").map(str::len), Some(300_000));

    // The box ends its output, and goes on reading.
    let count = stack.scene().path("count");
    let mut remote = ssh.program("ssh");
    remote.args([ssh.host(), &format!("echo ready; exec >&- 2>&-; wc -c > {}", count.display())]);
    let mut session = Session::start(remote);
    assert_eq!(session.line().await, "ready");
    assert_eq!(session.line().await, "", "the end of the output arrives before the end of the input");
    session.write("after the end\n").await;
    session.end_input();
    assert_eq!(session.finish(SOON).await.code, 0);
    assert_eq!(std::fs::read_to_string(count).expect("the box has counted").trim(), "14");
}

#[tokio::test]
async fn a_terminal_is_a_terminal() {
    let stack = Stack::start().await;
    let builtin = stack.add_box_running("box43", Server::Builtin).await;
    assert_terminal(&stack, &builtin).await;
    // An sshd that is not root's may give nobody a terminal.
    if nix::unistd::getuid().is_root() {
        assert_terminal(&stack, &stack.add_box("box42").await).await;
    }
}

async fn assert_terminal(stack: &Stack, machine: &Machine) {
    let ssh = stack.ssh(&stack.allow(machine).await);
    let mut terminal = ssh.program("ssh");
    terminal.args(["-tt", ssh.host()]).env("TERM", "xterm-256color");
    let mut session = Session::start(terminal);
    // The word is put together by the shell, so that its echo cannot be taken for its answer.
    session.write("test -t 0 && echo \"is:$TERM\"; exit 9\n").await;
    let output = session.finish(SOON).await;
    assert_eq!(output.code, 9, "{output:?}");
    assert!(output.stdout.contains("is:xterm-256color"), "{output:?}");
}

#[tokio::test]
async fn twenty_visitors_at_once_do_not_meet() {
    let stack = Stack::start().await;
    let box42 = stack.add_box("box42").await;
    let access = stack.allow(&box42).await;

    let visitors = (0..20).map(|number| {
        let ssh = stack.ssh(&access);
        tokio::spawn(async move { (number, ssh.run(&format!("echo {number}")).await.success()) })
    });
    for visitor in visitors.collect::<Vec<_>>() {
        let (number, answer) = visitor.await.expect("no visitor panics");
        assert_eq!(answer, format!("{number}\n"));
    }
    stack.visits(access.id, 20).await;
}

#[tokio::test]
async fn one_login_carries_many_sessions() {
    let stack = Stack::start().await;
    let box42 = stack.add_box("box42").await;
    let access = stack.allow(&box42).await;
    let ssh = stack.ssh(&access);

    let socket = stack.scene().path("control");
    let mut master = ssh.program("ssh");
    master.args(["-M", "-N", "-S"]).arg(&socket).arg(ssh.host());
    let mut master = Session::start(master);
    eventually("the master is ready", SOON, async || socket.exists().then_some(())).await;

    for number in 0..5 {
        let mut client = ssh.program("ssh");
        client.arg("-S").arg(&socket).args([ssh.host(), &format!("exit {number}")]);
        let output = finish(client).await;
        assert_eq!(output.code, number, "{output:?}");
    }
    let mut exit = ssh.program("ssh");
    exit.arg("-S").arg(&socket).args(["-O", "exit", ssh.host()]);
    finish(exit).await.success();
    master.finish(SOON).await;
    stack.visits(access.id, 1).await;
}

#[tokio::test]
async fn a_shell_at_the_gate_gets_the_right_command_in_words() {
    let stack = Stack::start().await;
    let box42 = stack.add_box("box42").await;
    let access = stack.allow(&box42).await;
    let ssh = stack.ssh(&access);

    let mut shell = ssh.program("ssh");
    shell.arg(ssh.gate());
    let output = finish(shell).await;
    assert_eq!(output.code, 1, "{output:?}");
    let words = output.stdout + &output.stderr;
    let command = access.connection.expect("a way in").command;
    assert!(words.contains(&command), "{words:?} does not contain {command:?}");
}

#[tokio::test]
async fn an_ipv6_gate_is_reached_by_what_was_printed() {
    let stack =
        Stack::with().relay("gate = '[::1]:0'\nagents = '[::1]:0'\npublic_host = '::1'").start().await;
    let box42 = stack.add_box("box42").await;
    let access = stack.allow_with(&box42, |access| access.allowed_ips = Some(vec!["::1".into()])).await;

    assert_eq!(stack.ssh(&access).run_printed("echo in").await.success(), "in\n");
    assert_eq!(stack.ssh(&access).run("echo in").await.success(), "in\n");
    assert_eq!(stack.visits(access.id, 2).await[0].source.to_string(), "::1");
}

#[tokio::test]
async fn a_renamed_box_is_reached_by_its_new_name_alone() {
    let stack = Stack::start().await;
    let box42 = stack.add_box("box42").await;
    let before = stack.allow(&box42).await;
    let mut session = stack.ssh(&before).open().await;
    stack.api.rename_device("box42", "cellar").await;

    let after = stack.api.access(before.id).await;
    assert_eq!(after.device_name.as_str(), "cellar");
    assert_eq!(stack.ssh(&after).run_printed("echo in").await.success(), "in\n");
    let old = stack.ssh(&before).run("true").await;
    assert!(old.stderr.contains("the access is for another box"), "{old:?}");
    session.echo("a visit does not mind").await;
}

#[tokio::test]
async fn an_access_made_while_the_box_is_offline_works_when_it_returns() {
    let stack = Stack::start().await;
    let mut box42 = stack.add_box("box42").await;
    box42.stop().await;
    box42.becomes(DeviceStatus::Offline, &stack.api).await;

    let access = stack.api.post::<Created>("/v1/accesses", &stack.usual(&box42)).await;
    let access = access.expect("an access may be made for an offline box").access;
    assert_eq!(access.status, AccessStatus::Pending);

    box42.start();
    eventually("the access is active", SOON, async || {
        (stack.api.access(access.id).await.status == AccessStatus::Active).then_some(())
    })
    .await;
    let access = stack.api.access(access.id).await;
    assert_eq!(stack.ssh(&access).run("echo back").await.success(), "back\n");
}
