//! Where the parts listen: the usual ports if they are free, and the same ones ever after.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use serde::{Deserialize, Serialize};

use crate::file;

/// Where the parts listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Addresses {
    /// The control API.
    pub(super) listen: SocketAddr,
    /// The relay's SSH gate.
    pub(super) gate: SocketAddr,
    /// The relay's TLS front.
    pub(super) https: SocketAddr,
    /// Where boxes dial in.
    pub(super) agents: SocketAddr,
}

/// Where they are asked to listen, or listened before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Args, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    /// Where the control API listens [usually 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS", value_parser = loopback)]
    pub(super) listen: Option<SocketAddr>,
    /// Where visitors come in with ssh [usually 127.0.0.1:2222]
    #[arg(long, value_name = "ADDRESS", value_parser = loopback)]
    pub(super) gate: Option<SocketAddr>,
    /// Where visitors come in with a browser [usually 127.0.0.1:8443]
    #[arg(long, value_name = "ADDRESS", value_parser = loopback)]
    pub(super) https: Option<SocketAddr>,
    /// Where boxes dial in, over UDP [usually 127.0.0.1:4433]
    #[arg(long, value_name = "ADDRESS", value_parser = loopback)]
    pub(super) agents: Option<SocketAddr>,
}

/// An address of this machine alone: what `up` runs has no certificate for anybody else.
fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text.parse().map_err(|_| "write it like 127.0.0.1:8080".to_owned())?;
    match address.ip().is_loopback() {
        true => Ok(address),
        false => {
            Err("'up' is for this machine alone; for others run postern-api and postern-relay".to_owned())
        }
    }
}

/// The ports at a first start.
const USUAL: [u16; 4] = [8080, 2222, 8443, 4433];

/// A way to listen, tried and let go again.
type Probe = fn(SocketAddr) -> io::Result<SocketAddr>;

impl Addresses {
    /// What is asked for, else what it was before, else the usual; kept for the next time.
    pub(super) fn settle(dir: &Path, asked: Asked) -> anyhow::Result<Self> {
        let path = memory(dir);
        let before = Self::remembered(&path)?;
        let addresses = Self {
            listen: choose("--listen", asked.listen, before.listen, USUAL[0], tcp)?,
            gate: choose("--gate", asked.gate, before.gate, USUAL[1], tcp)?,
            https: choose("--https", asked.https, before.https, USUAL[2], tcp)?,
            agents: choose("--agents", asked.agents, before.agents, USUAL[3], udp)?,
        };
        if before != addresses.into() {
            let text = toml::to_string(&addresses).context("writing addresses as TOML")?;
            file::write(&path, text.as_bytes())?;
        }
        Ok(addresses)
    }

    fn remembered(path: &Path) -> anyhow::Result<Asked> {
        let Some(bytes) = file::read(path)? else { return Ok(Asked::default()) };
        let what = || format!("{} is damaged; delete it to choose ports anew", path.display());
        let text = std::str::from_utf8(&bytes).with_context(what)?;
        toml::from_str(text).with_context(what)
    }

    /// The address of the control API.
    pub(super) fn api(&self) -> String {
        format!("http://{}", self.listen)
    }
}

impl From<Addresses> for Asked {
    fn from(all: Addresses) -> Self {
        let Addresses { listen, gate, https, agents } = all;
        Self { listen: Some(listen), gate: Some(gate), https: Some(https), agents: Some(agents) }
    }
}

fn memory(dir: &Path) -> PathBuf {
    dir.join("addresses.toml")
}

fn choose(
    flag: &str,
    asked: Option<SocketAddr>,
    before: Option<SocketAddr>,
    usual: u16,
    probe: Probe,
) -> anyhow::Result<SocketAddr> {
    let on_loopback = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
    let wanted = asked.or(before).unwrap_or(on_loopback(usual));
    match probe(wanted) {
        Ok(address) => Ok(address),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && asked.or(before).is_none() => {
            probe(on_loopback(0)).context("looking for a free port")
        }
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => bail!(
            "{wanted} is taken by another program: stop that, or choose another address: {flag} {}",
            SocketAddr::new(wanted.ip(), 0)
        ),
        Err(error) => Err(error).with_context(|| format!("cannot listen on {wanted} ({flag})")),
    }
}

fn tcp(address: SocketAddr) -> io::Result<SocketAddr> {
    TcpListener::bind(address)?.local_addr()
}

fn udp(address: SocketAddr) -> io::Result<SocketAddr> {
    UdpSocket::bind(address)?.local_addr()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Asked = Asked { listen: None, gate: None, https: None, agents: None };

    fn any() -> Option<SocketAddr> {
        Some("127.0.0.1:0".parse().unwrap())
    }

    #[test]
    fn ports_stay_what_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let first =
            Addresses::settle(dir.path(), Asked { listen: any(), gate: any(), https: any(), agents: any() })
                .unwrap();
        assert!(first.listen.port() != 0 && first.agents.port() != 0);
        assert_eq!(Addresses::settle(dir.path(), NOTHING).unwrap(), first);
        let moved = Addresses::settle(dir.path(), Asked { gate: any(), ..NOTHING }).unwrap();
        assert_eq!((moved.listen, moved.agents), (first.listen, first.agents));
        assert_eq!(Addresses::settle(dir.path(), NOTHING).unwrap(), moved);
    }

    #[test]
    fn a_usual_port_that_is_taken_is_no_obstacle() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let chosen = choose("--gate", None, None, port, tcp).unwrap();
        assert_ne!(chosen.port(), port);
    }

    #[test]
    fn a_port_that_others_know_is_not_changed_in_silence() {
        let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = Some(taken.local_addr().unwrap());
        for (asked, before) in [(address, None), (None, address)] {
            let error = choose("--agents", asked, before, 1, udp).unwrap_err().to_string();
            assert!(error.contains("is taken") && error.contains("--agents 127.0.0.1:0"), "{error}");
        }
    }

    #[test]
    fn a_damaged_memory_is_named() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(memory(dir.path()), "listen = 1").unwrap();
        let error = Addresses::settle(dir.path(), NOTHING).unwrap_err().to_string();
        assert!(error.contains("addresses.toml is damaged"), "{error}");
    }
}
