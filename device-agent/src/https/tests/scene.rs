//! A running agent, the public ports of its relay on loopback, and programs at both ends.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use postern_protocol::access::Door;
use postern_protocol::id::VisitId;
use postern_protocol::wire::frame::SMALL;
use postern_protocol::wire::io::{receive, send};
use postern_protocol::wire::{Errand, Open, Opening};
use quinn::{Connection, RecvStream, SendStream};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::CertificateDer;
use tempfile::TempDir;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::super::*;
use crate::agent::Agent;
use crate::config::Config;
use crate::link;
use crate::pause::Pause;
use crate::state::State;
use crate::testing::{Installation, Relay, Tunnel, VISITOR, grant};

/// The box's name under the domain of the relay.
pub(super) const NAME: &str = "box42.relay.test";

/// Debian keeps it out of people's PATH.
const NGINX: &str = "/usr/sbin/nginx";

/// Time enough for anything that happens at all.
pub(super) const PATIENCE: Duration = Duration::from_secs(90);

/// A running agent and its relay.
pub(super) struct Scene {
    pub(super) home: TempDir,
    pub(super) agent: Arc<Agent>,
    tunnel: Tunnel,
    parts: Vec<JoinHandle<()>>,
}

impl Scene {
    /// An agent with these settings, and an access to each of these ports.
    pub(super) async fn start(home: TempDir, settings: &str, ports: &[u16]) -> Self {
        let ours = Installation::new();
        let relay = Relay::of(&ours);
        let mut config: Config = toml::from_str(settings).unwrap();
        config.state_dir = home.path().join("agent");
        let state = State::open(&config.state_dir).unwrap();
        let member = ours.member(&relay.address());
        member.save(&state).unwrap();
        let pause = Arc::new(Pause::load(&state));
        let agent = Arc::new(Agent::new(config, state, member, pause));
        let (linked, keeping, showing) = (agent.clone(), agent.clone(), agent.clone());
        let parts = vec![
            tokio::spawn(async move { link::stay(&linked).await }),
            tokio::spawn(async move { crate::keys::keep(&keeping).await }),
            tokio::spawn(async move {
                let stopping = showing.stopping.clone();
                let _stopped = stopping.run_until_cancelled(follow(&showing)).await;
            }),
        ];
        let mut tunnel = relay.tunnel().await;
        let grants = ports.iter().map(|port| grant(*port)).collect();
        tunnel.grant(ours.signed(1, grants), 1).await;
        Self { home, agent, tunnel, parts }
    }

    /// A visit that the agent has let in, and on which nothing was said yet.
    pub(super) async fn visit(&self, port: u16) -> (SendStream, RecvStream) {
        let (mut to, mut from) = self.tunnel.connection.open_bi().await.unwrap();
        send(&mut to, &visit(Door::Front, port)).await.unwrap();
        assert_eq!(receive::<_, Opening>(&mut from, SMALL).await.unwrap(), Opening::Opened);
        (to, from)
    }

    /// A public port of the relay that leads to a port of the box.
    pub(super) async fn entrance(&self, door: Door, port: u16) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        self.hand_through(listener, move || visit(door, port));
        address
    }

    /// The relay's front for certificate authorities.
    pub(super) fn let_authorities_through(&self, listener: TcpListener) {
        self.hand_through(listener, || Errand::Challenge { name: NAME.to_owned() });
    }

    /// The agent's first word on an errand.
    pub(super) async fn errand(&self, errand: Errand) -> Opening {
        let (mut to, mut from) = self.tunnel.connection.open_bi().await.unwrap();
        send(&mut to, &errand).await.unwrap();
        receive(&mut from, SMALL).await.unwrap()
    }

    fn hand_through(&self, listener: TcpListener, errand: impl Fn() -> Errand + Send + 'static) {
        let connection = self.tunnel.connection.clone();
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                tokio::spawn(pass(connection.clone(), errand(), tcp));
            }
        });
    }

    /// Waits until the certificate stands like this.
    pub(super) async fn until(&self, like: impl Fn(&Standing) -> bool) -> Standing {
        let mut standing = self.agent.https.standing.subscribe();
        let stands = timeout(PATIENCE, standing.wait_for(|standing| like(standing))).await;
        let Ok(stands) = stands else { panic!("it stands like {:?}", self.agent.https.standing.borrow()) };
        stands.unwrap().clone()
    }

    /// Ends the agent, and leaves its state.
    pub(super) async fn stop(self) -> TempDir {
        self.agent.stopping.cancel();
        for part in self.parts {
            part.await.unwrap();
        }
        self.home
    }
}

