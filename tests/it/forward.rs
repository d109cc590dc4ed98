//! Ports are forwarded in all three ways that ssh knows.

use std::net::SocketAddr;
use std::path::PathBuf;

use postern_tests::{SOON, Session, Ssh, Stack, eventually, within};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream, UnixStream};

#[tokio::test]
async fn a_local_port_leads_into_the_boxs_network() {
    let (stack, _box42, ssh) = visitor().await;
    let service = echo_service().await;
    let socket = stack.scene().path("local-forward");
    let _forwarding = forward(&ssh, &["-L", &format!("{}:{service}", socket.display())]);
    assert_echo(connect_unix(socket).await).await;
}

#[tokio::test]
async fn a_remote_port_leads_into_the_visitors_network() {
    let (_stack, _box42, ssh) = visitor().await;
    let service = echo_service().await;
    let mut command = ssh.program("ssh");
    command.args([
        "-o",
        "ExitOnForwardFailure=yes",
        "-R",
        &format!("127.0.0.1:0:{service}"),
        ssh.host(),
        "cat",
    ]);
    let mut forwarding = Session::start(command);
    let port = allocated_port(&mut forwarding).await;
    assert_echo(TcpStream::connect(("127.0.0.1", port)).await.expect("the box listens")).await;
}

#[tokio::test]
async fn a_socks_proxy_leads_anywhere_the_box_can_go() {
    let (stack, _box42, ssh) = visitor().await;
    let service = echo_service().await;
    let proxy = stack.scene().free_address();
    let _forwarding = forward(&ssh, &["-D", &proxy.to_string()]);
    let mut stream = eventually("ssh listens", SOON, async || TcpStream::connect(proxy).await.ok()).await;
    socks5(&mut stream, service).await;
    assert_echo(stream).await;
}

async fn visitor() -> (Stack, postern_tests::Machine, Ssh) {
    let stack = Stack::start().await;
    let box42 = stack.add_box("box42").await;
    let ssh = stack.ssh(&stack.allow(&box42).await);
    (stack, box42, ssh)
}

fn forward(ssh: &Ssh, arguments: &[&str]) -> Session {
    let mut command = ssh.program("ssh");
    command.args(["-N", "-o", "ExitOnForwardFailure=yes"]).args(arguments).arg(ssh.host());
    Session::start(command)
}

async fn connect_unix(socket: PathBuf) -> UnixStream {
    eventually("ssh listens", SOON, async || UnixStream::connect(&socket).await.ok()).await
}

/// The port that sshd chose, which ssh tells on its standard error.
async fn allocated_port(forwarding: &mut Session) -> u16 {
    let line = within("a port is allocated", SOON, forwarding.complaint()).await;
    let port = line.strip_prefix("Allocated port ").and_then(|rest| rest.split(' ').next());
    port.and_then(|port| port.parse().ok()).unwrap_or_else(|| panic!("no port in {line:?}"))
}

/// RFC 1928: no authentication, then a connection to an IPv4 address.
async fn socks5(stream: &mut TcpStream, to: SocketAddr) {
    let SocketAddr::V4(to) = to else { panic!("{to} is not IPv4") };
    stream.write_all(&[5, 1, 0]).await.expect("the proxy reads");
    let mut chosen = [0; 2];
    stream.read_exact(&mut chosen).await.expect("the proxy answers");
    assert_eq!(chosen, [5, 0]);
    let [high, low] = to.port().to_be_bytes();
    let request = [&[5, 1, 0, 1][..], &to.ip().octets(), &[high, low]].concat();
    stream.write_all(&request).await.expect("the proxy reads");
    let mut answer = [0; 10];
    stream.read_exact(&mut answer).await.expect("the proxy answers");
    assert_eq!(answer[1], 0, "the proxy connects");
}

pub(crate) async fn echo_service() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("a bound address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                tokio::io::copy(&mut read, &mut write).await
            });
        }
    });
    address
}

pub(crate) async fn assert_echo(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    stream.write_all(b"through\n").await.expect("the other side reads");
    let mut line = String::new();
    let mut stream = BufReader::new(stream);
    within("an echo", SOON, stream.read_line(&mut line)).await.expect("the other side answers");
    assert_eq!(line, "through\n");
}
