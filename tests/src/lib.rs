//! A whole Postern in one value, for tests that use real ssh, real sshd and real networks.
//!
//! ```no_run
//! # async fn example() {
//! let stack = postern_tests::Stack::start().await;
//! let box42 = stack.add_box("box42").await;
//! let access = stack.allow(&box42).await;
//! assert_eq!(stack.ssh(&access).run("echo hi").await.success(), "hi\n");
//! # }
//! ```
//!
//! The programs are the real binaries, each in a process of its own with a state directory of its
//! own; ports are chosen by the kernel, and every test has a loopback address to itself, so any number
//! of tests run side by side. Whatever was started ends with the test.

use std::sync::Arc;
use std::time::Duration;

use postern_protocol::api::{Access, CreateAccess, DeviceStatus, EditAccess, Visit, VisitOutcome};
use postern_protocol::id::{AccessId, DeviceId};
use toml::Table;

pub mod api;
pub mod browser;
pub mod busy;
pub mod certificate;
pub mod curl;
mod daemon;
pub mod detour;
pub mod dropbear;
pub mod faketime;
pub mod fido;
pub mod fleet;
pub mod haproxy;
pub mod hostile;
pub mod identity;
mod inetd;
pub mod key;
pub mod machine;
pub mod namespace;
pub mod nginx;
pub mod openid;
pub mod person;
pub mod program;
pub mod relay;
pub mod scene;
pub mod screen;
pub mod ssh;
pub mod sshd;
pub mod tinyproxy;
pub mod visitor;
pub mod wait;
pub mod world;

pub use api::{Api, ApiProcess};
pub use browser::Browser;
pub use certificate::Certificate;
pub use curl::Curl;
pub use faketime::Faketime;
pub use haproxy::Haproxy;
pub use key::Key;
pub use machine::{Machine, Server};
pub use namespace::Namespace;
pub use nginx::Nginx;
pub use person::Person;
pub use program::Output;
pub use relay::Relay;
pub use scene::Scene;
pub use ssh::{Session, Ssh};
pub use tinyproxy::Tinyproxy;
pub use visitor::{Client, Visitor};
pub use wait::{RETURN, SOON, eventually, within};
pub use world::{Uplink, World};

/// Within this of the answer to a DELETE, or of an access's end, its visits are over.
pub const AT_ONCE: Duration = Duration::from_secs(1);

/// A control API and a relay, ready for boxes and visitors.
#[derive(Debug)]
pub struct Stack {
    /// The control API, over HTTP.
    pub api: Api,
    /// The control API's process.
    pub control: ApiProcess,
    /// The relay.
    pub relay: Relay,
    key: Key,
    scene: Arc<Scene>,
}

/// What differs from the usual, as TOML at the top level of a program's configuration.
#[derive(Debug, Default)]
pub struct Settings {
    api: Table,
    relay: Table,
}

impl Settings {
    /// For the API.
    pub fn api(mut self, toml: &str) -> Self {
        self.api.extend(table(toml));
        self
    }

    /// For the relay.
    pub fn relay(mut self, toml: &str) -> Self {
        self.relay.extend(table(toml));
        self
    }

    /// Starts both.
    pub async fn start(self) -> Stack {
        let scene = Scene::new();
        let key = Key::generate(scene.path("id_visitor"), "ed25519").await;
        let control = ApiProcess::start(&scene, self.api).await;
        let api = control.client().await;
        let relay = Relay::start(&scene, &control, api.url(), self.relay).await;
        // No box can join before the API has heard of a relay.
        let connected = async || api.relays().await.iter().any(|relay| relay.connected).then_some(());
        eventually("the relay follows the API", SOON, connected).await;
        Stack { api, control, relay, key, scene }
    }
}

impl Stack {
    /// Starts the usual one.
    pub async fn start() -> Self {
        Settings::default().start().await
    }

    /// Begins to describe another.
    pub fn with() -> Settings {
        Settings::default()
    }

    /// The directory, the address and the logs of this test.
    pub fn scene(&self) -> &Arc<Scene> {
        &self.scene
    }

    /// The visitor's key, which the usual access admits.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Another key, which no access admits yet.
    pub async fn another_key(&self) -> Key {
        Key::generate(self.scene.new_dir("key").join("id"), "ed25519").await
    }

    /// Adds a box, runs its join command on it, and waits until it is online.
    pub async fn add_box(&self, name: &str) -> Machine {
        self.add_box_with(name, "").await
    }

