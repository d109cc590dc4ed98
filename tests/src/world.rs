//! A small internet: a relay in public, a visitor elsewhere, and a box at home behind two routers.
//!
//! ```text
//!  visitor ── 198.51.100.0/24 ──┐            ┌── 192.0.2.0/24 ── router ── 10.0.1.0/24 ── wan0 ──┐
//!                               relay and API                                                    box
//!                               (203.0.113.1) └── 192.0.3.0/24 ── router ── 10.0.2.0/24 ── wan1 ─┘
//! ```
//!
//! Both routers masquerade, with a new port for each mapping. The box prefers `wan0`.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;

use postern_protocol::api::{Access, CreateAccess};

use crate::detour::Detour;
use crate::namespace::{self, Namespace};
use crate::{Browser, Certificate, Curl, Machine, Ssh, Stack};

/// Where the relay is found.
pub const RELAY: &str = "203.0.113.1";

/// Where the visitor is.
pub const VISITOR: &str = "198.51.100.2";

/// Where the visitor's router is, which is the relay's machine.
const ROUTER: &str = "198.51.100.1";

/// The relay's domain, for a relay with this and an `https` of its own.
pub const DOMAIN: &str = "relay.test";

/// Where it takes boxes; in a network of its own every port is free.
pub const AGENTS: u16 = 4433;

/// Where the detour to that begins: for a relay with this as its `public_agents_port`.
pub const DETOUR: u16 = 4434;

/// A way from the box into the internet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Uplink {
    /// The one that the box prefers.
    First,
    /// The other.
    Second,
}

impl Uplink {
    /// Its interface on the box.
    pub fn interface(self) -> &'static str {
        match self {
            Self::First => "wan0",
            Self::Second => "wan1",
        }
    }

    fn number(self) -> u8 {
        match self {
            Self::First => 1,
            Self::Second => 2,
        }
    }

    fn router(self) -> String {
        format!("10.0.{}.1", self.number())
    }

    fn route(self) -> String {
        let (router, interface) = (self.router(), self.interface());
        format!("route replace default via {router} dev {interface} metric {}00\n", self.number())
    }
}

/// Everything that takes part.
#[derive(Debug)]
pub struct World {
    /// The control API and the relay.
    pub stack: Stack,
    /// The box.
    pub box42: Machine,
    /// What lets the visitor in.
    pub access: Access,
    /// The way to the relay by [`DETOUR`].
    pub detour: Detour,
    visitor: Arc<Namespace>,
    home: Arc<Namespace>,
    routers: [Namespace; 2],
}

/// Runs a claim in a world of its own. Says so on the terminal when it cannot, and is then content,
/// unless the whole suite was asked for.
pub fn in_the_wild(claim: impl AsyncFnOnce(&mut World) + Send + 'static) {
    in_the_wild_with("", "", claim);
}

