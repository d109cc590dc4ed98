//! The relay: boxes dial in over QUIC, visitors over SSH; a visit is decide, open, splice.
//!
//! Read on with [`Bound::run`], then `gate` (a visitor's connection; `front` and `ports` are the other
//! doors), `session` (one visit), `registry` (the stream to the box) and `splice` (the bytes). Boxes come
//! in at `agents`. What may happen is decided by the `rulebook`, which the `feed` fills.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use chrono::Utc;
use postern_protocol::api::{Gate as GateAddress, RelayHello};
use postern_protocol::connection::valid_host;
use postern_protocol::tunnel::quic::Endpoint;
use quinn_proto::VarInt;
use sd_notify::NotifyState;
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

mod admin;
mod admission;
mod agents;
mod api;
mod audit;
mod backoff;
mod config;
mod doorstep;
mod endpoint;
mod farewell;
mod feed;
mod files;
mod front;
mod gate;
mod identity;
mod metrics;
mod ports;
mod registry;
mod report;
mod rulebook;
mod session;
mod sockets;
mod splice;
mod tcp;
mod tickets;

pub use config::{Config, Limits};

use agents::Agents;
use agents::tcp::TcpDoor;
use api::Api;
use audit::{Audit, spool::Spool};
use doorstep::Doorstep;
use endpoint::TcpIdentity;
use feed::Feed;
use front::Front;
use gate::Gate;
use identity::{Enrolment, Keys, Registrar};
use metrics::Metrics;
use ports::Ports;
use registry::Registry;
use rulebook::Rulebook;
use session::Reception;
use sockets::Inherited;

/// Tells other programs on this machine where the relay listens.
const LISTENING: &str = "listening.json";

/// How often to look whether the certificate is due.
const LOOK: Duration = Duration::from_secs(3600);

/// What ends by itself once everything else has, and how long that may take.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// A relay that has its addresses, and serves as soon as it is run.
pub struct Bound {
    config: Config,
    keys: Keys,
    gate: TcpListener,
    agents: Endpoint,
    https: Option<TcpListener>,
    agents_tcp: Option<TcpListener>,
    tcp_identity: TcpIdentity,
    admin: Option<TcpListener>,
    registrar: Arc<Registrar>,
    metrics: Metrics,
}

/// Opens the state directory, making what is missing, and takes the addresses.
pub fn bind(config: Config) -> anyhow::Result<Bound> {
    let state = || format!("state_dir = \"{}\"", config.state_dir.display());
    files::create_directory(&config.state_dir).with_context(state)?;
    let keys = Keys::load(&config.state_dir)?;
    let api = Api::new(&config)?;
    let mut sockets = Inherited::take();
    let gate = sockets.listen("gate", config.gate)?;
    let agents = endpoint::open(sockets.datagrams("agents", config.agents)?, &keys.quic)?;
    let https = config.https.map(|at| sockets.listen("https", at)).transpose()?;
    let agents_tcp = listen_for_agents(&mut sockets, &config, agents.local_addr())?;
    let admin = config.admin.map(|at| sockets.listen("admin", at)).transpose()?;
    sockets.report_rest();
    config.check_ports([Some(gate.local_addr()?), local(&https)?, local(&agents_tcp)?, local(&admin)?])?;
    let hello = hello(&config, &keys, gate.local_addr()?, agents.local_addr(), local(&https)?)?;
    let registrar = Arc::new(Registrar { api, hello, path: config.state_dir.join("enrolment.json") });
    let tcp_identity = TcpIdentity::default();
    let metrics = Metrics::default();
    Ok(Bound { config, keys, gate, agents, agents_tcp, tcp_identity, https, admin, registrar, metrics })
}

fn local(listener: &Option<TcpListener>) -> anyhow::Result<Option<SocketAddr>> {
    Ok(listener.as_ref().map(TcpListener::local_addr).transpose()?)
}

/// The door for boxes that cannot come over UDP: unless the settings say otherwise, the same address over
/// TCP, if it is free.
fn listen_for_agents(
    sockets: &mut Inherited,
    config: &Config,
    over_udp: SocketAddr,
) -> anyhow::Result<Option<TcpListener>> {
    match config.agents_tcp {
        Some(at) => sockets.listen("agents_tcp", at).map(Some),
        None => Ok(sockets
            .listen("agents_tcp", over_udp)
            .inspect_err(|error| tracing::warn!("boxes can come over UDP only: {error:#}"))
            .ok()),
    }
}