/// What a relay says that brings a visitor of this port.
fn visit(door: Door, port: u16) -> Errand {
    Errand::Visit(Open {
        visit: VisitId::from_entropy(rand::random()),
        access: grant(port).access,
        port,
        visitor: VISITOR.parse().unwrap(),
        door,
        revision: 1,
    })
}

async fn pass(connection: Connection, errand: Errand, mut visitor: TcpStream) {
    let Ok((mut to, mut from)) = connection.open_bi().await else { return };
    send(&mut to, &errand).await.unwrap();
    if let Ok(Opening::Opened) = receive(&mut from, SMALL).await {
        let mut agent = tokio::io::join(from, to);
        let _ended_or_broke = copy_bidirectional(&mut visitor, &mut agent).await;
    }
}

/// A certificate for [`NAME`] in files, which is its own authority.
pub(super) struct Files {
    pub(super) chain: PathBuf,
    pub(super) key: PathBuf,
    pub(super) own: CertificateDer<'static>,
}

impl Files {
    pub(super) fn make(dir: &Path, names: &[&str]) -> Self {
        let pair = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let own = CertificateParams::new(names).unwrap().self_signed(&pair).unwrap();
        let (chain, key) = (dir.join("page.crt"), dir.join("page.key"));
        std::fs::write(&chain, own.pem()).unwrap();
        std::fs::write(&key, pair.serialize_pem()).unwrap();
        Self { chain, key, own: own.der().clone() }
    }

    /// Settings that show it.
    pub(super) fn settings(&self) -> String {
        format!("[https]\ncertificate = 'file'\nchain = {:?}\nkey = {:?}\n", self.chain, self.key)
    }
}

/// Stock curl at an entrance, which believes one authority.
pub(super) fn curl(entrance: SocketAddr, authority: &Path) -> Command {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--max-time", "80", "--cacert"]).arg(authority);
    curl.args(["--connect-to", &format!("::{entrance}")]).stdin(Stdio::null()).kill_on_drop(true);
    curl
}

/// What a program said, if it was content.
pub(super) fn said(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A port that nothing listens on.
pub(super) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Waits until something listens there.
pub(super) async fn listening(port: u16) {
    let connected = async {
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, connected).await.expect("it listens in time");
}

/// A running nginx with one server.
pub(super) struct Nginx {
    pub(super) port: u16,
    _process: Child,
}

impl Nginx {
    /// One that listens with these options and does that.
    pub(super) async fn start(dir: &Path, options: &str, server: &str) -> Self {
        let port = free_port();
        let place = dir.display();
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|what| format!("{what}_temp_path {place}/{what};\n"))
            .concat();
        let config = format!(
            "daemon off; master_process off; pid {place}/nginx.pid; error_log stderr;\n\
             events {{ worker_connections 1024; }}\n\
             http {{ access_log off; client_max_body_size 0; {temporary}\n\
             server {{ listen 127.0.0.1:{port} {options}; root {place}; {server} }} }}"
        );
        let file = dir.join("nginx.conf");
        std::fs::write(&file, config).unwrap();
        let mut nginx = Command::new(NGINX);
        nginx.arg("-p").arg(dir).arg("-c").arg(&file).args(["-e", "stderr"]);
        let process = nginx.kill_on_drop(true).spawn().expect("nginx is installed");
        listening(port).await;
        Self { port, _process: process }
    }
}