/// The same with settings for the relay and for the agent.
pub fn in_the_wild_with(
    relay: impl Into<String>,
    agent: impl Into<String>,
    claim: impl AsyncFnOnce(&mut World) + Send + 'static,
) {
    let (relay, agent) = (relay.into(), agent.into());
    // The thread goes into a namespace that no other test may find itself in.
    let thread = std::thread::spawn(move || {
        if let Err(error) = namespace::leave_for_a_new_one() {
            assert!(!crate::busy::Scale::of_this_run().is_full(), "network namespaces: {error}");
            let mut terminal = std::io::stderr();
            writeln!(terminal, "SKIPPED: a test in networks of its own, which needs root: {error}").ok();
            return;
        }
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().build().expect("a runtime").block_on(async {
            let mut world = World::new(&relay, &agent).await;
            claim(&mut world).await;
        });
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

impl World {
    async fn new(relay: &str, agent: &str) -> Self {
        let visitor = Arc::new(a_visitor());
        let home = Arc::new(Namespace::new());
        let routers = [Uplink::First, Uplink::Second].map(|uplink| a_router(uplink, &home));
        namespace::ip(&format!("address add {RELAY}/32 dev lo\n"));
        let settings = format!(
            "gate = \"{RELAY}:0\"\nagents = \"{RELAY}:{AGENTS}\"\npublic_host = \"{RELAY}\"\n{relay}"
        );
        let relay_at = |port| SocketAddr::new(RELAY.parse().expect("an address"), port);
        let detour = Detour::start(relay_at(DETOUR), relay_at(AGENTS)).await;
        let stack = Stack::with().relay(&settings).start().await;
        let box42 = stack.add_box_at(Some(home.clone()), "box42", agent).await;
        let from_there = |access: &mut CreateAccess| {
            access.allowed_ips = Some(vec![VISITOR.into()]);
        };
        let access = stack.allow_with(&box42, from_there).await;
        Self { stack, box42, access, detour, visitor, home, routers }
    }

    /// The visitor.
    pub fn ssh(&self) -> Ssh {
        self.stack.ssh(&self.access).at(self.visitor.clone())
    }

    /// The visitor, with curl, who wants the host with this first label.
    pub fn curl(&self, label: impl std::fmt::Display) -> Curl {
        let front = self.stack.relay.listening().https;
        Curl::to_host(front, &format!("{label}.{DOMAIN}")).at(self.visitor.clone())
    }

    /// The visitor, with curl, who wants whatever is behind a port of the relay.
    pub fn curl_to(&self, port: u16) -> Curl {
        let relay = SocketAddr::new(RELAY.parse().expect("an address"), port);
        Curl::to_host(relay, RELAY).at(self.visitor.clone())
    }

    /// The visitor, with a browser that knows these certificates.
    pub async fn browser(&self, known: &[&Certificate]) -> Browser {
        let known: Vec<_> = known.iter().map(|certificate| certificate.fingerprint()).collect();
        let options = [
            format!("--host-resolver-rules=MAP *.{DOMAIN} {RELAY}"),
            format!("--ignore-certificate-errors-spki-list={}", known.join(",")),
        ];
        Browser::at(&self.visitor, VISITOR, ROUTER, &options).await
    }

    /// Creates an access to a port of the box for the visitor, who needs no key for it.
    pub async fn allow_page(&self, port: u16) -> Access {
        self.allow_page_with(port, |_| ()).await
    }

    /// The same, with whatever else is different.
    pub async fn allow_page_with(&self, port: u16, change: impl FnOnce(&mut CreateAccess)) -> Access {
        let from_there = |access: &mut CreateAccess| {
            (access.exposed_port, access.public_key) = (port, None);
            access.allowed_ips = Some(vec![VISITOR.into()]);
            change(access);
        };
        self.stack.allow_with(&self.box42, from_there).await
    }

    /// The box's network.
    pub fn home(&self) -> &Namespace {
        &self.home
    }

    /// Passes everything that an uplink forwards by these rules, instead of the ones before.
    pub fn spoil(&self, uplink: Uplink, rules: &str) {
        let rules: String = rules.lines().map(|rule| format!("  {rule}\n")).collect();
        self.router(uplink).nft(&format!(
            "table inet fault\ndelete table inet fault\n\
             table inet fault {{\n chain forward {{\n  type filter hook forward priority 0\n{rules} }}\n}}\n"
        ));
    }

    /// Takes all such rules away.
    pub fn heal(&self, uplink: Uplink) {
        self.router(uplink).nft("table inet fault\ndelete table inet fault\n");
    }

    /// The cable is pulled out of the box.
    pub fn unplug(&self, uplink: Uplink) {
        self.home.ip(&format!("link set {} down\n", uplink.interface()));
    }

    /// It is back.
    pub fn plug(&self, uplink: Uplink) {
        self.home.ip(&format!("link set {} up\n{}", uplink.interface(), uplink.route()));
    }

    /// The box gets another address on an uplink, as from another DHCP lease.
    pub fn renumber(&self, uplink: Uplink, host: u8) {
        let (number, interface) = (uplink.number(), uplink.interface());
        self.home.ip(&format!(
            "address flush dev {interface}\naddress add 10.0.{number}.{host}/24 dev {interface}\n{}",
            uplink.route()
        ));
    }

    /// The router of an uplink forgets whom it works for; the next packet makes a new mapping, with
    /// another port.
    pub fn forget_mappings(&self, uplink: Uplink) {
        // The kernel drops an interface's masquerading when it goes down.
        let number = uplink.number() + 1;
        self.router(uplink).ip(&format!(
            "link set internet down\nlink set internet up\nroute replace default via 192.0.{number}.1\n"
        ));
    }

    /// The router of an uplink can pass packets up to this size only, and tells nobody.
    pub fn narrow(&self, uplink: Uplink, size: u16) {
        self.router(uplink).ip(&format!("link set internet mtu {size}\nlink set lan mtu {size}\n"));
        self.router(uplink).nft(
            "table inet silence {\n chain output {\n  type filter hook output priority 0\n\
             meta l4proto { icmp, icmpv6 } drop\n }\n}\n",
        );
    }

    /// The bytes that have gone through an uplink's router, both ways, as a provider counts them.
    pub fn traffic(&self, uplink: Uplink) -> u64 {
        let mut list = self.router(uplink).entrance();
        list.args(["nft", "--json", "list", "counter", "inet", "account", "passed"]);
        let listed = list.output().expect("nftables is here").stdout;
        let listed: serde_json::Value = serde_json::from_slice(&listed).expect("JSON");
        listed["nftables"][1]["counter"]["bytes"].as_u64().expect("a count of bytes")
    }

    fn router(&self, uplink: Uplink) -> &Namespace {
        match uplink {
            Uplink::First => &self.routers[0],
            Uplink::Second => &self.routers[1],
        }
    }
}

/// A visitor, connected to this thread's namespace.
fn a_visitor() -> Namespace {
    let visitor = Namespace::new();
    namespace::ip(&format!(
        "link add visitor type veth peer name eth0 netns {}\n\
         address add 198.51.100.1/24 dev visitor\n\
         link set visitor up\n",
        visitor.pid()
    ));
    visitor
        .ip("address add 198.51.100.2/24 dev eth0\nlink set eth0 up\nroute add default via 198.51.100.1\n");
    visitor
}

/// A router between this thread's namespace and the box's.
fn a_router(uplink: Uplink, home: &Namespace) -> Namespace {
    let (router, number, interface) = (Namespace::new(), uplink.number(), uplink.interface());
    let (pid, public) = (router.pid(), format!("192.0.{}", number + 1));
    namespace::ip(&format!(
        "link add isp{number} type veth peer name internet netns {pid}\n\
         address add {public}.1/24 dev isp{number}\n\
         link set isp{number} up\n"
    ));
    home.ip(&format!("link add {interface} type veth peer name lan netns {pid}\n"));
    router.ip(&format!(
        "address add {public}.2/24 dev internet\nlink set internet up\nroute add default via {public}.1\n\
         address add 10.0.{number}.1/24 dev lan\nlink set lan up\n"
    ));
    router.set("ipv4/ip_forward", "1");
    router.nft(
        "table ip nat {\n chain postrouting {\n  type nat hook postrouting priority 100\n\
         oifname \"internet\" masquerade fully-random\n }\n}\n\
         table inet account {\n counter passed { }\n chain forward {\n  type filter hook forward priority 10\n\
         counter name \"passed\"\n }\n}\n",
    );
    home.ip(&format!(
        "address add 10.0.{number}.2/24 dev {interface}\nlink set {interface} up\n{}",
        uplink.route()
    ));
    router
}