/// How visitors and boxes find this relay.
fn hello(
    config: &Config,
    keys: &Keys,
    gate: SocketAddr,
    agents: SocketAddr,
    https: Option<SocketAddr>,
) -> anyhow::Result<RelayHello> {
    let host = config.public_host(gate.ip())?;
    anyhow::ensure!(valid_host(&host), "public_host = \"{host}\": neither a host name nor an address");
    let agents_port = config.public_agents_port.unwrap_or(agents.port());
    let dialled =
        if host.contains(':') { format!("[{host}]:{agents_port}") } else { format!("{host}:{agents_port}") };
    let port = config.public_gate_port.unwrap_or(gate.port());
    let web = config.web(&host, https)?;
    Ok(RelayHello {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        gate: GateAddress { host, port, host_keys: vec![keys.host_key()?] },
        agents: dialled,
        web,
        ports: config.ports,
    })
}

impl Bound {
    /// Where visitors come in.
    pub fn gate(&self) -> anyhow::Result<SocketAddr> {
        Ok(self.gate.local_addr()?)
    }

    /// Where boxes dial in.
    pub fn agents(&self) -> SocketAddr {
        self.agents.local_addr()
    }

    /// Where browsers come in, if anywhere.
    pub fn https(&self) -> anyhow::Result<Option<SocketAddr>> {
        local(&self.https)
    }

    /// Where monitoring asks, if anywhere.
    pub fn admin(&self) -> anyhow::Result<Option<SocketAddr>> {
        local(&self.admin)
    }

    /// Serves until `shutdown`, then lets visits go on for a while, and ends.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
        tokio::pin!(shutdown);
        let (enrolment, greeted) = tokio::select! {
            enrolment = self.registrar.enrol(&self.keys) => enrolment?,
            () = &mut shutdown => return Ok(()),
        };
        endpoint::identify(&self.agents, &self.tcp_identity, &self.keys, &enrolment, &self.metrics)?;
        let listening = self.announce()?;
        let life = self.begin(enrolment, greeted)?;
        tracing::info!("serving");
        tell_service_manager(NotifyState::Ready);
        shutdown.await;
        tell_service_manager(NotifyState::Stopping);
        life.end().await;
        let _ = files::remove(&listening);
        Ok(())
    }

    fn announce(&self) -> anyhow::Result<PathBuf> {
        let path = self.config.state_dir.join(LISTENING);
        let where_ = serde_json::json!({
            "gate": self.gate()?,
            "agents": self.agents(),
            "agents_tcp": local(&self.agents_tcp)?,
            "https": self.https()?,
            "admin": self.admin()?,
        });
        files::replace(&path, files::PUBLIC, where_.to_string().as_bytes())
            .context("writing listening.json")?;
        Ok(path)
    }

    /// Starts everything that a relay does.
    fn begin(self, enrolment: Enrolment, greeted: bool) -> anyhow::Result<Life> {
        let Self { config, keys, gate, agents: endpoint, agents_tcp, tcp_identity, https, admin, .. } = self;
        let (registrar, metrics) = (self.registrar, self.metrics);
        let (api, relay) = (registrar.api.clone(), enrolment.relay());
        let rulebook = Rulebook::new(enrolment.welcome.grant_key);
        rulebook.load(&config.state_dir)?;
        let registry = Registry::new(rulebook.clone(), metrics.clone(), config.limits.visits_per_box);
        let spool = Spool::open(&config.state_dir, relay, config.limits.audit_bytes, metrics.clone())
            .context("the audit")?;
        let life = Life::new(endpoint.clone(), config.drain);
        let audit = Audit::new(relay, metrics.clone(), spool.clone());
        let reception = Reception {
            rulebook: rulebook.clone(),
            registry: registry.clone(),
            audit: audit.clone(),
            leaving: life.stop.clone(),
            closing: life.visits.clone(),
        };
        let told = (registrar.hello.gate.host.clone(), registrar.hello.gate.port);
        let (limits, gate_address) = (&config.limits, gate.local_addr()?.ip());
        let doorstep = |door, room| Doorstep::new(door, room, &config.proxy_protocol_from, metrics.clone());
        let at_gate = doorstep("gate", (limits.gate_connections, limits.gate_connections_per_source));
        let visitors =
            Gate::new(reception.clone(), at_gate, metrics.clone(), told, keys.host.clone(), limits);
        let boxes = Agents::new(
            api.clone(),
            (rulebook.clone(), registry.clone()),
            metrics.clone(),
            (relay, registrar.hello.web.clone()),
            (life.stop.clone(), life.tunnels.clone()),
            &config.limits,
        );
        let feed = Feed {
            registrar: registrar.clone(),
            enrolment: enrolment.clone(),
            greeted,
            rulebook: rulebook.clone(),
            ongoing: audit.ongoing().clone(),
            metrics: metrics.clone(),
        };
        life.door.spawn(visitors.accept(gate, life.stop.clone(), life.door.clone()));
        let door = TcpDoor { agents: boxes.clone(), identity: tcp_identity.subscribe() };
        if let Some((listener, web)) = https.zip(registrar.hello.web.as_ref()) {
            let room = (limits.front_connections, limits.front_connections_per_source);
            let at_front = doorstep("front", room);
            let front = Front::new(reception.clone(), at_front, metrics.clone(), (web, door.clone()), limits);
            life.door.spawn(front.accept(listener, life.stop.clone(), life.door.clone()));
        }
        if let Some(range) = config.ports {
            let room = (limits.port_connections, limits.port_connections_per_source);
            let ports = Arc::new(Ports {
                reception: reception.clone(),
                doorstep: doorstep("port", room),
                metrics: metrics.clone(),
                relay,
                range,
                address: gate_address,
                patience: limits.port_idle(),
            });
            life.door.spawn(ports.keep(life.stop.clone(), life.door.clone()));
        }
        if let Some(listener) = agents_tcp {
            life.tunnels.spawn(door.accept(listener));
        }
        life.tunnels.spawn(boxes.accept(endpoint.clone()));
        life.inner.spawn(feed.follow(life.last.clone()));
        life.inner.spawn(report::run(api.clone(), rulebook.clone(), registry, life.last.clone()));
        life.inner.spawn(rulebook::archive::keep(rulebook, config.state_dir.clone(), life.last.clone()));
        life.inner.spawn(audit::ongoing::tell(audit.ongoing().clone(), api.clone(), life.last.clone()));
        life.inner.spawn(audit::spool::run(spool, api, life.last.clone()));
        life.inner.spawn(renew(
            registrar,
            keys,
            enrolment,
            (endpoint, tcp_identity, metrics.clone()),
            life.last.clone(),
        ));
        if let Some(listener) = admin {
            life.inner.spawn(admin::serve(listener, metrics, life.last.clone()));
        }
        Ok(life)
    }
}

