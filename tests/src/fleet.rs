//! Boxes by the thousand: real tunnels, certificates and keep-alives, without the boxes around them.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use data_encoding::BASE64;
use postern_protocol::api::{CreateDevice, Device, JoinBox};
use postern_protocol::join::JoinString;
use postern_protocol::secret::Secret;
use postern_protocol::tunnel::{IDLE_TIMEOUT, PACKET, transport};
use postern_protocol::wire::{self, BoxFacts, Membership, ToAgent, ToRelay, frame, io};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint};
use rcgen::{CertificateParams, KeyPair};
use reqwest::{Client, Method};
use rustls::RootCertStore;
use tokio::task::JoinSet;

use crate::Stack;
use crate::api::{answer, http_client};
use crate::identity::{Identity, provider};

/// How many boxes are made or dial at once.
const AT_ONCE: usize = 32;

/// The longest silence of an idle box, less a random share of a tenth, as real agents do it.
const SILENCE: Duration = Duration::from_secs(25);

/// The longest pause before dialling again, of which each box takes a random part.
const PAUSE: Duration = Duration::from_secs(2);

/// Boxes that have joined.
#[derive(Debug)]
pub struct Fleet {
    configs: Vec<ClientConfig>,
    relay: SocketAddr,
    count: Arc<Count>,
    tunnels: JoinSet<()>,
}

/// Tunnels of all boxes, as these see them.
#[derive(Debug, Default)]
struct Count {
    /// Those that are there now.
    up: AtomicUsize,
    /// When each that ever was began.
    welcomes: Mutex<Vec<Instant>>,
}

impl Fleet {
    /// Creates so many boxes and makes them join; the relay needs room for as many joins.
    pub async fn join(stack: &Stack, count: usize) -> Self {
        let token = std::fs::read_to_string(stack.relay.token_file()).expect("the relay's token");
        let token = Secret::from_text(token.trim());
        let numbers = Arc::new(AtomicUsize::new(0));
        let mut workers = JoinSet::new();
        for _ in 0..AT_ONCE {
            let (api, url, token, numbers) =
                (stack.api.clone(), stack.api.url(), token.clone(), numbers.clone());
            workers.spawn(async move {
                let (client, mut made) = (http_client(), Vec::new());
                loop {
                    let number = numbers.fetch_add(1, Relaxed);
                    if number >= count {
                        return made;
                    }
                    let name = format!("fleet-{number}").parse().expect("a box's name");
                    let device: Device =
                        api.post("/v1/devices", &CreateDevice { name }).await.expect("a box is created");
                    made.push(enrol(&client, &url, &token, &device).await);
                }
            });
        }
        let configs = workers.join_all().await.concat();
        let relay = stack.relay.listening().agents;
        Self { configs, relay, count: Arc::default(), tunnels: JoinSet::new() }
    }

    /// Makes every box dial, and dial again whenever its tunnel is lost.
    pub fn dial(&mut self) {
        // A socket carries so many connections before its buffer is the bottleneck.
        for some in self.configs.chunks(1_000) {
            let endpoint = Endpoint::client(([127, 0, 0, 1], 0).into()).expect("a port");
            for config in some {
                let hold = hold(endpoint.clone(), config.clone(), self.relay, self.count.clone());
                self.tunnels.spawn(hold);
            }
        }
    }

    /// How many boxes have a tunnel now, as they see it.
    pub fn up(&self) -> usize {
        self.count.up.load(Relaxed)
    }

    /// How often any of them was welcomed.
    pub fn welcomes(&self) -> usize {
        self.count.welcomes().len()
    }

    /// How many were welcomed within any such span since a moment, at most.
    pub fn busiest(&self, span: Duration, since: Instant) -> usize {
        let mut welcomes = self.count.welcomes().clone();
        welcomes.retain(|at| *at >= since);
        welcomes.sort();
        let within = |(first, at): (usize, &Instant)| {
            welcomes[first..].iter().take_while(|later| **later < *at + span).count()
        };
        welcomes.iter().enumerate().map(within).max().unwrap_or_default()
    }

    /// How many there are.
    pub fn size(&self) -> usize {
        self.configs.len()
    }
}

impl Count {
    fn welcomes(&self) -> MutexGuard<'_, Vec<Instant>> {
        self.welcomes.lock().expect("nobody panics with it")
    }
}

/// Takes a box's certificate, as a relay does for it.
async fn enrol(client: &Client, api: &str, relay: &Secret, device: &Device) -> ClientConfig {
    let string = &device.join.as_ref().expect("a new box has a join string").string;
    let string: JoinString = string.parse().expect("a join string");
    let key = KeyPair::generate().expect("a key can be made");
    let csr = CertificateParams::default().serialize_request(&key).expect("a request can be made");
    let join = JoinBox { token: string.token, csr: BASE64.encode(csr.der()), facts: facts() };
    let post = client.request(Method::POST, format!("{api}/v1/relay/join"));
    let membership: Membership =
        answer(post.bearer_auth(relay.reveal()).json(&join)).await.expect("the box joins");
    config(&Identity::of_member(membership, &key))
}

fn config(identity: &Identity) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(identity.authority()).expect("an authority's certificate");
    let mut tls = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("ring speaks TLS 1.3")
        .with_root_certificates(roots)
        .with_client_auth_cert(identity.chain(), identity.key())
        .expect("the key fits");
    tls.alpn_protocols = vec![wire::TUNNEL_ALPN.into()];
    let crypto = QuicClientConfig::try_from(tls).expect("TLS 1.3 has QUIC's cipher");
    let mut settings = transport(IDLE_TIMEOUT, PACKET);
    settings.keep_alive_interval(Some(SILENCE.mul_f64(1.0 - rand::random::<f64>() / 10.0)));
    let mut config = ClientConfig::new(Arc::new(crypto));
    config.transport_config(Arc::new(settings));
    config
}

fn facts() -> BoxFacts {
    BoxFacts {
        agent_version: "fleet".into(),
        hostname: "fleet".into(),
        platform: "linux/x86_64".into(),
        ssh: None,
        services: vec![],
        certificate: None,
        default_login: "root".parse().expect("root is a login"),
        paused: false,
        consent: None,
    }
}

async fn hold(endpoint: Endpoint, config: ClientConfig, relay: SocketAddr, count: Arc<Count>) {
    loop {
        let pause = PAUSE.mul_f64(rand::random());
        tokio::time::sleep(pause).await;
        let Ok(dialling) = endpoint.connect_with(config.clone(), relay, wire::RELAY_NAME) else { continue };
        if let Ok(connection) = dialling.await {
            // However it ends, the box dials again.
            stay(&connection, &count).await.ok();
        }
    }
}

async fn stay(
    connection: &Connection,
    count: &Count,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let (mut to, mut from) = connection.open_bi().await?;
    let (why_tcp, beside, metered) = (None, false, false);
    let hello = ToRelay::Hello { version: wire::VERSION, facts: facts(), why_tcp, beside, metered };
    io::send(&mut to, &hello).await?;
    let ToAgent::Welcome { .. } = io::receive(&mut from, frame::LARGE).await? else { return Ok(()) };
    count.welcomes().push(Instant::now());
    count.up.fetch_add(1, Relaxed);
    while io::receive::<_, ToAgent>(&mut from, frame::LARGE).await.is_ok() {}
    count.up.fetch_sub(1, Relaxed);
    Ok(())
}
