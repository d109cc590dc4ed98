//! A relay that is told to stop: nobody new, those inside may finish, boxes go; and what the service manager
//! has to do with it.

use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;

use nix::sys::signal::Signal;
use postern_protocol::api::DeviceStatus;
use postern_tests::program::{finish, in_shell};
use postern_tests::{Machine, SOON, Session, Stack, eventually};

/// A relay that would let visits go on for longer than any of these tests lasts.
async fn patient_stack() -> (Stack, Machine) {
    let stack = Stack::with().relay("drain = \"10m\"").start().await;
    let box42 = stack.add_box("box42").await;
    (stack, box42)
}

#[tokio::test]
async fn visits_go_on_and_nobody_new_comes_in_even_over_a_connection_that_stands() {
    let (mut stack, box42) = patient_stack().await;
    let ssh = stack.ssh(&stack.allow(&box42).await);
    // One connection to the gate, as ssh keeps them open for further logins.
    let socket = stack.scene().path("gate");
    let mut master = ssh.program("ssh");
    master.args(["-M", "-N", "-S"]).arg(&socket).arg(ssh.gate());
    let mut master = Session::start(master);
    eventually("the master is ready", SOON, async || socket.exists().then_some(())).await;
    let channel = |command: &mut std::process::Command| {
        command.arg("-S").arg(&socket).args(["-W", &format!("{}:22", ssh.host()), ssh.gate()]);
    };
    let mut visit = ssh.program("ssh");
    channel(&mut visit);
    let mut visit = Session::start(visit);
    assert!(visit.line().await.starts_with("SSH-2.0-"), "the box greets");

    stack.relay.process().signal(Signal::SIGTERM);
    eventually("nobody new is let in", SOON, async || {
        let mut another = ssh.program("ssh");
        channel(&mut another);
        (finish(another).await.code != 0).then_some(())
    })
    .await;
    let refusal = master.complaint().await;
    assert!(refusal.contains("shutting down"), "{refusal}");
    assert!(stack.relay.process().ended().is_none(), "somebody is inside");

    visit.write("not SSH at all\r\n").await;
    assert_eq!(visit.line().await, "Invalid SSH identification string.", "the box answers");
    visit.finish(SOON).await;
    let ended = async || stack.relay.process().ended();
    eventually("the relay stops once the last visit is over", SOON, ended).await;
    master.cut(SOON).await;
}

#[tokio::test]
async fn a_connection_without_visits_does_not_hold_up_a_stop_and_is_told_why_it_ends() {
    let (mut stack, box42) = patient_stack().await;
    let ssh = stack.ssh(&stack.allow(&box42).await);
    let socket = stack.scene().path("gate");
    let mut idle = ssh.program("ssh");
    idle.args(["-M", "-N", "-S"]).arg(&socket).arg(ssh.gate());
    let mut idle = Session::start(idle);
    eventually("the connection stands", SOON, async || socket.exists().then_some(())).await;
    stack.relay.stop().await;
    let said = idle.cut(SOON).await.stderr;
    assert!(said.contains("shutting down"), "{said}");
}

#[tokio::test]
async fn the_service_manager_is_told_when_a_program_serves_and_when_it_stops() {
    let mut stack = Stack::start().await;
    let mut box42 = stack.add_box("box42").await;
    stack.relay.stop().await;
    box42.stop().await;

    let path = stack.scene().path("notify");
    let manager = UnixDatagram::bind(&path).expect("a socket");
    manager.set_nonblocking(true).expect("a socket need not block");
    let told = async |what: &str| {
        eventually(what, SOON, async || {
            let mut message = [0; 256];
            let length = manager.recv(&mut message).ok()?;
            String::from_utf8_lossy(&message[..length]).contains(what).then_some(())
        })
        .await;
    };
    stack.relay.set_variable("NOTIFY_SOCKET", &path);
    box42.set_variable("NOTIFY_SOCKET", &path);
    stack.relay.restart().await;
    told("READY=1").await;
    stack.relay.stop().await;
    told("STOPPING=1").await;
    stack.relay.restart().await;
    box42.start();
    told("READY=1").await;
    told("STATUS=connected to").await;
    box42.stop().await;
    told("STOPPING=1").await;
}

#[tokio::test]
async fn a_gate_that_the_service_manager_opened_is_taken_over() {
    let mut stack = Stack::start().await;
    let box42 = stack.add_box("box42").await;
    let ssh = stack.ssh(&stack.allow(&box42).await);
    stack.relay.stop().await;
    // Whoever comes before the relay serves waits in this socket.
    let gate = TcpListener::bind(stack.relay.listening().gate).expect("the stopped relay has left its port");
    let early = tokio::spawn({
        let ssh = ssh.clone();
        async move { ssh.run("echo in").await }
    });
    // The socket is handed over as systemd does: from the third descriptor on.
    let script = "exec env LISTEN_FDS=1 LISTEN_PID=$$ \"$@\" 3<&0 </dev/null";
    stack.relay.run_through(in_shell(script, gate.into()));
    box42.becomes(DeviceStatus::Online, &stack.api).await;
    let output = early.await.expect("a login");
    // The box may have come a moment later than the visitor, who was not refused by the gate's port.
    assert!(output.stdout == "in\n" || output.stderr.contains("offline"), "{output:?}");
    assert_eq!(ssh.run("echo in").await.success(), "in\n");
}