/// Renews the relay's certificate when two thirds of its life are over.
async fn renew(
    registrar: Arc<Registrar>,
    keys: Keys,
    first: Enrolment,
    (endpoint, tcp, metrics): (Endpoint, TcpIdentity, Metrics),
    stop: CancellationToken,
) {
    let mut current = first;
    loop {
        tokio::select! {
            () = sleep(LOOK) => {}
            () = stop.cancelled() => return,
        }
        if current.renews_at().is_ok_and(|at| Utc::now() < at) {
            continue;
        }
        match registrar.renew(&keys, &current).await {
            Ok(renewed) => {
                if let Err(error) = endpoint::identify(&endpoint, &tcp, &keys, &renewed, &metrics) {
                    tracing::warn!("the renewed certificate cannot be used: {error:#}");
                }
                current = renewed;
            }
            Err(error) => tracing::warn!("the relay's certificate was not renewed yet: {error:#}"),
        }
    }
}

/// Tells whoever started this program how it is, if they asked to be told (sd_notify(3)).
fn tell_service_manager(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::debug!(%error, "the service manager was not told");
    }
}

/// A running relay, and the order in which it ends: doors and boxes without visits at once, then visits
/// and the boxes that had them, then what records them.
struct Life {
    endpoint: Endpoint,
    drain: Duration,
    stop: CancellationToken,
    visits: CancellationToken,
    last: CancellationToken,
    door: TaskTracker,
    tunnels: TaskTracker,
    inner: TaskTracker,
}

impl Life {
    fn new(endpoint: Endpoint, drain: Duration) -> Self {
        Self {
            endpoint,
            drain,
            stop: CancellationToken::new(),
            visits: CancellationToken::new(),
            last: CancellationToken::new(),
            door: TaskTracker::new(),
            tunnels: TaskTracker::new(),
            inner: TaskTracker::new(),
        }
    }

    async fn end(self) {
        tracing::info!("stopping");
        self.stop.cancel();
        self.door.close();
        let _ = timeout(self.drain, self.door.wait()).await;
        self.visits.cancel();
        let _ = timeout(LAST_WORDS, self.door.wait()).await;
        // Each box was told to go when its last visit was over.
        self.tunnels.close();
        let _ = timeout(LAST_WORDS, self.tunnels.wait()).await;
        self.endpoint.close(VarInt::from_u32(0), b"the relay stops");
        let _ = timeout(LAST_WORDS, self.endpoint.wait_idle()).await;
        self.last.cancel();
        self.inner.close();
        let _ = timeout(LAST_WORDS, self.inner.wait()).await;
        tracing::info!("stopped");
    }
}
