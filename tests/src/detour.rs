//! A way for datagrams on which some are late, so that they arrive after younger ones.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::sleep;

/// The largest datagram there is.
const DATAGRAM: usize = 65_536;

/// How long the late ones take.
const LATE: Duration = Duration::from_millis(20);

/// Forwards datagrams both ways, for as long as its runtime lives.
#[derive(Debug, Clone)]
pub struct Detour {
    late_percent: Arc<AtomicU32>,
}

impl Detour {
    /// From this address to that one.
    pub async fn start(from: SocketAddr, to: SocketAddr) -> Self {
        let detour = Self { late_percent: Arc::default() };
        let door = Arc::new(UdpSocket::bind(from).await.expect("the detour's address is free"));
        tokio::spawn(detour.clone().forward(door, to));
        detour
    }

    /// Of a hundred datagrams, so many are late from now on.
    pub fn delay(&self, percent: u32) {
        self.late_percent.store(percent, Relaxed);
    }

    async fn forward(self, door: Arc<UdpSocket>, to: SocketAddr) {
        let mut callers = HashMap::new();
        let mut datagram = vec![0; DATAGRAM];
        loop {
            let Ok((length, caller)) = door.recv_from(&mut datagram).await else { continue };
            let socket = match callers.get(&caller) {
                Some(socket) => Arc::clone(socket),
                None => {
                    let socket = self.clone().admit(&door, caller, to).await;
                    callers.insert(caller, socket.clone());
                    socket
                }
            };
            let datagram = datagram[..length].to_vec();
            self.pass(async move { socket.send(&datagram).await.map(drop) });
        }
    }

    /// A socket towards the other end for one caller, whose answers go back to them.
    async fn admit(self, door: &Arc<UdpSocket>, caller: SocketAddr, to: SocketAddr) -> Arc<UdpSocket> {
        let socket = Arc::new(UdpSocket::bind((to.ip(), 0)).await.expect("a port"));
        socket.connect(to).await.expect("a known way");
        tokio::spawn(self.answer(socket.clone(), door.clone(), caller));
        socket
    }

    async fn answer(self, socket: Arc<UdpSocket>, door: Arc<UdpSocket>, caller: SocketAddr) {
        let mut datagram = vec![0; DATAGRAM];
        loop {
            let Ok(length) = socket.recv(&mut datagram).await else { continue };
            let (door, datagram) = (door.clone(), datagram[..length].to_vec());
            self.pass(async move { door.send_to(&datagram, caller).await.map(drop) });
        }
    }

    fn pass(&self, send: impl Future<Output = std::io::Result<()>> + Send + 'static) {
        let late = rand::random_range(0..100) < self.late_percent.load(Relaxed);
        tokio::spawn(async move {
            if late {
                sleep(LATE).await;
            }
            // Whoever is gone needs no datagram.
            send.await.ok();
        });
    }
}
