//! Postern: by a public port, and through the gate with one `ssh -L`.

use std::net::SocketAddr;

use postern_protocol::api::{Access, Via};
use postern_tests::{Machine, Stack};

use super::{Route, answers, run};

/// A stack whose one box offers the service.
pub(crate) struct Postern {
    /// Everything but the box.
    pub(crate) stack: Stack,
    /// The box.
    pub(crate) machine: Machine,
}

/// Starts one.
pub(crate) async fn start(service: SocketAddr) -> Postern {
    let ports = free_range();
    let relay = format!(
        "ports = \"{ports}\"\n[limits]\nport_connections_per_source = 4096\n\
         gate_connections_per_source = 4096\nvisits_per_box = 4096"
    );
    let stack = Stack::with().relay(&relay).start().await;
    let machine = stack.add_box_with("box42", &format!("[services]\nbench = \"{service}\"")).await;
    Postern { stack, machine }
}

/// The two ways through it.
pub(crate) async fn both(postern: &mut Postern, service: SocketAddr) -> [Route; 2] {
    let relay = postern.stack.relay.process().pid();
    let agent = postern.machine.process().pid();
    let by_port = expose(postern, service.port(), Via::Port).await;
    let by_gate = expose(postern, service.port(), Via::Gate).await;
    let host = postern.stack.relay.listening().gate.ip();
    let public = SocketAddr::new(host, by_port.public_port.expect("the access has leased a port"));
    answers(public).await;
    let through = postern.stack.scene().free_address();
    let forward = |option: &str, value: &str| -> Vec<String> { ssh(postern, &by_gate, option, value) };
    let inside = format!("{}:{}", postern.machine.name(), service.port());
    let tunnel = forward("-L", &format!("{through}:{inside}"));
    let words: Vec<&str> = tunnel.iter().map(String::as_str).collect();
    let client = run(postern.stack.scene(), "ssh-gate", "ssh", &words);
    answers(through).await;
    let listening = postern.stack.relay.listening();
    let route = |name, address, login, keep| Route {
        name,
        address,
        login,
        doors: vec![listening.gate, listening.https, postern.stack.api.address(), public],
        relay: vec![relay],
        agent: vec![agent],
        _keep: keep,
    };
    [
        route("postern, by port", public, vec![], vec![]),
        route("postern, by gate", through, forward("-W", &inside), vec![Box::new(client)]),
    ]
}

async fn expose(postern: &Postern, port: u16, via: Via) -> Access {
    let change = |access: &mut postern_protocol::api::CreateAccess| {
        access.exposed_port = port;
        access.via = Some(via);
        if via != Via::Gate {
            access.public_key = None;
        }
    };
    postern.stack.allow_with(&postern.machine, change).await
}

/// What `ssh` is given to go through the gate.
fn ssh(postern: &Postern, access: &Access, option: &str, value: &str) -> Vec<String> {
    let gate = postern.stack.relay.listening().gate;
    let key = postern.stack.key().path().to_str().expect("temporary paths are text").to_owned();
    let (port, target) = (gate.port().to_string(), format!("{}@{}", access.id, gate.ip()));
    let words = ["-N", "-F", "none", "-i", &key, "-o", "StrictHostKeyChecking=no"];
    let more = ["-o", "UserKnownHostsFile=/dev/null", "-c", "aes128-gcm@openssh.com"];
    let last = ["-p", &port, option, value, &target];
    [&words[..], &more, &last].concat().into_iter().map(str::to_owned).collect()
}

/// A range of ports that the kernel gives to nobody by itself.
fn free_range() -> String {
    let first = 20_000 + rand::random::<u16>() % 10_000;
    format!("{first}-{}", first + 15)
}
