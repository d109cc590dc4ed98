//! Asking an SSH server who it is: its identification, and its host key of each kind.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use postern_protocol::ssh_key::PublicKey;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

mod exchange;

/// How long a server may take to introduce itself.
const GREETING_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a key exchange may take; a small box needs its time.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest identification (RFC 4253, section 4.2).
const MAX_IDENTIFICATION: u64 = 255;

/// How Postern's own servers introduce themselves: leading a visitor there would be a circle.
const OWN: &str = "Postern";

/// The kinds of host keys, the best first, each by the algorithms that prove it.
const KINDS: [&[&str]; 3] = [
    &["ssh-ed25519"],
    &["ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"],
    &["rsa-sha2-512", "rsa-sha2-256", "ssh-rsa"],
];

/// A server that has said its identification and nothing more.
pub(super) struct Introduced {
    pub(super) address: SocketAddr,
    pub(super) version: String,
    stream: BufReader<TcpStream>,
}

/// Connects, and hears how the server introduces itself.
pub(super) async fn introduce(address: SocketAddr) -> io::Result<Introduced> {
    timeout(GREETING_TIMEOUT, greet(address)).await?
}

async fn greet(address: SocketAddr) -> io::Result<Introduced> {
    let mut stream = BufReader::new(TcpStream::connect(address).await?);
    let mut line = Vec::new();
    (&mut stream).take(MAX_IDENTIFICATION).read_until(b'\n', &mut line).await?;
    match version(&line) {
        Some(version) => Ok(Introduced { address, version, stream }),
        None => Err(io::Error::new(io::ErrorKind::InvalidData, "not an SSH server, or one of our own")),
    }
}

/// The software in an identification such as `SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u10`.
fn version(line: &[u8]) -> Option<String> {
    let line = std::str::from_utf8(line.strip_suffix(b"\n")?).ok()?.trim_end();
    let software = line.strip_prefix("SSH-2.0-").or_else(|| line.strip_prefix("SSH-1.99-"))?;
    let version = software.split(' ').next().filter(|version| !version.is_empty())?;
    (!version.starts_with(OWN)).then(|| version.to_owned())
}

/// The server's host keys, one of each kind that it has.
pub(super) async fn host_keys(server: Introduced) -> Vec<PublicKey> {
    let address = server.address;
    let [best, second, third] = KINDS;
    let (best, second, third) =
        tokio::join!(key_of(server, best), key_at(address, second), key_at(address, third));
    [best, second, third].into_iter().flatten().collect()
}

async fn key_at(address: SocketAddr, kind: &[&str]) -> Option<PublicKey> {
    key_of(introduce(address).await.ok()?, kind).await
}

async fn key_of(mut server: Introduced, kind: &[&str]) -> Option<PublicKey> {
    let told = timeout(EXCHANGE_TIMEOUT, exchange::host_key(&mut server.stream, kind)).await;
    match told.map_err(io::Error::from).flatten() {
        Ok(key) => PublicKey::from_wire(&key?).ok(),
        Err(error) => {
            tracing::debug!(address = %server.address, %error, "the SSH server did not tell its host key");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identification_names_the_software() {
        for (line, expected) in [
            ("SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u10\r\n", Some("OpenSSH_9.2p1")),
            ("SSH-2.0-dropbear_2022.83\r\n", Some("dropbear_2022.83")),
            ("SSH-1.99-Cisco-1.25\n", Some("Cisco-1.25")),
            ("SSH-2.0-Postern_0.1.0\r\n", None),
            ("SSH-2.0-OpenSSH_9.2p1", None),
            ("SSH-2.0-\r\n", None),
            ("SSH-1.5-old\r\n", None),
            ("HTTP/1.1 400 Bad Request\r\n", None),
            ("\n", None),
        ] {
            assert_eq!(version(line.as_bytes()).as_deref(), expected, "{line:?}");
        }
    }
}
