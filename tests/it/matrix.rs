//! Every client, into every box, through every door, with nothing but what Postern printed, strict
//! about host keys, and without a question.
//!
//! What each of them does is in [`table`]; a cell is a [`deed`] there.

use postern_protocol::api::Access;
use postern_tests::{Client, Machine, Server, Stack, Visitor};
use tokio::task::{LocalSet, spawn_local};

mod deed;
mod strict;
mod table;

use crate::ports::{by_port, with_ports};
use deed::{Cargo, Deed};

/// A way from the visitor to the box.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Door {
    /// The relay's gate: the box is behind a jump host.
    Gate,
    /// A public port of the relay, which leads to nothing but the box.
    Port,
}

impl Door {
    pub(crate) const ALL: [Self; 2] = [Self::Gate, Self::Port];

    pub(crate) async fn open(self, stack: &Stack, machine: &Machine) -> Access {
        match self {
            Self::Gate => stack.allow(machine).await,
            Self::Port => stack.allow_with(machine, by_port).await,
        }
    }
}

#[tokio::test]
async fn every_client_works_with_sshd() {
    every_client_works_with(Server::Sshd).await;
}

#[tokio::test]
async fn every_client_works_with_dropbear() {
    every_client_works_with(Server::Dropbear).await;
}

#[tokio::test]
async fn every_client_works_with_the_built_in_server() {
    every_client_works_with(Server::Builtin).await;
}

async fn every_client_works_with(server: Server) {
    let stack = with_ports().await;
    let box42 = stack.add_box_running("box42", server).await;
    let cargo = Cargo::load(stack.scene(), 50_000_000, 3_000_001);
    let light = Cargo::load(stack.scene(), 5_000_000, 300_001);
    let rows = LocalSet::new();
    let mut running = Vec::new();
    for door in Door::ALL {
        let access = door.open(&stack, &box42).await;
        for client in Client::ALL {
            let visitor = Visitor::new(stack.scene(), client, &access, stack.key()).await;
            let cargo = if crawls(client, server, door) { &light } else { &cargo };
            running.push(rows.spawn_local(row(visitor, server, door, cargo.clone())));
        }
    }
    rows.await;
    let mut broken = Vec::new();
    for row in running {
        broken.extend(row.await.expect("a row does not panic, its cells may"));
    }
    assert!(broken.is_empty(), "{} cells are broken:\n{}", broken.len(), broken.join("\n"));
}

/// A megabyte a second, whoever carries it: dropbear takes 24 KiB before it says that there is room for more,
/// and the `nc` by which its client dials a port holds back the end of these until they are acknowledged,
/// which a kernel with nothing else to say does 40 ms later.
fn crawls(client: Client, server: Server, door: Door) -> bool {
    matches!((client, server, door), (Client::Dbclient, Server::Dropbear, Door::Port))
}

/// One client's cells, one after the other; what is broken.
async fn row(visitor: Visitor, server: Server, door: Door, cargo: Cargo) -> Vec<String> {
    let mut broken = Vec::new();
    for deed in Deed::ALL {
        if table::refusal(visitor.client(), server, deed).is_some() {
            continue;
        }
        let (visitor_, cargo) = (visitor.clone(), cargo.clone());
        let done = spawn_local(async move { deed.is_done_by(&visitor_, &cargo).await });
        if let Err(panic) = done.await {
            let what = panic.into_panic();
            let text = what.downcast_ref::<String>().map_or("it panicked", String::as_str);
            broken.push(format!("{:?} × {server:?} × {door:?} × {deed:?}: {text}", visitor.client()));
        }
    }
    broken
}
