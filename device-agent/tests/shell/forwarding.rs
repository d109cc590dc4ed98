//! Forwarding in both directions, of ports and of the visitor's agent.

use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Child;
use tokio::time::timeout;

use crate::the_box::{PATIENCE, TheBox, noise, stderr, stdout, until};

/// Sends back what it gets, and its end when it gets that.
async fn echo_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    address
}

/// Whether bytes go there and back unharmed, and the end with them.
async fn echoes(mut stream: TcpStream) -> bool {
    let sent = noise(3_000_000);
    let (mut read, mut write) = stream.split();
    let sending = async {
        write.write_all(&sent).await.unwrap();
        write.shutdown().await.unwrap();
    };
    let mut came = Vec::new();
    let (_, received) = tokio::join!(sending, timeout(PATIENCE, read.read_to_end(&mut came)));
    received.is_ok_and(|read| read.is_ok()) && came == sent
}

/// Reads a client's complaints until one has this in it.
async fn hears(client: &mut Child, what: &str) -> String {
    let mut lines = BufReader::new(client.stderr.as_mut().unwrap()).lines();
    let listening = async {
        loop {
            let line = lines.next_line().await.unwrap().expect("the client left");
            if line.contains(what) {
                return line;
            }
        }
    };
    timeout(PATIENCE, listening).await.unwrap_or_else(|_| panic!("never said: {what}"))
}

/// A port that was free a moment ago; the client of -L cannot be told to choose one itself.
async fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}

#[tokio::test]
async fn a_local_port_leads_to_where_the_box_can_go() {
    let (the_box, target) = (TheBox::start().await, echo_server().await);
    let port = free_port().await;
    let forward = format!("127.0.0.1:{port}:{target}");
    let mut client = the_box.ssh().args(["-v", "-N", "-L", &forward, &the_box.target()]).spawn();
    hears(&mut client, "Entering interactive session").await;
    for _ in 0..3 {
        assert!(echoes(TcpStream::connect(("127.0.0.1", port)).await.unwrap()).await);
    }
    let refused = the_box.ssh().args(["-W", "127.0.0.1:1", &the_box.target()]).output().await;
    assert!(stderr(&refused).contains("connect failed: Connection refused"), "{}", stderr(&refused));
}

#[tokio::test]
async fn a_port_of_the_box_leads_to_the_visitor_and_ends_with_the_visit() {
    let (the_box, target) = (TheBox::start().await, echo_server().await);
    let forward = format!("0:{target}");
    let mut client = the_box.ssh().args(["-v", "-N", "-R", &forward, &the_box.target()]).spawn();
    let line = hears(&mut client, "Allocated port").await;
    let port: u16 = line.split_whitespace().nth(2).unwrap().parse().unwrap();
    assert!(echoes(TcpStream::connect(("127.0.0.1", port)).await.unwrap()).await);
    // Only the box itself gets there, whatever address was asked for.
    assert!(TcpStream::connect(("127.0.0.2", port)).await.is_err());
    client.kill().await.unwrap();
    the_box.deserted().await;
    // Another claim that starts a program right now holds a copy of every socket for an instant.
    until("the port is gone", || std::net::TcpStream::connect(("127.0.0.1", port)).is_err()).await;
}

#[tokio::test]
async fn a_forwarded_port_can_be_taken_back() {
    let (the_box, target) = (TheBox::start().await, echo_server().await);
    let control = format!("ControlPath={}", the_box.path("control").display());
    let _master = the_box.ssh().args(["-M", "-N", "-o", &control, &the_box.target()]).spawn();
    until("the connection is shared", || the_box.path("control").exists()).await;
    let port = free_port().await;
    let forward = format!("{port}:{target}");
    let ask =
        |what: &str| the_box.ssh().args(["-o", &control, "-O", what, "-R", &forward, &the_box.target()]);
    assert!(ask("forward").output().await.status.success());
    assert!(echoes(TcpStream::connect(("127.0.0.1", port)).await.unwrap()).await);
    assert!(ask("cancel").output().await.status.success());
    // The client does not wait for an answer.
    until("the port is taken back", || std::net::TcpStream::connect(("127.0.0.1", port)).is_err()).await;
}

#[tokio::test]
async fn the_number_of_ports_of_one_visit_is_bounded() {
    let the_box = TheBox::start().await;
    // Each to another place: OpenSSH asks only once for the same.
    let forwards: Vec<String> = (1..=20).map(|port| format!("-R0:127.0.0.1:{port}")).collect();
    let output = the_box.ssh().args(&forwards).args(["-v", &the_box.target(), "sleep 0"]).output().await;
    let said = stderr(&output);
    assert_eq!(said.matches("Allocated port").count(), 16, "{said}");
    assert_eq!(said.matches("remote port forwarding failed").count(), 4, "{said}");
}

#[tokio::test]
async fn the_number_of_channels_of_one_visit_is_bounded() {
    let (the_box, target) = (TheBox::start().await, echo_server().await);
    let port = free_port().await;
    let forward = format!("127.0.0.1:{port}:{target}");
    let mut client = the_box.ssh().args(["-v", "-N", "-L", &forward, &the_box.target()]).spawn();
    hears(&mut client, "Entering interactive session").await;
    let mut open = Vec::new();
    for _ in 0..64 {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        stream.write_all(b"x").await.unwrap();
        assert_eq!(timeout(PATIENCE, stream.read_u8()).await.unwrap().unwrap(), b'x');
        open.push(stream);
    }
    let mut one_more = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    one_more.write_all(b"x").await.unwrap();
    assert!(matches!(timeout(PATIENCE, one_more.read_u8()).await, Ok(Err(_))), "no limit");
    drop(open.pop());
    // The place is free as soon as both ends have said so.
    let again = async {
        loop {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            if stream.write_all(b"x").await.is_ok() && stream.read_u8().await.is_ok() {
                return;
            }
        }
    };
    timeout(PATIENCE, again).await.unwrap();
}

#[tokio::test]
async fn the_visitors_agent_answers_on_the_box_and_its_socket_goes_with_the_visit() {
    let the_box = TheBox::start().await;
    let socket = the_box.path("agent");
    let mut agent = tokio::process::Command::new("ssh-agent");
    let mut agent = agent.args(["-D", "-a"]).arg(&socket).kill_on_drop(true).spawn().unwrap();
    until("the agent listens", || socket.exists()).await;
    let mut add = tokio::process::Command::new("ssh-add");
    let added = add.arg(the_box.path("key")).env("SSH_AUTH_SOCK", &socket).output().await.unwrap();
    assert!(added.status.success());
    let command = "ssh-add -l; ssh-add -l; echo $SSH_AUTH_SOCK; stat -c %a $SSH_AUTH_SOCK";
    let output = the_box.ssh().args(["-A", &the_box.target(), command]);
    let output = output.env("SSH_AUTH_SOCK", &socket).output().await;
    let said = stdout(&output);
    let lines: Vec<_> = said.lines().collect();
    assert!(lines[0].ends_with("(ED25519)") && lines[0] == lines[1], "{said}{}", stderr(&output));
    assert_eq!(lines[3], "600");
    the_box.deserted().await;
    assert!(!std::path::Path::new(lines[2]).parent().unwrap().exists());
    agent.kill().await.unwrap();
}
