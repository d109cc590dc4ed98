//! A real HTTP proxy, as stands between many networks and the rest of the world.

use std::fs;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};

use crate::Stack;
use crate::program::{Program, stock};
use crate::wait::{SOON, eventually};

/// The user and the password that it asks for, and the same as they stand in a URL.
const CREDENTIALS: &str = "me secretoftheproxy";
const IN_URL: &str = "me:%73ecretoftheproxy";

/// What must not stand in anybody's log.
pub const PASSWORD: &str = "ecretoftheproxy";

/// A tinyproxy, until it is dropped.
#[derive(Debug)]
pub struct Tinyproxy {
    address: SocketAddr,
    _process: Program,
}

impl Tinyproxy {
    /// Starts one on a free port of an address, which lets nothing through but CONNECT to this port.
    pub async fn start(stack: &Stack, host: &str, to: u16) -> Self {
        let free = TcpListener::bind((host, 0)).await.expect("a free port");
        let address = free.local_addr().expect("a bound address");
        drop(free);
        let configuration = format!(
            "Port {}\nListen {host}\nTimeout 600\nMaxClients 20\nConnectPort {to}\n\
             BasicAuth {CREDENTIALS}\nLogLevel Connect\n",
            address.port()
        );
        let file = stack.scene().new_dir("tinyproxy").join("tinyproxy.conf");
        fs::write(&file, configuration).expect("a configuration is written");
        let mut tinyproxy = stock("tinyproxy");
        tinyproxy.arg("-d").arg("-c").arg(file);
        let process = Program::start(stack.scene(), "tinyproxy", tinyproxy);
        eventually("the proxy listens", SOON, async || TcpStream::connect(address).await.ok()).await;
        Self { address, _process: process }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What the environment calls it.
    pub fn url(&self) -> String {
        format!("http://{IN_URL}@{}", self.address)
    }
}