    /// The same, with settings for its agent.
    pub async fn add_box_with(&self, name: &str, settings: &str) -> Machine {
        self.join(None, name, Server::Sshd, settings).await
    }

    /// The same, in another network if one is given.
    pub async fn add_box_at(&self, place: Option<Arc<Namespace>>, name: &str, settings: &str) -> Machine {
        self.join(place, name, Server::Sshd, settings).await
    }

    /// The same, with another SSH server.
    pub async fn add_box_running(&self, name: &str, server: Server) -> Machine {
        self.join(None, name, server, "").await
    }

    async fn join(
        &self,
        place: Option<Arc<Namespace>>,
        name: &str,
        server: Server,
        settings: &str,
    ) -> Machine {
        let device = self.api.create_device(name).await;
        let mut machine = Machine::at(place, &self.scene, name, device.id, server, table(settings)).await;
        machine.join(&device.join.expect("a new box has a join string").string).await.success();
        machine.start();
        machine.becomes(DeviceStatus::Online, &self.api).await;
        machine
    }

    /// Adds a box that nobody has joined.
    pub async fn add_box_offline(&self, name: &str) -> (Machine, String) {
        let device = self.api.create_device(name).await;
        let machine = Machine::new(&self.scene, name, device.id, Table::new()).await;
        (machine, device.join.expect("a new box has a join string").string)
    }

    /// Another machine that could be the same box, with its own disk and its own sshd.
    pub async fn another_machine(&self, name: &str, id: DeviceId) -> Machine {
        Machine::new(&self.scene, name, id, Table::new()).await
    }

    /// What the usual access to a box is: port 22, the visitor's key, the caller's own address.
    pub fn usual(&self, machine: &Machine) -> CreateAccess {
        CreateAccess {
            device: machine.name().into(),
            exposed_port: 22,
            allowed_ips: None,
            allow_any: false,
            expires_at: None,
            expires_in: None,
            public_key: Some(self.key.public()),
            login: None,
            via: None,
            note: None,
        }
    }

    /// Creates the usual access to a box, and waits until it is in force.
    pub async fn allow(&self, machine: &Machine) -> Access {
        self.allow_with(machine, |_| ()).await
    }

    /// Creates an access to a port of a box that asks for no key, as a page does, and waits until it is in
    /// force.
    pub async fn allow_page(&self, machine: &Machine, port: u16) -> Access {
        self.allow_with(machine, |access| (access.exposed_port, access.public_key) = (port, None)).await
    }

    /// The same, for a while such as `3s`.
    pub async fn allow_for(&self, machine: &Machine, time: &str) -> Access {
        self.allow_with(machine, |access| access.expires_in = Some(time.into())).await
    }

    /// The same, with whatever else is different.
    pub async fn allow_with(&self, machine: &Machine, change: impl FnOnce(&mut CreateAccess)) -> Access {
        let mut access = self.usual(machine);
        change(&mut access);
        self.api.create_access(&access).await.expect("an access is created").access
    }

    /// Makes an access end after a while such as `2s`, and waits until its box knows: so a test need not
    /// hurry to be inside before the end.
    pub async fn end_in(&self, machine: &Machine, access: &Access, time: &str) -> Access {
        let edit = EditAccess { expires_in: Some(time.into()), ..EditAccess::default() };
        let access = self.api.edit_access(access.id, &edit).await.expect("an access can be shortened");
        let line = access.expires_at.format("expiry-time=\"%Y%m%d%H%M%SZ\"").to_string();
        eventually("the box knows", SOON, async || machine.keys().contains(&line).then_some(())).await;
        access
    }

    /// The visitor, with an access.
    pub fn ssh(&self, access: &Access) -> Ssh {
        Ssh::new(&self.scene, access, &self.key)
    }

    /// The visits by an access, once there are so many and all of them are over; oldest first.
    pub async fn visits(&self, access: AccessId, count: usize) -> Vec<Visit> {
        let query = format!("access={access}");
        eventually(&format!("{count} finished visits by {access}"), SOON, async || {
            let mut visits = self.api.visits(&query).await;
            visits.reverse();
            let finished =
                visits.len() == count && visits.iter().all(|visit| visit.outcome != VisitOutcome::Open);
            finished.then_some(visits)
        })
        .await
    }
}

fn table(toml: &str) -> Table {
    toml.parse().expect("a test's settings are TOML")
}
