//! A real load balancer, which says by the PROXY protocol for whom it connects.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpStream;

use crate::program::{Program, stock};
use crate::scene::Scene;
use crate::wait::{SOON, eventually};

/// Debian keeps it out of people's PATH.
const HAPROXY: &str = "/usr/sbin/haproxy";

/// An haproxy before one door, until it is dropped.
#[derive(Debug)]
pub struct Haproxy {
    address: SocketAddr,
    _process: Program,
}

impl Haproxy {
    /// Starts one that hands every connection on to a door, and speaks this version of the protocol.
    pub async fn before(scene: &Arc<Scene>, door: SocketAddr, version: u8) -> Self {
        let address = scene.free_address();
        let send = if version == 2 { "send-proxy-v2" } else { "send-proxy" };
        let configuration = format!(
            "defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n\
             listen door\n  bind {address}\n  server relay {door} {send}\n"
        );
        let file = scene.new_dir("haproxy").join("haproxy.cfg");
        fs::write(&file, configuration).expect("a configuration is written");
        let mut haproxy = stock(HAPROXY);
        haproxy.arg("-db").arg("-f").arg(file);
        let process = Program::start(scene, "haproxy", haproxy);
        eventually("haproxy listens", SOON, async || TcpStream::connect(address).await.ok()).await;
        Self { address, _process: process }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}
